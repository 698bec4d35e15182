/** No other plan is gone for so soon after the last change: a fact that comes and goes moves nothing back and forth. */
const CALM_MS = 30_000
/** So long a way that has failed is not gone for again while another one stands. */
const FAILED_MS = 600_000

/** When to look whether another plan is better than that of the SA which stands, and what has failed lately. */
export class Review {
  /** When to look, monotonic ms. */
  at = Infinity
  #calmUntil = 0
  /** When a path with an encapsulation last failed. */
  readonly #failed = new Map<string, number>()

  /** Something is known that was not. */
  want(now: number): void {
    this.at = Math.min(this.at, Math.max(now, this.#calmUntil))
  }

  /** Another plan is gone for. */
  moves(now: number): void {
    this.#calmUntil = now + CALM_MS
  }

  failed(path: string, encap: string, now: number): void {
    this.#failed.set(`${path}+${encap}`, now)
  }

  hasFailed(path: string, encap: string, now: number): boolean {
    return now - (this.#failed.get(`${path}+${encap}`) ?? -Infinity) < FAILED_MS
  }

  /** On another network nothing of that is assumed. */
  forget(): void {
    this.#failed.clear()
  }
}
