import { createCipheriv } from 'node:crypto'
import type { Mac } from '../../core/contracts/crypto.ts'

const BLOCK = 16
const ZERO = new Uint8Array(BLOCK)
const LENGTH = 12

/**
 * AES-XCBC-96 (RFC 3566) and AES-CMAC-96 (RFC 4494), which OpenSSL has behind no call of Node's: CBC whose last block is
 * masked by one of two further keys, depending on whether it had to be padded.
 */
export class NodeAesMac implements Mac {
  readonly length = LENGTH
  readonly #key: Uint8Array
  readonly #wholeMask: Uint8Array
  readonly #paddedMask: Uint8Array

  /** @param key - 16 octets */
  constructor(kind: 'cmac' | 'xcbc', key: Uint8Array) {
    if (kind === 'xcbc') {
      this.#key = lastBlock(key, new Uint8Array(BLOCK).fill(1))
      this.#wholeMask = lastBlock(key, new Uint8Array(BLOCK).fill(2))
      this.#paddedMask = lastBlock(key, new Uint8Array(BLOCK).fill(3))
    } else {
      this.#key = key.slice()
      this.#wholeMask = doubled(lastBlock(key, ZERO))
      this.#paddedMask = doubled(this.#wholeMask)
    }
  }

  sign(data: Uint8Array, tail: Uint8Array | undefined, out: Uint8Array): void {
    const length = data.length + (tail?.length ?? 0)
    const blocks = Math.max(1, Math.ceil(length / BLOCK))
    const text = new Uint8Array(blocks * BLOCK)
    text.set(data)
    if (tail !== undefined) text.set(tail, data.length)
    const whole = length === text.length
    if (!whole) text[length] = 0x80
    const mask = whole ? this.#wholeMask : this.#paddedMask
    const last = text.length - BLOCK
    for (let i = 0; i < BLOCK; i++) text[last + i]! ^= mask[i]!
    out.set(lastBlock(this.#key, text).subarray(0, LENGTH))
  }

  destroy(): void {
    this.#key.fill(0)
    this.#wholeMask.fill(0)
    this.#paddedMask.fill(0)
  }
}

/** Last block of AES-128-CBC under an IV of zero; of one block: AES alone. */
function lastBlock(key: Uint8Array, text: Uint8Array): Uint8Array {
  const sealed = createCipheriv('aes-128-cbc', key, ZERO).setAutoPadding(false).update(text)
  return new Uint8Array(sealed.subarray(sealed.length - BLOCK))
}

/** Times x in GF(2^128), RFC 4493 §2.3. */
function doubled(block: Uint8Array): Uint8Array {
  const out = new Uint8Array(BLOCK)
  for (let i = 0; i < BLOCK; i++) out[i] = (block[i]! << 1) | ((block[i + 1] ?? 0) >>> 7)
  if (block[0]! & 0x80) out[BLOCK - 1]! ^= 0x87
  return out
}
