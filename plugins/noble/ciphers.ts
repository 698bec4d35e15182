import { cbc, cmac, ctr, gcm } from '@noble/ciphers/aes.js'
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { hmac } from '@noble/hashes/hmac.js'
import { type CHash, concatBytes } from '@noble/hashes/utils.js'
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

/** AES-GMAC, RFC 4543: GCM that authenticates the text beside the AAD and leaves it readable. */
export class NobleGmac implements Aead {
  readonly tagLength = 16
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = key.slice()
  }

  seal(nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array, out: Uint8Array): void {
    const tag = gcm(this.#key, nonce, concatBytes(aad, plaintext)).encrypt(new Uint8Array(0))
    out.set(plaintext)
    out.set(tag, plaintext.length)
  }

  open(nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array, out: Uint8Array): boolean {
    const length = sealed.length - this.tagLength
    if (length < 0) return false
    const text = sealed.subarray(0, length)
    const cipher = gcm(this.#key, nonce, concatBytes(aad, text))
    if (verified(() => cipher.decrypt(sealed.subarray(length))) === undefined) return false
    out.set(text)
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

/** AES-CMAC-96, RFC 4494. */
export class NobleCmac implements Mac {
  readonly length = 12
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = key.slice()
  }

  sign(data: Uint8Array, tail: Uint8Array | undefined, out: Uint8Array): void {
    out.set(cmac(tail === undefined ? data : concatBytes(data, tail), this.#key).subarray(0, this.length))
  }

  destroy(): void {
    this.#key.fill(0)
  }
}

/** AES-XCBC-96, RFC 3566: CBC whose last block is masked by one of two further keys. */
export class NobleXcbc implements Mac {
  readonly length = 12
  /** K1; K2 for a last block that is whole; K3 for one that was padded. */
  readonly #keys: readonly Uint8Array[]

  /** @param key - 16 octets */
  constructor(key: Uint8Array) {
    this.#keys = [1, 2, 3].map(n => lastBlock(key, new Uint8Array(16).fill(n)))
  }

  sign(data: Uint8Array, tail: Uint8Array | undefined, out: Uint8Array): void {
    const [key, ...masks] = this.#keys
    const message = tail === undefined ? data : concatBytes(data, tail)
    const text = new Uint8Array(Math.max(16, Math.ceil(message.length / 16) * 16))
    text.set(message)
    const whole = text.length === message.length
    if (!whole) text[message.length] = 0x80
    masks[whole ? 0 : 1]!.forEach((octet, i) => {
      text[text.length - 16 + i]! ^= octet
    })
    out.set(lastBlock(key!, text).subarray(0, this.length))
  }

  destroy(): void {
    for (const key of this.#keys) key.fill(0)
  }
}

/** Last block of AES-CBC under an IV of zero; of one block: AES alone. */
const lastBlock = (key: Uint8Array, text: Uint8Array): Uint8Array =>
  cbc(key, new Uint8Array(16), { disablePadding: true }).encrypt(text).slice(-16)

/** noble throws for a wrong tag and for input shorter than one. */
function verified(decrypt: () => Uint8Array): Uint8Array | undefined {
  try {
    return decrypt()
  } catch {
    return undefined
  }
}
