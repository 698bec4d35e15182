import { HEADROOM, type Packet } from '../contracts/packet.ts'
import { fixIpv4Checksum, getU16, Ipv4, ipv4HeaderLength, setU16 } from '../wire/index.ts'

const MORE_FRAGMENTS = 0x2000
const OFFSET = 0x1fff
/** Options with this bit stand in every fragment; the others in the first one only, RFC 791 §3.1. */
const COPIED = 0x80
const Option = { END: 0, NOP: 1 } as const

/**
 * Cuts an inner IPv4 packet that may be cut, RFC 791 §3.2, so that each part fits one outer packet. A fragment may be cut
 * again.
 *
 * @param packet - well-formed, without DF, longer than `mtu`; left as it was
 * @param mtu - octets of a part, at least 68
 * @param into - takes each part at HEADROOM, before `each`
 */
export function cutIpv4<R>(
  packet: Packet,
  end: number,
  mtu: number,
  into: Packet,
  each: () => R | undefined,
): R | undefined {
  const { bytes, start } = packet
  const header = ipv4HeaderLength(bytes, start)
  const field = getU16(bytes, start + Ipv4.FRAGMENT)
  const room = (mtu - header) & ~7
  for (let from = start + header; from < end; from += room) {
    const to = Math.min(from + room, end)
    const part = into.bytes
    part.set(bytes.subarray(start, start + header), HEADROOM)
    part.set(bytes.subarray(from, to), HEADROOM + header)
    into.start = HEADROOM
    into.end = HEADROOM + header + to - from
    const more = to < end ? MORE_FRAGMENTS : field & MORE_FRAGMENTS
    setU16(part, HEADROOM + Ipv4.TOTAL_LENGTH, header + to - from)
    setU16(part, HEADROOM + Ipv4.FRAGMENT, more | ((field & OFFSET) + (from - start - header) / 8))
    if (from > start + header) blankOptions(part, HEADROOM + Ipv4.HEADER, HEADROOM + header)
    fixIpv4Checksum(part, HEADROOM)
    const failure = each()
    if (failure !== undefined) return failure
  }
  return undefined
}

function blankOptions(bytes: Uint8Array, from: number, to: number): void {
  for (let at = from; at < to; ) {
    const kind = bytes[at]!
    if (kind === Option.END) return
    const length = kind === Option.NOP ? 1 : at + 1 < to ? bytes[at + 1]! : 0
    if (length < 1 || at + length > to || (kind !== Option.NOP && length < 2)) return
    if ((kind & COPIED) === 0) bytes.fill(Option.NOP, at, at + length)
    at += length
  }
}
