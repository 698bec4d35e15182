import type { Rng } from '../../core/contracts/machine.ts'
import { type StunAttribute, serializeStun } from '../../core/wire/index.ts'
import type { ClientCredentials } from './credentials.ts'

/** First wait for an answer over UDP, ms; doubled each time, RFC 8489 §6.2.1. */
const RTO_MS = 500
const TRANSMISSIONS = 7
const LAST_WAIT = 16
/** A stream delivers by itself; this long without an answer and it is dead. RFC 8489 allows 39.5 s. */
const STREAM_PATIENCE_MS = 15_000
/** How often one request may be sent anew because the server wants another nonce. */
const MAX_CHALLENGES = 3

/** One request to the TURN server, repeated octet by octet until it is answered or given up. */
export class TurnRequest<Purpose> {
  readonly purpose: Purpose
  /** Secured with credentials, so that the answer must be, too. */
  readonly authenticated: boolean
  readonly octets: Uint8Array
  /** Transaction ID in hexadecimal. */
  readonly id: string
  readonly #method: number
  readonly #attributes: readonly StunAttribute[]
  readonly #reliable: boolean
  readonly #challenges: number
  #sent = 0
  #due = 0

  constructor(
    purpose: Purpose,
    method: number,
    attributes: readonly StunAttribute[],
    { rng, credentials, reliable }: RequestContext,
    challenges = 0,
  ) {
    this.purpose = purpose
    this.#method = method
    this.#attributes = attributes
    this.#reliable = reliable
    this.#challenges = challenges
    this.authenticated = credentials.ready
    const transaction = rng.bytes(12)
    this.id = hex(transaction)
    const sealing = credentials.sealing
    this.octets = serializeStun(
      { class: 'request', method, transaction, attributes: [...attributes, ...sealing.attributes] },
      sealing.protection,
    )
  }

  /** The same with what the server demands now; undefined when it has demanded too often. */
  again(context: RequestContext): TurnRequest<Purpose> | undefined {
    if (this.#challenges === MAX_CHALLENGES) return undefined
    return new TurnRequest(this.purpose, this.#method, this.#attributes, context, this.#challenges + 1)
  }

  get deadline(): number {
    return this.#due
  }

  /** What is to be done now. */
  due(now: number): 'send' | 'failed' | undefined {
    if (now < this.#due) return undefined
    if (this.#sent === (this.#reliable ? 1 : TRANSMISSIONS)) return 'failed'
    this.#sent++
    const wait = this.#sent === TRANSMISSIONS ? LAST_WAIT : 2 ** (this.#sent - 1)
    this.#due = now + (this.#reliable ? STREAM_PATIENCE_MS : wait * RTO_MS)
    return 'send'
  }
}

export interface RequestContext {
  readonly rng: Rng
  readonly credentials: ClientCredentials
  /** Over TCP or TLS. */
  readonly reliable: boolean
}

export const hex = (octets: Uint8Array): string =>
  Array.from(octets, octet => octet.toString(16).padStart(2, '0')).join('')
