import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CryptoProvider, TransformType } from '../../../core/contracts/crypto.ts'
import { PeerError } from '../../../core/errors.ts'
import { Encr, Integ, Ke, Prf } from '../../../core/wire/index.ts'
import { nodeCryptoProvider as node } from '../../../plugins/node-crypto/index.ts'
import { opensslProvider } from '../../../plugins/openssl/index.ts'
import { SeededRng } from '../../kit/index.ts'

/** One library by two ways: what goes wrong between JavaScript and C shows as a difference. */
const openssl = opensslProvider() as CryptoProvider

const exactly = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const text = fc.oneof(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ minLength: 1_300, maxLength: 1_500 }))

const AEADS = [
  ...[Encr.ENCR_AES_GCM_8, Encr.ENCR_AES_GCM_12, Encr.ENCR_AES_GCM_16, Encr.ENCR_NULL_AUTH_AES_GMAC].flatMap(id =>
    [16, 24, 32].map(size => ({ id, size, nonce: 12 })),
  ),
  ...[Encr.ENCR_AES_CCM_8, Encr.ENCR_AES_CCM_12, Encr.ENCR_AES_CCM_16].flatMap(id =>
    [16, 24, 32].map(size => ({ id, size, nonce: 11 })),
  ),
  { id: Encr.ENCR_CHACHA20_POLY1305, size: 32, nonce: 12 },
]

describe.each(AEADS)('AEAD $id with $size octets of key', ({ id, size, nonce }) => {
  test('one context seals and opens many packets as fresh ones do, in place and apart', () => {
    const key = new Uint8Array(size).map((_, i) => i * 7)
    const [mine, theirs] = [openssl.aead(id, key), node.aead(id, key)]
    expect(mine.tagLength).toBe(theirs.tagLength)
    fc.assert(
      fc.property(exactly(nonce), fc.uint8Array({ maxLength: 100 }), text, fc.nat(9), (n, aad, plain, at) => {
        const wanted = new Uint8Array(plain.length + theirs.tagLength)
        theirs.seal(n, aad, plain, wanted)
        const apart = new Uint8Array(wanted.length)
        mine.seal(n, aad, plain, apart)
        expect(apart).toEqual(wanted)

        const packet = new Uint8Array(at + wanted.length + 100)
        packet.set(plain, at)
        mine.sealAt!(n, aad, packet, at, at + plain.length)
        expect(packet.subarray(at, at + wanted.length)).toEqual(wanted)
        const end = at + wanted.length
        const forged = packet.slice()
        forged[at + (n[0]! % wanted.length)]! ^= 4
        expect(mine.openAt!(n, aad, forged, at, end)).toBe(false)
        expect(mine.openAt!(n, aad, packet, at, at + theirs.tagLength - 1)).toBe(false)
        expect(mine.openAt!(n, aad, packet, at, end)).toBe(true)
        expect(packet.subarray(at, at + plain.length)).toEqual(plain)

        const out = new Uint8Array(plain.length)
        expect(mine.open(n, aad, wanted, out)).toBe(true)
        expect(out).toEqual(plain)
      }),
      { numRuns: 40 },
    )
    mine.destroy()
    mine.destroy()
  })
})

describe.each(
  [16, 24, 32].flatMap(size => [
    { id: Encr.ENCR_AES_CBC, size, iv: 16 },
    { id: Encr.ENCR_AES_CTR, size: size + 4, iv: 8 },
  ]),
)('cipher $id with $size octets of key', ({ id, size, iv: ivLength }) => {
  test('encrypts and decrypts alike', () => {
    const key = new Uint8Array(size).map((_, i) => i * 5)
    const [mine, theirs] = [openssl.cipher(id, key), node.cipher(id, key)]
    fc.assert(
      fc.property(exactly(ivLength), text, (iv, given) => {
        const plain = given.slice(0, given.length - (given.length % mine.blockLength))
        const wanted = new Uint8Array(plain.length)
        theirs.encrypt(iv, plain, wanted)
        const data = plain.slice()
        mine.encrypt(iv, data, data)
        expect(data).toEqual(wanted)
        mine.decrypt(iv, data, data)
        expect(data).toEqual(plain)
      }),
    )
    mine.destroy()
  })
})

test.each([
  [Integ.AUTH_HMAC_SHA1_96, 20],
  [Integ.AUTH_HMAC_SHA2_256_128, 32],
  [Integ.AUTH_HMAC_SHA2_384_192, 48],
  [Integ.AUTH_HMAC_SHA2_512_256, 64],
])('integrity algorithm %i signs alike', (id, size) => {
  const key = new Uint8Array(size).map((_, i) => i * 3)
  const [mine, theirs] = [openssl.mac(id, key), node.mac(id, key)]
  fc.assert(
    fc.property(text, fc.option(exactly(4), { nil: undefined }), (data, tail) => {
      const [a, b] = [new Uint8Array(mine.length), new Uint8Array(theirs.length)]
      mine.sign(data, tail, a)
      theirs.sign(data, tail, b)
      expect(a).toEqual(b)
    }),
  )
  mine.destroy()
})

test.each([
  [Prf.PRF_HMAC_SHA1, 20],
  [Prf.PRF_HMAC_SHA2_256, 32],
  [Prf.PRF_HMAC_SHA2_384, 48],
  [Prf.PRF_HMAC_SHA2_512, 64],
])('PRF %i is the same, whatever the lengths of key and parts', (id, length) => {
  const any = fc.oneof(text, exactly(0), fc.uint8Array({ minLength: 600, maxLength: 700 }))
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(any, { maxLength: 4 }), (key, parts) => {
      const [given, before] = [key.slice(), parts.map(part => part.slice())]
      const out = openssl.prf(id, key, ...parts)
      expect(out).toHaveLength(length)
      expect(out).toEqual(node.prf(id, key, ...parts))
      expect([key, parts]).toEqual([given, before])
    }),
  )
})

test('X25519 agrees with the other way, wipes what it drew, and is over when it is destroyed', () => {
  const drawn: Uint8Array[] = []
  const rng = (name: string) => {
    const seeded = new SeededRng(name)
    return { bytes: (length: number) => drawn[drawn.push(seeded.bytes(length)) - 1]! }
  }
  for (let i = 0; i < 20; i++) {
    const [mine, theirs] = [
      openssl.keyExchange(Ke.CURVE25519, rng(`a${i}`)),
      node.keyExchange(Ke.CURVE25519, rng(`b${i}`)),
    ]
    expect(mine.publicValue).toEqual(node.keyExchange(Ke.CURVE25519, rng(`a${i}`)).publicValue)
    expect(mine.shared(theirs.publicValue)).toEqual(theirs.shared(mine.publicValue))
    expect(drawn[3 * i]!.every(octet => octet === 0)).toBe(true)
    mine.destroy!()
    mine.destroy!()
    expect(() => mine.shared(theirs.publicValue)).toThrow()
  }
})

test.each([Encr.ENCR_AES_GCM_16, Encr.ENCR_AES_CCM_16, Encr.ENCR_CHACHA20_POLY1305])(
  'what AEAD %i and X25519 refuse leaves no error behind for who uses the library next',
  id => {
    const aead = openssl.aead(id, new Uint8Array(id === Encr.ENCR_CHACHA20_POLY1305 ? 32 : 16))
    const nonce = new Uint8Array(id === Encr.ENCR_AES_CCM_16 ? 11 : 12)
    expect(aead.open(nonce, new Uint8Array(8), new Uint8Array(40), new Uint8Array(24))).toBe(false)
    // reading a key, node:crypto takes an error that it finds for its own
    expect(() => node.keyExchange(Ke.CURVE25519, new SeededRng('x'))).not.toThrow()
    const refused = openssl.keyExchange(Ke.CURVE25519, new SeededRng('x'))
    expect(() => refused.shared(new Uint8Array(32))).toThrow(PeerError)
    expect(() => refused.shared(new Uint8Array(31))).toThrow(PeerError)
    expect(() => node.keyExchange(Ke.CURVE25519, new SeededRng('x'))).not.toThrow()
    refused.destroy!()
  },
)

test('what it supports it makes, and nothing else', () => {
  for (let id = 0; id < 64; id++) {
    if (openssl.supports(TransformType.ENCR, id)) expect(node.supports(TransformType.ENCR, id)).toBe(true)
    if (openssl.supports(TransformType.INTEG, id)) expect(node.supports(TransformType.INTEG, id)).toBe(true)
  }
  for (const { id } of AEADS) expect(openssl.supports(TransformType.ENCR, id)).toBe(true)
})
