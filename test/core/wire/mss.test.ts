import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addressBytes, clampMss, internetChecksum, pseudoHeaderSum } from '../../../core/wire/index.ts'

const [source, destination] = [addressBytes('10.1.0.1'), addressBytes('10.2.0.1')]

const sum = (segment: Uint8Array): number =>
  internetChecksum(segment, 0, segment.length, pseudoHeaderSum(source, destination, 6, segment.length))

/** A TCP segment with these options, padded to whole words, and a right checksum. */
function segment(options: readonly number[], flags = 0x02, data = 0): Uint8Array {
  const words = Math.ceil(options.length / 4)
  const bytes = new Uint8Array(20 + 4 * words + data).fill(0x5a, 20 + 4 * words)
  bytes.set([0xab, 0xcd, 0x01, 0xbb, 1, 2, 3, 4])
  bytes[12] = (5 + words) << 4
  bytes[13] = flags
  bytes.set(options, 20)
  const checksum = sum(bytes)
  bytes.set([checksum >>> 8, checksum & 0xff], 16)
  return bytes
}

const mss = (octets: number): number[] => [2, 4, octets >>> 8, octets & 0xff]

describe('clampMss', () => {
  test.each([
    ['first', mss(1460), 22],
    ['behind others', [4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, ...mss(1460)], 34],
    ['at an odd place', [1, ...mss(1460), 3, 3, 7], 23],
  ])('lowers what is announced: %s', (_, options, at) => {
    for (const flags of [0x02, 0x12]) {
      const bytes = segment(options, flags, 5)
      expect(clampMss(bytes, 0, bytes.length, 1348)).toBe(true)
      expect((bytes[at]! << 8) | bytes[at + 1]!).toBe(1348)
      expect(sum(bytes)).toBe(0)
    }
  })

  test.each([
    ['no SYN', segment(mss(1460), 0x10)],
    ['small enough', segment(mss(1348))],
    ['none announced', segment([1, 1, 4, 2])],
    ['behind the end of options', segment([0, ...mss(1460)])],
    ['an option of no length', segment([8, 0, ...mss(1460)])],
    ['of another length', segment([2, 6, 5, 180, 0, 0])],
    ['cut off', segment(mss(1460)).subarray(0, 22)],
    ['shorter than a header', segment([]).subarray(0, 13)],
  ])('leaves the segment alone: %s', (_, bytes) => {
    const before = bytes.slice()
    expect(clampMss(bytes, 0, bytes.length, 1348)).toBe(false)
    expect(bytes).toEqual(before)
  })

  test('whatever the options are, a right checksum stays right and nothing else changes', () => {
    const option = fc.oneof(
      fc.constant([1]),
      fc.integer({ min: 0, max: 65_535 }).map(mss),
      fc.uint8Array({ minLength: 1, maxLength: 6 }).map(bytes => [...bytes]),
    )
    const options = fc.array(option, { maxLength: 8 }).map(parts => parts.flat().slice(0, 40))
    fc.assert(
      fc.property(options, fc.integer({ min: 0, max: 65_535 }), (parts, most) => {
        const bytes = segment(parts)
        const before = bytes.slice()
        const changed = clampMss(bytes, 0, bytes.length, most)
        expect(sum(bytes)).toBe(0)
        const differing = [...bytes.keys()].filter(at => bytes[at] !== before[at] && at !== 16 && at !== 17)
        expect(differing.length).toBeLessThanOrEqual(changed ? 2 : 0)
      }),
    )
  })

  test('noise does no harm', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), bytes => {
        clampMss(bytes, 0, bytes.length, 1000)
      }),
    )
  })
})
