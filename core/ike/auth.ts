import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Identity, PeerSettings } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import {
  AuthMethod,
  ExchangeType,
  type Identification,
  identification,
  NotifyType,
  type Payload,
  payloadOf,
  Writer,
} from '../wire/index.ts'
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
import { assignAddresses, readConfiguration, requestConfiguration } from './config-payload.ts'
import { ChildExchange } from './create-child.ts'
import { equalBytes } from './equal.ts'
import type { Exchange } from './exchange.ts'
import { fit, fromIdentification, showIdentity, toIdentification } from './identity.ts'
import type { IkeSa } from './ike-sa.ts'
import { Inform } from './informational.ts'
import { pskAuth, signedOctets } from './keys.ts'
import { acceptMobike, answerMobike, offerMobike } from './mobike.ts'
import { findError, findNotify, notify } from './notify.ts'
import { choosePlan } from './plan.ts'
import { acceptPpk, choosePpk, confirmPpk, offerPpk, settlePpk } from './ppk.ts'
import { parseProposals } from './proposal.ts'
import { suiteFits } from './selection.ts'

/** IKE_AUTH with pre-shared keys, RFC 7296 §1.2, §2.15, and the first Child SA. */

const body = (id: Identification): Uint8Array => {
  const w = new Writer(64)
  identification.write(w, id)
  return w.finish()
}

/** AUTH data for one side of this SA. */
function authData(
  sa: IkeSa,
  psk: Uint8Array,
  side: 'own' | 'peer',
  octets: InitOctets,
  id: Identification,
): Uint8Array {
  const { suite, keys, ni, nr } = sa.channel!
  const initiator = (side === 'own') === sa.initiator
  const [nonce, skp] = initiator ? [nr, keys.pi] : [ni, keys.pr]
  return pskAuth(sa.crypto, suite.prf, psk, signedOctets(sa.crypto, suite.prf, octets[side], nonce, skp, body(id)))
}

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
    const child =
      Object.values(settings.children).find(c => c.start === 'connect') ?? Object.values(settings.children)[0]
    this.#intent = child === undefined ? undefined : intend(sa, child)
    const exact =
      settings.remoteId.type !== 'any' && !settings.remoteId.value.includes('*') ? settings.remoteId : undefined
    const prove = () => authData(sa, settings.psk, 'own', this.#octets, id)
    const ppk = offerPpk(sa, prove)
    return [
      { type: 'IDi', ...id },
      ...(sa.host.first(sa) ? [notify(NotifyType.INITIAL_CONTACT)] : []),
      ...(exact === undefined ? [] : [{ type: 'IDr', ...toIdentification(exact) } as const]),
      { type: 'AUTH', method: AuthMethod.SHARED_KEY_MIC, data: prove() },
      ...(this.#intent === undefined ? [] : requestConfiguration(settings)),
      ...(this.#intent === undefined ? [] : intentPayloads(this.#intent, false)),
      ...offerMobike(sa),
      ...ppk,
    ]
  }

  response(sa: IkeSa, message: IncomingMessage, now: number): void {
    const settings = sa.settings!
    const { payloads } = message
    const id = payloadOf(payloads, 'IDr')
    const auth = payloadOf(payloads, 'AUTH')
    if (id === undefined || auth === undefined) throw authRefusal(sa, findError(payloads)?.notify)
    const failed = (why: string): never => this.#reject(sa, why, now)
    const identity = fromIdentification(id)
    if (identity === undefined || fit(identity, settings.remoteId) === 0)
      return failed(
        `the peer says it is ${showIdentity(identity)}, expected ${showIdentity(settings.remoteId)} (peers.${settings.name}.remoteId)`,
      )
    const withoutPpk = acceptPpk(sa, payloads)
    if (withoutPpk !== undefined) return failed(withoutPpk)
    if (auth.method !== AuthMethod.SHARED_KEY_MIC)
      return failed(`the peer authenticates with method ${auth.method}, not with a pre-shared key`)
    if (!equalBytes(auth.data, authData(sa, settings.psk, 'peer', this.#octets, id)))
      return failed(`the peer's AUTH does not verify: the pre-shared keys differ (peers.${settings.name}.psk)`)
    sa.remoteId = identity
    const { addresses, dns } = readConfiguration(payloadOf(payloads, 'CP'))
    sa.virtual = addresses
    sa.dns = dns
    acceptMobike(sa, message)
    sa.establish(false, now)
    if (addresses.length > 0) sa.effect({ type: 'addresses' })
    this.#child(sa, message, now)
    // what the NAT does now is what later answers are compared with
    if (sa.mobility.watchesMapping(sa)) sa.enqueue(sa.behaviour.liveness(), now)
  }

  #child(sa: IkeSa, message: IncomingMessage, now: number): void {
    const intent = this.#intent
    if (intent === undefined) return
    const { ni, nr } = sa.channel!
    const result = acceptAnswer(sa, intent, message, { ni, nr }, undefined, now)
    if (isFailure(result)) {
      sa.effect({ type: 'child-failed', name: intent.settings.name, code: result.code, why: result.why })
      rejectAnswer(sa, intent, message.payloads, now)
    } else addChild(sa, result, true)
    for (const child of Object.values(sa.settings!.children))
      if (child.name !== intent.settings.name && child.start === 'connect') sa.enqueue(new ChildExchange(child), now)
  }

  /** The peer believes the SA stands: it is told, in an INFORMATIONAL of its own (RFC 7296 §2.21.2). */
  #reject(sa: IkeSa, why: string, now: number): never {
    sa.enqueue(new Inform([notify(NotifyType.AUTHENTICATION_FAILED)]), now)
    throw new PeerError('PEER_AUTH_FAILED', why)
  }
}

function authRefusal(sa: IkeSa, type: number | undefined): PeerError {
  const { name } = sa.settings!
  const ppk = sa.channel?.plain === undefined ? '' : ', .ppk'
  switch (type) {
    case NotifyType.AUTHENTICATION_FAILED:
      return new PeerError(
        'PEER_AUTH_FAILED',
        `the peer rejects us: check the pre-shared key and the identities on both sides (peers.${name}.psk, .localId, .remoteId${ppk})`,
        type,
      )
    case NotifyType.NO_PROPOSAL_CHOSEN:
      return new PeerError('PEER_NO_PROPOSAL', `the peer accepts none of the proposals (peers.${name})`, type)
    case NotifyType.UNEXPECTED_NAT_DETECTED:
      return new PeerError('PEER_NAT', `there is a NAT on the way, and peers.${name}.encapsulation is never`, type)
    case undefined:
      return new PeerError('PEER_SYNTAX', 'the IKE_AUTH answer lacks IDr or AUTH')
    default:
      return new PeerError('PEER_REFUSED', `the peer refused IKE_AUTH with notify ${type}`, type)
  }
}

/** The responder's IKE_AUTH. @throws PeerError with AUTHENTICATION_FAILED; what exactly was wrong stays in our log */
export function respondAuth(sa: IkeSa, request: IncomingMessage, now: number): Payload[] {
  const { payloads } = request
  const octets = sa.initOctets
  const idi = payloadOf(payloads, 'IDi')
  const idr = payloadOf(payloads, 'IDr')
  if (octets === undefined || idi === undefined)
    throw new PeerError('PEER_SYNTAX', 'an IKE_AUTH request without IDi', NotifyType.INVALID_SYNTAX)
  const identity = fromIdentification(idi)
  const settings = authenticate(sa, identity, idi, idr, payloads, octets)
  sa.settings = settings
  sa.remoteId = identity
  choosePlan(sa)
  const mobike = answerMobike(sa, request)
  const id = toIdentification(settings.localId)
  const answer: Payload[] = [
    { type: 'IDr', ...id },
    { type: 'AUTH', method: AuthMethod.SHARED_KEY_MIC, data: authData(sa, settings.psk, 'own', octets, id) },
    ...confirmPpk(sa, payloads),
  ]
  settlePpk(sa)
  sa.initOctets = undefined
  sa.establish(findNotify(payloads, NotifyType.INITIAL_CONTACT) !== undefined, now)
  return [...answer, ...firstChild(sa, identity!, payloads, now), ...mobike]
}

function firstChild(sa: IkeSa, identity: Identity, payloads: readonly Payload[], now: number): Payload[] {
  if (payloadOf(payloads, 'SA') === undefined) return []
  const cp = payloadOf(payloads, 'CP')
  const configuration = cp === undefined ? [] : assignAddresses(sa, identity, cp)
  if (configuration === undefined) {
    sa.effect({ type: 'child-failed', name: '', code: 'POOL_EMPTY', why: 'no address to assign to the peer' })
    return [notify(NotifyType.INTERNAL_ADDRESS_FAILURE)]
  }
  const { ni, nr } = sa.channel!
  const result = answerChild(sa, payloads, { ni, nr }, undefined, now)
  if (isFailure(result)) {
    sa.effect({ type: 'child-failed', name: '', code: result.code, why: result.why })
    return [...configuration, notify(result.notify, result.data)]
  }
  addChild(sa, result.child, true)
  return [...configuration, ...result.payloads]
}

/** Finds the peer whose identity fits and whose key verifies. */
function authenticate(
  sa: IkeSa,
  identity: Identity | undefined,
  idi: Identification,
  idr: Identification | undefined,
  payloads: readonly Payload[],
  octets: InitOctets,
): PeerSettings {
  const wanted = idr === undefined ? undefined : fromIdentification(idr)
  const candidates = identity === undefined ? [] : matching(sa, identity, wanted)
  const id: Identification = idi.reserved === undefined ? { idType: idi.idType, data: idi.data } : idi
  const failed = (why: string): never => {
    throw new PeerError('PEER_AUTH_FAILED', why, NotifyType.AUTHENTICATION_FAILED)
  }
  if (payloadOf(payloads, 'AUTH')?.method !== AuthMethod.SHARED_KEY_MIC)
    return failed(`${showIdentity(identity)} does not use a pre-shared key`)
  if (candidates.length === 0) return failed(`no peer is configured for ${showIdentity(identity)}`)
  const signed = [octets.peer, ...(octets.variants ?? [])].map(peer => ({ ...octets, peer }))
  const reasons: string[] = []
  const settings = candidates.find(candidate => {
    const chosen = choosePpk(sa, candidate, payloads)
    const data = typeof chosen === 'string' ? undefined : payloadOf(chosen, 'AUTH')!.data
    const fits = data !== undefined && signed.some(o => equalBytes(data, authData(sa, candidate.psk, 'peer', o, id)))
    if (!fits) reasons.push(typeof chosen === 'string' ? chosen : 'the pre-shared key does not verify')
    return fits
  })
  if (settings === undefined) return failed(`${showIdentity(identity)}: ${reasons.join('; ')}`)
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
