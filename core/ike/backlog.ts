import type { Exchange } from './exchange.ts'

interface Waiting {
  readonly at: number
  readonly exchange: Exchange
}

/** Exchanges that wait for their turn, and those that wait for a time to be tried again. */
export class Backlog {
  #ready: Exchange[] = []
  #waiting: Waiting[] = []

  /** When the next waiting one is due. */
  get deadline(): number {
    return Math.min(Infinity, ...this.#waiting.map(({ at }) => at))
  }

  push(exchange: Exchange): void {
    this.#ready.push(exchange)
  }

  /** To be the next one. */
  putFirst(exchange: Exchange): void {
    this.#ready.unshift(exchange)
  }

  /** To be pushed at `at`. */
  wait(exchange: Exchange, at: number): void {
    this.#waiting.push({ at, exchange })
  }

  /** Takes the one whose turn it is. */
  next(): Exchange | undefined {
    return this.#ready.shift()
  }

  /** Makes those ready whose time has come. @returns whether there were any */
  wake(now: number): boolean {
    const due = this.#waiting.filter(({ at }) => now >= at)
    this.#waiting = this.#waiting.filter(({ at }) => now < at)
    this.#ready.push(...due.map(({ exchange }) => exchange))
    return due.length > 0
  }

  some(test: (exchange: Exchange) => boolean): boolean {
    return this.#ready.some(test) || this.#waiting.some(({ exchange }) => test(exchange))
  }

  /** Hands all over; what was ready is due at once. */
  moveTo(other: Backlog, unless: (exchange: Exchange) => boolean, now: number): void {
    const all = [...this.#ready.map(exchange => ({ at: now, exchange })), ...this.#waiting]
    for (const { at, exchange } of all) if (!unless(exchange)) other.wait(exchange, at)
    this.#ready = []
    this.#waiting = []
  }
}
