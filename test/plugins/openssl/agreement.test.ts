import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CryptoProvider, TransformType } from '../../../core/contracts/crypto.ts'
import { Encr, Integ } from '../../../core/wire/index.ts'
import { nodeCryptoProvider as node } from '../../../plugins/node-crypto/index.ts'
import { opensslProvider } from '../../../plugins/openssl/index.ts'

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

test('what it supports it makes, and nothing else', () => {
  for (let id = 0; id < 64; id++) {
    if (openssl.supports(TransformType.ENCR, id)) expect(node.supports(TransformType.ENCR, id)).toBe(true)
    if (openssl.supports(TransformType.INTEG, id)) expect(node.supports(TransformType.INTEG, id)).toBe(true)
  }
  for (const { id } of AEADS) expect(openssl.supports(TransformType.ENCR, id)).toBe(true)
})
