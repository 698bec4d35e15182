import type { PayloadOf } from '../wire/index.ts'

/** What comes in as fragments, RFC 7383 §2.6. Each fragment has authenticated; whoever sent it may still be hostile. */

/** Certificate chains take some ten fragments. */
const MAX_FRAGMENTS = 128
/** Octets of one message. */
const MAX_OCTETS = 0x1_0000
/** Octets of all incomplete messages of a host; peers that have not proved who they are may fill half of it. */
const MAX_HELD = 0x80_0000
/** What keeping a fragment costs beside its octets. */
const KEEPING = 64
/** Longer than a peer waits before it sends all fragments again. */
const TIMEOUT_MS = 30_000

/** Octets that incomplete messages take, over all IKE SAs of a host. */
export class ReassemblyBudget {
  #held = 0

  get held(): number {
    return this.#held
  }

  /** @returns false when there is no room */
  take(octets: number, known: boolean): boolean {
    if (this.#held + octets > (known ? MAX_HELD : MAX_HELD / 2)) return false
    this.#held += octets
    return true
  }

  give(octets: number): void {
    this.#held -= octets
  }
}

/** A fragment that has authenticated. */
export interface Fragment {
  readonly exchange: number
  readonly response: boolean
  readonly messageId: number
  readonly skf: Pick<PayloadOf<'SKF'>, 'inner' | 'number' | 'total'>
  /** Its part of the inner chain, kept. */
  readonly part: Uint8Array
  /** Octets of the whole datagram. */
  readonly length: number
  /** The peer has proved who it is. */
  readonly known: boolean
}

/** A message that is complete. */
export interface Whole {
  /** Type of the first inner payload. */
  readonly inner: number
  readonly chain: Uint8Array
  /** Octets of the largest fragment. */
  readonly largest: number
}

interface Incomplete {
  readonly messageId: number
  readonly exchange: number
  readonly total: number
  readonly parts: Map<number, Uint8Array>
  inner: number
  octets: number
  largest: number
  readonly due: number
}

/** Incomplete messages of one IKE SA: one request and one response at most, since windows are of one. */
export class Reassembly {
  readonly #budget: ReassemblyBudget
  /** By whether it is a response; absent while there are none, as nearly always. */
  #incomplete: Map<boolean, Incomplete> | undefined

  constructor(budget: ReassemblyBudget) {
    this.#budget = budget
  }

  /** When `timeout` has something to forget. */
  get deadline(): number {
    let due = Infinity
    for (const incomplete of this.#incomplete?.values() ?? []) due = Math.min(due, incomplete.due)
    return due
  }

  /**
   * @returns the message when this was its last fragment, undefined while others are missing, or why the fragment was
   *   dropped
   */
  add(fragment: Fragment, now: number): Whole | string | undefined {
    const { skf, part, response, length, known } = fragment
    const { number, total } = skf
    if (total > MAX_FRAGMENTS) return 'fragment-count'
    // all but the first have no payload of their own to name
    if ((number === 1) !== (skf.inner !== 0)) return 'fragment-malformed'
    let whole = this.#incomplete?.get(response)
    // a message after it: the one before is of no interest any more
    if (whole !== undefined && whole.messageId !== fragment.messageId) whole = this.#forget(response)
    if (whole !== undefined && whole.exchange !== fragment.exchange) return 'fragment-malformed'
    if (whole !== undefined && total < whole.total) return 'fragment-total'
    // the peer has cut the message anew, into more pieces: the old ones do not fit any longer
    if (whole !== undefined && total > whole.total) whole = this.#forget(response)
    if (whole?.parts.has(number)) return 'fragment-again'
    if ((whole?.octets ?? 0) + part.length > MAX_OCTETS) return this.#tooMuch(response)
    if (!this.#budget.take(part.length + KEEPING, known)) return 'fragment-memory'
    whole ??= this.#begin(fragment, now)
    whole.parts.set(number, part)
    whole.octets += part.length
    whole.largest = Math.max(whole.largest, length)
    if (number === 1) whole.inner = skf.inner
    if (whole.parts.size < total) return undefined
    const { inner, largest } = whole
    const chain = join(whole)
    this.#forget(response)
    return { inner, chain, largest }
  }

  /** @returns how many messages were given up */
  timeout(now: number): number {
    let expired = 0
    for (const [response, { due }] of this.#incomplete ?? [])
      if (due <= now) {
        this.#forget(response)
        expired++
      }
    return expired
  }

  clear(): void {
    for (const response of this.#incomplete?.keys() ?? []) this.#forget(response)
  }

  #begin({ messageId, exchange, response, skf }: Fragment, now: number): Incomplete {
    const begun = {
      messageId,
      exchange,
      total: skf.total,
      parts: new Map(),
      inner: 0,
      octets: 0,
      largest: 0,
      due: now + TIMEOUT_MS,
    }
    this.#incomplete ??= new Map()
    this.#incomplete.set(response, begun)
    return begun
  }

  #tooMuch(response: boolean): string {
    this.#forget(response)
    return 'fragment-size'
  }

  #forget(response: boolean): undefined {
    const gone = this.#incomplete?.get(response)
    if (gone === undefined) return
    this.#incomplete!.delete(response)
    if (this.#incomplete!.size === 0) this.#incomplete = undefined
    this.#budget.give(gone.octets + gone.parts.size * KEEPING)
  }
}

function join({ parts, octets, total }: Incomplete): Uint8Array {
  const chain = new Uint8Array(octets)
  for (let number = 1, at = 0; number <= total; number++) {
    const part = parts.get(number)!
    chain.set(part, at)
    at += part.length
  }
  return chain
}
