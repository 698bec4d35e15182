import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, showEndpoint } from '../../core/contracts/net.ts'
import type { StunAttribute } from '../../core/wire/index.ts'
import { RFC3489_TIMING } from './timing.ts'
import { Transaction } from './transaction.ts'

/** What came of a probe. */
export type ProbeOutcome =
  | { readonly type: 'answered'; readonly from: Endpoint; readonly mapped: Endpoint; readonly other?: Endpoint }
  /** An error response. */
  | { readonly type: 'refused'; readonly code: number; readonly reason: string }
  | { readonly type: 'silent' }
  /** The time was up before silence meant anything. */
  | { readonly type: 'stopped' }

/** One request and what came of it: a line of the evidence. */
export interface ProbeRecord {
  /** `I`, `II`, `III`, `I′` are the tests of RFC 3489 §10.1. */
  readonly name: string
  /** In words, what the request asked for. */
  readonly asked: string
  readonly local: Endpoint
  readonly to: Endpoint
  /** Times it was sent. */
  readonly sent: number
  /** Ms from the first request to the answer. */
  readonly tookMs?: number
  readonly outcome: ProbeOutcome
}

export interface ProbeOptions {
  readonly name: string
  readonly asked: string
  /** Index of the socket that sends. */
  readonly socket: number
  /** Index of the socket at which the answer comes in. */
  readonly answers?: number
  readonly to: Endpoint
  readonly attributes?: readonly StunAttribute[]
  /** Silence is an answer too: the probe stops as soon as losses cannot explain it. */
  readonly silenceCounts?: boolean
}

/** A probe under way. */
export class Probe {
  readonly name: string
  readonly socket: number
  readonly answers: number
  readonly silenceCounts: boolean
  readonly transaction: Transaction
  readonly #asked: string
  readonly #local: Endpoint
  #lastSent = 0
  #tookMs: number | undefined
  #outcome: ProbeOutcome | undefined

  constructor(options: ProbeOptions, local: Endpoint, rng: Rng, now: number) {
    this.name = options.name
    this.socket = options.socket
    this.answers = options.answers ?? options.socket
    this.silenceCounts = options.silenceCounts ?? false
    this.transaction = new Transaction(rng, options.to, options.attributes ?? [], RFC3489_TIMING, now)
    this.#asked = options.asked
    this.#local = local
  }

  get outcome(): ProbeOutcome | undefined {
    return this.#outcome
  }

  get record(): ProbeRecord {
    return {
      name: this.name,
      asked: this.#asked,
      local: this.#local,
      to: this.transaction.to,
      sent: this.transaction.sent,
      ...(this.#tookMs !== undefined && { tookMs: this.#tookMs }),
      outcome: this.#outcome ?? { type: 'stopped' },
    }
  }

  get tookMs(): number | undefined {
    return this.#tookMs
  }

  /**
   * When it wants to be looked at.
   *
   * @param enough - after that many requests silence cannot be loss any more
   * @param grace - how long to wait after the last of these
   */
  deadline(enough: number, grace: number): number {
    if (this.#outcome !== undefined) return Infinity
    return this.#stops(enough) ? this.#lastSent + grace : this.transaction.deadline
  }

  /** @returns true when it is to be sent now */
  due(enough: number, grace: number, now: number): boolean {
    if (this.#outcome !== undefined) return false
    if (this.#stops(enough)) {
      if (now >= this.#lastSent + grace) this.#outcome = { type: 'silent' }
      return false
    }
    const due = this.transaction.due(now)
    if (due === 'send') this.#lastSent = now
    if (due === 'failed') this.#outcome = { type: 'silent' }
    return due === 'send'
  }

  finish(outcome: ProbeOutcome, now: number): void {
    this.#outcome = outcome
    if (outcome.type === 'answered') this.#tookMs = now - this.transaction.began
  }

  #stops(enough: number): boolean {
    return this.silenceCounts && this.transaction.sent >= enough
  }
}

/** One line for people: `II: request to 203.0.113.30:3478 to answer from …: no answer to 9 requests`. */
export function showProbe({ name, asked, to, sent, tookMs, outcome }: ProbeRecord): string {
  const question = `${name}: ${asked} (${showEndpoint(to)})`
  switch (outcome.type) {
    case 'answered':
      return `${question}: ${showEndpoint(outcome.mapped)}, answered from ${showEndpoint(outcome.from)} in ${Math.round(tookMs ?? 0)} ms, ${requests(sent)}`
    case 'refused':
      return `${question}: refused, ${outcome.code} ${outcome.reason}`
    case 'silent':
      return `${question}: no answer, ${requests(sent)}`
    case 'stopped':
      return `${question}: stopped, ${requests(sent)}`
  }
}

const requests = (sent: number): string => (sent === 1 ? '1 request' : `${sent} requests`)
