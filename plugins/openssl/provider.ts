import { createHash } from 'node:crypto'
import { type CryptoProvider, TransformType } from '../../core/contracts/crypto.ts'
import { UsageError } from '../../core/errors.ts'
import { Encr, Integ, Ke, Prf } from '../../core/wire/index.ts'
import { type AeadKind, OpensslAead, OpensslCipher, OpensslMac, type Rim } from './ciphers.ts'
import { hasX25519, X25519KeyExchange } from './key-exchange.ts'
import { loadLibrary } from './library.ts'
import { hmac } from './prf.ts'
import { Scratch } from './scratch.ts'

const AES_BITS: readonly number[] = [128, 192, 256]

/** The end of the C function's name after `EVP_aes_128_`, and the octets of the tag. */
const AES_AEAD: Readonly<Record<number, { readonly name: string; readonly kind: AeadKind; readonly tag: number }>> = {
  [Encr.ENCR_AES_GCM_8]: { name: 'gcm', kind: 'plain', tag: 8 },
  [Encr.ENCR_AES_GCM_12]: { name: 'gcm', kind: 'plain', tag: 12 },
  [Encr.ENCR_AES_GCM_16]: { name: 'gcm', kind: 'plain', tag: 16 },
  [Encr.ENCR_AES_CCM_8]: { name: 'ccm', kind: 'ccm', tag: 8 },
  [Encr.ENCR_AES_CCM_12]: { name: 'ccm', kind: 'ccm', tag: 12 },
  [Encr.ENCR_AES_CCM_16]: { name: 'ccm', kind: 'ccm', tag: 16 },
  [Encr.ENCR_NULL_AUTH_AES_GMAC]: { name: 'gcm', kind: 'gmac', tag: 16 },
}

const INTEG: Readonly<Record<number, { readonly name: string; readonly length: number }>> = {
  [Integ.AUTH_HMAC_SHA1_96]: { name: 'EVP_sha1', length: 12 },
  [Integ.AUTH_HMAC_SHA2_256_128]: { name: 'EVP_sha256', length: 16 },
  [Integ.AUTH_HMAC_SHA2_384_192]: { name: 'EVP_sha384', length: 24 },
  [Integ.AUTH_HMAC_SHA2_512_256]: { name: 'EVP_sha512', length: 32 },
}

const PRF: Readonly<Record<number, { readonly name: string; readonly length: number }>> = {
  [Prf.PRF_HMAC_SHA1]: { name: 'EVP_sha1', length: 20 },
  [Prf.PRF_HMAC_SHA2_256]: { name: 'EVP_sha256', length: 32 },
  [Prf.PRF_HMAC_SHA2_384]: { name: 'EVP_sha384', length: 48 },
  [Prf.PRF_HMAC_SHA2_512]: { name: 'EVP_sha512', length: 64 },
}

/** Algorithms of OpenSSL without the objects that `node:crypto` makes for each packet and key; or why not, in words. */
export function opensslProvider(): CryptoProvider | string {
  const library = loadLibrary()
  if (typeof library === 'string') return library
  const rim: Rim = { library, scratch: new Scratch(library), shared: new Map() }
  const known = new Map<string, number>()
  const lookup = (name: string): number => {
    const there = known.get(name) ?? library.cipher(name)
    known.set(name, there)
    return there
  }
  const aes = (bits: number, name: string): number => (AES_BITS.includes(bits) ? lookup(`EVP_aes_${bits}_${name}`) : 0)
  const encryption = (id: number, bits: number): number => {
    if (id === Encr.ENCR_CHACHA20_POLY1305) return bits === 256 ? lookup('EVP_chacha20_poly1305') : 0
    if (id === Encr.ENCR_AES_CBC) return aes(bits, 'cbc')
    if (id === Encr.ENCR_AES_CTR) return aes(bits, 'ctr')
    const aead = AES_AEAD[id]
    return aead === undefined ? 0 : aes(bits, aead.name)
  }
  const x25519 = hasX25519(rim)
  return {
    name: 'openssl',
    origin: { module: import.meta.url, name: 'opensslProvider' },
    supports(type, id, keyBits) {
      if (type === TransformType.ENCR) {
        const bits = keyBits ?? (id === Encr.ENCR_CHACHA20_POLY1305 ? 256 : 128)
        return encryption(id, bits) !== 0
      }
      if (type === TransformType.KE) return id === Ke.CURVE25519 && x25519
      const hashed = type === TransformType.PRF ? PRF[id] : type === TransformType.INTEG ? INTEG[id] : undefined
      return hashed !== undefined && lookup(hashed.name) !== 0
    },
    hash(name, ...data) {
      const hash = createHash(name)
      for (const part of data) hash.update(part)
      return new Uint8Array(hash.digest())
    },
    prf(id, key, ...data) {
      const prf = PRF[id]
      if (prf === undefined) unsupported(`PRF ${id}`)
      return hmac(rim, lookup(prf.name), prf.length, key, data)
    },
    keyExchange(group, rng) {
      if (group !== Ke.CURVE25519 || !x25519) unsupported(`key exchange method ${group}`)
      return new X25519KeyExchange(rim, rng)
    },
    aead(id, key) {
      const cipher = encryption(id, key.length * 8)
      if (cipher === 0) unsupported(`AEAD ${id} with a key of ${key.length} octets`)
      const { kind, tag } = AES_AEAD[id] ?? { kind: 'plain', tag: 16 }
      return new OpensslAead(rim, cipher, kind, key, tag)
    },
    cipher(id, key) {
      const ctr = id === Encr.ENCR_AES_CTR
      const bits = (key.length - (ctr ? 4 : 0)) * 8
      const cipher = ctr || id === Encr.ENCR_AES_CBC ? encryption(id, bits) : 0
      if (cipher === 0) unsupported(`cipher ${id} with a key of ${key.length} octets`)
      return ctr
        ? new OpensslCipher(rim, cipher, key.subarray(0, -4), key.subarray(-4))
        : new OpensslCipher(rim, cipher, key)
    },
    mac(id, key) {
      const mac = INTEG[id]
      if (mac === undefined) unsupported(`integrity algorithm ${id}`)
      return new OpensslMac(rim, lookup(mac.name), key, mac.length)
    },
  }
}

function unsupported(what: string): never {
  throw new UsageError('USAGE_UNSUPPORTED_TRANSFORM', `openssl: ${what} is not supported`)
}
