import type { NetworkInterfaceInfo } from 'node:os'
import ipaddr from 'ipaddr.js'
import type { Address } from '../../core/contracts/net.ts'
import { UsageError } from '../../core/errors.ts'

/** What os.networkInterfaces() answers. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>

/**
 * natweave's own TUN devices: an IKE socket on an inner address would send IKE into the tunnel it is negotiating.
 * Always excluded from detection; `addresses` can still name one.
 */
const OWN_DEVICES = 'nw*'

/**
 * The local addresses to bind, without duplicates, in the system's order.
 *
 * @param addresses - bind exactly these; `0.0.0.0` and `::` stand for all detected ones of their family; undefined or
 *   empty: all detected ones. Detected are those that are neither loopback nor IPv6 link-local, or loopback when the
 *   host has nothing else.
 * @param exclude - prefixes (`10.0.0.0/8`), addresses or interface names (`docker*`) to leave out of detection
 * @throws UsageError USAGE_ADDRESS for something that is no address or pattern
 */
export function selectAddresses(
  interfaces: Interfaces,
  addresses: readonly string[] = [],
  exclude: readonly string[] = [],
): readonly Address[] {
  const skips = [OWN_DEVICES, ...exclude].map(excluder)
  const found = Object.entries(interfaces).flatMap(([name, infos]) =>
    (infos ?? []).filter(({ address }) => !isLinkLocal(address) && !skips.some(skip => skip(name, address))),
  )
  const outside = found.filter(info => !info.internal)
  const detected = (outside.length > 0 ? outside : found).map(info => canonical(info.address))
  const wanted =
    addresses.length === 0
      ? detected
      : addresses.map(canonical).flatMap(address => {
          if (address === '0.0.0.0') return detected.filter(isIPv4)
          return address === '::' ? detected.filter(one => !isIPv4(one)) : [address]
        })
  return [...new Set(wanted)]
}

/** True when addresses were named one by one, so that nothing that changes on the host adds or removes any. */
export const isFixed = (addresses: readonly string[] = []): boolean =>
  addresses.length > 0 && !addresses.some(address => ['0.0.0.0', '::'].includes(canonical(address)))

export const isIPv4 = (address: Address): boolean => !address.includes(':')

/**
 * Canonical text as `Address` wants it; an IPv4-mapped IPv6 address becomes the IPv4 address.
 * @throws UsageError USAGE_ADDRESS
 */
export function canonical(text: string): Address {
  const bare = text.replace(/%.*$/, '')
  if (!ipaddr.IPv4.isValidFourPartDecimal(bare) && !ipaddr.IPv6.isValid(bare)) {
    throw new UsageError('USAGE_ADDRESS', `${text} is no IP address`)
  }
  const address = ipaddr.process(bare)
  return address instanceof ipaddr.IPv6 ? address.toRFC5952String() : address.toString()
}

const isLinkLocal = (address: string): boolean => ipaddr.parse(address).range() === 'linkLocal' && !isIPv4(address)

function excluder(pattern: string): (name: string, address: string) => boolean {
  const prefix = parsePrefix(pattern)
  if (prefix !== undefined) {
    const [network, bits] = prefix
    return (_, address) => {
      const candidate = ipaddr.parse(address)
      return candidate.kind() === network.kind() && candidate.match(network, bits)
    }
  }
  if (!/^[\w.*@:-]+$/.test(pattern)) {
    throw new UsageError('USAGE_ADDRESS', `exclude: "${pattern}" is neither a prefix nor an interface name`)
  }
  const name = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)
  return candidate => name.test(candidate)
}

function parsePrefix(text: string): [ipaddr.IPv4 | ipaddr.IPv6, number] | undefined {
  if (ipaddr.isValid(text) && /[.:]/.test(text)) {
    const address = ipaddr.parse(text)
    return [address, address.toByteArray().length * 8]
  }
  return ipaddr.isValidCIDR(text) ? ipaddr.parseCIDR(text) : undefined
}
