import { SaMemory, Word } from './sa-memory.ts'

const WORD = 32
const HALF = 0x1_0000_0000

/**
 * Anti-replay window of one inbound SA: the ring bitmap of RFC 6479, with the inference of the high half of extended
 * sequence numbers (RFC 4303 Appendix A). Sequence numbers are plain numbers up to 2^53 - 1; an SA that counts further
 * has long met its lifetime.
 */
export class ReplayWindow {
  readonly #size: number
  readonly #esn: boolean
  readonly #ring: Uint32Array
  readonly #numbers: Float64Array

  /**
   * @param size - packets; a number this many behind the newest is too old; 0: every number is taken, without ESN only
   * @param esn - whether the wire carries the low half of 64-bit numbers
   * @param memory - where the window is kept
   */
  constructor(size: number, esn: boolean, memory: SaMemory = new SaMemory(size)) {
    this.#size = size
    this.#esn = esn
    this.#ring = memory.ring
    this.#numbers = memory.numbers
  }

  /** Highest number accepted so far; 0 for none. */
  get top(): number {
    return this.#numbers[Word.TOP]!
  }

  /**
   * Looks only; a forged packet must not move the window.
   *
   * @param low - the 32 bits on the wire
   * @returns the whole sequence number, to be authenticated; -1 for a replayed or too old one
   */
  check(low: number): number {
    if (this.#size === 0) return low
    const sequence = this.#esn ? this.#infer(low) : low
    if (sequence <= 0 || sequence > Number.MAX_SAFE_INTEGER) return -1
    const { top } = this
    if (sequence > top) return sequence
    if (top - sequence >= this.#size) return -1
    return (this.#ring[this.#index(sequence)]! & bit(sequence)) === 0 ? sequence : -1
  }

  /**
   * Records a number that `check` returned, after its packet authenticated.
   *
   * @returns true when it is newer than all before
   */
  update(sequence: number): boolean {
    const { top } = this
    const newest = sequence > top
    if (newest) {
      const from = Math.floor(top / WORD)
      // a jump of a whole ring or more clears every word once
      const words = Math.min(Math.floor(sequence / WORD) - from, this.#ring.length)
      for (let i = 1; i <= words; i++) this.#ring[(from + i) & (this.#ring.length - 1)] = 0
      this.#numbers[Word.TOP] = sequence
    }
    this.#ring[this.#index(sequence)]! |= bit(sequence)
    return newest
  }

  #index(sequence: number): number {
    // a power of two of words; bits behind the point and above 2^32 fall away
    return (sequence / WORD) & (this.#ring.length - 1)
  }

  /** RFC 4303 Appendix A2.1: the high half that puts `low` into the window, or ahead of it. */
  #infer(low: number): number {
    const { top } = this
    const topLow = top >>> 0
    const high = top - topLow
    const bottom = topLow - this.#size + 1
    if (bottom >= 0) return low >= bottom ? high + low : high + HALF + low
    // the window spans the wrap of the low half: what is near the top of it belongs to the half before
    return low >= bottom + HALF ? high - HALF + low : high + low
  }
}

const bit = (sequence: number): number => 1 << (sequence & (WORD - 1))
