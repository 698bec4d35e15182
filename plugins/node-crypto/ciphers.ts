import {
  type CipherGCMTypes,
  type CipherKey,
  createCipheriv,
  createDecipheriv,
  createHmac,
  type DecipherGCM,
} from 'node:crypto'
import type { Aead, Cipher, Mac } from '../../core/contracts/crypto.ts'

/** The name and the options of GCM stand for CCM and ChaCha20-Poly1305 too: the same calls, told apart by types only. */
export type AeadName = CipherGCMTypes

/** AES-GCM, AES-CCM or ChaCha20-Poly1305 by OpenSSL. One copy per packet, which Node's API leaves no way around. */
export class NodeAead implements Aead {
  readonly tagLength: number
  readonly #name: AeadName
  readonly #key: Uint8Array
  readonly #options: { readonly authTagLength: number }

  constructor(name: AeadName, key: Uint8Array, tagLength: number) {
    this.tagLength = tagLength
    this.#name = name
    this.#key = key.slice()
    this.#options = { authTagLength: tagLength }
  }

  seal(nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    const length = plaintext.length
    const cipher = createCipheriv(this.#name, this.#key, nonce, this.#options)
    cipher.setAAD(aad, { plaintextLength: length })
    const text = cipher.update(plaintext)
    cipher.final()
    out.set(text)
    out.set(cipher.getAuthTag(), length)
  }

  open(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    const length = sealed.length - this.tagLength
    if (length < 0) return false
    const decipher = createDecipheriv(this.#name, this.#key, nonce, this.#options)
    decipher.setAuthTag(sealed.subarray(length))
    decipher.setAAD(aad, { plaintextLength: length })
    const plain = verified(decipher, sealed.subarray(0, length))
    if (plain === undefined) return false
    out.set(plain)
    return true
  }

  destroy(): void {
    this.#key.fill(0)
  }
}

/** AES-GMAC, RFC 4543: GCM that authenticates the text beside the AAD and leaves it readable. */
export class NodeGmac implements Aead {
  readonly tagLength = 16
  readonly #name: CipherGCMTypes
  readonly #key: Uint8Array

  constructor(name: CipherGCMTypes, key: Uint8Array) {
    this.#name = name
    this.#key = key.slice()
  }

  seal(nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    const cipher = createCipheriv(this.#name, this.#key, nonce)
    cipher.setAAD(aad)
    cipher.setAAD(plaintext)
    cipher.final()
    out.set(plaintext)
    out.set(cipher.getAuthTag(), plaintext.length)
  }

  open(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    const length = sealed.length - this.tagLength
    if (length < 0) return false
    const text = sealed.subarray(0, length)
    const decipher = createDecipheriv(this.#name, this.#key, nonce)
    decipher.setAuthTag(sealed.subarray(length))
    decipher.setAAD(aad)
    decipher.setAAD(text)
    if (verified(decipher, new Uint8Array(0)) === undefined) return false
    out.set(text)
    return true
  }

  destroy(): void {
    this.#key.fill(0)
  }
}

/** AES-CBC or AES-CTR by OpenSSL. */
export class NodeCipher implements Cipher {
  readonly ivLength: number
  readonly blockLength: number
  readonly #name: string
  readonly #key: Uint8Array
  readonly #counter: Uint8Array | undefined

  /** @param nonce - for CTR: the last part of its keying material, RFC 3686 §4 */
  constructor(name: string, key: Uint8Array, nonce?: Uint8Array) {
    this.ivLength = nonce === undefined ? 16 : 8
    this.blockLength = nonce === undefined ? 16 : 1
    this.#name = name
    this.#key = key.slice()
    if (nonce !== undefined) {
      this.#counter = new Uint8Array(16)
      this.#counter.set(nonce)
      this.#counter[15] = 1
    }
  }

  encrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    const cipher = createCipheriv(this.#name, this.#key, this.#start(iv))
    out.set(cipher.setAutoPadding(false).update(data))
    cipher.final()
  }

  decrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    const decipher = createDecipheriv(this.#name, this.#key, this.#start(iv))
    out.set(decipher.setAutoPadding(false).update(data))
    decipher.final()
  }

  destroy(): void {
    this.#key.fill(0)
    this.#counter?.fill(0)
  }

  #start(iv: Uint8Array): Uint8Array {
    this.#counter?.set(iv, 4)
    return this.#counter ?? iv
  }
}

/** ENCR_NULL, RFC 2410. */
export const nullCipher: Cipher = {
  ivLength: 0,
  blockLength: 1,
  encrypt: (_iv, data, out) => out.set(data),
  decrypt: (_iv, data, out) => out.set(data),
  destroy() {},
}

/** Truncated HMAC by OpenSSL. */
export class NodeMac implements Mac {
  readonly length: number
  readonly #hash: string
  readonly #key: Uint8Array

  constructor(hash: string, key: Uint8Array, length: number) {
    this.length = length
    this.#hash = hash
    this.#key = key.slice()
  }

  sign(data: Uint8Array, tail: Uint8Array | undefined, out: Uint8Array): void {
    const hmac = createHmac(this.#hash, this.#key satisfies CipherKey).update(data)
    if (tail !== undefined) hmac.update(tail)
    out.set(hmac.digest().subarray(0, this.length))
  }

  destroy(): void {
    this.#key.fill(0)
  }
}

/** The only thing Node can object to here is the tag: CCM does so in update, the others in final. */
function verified(decipher: DecipherGCM, text: Uint8Array): Uint8Array | undefined {
  try {
    const plain = decipher.update(text)
    decipher.final()
    return plain
  } catch {
    return undefined
  }
}
