/** Which silences to try, one after the other, until the lifetime of a mapping is known well enough. */

const STEPS_MS = [20_000, 40_000, 80_000, 160_000, 320_000, 600_000]
/** A lost datagram looks like a forgotten mapping: a silence counts as too long after so many misses. */
const MISSES = 2
/** The search ends when what is not known is this share of what is. */
const CLOSE = 0.2
const LEAST_MS = 5_000

export class Search {
  /** The longest silence that a mapping has lived through, ms. */
  low = 0
  #high = Infinity
  #missed = 0
  #step = 0

  /** The next silence to try; undefined when enough is known. */
  get next(): number | undefined {
    if (this.#high === Infinity) return STEPS_MS[this.#step]
    if (this.#high - this.low <= Math.max(this.low * CLOSE, LEAST_MS)) return undefined
    return Math.round((this.low + this.#high) / 2_000) * 1_000
  }

  lived(silenceMs: number): void {
    this.#missed = 0
    this.low = Math.max(this.low, silenceMs)
    if (this.#high === Infinity) this.#step++
  }

  died(silenceMs: number): void {
    if (++this.#missed < MISSES) return
    this.#missed = 0
    this.#high = Math.min(this.#high, silenceMs)
  }
}
