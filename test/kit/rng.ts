import type { Rng } from '../../core/contracts/machine.ts'

/**
 * Seeded randomness: sfc32 (Chris Doty-Humphrey's small fast counter generator, 128 bits of state). Good for simulations,
 * worthless for secrets. Equal seeds give equal streams on every machine.
 */
export class SeededRng implements Rng {
  readonly seed: string
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number | string) {
    this.seed = String(seed)
    const mix = seedMixer(this.seed)
    this.#a = mix()
    this.#b = mix()
    this.#c = mix()
    for (let i = 0; i < 12; i++) this.u32()
  }

  /** An independent stream; its content depends on this stream's seed and `name` only, not on what was drawn so far. */
  fork(name: string): SeededRng {
    return new SeededRng(`${this.seed}/${name}`)
  }

  /** @returns a uniform integer, 0 to 2^32 - 1 */
  u32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** @returns a uniform number, 0 ≤ x < 1 */
  float(): number {
    return this.u32() / 0x1_0000_0000
  }

  /** @returns a uniform integer, 0 ≤ x < `limit` */
  below(limit: number): number {
    return Math.floor(this.float() * limit)
  }

  /** True with this probability; draws nothing when the answer is certain. */
  chance(probability: number): boolean {
    return probability > 0 && (probability >= 1 || this.float() < probability)
  }

  bytes(length: number): Uint8Array {
    const out = new Uint8Array(length)
    for (let at = 0; at < length; at += 4) {
      let word = this.u32()
      for (let i = at; i < at + 4 && i < length; i++, word >>>= 8) out[i] = word
    }
    return out
  }
}

/** Spreads a text over 32-bit words: FNV-1a over its characters, then murmur3's finalizer per word. */
function seedMixer(text: string): () => number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return () => {
    hash = (hash + 0x9e3779b9) | 0
    let word = hash ^ (hash >>> 16)
    word = Math.imul(word, 0x85ebca6b)
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35)
    return (word ^ (word >>> 16)) >>> 0
  }
}
