import type { KeyExchangeAnswer } from '../contracts/crypto.ts'
import type { EspSuite } from '../contracts/data-plane.ts'
import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { ChildSettings } from '../contracts/settings.ts'
import type { ModeStrategy, Selector } from '../contracts/strategy.ts'
import { PeerError } from '../errors.ts'
import { IpProtocol, NotifyType, nameOf, type Payload, type Proposal, payloadOf } from '../wire/index.ts'
import { askedModes, asksFor, contextOf, grantedMode, modesFor, objection } from './child-mode.ts'
import type { ChildSa } from './host.ts'
import type { IkeSa } from './ike-sa.ts'
import { Inform, spiBytes, spiNumber } from './informational.ts'
import { reportChildKeys } from './keylog.ts'
import { deriveChildKeys, type Nonces, type Secrets } from './keys.ts'
import { findError, findNotify, notify } from './notify.ts'
import { offerProposals, PROTOCOL_IDS, type ProposalSpec, parseProposals, usableProposals } from './proposal.ts'
import { checkEspChoice, espSuite, methodsOf, selectProposal } from './selection.ts'
import {
  everything,
  fromSettings,
  fromWire,
  host,
  narrow,
  sameSelector,
  showSelector,
  toWire,
  within,
} from './selectors.ts'

/** Negotiation of Child SAs, RFC 7296 §1.2, §1.3.1, §2.9: the parts IKE_AUTH and CREATE_CHILD_SA share. */

/** What this host asked for, kept until the answer. */
export interface ChildIntent {
  readonly settings: ChildSettings
  readonly mode: ModeStrategy
  /** Notify types that ask for `mode`. */
  readonly asks: readonly number[]
  readonly spi: number
  readonly proposals: readonly ProposalSpec[]
  readonly local: readonly Selector[]
  readonly remote: readonly Selector[]
  readonly replaces: ChildSa | undefined
}

/** Why a Child SA could not be made: the IKE SA lives on, RFC 7296 §1.2. */
export interface ChildFailure {
  readonly code: string
  readonly why: string
  readonly notify: number
  readonly data?: Uint8Array
}

/** A Child SA that was agreed on and lacks its keys: additional key exchanges may have to come first. */
export interface ChildDraft {
  /** Of the key exchanges that give it keys of its own, in their order: the first is that of the KE payloads at hand. */
  readonly methods: readonly number[]
  /** @param secrets - one for each of `methods` */
  complete(secrets: Secrets, now: number): ChildSa
}

export const isFailure = (value: object): value is ChildFailure => 'notify' in value && 'why' in value

const ownDynamic = (sa: IkeSa): Selector[] =>
  sa.virtual.length > 0 ? sa.virtual.map(host) : [host(sa.flow.local.address)]

const peerDynamic = (sa: IkeSa): Selector[] =>
  sa.assigned.length > 0 ? sa.assigned.map(host) : [host(sa.flow.remote.address)]

const wantedProtocol = ({ protocol = 'esp' }: ChildSettings) => protocol

const ownProposals = (sa: IkeSa, settings: ChildSettings): readonly ProposalSpec[] =>
  usableProposals(parseProposals(settings.proposals, wantedProtocol(settings)), sa.crypto)

/**
 * @param replaces - the Child SA to rekey: the same selectors and mode again
 * @throws PeerError when no plan is left for it
 */
export function intend(sa: IkeSa, settings: ChildSettings, replaces?: ChildSa): ChildIntent {
  const mode = replaces === undefined ? planMode(sa, settings) : sa.host.mode(replaces.plan.mode)!
  const proposals = ownProposals(sa, settings)
  if (proposals.length === 0)
    throw new PeerError('PLAN_NONE', `no crypto provider here can do any of the proposals of ${settings.name}`)
  const spi = sa.host.espSpi()
  sa.host.expect(spi)
  const asking = sa.settings!.requestAddresses
  const dynamic = sa.virtual.length === 0 && asking.length > 0 ? asking.map(everything) : ownDynamic(sa)
  return {
    settings,
    mode,
    asks: asksFor(mode, sa),
    spi,
    proposals,
    local: replaces?.wireLocal ?? fromSettings(settings.localTs, dynamic),
    remote: replaces?.wireRemote ?? fromSettings(settings.remoteTs, peerDynamic(sa)),
    replaces,
  }
}

function planMode(sa: IkeSa, settings: ChildSettings): ModeStrategy {
  const fixed = sa.plan === undefined ? {} : { path: sa.plan.path, encap: sa.plan.encap }
  const { plan, why } = sa.host.plan(sa.settings!, settings, sa.facts, fixed)
  const mode = plan === undefined ? undefined : sa.host.mode(plan.mode)
  if (mode === undefined) throw new PeerError('PLAN_NONE', `no plan for ${settings.name}: ${why}`)
  return mode
}

/** SA, TSi, TSr and the mode's notify; the caller adds Nonce and KE where the exchange has them. */
export function intentPayloads(intent: ChildIntent, withoutKe: boolean): Payload[] {
  const { asks, local, remote } = intent
  return [
    { type: 'SA', proposals: offered(intent, withoutKe) },
    { type: 'TSi', selectors: toWire(local) },
    { type: 'TSr', selectors: toWire(remote) },
    ...asks.map(type => notify(type)),
  ]
}

const offered = ({ proposals, spi }: ChildIntent, withoutKe: boolean): readonly Proposal[] =>
  offerProposals(proposals, spiBytes(spi), { withoutKe })

/**
 * The initiator's reading of the answer.
 * @param group - of the exchange's own key exchange; undefined in IKE_AUTH, or when the peer made none
 */
export function acceptAnswer(
  sa: IkeSa,
  intent: ChildIntent,
  message: IncomingMessage,
  nonces: Nonces,
  group: number | undefined,
): ChildDraft | ChildFailure {
  const { payloads } = message
  const error = findError(payloads)
  if (error !== undefined && payloadOf(payloads, 'SA') === undefined)
    return refused(error.notify, intent, objection(sa, intent))
  const answer = payloadOf(payloads, 'SA')?.proposals
  const tsi = payloadOf(payloads, 'TSi')
  const tsr = payloadOf(payloads, 'TSr')
  if (answer === undefined || tsi === undefined || tsr === undefined)
    return { code: 'PEER_SYNTAX', why: 'the answer lacks SA or traffic selectors', notify: NotifyType.INVALID_SYNTAX }
  const check = checkEspChoice(answer, offered(intent, group === undefined))
  const wrong = (why: string) => ({
    code: 'PEER_NO_PROPOSAL',
    why: `the peer's choice of a proposal is wrong: ${why}`,
    notify: NotifyType.NO_PROPOSAL_CHOSEN,
  })
  if (!check.ok) return wrong(check.why)
  const methods = methodsOf(check.chosen)
  if (methods === undefined) return wrong('additional key exchanges without a first one')
  if (methods.length > 0 && methods[0] !== group)
    return wrong(`key exchange ${methods[0]}, but the KE payload is of another`)
  const wireLocal = fromWire(tsi.selectors)
  const wireRemote = fromWire(tsr.selectors)
  if (!within(wireLocal, intent.local) || !within(wireRemote, intent.remote))
    return {
      code: 'PEER_TS_UNACCEPTABLE',
      why: `the peer answered traffic selectors outside what was offered: ${show(wireLocal)} === ${show(wireRemote)}`,
      notify: NotifyType.TS_UNACCEPTABLE,
    }
  const mode = grantedMode(sa, intent, payloads)
  if (mode === undefined)
    return {
      code: 'PEER_MODE',
      // about what was answered: who asks for an address offers all there are, and that is no reason
      why: `the peer does not do ${intent.mode.name} mode for ${intent.settings.name}${objection(sa, { ...intent, local: wireLocal, remote: wireRemote })}`,
      notify: NotifyType.NO_PROPOSAL_CHOSEN,
    }
  return draft(sa, {
    settings: intent.settings,
    mode,
    suite: check.suite,
    methods,
    ownSpi: intent.spi,
    peerSpi: spiNumber(check.chosen.spi),
    wireLocal,
    wireRemote,
    initiator: true,
    nonces,
  })
}

/** The peer has a Child SA this host cannot accept: it is told to forget it, RFC 7296 §2.21.3. */
export function rejectAnswer(sa: IkeSa, intent: ChildIntent, payloads: readonly Payload[], now: number): void {
  if (payloadOf(payloads, 'SA') !== undefined) forgetAnswer(sa, intent, now)
}

/** The same after additional key exchanges. */
export function forgetAnswer(sa: IkeSa, intent: ChildIntent, now: number): void {
  const protocol = PROTOCOL_IDS[wantedProtocol(intent.settings)]
  const deletion: Payload = { type: 'D', protocol, spis: [spiBytes(intent.spi)] }
  sa.enqueue(new Inform([deletion]), now)
}

function refused(type: number, { settings, local, remote }: ChildIntent, objection: string): ChildFailure {
  switch (type) {
    case NotifyType.NO_PROPOSAL_CHOSEN:
      return {
        code: 'PEER_NO_PROPOSAL',
        why: `the peer accepts none of the ${wantedProtocol(settings).toUpperCase()} proposals of ${settings.name}; compare with its ${wantedProtocol(settings)}_proposals`,
        notify: type,
      }
    case NotifyType.TS_UNACCEPTABLE:
      return {
        code: 'PEER_TS_UNACCEPTABLE',
        why: `the peer accepts no part of ${show(local)} === ${show(remote)} of ${settings.name}; compare with its traffic selectors${objection}`,
        notify: type,
      }
    case NotifyType.INTERNAL_ADDRESS_FAILURE:
      return {
        code: 'PEER_NO_ADDRESS',
        why: 'the peer has no address to assign: its pool is empty, or it has none for us',
        notify: type,
      }
    case NotifyType.NO_ADDITIONAL_SAS:
      return {
        code: 'PEER_REFUSED',
        why: `the peer makes no more Child SAs on this IKE SA, so there is none for ${settings.name}; raise its limit, or merge children into one with several selectors`,
        notify: type,
      }
    case NotifyType.FAILED_CP_REQUIRED:
      return {
        code: 'PEER_NO_ADDRESS',
        why: 'the peer wants an address to be asked for: set `addresses: [ipv4]` for it',
        notify: type,
      }
    default:
      return {
        code: 'PEER_REFUSED',
        why: `the peer refused ${settings.name} with ${nameOf(NotifyType, type)}; its log says why`,
        notify: type,
      }
  }
}

const show = (selectors: readonly Selector[]): string => selectors.map(showSelector).join(', ') || 'nothing'

/** What the responder answers with, and what that makes. */
export interface ChildAnswer {
  readonly draft: ChildDraft
  /** Of the key exchange in the answer, if any. */
  readonly secrets: Secrets
  readonly payloads: Payload[]
}

interface Candidate {
  readonly settings: ChildSettings
  readonly wireLocal: readonly Selector[]
  readonly wireRemote: readonly Selector[]
  readonly mode: ModeStrategy
}

/**
 * The responder's side.
 * @param exchange - the key exchange of this host for a group the peer's KE payload is of; undefined in IKE_AUTH
 */
export function answerChild(
  sa: IkeSa,
  payloads: readonly Payload[],
  nonces: Nonces,
  keyExchange: ((group: number, peer: Uint8Array) => KeyExchangeAnswer) | undefined,
  replaces?: ChildSa,
): ChildAnswer | ChildFailure {
  const proposals = payloadOf(payloads, 'SA')?.proposals
  const tsi = payloadOf(payloads, 'TSi')
  const tsr = payloadOf(payloads, 'TSr')
  if (proposals === undefined || tsi === undefined || tsr === undefined)
    return { code: 'PEER_SYNTAX', why: 'a Child SA request without SA or selectors', notify: NotifyType.INVALID_SYNTAX }
  // an IKE SA for something else, such as mediation
  if (Object.keys(sa.settings!.children).length === 0)
    return {
      code: 'PEER_NO_CHILDREN',
      why: `peers.${sa.peer} has no children`,
      notify: NotifyType.NO_ADDITIONAL_SAS,
    }
  const refusals: string[] = []
  const candidate = findChild(sa, payloads, fromWire(tsi.selectors), fromWire(tsr.selectors), replaces, refusals)
  if (candidate === undefined)
    return {
      code: 'PEER_TS_UNACCEPTABLE',
      why: `no child of ${sa.peer} covers ${[`${show(fromWire(tsr.selectors))} === ${show(fromWire(tsi.selectors))}`, ...refusals].join('; ')}`,
      notify: NotifyType.TS_UNACCEPTABLE,
    }
  const options = { withoutKe: keyExchange === undefined, ...keAtHand(payloads) }
  const selection = selectProposal(proposals, ownProposals(sa, candidate.settings), options)
  if (!selection.ok)
    return { code: 'PEER_NO_PROPOSAL', why: selection.why.join('; '), notify: NotifyType.NO_PROPOSAL_CHOSEN }
  const { chosen } = selection
  const suite = espSuite(chosen)
  if (suite === undefined)
    return { code: 'PEER_NO_PROPOSAL', why: 'an incomplete proposal', notify: NotifyType.NO_PROPOSAL_CHOSEN }
  const methods = keyExchange === undefined ? [] : methodsOf(chosen)
  if (methods === undefined)
    return {
      code: 'PEER_NO_PROPOSAL',
      why: 'additional key exchanges without a first one',
      notify: NotifyType.NO_PROPOSAL_CHOSEN,
    }
  const [group] = methods
  const extra: Payload[] = []
  const secrets: Uint8Array[] = []
  if (group !== undefined) {
    const ke = payloadOf(payloads, 'KE')
    if (ke?.group !== group)
      return {
        code: 'PEER_KE',
        why: 'the key exchange is of another group than the proposal',
        notify: NotifyType.INVALID_KE_PAYLOAD,
        data: Uint8Array.of(group >> 8, group & 0xff),
      }
    const own = keyExchange!(group, ke.data)
    secrets.push(own.shared)
    extra.push({ type: 'KE', group, data: own.publicValue })
  }
  const spi = sa.host.espSpi()
  const { settings, wireLocal, wireRemote, mode } = candidate
  const made = draft(sa, {
    settings,
    mode,
    suite,
    methods,
    ownSpi: spi,
    peerSpi: spiNumber(chosen.spi),
    wireLocal,
    wireRemote,
    initiator: false,
    nonces,
  })
  if (isFailure(made)) return made
  return {
    draft: made,
    secrets,
    payloads: [
      { type: 'SA', proposals: [{ ...chosen, spi: spiBytes(spi) }] },
      ...extra,
      { type: 'TSi', selectors: toWire(wireRemote) },
      { type: 'TSr', selectors: toWire(wireLocal) },
      // those of the peer's numbers that are known here
      ...asksFor(mode, sa).flatMap(type => (findNotify(payloads, type) === undefined ? [] : [notify(type)])),
    ],
  }
}

const keAtHand = (payloads: readonly Payload[]): { preferKe?: number } => {
  const group = payloadOf(payloads, 'KE')?.group
  return group === undefined ? {} : { preferKe: group }
}

/**
 * The first configured child that covers a part of what the peer proposes, in the mode the peer asks for.
 * @param refusals - gets what modes have against the selectors
 */
function findChild(
  sa: IkeSa,
  payloads: readonly Payload[],
  tsi: readonly Selector[],
  tsr: readonly Selector[],
  replaces: ChildSa | undefined,
  refusals: string[],
): Candidate | undefined {
  const asked = askedModes(sa, payloads)
  const settings = replaces === undefined ? ofOfferedProtocol(sa, payloads) : [replaces.settings]
  for (const child of settings)
    for (const mode of modesFor(sa, child, asked, replaces)) {
      const local = replaces?.wireLocal ?? fromSettings(child.localTs, ownDynamic(sa))
      const remote = replaces?.wireRemote ?? fromSettings(child.remoteTs, peerDynamic(sa))
      // in transport mode the peer names addresses as it sees them, RFC 7296 §2.23.1
      const seen = mode.substitutes && replaces === undefined
      const wireLocal = seen ? narrowSeen(tsr, local, sa.flow.local.address) : narrow(tsr, local)
      const wireRemote = seen ? narrowSeen(tsi, remote, sa.flow.remote.address) : narrow(tsi, remote)
      if (wireLocal.length === 0 || wireRemote.length === 0) continue
      if (
        replaces !== undefined &&
        !(sameSet(wireLocal, replaces.wireLocal) && sameSet(wireRemote, replaces.wireRemote))
      )
        continue
      const refusal = mode.refuses?.(contextOf(sa, wireLocal, wireRemote, false))
      if (refusal !== undefined) {
        refusals.push(`${mode.name} mode: ${refusal}`)
        continue
      }
      return { settings: child, wireLocal, wireRemote, mode }
    }
  return undefined
}

/** Children that can answer the offer; all when none can, so that the refusal is about proposals. */
function ofOfferedProtocol(sa: IkeSa, payloads: readonly Payload[]): readonly ChildSettings[] {
  const children = Object.values(sa.settings!.children)
  const offered = payloadOf(payloads, 'SA')?.proposals ?? []
  const fitting = children.filter(c => offered.some(p => p.protocol === PROTOCOL_IDS[wantedProtocol(c)]))
  return fitting.length > 0 ? fitting : children
}

const sameSet = (a: readonly Selector[], b: readonly Selector[]): boolean =>
  a.length === b.length && a.every(x => b.some(y => sameSelector(x, y)))

/** Policy is looked up by the address packets really have; what goes back on the wire are the peer's own words. */
function narrowSeen(proposed: readonly Selector[], allowed: readonly Selector[], seen: string): Selector[] {
  return proposed.flatMap(p => {
    if (p.start !== p.end) return []
    return narrow([{ ...p, ...addressOf(seen) }], allowed).map(n => ({
      ...n,
      family: p.family,
      start: p.start,
      end: p.end,
    }))
  })
}

const addressOf = (address: string): Pick<Selector, 'family' | 'start' | 'end'> => ({
  family: address.includes(':') ? 6 : 4,
  start: address,
  end: address,
})

interface Agreed {
  readonly settings: ChildSettings
  readonly mode: ModeStrategy
  readonly suite: EspSuite
  readonly methods: readonly number[]
  readonly ownSpi: number
  readonly peerSpi: number
  readonly wireLocal: readonly Selector[]
  readonly wireRemote: readonly Selector[]
  readonly initiator: boolean
  readonly nonces: Nonces
}

function draft(sa: IkeSa, agreed: Agreed): ChildDraft | ChildFailure {
  const { settings, mode, suite, methods, wireLocal, wireRemote, initiator } = agreed
  const refusal = mode.refuses?.(contextOf(sa, wireLocal, wireRemote, initiator))
  if (refusal !== undefined)
    return { code: 'PEER_TS_UNACCEPTABLE', why: `${mode.name} mode: ${refusal}`, notify: NotifyType.TS_UNACCEPTABLE }
  if (suite.protocol === IpProtocol.AH) {
    // a peer may ask for what cannot arrive here
    const { plan, why } = sa.host.plan(sa.settings!, { ...settings, mode: mode.name }, sa.facts, outerPlan(sa))
    if (plan === undefined) return { code: 'PLAN_NONE', why, notify: NotifyType.NO_PROPOSAL_CHOSEN }
  }
  const local = mode.substitutes ? seenAs(wireLocal, sa.flow.local.address) : wireLocal
  const remote = mode.substitutes ? seenAs(wireRemote, sa.flow.remote.address) : wireRemote
  const mapped = typeof settings.conflicts === 'object' ? sa.host.seen(sa, settings, remote) : remote
  if (mapped === undefined)
    return {
      code: 'POOL_EMPTY',
      why: `no addresses are left to show ${show(remote)} as (peers.${sa.peer}.children.${settings.name}.conflicts)`,
      notify: NotifyType.TS_UNACCEPTABLE,
    }
  const complete = (secrets: Secrets, now: number): ChildSa => ({
    id: `${sa.peer}/${settings.name}{${sa.host.serial()}}`,
    settings,
    suite,
    // as it is by then
    plan: { ...outerPlan(sa), mode: mode.name },
    ...keysOf(sa, agreed, secrets),
    local,
    remote: mapped,
    ...(mapped !== remote && { untranslated: remote }),
    wireLocal,
    wireRemote,
    initiator,
    createdAt: now,
    state: 'installed',
    successor: undefined,
    deleteSent: false,
  })
  return { methods, complete }
}

const outerPlan = ({ plan }: IkeSa) => ({ path: plan?.path ?? 'direct', encap: plan?.encap ?? 'none' })

function keysOf(
  sa: IkeSa,
  { suite, nonces, initiator, ownSpi, peerSpi }: Agreed,
  secrets: Secrets,
): Pick<ChildSa, 'inbound' | 'outbound'> {
  const channel = sa.channel!
  const keys = deriveChildKeys(sa.crypto, channel.suite.prf, channel.keys.d, suite, nonces, secrets)
  const [mine, theirs] = initiator ? [keys.initiator, keys.responder] : [keys.responder, keys.initiator]
  return { inbound: { spi: ownSpi, ...theirs }, outbound: { spi: peerSpi, ...mine } }
}

const seenAs = (selectors: readonly Selector[], seen: string): Selector[] =>
  selectors.map(s => ({ ...s, ...addressOf(seen) }))

/**
 * Records a negotiated Child SA and has it installed.
 * @param replaces - what it replaces; `redundant`: another one may, or does, replace the same
 */
export function addChild(sa: IkeSa, child: ChildSa, outbound: boolean, replaces?: ChildSa | 'redundant'): void {
  sa.children.set(child.id, child)
  reportChildKeys(sa, child)
  sa.effect({ type: 'child-up', child, outbound, ...(replaces !== undefined && { replaces }) })
}
