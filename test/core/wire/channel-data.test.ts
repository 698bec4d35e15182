import fc from 'fast-check'
import { expect, test } from 'vitest'
import { UsageError } from '../../../core/errors.ts'
import {
  ChannelData,
  channelDataLength,
  channelNumber,
  StunMethod,
  serializeStun,
  turnFrameLength,
  writeChannelHeader,
} from '../../../core/wire/index.ts'
import { hex } from './octets.ts'

const number = fc.integer({ min: 0x4000, max: 0x4fff })

function channelData(channel: number, data: Uint8Array, padding = 0): Uint8Array {
  const whole = new Uint8Array(ChannelData.HEADER + data.length + padding)
  writeChannelHeader(whole, 0, channel, data.length)
  whole.set(data, ChannelData.HEADER)
  return whole
}

test('as RFC 8656 §12.4 draws it', () => {
  expect(channelData(0x4001, hex('aabbcc'))).toEqual(hex('40010003aabbcc'))
})

test('reads as it was written; every truncation is none; any octets are harmless', () => {
  fc.assert(
    fc.property(number, fc.uint8Array({ maxLength: 40 }), fc.nat(3), (channel, data, padding) => {
      const whole = channelData(channel, data, padding)
      expect(channelNumber(whole, 0)).toBe(channel)
      expect(channelDataLength(whole, 0, whole.length)).toBe(data.length)
      for (let end = 0; end < ChannelData.HEADER + data.length; end++)
        expect(channelDataLength(whole, 0, end)).toBeUndefined()
    }),
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), random => {
      const length = channelDataLength(random, 0, random.length)
      if (length === undefined) return
      expect(length + ChannelData.HEADER).toBeLessThanOrEqual(random.length)
      expect(channelNumber(random, 0)).toBeGreaterThanOrEqual(0x4000)
      expect(channelNumber(random, 0)).toBeLessThanOrEqual(0x4fff)
    }),
  )
})

test.each([
  [0x3fff, 1],
  [0x5000, 1],
  [0x4000, 0x1_0000],
  [0x4000, -1],
])('channel %i with %i octets is not written', (channel, length) => {
  expect(() => writeChannelHeader(new Uint8Array(4), 0, channel, length)).toThrow(UsageError)
})

test('a stream of messages falls apart where they end', () => {
  const request = serializeStun({
    class: 'request',
    method: StunMethod.Refresh,
    transaction: new Uint8Array(12),
    attributes: [{ type: 'LIFETIME', value: 0 }],
  })
  const stream = Uint8Array.of(...channelData(0x4000, hex('aabbcc'), 1), ...request, ...channelData(0x4fff, hex('')))
  const lengths = []
  for (let at = 0; at < stream.length; ) {
    const length = turnFrameLength(stream, at, stream.length)!
    lengths.push(length)
    at += length
  }
  expect(lengths).toEqual([8, 28, 4])
  expect(turnFrameLength(stream, 0, 3)).toBeUndefined()
  for (const strange of ['80000000', '50000000', '00010003']) expect(turnFrameLength(hex(strange), 0, 4)).toBe(0)
})
