import type { FactValue } from '../contracts/facts.ts'
import type { Prefix } from '../contracts/net.ts'
import type { ConditionSettings, Identity, IdentityPattern, SelectorSettings } from '../contracts/settings.ts'
import { canonicalAddress, IpProtocol, parseDn, parsePrefix, writeDn } from '../wire/index.ts'

/** Words of the configuration and what they mean. Each parser throws an Error that says what it wanted instead. */

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

export const DURATION = 'a duration such as 30s, 5m, 4h or 500ms is wanted'
export const SIZE = 'a size such as 500MB or 1GiB is wanted'

/** `500ms`, `30s`, `5m`, `4h`, `1d`; a bare number is seconds. @returns milliseconds */
export function duration(value: string | number): number {
  const [, amount, unit = 's'] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/.exec(String(value).trim()) ?? []
  if (amount === undefined) throw new Error(DURATION)
  return Number(amount) * UNITS[unit]!
}

const SIZES: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
}

/** `500MB`, `1GiB`; a bare number is octets. */
export function size(value: string | number): number {
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?$/i.exec(String(value).trim()) ?? []
  const factor = SIZES[unit.toLowerCase()]
  if (amount === undefined || factor === undefined) throw new Error(SIZE)
  return Number(amount) * factor
}

/** `10.9.0.0/24`; an address alone stands for itself. */
export function prefix(text: string): Prefix {
  const found = parsePrefix(text)
  if (found === undefined) throw new Error('an address or prefix such as 10.9.0.0/24 is wanted')
  return found
}

export function address(text: string): string {
  const found = canonicalAddress(text)
  if (found === undefined) throw new Error('an IPv4 or IPv6 address is wanted')
  return found
}

const HOST = /^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?$/i

/** `gw.example.org`, `192.0.2.1:4500`, `[2001:db8::1]:500`. */
export function remote(text: string): { host: string; port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]*|[^:]*:[^:]*:.*?))(?::(\d{1,5}))?$/.exec(text) ?? []
  const whole = canonicalAddress(text)
  const host = whole ?? bracketed ?? plain ?? ''
  const number = whole !== undefined || port === undefined ? 500 : Number(port)
  const known = canonicalAddress(host)
  if ((known === undefined && !HOST.test(host)) || number < 1 || number > 65_535)
    throw new Error('a host name or address is wanted, with :port where that is not 500')
  return { host: known ?? host, port: number }
}

/**
 * As strongSwan reads identities: an address, `user@host`, a distinguished name (`C=CH, O=Example, CN=alice`), `keyid:` and
 * hex octets, `fqdn:`, `email:`, or `@name` and everything else for a domain name.
 */
export function identity(text: string): Identity {
  const [, type, rest] = /^(keyid|fqdn|email|rfc822):(.+)$/i.exec(text) ?? []
  if (type !== undefined && rest !== undefined) return typed(type.toLowerCase(), rest)
  if (text === '') throw new Error('an identity such as alice@example.org, gw.example.org or an address is wanted')
  if (/^([a-z]+|\d+(\.\d+)+)\s*=/i.test(text)) return distinguishedName(text)
  const found = canonicalAddress(text)
  if (found !== undefined) return { type: found.includes(':') ? 'ipv6' : 'ipv4', value: found }
  if (text.startsWith('@')) return { type: 'fqdn', value: text.slice(1) }
  return { type: text.includes('@') ? 'rfc822' : 'fqdn', value: text }
}

function distinguishedName(text: string): Identity {
  const attributes = parseDn(text)
  if (attributes === undefined)
    throw new Error('a distinguished name is written as C=CH, O=Example, CN=alice, in the order of the certificate')
  return { type: 'dn', value: Buffer.from(writeDn(attributes)).toString('hex') }
}

function typed(type: string, value: string): Identity {
  if (type !== 'keyid') return { type: type === 'fqdn' ? 'fqdn' : 'rfc822', value }
  if (!/^([0-9a-f]{2})+$/i.test(value)) throw new Error('a key id is written in hex octets: keyid:0a1b2c')
  return { type: 'keyid', value: value.toLowerCase() }
}

/** An identity to claim, so no pattern. */
export function ownIdentity(text: string): Identity {
  if (text.includes('*') || identityPattern(text).type === 'any')
    throw new Error('one identity is wanted; patterns and any are for remoteId')
  return identity(text)
}

export const identityPattern = (text: string): IdentityPattern =>
  text === 'any' || text === '%any' || text === '*' ? { type: 'any' } : identity(text)

const PROTOCOLS: Readonly<Record<string, number>> = {
  any: 0,
  icmp: IpProtocol.ICMP,
  tcp: IpProtocol.TCP,
  udp: IpProtocol.UDP,
  icmpv6: IpProtocol.ICMPV6,
}

/** `10.3.0.0/24`, `dynamic`, either with `[tcp]`, `[tcp/80]`, `[udp/1000-2000]`, `[47]`. */
export function selector(text: string): SelectorSettings {
  const [, range, protocol = 'any', first, last] =
    /^([^[\]]+)(?:\[([a-z0-9]+)(?:\/(\d+)(?:-(\d+))?)?\])?$/i.exec(text.trim()) ?? []
  const number = PROTOCOLS[protocol.toLowerCase()] ?? (/^\d+$/.test(protocol) ? Number(protocol) : -1)
  const startPort = first === undefined ? 0 : Number(first)
  const endPort = last === undefined ? (first === undefined ? 65_535 : startPort) : Number(last)
  if (range === undefined || number < 0 || number > 255 || endPort > 65_535 || startPort > endPort)
    throw new Error('a prefix, or dynamic, is wanted, with [tcp/80] where it is for one protocol or port')
  return { range: range === 'dynamic' ? 'dynamic' : prefix(range), protocol: number, startPort, endPort }
}

const COMPARISONS = { '<': 'below', '<=': 'atMost', '>': 'above', '>=': 'atLeast' } as const

/** `> 1h`, `<= 3`: a comparison; any other value stands for itself. */
export function condition(value: FactValue): FactValue | ConditionSettings {
  if (typeof value !== 'string' || !/^[<>]/.test(value)) return value
  const [, operator, rest = ''] = /^([<>]=?)\s*(.*)$/.exec(value) ?? []
  return { [COMPARISONS[operator as keyof typeof COMPARISONS]]: bound(rest) }
}

/** A number as it is; with a unit a duration in milliseconds, as facts have them. */
export function bound(value: string | number): number {
  const text = String(value).trim()
  if (text !== '' && Number.isFinite(Number(text))) return Number(text)
  try {
    return duration(text)
  } catch {
    throw new Error('a number, or a duration such as 30s or 4h, is wanted to compare with')
  }
}
