import type { KeyExchange } from '../contracts/crypto.ts'
import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Rng } from '../contracts/machine.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, NotifyType, nameOf, type Payload, type Proposal, ProtocolId, payloadOf } from '../wire/index.ts'
import { setChannel } from './channel.ts'
import { isLower, lowest, type Rival } from './collision.ts'
import type { Exchange } from './exchange.ts'
import { IkeSa } from './ike-sa.ts'
import { DeleteIke } from './informational.ts'
import { deriveIkeKeys, rekeyedSkeyseed } from './keys.ts'
import { findError, notify } from './notify.ts'
import { firstOnly, offerProposals, parseProposals, usableProposals } from './proposal.ts'
import { checkIkeChoice, ikeSuite, selectProposal, suiteProposal } from './selection.ts'
import { answerKeyExchange, type IkeSuite } from './suite.ts'

/** Rekeying an IKE SA, RFC 7296 §1.3.2, §2.18: a successor takes over the children, then the old SA is deleted. */

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

export class RekeyIke implements Exchange {
  readonly type = ExchangeType.CREATE_CHILD_SA
  #spi = 0n
  #proposals: readonly Proposal[] = []
  #nonce: Uint8Array = new Uint8Array(0)
  #keyExchange: KeyExchange | undefined
  #retries = 0
  /** The peer has rekeyed the same SA meanwhile. */
  #rival: Rival<IkeSa> | undefined

  /** Whether the peer may rekey the same SA now, which then both do. */
  get contested(): boolean {
    return this.#rival === undefined
  }

  /** The peer's rekey was answered: which one stays is decided when ours is answered as well. */
  contest(rival: Rival<IkeSa>): void {
    this.#rival = rival
  }

  request(sa: IkeSa): Payload[] | undefined {
    if (sa.successor !== undefined || sa.state !== 'established') return undefined
    const { suite } = sa.channel!
    this.#spi = freshSpi(sa)
    // the same suite again: a changed PRF would be read in two ways, RFC 7296 §2.18
    // its additional key exchanges are in SK_d, and so in all keys that come of it
    const { additional: _, ...first } = suite
    this.#proposals = offerProposals([suiteProposal(first)], spi64Bytes(this.#spi))
    this.#nonce = sa.rng.bytes(NONCE)
    this.#keyExchange = sa.crypto.keyExchange(suite.ke, sa.rng)
    return [
      { type: 'SA', proposals: this.#proposals },
      { type: 'Nonce', data: this.#nonce },
      { type: 'KE', group: suite.ke, data: this.#keyExchange.publicValue },
    ]
  }

  response(sa: IkeSa, { payloads }: IncomingMessage, now: number): void {
    // one that is gone again was deleted by its creator: it had the lowest nonce
    const rival = this.#rival?.made.state === 'established' ? this.#rival : undefined
    const error = findError(payloads)
    // §2.8.2: the peer had finished its rekey before it saw ours
    if (error !== undefined && rival !== undefined) return takeOver(sa, rival.made, now)
    if (error !== undefined) return this.#refused(sa, error.notify, now)
    const answer = payloadOf(payloads, 'SA')?.proposals
    const nonce = payloadOf(payloads, 'Nonce')
    const ke = payloadOf(payloads, 'KE')
    const check = checkIkeChoice(answer ?? [], this.#proposals)
    const { suite } = sa.channel!
    if (!check.ok || nonce === undefined || ke?.group !== suite.ke || spi64Number(check.chosen.spi) === 0n)
      throw new PeerError('PEER_SYNTAX', 'the answer to the rekey of the IKE SA does not fit the request')
    const shared = this.#keyExchange!.shared(ke.data)
    const spis = { initiatorSpi: this.#spi, responderSpi: spi64Number(check.chosen.spi) }
    const nr = nonce.data.slice()
    const next = makeSuccessor(sa, true, spis, check.suite, shared, this.#nonce, nr, now)
    if (rival !== undefined && isLower(lowest(this.#nonce, nr), rival.lowest)) {
      next.enqueue(new DeleteIke('redundant'), now)
      sa.effect({ type: 'also', sa: next })
      return takeOver(sa, rival.made, now)
    }
    takeOver(sa, next, now)
    sa.enqueue(new DeleteIke('replaced by a rekey'), now)
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
    if (type === NotifyType.TEMPORARY_FAILURE && ++this.#retries <= MAX_RETRIES) return sa.later(this, now)
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
  const own = firstOnly(usableProposals(parseProposals(sa.settings!.proposals, 'ike'), sa.crypto))
  const usable = offered.filter(p => p.protocol === ProtocolId.IKE && spi64Number(p.spi) !== 0n)
  const selection = selectProposal(usable, own, ke === undefined ? {} : { preferKe: ke.group })
  const suite = selection.ok ? ikeSuite(selection.chosen) : undefined
  if (!selection.ok || suite === undefined) return [notify(NotifyType.NO_PROPOSAL_CHOSEN)]
  const { chosen } = selection
  if (ke?.group !== suite.ke)
    return [notify(NotifyType.INVALID_KE_PAYLOAD, Uint8Array.of(suite.ke >> 8, suite.ke & 0xff))]
  const { publicValue, shared } = answerKeyExchange(sa.crypto, suite.ke, ke.data, sa.rng)
  const spi = freshSpi(sa)
  const nr = sa.rng.bytes(NONCE)
  const spis = { initiatorSpi: spi64Number(chosen.spi), responderSpi: spi }
  const next = makeSuccessor(sa, false, spis, suite, shared, ni.slice(), nr, now)
  // who asked deletes what is superfluous: the old SA, or the new one
  const waited = ours === undefined ? sa : next
  waited.giveUpAt = now + SUPERFLUOUS_MS
  waited.giveUp = at => waited.close('OK', 'the peer did not delete what its rekey made superfluous', at)
  if (ours === undefined) takeOver(sa, next, now)
  else {
    ours.contest({ made: next, lowest: lowest(ni, nr) })
    sa.effect({ type: 'also', sa: next })
  }
  return [
    { type: 'SA', proposals: [{ ...chosen, spi: spi64Bytes(spi) }] },
    { type: 'Nonce', data: nr },
    { type: 'KE', group: suite.ke, data: publicValue },
  ]
}

/** Makes what may replace this SA: it has keys, SPIs and message IDs of its own. */
function makeSuccessor(
  sa: IkeSa,
  initiator: boolean,
  spis: { readonly initiatorSpi: bigint; readonly responderSpi: bigint },
  suite: IkeSuite,
  shared: Uint8Array,
  ni: Uint8Array,
  nr: Uint8Array,
  now: number,
): IkeSa {
  const old = sa.channel!
  const seed = rekeyedSkeyseed(sa.crypto, old.suite.prf, old.keys.d, { ni, nr }, shared)
  const keys = deriveIkeKeys(sa.crypto, suite, seed, { ni, nr, ...spis }, old.suite.prf)
  seed.fill(0)
  shared.fill(0)
  const first = { own: 0, peer: 0 }
  const next = new IkeSa({ host: sa.host, behaviour: sa.behaviour, initiator, ...spis, flow: sa.flow, now, first })
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
  sa.successor = next
  next.inherit(sa, exchange => exchange instanceof RekeyIke, now)
  next.startTimers(now)
  sa.effect({ type: 'rekeyed', successor: next })
}
