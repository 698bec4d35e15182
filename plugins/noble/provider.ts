import { hmac } from '@noble/hashes/hmac.js'
import { md5, sha1 } from '@noble/hashes/legacy.js'
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js'
import type { CHash } from '@noble/hashes/utils.js'
import { type CryptoProvider, type HashName, type Mac, TransformType } from '../../core/contracts/crypto.ts'
import { UsageError } from '../../core/errors.ts'
import { Encr, Integ, Prf } from '../../core/wire/index.ts'
import {
  NobleCbc,
  NobleChaCha,
  NobleCmac,
  NobleCtr,
  NobleGcm,
  NobleGmac,
  NobleMac,
  NobleXcbc,
  nullCipher,
} from './ciphers.ts'
import { startKeyExchange, supportsGroup } from './key-exchange.ts'
import { answerMlKem } from './ml-kem.ts'

const AES_BITS: readonly number[] = [128, 192, 256]
const AES_ENCR: readonly number[] = [
  Encr.ENCR_AES_CBC,
  Encr.ENCR_AES_CTR,
  Encr.ENCR_AES_GCM_16,
  Encr.ENCR_NULL_AUTH_AES_GMAC,
]

const HASH: Readonly<Record<HashName, CHash>> = { md5, sha1, sha256, sha384, sha512 }

const PRF: Readonly<Record<number, CHash>> = {
  [Prf.PRF_HMAC_SHA1]: sha1,
  [Prf.PRF_HMAC_SHA2_256]: sha256,
  [Prf.PRF_HMAC_SHA2_384]: sha384,
  [Prf.PRF_HMAC_SHA2_512]: sha512,
}

const INTEG: Readonly<Record<number, { readonly hash: CHash; readonly length: number }>> = {
  [Integ.AUTH_HMAC_SHA1_96]: { hash: sha1, length: 12 },
  [Integ.AUTH_HMAC_SHA2_256_128]: { hash: sha256, length: 16 },
  [Integ.AUTH_HMAC_SHA2_384_192]: { hash: sha384, length: 24 },
  [Integ.AUTH_HMAC_SHA2_512_256]: { hash: sha512, length: 32 },
}

const AES_MAC: Readonly<Record<number, new (key: Uint8Array) => Mac>> = {
  [Integ.AUTH_AES_XCBC_96]: NobleXcbc,
  [Integ.AUTH_AES_CMAC_96]: NobleCmac,
}

/** Algorithms of the noble libraries: JavaScript only, so they run wherever natweave does. */
export const nobleProvider: CryptoProvider = {
  name: 'noble',
  supports(type, id, keyBits) {
    switch (type) {
      case TransformType.ENCR:
        return supportsEncr(id, keyBits)
      case TransformType.PRF:
        return id in PRF
      case TransformType.INTEG:
        return id in INTEG || id in AES_MAC
      case TransformType.KE:
        return supportsGroup(id)
      default:
        return false
    }
  },
  hash(name, ...data) {
    const hash = HASH[name].create()
    for (const part of data) hash.update(part)
    return hash.digest()
  },
  prf(id, key, ...data) {
    const hash = PRF[id]
    if (hash === undefined) throw unsupported(`PRF ${id}`)
    const state = hmac.create(hash, key)
    for (const part of data) state.update(part)
    return state.digest()
  },
  aead(id, key) {
    if (id === Encr.ENCR_CHACHA20_POLY1305 && key.length === 32) return new NobleChaCha(key)
    if (id === Encr.ENCR_AES_GCM_16 && AES_BITS.includes(key.length * 8)) return new NobleGcm(key)
    if (id === Encr.ENCR_NULL_AUTH_AES_GMAC && AES_BITS.includes(key.length * 8)) return new NobleGmac(key)
    throw unsupported(`AEAD ${id} with a key of ${key.length} octets`)
  },
  cipher(id, key) {
    if (id === Encr.ENCR_NULL && key.length === 0) return nullCipher
    if (id === Encr.ENCR_AES_CBC && AES_BITS.includes(key.length * 8)) return new NobleCbc(key)
    if (id === Encr.ENCR_AES_CTR && AES_BITS.includes((key.length - 4) * 8))
      return new NobleCtr(key.subarray(0, -4), key.subarray(-4))
    throw unsupported(`cipher ${id} with a key of ${key.length} octets`)
  },
  mac(id, key) {
    const AesMac = AES_MAC[id]
    if (AesMac !== undefined && key.length === 16) return new AesMac(key)
    const mac = INTEG[id]
    if (mac === undefined) throw unsupported(`integrity algorithm ${id}`)
    return new NobleMac(mac.hash, key, mac.length)
  },
  keyExchange(group, rng) {
    const exchange = startKeyExchange(group, rng)
    if (exchange === undefined) throw unsupported(`key exchange method ${group}`)
    return exchange
  },
  encapsulate(group, peerValue, rng) {
    const answer = answerMlKem(group, peerValue, rng)
    if (answer === undefined) throw unsupported(`key encapsulation method ${group}`)
    return answer
  },
}

function supportsEncr(id: number, keyBits: number | undefined): boolean {
  if (id === Encr.ENCR_NULL) return keyBits === undefined
  if (id === Encr.ENCR_CHACHA20_POLY1305) return keyBits === undefined || keyBits === 256
  return AES_ENCR.includes(id) && (keyBits === undefined || AES_BITS.includes(keyBits))
}

const unsupported = (what: string): UsageError =>
  new UsageError('USAGE_UNSUPPORTED_TRANSFORM', `noble: ${what} is not supported`)
