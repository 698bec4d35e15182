import { describe, expect, test } from 'vitest'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import { equalBytes, wipe } from '../../../core/ike/equal.ts'
import { ALGORITHMS, combineProviders, encrAlgorithm, keymatLengths } from '../../../core/ike/suite.ts'
import { Encr, Integ, Ke, Prf, TransformType } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'

test.each([
  { suite: { encr: Encr.ENCR_AES_GCM_16, keyBits: 256 }, want: { encr: 32, salt: 4, integ: 0 } },
  { suite: { encr: Encr.ENCR_AES_CCM_8, keyBits: 128 }, want: { encr: 16, salt: 3, integ: 0 } },
  { suite: { encr: Encr.ENCR_CHACHA20_POLY1305 }, want: { encr: 32, salt: 4, integ: 0 } },
  { suite: { encr: Encr.ENCR_AES_CTR, keyBits: 192, integ: 2 }, want: { encr: 28, salt: 0, integ: 20 } },
  { suite: { encr: Encr.ENCR_AES_CBC, keyBits: 192, integ: 14 }, want: { encr: 24, salt: 0, integ: 64 } },
  { suite: { encr: Encr.ENCR_NULL, integ: 12 }, want: { encr: 0, salt: 0, integ: 32 } },
])('keying material of $suite', ({ suite, want }) => expect(keymatLengths(suite)).toEqual(want))

test.each([
  { encr: Encr.ENCR_3DES },
  { encr: Encr.ENCR_AES_CBC, keyBits: 64, integ: 12 },
  { encr: Encr.ENCR_AES_CBC, integ: 12 },
  { encr: Encr.ENCR_AES_CBC, keyBits: 128, integ: Integ.AUTH_HMAC_MD5_96 },
])('%o has none', suite =>
  expect(() => keymatLengths(suite)).toThrow(expect.objectContaining({ code: 'USAGE_UNSUPPORTED_TRANSFORM' })),
)

describe('the tables and the providers agree', () => {
  test('node-crypto has everything that has a name, and of these lengths', () => {
    for (const key of Object.keys(ALGORITHMS.ENCR)) {
      const id = Number(key)
      const { keyBits, icvLength, ivLength, blockLength } = encrAlgorithm(id)
      for (const bits of keyBits.length > 0 ? keyBits : [undefined]) {
        expect(nodeCryptoProvider.supports(TransformType.ENCR, id, bits), key).toBe(true)
        const { encr } = keymatLengths({ encr: id, ...(bits !== undefined && { keyBits: bits }) })
        if (icvLength > 0) expect(nodeCryptoProvider.aead(id, new Uint8Array(encr)).tagLength).toBe(icvLength)
        else expect(nodeCryptoProvider.cipher(id, new Uint8Array(encr))).toMatchObject({ ivLength, blockLength })
      }
    }
    for (const [key, { keyLength, icvLength }] of Object.entries(ALGORITHMS.INTEG))
      expect(nodeCryptoProvider.mac(Number(key), new Uint8Array(keyLength)).length).toBe(icvLength)
    for (const [key, { length }] of Object.entries(ALGORITHMS.PRF))
      expect(nodeCryptoProvider.prf(Number(key), new Uint8Array(1))).toHaveLength(length)
    // OpenSSL before 3.5 has no ML-KEM, and later ones no way to replay it: noble does it for both
    const provider = (id: number) => (id >= Ke.ML_KEM_512 ? nobleProvider : nodeCryptoProvider)
    for (const key of Object.keys(ALGORITHMS.KE))
      expect(provider(Number(key)).supports(TransformType.KE, Number(key)), key).toBe(true)
  })
})

describe('several providers as one', () => {
  const only = (name: string, type: number, base: CryptoProvider): CryptoProvider => ({
    ...base,
    name,
    supports: (t, id, bits) => t === type && base.supports(t, id, bits),
  })
  const { ENCR, PRF, KE, INTEG } = TransformType

  test('what one cannot do the other does', () => {
    const both = combineProviders([nobleProvider, nodeCryptoProvider])
    expect(both.name).toBe('noble+node-crypto')
    expect(both.supports(ENCR, Encr.ENCR_AES_GCM_8, 128)).toBe(true)
    expect(both.aead(Encr.ENCR_AES_GCM_8, new Uint8Array(16)).tagLength).toBe(8)
    expect(both.aead(Encr.ENCR_AES_GCM_16, new Uint8Array(16)).tagLength).toBe(16)
    expect(both.hash('sha1')).toHaveLength(20)
  })

  test('each call reaches a provider that has the algorithm', () => {
    const parts = [only('a', PRF, nobleProvider), only('b', KE, nobleProvider), only('c', ENCR, nodeCryptoProvider)]
    const all = combineProviders(parts)
    expect(all.prf(Prf.PRF_HMAC_SHA2_256, new Uint8Array(1))).toHaveLength(32)
    expect(all.keyExchange(Ke.CURVE25519, new SeededRng(1)).publicValue).toHaveLength(32)
    expect(all.cipher(Encr.ENCR_AES_CTR, new Uint8Array(20)).ivLength).toBe(8)
    expect(all.supports(INTEG, Integ.AUTH_HMAC_SHA2_256_128)).toBe(false)
    expect(() => all.mac(Integ.AUTH_HMAC_SHA2_256_128, new Uint8Array(32))).toThrow(
      expect.objectContaining({ code: 'USAGE_UNSUPPORTED_TRANSFORM' }),
    )
  })

  test('one stays itself, none is an error', () => {
    expect(combineProviders([nobleProvider])).toBe(nobleProvider)
    expect(() => combineProviders([])).toThrow(expect.objectContaining({ code: 'USAGE_NO_CRYPTO' }))
  })
})

test('secrets are equal in every octet or not at all', () => {
  expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true)
  expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false)
  expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0))).toBe(false)
  expect(equalBytes(new Uint8Array(0), new Uint8Array(0))).toBe(true)
  const secret = Uint8Array.of(1, 2)
  wipe(secret)
  expect(secret).toEqual(new Uint8Array(2))
})
