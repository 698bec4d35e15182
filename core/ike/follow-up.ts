import type { KeyExchange } from '../contracts/crypto.ts'
import { PeerError } from '../errors.ts'
import { NotifyType, nameOf, type Payload, payloadOf } from '../wire/index.ts'
import { wipe } from './equal.ts'
import type { IkeSa } from './ike-sa.ts'
import type { Secrets } from './keys.ts'
import { findError, findNotify, notify } from './notify.ts'

/** STATE_NOT_FOUND answers, one series after the other, after which the IKE SA ends, RFC 9370 §2.2.4. */
export const MAX_FORGOTTEN = 3

/** Whether the peer may do better when all of it is tried again: it has forgotten what was begun, or has no time. */
export const isPassing = (error: number): boolean =>
  error === NotifyType.STATE_NOT_FOUND || error === NotifyType.TEMPORARY_FAILURE

/**
 * The additional key exchanges after a CREATE_CHILD_SA of this host, each in an IKE_FOLLOWUP_KE of its own, RFC 9370
 * §2.2.4. The exchange that has begun them says what goes out and hands in what comes back.
 */
export class FollowUp {
  /** Of the key exchanges so far, in their order. */
  readonly #secrets: Uint8Array[]
  #methods: readonly number[]
  #link: Uint8Array
  #keyExchange: KeyExchange | undefined

  private constructor(secrets: Secrets, methods: readonly number[], link: Uint8Array) {
    this.#secrets = [...secrets]
    this.#methods = methods
    this.#link = link
  }

  /**
   * What is left to do after the answer to a CREATE_CHILD_SA; undefined when that was all.
   *
   * @param secrets - SK(0), which is its own from now on
   * @param methods - of the answer's proposal, without the first one
   * @throws PeerError when the peer expects another number of them
   */
  static after(secrets: Secrets, methods: readonly number[], payloads: readonly Payload[]): FollowUp | undefined {
    const link = linkOf(payloads, methods.length > 0)
    return link === undefined ? undefined : new FollowUp(secrets, methods, link)
  }

  request(sa: IkeSa): Payload[] {
    const group = this.#methods[0]!
    this.#keyExchange = sa.crypto.keyExchange(group, sa.rng)
    return [
      { type: 'KE', group, data: this.#keyExchange.publicValue },
      notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, this.#link),
    ]
  }

  /**
   * @returns the secrets of all key exchanges after the last one, to be wiped; undefined before that
   * @throws PeerError when the answer is none to what was asked
   */
  response(payloads: readonly Payload[]): Secrets | undefined {
    const error = findError(payloads)?.notify
    if (error !== undefined)
      throw new PeerError('PEER_REFUSED', `the peer refused IKE_FOLLOWUP_KE with ${nameOf(NotifyType, error)}`)
    const [method, ...methods] = this.#methods
    const ke = payloadOf(payloads, 'KE')
    if (ke === undefined || ke.group !== method)
      throw new PeerError('PEER_SYNTAX', 'the IKE_FOLLOWUP_KE answer lacks the key exchange that was asked for')
    const link = linkOf(payloads, methods.length > 0)
    this.#secrets.push(this.#keyExchange!.shared(ke.data))
    if (link === undefined) return this.#secrets
    this.#methods = methods
    this.#link = link
    return undefined
  }

  /** It comes to nothing. */
  wipe(): void {
    wipe(...this.#secrets)
  }
}

/** @throws PeerError when the peer's idea of whether there is more to come differs from ours: the keys would, too */
function linkOf(payloads: readonly Payload[], expected: boolean): Uint8Array | undefined {
  const link = findNotify(payloads, NotifyType.ADDITIONAL_KEY_EXCHANGE)?.data
  if (expected === (link !== undefined)) return link?.slice()
  const why = expected
    ? 'does not name the key exchange that comes next'
    : 'names a key exchange that was not agreed on'
  throw new PeerError('PEER_SYNTAX', `the peer's answer ${why}`)
}
