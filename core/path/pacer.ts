/** A bucket of packets that fills steadily: what all checklists of a host share, so that many do not add up to a flood. */
export class Pacer {
  readonly #everyMs: number
  readonly #burst: number
  #tokens: number
  #at = Number.NEGATIVE_INFINITY

  /** @param perSecond - packets in the long run; `burst` of them at once */
  constructor(perSecond = 500, burst = 32) {
    this.#everyMs = 1_000 / perSecond
    this.#burst = burst
    this.#tokens = burst
  }

  /** Takes one packet's right to be sent. @returns false when there is none: ask again at `freeAt` */
  take(now: number): boolean {
    this.#fill(now)
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** When the next packet may go. */
  freeAt(now: number): number {
    this.#fill(now)
    // rounded up: a timer that is early by the last bit of a double would find nothing again and again
    return this.#tokens >= 1 ? now : now + Math.ceil((1 - this.#tokens) * this.#everyMs)
  }

  #fill(now: number): void {
    if (now > this.#at) this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#at) / this.#everyMs)
    this.#at = Math.max(now, this.#at)
  }
}
