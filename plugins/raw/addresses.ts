import type { NetworkInterfaceInfo } from 'node:os'
import type { Address } from '../../core/contracts/net.ts'
import { UsageError } from '../../core/errors.ts'
import { addressBytes, canonicalAddress, familyOf, parsePrefix } from '../../core/wire/index.ts'

/** What os.networkInterfaces() answers. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>

/** natweave's own TUN devices: ESP from an inner address would go into the tunnel that it is. */
const OWN_DEVICES = 'nw*'
const WHOLE_FAMILY: readonly Address[] = ['0.0.0.0', '::']

/**
 * The local addresses to send from and receive on, by the rules of plugin udp, so that both have the same ones: named
 * addresses as they are, `0.0.0.0`, `::` or none for all detected ones of the family; detection leaves out loopback
 * (unless there is nothing else), IPv6 link-local, `nw*` and what `exclude` matches.
 *
 * @throws UsageError USAGE_ADDRESS for something that is no address or pattern
 */
export function selectAddresses(
  interfaces: Interfaces,
  addresses: readonly string[] = [],
  exclude: readonly string[] = [],
): readonly Address[] {
  const skips = [OWN_DEVICES, ...exclude].map(excluder)
  const found = Object.entries(interfaces).flatMap(([name, infos = []]) =>
    infos
      .map(({ address, internal }) => ({ address: canonical(address), internal }))
      .filter(({ address }) => !/^fe[89ab]/.test(address) && !skips.some(skip => skip(name, address))),
  )
  const outside = found.filter(({ internal }) => !internal)
  const detected = (outside.length > 0 ? outside : found).map(({ address }) => address)
  const named = addresses.map(canonical)
  const wanted = named.flatMap(address =>
    WHOLE_FAMILY.includes(address) ? detected.filter(one => familyOf(one) === familyOf(address)) : [address],
  )
  return [...new Set(named.length === 0 ? detected : wanted)]
}

/** True when addresses were named one by one, so that nothing that changes on the host adds or removes any. */
export const isFixed = (addresses: readonly string[] = []): boolean =>
  addresses.length > 0 && !addresses.some(address => WHOLE_FAMILY.includes(canonical(address)))

/** True when an interface has the canonical `address`. */
export const isPresent = (interfaces: Interfaces, address: Address): boolean =>
  Object.values(interfaces).some(infos => infos?.some(info => canonical(info.address) === address))

function canonical(text: string): Address {
  const address = canonicalAddress(text.replace(/%.*$/, ''))
  if (address === undefined) throw new UsageError('USAGE_ADDRESS', `${text} is no IP address`)
  return address
}

function excluder(pattern: string): (name: string, address: Address) => boolean {
  const prefix = parsePrefix(pattern)
  if (prefix !== undefined)
    return (_, address) => isInside(addressBytes(address), addressBytes(prefix.address), prefix.bits)
  if (!/^[\w.*@:-]+$/.test(pattern))
    throw new UsageError('USAGE_ADDRESS', `exclude: "${pattern}" is neither a prefix nor an interface name`)
  const name = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)
  return candidate => name.test(candidate)
}

const isInside = (address: Uint8Array, network: Uint8Array, bits: number): boolean =>
  address.length === network.length &&
  network.every((octet, i) => {
    const mask = 0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))
    return ((octet ^ address[i]!) & mask & 0xff) === 0
  })
