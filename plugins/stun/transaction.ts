import type { Rng } from '../../core/contracts/machine.ts'
import type { Endpoint } from '../../core/contracts/net.ts'
import { type StunAttribute, StunMethod, serializeStun } from '../../core/wire/index.ts'
import type { Timing } from './timing.ts'

/** One Binding request and its retransmissions, which repeat it octet by octet. */
export class Transaction {
  readonly to: Endpoint
  readonly octets: Uint8Array
  /** Transaction ID in hexadecimal. */
  readonly id: string
  readonly began: number
  readonly #timing: Timing
  #sent = 0
  #due: number

  /** @param began - when it is first due, ms */
  constructor(rng: Rng, to: Endpoint, attributes: readonly StunAttribute[], timing: Timing, began: number) {
    const transaction = rng.bytes(12)
    this.to = to
    this.octets = serializeStun(
      { class: 'request', method: StunMethod.Binding, transaction, attributes },
      { fingerprint: true },
    )
    this.id = hexOf(transaction)
    this.began = began
    this.#timing = timing
    this.#due = began
  }

  /** Times it was sent. */
  get sent(): number {
    return this.#sent
  }

  /** When it is to be sent next, or given up. */
  get deadline(): number {
    return this.#due
  }

  /** @returns what to do now; a late call delays what follows, it makes up for nothing in a burst */
  due(now: number): 'send' | 'failed' | undefined {
    if (now < this.#due) return undefined
    const { sends, fails } = this.#timing
    if (this.#sent === sends.length) return 'failed'
    this.#due = now + (sends[this.#sent + 1] ?? fails) - sends[this.#sent]!
    this.#sent++
    return 'send'
  }
}

export const hexOf = (octets: Uint8Array): string =>
  Array.from(octets, octet => octet.toString(16).padStart(2, '0')).join('')
