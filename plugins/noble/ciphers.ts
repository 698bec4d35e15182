import { cbc, ctr, gcm } from '@noble/ciphers/aes.js'
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { hmac } from '@noble/hashes/hmac.js'
import type { CHash } from '@noble/hashes/utils.js'
import type { Aead, Cipher, Mac } from '../../core/contracts/crypto.ts'

/** AES-GCM. noble gives no way to name the output, so each packet is copied once. */
export class NobleGcm implements Aead {
  readonly tagLength = 16
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = key.slice()
  }

  seal(nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    out.set(gcm(this.#key, nonce, aad).encrypt(plaintext))
  }

  open(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    const cipher = gcm(this.#key, nonce, aad)
    const plain = verified(() => cipher.decrypt(sealed))
    if (plain === undefined) return false
    out.set(plain)
    return true
  }

  destroy(): void {
    this.#key.fill(0)
  }
}

/** ChaCha20-Poly1305, straight into `out`. */
export class NobleChaCha implements Aead {
  readonly tagLength = 16
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = key.slice()
  }

  seal(nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    chacha20poly1305(this.#key, nonce, aad).encrypt(plaintext, out)
  }

  open(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    const cipher = chacha20poly1305(this.#key, nonce, aad)
    return verified(() => cipher.decrypt(sealed, out)) !== undefined
  }

  destroy(): void {
    this.#key.fill(0)
  }
}

/** AES-CBC without padding of its own. noble's output must be aligned, packets are not: one copy each. */
export class NobleCbc implements Cipher {
  readonly ivLength = 16
  readonly blockLength = 16
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = key.slice()
  }

  encrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    out.set(cbc(this.#key, iv, { disablePadding: true }).encrypt(data))
  }

  decrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    out.set(cbc(this.#key, iv, { disablePadding: true }).decrypt(data))
  }

  destroy(): void {
    this.#key.fill(0)
  }
}

/** AES-CTR, RFC 3686: counter block = nonce | IV | counter from 1. */
export class NobleCtr implements Cipher {
  readonly ivLength = 8
  readonly blockLength = 1
  readonly #key: Uint8Array
  readonly #counter = new Uint8Array(16)

  constructor(key: Uint8Array, nonce: Uint8Array) {
    this.#key = key.slice()
    this.#counter.set(nonce)
  }

  encrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    this.#counter.set(iv, 4)
    this.#counter.set([0, 0, 0, 1], 12)
    out.set(ctr(this.#key, this.#counter).encrypt(data))
  }

  decrypt(iv: Uint8Array, data: Uint8Array, out: Uint8Array): void {
    this.encrypt(iv, data, out)
  }

  destroy(): void {
    this.#key.fill(0)
    this.#counter.fill(0)
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

/** Truncated HMAC; the keyed state is made once and copied per packet. */
export class NobleMac implements Mac {
  readonly length: number
  readonly #keyed: ReturnType<typeof hmac.create>

  constructor(hash: CHash, key: Uint8Array, length: number) {
    this.length = length
    this.#keyed = hmac.create(hash, key)
  }

  sign(data: Uint8Array, tail: Uint8Array | undefined, out: Uint8Array): void {
    const state = this.#keyed.clone().update(data)
    if (tail !== undefined) state.update(tail)
    out.set(state.digest().subarray(0, this.length))
  }

  destroy(): void {
    this.#keyed.destroy()
  }
}

/** noble throws for a wrong tag and for input shorter than one. */
function verified(decrypt: () => Uint8Array): Uint8Array | undefined {
  try {
    return decrypt()
  } catch {
    return undefined
  }
}
