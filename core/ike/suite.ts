import type { CryptoProvider, KeyExchangeAnswer } from '../contracts/crypto.ts'
import type { EspSuite } from '../contracts/data-plane.ts'
import type { Rng } from '../contracts/machine.ts'
import { UsageError } from '../errors.ts'
import { Encr, Integ, Ke, nameOf, Prf, TransformType } from '../wire/index.ts'

/** How an encryption algorithm is keyed and framed, in IKE's SK payload and in ESP alike. Lengths in octets. */
export interface EncrAlgorithm {
  /** First part of its keyword; key bits and `suffix` follow. */
  readonly keyword: string
  readonly suffix: string
  /** Key Length attributes it may have; none for a fixed key. */
  readonly keyBits: readonly number[]
  /** Octets of a fixed key; added to the key bits otherwise (AES-CTR's nonce is part of its key, RFC 3686 §5.1). */
  readonly keyExtra: number
  /** Last octets of the keying material, which go into the nonce and not into the key. */
  readonly saltLength: number
  /** IV as it stands in the packet. */
  readonly ivLength: number
  /** CBC wants IVs nobody can foresee; the others IVs that never repeat. */
  readonly iv: 'random' | 'counter'
  /** ICV of an AEAD; 0 for those that need an integrity algorithm beside them. */
  readonly icvLength: number
  readonly blockLength: number
}

const aes = { keyword: 'aes', keyBits: [128, 192, 256], keyExtra: 0 } as const
const ccm = { ...aes, saltLength: 3, ivLength: 8, iv: 'counter', blockLength: 1 } as const
const gcm = { ...aes, saltLength: 4, ivLength: 8, iv: 'counter', blockLength: 1 } as const

/** By transform ID; RFC 3602, 3686, 4106, 4309, 4543, 7634, 2410. */
const ENCR: Readonly<Record<number, EncrAlgorithm>> = {
  [Encr.ENCR_NULL]: {
    keyword: 'null',
    suffix: '',
    keyBits: [],
    keyExtra: 0,
    saltLength: 0,
    ivLength: 0,
    iv: 'counter',
    icvLength: 0,
    blockLength: 1,
  },
  [Encr.ENCR_AES_CBC]: { ...aes, suffix: '', saltLength: 0, ivLength: 16, iv: 'random', icvLength: 0, blockLength: 16 },
  [Encr.ENCR_AES_CTR]: {
    ...aes,
    suffix: 'ctr',
    keyExtra: 4,
    saltLength: 0,
    ivLength: 8,
    iv: 'counter',
    icvLength: 0,
    blockLength: 1,
  },
  [Encr.ENCR_AES_CCM_8]: { ...ccm, suffix: 'ccm8', icvLength: 8 },
  [Encr.ENCR_AES_CCM_12]: { ...ccm, suffix: 'ccm12', icvLength: 12 },
  [Encr.ENCR_AES_CCM_16]: { ...ccm, suffix: 'ccm16', icvLength: 16 },
  [Encr.ENCR_AES_GCM_8]: { ...gcm, suffix: 'gcm8', icvLength: 8 },
  [Encr.ENCR_AES_GCM_12]: { ...gcm, suffix: 'gcm12', icvLength: 12 },
  [Encr.ENCR_AES_GCM_16]: { ...gcm, suffix: 'gcm16', icvLength: 16 },
  [Encr.ENCR_NULL_AUTH_AES_GMAC]: { ...gcm, suffix: 'gmac', icvLength: 16 },
  [Encr.ENCR_CHACHA20_POLY1305]: {
    keyword: 'chacha20poly1305',
    suffix: '',
    keyBits: [],
    keyExtra: 32,
    saltLength: 4,
    ivLength: 8,
    iv: 'counter',
    icvLength: 16,
    blockLength: 1,
  },
}

export interface PrfAlgorithm {
  readonly keyword: string
  /** Octets of output, which for HMAC is also the preferred key length. */
  readonly length: number
}

/** RFC 2104 with RFC 4868. AES-XCBC and AES-CMAC, whose keys have a fixed length, are not offered. */
const PRF: Readonly<Record<number, PrfAlgorithm>> = {
  [Prf.PRF_HMAC_SHA1]: { keyword: 'prfsha1', length: 20 },
  [Prf.PRF_HMAC_SHA2_256]: { keyword: 'prfsha256', length: 32 },
  [Prf.PRF_HMAC_SHA2_384]: { keyword: 'prfsha384', length: 48 },
  [Prf.PRF_HMAC_SHA2_512]: { keyword: 'prfsha512', length: 64 },
}

export interface IntegAlgorithm {
  readonly keyword: string
  /** PRF of the same hash, which a proposal without one implies; absent where natweave has no such PRF. */
  readonly prf?: number
  readonly keyLength: number
  readonly icvLength: number
}

/** RFC 2404, 3566, 4494, 4868. */
const INTEG: Readonly<Record<number, IntegAlgorithm>> = {
  [Integ.AUTH_HMAC_SHA1_96]: { keyword: 'sha1', prf: Prf.PRF_HMAC_SHA1, keyLength: 20, icvLength: 12 },
  [Integ.AUTH_AES_XCBC_96]: { keyword: 'aesxcbc', keyLength: 16, icvLength: 12 },
  [Integ.AUTH_AES_CMAC_96]: { keyword: 'aescmac', keyLength: 16, icvLength: 12 },
  [Integ.AUTH_HMAC_SHA2_256_128]: { keyword: 'sha256', prf: Prf.PRF_HMAC_SHA2_256, keyLength: 32, icvLength: 16 },
  [Integ.AUTH_HMAC_SHA2_384_192]: { keyword: 'sha384', prf: Prf.PRF_HMAC_SHA2_384, keyLength: 48, icvLength: 24 },
  [Integ.AUTH_HMAC_SHA2_512_256]: { keyword: 'sha512', prf: Prf.PRF_HMAC_SHA2_512, keyLength: 64, icvLength: 32 },
}

/** Key exchange methods and their keywords, RFC 3526, 5903, 8031, draft-ietf-ipsecme-ikev2-mlkem. */
const KE: Readonly<Record<number, string>> = {
  [Ke.MODP_2048]: 'modp2048',
  [Ke.MODP_3072]: 'modp3072',
  [Ke.MODP_4096]: 'modp4096',
  [Ke.MODP_6144]: 'modp6144',
  [Ke.MODP_8192]: 'modp8192',
  [Ke.ECP_256]: 'ecp256',
  [Ke.ECP_384]: 'ecp384',
  [Ke.ECP_521]: 'ecp521',
  [Ke.CURVE25519]: 'x25519',
  [Ke.ML_KEM_512]: 'mlkem512',
  [Ke.ML_KEM_768]: 'mlkem768',
  [Ke.ML_KEM_1024]: 'mlkem1024',
}

/** Methods whose responder answers with a ciphertext, draft-ietf-ipsecme-ikev2-mlkem. */
const KEMS: readonly number[] = [Ke.ML_KEM_512, Ke.ML_KEM_768, Ke.ML_KEM_1024]

/** Transform types of additional key exchanges, ADDKE1 to ADDKE7, RFC 9370. */
export const ADDITIONAL: readonly number[] = [
  TransformType.ADDKE1,
  TransformType.ADDKE2,
  TransformType.ADDKE3,
  TransformType.ADDKE4,
  TransformType.ADDKE5,
  TransformType.ADDKE6,
  TransformType.ADDKE7,
]

/** All algorithms natweave can name, by transform type and ID. */
export const ALGORITHMS = { ENCR, PRF, INTEG, KE } as const

/** What was negotiated for an IKE SA, transform IDs. */
export interface IkeSuite {
  readonly encr: number
  readonly keyBits?: number
  readonly prf: number
  /** Absent for an AEAD. */
  readonly integ?: number
  readonly ke: number
  /** Additional key exchanges in the order they are carried out, RFC 9370; absent where there are none. */
  readonly additional?: readonly AdditionalKe[]
}

/** One of the transforms ADDKE1 to ADDKE7, not NONE. */
export interface AdditionalKe {
  readonly type: number
  readonly id: number
}

/** @throws UsageError USAGE_UNSUPPORTED_TRANSFORM for an ID without an entry */
export const encrAlgorithm = (id: number): EncrAlgorithm => entry(ENCR, id, 'encryption', Encr)
/** @throws UsageError USAGE_UNSUPPORTED_TRANSFORM for an ID without an entry */
export const prfAlgorithm = (id: number): PrfAlgorithm => entry(PRF, id, 'PRF', Prf)
/** @throws UsageError USAGE_UNSUPPORTED_TRANSFORM for an ID without an entry */
const integAlgorithm = (id: number): IntegAlgorithm => entry(INTEG, id, 'integrity', Integ)

/** True for algorithms that need no integrity algorithm beside them. */
export const isAead = (encr: number): boolean => (ENCR[encr]?.icvLength ?? 0) > 0

/** Octets of keying material for one direction, in the order they are taken. */
export interface KeymatLengths {
  readonly encr: number
  readonly salt: number
  readonly integ: number
}

/**
 * @param suite - of an IKE SA or a Child SA
 * @throws UsageError USAGE_UNSUPPORTED_TRANSFORM when an ID or key length has no entry
 */
export function keymatLengths(suite: Pick<EspSuite, 'encr' | 'keyBits' | 'integ'>): KeymatLengths {
  const { keyBits, keyExtra, saltLength } = encrAlgorithm(suite.encr)
  if (keyBits.length > 0 && !keyBits.includes(suite.keyBits ?? 0))
    throw unsupported(`${nameOf(Encr, suite.encr)} with a key of ${suite.keyBits ?? 'unknown'} bits`)
  return {
    encr: (keyBits.length > 0 ? (suite.keyBits ?? 0) / 8 : 0) + keyExtra,
    salt: saltLength,
    integ: suite.integ === undefined ? 0 : integAlgorithm(suite.integ).keyLength,
  }
}

/**
 * One provider out of several: each call goes to the first that supports the transform; hashes to the first of all.
 *
 * @throws UsageError USAGE_NO_CRYPTO for an empty list; what it returns throws USAGE_UNSUPPORTED_TRANSFORM
 */
export function combineProviders(providers: readonly CryptoProvider[]): CryptoProvider {
  const [first] = providers
  if (first === undefined)
    throw new UsageError('USAGE_NO_CRYPTO', 'no crypto provider: add the plugin node-crypto or noble')
  if (providers.length === 1) return first
  const find = (type: number, id: number, keyBits?: number): CryptoProvider => {
    const provider = providers.find(p => p.supports(type, id, keyBits))
    if (provider === undefined) throw unsupported(`${nameOf(TransformType, type)} ${id}`)
    return provider
  }
  const encr = (id: number, key: Uint8Array) => find(TransformType.ENCR, id, keyBitsOf(id, key))
  return {
    name: providers.map(p => p.name).join('+'),
    supports: (type, id, keyBits) => providers.some(p => p.supports(type, id, keyBits)),
    hash: (name, ...data) => first.hash(name, ...data),
    prf: (id, key, ...data) => find(TransformType.PRF, id).prf(id, key, ...data),
    aead: (id, key) => encr(id, key).aead(id, key),
    cipher: (id, key) => encr(id, key).cipher(id, key),
    mac: (id, key) => find(TransformType.INTEG, id).mac(id, key),
    keyExchange: (group, rng) => find(TransformType.KE, group).keyExchange(group, rng),
    encapsulate: (group, peer, rng) => encapsulate(find(TransformType.KE, group), group, peer, rng),
  }
}

function encapsulate(provider: CryptoProvider, group: number, peer: Uint8Array, rng: Rng): KeyExchangeAnswer {
  if (provider.encapsulate === undefined) throw unsupported(`key encapsulation method ${nameOf(Ke, group)}`)
  return provider.encapsulate(group, peer, rng)
}

/**
 * A responder's end of any key exchange method.
 * @throws PeerError PEER_KE_INVALID
 */
export function answerKeyExchange(
  crypto: CryptoProvider,
  group: number,
  peer: Uint8Array,
  rng: Rng,
): KeyExchangeAnswer {
  if (KEMS.includes(group)) return encapsulate(crypto, group, peer, rng)
  const own = crypto.keyExchange(group, rng)
  try {
    return { publicValue: own.publicValue, shared: own.shared(peer) }
  } finally {
    own.destroy?.()
  }
}

/** The Key Length attribute that a key without salt belongs to; undefined where the length is fixed. */
function keyBitsOf(id: number, key: Uint8Array): number | undefined {
  const algorithm = ENCR[id]
  return algorithm === undefined || algorithm.keyBits.length === 0 ? undefined : (key.length - algorithm.keyExtra) * 8
}

function entry<T>(
  table: Readonly<Record<number, T>>,
  id: number,
  what: string,
  names: Readonly<Record<string, number>>,
): T {
  const found = table[id]
  if (found === undefined) throw unsupported(`${what} ${nameOf(names, id)}`)
  return found
}

const unsupported = (what: string): UsageError =>
  new UsageError('USAGE_UNSUPPORTED_TRANSFORM', `${what} is not supported`)
