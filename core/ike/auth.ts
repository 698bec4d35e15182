import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Identity, PeerSettings } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, type Identification, NotifyType, type Payload, payloadOf } from '../wire/index.ts'
import { authRefusal } from './auth-refusal.ts'
import type { InitOctets } from './channel.ts'
import {
  acceptAnswer,
  addChild,
  answerChild,
  type ChildIntent,
  intend,
  intentPayloads,
  isFailure,
  rejectAnswer,
} from './child.ts'
import { assignAddresses, prepareAddresses, readConfiguration, requestConfiguration } from './config-payload.ts'
import { ChildExchange } from './create-child.ts'
import { readWishes, requestCertificates } from './credentials.ts'
import { EapInitiator, EapResponder } from './eap-auth.ts'
import type { Exchange } from './exchange.ts'
import { fit, fromIdentification, isExact, sameIdentity, showIdentity, toIdentification } from './identity.ts'
import type { IkeSa } from './ike-sa.ts'
import { Inform } from './informational.ts'
import type { Nonces } from './keys.ts'
import { acceptMobike, answerMobike, offerMobike } from './mobike.ts'
import { findError, findNotify, notify } from './notify.ts'
import { choosePlan } from './plan.ts'
import { acceptPpk, choosePpk, confirmPpk, offerPpk, settlePpk } from './ppk.ts'
import { disproof, localAuth, ownProof, peerProof, prove, remoteAuth } from './proof.ts'
import { parseProposals } from './proposal.ts'
import { announceLifetime, Renewed, readLifetime } from './reauth.ts'
import { followRedirect } from './redirect.ts'
import { authenticateResumed, grantTicket, receiveTicket, requestTicket } from './resumption.ts'
import { suiteFits } from './selection.ts'
import { goesChildless, wantedChildren } from './wanted.ts'

/** IKE_AUTH, RFC 7296 §1.2, §2.15, and the first Child SA. */

export class AuthExchange implements Exchange {
  readonly type = ExchangeType.IKE_AUTH
  readonly #octets: InitOctets
  #intent: ChildIntent | undefined

  constructor(octets: InitOctets) {
    this.#octets = octets
  }

  request(sa: IkeSa): Payload[] {
    const settings = sa.settings!
    const id = toIdentification(settings.localId)
    const [child] = goesChildless(sa) ? [] : wantedChildren(sa)
    this.#intent = child === undefined ? undefined : intend(sa, child)
    const { remoteId } = settings
    // who proves itself by EAP says so by leaving AUTH out
    const byEap = ownProof(sa, settings) === 'eap'
    const ppk = byEap ? [] : offerPpk(sa, () => prove(sa, settings, this.#octets, id).auth.data)
    const proof = byEap ? undefined : prove(sa, settings, this.#octets, id)
    return [
      { type: 'IDi', ...id },
      ...(proof?.certificates ?? []),
      ...(sa.host.first(sa) ? [notify(NotifyType.INITIAL_CONTACT)] : []),
      ...(sa.resumption === undefined ? requestCertificates([sa.host.credentials(settings)]) : []),
      ...(isExact(remoteId) ? [{ type: 'IDr', ...toIdentification(remoteId) } as const] : []),
      ...(proof === undefined ? [] : [proof.auth]),
      ...(peerProof(sa, settings) === 'eap' ? [notify(NotifyType.EAP_ONLY_AUTHENTICATION)] : []),
      ...requestConfiguration(settings, sa.renews?.virtual ?? sa.resumption?.virtual),
      ...(this.#intent === undefined ? [] : intentPayloads(this.#intent, false)),
      ...offerMobike(sa),
      ...requestTicket(sa),
      ...ppk,
    ]
  }

  response(sa: IkeSa, message: IncomingMessage, now: number): void {
    const settings = sa.settings!
    const { payloads } = message
    const id = payloadOf(payloads, 'IDr')
    const byEap = ownProof(sa, settings) === 'eap'
    const proves = peerProof(sa, settings) !== 'eap'
    if (id === undefined || (proves && payloadOf(payloads, 'AUTH') === undefined))
      throw authRefusal(sa, findError(payloads)?.notify, now)
    const failed = (why: string): never => this.#reject(sa, why, now)
    const identity = fromIdentification(id)
    if (identity === undefined || fit(identity, settings.remoteId) === 0)
      return failed(
        `the peer says it is ${showIdentity(identity)}, expected ${showIdentity(settings.remoteId)} (peers.${settings.name}.remoteId)`,
      )
    const { resumption } = sa
    if (resumption !== undefined && !sameIdentity(identity, resumption.identity))
      return failed(`the session was with ${showIdentity(resumption.identity)}, this is ${showIdentity(identity)}`)
    const withoutPpk = acceptPpk(sa, payloads)
    if (withoutPpk !== undefined) return failed(withoutPpk)
    const disproved = proves ? disproof(sa, settings, [this.#octets], id, payloads, now) : undefined
    if (disproved !== undefined) return failed(disproved)
    if (!byEap) return this.#finish(sa, identity, message, now)
    const ids = { own: toIdentification(settings.localId), peer: id, remote: identity }
    const finish = (last: IncomingMessage, at: number) => this.#finish(sa, identity, last, at)
    const rounds = new EapInitiator(sa, this.#octets, ids, finish, (why, at) => this.#reject(sa, why, at), now)
    rounds.receive(sa, message, now)
  }

  /** Both ends have proved themselves; `message` has the Child SA. */
  #finish(sa: IkeSa, identity: Identity, message: IncomingMessage, now: number): void {
    const { payloads } = message
    sa.remoteId = identity
    if (followRedirect(sa, payloads)) return
    const { addresses, dns } = readConfiguration(payloadOf(payloads, 'CP'))
    sa.virtual = addresses
    sa.dns = dns
    acceptMobike(sa, message)
    const { ni, nr } = sa.channel!
    sa.establish(false, now)
    readLifetime(sa, payloads, now)
    receiveTicket(sa, payloads, now)
    if (addresses.length > 0) sa.effect({ type: 'addresses' })
    this.#child(sa, message, { ni, nr }, now)
    // what the NAT does now is what later answers are compared with
    if (sa.mobility.watchesMapping(sa)) sa.enqueue(sa.behaviour.liveness(), now)
  }

  #child(sa: IkeSa, message: IncomingMessage, nonces: Nonces, now: number): void {
    const intent = this.#intent
    if (intent !== undefined) this.#first(sa, intent, message, nonces, now)
    for (const child of wantedChildren(sa))
      if (child.name !== intent?.settings.name) sa.enqueue(new ChildExchange(child), now)
    sa.enqueue(new Renewed(), now)
  }

  #first(sa: IkeSa, intent: ChildIntent, message: IncomingMessage, nonces: Nonces, now: number): void {
    const result = acceptAnswer(sa, intent, message, nonces, undefined)
    if (!isFailure(result)) return addChild(sa, result.complete([], now), true)
    sa.effect({ type: 'child-failed', name: intent.settings.name, code: result.code, why: result.why })
    rejectAnswer(sa, intent, message.payloads, now)
  }

  /** The peer believes the SA stands: it is told, in an INFORMATIONAL of its own (RFC 7296 §2.21.2). */
  #reject(sa: IkeSa, why: string, now: number): never {
    sa.enqueue(new Inform([notify(NotifyType.AUTHENTICATION_FAILED)]), now)
    throw new PeerError('PEER_AUTH_FAILED', why)
  }
}

/** The responder's IKE_AUTH. @throws PeerError with AUTHENTICATION_FAILED; what exactly was wrong stays in our log */
export function respondAuth(sa: IkeSa, request: IncomingMessage, now: number): Payload[] | 'later' {
  const { payloads } = request
  if (sa.eap !== undefined) {
    const round = sa.eap.receive(sa, request)
    return round.done ? accept(sa, [round.auth], round.identity, round.first, now) : round.answer
  }
  const octets = sa.initOctets
  const idi = payloadOf(payloads, 'IDi')
  const idr = payloadOf(payloads, 'IDr')
  if (octets === undefined || idi === undefined)
    throw new PeerError('PEER_SYNTAX', 'an IKE_AUTH request without IDi', NotifyType.INVALID_SYNTAX)
  const identity = fromIdentification(idi)
  sa.wishes = readWishes(payloads, sa.wishes)
  sa.peerId = { idType: idi.idType, data: idi.data.slice() }
  const { resumption } = sa
  if (resumption !== undefined) {
    const settings = authenticateResumed(sa, resumption, idi, signedBy(octets), payloads, now)
    sa.settings = settings
    const id = toIdentification(settings.localId)
    return accept(sa, [{ type: 'IDr', ...id }, prove(sa, settings, octets, id).auth], resumption.identity, request, now)
  }
  const byEap = payloadOf(payloads, 'AUTH') === undefined
  const settings = byEap
    ? askByEap(sa, identity, idr, payloads)
    : authenticate(sa, identity, idi, idr, payloads, octets, now)
  sa.settings = settings
  const id = toIdentification(settings.localId)
  const answer: Payload[] = [{ type: 'IDr', ...id }]
  if (localAuth(settings).type !== 'eap') {
    const proof = prove(sa, settings, octets, id)
    answer.push(...proof.certificates, proof.auth)
  }
  if (byEap) {
    sa.eap = new EapResponder(sa, request, octets, { own: id, peer: idi }, now)
    return [...answer, sa.eap.start()]
  }
  answer.push(...confirmPpk(sa, payloads))
  settlePpk(sa)
  return accept(sa, answer, identity!, request, now)
}

/**
 * The peer has proved to be `identity`: what else its request wants is answered.
 * @param proof - goes first in the answer
 */
function accept(
  sa: IkeSa,
  proof: readonly Payload[],
  identity: Identity,
  request: IncomingMessage,
  now: number,
): Payload[] | 'later' {
  const { payloads } = request
  sa.remoteId = identity
  sa.eap = undefined
  if (sa.settings!.childless === 'never' && payloadOf(payloads, 'SA') === undefined)
    throw new PeerError(
      'PEER_SYNTAX',
      `IKE_AUTH without a Child SA, and peers.${sa.peer}.childless is never`,
      NotifyType.INVALID_SYNTAX,
    )
  choosePlan(sa)
  const mobike = answerMobike(sa, request)
  sa.initOctets = undefined
  const contact = findNotify(payloads, NotifyType.INITIAL_CONTACT) !== undefined
  refuseSecond(sa, contact)
  const { ni, nr } = sa.channel!
  const admit = (at: number): Payload[] => {
    sa.establish(contact, at)
    return [
      ...proof,
      ...firstChild(sa, identity, payloads, { ni, nr }, at),
      ...mobike,
      ...announceLifetime(sa, at),
      ...grantTicket(sa, payloads, at),
    ]
  }
  if (!prepareAddresses(sa, identity, payloadOf(payloads, 'CP'), now)) return admit(now)
  sa.admit = at => {
    // another one may have come meanwhile
    refuseSecond(sa, contact)
    return admit(at)
  }
  return 'later'
}

/** @throws PeerError when another SA of the peer is kept */
function refuseSecond(sa: IkeSa, contact: boolean): void {
  const rejected = sa.host.rejects(sa, contact)
  if (rejected !== undefined) throw new PeerError('PEER_UNIQUE', rejected, NotifyType.AUTHENTICATION_FAILED)
}

function firstChild(
  sa: IkeSa,
  identity: Identity,
  payloads: readonly Payload[],
  nonces: Nonces,
  now: number,
): Payload[] {
  const childless = payloadOf(payloads, 'SA') === undefined
  const cp = payloadOf(payloads, 'CP')
  const configuration = cp === undefined ? [] : assignAddresses(sa, identity, cp)
  if (configuration === undefined) {
    const why = sa.unassigned ?? 'no address to assign to the peer'
    sa.effect({ type: 'child-failed', name: '', code: 'POOL_EMPTY', why })
    return [notify(NotifyType.INTERNAL_ADDRESS_FAILURE)]
  }
  if (childless) return configuration
  const result = answerChild(sa, payloads, nonces, undefined)
  if (isFailure(result)) {
    sa.effect({ type: 'child-failed', name: '', code: result.code, why: result.why })
    return [...configuration, notify(result.notify, result.data)]
  }
  addChild(sa, result.draft.complete([], now), true)
  return [...configuration, ...result.payloads]
}

/** Why no peer fits: whether it is the one who calls, or whom it wants to talk to. */
function stranger(sa: IkeSa, identity: Identity | undefined, wanted: Identity | undefined): string {
  const known = identity === undefined ? [] : matching(sa, identity, undefined)
  if (known.length === 0)
    return `no peer is configured for ${showIdentity(identity)}; add it to peers, or to the remoteId of one`
  const here = known.map(({ name, localId }) => `${showIdentity(localId)} (peers.${name}.localId)`).join(', ')
  return `${showIdentity(identity)} wants to talk to ${showIdentity(wanted)}, but to it this host is ${here}`
}

/** Whom to ask by EAP: the peer whose identity, which is not proved yet, fits. */
function askByEap(
  sa: IkeSa,
  identity: Identity | undefined,
  idr: Identification | undefined,
  payloads: readonly Payload[],
): PeerSettings {
  const wanted = idr === undefined ? undefined : fromIdentification(idr)
  const candidates = identity === undefined ? [] : matching(sa, identity, wanted)
  const only = findNotify(payloads, NotifyType.EAP_ONLY_AUTHENTICATION) !== undefined
  const settings = candidates.find(c => remoteAuth(c).type === 'eap' && (only || localAuth(c).type !== 'eap'))
  if (settings === undefined)
    throw new PeerError(
      'PEER_AUTH_FAILED',
      `${showIdentity(identity)} wants EAP${only ? '' : ', with a proof of this host first'}; no peer is configured so for it`,
      NotifyType.AUTHENTICATION_FAILED,
    )
  return suited(sa, settings)
}

/** Finds the peer whose identity fits and that has proved it. */
function authenticate(
  sa: IkeSa,
  identity: Identity | undefined,
  idi: Identification,
  idr: Identification | undefined,
  payloads: readonly Payload[],
  octets: InitOctets,
  now: number,
): PeerSettings {
  const wanted = idr === undefined ? undefined : fromIdentification(idr)
  const candidates = identity === undefined ? [] : matching(sa, identity, wanted)
  const id: Identification = idi.reserved === undefined ? { idType: idi.idType, data: idi.data } : idi
  const failed = (why: string): never => {
    throw new PeerError('PEER_AUTH_FAILED', why, NotifyType.AUTHENTICATION_FAILED)
  }
  if (candidates.length === 0) return failed(stranger(sa, identity, wanted))
  const reasons: string[] = []
  const settings = candidates.find(candidate => {
    const chosen = choosePpk(sa, candidate, payloads)
    const why = typeof chosen === 'string' ? chosen : disproof(sa, candidate, signedBy(octets), id, chosen, now)
    if (why !== undefined) reasons.push(why)
    return why === undefined
  })
  if (settings === undefined) return failed(`${showIdentity(identity)}: ${reasons.join('; ')}`)
  return suited(sa, settings)
}

/** What the peer may have signed: whichever of its requests came first. */
const signedBy = (octets: InitOctets): readonly InitOctets[] =>
  [octets.peer, ...(octets.variants ?? [])].map(peer => ({ ...octets, peer }))

/** @throws PeerError when the suite of IKE_SA_INIT was for other peers */
function suited(sa: IkeSa, settings: PeerSettings): PeerSettings {
  if (!suiteFits(sa.channel!.suite, parseProposals(settings.proposals, 'ike')))
    throw new PeerError(
      'PEER_NO_PROPOSAL',
      `${settings.name} may not use the IKE suite that was agreed on`,
      NotifyType.NO_PROPOSAL_CHOSEN,
    )
  return settings
}

/** Best fit first; the order of the configuration decides between equals. */
function matching(sa: IkeSa, remote: Identity, local: Identity | undefined): PeerSettings[] {
  return sa.host
    .peers()
    .map(settings => ({ settings, score: fit(remote, settings.remoteId) }))
    .filter(({ settings, score }) => score > 0 && (local === undefined || fit(settings.localId, local) > 0))
    .sort((a, b) => b.score - a.score)
    .map(({ settings }) => settings)
}
