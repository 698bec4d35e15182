import type { Rng } from './machine.ts'
import type { Origin } from './origin.ts'

/** IKEv2 transform types, RFC 7296 §3.3.2. */
export const TransformType = { ENCR: 1, PRF: 2, INTEG: 3, KE: 4, SN: 5 } as const
/** md5 is there for the long-term credentials of STUN and TURN (RFC 8489 §9.2.2) and nothing else. */
export type HashName = 'md5' | 'sha1' | 'sha256' | 'sha384' | 'sha512'

/** One key of an AEAD cipher. Nonce and AAD layout are the caller's (RFC 4106, 5282, 7634). */
export interface Aead {
  /** Octets of the ICV. */
  readonly tagLength: number
  /**
   * Encrypts `plaintext` and appends the tag.
   * @param out - `plaintext.length + tagLength` octets; may be the same memory as `plaintext`, starting at the same octet
   */
  seal(nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void
  /**
   * Verifies and decrypts.
   * @param sealed - ciphertext and tag
   * @param out - `sealed.length - tagLength` octets; may start at the same octet as `sealed`; undefined content on failure
   * @returns false when the tag is wrong
   */
  open(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean
  /**
   * As `seal`, in place and without a view per part, for packets by the hundred thousand; absent: `seal` is used.
   * @param bytes - plaintext at `start` to `end`, room for the tag behind it
   */
  sealAt?(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): void
  /** As `open`, in place. @param bytes - ciphertext and tag at `start` to `end` */
  openAt?(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean
  /** Wipes what can be wiped; the object is dead afterwards. */
  destroy(): void
}

/** One key of a cipher without integrity (CBC; CTR and NULL alike); whole blocks only, no padding of its own. */
export interface Cipher {
  readonly ivLength: number
  readonly blockLength: number
  /** `out` has the length of `data` and may be the same memory. */
  encrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void
  decrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void
  destroy(): void
}

/** One key of an integrity algorithm. */
export interface Mac {
  /** Octets of the truncated ICV. */
  readonly length: number
  /** Writes the ICV over `data` followed by `tail` (ESN's high half) into `out`, `length` octets. */
  sign(data: Uint8Array, tail: Uint8Array | undefined, out: Uint8Array): void
  destroy(): void
}

/** One end of an ephemeral key exchange: either end of Diffie-Hellman, the initiator's of a KEM. */
export interface KeyExchange {
  /**
   * KE payload data as RFC 7296 §3.4 wants it: modulus length for MODP, x|y without prefix for ECP, 32 octets X25519;
   * the encapsulation key for ML-KEM.
   */
  readonly publicValue: Uint8Array
  /**
   * @param peerValue - the other end's public value; for a KEM the responder's ciphertext
   * @returns g^ir as it goes into SKEYSEED: modulus length with leading zeros, or the x coordinate, or 32 octets; a KEM's
   *   secret, which for a ciphertext that was changed is another one (implicit rejection)
   * @throws PeerError PEER_KE_INVALID when the peer's value is no point, out of range, of the wrong length, or all zero
   */
  shared(peerValue: Uint8Array): Uint8Array
  /** Wipes the secret; the object is dead afterwards. Absent: the secret goes with the object. */
  destroy?(): void
}

/** What a responder makes of the initiator's public value. */
export interface KeyExchangeAnswer {
  /** Its own public value; for a KEM the ciphertext. */
  readonly publicValue: Uint8Array
  /** As `KeyExchange.shared`. */
  readonly shared: Uint8Array
}

/**
 * Algorithms by their IKEv2 transform IDs. Everything is synchronous; nothing keeps keys beyond the objects returned.
 * A method called for something `supports` denies throws UsageError USAGE_UNSUPPORTED_TRANSFORM.
 */
export interface CryptoProvider {
  /** Kebab-case; shown by status and plan. */
  readonly name: string
  /** Where another thread finds it; absent: it serves the thread that made it only. */
  readonly origin?: Origin
  supports(type: number, id: number, keyBits?: number): boolean
  hash(name: HashName, ...data: readonly Uint8Array[]): Uint8Array
  /** One call of the PRF with this transform ID over the concatenation of `data`. */
  prf(id: number, key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array
  /**
   * AES-GMAC (RFC 4543) too: its text is left readable, the tag covers AAD and text.
   * @param key - without the salt
   */
  aead(id: number, key: Uint8Array): Aead
  cipher(id: number, key: Uint8Array): Cipher
  mac(id: number, key: Uint8Array): Mac
  /** Deterministic for given `rng` octets, so that a simulation can be replayed; all providers draw alike. */
  keyExchange(group: number, rng: Rng): KeyExchange
  /**
   * The responder's end of a KEM (ML-KEM, IDs 35 to 37), whose public value depends on the initiator's. Only a provider
   * that supports such a method needs it; for all others both ends call `keyExchange`.
   * @throws PeerError PEER_KE_INVALID when the peer's value is no encapsulation key
   */
  encapsulate?(group: number, peerValue: Uint8Array, rng: Rng): KeyExchangeAnswer
}

/** What packets need of a provider. */
export type PacketCrypto = Pick<CryptoProvider, 'supports' | 'aead' | 'cipher' | 'mac'>
