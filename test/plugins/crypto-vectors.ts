import { describe, expect, test } from 'vitest'
import { type CryptoProvider, TransformType } from '../../core/contracts/crypto.ts'
import aead from '../vectors/crypto/aead.json' with { type: 'json' }
import cipher from '../vectors/crypto/cipher.json' with { type: 'json' }
import hmac from '../vectors/crypto/hmac.json' with { type: 'json' }
import keyExchange from '../vectors/crypto/key-exchange.json' with { type: 'json' }

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

/** The published test vectors of everything a provider supports. */
export function publishedVectors(provider: CryptoProvider): void {
  const { ENCR, PRF, INTEG, KE } = TransformType
  const able = <T>(type: number, cases: readonly T[], id: (c: T) => number) =>
    cases.filter(c => provider.supports(type, id(c)))

  describe(`published vectors: ${provider.name}`, () => {
    test.each(able(PRF, hmac.prf, c => c.prf))('$source, PRF $prf', ({ prf, key, data, output }) => {
      expect(provider.prf(prf, hex(key), hex(data))).toEqual(hex(output))
      const [head, tail] = [hex(data).subarray(0, 3), hex(data).subarray(3)]
      expect(provider.prf(prf, hex(key), head, new Uint8Array(0), tail)).toEqual(hex(output))
    })

    test.each(able(INTEG, hmac.integ, c => c.integ))('$source', ({ integ, key, data, icv }) => {
      const mac = provider.mac(integ, hex(key))
      const out = new Uint8Array(mac.length)
      mac.sign(hex(data), undefined, out)
      expect(out).toEqual(hex(icv))
      mac.sign(hex(data).subarray(0, 4), hex(data).subarray(4), out)
      expect(out).toEqual(hex(icv))
    })

    test.each(able(ENCR, cipher.cases, c => c.encr))('$source', ({ encr, key, iv, plaintext, ciphertext }) => {
      const one = provider.cipher(encr, hex(key))
      const data = hex(plaintext)
      one.encrypt(hex(iv), data, data)
      expect(data).toEqual(hex(ciphertext))
      one.decrypt(hex(iv), data, data)
      expect(data).toEqual(hex(plaintext))
    })

    test.each(able(ENCR, aead.cases, c => c.encr))('$source', ({ encr, key, nonce, aad, plaintext, sealed }) => {
      const one = provider.aead(encr, hex(key))
      const out = new Uint8Array(hex(plaintext).length + one.tagLength)
      one.seal(hex(nonce), hex(aad), hex(plaintext), out)
      expect(out).toEqual(hex(sealed))
      const opened = new Uint8Array(hex(plaintext).length)
      expect(one.open(hex(nonce), hex(aad), hex(sealed), opened)).toBe(true)
      expect(opened).toEqual(hex(plaintext))
    })

    test.each(able(KE, keyExchange.cases, c => c.group))('$source', ({ group, a, b, secret }) => {
      const fixed = (octets: string) => ({
        bytes: (length: number) => {
          expect(length).toBe(hex(octets).length)
          return hex(octets)
        },
      })
      const [one, other] = [
        provider.keyExchange(group, fixed(a.private)),
        provider.keyExchange(group, fixed(b.private)),
      ]
      expect(one.publicValue).toEqual(hex(a.public))
      expect(other.publicValue).toEqual(hex(b.public))
      expect(one.shared(other.publicValue)).toEqual(hex(secret))
      expect(other.shared(one.publicValue)).toEqual(hex(secret))
    })
  })
}
