/** What a peer may ask for in a time: a bucket that holds `burst` tokens and gets `perSecond` of them back. */
export class Budget {
  readonly #burst: number
  readonly #perSecond: number
  #tokens: number
  #at = 0

  constructor(burst: number, perSecond: number) {
    this.#burst = burst
    this.#perSecond = perSecond
    this.#tokens = burst
  }

  /** @returns whether there was one to take */
  take(now: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1_000) * this.#perSecond)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
