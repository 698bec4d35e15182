import { IpProtocol, Ipv4, Ipv6, ipVersion, ipv4HeaderLength, setU16 } from '../wire/index.ts'

/**
 * What of an outer header AH covers, RFC 4302 §3.3.3.1 and Appendix A: fields that routers change count as zero, those
 * whose value at the receiver is known beforehand count with that.
 */

/** IPv4 options that nobody on the way may change: end, no operation, the security options, router alert, SDMD. */
const IMMUTABLE_OPTIONS: ReadonlySet<number> = new Set([0, 1, 130, 133, 134, 148, 149])
const SOURCE_ROUTES: ReadonlySet<number> = new Set([131, 137])
/** In the type of an IPv6 option: it may change on the way, RFC 8200 §4.2. */
const MAY_CHANGE = 0x20
const PAD1 = 0

/**
 * Turns an outer header with all that stands before AH, in place, into the octets that the ICV covers.
 *
 * @param at - first octet of the IP header
 * @param ahAt - first octet of the AH header
 * @returns false for a header that is malformed, or that AH cannot stand behind (a fragment, a route not yet travelled)
 */
export function zeroMutable(bytes: Uint8Array, at: number, ahAt: number): boolean {
  return ipVersion(bytes, at) === 4 ? zeroIpv4(bytes, at, ahAt) : zeroIpv6(bytes, at, ahAt)
}

function zeroIpv4(bytes: Uint8Array, at: number, ahAt: number): boolean {
  if (ahAt - at < Ipv4.HEADER || ahAt - at !== ipv4HeaderLength(bytes, at)) return false
  bytes[at + Ipv4.TOS] = 0
  setU16(bytes, at + Ipv4.FRAGMENT, 0)
  bytes[at + Ipv4.TTL] = 0
  setU16(bytes, at + Ipv4.CHECKSUM, 0)
  for (let option = at + Ipv4.HEADER; option < ahAt; ) {
    const type = bytes[option]!
    if (type === 0) break
    const length = type === 1 ? 1 : (bytes[option + 1] ?? 0)
    if (length < (type === 1 ? 1 : 2) || option + length > ahAt) return false
    if (SOURCE_ROUTES.has(type) && !predictDestination(bytes, at, option, length)) return false
    if (!IMMUTABLE_OPTIONS.has(type)) bytes.fill(0, option, option + length)
    option += length
  }
  return true
}

/** A source route that is not used up ends at its last address: that is what the receiver will see as destination. */
function predictDestination(bytes: Uint8Array, at: number, option: number, length: number): boolean {
  if (length < 7 || (length - 3) % 4 !== 0) return false
  const pointer = bytes[option + 2]!
  if (pointer <= length) bytes.copyWithin(at + Ipv4.DESTINATION, option + length - 4, option + length)
  return true
}

function zeroIpv6(bytes: Uint8Array, at: number, ahAt: number): boolean {
  if (ahAt - at < Ipv6.HEADER || ipVersion(bytes, at) !== 6) return false
  bytes[at] = 0x60
  bytes.fill(0, at + 1, at + 4)
  bytes[at + Ipv6.HOP_LIMIT] = 0
  let next = bytes[at + Ipv6.NEXT_HEADER]!
  for (let header = at + Ipv6.HEADER; header < ahAt; ) {
    const end = header + (bytes[header + 1]! + 1) * 8
    if (header + 8 > ahAt || end > ahAt) return false
    if (next === IpProtocol.HOPOPT || next === IpProtocol.IPV6_OPTS) {
      if (!zeroOptions(bytes, header + 2, end)) return false
    } else if (next !== IpProtocol.IPV6_ROUTE || bytes[header + 3] !== 0) return false
    next = bytes[header]!
    header = end
  }
  return next === IpProtocol.AH
}

/** Data of options that may change counts as zero; type and length stay. */
function zeroOptions(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = from; at < end; ) {
    const type = bytes[at]!
    if (type === PAD1) {
      at++
      continue
    }
    const next = at + 2 + (bytes[at + 1] ?? 0)
    if (at + 2 > end || next > end) return false
    if ((type & MAY_CHANGE) !== 0) bytes.fill(0, at + 2, next)
    at = next
  }
  return true
}
