import { createHash, createHmac } from 'node:crypto'
import { type CryptoProvider, type HashName, TransformType } from '../../core/contracts/crypto.ts'
import { UsageError } from '../../core/errors.ts'
import { Encr, Integ, Prf } from '../../core/wire/index.ts'
import { NodeAesMac } from './aes-mac.ts'
import { type AeadName, NodeAead, NodeCipher, NodeGmac, NodeMac, nullCipher } from './ciphers.ts'
import { startKeyExchange, supportsGroup } from './key-exchange.ts'

const AES_BITS: readonly number[] = [128, 192, 256]

/** Octets of the tag, and what OpenSSL calls the algorithm after `aes-BITS-`. */
const AES_AEAD: Readonly<Record<number, { readonly name: 'gcm' | 'ccm'; readonly tag: number }>> = {
  [Encr.ENCR_AES_CCM_8]: { name: 'ccm', tag: 8 },
  [Encr.ENCR_AES_CCM_12]: { name: 'ccm', tag: 12 },
  [Encr.ENCR_AES_CCM_16]: { name: 'ccm', tag: 16 },
  [Encr.ENCR_AES_GCM_8]: { name: 'gcm', tag: 8 },
  [Encr.ENCR_AES_GCM_12]: { name: 'gcm', tag: 12 },
  [Encr.ENCR_AES_GCM_16]: { name: 'gcm', tag: 16 },
}

const AES_PLAIN: readonly number[] = [Encr.ENCR_AES_CBC, Encr.ENCR_AES_CTR, Encr.ENCR_NULL_AUTH_AES_GMAC]

const PRF: Readonly<Record<number, HashName>> = {
  [Prf.PRF_HMAC_SHA1]: 'sha1',
  [Prf.PRF_HMAC_SHA2_256]: 'sha256',
  [Prf.PRF_HMAC_SHA2_384]: 'sha384',
  [Prf.PRF_HMAC_SHA2_512]: 'sha512',
}

const INTEG: Readonly<Record<number, { readonly hash: HashName; readonly length: number }>> = {
  [Integ.AUTH_HMAC_SHA1_96]: { hash: 'sha1', length: 12 },
  [Integ.AUTH_HMAC_SHA2_256_128]: { hash: 'sha256', length: 16 },
  [Integ.AUTH_HMAC_SHA2_384_192]: { hash: 'sha384', length: 24 },
  [Integ.AUTH_HMAC_SHA2_512_256]: { hash: 'sha512', length: 32 },
}

const AES_MAC: Readonly<Record<number, 'cmac' | 'xcbc'>> = {
  [Integ.AUTH_AES_XCBC_96]: 'xcbc',
  [Integ.AUTH_AES_CMAC_96]: 'cmac',
}

/** Algorithms of the OpenSSL inside Node. */
export const nodeCryptoProvider: CryptoProvider = {
  name: 'node-crypto',
  origin: { module: import.meta.url, name: 'provider' },
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
    const hash = createHash(name)
    for (const part of data) hash.update(part)
    return new Uint8Array(hash.digest())
  },
  prf(id, key, ...data) {
    const hash = PRF[id]
    if (hash === undefined) throw unsupported(`PRF ${id}`)
    const hmac = createHmac(hash, key)
    for (const part of data) hmac.update(part)
    return new Uint8Array(hmac.digest())
  },
  aead(id, key) {
    if (id === Encr.ENCR_CHACHA20_POLY1305 && key.length === 32)
      return new NodeAead('chacha20-poly1305' as string as AeadName, key, 16)
    if (id === Encr.ENCR_NULL_AUTH_AES_GMAC && AES_BITS.includes(key.length * 8))
      return new NodeGmac(`aes-${key.length * 8}-gcm` as AeadName, key)
    const aes = AES_AEAD[id]
    if (aes === undefined || !AES_BITS.includes(key.length * 8))
      throw unsupported(`AEAD ${id} with a key of ${key.length} octets`)
    return new NodeAead(`aes-${key.length * 8}-${aes.name}` as AeadName, key, aes.tag)
  },
  cipher(id, key) {
    if (id === Encr.ENCR_NULL && key.length === 0) return nullCipher
    if (id === Encr.ENCR_AES_CBC && AES_BITS.includes(key.length * 8))
      return new NodeCipher(`aes-${key.length * 8}-cbc`, key)
    const bits = (key.length - 4) * 8
    if (id === Encr.ENCR_AES_CTR && AES_BITS.includes(bits))
      return new NodeCipher(`aes-${bits}-ctr`, key.subarray(0, -4), key.subarray(-4))
    throw unsupported(`cipher ${id} with a key of ${key.length} octets`)
  },
  mac(id, key) {
    const aes = AES_MAC[id]
    if (aes !== undefined && key.length === 16) return new NodeAesMac(aes, key)
    const mac = INTEG[id]
    if (mac === undefined) throw unsupported(`integrity algorithm ${id}`)
    return new NodeMac(mac.hash, key, mac.length)
  },
  keyExchange(group, rng) {
    const exchange = startKeyExchange(group, rng)
    if (exchange === undefined) throw unsupported(`key exchange method ${group}`)
    return exchange
  },
}

function supportsEncr(id: number, keyBits: number | undefined): boolean {
  if (id === Encr.ENCR_NULL) return keyBits === undefined
  if (id === Encr.ENCR_CHACHA20_POLY1305) return keyBits === undefined || keyBits === 256
  return (id in AES_AEAD || AES_PLAIN.includes(id)) && (keyBits === undefined || AES_BITS.includes(keyBits))
}

const unsupported = (what: string): UsageError =>
  new UsageError('USAGE_UNSUPPORTED_TRANSFORM', `node-crypto: ${what} is not supported`)

/** @public what `origin` names */
export const provider = (): CryptoProvider => nodeCryptoProvider
