import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Payload } from '../wire/index.ts'
import type { Exchange } from './exchange.ts'
import type { IkeSa } from './ike-sa.ts'

/** An exchange of somebody else's protocol over this IKE SA, such as a mediation extension's. */
export class ExtensionExchange implements Exchange {
  readonly type: number
  readonly #payloads: readonly Payload[]
  readonly #answered: (payloads: readonly Payload[], now: number) => void

  /** @param type - an exchange type that is not one of IKE's own */
  constructor(
    type: number,
    payloads: readonly Payload[],
    answered: (payloads: readonly Payload[], now: number) => void,
  ) {
    this.type = type
    this.#payloads = payloads
    this.#answered = answered
  }

  request(): Payload[] {
    return [...this.#payloads]
  }

  response(_sa: IkeSa, { payloads }: IncomingMessage, now: number): void {
    this.#answered(payloads, now)
  }
}
