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

  /** @returns whether there were so many to take */
  take(now: number, tokens = 1): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1_000) * this.#perSecond)
    this.#at = now
    if (this.#tokens < tokens) return false
    this.#tokens -= tokens
    return true
  }
}

/** CREATE_CHILD_SA requests of a peer, each of which may cost a key exchange; a token for each key exchange. */
export const createBudget = (): Budget => new Budget(64, 4)
