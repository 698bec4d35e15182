/** Answers at once, and in a second: what Linux sends of ICMP by default. */
const BURST = 50
const PER_MS = 1

/** How many ICMP messages may be sent, RFC 1812 §4.3.2.8, RFC 4443 §2.4(f): a token bucket. */
export class AnswerLimit {
  #tokens = BURST
  #at = 0

  take(now: number): boolean {
    this.#tokens = Math.min(BURST, this.#tokens + Math.max(0, now - this.#at) * PER_MS)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
