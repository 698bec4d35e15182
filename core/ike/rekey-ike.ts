import type { KeyExchange } from '../contracts/crypto.ts'
import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Rng } from '../contracts/machine.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, NotifyType, nameOf, type Payload, type Proposal, ProtocolId, payloadOf } from '../wire/index.ts'
import { setChannel } from './channel.ts'
import { isLower, lowest, Rival } from './collision.ts'
import { wipe } from './equal.ts'
import type { Exchange } from './exchange.ts'
import { FollowUp, isPassing, MAX_FORGOTTEN } from './follow-up.ts'
import { IkeSa } from './ike-sa.ts'
import { DeleteIke } from './informational.ts'
import { deriveIkeKeys, rekeyedSkeyseed, type Secrets } from './keys.ts'
import { findError, notify } from './notify.ts'
import { offerProposals, parseProposals, usableProposals } from './proposal.ts'
import { checkIkeChoice, ikeSuite, methodsOf, selectProposal, suiteProposal } from './selection.ts'
import { answerKeyExchange, type IkeSuite } from './suite.ts'

/**
 * Rekeying an IKE SA, RFC 7296 §1.3.2, §2.18: a successor takes over the children, then the old SA is deleted. Where the
 * suite has additional key exchanges, IKE_FOLLOWUP_KE comes first (RFC 9370 §2.2.4).
 */

const NONCE = 32
const MAX_RETRIES = 5
/** Pause before the next attempt when the peer refused: meanwhile the old SA is as good as it was. */
const REFUSED_MS = 60_000
/** How long an IKE SA that the peer has to delete is waited for. */
const SUPERFLUOUS_MS = 60_000

const spi64Bytes = (spi: bigint): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, spi)
  return bytes
}

const spi64Number = (bytes: Uint8Array): bigint =>
  bytes.length === 8 ? new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0) : 0n

/** A random SPI, never zero. */
export function freshSpi({ rng }: { readonly rng: Rng }): bigint {
  for (;;) {
    const spi = spi64Number(rng.bytes(8))
    if (spi !== 0n) return spi
  }
}

/** What a successor is made of, but for the secrets. */
interface Agreed {
  readonly initiatorSpi: bigint
  readonly responderSpi: bigint
  readonly suite: IkeSuite
  readonly ni: Uint8Array
  readonly nr: Uint8Array
}

export class RekeyIke implements Exchange {
  #spi = 0n
  #proposals: readonly Proposal[] = []
  #nonce: Uint8Array = new Uint8Array(0)
  #keyExchange: KeyExchange | undefined
  #retries = 0
  #forgotten = 0
  /** The peer has rekeyed the same SA meanwhile. */
  #rival: Rival<IkeSa> | undefined
  /** What CREATE_CHILD_SA has agreed on, until the additional key exchanges are done. */
  #agreed: { readonly parts: Agreed; readonly followUp: FollowUp } | undefined

  get type(): number {
    return this.#agreed === undefined ? ExchangeType.CREATE_CHILD_SA : ExchangeType.IKE_FOLLOWUP_KE
  }

  /** Whether the peer may rekey the same SA now, which then both do. */
  get contested(): boolean {
    // with additional key exchanges under way it may not, RFC 9370 §2.2.4
    return this.#rival === undefined && this.#agreed === undefined
  }

  /** The peer's rekey was answered: which one stays is decided when ours is answered as well. */
  contest(lowest: Uint8Array): Rival<IkeSa> {
    this.#rival = new Rival(lowest)
    return this.#rival
  }

  request(sa: IkeSa, now: number): Payload[] | undefined {
    if (sa.successor !== undefined || sa.state !== 'established') return undefined
    if (this.#agreed !== undefined) return this.#agreed.followUp.request(sa)
    // the peer is about to make something on this SA, which may be what is to replace it
    if (sa.followUps.size > 0) {
      sa.later(this, now)
      return undefined
    }
    const { suite } = sa.channel!
    this.#rival = undefined
    this.#spi = freshSpi(sa)
    // the same suite again, with all its key exchanges: a changed PRF would be read in two ways, RFC 7296 §2.18
    this.#proposals = offerProposals([suiteProposal(suite)], spi64Bytes(this.#spi))
    this.#nonce = sa.rng.bytes(NONCE)
    this.#keyExchange = sa.crypto.keyExchange(suite.ke, sa.rng)
    return [
      { type: 'SA', proposals: this.#proposals },
      { type: 'Nonce', data: this.#nonce },
      { type: 'KE', group: suite.ke, data: this.#keyExchange.publicValue },
    ]
  }

  response(sa: IkeSa, { payloads }: IncomingMessage, now: number): void {
    if (this.#agreed !== undefined) return this.#goOn(sa, this.#agreed, payloads, now)
    const rival = this.#livingRival(sa)
    const error = findError(payloads)
    // §2.8.2: the peer was done with its rekey, or in the midst of it, before it saw ours
    if (error !== undefined && rival !== undefined) return this.#yield(sa, rival, now)
    if (error !== undefined) return this.#refused(sa, error.notify, now)
    const answer = payloadOf(payloads, 'SA')?.proposals
    const nonce = payloadOf(payloads, 'Nonce')
    const ke = payloadOf(payloads, 'KE')
    const check = checkIkeChoice(answer ?? [], this.#proposals)
    const { suite } = sa.channel!
    const methods = check.ok ? methodsOf(check.chosen) : undefined
    if (
      !check.ok ||
      methods === undefined ||
      nonce === undefined ||
      ke?.group !== suite.ke ||
      spi64Number(check.chosen.spi) === 0n
    )
      throw new PeerError('PEER_SYNTAX', 'the answer to the rekey of the IKE SA does not fit the request')
    const secrets = [this.#keyExchange!.shared(ke.data)]
    const followUp = FollowUp.after(secrets, methods.slice(1), payloads)
    const responderSpi = spi64Number(check.chosen.spi)
    const nr = nonce.data.slice()
    const parts = { initiatorSpi: this.#spi, responderSpi, suite: check.suite, ni: this.#nonce, nr }
    if (rival !== undefined && isLower(lowest(this.#nonce, nr), rival.lowest)) {
      // with additional key exchanges there is nothing to delete yet: they are just not begun
      if (followUp === undefined) {
        const next = makeSuccessor(sa, true, parts, secrets, now)
        next.enqueue(new DeleteIke('redundant'), now)
        sa.effect({ type: 'also', sa: next })
      }
      wipe(...secrets)
      return this.#yield(sa, rival, now)
    }
    if (rival !== undefined) {
      rival.fate = 'goes'
      sa.followUps.forget('ike')
    }
    if (followUp === undefined) return this.#complete(sa, parts, secrets, now)
    this.#agreed = { parts, followUp }
    sa.proceed(this)
  }

  /** What came of an additional key exchange. @throws PeerError when it makes no sense: the IKE SA ends */
  #goOn(
    sa: IkeSa,
    { parts, followUp }: { readonly parts: Agreed; readonly followUp: FollowUp },
    payloads: readonly Payload[],
    now: number,
  ): void {
    const error = findError(payloads)?.notify
    const secrets = error === undefined ? followUp.response(payloads) : undefined
    if (secrets !== undefined) return this.#complete(sa, parts, secrets, now)
    if (error === undefined) return sa.proceed(this)
    followUp.wipe()
    this.#agreed = undefined
    if (error === NotifyType.STATE_NOT_FOUND && ++this.#forgotten > MAX_FORGOTTEN)
      return sa.enqueue(new DeleteIke('the peer forgets every time what it has begun', 'PEER_REKEY'), now)
    this.#refused(sa, error, now)
  }

  #complete(sa: IkeSa, parts: Agreed, secrets: Secrets, now: number): void {
    const next = makeSuccessor(sa, true, parts, secrets, now)
    wipe(...secrets)
    takeOver(sa, next, now)
    sa.enqueue(new DeleteIke('replaced by a rekey'), now)
  }

  /** One that is gone again was deleted by its creator: it had the lowest nonce. Or its key exchanges came to nothing. */
  #livingRival(sa: IkeSa): Rival<IkeSa> | undefined {
    const rival = this.#rival
    if (rival === undefined) return undefined
    const lives = rival.made === undefined ? sa.followUps.replaces('ike') : rival.made.state === 'established'
    return lives ? rival : undefined
  }

  /** The peer's new SA stays. */
  #yield(sa: IkeSa, rival: Rival<IkeSa>, now: number): void {
    rival.fate = 'stays'
    if (rival.made !== undefined) return takeOver(sa, rival.made, now)
    // its key exchanges go on; should they come to nothing, this one has another go
    sa.later(this, now)
  }

  /** §2.8.2: a peer that deletes the old SA had not noticed that both were at it; its new one stays. */
  ended(sa: IkeSa, byPeer: boolean, now: number): void {
    const next = this.#rival?.made
    if (next?.state !== 'established') return
    if (byPeer) return takeOver(sa, next, now)
    next.close('OK', 'the SA that it was to replace has ended', now)
    sa.effect({ type: 'also', sa: next })
  }

  #refused(sa: IkeSa, type: number, now: number): void {
    if (isPassing(type) && ++this.#retries <= MAX_RETRIES) return sa.later(this, now)
    const why = `the peer refuses to rekey the IKE SA with ${nameOf(NotifyType, type)}`
    if (type === NotifyType.INVALID_SYNTAX) throw new PeerError('PEER_SYNTAX', why)
    sa.rekeyAt = now + REFUSED_MS
    sa.effect({ type: 'rekey-failed', code: 'PEER_REKEY', why })
  }
}

/** Answers the peer's rekey of this IKE SA. */
export function respondRekeyIke(
  sa: IkeSa,
  payloads: readonly Payload[],
  offered: readonly Proposal[],
  ni: Uint8Array,
  now: number,
): Payload[] {
  const ours = sa.current instanceof RekeyIke && sa.current.contested ? sa.current : undefined
  // a Child SA exchange of ours is under way: its answer would find the old SA gone
  if (sa.session.busy && ours === undefined) return [notify(NotifyType.TEMPORARY_FAILURE)]
  const ke = payloadOf(payloads, 'KE')
  const own = usableProposals(parseProposals(sa.settings!.proposals, 'ike'), sa.crypto)
  const usable = offered.filter(p => p.protocol === ProtocolId.IKE && spi64Number(p.spi) !== 0n)
  const selection = selectProposal(usable, own, ke === undefined ? {} : { preferKe: ke.group })
  const suite = selection.ok ? ikeSuite(selection.chosen) : undefined
  const methods = selection.ok ? methodsOf(selection.chosen)?.slice(1) : undefined
  if (!selection.ok || suite === undefined || methods === undefined) return [notify(NotifyType.NO_PROPOSAL_CHOSEN)]
  const { chosen } = selection
  if (ke?.group !== suite.ke)
    return [notify(NotifyType.INVALID_KE_PAYLOAD, Uint8Array.of(suite.ke >> 8, suite.ke & 0xff))]
  if (methods.length > 0 && !sa.budget.take(now, methods.length)) return [notify(NotifyType.TEMPORARY_FAILURE)]
  const { publicValue, shared } = answerKeyExchange(sa.crypto, suite.ke, ke.data, sa.rng)
  const responderSpi = freshSpi(sa)
  const nr = sa.rng.bytes(NONCE)
  const parts = { initiatorSpi: spi64Number(chosen.spi), responderSpi, suite, ni: ni.slice(), nr }
  const rival = ours?.contest(lowest(ni, nr))
  const complete = (secrets: Secrets, at: number) => replaceForPeer(sa, parts, secrets, rival, at)
  const link: Payload[] = []
  if (methods.length === 0) {
    complete([shared], now)
    wipe(shared)
  } else {
    // whatever else the peer has begun would be made on an SA that goes
    sa.followUps.clear()
    // an answer to a request of ours would find the old SA gone
    const possible = () => sa.successor === undefined && (!sa.session.busy || rival?.fate === 'open')
    link.push(sa.followUps.add({ replaces: 'ike', methods, secrets: [shared], possible, complete }, sa.rng, now))
  }
  return [
    { type: 'SA', proposals: [{ ...chosen, spi: spi64Bytes(responderSpi) }] },
    { type: 'Nonce', data: nr },
    { type: 'KE', group: suite.ke, data: publicValue },
    ...link,
  ]
}

/** @param rival - where a rekey of ours is, or was, under way as well */
function replaceForPeer(
  sa: IkeSa,
  parts: Agreed,
  secrets: Secrets,
  rival: Rival<IkeSa> | undefined,
  now: number,
): void {
  const next = makeSuccessor(sa, false, parts, secrets, now)
  const open = rival?.fate === 'open'
  // who asked deletes what is superfluous: the old SA, or the new one
  const waited = open ? next : sa
  waited.giveUpAt = now + SUPERFLUOUS_MS
  waited.giveUp = at => waited.close('OK', 'the peer did not delete what its rekey made superfluous', at)
  if (!open) return takeOver(sa, next, now)
  rival.made = next
  sa.effect({ type: 'also', sa: next })
}

/** Makes what may replace this SA: it has keys, SPIs and message IDs of its own. */
function makeSuccessor(
  sa: IkeSa,
  initiator: boolean,
  { suite, ni, nr, ...spis }: Agreed,
  [first, ...additional]: Secrets,
  now: number,
): IkeSa {
  const old = sa.channel!
  const seed = rekeyedSkeyseed(sa.crypto, old.suite.prf, old.keys.d, { ni, nr }, [first!, ...additional])
  const keys = deriveIkeKeys(sa.crypto, suite, seed, { ni, nr, ...spis }, old.suite.prf)
  wipe(seed)
  const ids = { own: 0, peer: 0 }
  const { host, behaviour, flow } = sa
  const next = new IkeSa({ host, behaviour, initiator, ...spis, flow, now, first: ids })
  next.line = sa.line
  next.initiated = sa.initiated
  next.tasks = sa.tasks
  next.settings = sa.settings
  next.facts = sa.facts
  next.plan = sa.plan
  next.mobility = sa.mobility
  next.budget = sa.budget
  next.size = sa.size
  next.remoteId = sa.remoteId
  next.peerId = sa.peerId
  Object.assign(next.proof, sa.proof)
  next.resumption = sa.resumption
  next.authenticatedAt = sa.authenticatedAt
  next.provisional = true
  next.state = 'established'
  setChannel(next, suite, keys, ni, nr)
  return next
}

/** The successor inherits children, addresses and what is still to be done. */
function takeOver(sa: IkeSa, next: IkeSa, now: number): void {
  next.provisional = false
  next.giveUpAt = Infinity
  next.reauthAt = sa.reauthAt
  next.renews = sa.renews
  next.flow = sa.flow
  next.facts = sa.facts
  next.plan = sa.plan
  next.assigned = sa.assigned
  next.virtual = sa.virtual
  next.dns = sa.dns
  for (const [id, child] of sa.children) next.children.set(id, child)
  sa.children.clear()
  sa.followUps.clear()
  sa.successor = next
  next.inherit(sa, exchange => exchange instanceof RekeyIke, now)
  next.startTimers(now)
  sa.effect({ type: 'rekeyed', successor: next })
}
