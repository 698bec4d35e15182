/**
 * IPv4 options in BEET: a pseudo header in front of them inside ESP, RFC 7402 appendix B and Linux.
 *
 *   Next Header | Header Len | Pad Len | Reserved | padding, 0 or 4 octets | options, 0 to 40 octets
 *
 * Header Len is in 8 octets and leaves out the first 8. Nothing here allocates.
 */
export const PseudoHeader = { NEXT_HEADER: 0, LENGTH: 1, PAD_LENGTH: 2, RESERVED: 3, OCTETS: 4 } as const

const NOP = 1
const PADDING = 4
/** IPv4's header length has four bits for 32-bit words, five of them spent. */
const MOST_OPTIONS = 40

/**
 * Puts the pseudo header and its padding right in front of options.
 *
 * @param optionsAt - at least 8 octets in front of it are free
 * @param length - of the options, a multiple of 4
 * @param protocol - of what follows the options
 * @returns where the pseudo header starts
 */
export function writePseudoHeader(bytes: Uint8Array, optionsAt: number, length: number, protocol: number): number {
  const padding = length % 8 === 0 ? PADDING : 0
  const at = optionsAt - padding - PseudoHeader.OCTETS
  bytes[at + PseudoHeader.NEXT_HEADER] = protocol
  bytes[at + PseudoHeader.LENGTH] = length >> 3
  bytes[at + PseudoHeader.PAD_LENGTH] = padding
  bytes[at + PseudoHeader.RESERVED] = 0
  bytes.fill(NOP, at + PseudoHeader.OCTETS, optionsAt)
  return at
}

/**
 * Octets of options behind the pseudo header at `start`; they end where the upper layer begins. Neither the padding nor
 * the reserved octet is looked at: Linux leaves an octet of an inner address in it.
 *
 * @returns -1 when it is cut off, or says what no IPv4 header can hold
 */
export function optionsLength(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < PseudoHeader.OCTETS) return -1
  const padding = bytes[start + PseudoHeader.PAD_LENGTH]!
  if (padding !== 0 && padding !== PADDING) return -1
  const total = 8 * (bytes[start + PseudoHeader.LENGTH]! + 1)
  const length = total - PseudoHeader.OCTETS - padding
  return length > MOST_OPTIONS || total > end - start ? -1 : length
}
