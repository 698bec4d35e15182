import type { IkeSettings } from '../contracts/settings.ts'

type Timers = Pick<IkeSettings, 'retransmitMs' | 'retransmitBase' | 'retransmitTries'>

/** One message as it goes over the wire. */
export interface Dispatch {
  /** @param tries - how often it was sent already: what stays unanswered may be cut into smaller datagrams */
  datagrams(tries: number): readonly Uint8Array[]
}

interface Outstanding {
  readonly id: number
  readonly dispatch: Dispatch
  tries: number
  due: number
}

/**
 * Message IDs, windows of one, retransmission of one IKE SA, RFC 7296 §2.1 to §2.3. It sees finished datagrams only:
 * what they say is the IKE SA's concern.
 */
export class Session {
  readonly #timers: Timers
  #tries: number | undefined
  #ownId: number
  #peerId: number
  #outstanding: Outstanding | undefined
  #response: { readonly id: number; readonly dispatch: Dispatch; repeats: number } | undefined

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

  /** Until something is answered, requests are sent again so often only. */
  hasten(tries: number): void {
    this.#tries = Math.min(tries, this.#timers.retransmitTries)
  }

  requested(dispatch: Dispatch, now: number): void {
    const due = now + this.#timers.retransmitMs
    this.#outstanding = { id: this.#ownId, dispatch, tries: 0, due }
  }

  /** Whether a response with this ID answers the request under way. */
  expects(id: number): boolean {
    return this.#outstanding?.id === id
  }

  /** The request under way was answered: the next one has the next ID. */
  acknowledge(): void {
    this.#tries = undefined
    this.#outstanding = undefined
    this.#ownId++
  }

  /** The request under way is given up or made anew with the same ID (COOKIE, INVALID_KE_PAYLOAD). */
  withdraw(): void {
    this.#outstanding = undefined
  }

  /** What a request with this ID is: to be processed, answered before, or to be dropped. */
  classify(id: number): 'new' | 'again' | 'stray' {
    if (id === this.#peerId) return 'new'
    return this.#response?.id === id ? 'again' : 'stray'
  }

  /** The peer's request was processed; its retransmissions get the same answer again. */
  responded(id: number, dispatch: Dispatch): void {
    this.#response = { id, dispatch, repeats: 0 }
    this.#peerId = id + 1
  }

  /** The answer to a request that has come again. */
  repeat(): readonly Uint8Array[] {
    const response = this.#response
    return response === undefined ? [] : response.dispatch.datagrams(++response.repeats)
  }

  /** @returns what to send again, 'dead' when the peer never answered, undefined when nothing is due */
  timeout(now: number): readonly Uint8Array[] | 'dead' | undefined {
    const waiting = this.#outstanding
    if (waiting === undefined || now < waiting.due) return undefined
    if (waiting.tries >= (this.#tries ?? this.#timers.retransmitTries)) return 'dead'
    waiting.tries++
    waiting.due = now + this.#timers.retransmitMs * this.#timers.retransmitBase ** waiting.tries
    return waiting.dispatch.datagrams(waiting.tries)
  }

  /** The request under way, to be sent at once on a new way, with all tries left; undefined when there is none. */
  anew(now: number): readonly Uint8Array[] | undefined {
    const waiting = this.#outstanding
    if (waiting === undefined) return undefined
    waiting.tries = 0
    waiting.due = now + this.#timers.retransmitMs
    return waiting.dispatch.datagrams(0)
  }

  /** How often the request under way was sent again. */
  get retries(): number {
    return this.#outstanding?.tries ?? 0
  }
}
