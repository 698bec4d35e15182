import { getU16, setU16 } from './fields.ts'
import { IpProtocol } from './ip-numbers.ts'

/** The Internet checksum (RFC 1071), its pseudo headers and its incremental update (RFC 1624). */

/**
 * Adds 16-bit words to a running sum; an odd last octet counts as the upper half of a word.
 *
 * @param sum - result of an earlier call over an even number of octets
 * @returns unfolded sum, below 2^32 for any IP packet; `finishChecksum` makes a checksum of it
 */
export function addToSum(sum: number, bytes: Uint8Array, start: number, end: number): number {
  let total = sum
  let at = start
  for (; at + 1 < end; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!
  return at < end ? total + (bytes[at]! << 8) : total
}

/** Folds a sum and complements it. */
export function finishChecksum(sum: number): number {
  let folded = sum
  while (folded > 0xffff) folded = (folded >>> 16) + (folded & 0xffff)
  return ~folded & 0xffff
}

/** Over octets that include a right checksum the result is 0. */
export const internetChecksum = (bytes: Uint8Array, start: number, end: number, sum = 0): number =>
  finishChecksum(addToSum(sum, bytes, start, end))

/**
 * Sum over the pseudo header of TCP, UDP and ICMPv6; IPv4 (RFC 9293 §3.1) and IPv6 (RFC 8200 §8.1) add up alike.
 *
 * @param length - octets of the upper-layer packet
 */
export function pseudoHeaderSum(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): number {
  const addresses = addToSum(addToSum(0, source, 0, source.length), destination, 0, destination.length)
  return addresses + protocol + length
}

/** The same, with the addresses of the IPv4 or IPv6 header at `ipAt`. */
export function pseudoHeaderSumAt(bytes: Uint8Array, ipAt: number, protocol: number, length: number): number {
  const v4 = bytes[ipAt]! >>> 4 === 4
  const from = ipAt + (v4 ? 12 : 8)
  return addToSum(0, bytes, from, from + (v4 ? 8 : 32)) + protocol + length
}

/**
 * Checksum after some 16-bit words under it changed, by RFC 1624 equation 3 (the older forms go wrong around 0).
 *
 * @param from - the octets as they were when `old` was made, an even number
 * @param to - the octets now, an even number
 */
export function updateChecksum(old: number, from: Uint8Array, to: Uint8Array): number {
  let sum = ~old & 0xffff
  for (let at = 0; at + 1 < from.length; at += 2) sum += ~getU16(from, at) & 0xffff
  return finishChecksum(addToSum(sum, to, 0, to.length))
}

/** As `updateChecksum` for UDP, where 0 means that there is none and a checksum of 0 is sent as 0xffff (RFC 768). */
export function updateUdpChecksum(old: number, from: Uint8Array, to: Uint8Array): number {
  return old === 0 ? 0 : updateChecksum(old, from, to) || 0xffff
}

/** Offset of the checksum in upper layers whose checksum covers the addresses; undefined for all others. */
export function checksumOffset(protocol: number): number | undefined {
  switch (protocol) {
    case IpProtocol.TCP:
      return 16
    case IpProtocol.UDP:
    case IpProtocol.UDPLITE:
    case IpProtocol.DCCP:
      return 6
    case IpProtocol.ICMPV6:
      return 2
    default:
      return undefined
  }
}

/**
 * Repairs an upper-layer checksum after addresses changed, RFC 3948 §3.1.2.
 *
 * @param at - offset of the upper-layer header; never that of a fragment other than the first
 * @param from - both addresses as the checksum was made with, concatenated
 * @param to - both addresses as they are now
 * @returns false when the packet ends before its checksum; nothing is changed then
 */
export function fixChecksum(
  bytes: Uint8Array,
  at: number,
  end: number,
  protocol: number,
  from: Uint8Array,
  to: Uint8Array,
): boolean {
  const offset = checksumOffset(protocol)
  if (offset === undefined) return true
  if (at + offset + 2 > end) return false
  const old = getU16(bytes, at + offset)
  setU16(bytes, at + offset, (protocol === IpProtocol.UDP ? updateUdpChecksum : updateChecksum)(old, from, to))
  return true
}
