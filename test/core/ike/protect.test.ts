import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Rng } from '../../../core/contracts/machine.ts'
import type { DirectionKeys } from '../../../core/ike/keys.ts'
import { Protector } from '../../../core/ike/protect.ts'
import { ikeSuite } from '../../../core/ike/selection.ts'
import { type IkeSuite, keymatLengths } from '../../../core/ike/suite.ts'
import {
  Encr,
  ExchangeType,
  Flag,
  Integ,
  Ke,
  Prf,
  parseIke,
  parsePayloads,
  serializePayloads,
} from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider as crypto } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import own from '../../vectors/crypto/ikev2-keys.json' with { type: 'json' }
import { find, hex, spi, strongswan, text } from './vectors.ts'

const rng = new SeededRng('protect')
const head = {
  initiatorSpi: spi(own.spiI),
  responderSpi: spi(own.spiR),
  exchange: ExchangeType.INFORMATIONAL,
  flags: Flag.INITIATOR,
  messageId: own.message.messageId,
}

const split = (key: string, saltLength: number, integ = ''): DirectionKeys => {
  const whole = hex(key)
  const at = whole.length - saltLength
  return { encr: whole.subarray(0, at), salt: whole.subarray(at), integ: hex(integ) }
}

test('an empty INFORMATIONAL request, worked out elsewhere', () => {
  const protector = new Protector(crypto, { encr: Encr.ENCR_AES_GCM_16 }, split(own.SK_ei, 4), rng, 7n)
  const message = protector.seal(head, [])
  expect(text(message)).toBe(own.message.octets)
  expect(protector.open(message, find(parseIke(message).payloads, 'SK').bodyAt)).toEqual(new Uint8Array(0))
})

describe.each(['rw-psk', 'rw-cert'] as const)('as strongSwan does: %s', name => {
  const { ikeSas, messages } = strongswan(name).hosts.alice
  const keys = ikeSas[0]!
  const suite = ikeSuite(find(parseIke(hex(messages[1]!.raw)).payloads, 'SA').proposals[0]!)!
  const salt = keymatLengths(suite).salt
  const ivs = (iv: string): [Rng, bigint] => [{ bytes: () => hex(iv) }, spi(iv.slice(0, 16))]

  test.each(messages.filter(m => m.encrypted))('message %#', ({ raw, initiator, iv, plaintext }) => {
    const direction = initiator ? split(keys.SK_ei, salt, keys.SK_ai) : split(keys.SK_er, salt, keys.SK_ar)
    for (const provider of [crypto, nobleProvider]) {
      const protector = new Protector(provider, suite, direction, ...ivs(iv!))
      const parsed = parseIke(hex(raw))
      const sk = find(parsed.payloads, 'SK')
      const chain = protector.open(hex(raw), sk.bodyAt)!
      expect(text(chain)).toBe(plaintext)

      const again = protector.seal(parsed.header, parsePayloads(sk.inner, chain))
      if (suite.integ === undefined) expect(text(again)).toBe(raw)
      // CBC: strongSwan pads with random octets, so nothing but the last block may differ
      expect(again).toHaveLength(raw.length / 2)
      expect(text(protector.open(again, sk.bodyAt)!)).toBe(plaintext)
    }
  })
})

const SUITES: readonly (IkeSuite & { name: string })[] = [
  { name: 'AES-GCM-16', encr: Encr.ENCR_AES_GCM_16, keyBits: 256 },
  { name: 'AES-GCM-8', encr: Encr.ENCR_AES_GCM_8, keyBits: 128 },
  { name: 'AES-CCM-16', encr: Encr.ENCR_AES_CCM_16, keyBits: 128 },
  { name: 'ChaCha20-Poly1305', encr: Encr.ENCR_CHACHA20_POLY1305 },
  { name: 'AES-CBC', encr: Encr.ENCR_AES_CBC, keyBits: 192, integ: Integ.AUTH_HMAC_SHA2_512_256 },
  { name: 'AES-CTR', encr: Encr.ENCR_AES_CTR, keyBits: 128, integ: Integ.AUTH_HMAC_SHA1_96 },
].map(suite => ({ ...suite, prf: Prf.PRF_HMAC_SHA2_256, ke: Ke.ECP_256 }))

describe.each(SUITES)('$name', suite => {
  const lengths = keymatLengths(suite)
  const keys = { encr: rng.bytes(lengths.encr), salt: rng.bytes(lengths.salt), integ: rng.bytes(lengths.integ) }
  const payloads = fc
    .array(fc.uint8Array({ maxLength: 60 }), { maxLength: 4 })
    .map(list => list.map(data => ({ type: 'V' as const, data })))
  const before = [{ type: 'V' as const, data: hex('c0ffee') }]

  test('opens to what was sealed, unprotected payloads in front or not; lengths are final', () => {
    const protector = new Protector(crypto, suite, keys, rng)
    fc.assert(
      fc.property(payloads, fc.boolean(), (inner, plainInFront) => {
        const message = protector.seal(head, inner, plainInFront ? before : [])
        const parsed = parseIke(message)
        const sk = find(parsed.payloads, 'SK')
        const { first, bytes } = serializePayloads(inner)
        expect(sk.inner).toBe(first)
        expect(sk.body).toHaveLength(protector.bodyLength(bytes.length))
        const untouched = message.slice()
        expect(protector.open(message, sk.bodyAt)).toEqual(bytes)
        expect(message).toEqual(untouched)
      }),
    )
  })

  test('a change of any one octet of the message is found', () => {
    const protector = new Protector(crypto, suite, keys, rng)
    const message = protector.seal(head, [{ type: 'V', data: hex('0102030405') }], before)
    const { bodyAt } = find(parseIke(message).payloads, 'SK')
    for (let at = 0; at < message.length; at++) {
      const changed = message.slice()
      changed[at]! ^= 0x80
      expect(protector.open(changed, bodyAt), `octet ${at}`).toBeUndefined()
    }
  })

  test('whatever comes in, opening gives undefined and never throws', () => {
    const protector = new Protector(crypto, suite, keys, rng)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(140), (message, bodyAt) => {
        expect(protector.open(message, bodyAt)).toBeUndefined()
      }),
    )
  })

  test('no IV comes twice', () => {
    const protector = new Protector(crypto, suite, keys, rng)
    const ivs = Array.from({ length: 50 }, () => {
      const message = protector.seal(head, [])
      const { bodyAt } = find(parseIke(message).payloads, 'SK')
      return text(message.subarray(bodyAt, bodyAt + 8))
    })
    expect(new Set(ivs).size).toBe(50)
  })

  test('fragments, RFC 7383: each opens by itself', () => {
    const protector = new Protector(crypto, suite, keys, rng)
    const { first, bytes } = serializePayloads([{ type: 'V', data: rng.bytes(500) }])
    const parts = [bytes.subarray(0, 300), bytes.subarray(300)]
    const opened = parts.map((part, i) => {
      const message = protector.sealFragment(head, i === 0 ? first : 0, i + 1, parts.length, part)
      const skf = find(parseIke(message).payloads, 'SKF')
      expect(skf).toMatchObject({ number: i + 1, total: 2, inner: i === 0 ? first : 0 })
      return protector.open(message, skf.bodyAt)
    })
    expect(opened).toEqual(parts)
  })
})

test('padding longer than the message is malformed', () => {
  const suite = { encr: Encr.ENCR_NULL, integ: Integ.AUTH_HMAC_SHA2_256_128 }
  const keys = { encr: new Uint8Array(0), salt: new Uint8Array(0), integ: new Uint8Array(32) }
  const protector = new Protector(crypto, suite, keys, rng)
  const message = protector.seal(head, [])
  const { bodyAt } = find(parseIke(message).payloads, 'SK')
  message[bodyAt] = 1 // Pad Length
  crypto.mac(suite.integ, keys.integ).sign(message.subarray(0, bodyAt + 1), undefined, message.subarray(bodyAt + 1))
  expect(protector.open(message, bodyAt)).toBeUndefined()
})

test('a cipher without integrity protection is refused', () => {
  const keys = { encr: new Uint8Array(16), salt: new Uint8Array(0), integ: new Uint8Array(0) }
  expect(() => new Protector(crypto, { encr: Encr.ENCR_AES_CBC }, keys, rng)).toThrow(
    expect.objectContaining({ code: 'USAGE_UNSUPPORTED_TRANSFORM' }),
  )
})
