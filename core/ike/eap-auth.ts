import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Identity } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, type Identification, NotifyType, type Payload, payloadOf } from '../wire/index.ts'
import { authRefusal } from './auth-refusal.ts'
import type { InitOctets } from './channel.ts'
import { type EapOutcome, EapPeer, EapServer, type ServerContext } from './eap.ts'
import { equalBytes, wipe } from './equal.ts'
import type { Exchange } from './exchange.ts'
import { fit, showIdentity } from './identity.ts'
import type { IkeSa } from './ike-sa.ts'
import { findError } from './notify.ts'
import { eapAuth, localAuth, remoteAuth } from './proof.ts'

/** IKE_AUTH of several rounds with EAP inside, RFC 7296 §2.16, between its first message and what follows AUTH. */

const contextOf = (sa: IkeSa, now: number): ServerContext => ({
  secrets: sa.settings!.auth!.eap!,
  trust: sa.host.credentials(sa.settings!).eapTrust,
  rng: sa.rng,
  wall: sa.host.wall(now),
  wake: () => sa.host.wake(sa),
})

/** One more round of the initiator. */
class Round implements Exchange {
  readonly type = ExchangeType.IKE_AUTH
  readonly #payload: Payload
  readonly #answered: (sa: IkeSa, message: IncomingMessage, now: number) => void

  constructor(payload: Payload, answered: (sa: IkeSa, message: IncomingMessage, now: number) => void) {
    this.#payload = payload
    this.#answered = answered
  }

  request(): Payload[] {
    return [this.#payload]
  }

  response(sa: IkeSa, message: IncomingMessage, now: number): void {
    this.#answered(sa, message, now)
  }
}

/** The initiator's rounds. */
export class EapInitiator {
  readonly #octets: InitOctets
  readonly #own: Identification
  readonly #peer: Identification
  readonly #eap: EapPeer
  readonly #finish: (message: IncomingMessage, now: number) => void
  readonly #reject: (why: string, now: number) => never

  /**
   * @param own, peer - IDi and IDr; `remote` is what IDr says
   * @param finish - the peer has proved that it has EAP's key too: its message is the last of IKE_AUTH
   */
  constructor(
    sa: IkeSa,
    octets: InitOctets,
    { own, peer, remote }: { readonly own: Identification; readonly peer: Identification; readonly remote: Identity },
    finish: (message: IncomingMessage, now: number) => void,
    reject: (why: string, now: number) => never,
    now: number,
  ) {
    this.#octets = octets
    this.#own = own
    this.#peer = peer
    this.#finish = finish
    this.#reject = reject
    this.#eap = new EapPeer(sa.host.credentials(sa.settings!).eap!, { ...contextOf(sa, now), remote })
  }

  /** An answer with an EAP packet in it. */
  receive(sa: IkeSa, message: IncomingMessage, now: number): void {
    const eap = payloadOf(message.payloads, 'EAP')
    if (eap === undefined) throw authRefusal(sa, findError(message.payloads)?.notify, now)
    this.#next(sa, this.#eap.receive(eap.data), now)
  }

  #next(sa: IkeSa, outcome: EapOutcome, now: number): void {
    if (outcome.type === 'wait') {
      sa.resumed = at => this.#next(sa, this.#eap.resume(), at)
      return
    }
    if (outcome.type === 'failed') return this.#reject(`${outcome.why} (peers.${sa.peer}.eap)`, now)
    if (outcome.type === 'send') {
      const answered = (...args: [IkeSa, IncomingMessage, number]) => this.receive(...args)
      return sa.enqueue(new Round({ type: 'EAP', data: outcome.packet }, answered), now)
    }
    const { msk } = outcome
    const auth = eapAuth(sa, 'own', this.#octets, this.#own, msk)
    sa.enqueue(new Round(auth, (_sa, last, at) => this.#last(sa, last, msk, at)), now)
  }

  #last(sa: IkeSa, message: IncomingMessage, msk: Uint8Array, now: number): void {
    const auth = payloadOf(message.payloads, 'AUTH')
    if (auth === undefined) throw authRefusal(sa, findError(message.payloads)?.notify, now)
    const wanted = eapAuth(sa, 'peer', this.#octets, this.#peer, msk)
    wipe(msk)
    if (auth.method !== wanted.method || !equalBytes(auth.data, wanted.data))
      return this.#reject("the peer's AUTH does not verify with the key that EAP has made", now)
    const settings = sa.settings!
    const { method, user } = settings.auth!.eap!
    sa.proof.own = `eap-${method} as ${user?.name ?? showIdentity(settings.localId)}`
    if (remoteAuth(settings).type === 'eap') sa.proof.peer = `eap-${method}`
    this.#finish(message, now)
  }
}

/** The responder's rounds. */
export class EapResponder {
  readonly #first: IncomingMessage
  readonly #octets: InitOctets
  readonly #id: { readonly own: Identification; readonly peer: Identification }
  readonly #eap: EapServer
  #msk: Uint8Array | undefined

  /** @param first - the request that opened IKE_AUTH: all but AUTH is in it */
  constructor(
    sa: IkeSa,
    first: IncomingMessage,
    octets: InitOctets,
    id: { readonly own: Identification; readonly peer: Identification },
    now: number,
  ) {
    this.#first = first
    this.#octets = octets
    this.#id = id
    this.#eap = new EapServer(sa.host.credentials(sa.settings!).eap!, contextOf(sa, now))
  }

  /** For the first answer. */
  start(): Payload {
    return { type: 'EAP', data: this.#eap.start() }
  }

  /**
   * @returns the answer, 'later' when the method takes its time (`resume` has it then), or `done` with whom EAP has proved, and this end's AUTH
   * @throws PeerError with AUTHENTICATION_FAILED
   */
  receive(
    sa: IkeSa,
    { payloads }: IncomingMessage,
  ):
    | { readonly done: false; readonly answer: Payload[] | 'later' }
    | { readonly done: true; readonly identity: Identity; readonly first: IncomingMessage; readonly auth: Payload } {
    if (this.#msk !== undefined) return this.#last(sa, payloads, this.#msk)
    const eap = payloadOf(payloads, 'EAP')
    if (eap === undefined)
      throw new PeerError('PEER_SYNTAX', 'an IKE_AUTH request without EAP', NotifyType.INVALID_SYNTAX)
    return { done: false, answer: this.#answer(sa, this.#eap.receive(eap.data)) }
  }

  /** The answer that was put off. */
  resume(sa: IkeSa): Payload[] | 'later' {
    return this.#answer(sa, this.#eap.resume())
  }

  #answer(sa: IkeSa, outcome: EapOutcome): Payload[] | 'later' {
    if (outcome.type === 'wait') return 'later'
    if (outcome.type === 'done') this.#msk = outcome.msk
    // the answer says Failure and no more; then the IKE SA ends
    if (outcome.type === 'failed') sa.endedByPeer = { code: 'PEER_AUTH_FAILED', why: outcome.why }
    return outcome.packet === undefined ? [] : [{ type: 'EAP', data: outcome.packet }]
  }

  /** The peer has given up, in an INFORMATIONAL of its own. */
  abandoned(sa: IkeSa): Payload[] {
    sa.endedByPeer = { code: 'PEER_AUTH_FAILED', why: this.#eap.refusal ?? 'the peer has given up in EAP' }
    return []
  }

  #last(sa: IkeSa, payloads: readonly Payload[], msk: Uint8Array) {
    const failed = (why: string): never => {
      throw new PeerError('PEER_AUTH_FAILED', why, NotifyType.AUTHENTICATION_FAILED)
    }
    const auth = payloadOf(payloads, 'AUTH')
    const settings = sa.settings!
    const { identity } = this.#eap
    const signed = [this.#octets.peer, ...(this.#octets.variants ?? [])].map(peer => ({ ...this.#octets, peer }))
    const fits = signed.some(octets =>
      equalBytes(auth?.data ?? new Uint8Array(0), eapAuth(sa, 'peer', octets, this.#id.peer, msk).data),
    )
    if (!fits) return failed(`${showIdentity(identity)}: AUTH does not verify with the key that EAP has made`)
    if (fit(identity, settings.remoteId) === 0)
      return failed(`EAP has proved ${showIdentity(identity)}, which peers.${settings.name}.remoteId does not accept`)
    const own = eapAuth(sa, 'own', this.#octets, this.#id.own, msk)
    wipe(msk)
    const method = settings.auth!.eap!.method
    sa.proof.peer = `eap-${method} as ${showIdentity(identity)}`
    if (localAuth(settings).type === 'eap') sa.proof.own = `eap-${method}`
    return { done: true, identity, first: this.#first, auth: own } as const
  }
}
