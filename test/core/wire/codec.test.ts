import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UsageError, WireError } from '../../../core/errors.ts'
import {
  decode,
  encode,
  fixed,
  Reader,
  reserved,
  rest,
  struct,
  u8,
  u16,
  u24,
  u32,
  u64,
  Writer,
} from '../../../core/wire/index.ts'
import { hex, toHex } from './octets.ts'

const sample = struct({ a: u8, b: reserved(u16, 3), c: u24, d: u32, e: u64, f: fixed(2), g: rest })
const values = fc.record({
  a: fc.nat(0xff),
  b: fc.nat(0xffff),
  c: fc.nat(0xff_ffff),
  d: fc.nat(0xffff_ffff),
  e: fc.bigInt(0n, 0xffff_ffff_ffff_ffffn),
  f: fc.uint8Array({ minLength: 2, maxLength: 2 }),
  g: fc.uint8Array({ maxLength: 600 }),
})

describe('struct', () => {
  test('stands on the wire in the order of its fields', () => {
    const value = { a: 1, b: 2, c: 3, d: 4, e: 5n, f: hex('0607'), g: hex('08') }
    expect(toHex(encode(sample, value))).toBe('0100020000000000030000000400000000000000050607' + '08')
  })

  test('reads what it wrote', () => {
    fc.assert(
      fc.property(values, value => {
        expect(decode(sample, encode(sample, value))).toEqual(value)
      }),
    )
  })

  test('refuses every truncation', () => {
    const whole = encode(sample, { a: 1, b: 2, c: 3, d: 4, e: 5n, f: hex('0607'), g: new Uint8Array() })
    for (let length = 0; length < whole.length; length++)
      expect(() => decode(sample, whole.subarray(0, length))).toThrow(WireError)
  })
})

describe('Reader', () => {
  test('says where, how much was wanted and how much is there', () => {
    const reader = new Reader(hex('00112233'))
    reader.skip(1)
    const inner = reader.sub(2)
    inner.u8()
    expect(() => inner.u32()).toThrow('at 2: wanted 4 octets, 1 available')
  })

  test('sub cannot see past its length, and the outer goes on behind it', () => {
    const reader = new Reader(hex('00112233'))
    expect(toHex(reader.sub(2).take(2))).toBe('0011')
    expect(reader.u16()).toBe(0x2233)
  })

  test('take gives a view, not a copy', () => {
    const octets = hex('0011')
    const view = new Reader(octets).take(2)
    octets[0] = 0xff
    expect(view[0]).toBe(0xff)
  })

  test('reads from the middle of a larger buffer', () => {
    expect(new Reader(hex('ffff1234ffff').subarray(2, 4)).u16()).toBe(0x1234)
  })

  test('a length field smaller than its own header is malformed', () => {
    expect(() => new Reader(hex('0000')).sub(-4)).toThrow(WireError)
  })

  test('decode refuses octets behind the value', () => {
    expect(() => decode(u8, hex('0102'))).toThrow('1 octets too many at 1')
  })
})

describe('Writer', () => {
  test.each<[string, (w: Writer) => void]>([
    ['u8', w => w.u8(256)],
    ['u8 below zero', w => w.u8(-1)],
    ['u8 of a fraction', w => w.u8(1.5)],
    ['u8 of NaN', w => w.u8(Number.NaN)],
    ['u15', w => w.u15(0x8000)],
    ['u16', w => w.u16(0x10000)],
    ['u24', w => w.u24(0x100_0000)],
    ['u32', w => w.u32(2 ** 32)],
    ['u64', w => w.u64(2n ** 64n)],
    ['u64 below zero', w => w.u64(-1n)],
    ['fixed', w => fixed(2).write(w, hex('00'))],
    ['patch of what is not written', w => w.patchU16(0, 1)],
  ])('%s that does not fit throws', (_, write) => {
    const writer = new Writer()
    expect(() => write(writer)).toThrow(UsageError)
    expect(writer.length).toBe(0)
  })

  test('grows, and patches what was written', () => {
    const writer = new Writer(1)
    writer.u16(0)
    writer.put(new Uint8Array(1000).fill(7))
    writer.u32(0)
    writer.patchU16(0, writer.length)
    writer.patchU32(1002, 0xdeadbeef)
    writer.patchU8(2, 9)
    const octets = writer.finish()
    expect(octets.length).toBe(1006)
    expect(toHex(octets.subarray(0, 4))).toBe('03ee0907')
    expect(toHex(octets.subarray(1002))).toBe('deadbeef')
  })
})
