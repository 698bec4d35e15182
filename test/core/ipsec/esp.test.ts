import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { octets } from '../../../core/contracts/packet.ts'
import { EspOpener, EspSealer, stripTrailer } from '../../../core/ipsec/index.ts'
import { Encr, espSequence } from '../../../core/wire/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { hex, keysFor, PROVIDERS, packetOf, suiteNamed, suitesOf, toHex } from './sample.ts'

describe.each(PROVIDERS)('$name', crypto => {
  const sealed = (name: string, esn: boolean, payload: Uint8Array, first = 1) => {
    const suite = suiteNamed(name, esn)
    const keys = keysFor(suite, 0x1234_5678)
    const packet = packetOf(payload)
    packet.nextHeader = 17
    expect(new EspSealer(crypto, suite, keys, new SeededRng('iv'), first).seal(packet)).toBeUndefined()
    return { packet, opener: new EspOpener(crypto, suite, keys) }
  }

  describe.each(suitesOf(crypto))('%s', name => {
    test.each([false, true])('what is sealed opens, of every length; esn %s', esn => {
      const first = esn ? 2 ** 32 + 5 : 5
      for (let length = 0; length < 40; length++) {
        const payload = new SeededRng(length).bytes(length)
        const { packet, opener } = sealed(name, esn, payload, first)
        expect((packet.end - packet.start) % 4).toBe(0)
        expect(opener.open(packet, first)).toBeUndefined()
        expect(stripTrailer(packet)).toBeUndefined()
        expect(packet.nextHeader).toBe(17)
        expect(toHex(octets(packet))).toBe(toHex(payload))
      }
    })

    test('large packets', () => {
      for (const length of [1400, 9000, 65_000]) {
        const payload = new SeededRng(length).bytes(length)
        const { packet, opener } = sealed(name, false, payload)
        expect(opener.open(packet, 1)).toBeUndefined()
        stripTrailer(packet)
        expect(Buffer.compare(octets(packet), payload)).toBe(0)
      }
    })

    test('every flipped bit is noticed', () => {
      const { packet, opener } = sealed(name, false, hex('00112233445566'))
      const bytes = octets(packet).slice()
      // not those of the SPI, which has selected the SA
      for (let bit = 4 * 8; bit < bytes.length * 8; bit++) {
        const forged = packetOf(bytes)
        forged.bytes[forged.start + (bit >> 3)]! ^= 1 << (bit & 7)
        expect(opener.open(forged, espSequence(forged.bytes, forged.start))).toBe('integrity')
      }
    })

    test('with ESN the high half is covered', () => {
      const { packet, opener } = sealed(name, true, hex('0011'), 2 ** 32 + 1)
      const bytes = octets(packet).slice()
      expect(opener.open(packetOf(bytes), 2 * 2 ** 32 + 1)).toBe('integrity')
      expect(opener.open(packetOf(bytes), 2 ** 32 + 1)).toBeUndefined()
    })

    test('hostile octets never throw', () => {
      const { packet, opener } = sealed(name, false, hex('00112233445566'))
      const genuine = octets(packet).slice()
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (noise, cut) => {
          expect(['malformed', 'integrity']).toContain(opener.open(packetOf(noise), 1))
          const short = genuine.subarray(0, Math.min(cut, genuine.length - 1))
          expect(['malformed', 'integrity']).toContain(opener.open(packetOf(short), 1))
        }),
        { numRuns: 50 },
      )
    })
  })

  test('known answers, AES-GCM-16', () => {
    const keys = {
      spi: 0x1234_5678,
      encr: hex('2b9b2f8d7f6469c5053114fe8b9f093e'),
      salt: hex('4c8d1156'),
      integ: new Uint8Array(0),
    }
    const head = '12345678000000010000000000000001' + '1ee627c970129326d4ebd857'
    for (const [esn, first, icv] of [
      [false, 1, '4f8aa4bda7b0c920c0457257deda512c'],
      [true, 2 ** 32 + 1, '87a60dd756e7abcbe229543b3e913499'],
    ] as const) {
      const packet = packetOf(new TextEncoder().encode('hello ESP!'))
      packet.nextHeader = 17
      const sealer = new EspSealer(crypto, suiteNamed('aes128gcm16', esn), keys, new SeededRng(1), first)
      expect(sealer.sealWith(packet, hex('0000000000000001'))).toBeUndefined()
      expect(toHex(octets(packet))).toBe(head + icv)
    }
  })
})

const [noble] = PROVIDERS
const crypto = noble!

test('counting IVs are the sequence number, CBC draws fresh ones', () => {
  const ivs = (name: string, ivLength: number) => {
    const suite = suiteNamed(name)
    const sealer = new EspSealer(crypto, suite, keysFor(suite, 1000), new SeededRng('iv'))
    return Array.from({ length: 600 }, () => {
      const packet = packetOf(hex('00'))
      sealer.seal(packet)
      return toHex(octets(packet).subarray(8, 8 + ivLength))
    })
  }
  expect(ivs('aes128gcm16', 8).slice(0, 2)).toEqual(['0000000000000001', '0000000000000002'])
  expect(new Set(ivs('aes128-sha256', 16)).size).toBe(600)
})

test('a key is not used past its last sequence number', () => {
  const suite = suiteNamed('null-sha256')
  const sealer = new EspSealer(crypto, suite, keysFor(suite, 1000), new SeededRng(1), 2 ** 32 - 1)
  const [last, beyond] = [packetOf(hex('00')), packetOf(hex('00'))]
  expect(sealer.seal(last)).toBeUndefined()
  expect(toHex(octets(last)).slice(8, 16)).toBe('ffffffff')
  expect(sealer.seal(beyond)).toBe('sequence-exhausted')
  expect(toHex(octets(beyond))).toBe('00')
})

test('a packet that outgrows IP is not sealed and uses up no number', () => {
  const suite = suiteNamed('null-sha256')
  const sealer = new EspSealer(crypto, suite, keysFor(suite, 1000), new SeededRng(1))
  expect(sealer.seal(packetOf(new Uint8Array(65_530)))).toBe('too-big')
  expect(sealer.next).toBe(1)
})

test('padding that claims more than there is', () => {
  const packet = packetOf(hex('aabb03040311'))
  packet.bytes[packet.end - 2] = 5
  expect(stripTrailer(packet)).toBe('padding')
  packet.bytes[packet.end - 2] = 4
  expect(stripTrailer(packet)).toBeUndefined()
  expect(packet.end).toBe(packet.start)
})

test.each([
  { name: 'encryption without integrity', suite: { encr: Encr.ENCR_AES_CBC, keyBits: 128, esn: false } },
  { name: 'an unknown cipher', suite: { encr: 200, esn: false } },
  { name: 'a salt of the wrong length', suite: suiteNamed('aes128gmac') },
])('refused: $name', ({ suite }) => {
  const keys = { spi: 256, encr: new Uint8Array(16), salt: new Uint8Array(0), integ: new Uint8Array(0) }
  expect(() => new EspOpener(crypto, suite, keys)).toThrow(
    expect.objectContaining({ code: 'USAGE_UNSUPPORTED_TRANSFORM' }),
  )
})
