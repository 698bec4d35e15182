import type { Machine, Rng } from '../../core/contracts/machine.ts'
import type { Endpoint } from '../../core/contracts/net.ts'
import { sameEndpoint } from '../../core/contracts/net.ts'
import { answerOf, readStun } from './answer.ts'
import { rfc8489Timing } from './timing.ts'
import { Transaction } from './transaction.ts'

export type BindingIn =
  | { readonly type: 'start' }
  | { readonly type: 'timeout' }
  /** From whichever address: the transaction ID counts. */
  | { readonly type: 'datagram'; readonly data: Uint8Array }

export type BindingOut =
  | { readonly type: 'transmit'; readonly data: Uint8Array; readonly to: Endpoint }
  /** The mapped address, at first and whenever it changes. */
  | { readonly type: 'mapped'; readonly mapped: Endpoint }
  /** No answer, or a refusal; it tries again after the usual pause. */
  | { readonly type: 'failed'; readonly why: string }

/**
 * Asks one server from one socket for the mapped address, and again every `interval` ms, which also keeps the NAT's
 * mapping alive. RFC 8489 §3.
 */
export class Binding implements Machine<BindingIn, BindingOut> {
  readonly #rng: Rng
  readonly #server: Endpoint
  readonly #interval: number
  #asked: Transaction | undefined
  #next = Infinity
  #mapped: Endpoint | undefined

  constructor(rng: Rng, server: Endpoint, interval: number) {
    this.#rng = rng
    this.#server = server
    this.#interval = interval
  }

  get deadline(): number {
    return this.#asked?.deadline ?? this.#next
  }

  /** Whether an answer to this transaction is waited for. */
  awaits(id: string): boolean {
    return this.#asked?.id === id
  }

  step(input: BindingIn, now: number): readonly BindingOut[] {
    switch (input.type) {
      case 'start':
        this.#next = now
        return this.#timeout(now)
      case 'timeout':
        return this.#timeout(now)
      case 'datagram':
        return this.#datagram(input.data, now)
    }
  }

  #timeout(now: number): readonly BindingOut[] {
    if (this.#asked === undefined) {
      if (now < this.#next) return []
      this.#asked = new Transaction(this.#rng, this.#server, [], rfc8489Timing(), now)
    }
    switch (this.#asked.due(now)) {
      case 'send':
        return [{ type: 'transmit', data: this.#asked.octets, to: this.#server }]
      case 'failed':
        return this.#failed(`no answer to ${this.#asked.sent} requests`, now)
      case undefined:
        return []
    }
  }

  #datagram(data: Uint8Array, now: number): readonly BindingOut[] {
    const read = readStun(data)
    const answer = read?.id === this.#asked?.id ? read && answerOf(read.message) : undefined
    if (answer === undefined) return []
    if (answer.type === 'error') return this.#failed(`${answer.code} ${answer.reason}`, now)
    this.#pause(now)
    if (this.#mapped !== undefined && sameEndpoint(this.#mapped, answer.mapped)) return []
    this.#mapped = answer.mapped
    return [{ type: 'mapped', mapped: answer.mapped }]
  }

  #failed(why: string, now: number): readonly BindingOut[] {
    this.#pause(now)
    this.#mapped = undefined
    return [{ type: 'failed', why }]
  }

  #pause(now: number): void {
    this.#asked = undefined
    this.#next = now + this.#interval
  }
}
