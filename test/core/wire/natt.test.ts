import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addressBytes, classifyNatt, espSequence, espSpi, natDetectionInput } from '../../../core/wire/index.ts'
import { hex, toHex } from './octets.ts'

describe('one port for IKE and ESP, RFC 3948 §2', () => {
  test.each([
    ['', 'short'],
    ['ff', 'keepalive'],
    ['00', 'short'],
    ['ffff', 'short'],
    ['000000', 'short'],
    ['00000000', 'ike'],
    ['00000000 0102030405060708', 'ike'],
    ['ffffffff', 'esp'],
    ['00000001 00000001', 'esp'],
    ['80000000 00000001', 'esp'],
  ])('%s is %s', (digits, kind) => {
    const octets = hex(digits)
    expect(classifyNatt(octets, 0, octets.length)).toBe(kind)
    const padded = hex(`aaaa${digits}00000000`)
    expect(classifyNatt(padded, 2, 2 + octets.length)).toBe(kind)
  })

  test('SPI and sequence number are unsigned', () => {
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff), (spi, sequence) => {
        const octets = new Uint8Array(9)
        new DataView(octets.buffer).setUint32(1, spi)
        new DataView(octets.buffer).setUint32(5, sequence)
        expect([espSpi(octets, 1), espSequence(octets, 1)]).toEqual([spi, sequence])
      }),
    )
  })
})

describe('NAT detection, RFC 7296 §2.23', () => {
  const I = 0x0102030405060708n
  const R = 0x1112131415161718n
  test.each([
    ['source of the request', 0n, '10.1.0.10', '39c8075fd838dfed4c4a7b9c2cbc521d79184350'],
    ['destination of the request', 0n, '192.0.2.1', '644b4575455bd6fcc1efe2be8162a9218e448e5f'],
    ['source of the response', R, '192.0.2.1', 'd798d986143f878f70765e0e869c80bbc375f701'],
  ])('%s', (_, responderSpi, address, digest) => {
    const input = natDetectionInput(I, responderSpi, addressBytes(address), 500)
    expect(createHash('sha1').update(input).digest('hex')).toBe(digest)
  })

  test('the octets that are hashed', () => {
    expect(toHex(natDetectionInput(I, 0n, addressBytes('10.1.0.10'), 500))).toBe(
      '0102030405060708' + '0000000000000000' + '0a01000a' + '01f4',
    )
    expect(natDetectionInput(I, R, addressBytes('::1'), 4500)).toHaveLength(34)
  })
})
