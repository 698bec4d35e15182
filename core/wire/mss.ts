import { updateChecksum } from './checksum.ts'
import { getU16, setU16 } from './fields.ts'

/** TCP's maximum segment size option, RFC 9293 §3.7.1. */

const HEADER = 20
const OFFSET = 12
const FLAGS = 13
const CHECKSUM = 16
const SYN = 0x02
const Kind = { END: 0, NOP: 1, MSS: 2 } as const

/**
 * Lowers the MSS that a SYN announces, and mends its checksum; nothing is added where there is none.
 *
 * @param at - of the TCP header in `bytes`
 * @param end - of the segment
 * @param most - octets of data
 * @returns whether anything was changed
 */
export function clampMss(bytes: Uint8Array, at: number, end: number, most: number): boolean {
  if (end - at < HEADER || (bytes[at + FLAGS]! & SYN) === 0) return false
  const dataAt = at + (bytes[at + OFFSET]! >>> 4) * 4
  if (dataAt > end) return false
  for (let option = at + HEADER; option + 4 <= dataAt; ) {
    const kind = bytes[option]!
    if (kind === Kind.END) return false
    if (kind === Kind.NOP) {
      option++
      continue
    }
    const length = bytes[option + 1]!
    if (length < 2) return false
    if (kind === Kind.MSS && length === 4) return lower(bytes, at, option + 2, most)
    option += length
  }
  return false
}

function lower(bytes: Uint8Array, at: number, field: number, most: number): boolean {
  if (getU16(bytes, field) <= most) return false
  const old = bytes.slice(field, field + 2)
  setU16(bytes, field, most)
  const now = bytes.slice(field, field + 2)
  // at an odd offset the two octets are halves of two words of the sum: it is the same with them exchanged
  if ((field - at) % 2 === 1) for (const octets of [old, now]) octets.reverse()
  setU16(bytes, at + CHECKSUM, updateChecksum(getU16(bytes, at + CHECKSUM), old, now))
  return true
}
