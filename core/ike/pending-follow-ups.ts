import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Rng } from '../contracts/machine.ts'
import { PeerError } from '../errors.ts'
import { NotifyType, type Payload, payloadOf } from '../wire/index.ts'
import { wipe } from './equal.ts'
import type { ChildSa } from './host.ts'
import type { IkeSa } from './ike-sa.ts'
import type { Secrets } from './keys.ts'
import { findNotify, notify } from './notify.ts'
import { answerKeyExchange } from './suite.ts'

/** The responder's end of IKE_FOLLOWUP_KE, RFC 9370 §2.2.4. */

/** How long the next one is waited for. */
const PATIENCE_MS = 20_000
/** What a peer may have begun and not finished on one IKE SA. */
const MAX_PENDING = 8
const LINK = 8

/** A CREATE_CHILD_SA of the peer that was answered and has made nothing yet: additional key exchanges are to come. */
export interface Pending {
  /** What the new SA is to replace; undefined for a further Child SA. */
  readonly replaces: ChildSa | 'ike' | undefined
  /** Methods that are still to come; at least one. */
  readonly methods: readonly number[]
  /** Of the key exchanges so far. Owned, and wiped in the end. */
  readonly secrets: Secrets
  /** False once something has come in between: nothing is made then. */
  possible(): boolean
  /** Makes the SA. @param secrets - of all key exchanges; wiped afterwards */
  complete(secrets: Secrets, now: number): void
}

/** What a peer has begun on an IKE SA, found again by the link it was given. */
export class PendingFollowUps {
  /** Absent while there are none, as nearly always. */
  #waiting: Map<string, { readonly pending: Pending; readonly due: number }> | undefined

  get deadline(): number {
    // each is put in when its time begins, so that the oldest is due first
    for (const { due } of this.#waiting?.values() ?? []) return due
    return Infinity
  }

  get size(): number {
    return this.#waiting?.size ?? 0
  }

  get full(): boolean {
    return this.size >= MAX_PENDING
  }

  /** Whether something is under way that is to replace this SA. */
  replaces(what: ChildSa | 'ike'): boolean {
    return [...(this.#waiting?.values() ?? [])].some(({ pending }) => pending.replaces === what)
  }

  /** The peer begins anew, or it is settled in another way. */
  forget(what: ChildSa | 'ike'): void {
    for (const [link, { pending }] of this.#waiting ?? []) if (pending.replaces === what) this.#drop(link)
  }

  /** @returns N(ADDITIONAL_KEY_EXCHANGE), by which the peer goes on */
  add(pending: Pending, rng: Rng, now: number): Payload {
    const link = rng.bytes(LINK)
    this.#waiting ??= new Map()
    this.#waiting.set(keyOf(link), { pending, due: now + PATIENCE_MS })
    return notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, link)
  }

  /** @throws PeerError for anything but the key exchange whose turn it is: the IKE SA ends */
  respond(sa: IkeSa, { payloads }: IncomingMessage, now: number): Payload[] {
    const link = keyOf(findNotify(payloads, NotifyType.ADDITIONAL_KEY_EXCHANGE)?.data)
    const pending = this.#waiting?.get(link)?.pending
    if (pending === undefined || sa.state !== 'established' || !pending.possible()) {
      this.#drop(link)
      sa.drop('followup-unknown')
      return [notify(NotifyType.STATE_NOT_FOUND)]
    }
    const method = pending.methods[0]!
    const methods = pending.methods.slice(1)
    const ke = payloadOf(payloads, 'KE')
    if (ke?.group !== method)
      throw new PeerError(
        'PEER_SYNTAX',
        `an IKE_FOLLOWUP_KE request with ${ke === undefined ? 'no key exchange' : `key exchange ${ke.group}`} where ${method} was agreed on`,
        NotifyType.INVALID_SYNTAX,
      )
    const { publicValue, shared } = answerKeyExchange(sa.crypto, method, ke.data, sa.rng)
    this.#waiting!.delete(link)
    const secrets = [...pending.secrets, shared]
    const answer: Payload = { type: 'KE', group: method, data: publicValue }
    // each has a link of its own, so that none can be used twice or out of its turn
    if (methods.length > 0) return [answer, this.add({ ...pending, methods, secrets }, sa.rng, now)]
    pending.complete(secrets, now)
    wipe(...secrets)
    return [answer]
  }

  timeout(now: number): void {
    for (const [link, { due }] of this.#waiting ?? []) if (now >= due) this.#drop(link)
  }

  clear(): void {
    for (const link of this.#waiting?.keys() ?? []) this.#drop(link)
  }

  #drop(link: string): void {
    wipe(...(this.#waiting?.get(link)?.pending.secrets ?? []))
    this.#waiting?.delete(link)
  }
}

/** Links have one length; nothing else is looked up. */
const keyOf = (link: Uint8Array = new Uint8Array(0)): string => (link.length === LINK ? link.join() : '')
