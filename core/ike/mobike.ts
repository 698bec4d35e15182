import { knownFact } from '../contracts/facts.ts'
import type { IncomingMessage } from '../contracts/ike-task.ts'
import { type Address, type Flow, sameFlow, showEndpoint } from '../contracts/net.ts'
import { PeerError } from '../errors.ts'
import { IpProtocol, NotifyType, type Payload } from '../wire/index.ts'
import {
  additionalPayloads,
  addressFlow,
  addressPairs,
  isSystems,
  listedAddresses,
  MAX_ADDRESSES,
  natFound,
  ownAddresses,
  prohibition,
} from './addresses.ts'
import type { IkeSa } from './ike-sa.ts'
import { AnnounceAddresses, ReturnRoutability, UpdateAddresses } from './mobike-exchanges.ts'
import { findNotify, notify } from './notify.ts'
import { choosePlan } from './plan.ts'

/** MOBIKE, RFC 4555: outer addresses change, the IKE SA and its Child SAs stay. */

/** The request under way goes over all address pairs from this try on: until then a lost datagram explains the silence. */
const PROBE_AFTER = 2
/** RFC 4555 §3.9: a single altered packet must not close a path. */
const NAT_TRIES = 3
/** RFC 4555 §3.7. */
const COOKIE2 = { least: 8, most: 64 } as const

/** What one IKE SA, and those that replace it, know of their addresses. */
export class Mobility {
  /** Both ends do MOBIKE. */
  enabled = false
  /** This host initiated the first IKE SA of the line: it alone decides which addresses are used, RFC 4555 §3.1. */
  decides = false
  /** Where the peer says it can be reached, the address its messages come from first. */
  peerAddresses: readonly Address[] = []
  /** Where ESP goes while that is not where IKE goes: to an address not verified yet it does not, RFC 4555 §3.7. */
  carried: Flow | undefined
  /** The last flow the peer accepted, while another one is being agreed on. */
  #accepted: Flow | undefined
  /** Flows over which the request under way was sent beside the usual one. */
  #probed: readonly Flow[] = []
  #refused: Set<string> | undefined
  #natTries = 0
  #mapping: string | undefined
  #announced = ''

  start(sa: IkeSa, decides: boolean, message: IncomingMessage): void {
    this.enabled = true
    this.decides = decides
    this.peerAddresses = listedAddresses(message)
    sa.learn('mobike', true, `MOBIKE_SUPPORTED from ${showEndpoint(message.flow.remote)}`)
  }

  /** Own addresses as the peer is told them; remembered, so that they are told again only when they have changed. */
  announce(sa: IkeSa, inAuth = false): Payload[] {
    this.#announced = ownAddresses(sa).join()
    const list = additionalPayloads(sa)
    return list.length > 0 || inAuth ? list : [notify(NotifyType.NO_ADDITIONAL_ADDRESSES)]
  }

  /** The peer's list has replaced the one before, RFC 4555 §3.6. */
  listed(sa: IkeSa, message: IncomingMessage, now: number): void {
    this.peerAddresses = listedAddresses(message)
    // the address in use is not among them any more: the one the message came from is
    if (this.decides && !this.peerAddresses.includes(sa.flow.remote.address)) this.migrate(sa, message.flow, now)
  }

  // ------------------------------------------------------------------ the end that decides

  /**
   * Local addresses, or the routes to the peer, may have changed.
   * @param sources - for addresses of the peer, the local address the system sends from
   */
  relocate(sa: IkeSa, sources: ReadonlyMap<Address, Address>, now: number): void {
    if (!this.enabled || sa.state !== 'established') return
    const { local, remote } = sa.flow
    const own = ownAddresses(sa)
    const there = own.includes(local.address)
    // a relay's address is no choice of the system's: the path that found it says when to leave it
    const wanted = isSystems(sa, local.address) ? sources.get(remote.address) : undefined
    if (!there || (this.decides && wanted !== undefined && wanted !== local.address)) {
      const flow = [remote.address, ...this.peerAddresses]
        .map(address => addressFlow(sa, sources.get(address), address))
        .find(candidate => candidate !== undefined)
      if (flow !== undefined && this.decides) return this.migrate(sa, flow, now)
      // RFC 4555 §3.5: the one change the other end may make by itself
      if (flow !== undefined && flow.remote.address === remote.address) this.#go(sa, flow, now)
    }
    if (own.join() !== this.#announced && !sa.pending(AnnounceAddresses)) sa.enqueue(new AnnounceAddresses(), now)
  }

  /** Goes on from, or to, another address and tells the peer, RFC 4555 §3.5. */
  migrate(sa: IkeSa, flow: Flow, now: number): void {
    if (sameFlow(flow, sa.flow)) return
    this.#accepted ??= sa.flow
    this.#go(sa, flow, now)
    this.update(sa, now)
  }

  #go(sa: IkeSa, flow: Flow, now: number): void {
    const before = sa.carrying
    this.#probed = []
    if (flow.remote.address === before.remote.address) {
      this.carried = undefined
      sa.move(flow)
    } else {
      // ESP waits until the peer has answered there: a list of addresses proves nothing, RFC 4555 §3.7
      this.carried = this.decides ? before : { ...before, local: flow.local }
      sa.flow = flow
    }
    sa.host.observe(sa)
    // outstanding requests first, from the new address
    const again = sa.session.anew(now)
    if (again !== undefined) sa.transmit(again, flow, now)
  }

  update(sa: IkeSa, now: number): void {
    if (!sa.pending(UpdateAddresses)) sa.enqueue(new UpdateAddresses(), now)
  }

  /** The peer uses the new addresses: perhaps a NAT has come or gone. */
  updated(sa: IkeSa, now: number): void {
    this.#accepted = undefined
    this.#refused = undefined
    this.#natTries = 0
    this.#mapping = knownFact(sa.facts, 'natMapping')
    const moved = this.carried !== undefined
    this.carried = undefined
    this.#replan(sa, now)
    if (moved) sa.effect({ type: 'moved', flow: sa.flow })
  }

  /** @throws PeerError PEER_ADDRESSES when nothing is left to try */
  refused(sa: IkeSa, why: 'nat' | 'unacceptable', now: number): void {
    if (why === 'nat' && ++this.#natTries < NAT_TRIES) return this.update(sa, now)
    this.#natTries = 0
    const refused = this.#refused ?? new Set()
    this.#refused = refused.add(pairKey(sa.flow))
    const own = ownAddresses(sa)
    const next = [...(this.#accepted === undefined ? [] : [this.#accepted]), ...addressPairs(sa, this.peerAddresses)]
    const flow = next.find(
      ({ local, remote }) => own.includes(local.address) && !refused.has(pairKey({ local, remote })),
    )
    if (flow === undefined) throw new PeerError('PEER_ADDRESSES', 'the peer accepts none of the addresses')
    this.migrate(sa, flow, now)
  }

  /** Where a retransmission goes. */
  ways(sa: IkeSa): readonly Flow[] {
    if (!this.enabled || !this.decides || sa.state !== 'established' || sa.session.retries < PROBE_AFTER)
      return [sa.flow]
    this.#probed = addressPairs(sa, this.peerAddresses)
    return [sa.flow, ...this.#probed]
  }

  /** True when an answer on this flow shows that another pair of addresses works than the one in use. */
  probed(sa: IkeSa, flow: Flow): boolean {
    return !sameFlow(flow, sa.flow) && this.#probed.some(other => sameFlow(other, flow))
  }

  /** A response was processed. */
  answered(sa: IkeSa, flow: Flow, now: number): void {
    if (sa.state === 'established' && this.probed(sa, flow)) this.migrate(sa, flow, now)
    this.#probed = []
  }

  /** True when this host should look now and then whether the NAT in front of it still maps as before, RFC 4555 §3.8. */
  watchesMapping(sa: IkeSa): boolean {
    return this.enabled && this.decides && knownFact(sa.facts, 'localBehindNat') === true
  }

  /** The peer has answered a liveness check, in which it said where it sees this host. */
  compareMapping(sa: IkeSa, now: number): void {
    const mapping = knownFact(sa.facts, 'natMapping')
    if (this.watchesMapping(sa) && this.#mapping !== undefined && mapping !== this.#mapping) this.update(sa, now)
    this.#mapping = mapping
  }

  // ------------------------------------------------------------------ the other end

  /** The peer sends from new addresses now. @returns whether they are acceptable */
  moved(sa: IkeSa, flow: Flow, now: number): boolean {
    const first = Object.values(sa.settings!.children)[0]
    const { path, mode } = sa.plan!
    const { plan } = sa.host.plan(sa.settings!, first, sa.facts, { path, mode })
    if (plan === undefined || sa.host.encap(plan.encap).espFlow(flow, sa.host.locals()) === undefined) return false
    const before = sa.carrying
    // IKE goes there at once, ESP when the peer has shown that it receives there
    this.carried = before
    sa.flow = flow
    sa.host.observe(sa)
    if (flow.remote.address === before.remote.address) this.verified(sa, now)
    else if (!sa.pending(ReturnRoutability)) sa.defer(new ReturnRoutability())
    return true
  }

  verified(sa: IkeSa, now: number): void {
    this.carried = undefined
    this.#replan(sa, now)
    sa.effect({ type: 'moved', flow: sa.flow })
  }

  /** No answer from an address the peer claimed: it may still be at the one before. @returns false: it is gone */
  fallBack(sa: IkeSa, now: number): boolean {
    if (!(sa.current instanceof ReturnRoutability) || this.carried === undefined) return false
    sa.flow = this.carried
    this.carried = undefined
    sa.host.observe(sa)
    sa.transmit(sa.session.anew(now)!, sa.flow, now)
    return true
  }

  /** An authenticated ESP packet came from elsewhere: ESP follows, IKE does not, RFC 4555 §3.8. */
  espMoved(sa: IkeSa, { remote }: Flow): void {
    this.carried = { ...sa.flow, remote }
  }

  #replan(sa: IkeSa, now: number): void {
    const before = sa.plan!
    choosePlan(sa, { path: before.path, mode: before.mode })
    const { encap } = sa.plan!
    sa.armKeepalive(now)
    if (encap === before.encap) return
    for (const child of sa.children.values()) child.plan = { ...child.plan, encap }
    const flow = this.decides ? sa.host.encap(encap).ikeFlow(sa.flow, sa.host.locals()) : sa.flow
    if (sameFlow(flow, sa.flow)) sa.effect({ type: 'moved', flow })
    else this.migrate(sa, flow, now)
  }
}

const pairKey = ({ local, remote }: Pick<Flow, 'local' | 'remote'>): string => `${local.address} ${remote.address}`

// ------------------------------------------------------------------ messages

/**
 * Transport mode stands and falls with the outer addresses, so it goes without; over TCP a new connection says where the
 * peer is.
 */
function usable(sa: IkeSa): boolean {
  if (sa.flow.protocol !== IpProtocol.UDP) return false
  return sa.settings!.mobike && sa.host.mode(sa.plan!.mode)?.substitutes !== true
}

/** For the IKE_AUTH request, RFC 4555 §3.3. */
export const offerMobike = (sa: IkeSa): Payload[] =>
  usable(sa) ? [notify(NotifyType.MOBIKE_SUPPORTED), ...sa.mobility.announce(sa, true), ...prohibition(sa)] : []

/** The IKE_AUTH response. */
export function acceptMobike(sa: IkeSa, message: IncomingMessage): void {
  if (usable(sa) && findNotify(message.payloads, NotifyType.MOBIKE_SUPPORTED) !== undefined)
    sa.mobility.start(sa, true, message)
}

/**
 * For the IKE_AUTH response.
 * @throws PeerError PEER_NAT when the peer allows no NAT and there is one
 */
export function answerMobike(sa: IkeSa, request: IncomingMessage): Payload[] {
  if (findNotify(request.payloads, NotifyType.MOBIKE_SUPPORTED) === undefined || !usable(sa)) return []
  if (natFound(request))
    throw new PeerError('PEER_NAT', 'the peer allows no NAT, and there is one', NotifyType.UNEXPECTED_NAT_DETECTED)
  sa.mobility.start(sa, false, request)
  return [notify(NotifyType.MOBIKE_SUPPORTED), ...sa.mobility.announce(sa, true)]
}

/** What an INFORMATIONAL request says of addresses, carried out and answered. */
export function respondMobike(sa: IkeSa, request: IncomingMessage, now: number): Payload[] {
  const { mobility } = sa
  if (!mobility.enabled) return []
  const { payloads, flow } = request
  if (natFound(request)) return [notify(NotifyType.UNEXPECTED_NAT_DETECTED)]
  const answer: Payload[] = []
  const cookie = findNotify(payloads, NotifyType.COOKIE2)?.data
  if (cookie !== undefined && cookie.length >= COOKIE2.least && cookie.length <= COOKIE2.most)
    answer.push(notify(NotifyType.COOKIE2, cookie))
  if (ADDITIONAL.some(type => findNotify(payloads, type) !== undefined)) mobility.listed(sa, request, now)
  const update = findNotify(payloads, NotifyType.UPDATE_SA_ADDRESSES) !== undefined
  if (!update || mobility.decides) return answer
  if (!mobility.moved(sa, flow, now)) answer.push(notify(NotifyType.UNACCEPTABLE_ADDRESSES))
  else if (!mobility.peerAddresses.includes(flow.remote.address))
    mobility.peerAddresses = [flow.remote.address, ...mobility.peerAddresses].slice(0, MAX_ADDRESSES)
  return answer
}

const ADDITIONAL = [
  NotifyType.ADDITIONAL_IP4_ADDRESS,
  NotifyType.ADDITIONAL_IP6_ADDRESS,
  NotifyType.NO_ADDITIONAL_ADDRESSES,
] as const

/**
 * Where IKE_AUTH is sent: as the encapsulation of the plan says, or with MOBIKE to 4500 even without a NAT, since the
 * next network may have one (RFC 4555 §3.3).
 */
export function floated(sa: IkeSa): Flow {
  const { host, plan, flow, facts, settings } = sa
  const planned = host.encap(plan!.encap).ikeFlow(flow, host.locals())
  if (!sameFlow(planned, flow) || !usable(sa) || settings!.encapsulation === 'never') return planned
  if (knownFact(facts, 'peerNatTraversal') !== true) return planned
  for (const encap of host.encaps()) {
    if (!encap.assess(facts, { ...plan!, encap: encap.name }).usable) continue
    const other = encap.ikeFlow(flow, host.locals())
    if (other.protocol === flow.protocol && !sameFlow(other, flow)) return other
  }
  return planned
}
