import type { IkeSettings } from '../contracts/settings.ts'

type Timers = Pick<IkeSettings, 'retransmitMs' | 'retransmitBase' | 'retransmitTries'>

interface Outstanding {
  readonly id: number
  readonly datagram: Uint8Array
  tries: number
  due: number
}

/**
 * Message IDs, windows of one, retransmission of one IKE SA, RFC 7296 §2.1 to §2.3. It sees finished datagrams only:
 * what they say is the IKE SA's concern.
 */
export class Session {
  readonly #timers: Timers
  #ownId: number
  #peerId: number
  #outstanding: Outstanding | undefined
  #response: { readonly id: number; readonly datagram: Uint8Array } | undefined

  /** @param first - first message ID in both directions: 0, or 1 for a responder that answered IKE_SA_INIT statelessly */
  constructor(timers: Timers, first: { own: number; peer: number } = { own: 0, peer: 0 }) {
    this.#timers = timers
    this.#ownId = first.own
    this.#peerId = first.peer
  }

  /** True while a request of ours waits for its response; no other may be sent. */
  get busy(): boolean {
    return this.#outstanding !== undefined
  }

  get deadline(): number {
    return this.#outstanding?.due ?? Infinity
  }

  /** The message ID the next own request has. */
  get nextId(): number {
    return this.#ownId
  }

  requested(datagram: Uint8Array, now: number): void {
    const due = now + this.#timers.retransmitMs
    this.#outstanding = { id: this.#ownId, datagram, tries: 0, due }
  }

  /** Whether a response with this ID answers the request under way. */
  expects(id: number): boolean {
    return this.#outstanding?.id === id
  }

  /** The request under way was answered: the next one has the next ID. */
  acknowledge(): void {
    this.#outstanding = undefined
    this.#ownId++
  }

  /** The request under way is given up or made anew with the same ID (COOKIE, INVALID_KE_PAYLOAD). */
  withdraw(): void {
    this.#outstanding = undefined
  }

  /** What a request with this ID is: to be processed, answered before (the response comes along), or to be dropped. */
  classify(id: number): { readonly type: 'new' | 'stray' } | { readonly type: 'again'; readonly datagram: Uint8Array } {
    if (id === this.#peerId) return { type: 'new' }
    return this.#response?.id === id ? { type: 'again', datagram: this.#response.datagram } : { type: 'stray' }
  }

  /** The peer's request was processed; its retransmissions get the same octets again. */
  responded(id: number, datagram: Uint8Array): void {
    this.#response = { id, datagram }
    this.#peerId = id + 1
  }

  /** @returns the datagram to send again, 'dead' when the peer never answered, undefined when nothing is due */
  timeout(now: number): Uint8Array | 'dead' | undefined {
    const waiting = this.#outstanding
    if (waiting === undefined || now < waiting.due) return undefined
    if (waiting.tries >= this.#timers.retransmitTries) return 'dead'
    waiting.tries++
    waiting.due = now + this.#timers.retransmitMs * this.#timers.retransmitBase ** waiting.tries
    return waiting.datagram
  }

  /** The request under way, to be sent at once on a new way, with all tries left; undefined when there is none. */
  anew(now: number): Uint8Array | undefined {
    const waiting = this.#outstanding
    if (waiting === undefined) return undefined
    waiting.tries = 0
    waiting.due = now + this.#timers.retransmitMs
    return waiting.datagram
  }

  /** How often the request under way was sent again. */
  get retries(): number {
    return this.#outstanding?.tries ?? 0
  }
}
