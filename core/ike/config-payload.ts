import type { Address } from '../contracts/net.ts'
import type { Identity, PeerSettings } from '../contracts/settings.ts'
import {
  ConfigAttribute,
  ConfigType,
  formatAddress,
  type Payload,
  type PayloadOf,
  parseAddress,
} from '../wire/index.ts'
import type { IkeSa } from './ike-sa.ts'

/** Address assignment by the configuration payload, RFC 7296 §3.15. */

const { INTERNAL_IP4_ADDRESS, INTERNAL_IP6_ADDRESS, INTERNAL_IP4_DNS, INTERNAL_IP6_DNS } = ConfigAttribute
const EMPTY = new Uint8Array(0)

/** @param before - addresses that an SA which this one renews or resumes has: the same are asked for */
export function requestConfiguration(settings: PeerSettings, before: readonly Address[] = []): Payload[] {
  if (settings.requestAddresses.length === 0) return []
  const attributes = settings.requestAddresses.flatMap(family => [
    {
      type: family === 4 ? INTERNAL_IP4_ADDRESS : INTERNAL_IP6_ADDRESS,
      value: wish(before.find(a => a.includes(':') === (family === 6))),
    },
    { type: family === 4 ? INTERNAL_IP4_DNS : INTERNAL_IP6_DNS, value: EMPTY },
  ])
  return [{ type: 'CP', configType: ConfigType.CFG_REQUEST, attributes }]
}

/** An address as attributes have it: with a prefix length in version 6. */
function wish(address: Address | undefined): Uint8Array {
  const bytes = address === undefined ? undefined : parseAddress(address)
  return bytes?.length === 16 ? Uint8Array.of(...bytes, 128) : (bytes ?? EMPTY)
}

/** What a CFG_REPLY assigns; attributes of wrong length are ignored. */
export function readConfiguration(cp: PayloadOf<'CP'> | undefined): { addresses: Address[]; dns: Address[] } {
  const addresses: Address[] = []
  const dns: Address[] = []
  if (cp?.configType !== ConfigType.CFG_REPLY) return { addresses, dns }
  for (const { type, value } of cp.attributes) {
    if (type === INTERNAL_IP4_ADDRESS && value.length === 4) addresses.push(formatAddress(value))
    else if (type === INTERNAL_IP6_ADDRESS && value.length === 17) addresses.push(formatAddress(value.subarray(0, 16)))
    else if (type === INTERNAL_IP4_DNS && value.length === 4) dns.push(formatAddress(value))
    else if (type === INTERNAL_IP6_DNS && value.length === 16) dns.push(formatAddress(value))
  }
  return { addresses, dns }
}

/**
 * Answers a CFG_REQUEST from the peer's pool.
 * @returns undefined when an address was asked for and there is none to give (INTERNAL_ADDRESS_FAILURE)
 */
export function assignAddresses(sa: IkeSa, identity: Identity, cp: PayloadOf<'CP'>): Payload[] | undefined {
  if (cp.configType !== ConfigType.CFG_REQUEST) return []
  const attributes: { type: number; value: Uint8Array }[] = []
  const assigned: Address[] = []
  const wanted = new Set(cp.attributes.map(a => a.type))
  for (const [family, type] of [
    [4, INTERNAL_IP4_ADDRESS],
    [6, INTERNAL_IP6_ADDRESS],
  ] as const) {
    const address = wanted.has(type) ? sa.host.lease(sa, identity, family, asked(cp, type, family)) : undefined
    if (address === undefined) continue
    assigned.push(address)
    const bytes = parseAddress(address)!
    attributes.push({ type, value: family === 4 ? bytes : Uint8Array.of(...bytes, 128) })
  }
  const all = wanted.has(INTERNAL_IP4_ADDRESS) || wanted.has(INTERNAL_IP6_ADDRESS)
  if (all && assigned.length === 0) return undefined
  sa.assigned = assigned
  for (const server of sa.host.dns(sa)) {
    const type = server.includes(':') ? INTERNAL_IP6_DNS : INTERNAL_IP4_DNS
    if (wanted.has(type)) attributes.push({ type, value: parseAddress(server)! })
  }
  return attributes.length === 0 ? [] : [{ type: 'CP', configType: ConfigType.CFG_REPLY, attributes }]
}

/**
 * Asks for the address where it is leased from elsewhere.
 * @returns true when `assignAddresses` has to wait until the SA is woken
 */
export function prepareAddresses(sa: IkeSa, identity: Identity, cp: PayloadOf<'CP'> | undefined, now: number): boolean {
  if (cp?.configType !== ConfigType.CFG_REQUEST) return false
  if (!cp.attributes.some(({ type }) => type === INTERNAL_IP4_ADDRESS)) return false
  return sa.host.prepareLease(sa, identity, asked(cp, INTERNAL_IP4_ADDRESS, 4), now)
}

/** The address that a CFG_REQUEST names. */
function asked({ attributes }: PayloadOf<'CP'>, type: number, family: 4 | 6): Address | undefined {
  const length = family === 4 ? 4 : 16
  const value = attributes.find(a => a.type === type && a.value.length >= length)?.value
  return value && formatAddress(value.subarray(0, length))
}
