import type { Aead, Cipher, CryptoProvider, Mac } from '../contracts/crypto.ts'
import type { Rng } from '../contracts/machine.ts'
import { UsageError } from '../errors.ts'
import {
  beginFragment,
  beginProtected,
  type IkeHead,
  type Payload,
  type ProtectedFrame,
  serializePayloads,
} from '../wire/index.ts'
import { equalBytes } from './equal.ts'
import type { DirectionKeys } from './keys.ts'
import { type EncrAlgorithm, encrAlgorithm, type IkeSuite } from './suite.ts'

type Keyed = { readonly aead: Aead } | { readonly aead?: undefined; readonly cipher: Cipher; readonly mac: Mac }

/** A chain of inner payloads, serialized, and the type of the first. */
export interface Chain {
  readonly first: number
  readonly bytes: Uint8Array
}

/**
 * Encrypts, or verifies and decrypts, the messages one side of an IKE SA sends: SK (RFC 7296 §3.14, RFC 5282) and SKF
 * (RFC 7383) alike. An object is used for one direction only: it owns the counter of that key's IVs.
 */
export class Protector {
  readonly #algorithm: EncrAlgorithm
  readonly #salt: Uint8Array
  readonly #rng: Rng
  readonly #keyed: Keyed
  #iv: bigint

  /**
   * @param rng - for the IVs of CBC
   * @param firstIv - where the counter of the other algorithms starts
   * @throws UsageError USAGE_UNSUPPORTED_TRANSFORM, also for a cipher without integrity algorithm
   */
  constructor(
    crypto: CryptoProvider,
    suite: Pick<IkeSuite, 'encr' | 'integ'>,
    keys: DirectionKeys,
    rng: Rng,
    firstIv = 0n,
  ) {
    this.#algorithm = encrAlgorithm(suite.encr)
    this.#salt = keys.salt.slice()
    this.#rng = rng
    this.#iv = firstIv
    if (this.#algorithm.icvLength > 0) this.#keyed = { aead: crypto.aead(suite.encr, keys.encr) }
    else {
      if (suite.integ === undefined)
        throw new UsageError('USAGE_UNSUPPORTED_TRANSFORM', 'IKE without integrity protection is not supported')
      this.#keyed = { cipher: crypto.cipher(suite.encr, keys.encr), mac: crypto.mac(suite.integ, keys.integ) }
    }
  }

  /** A complete message. @param before - unprotected payloads in front of SK, seldom any */
  seal(head: IkeHead, payloads: readonly Payload[], before: readonly Payload[] = []): Uint8Array {
    return this.sealChain(head, serializePayloads(payloads), before)
  }

  /** The same for payloads that are serialized already. */
  sealChain(head: IkeHead, { first, bytes }: Chain, before: readonly Payload[] = []): Uint8Array {
    const frame = beginProtected(head, first, this.bodyLength(bytes.length), before)
    this.#fill(frame, bytes)
    return frame.message
  }

  /**
   * One fragment of a message, RFC 7383 §2.5.
   *
   * @param innerFirst - type of the first inner payload in fragment 1, 0 in the others
   * @param part - this fragment's octets of the inner chain
   */
  sealFragment(head: IkeHead, innerFirst: number, number: number, total: number, part: Uint8Array): Uint8Array {
    const frame = beginFragment(head, innerFirst, number, total, this.bodyLength(part.length))
    this.#fill(frame, part)
    return frame.message
  }

  /** Octets of inner chain that fit into `room` octets of IV, ciphertext and ICV; at least 1. */
  capacity(room: number): number {
    const { ivLength, blockLength } = this.#algorithm
    const text = room - ivLength - this.#icvLength
    return Math.max(1, text - (text % blockLength) - 1)
  }

  /** Octets that an inner chain of `length` takes after the generic header: IV, ciphertext with padding, ICV. */
  bodyLength(length: number): number {
    return this.#algorithm.ivLength + this.#padded(length) + this.#icvLength
  }

  /**
   * @param message - the whole message, from SPIi on
   * @param bodyAt - offset of the IV: `bodyAt` of the SK or SKF payload
   * @returns the inner payload chain without padding, in memory of its own; undefined when it does not authenticate
   */
  open(message: Uint8Array, bodyAt: number): Uint8Array | undefined {
    const { ivLength, blockLength } = this.#algorithm
    const textAt = bodyAt + ivLength
    const icvAt = message.length - this.#icvLength
    const length = icvAt - textAt
    if (length < 1 || length % blockLength !== 0) return undefined
    const iv = message.subarray(bodyAt, textAt)
    const plain = new Uint8Array(length)
    const { aead } = this.#keyed
    if (aead !== undefined) {
      if (!aead.open(this.#nonce(iv), message.subarray(0, bodyAt), message.subarray(textAt), plain)) return undefined
    } else {
      const { cipher, mac } = this.#keyed
      const icv = new Uint8Array(mac.length)
      mac.sign(message.subarray(0, icvAt), undefined, icv)
      if (!equalBytes(icv, message.subarray(icvAt))) return undefined
      cipher.decrypt(iv, message.subarray(textAt, icvAt), plain)
    }
    const end = length - 1 - plain[length - 1]!
    return end < 0 ? undefined : plain.subarray(0, end)
  }

  /** Wipes the keys; the object is dead afterwards. */
  destroy(): void {
    this.#salt.fill(0)
    if (this.#keyed.aead !== undefined) this.#keyed.aead.destroy()
    else {
      this.#keyed.cipher.destroy()
      this.#keyed.mac.destroy()
    }
  }

  #fill({ message, bodyAt }: ProtectedFrame, chain: Uint8Array): void {
    const textAt = bodyAt + this.#algorithm.ivLength
    const icvAt = message.length - this.#icvLength
    const iv = message.subarray(bodyAt, textAt)
    iv.set(this.#nextIv())
    const text = message.subarray(textAt, icvAt)
    text.set(chain)
    text[text.length - 1] = text.length - chain.length - 1
    if (this.#keyed.aead !== undefined) {
      this.#keyed.aead.seal(this.#nonce(iv), message.subarray(0, bodyAt), text, message.subarray(textAt))
    } else {
      this.#keyed.cipher.encrypt(iv, text, text)
      this.#keyed.mac.sign(message.subarray(0, icvAt), undefined, message.subarray(icvAt))
    }
  }

  get #icvLength(): number {
    return this.#keyed.aead === undefined ? this.#keyed.mac.length : this.#keyed.aead.tagLength
  }

  #padded(length: number): number {
    const { blockLength } = this.#algorithm
    return Math.ceil((length + 1) / blockLength) * blockLength
  }

  #nextIv(): Uint8Array {
    const { iv, ivLength } = this.#algorithm
    if (iv === 'random') return this.#rng.bytes(ivLength)
    const counter = new Uint8Array(ivLength)
    if (ivLength === 8) new DataView(counter.buffer).setBigUint64(0, this.#iv++)
    return counter
  }

  #nonce(iv: Uint8Array): Uint8Array {
    const nonce = new Uint8Array(this.#salt.length + iv.length)
    nonce.set(this.#salt)
    nonce.set(iv, this.#salt.length)
    return nonce
  }
}
