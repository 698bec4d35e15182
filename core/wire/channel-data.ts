import { UsageError } from '../errors.ts'
import { getU16, setU16 } from './fields.ts'
import { STUN_HEADER } from './stun-numbers.ts'

/** TURN's ChannelData, RFC 8656 §12.4, at fixed offsets in the caller's buffer, and TURN's messages in a stream. */
export const ChannelData = { NUMBER: 0, LENGTH: 2, HEADER: 4 } as const

/** Numbers that a client may bind; servers of RFC 5766 have more, which nobody needs. */
export const CHANNELS = { first: 0x4000, last: 0x4fff } as const

/** @param at - 4 octets must be there */
export const channelNumber = (bytes: Uint8Array, at: number): number => getU16(bytes, at + ChannelData.NUMBER)

/**
 * Octets of application data behind the header.
 *
 * @returns undefined when this is no ChannelData, or ends before its data does; padding behind it is fine
 */
export function channelDataLength(bytes: Uint8Array, start: number, end: number): number | undefined {
  if (end - start < ChannelData.HEADER || bytes[start]! < 0x40 || bytes[start]! > 0x4f) return undefined
  const length = getU16(bytes, start + ChannelData.LENGTH)
  return length <= end - start - ChannelData.HEADER ? length : undefined
}

/** Writes the 4 octets in front of `length` octets of data. @throws UsageError USAGE_FIELD_RANGE */
export function writeChannelHeader(bytes: Uint8Array, at: number, number: number, length: number): void {
  if (number < CHANNELS.first || number > CHANNELS.last || length < 0 || length > 0xffff)
    throw new UsageError('USAGE_FIELD_RANGE', `channel ${number}, ${length} octets`)
  setU16(bytes, at + ChannelData.NUMBER, number)
  setU16(bytes, at + ChannelData.LENGTH, length)
}

/**
 * Where the message ends that starts at `start` of a stream (TCP, TLS): ChannelData is padded to four octets there.
 *
 * @returns octets from `start` on, which may not all be there yet; undefined while the length itself is not;
 * 0 when this is neither STUN nor ChannelData, after which the stream makes no sense any more
 */
export function turnFrameLength(bytes: Uint8Array, start: number, end: number): number | undefined {
  if (end - start < ChannelData.HEADER) return undefined
  const first = bytes[start]!
  const length = getU16(bytes, start + ChannelData.LENGTH)
  if (first < 0x40) return length % 4 === 0 ? STUN_HEADER + length : 0
  return first <= 0x4f ? ChannelData.HEADER + length + (-length & 3) : 0
}
