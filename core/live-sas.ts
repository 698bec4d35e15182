import type { Children } from './children.ts'
import { type Flow, showEndpoint } from './contracts/net.ts'
import type { ChildSettings } from './contracts/settings.ts'
import type { Host } from './host.ts'
import { ChildExchange } from './ike/create-child.ts'
import type { ChildSa, IkeEffect } from './ike/host.ts'
import { showIdentity } from './ike/identity.ts'
import { IkeSa } from './ike/ike-sa.ts'
import { DeleteChild, DeleteIke } from './ike/informational.ts'
import { Init } from './ike/init.ts'
import { showProposal } from './ike/proposal.ts'
import { freshSpi } from './ike/rekey-ike.ts'
import { ikev2 } from './ike/respond.ts'
import { Resume } from './ike/resume.ts'
import { TicketExchange } from './ike/resumption.ts'
import { espProposal, suiteProposal } from './ike/selection.ts'
import type { IntegrityWatch } from './integrity-watch.ts'
import type { Peer } from './peer.ts'
import type { Rim } from './rim.ts'
import { SaTable } from './sa-table.ts'
import type { Services } from './services.ts'
import { standIn, verdicts } from './unique.ts'

/** How long an SA that its peer will delete, if it renews it, stands beside the new one. */
const LATER_MS = 10_000
/**
 * How long a Child SA that stands in for another waits for a packet of the peer before it sends: longer than it takes a peer
 * whose answer was lost to ask again.
 */
const OVERLAP_MS = 5_000
/** Pause before authentication is tried anew again. */
const REAUTH_AGAIN_MS = 60_000

export interface LiveSasParts {
  readonly rim: Rim
  readonly host: Host
  readonly children: Children
  readonly watch: IntegrityWatch
  readonly services: Services
  readonly peers: ReadonlyMap<string, Peer>
  /** A Child SA stands. */
  readonly ready: (peer: string, child: ChildSa, now: number) => void
  /** The peer of an SA that stands does not answer. */
  readonly silent: (sa: IkeSa, now: number) => void
  /** An attempt to replace an SA has come to nothing. @returns whether something else is tried */
  readonly retried: (peer: Peer, code: string, why: string, now: number) => boolean
  /** An attempt of this host has come to nothing. */
  readonly failed: (peer: Peer, code: string, why: string, now: number) => void
}

/** How an IKE SA begins. */
interface Beginning {
  /** Children to make; those of the configuration unless told. */
  readonly wanted?: readonly ChildSettings[]
  /** The SA it takes over from. */
  readonly renews?: IkeSa
  /** The path strategy that found the flow. */
  readonly path?: string | undefined
  /** How often IKE_SA_INIT is sent again. */
  readonly tries?: number
  /** By a ticket, where there is one. */
  readonly resume?: boolean
}

/** All IKE SAs of one build, and what becomes of their effects: datagrams, Child SAs in data planes, events. */
export class LiveSas {
  readonly table = new SaTable()
  readonly #parts: LiveSasParts
  /** What is done in place of resuming a session that could not be resumed. */
  readonly #otherwise = new WeakMap<IkeSa, (now: number) => void>()

  constructor(parts: LiveSasParts) {
    this.#parts = parts
  }

  /** Does what the SA wants done; to be called after anything happened to it. */
  carryOut(sa: IkeSa, now: number): void {
    for (const effect of sa.take()) this.#effect(sa, effect, now)
    // a deadline that passed meanwhile comes up in the next timeout, not again in this one
    this.table.reschedule(sa)
    this.#parts.services.drain(now)
  }

  timeout(now: number): void {
    for (let sa = this.table.takeDue(now); sa !== undefined; sa = this.table.takeDue(now)) {
      sa.timeout(now)
      this.carryOut(sa, now)
    }
  }

  /** Ends an SA in an orderly way: the answer to its DELETE comes as an event. */
  end(sa: IkeSa, why: string, now: number): void {
    if (sa.state === 'established') sa.enqueue(new DeleteIke(why), now)
    else if (sa.state === 'connecting') sa.close('OK', why, now)
    this.carryOut(sa, now)
  }

  /** IKE, or ESP alone, goes another way now. */
  moved(sa: IkeSa, flow: Flow, now: number): void {
    const { rim, host, children, services } = this.#parts
    children.follow(sa, host)
    if (sa.state !== 'established') return
    rim.event(sa.peer!, { type: 'moved', remote: showEndpoint(flow.remote), local: showEndpoint(flow.local) }, now)
    services.moved(sa, now)
  }

  #effect(sa: IkeSa, effect: IkeEffect, now: number): void {
    const { rim, children, watch } = this.#parts
    const name = sa.peer ?? ''
    switch (effect.type) {
      case 'transmit':
        return rim.sendIke(effect.bytes, effect.flow)
      case 'keepalive':
        return rim.send(effect.bytes, effect.flow)
      case 'message': {
        const { direction, summary, flow } = effect
        const [from, to] = direction === 'out' ? [flow.local, flow.remote] : [flow.remote, flow.local]
        const ends = { from: showEndpoint(from), to: showEndpoint(to) }
        return rim.event(name, { type: 'message', direction, summary, ...ends }, now)
      }
      case 'fact':
        return rim.event(name, { type: 'fact', name: effect.name, value: effect.value, source: effect.source }, now)
      case 'plan':
        return rim.event(name, { type: 'plan', plan: effect.plan, why: effect.why }, now)
      case 'established':
        return this.#established(sa, effect.contact, now)
      case 'child-up':
        return this.#install(sa, effect.child, effect.outbound, effect.replaces, now)
      case 'activate':
        return children.activate(effect.child)
      case 'retire':
        watch.forget(effect.child)
        return children.retire(effect.child, now)
      case 'child-down': {
        const { id, settings } = effect.child
        this.#remove(sa, effect.child, now)
        watch.forget(effect.child)
        rim.event(name, { type: 'child-down', child: settings.name, id, why: effect.why }, now)
        return rim.deviceChanged()
      }
      case 'child-failed':
        return rim.event(name, { type: 'child-failed', child: effect.name, code: effect.code, why: effect.why }, now)
      case 'moved':
        return this.moved(sa, effect.flow, now)
      case 'addresses':
        return rim.deviceChanged()
      case 'ticket':
        return this.#parts.peers.get(name)!.keepTicket(effect.ticket)
      case 'child-rekeyed': {
        const { id, settings } = effect.child
        return rim.event(name, { type: 'child-rekeyed', child: settings.name, id, previous: effect.replaces.id }, now)
      }
      case 'also':
        this.table.add(effect.sa)
        return this.carryOut(effect.sa, now)
      case 'reauth':
        return this.#reauth(sa, now)
      case 'renewed':
        rim.event(name, { type: 'reauthenticated' }, now)
        return this.end(effect.old, 'authenticated anew', now)
      case 'rekeyed':
        return this.#rekeyed(sa, effect.successor, now)
      case 'rekey-failed':
        return rim.event(name, { type: 'rekey-failed', code: effect.code, why: effect.why }, now)
      case 'closed':
        return this.#closed(sa, effect.code, effect.why, now)
      case 'silent':
        return this.#parts.silent(sa, now)
      case 'forgotten':
        return this.table.delete(sa)
      case 'keys':
        return rim.event(name, { type: 'keys', line: effect.line }, now)
      case 'drop':
        return rim.drop(effect.reason)
    }
  }

  #established(sa: IkeSa, contact: boolean, now: number): void {
    this.table.leaveHalfOpen(sa)
    const peer = this.#parts.peers.get(sa.peer!)!
    peer.stands(sa)
    peer.succeeded()
    const suite = showProposal(suiteProposal(sa.channel!.suite))
    const how = { suite, remoteId: showIdentity(sa.remoteId), ...(sa.resumption && { resumed: true as const }) }
    this.#parts.rim.event(sa.peer!, { type: 'established', ...how }, now)
    for (const { sa: other, fate, why } of verdicts(peer, sa, contact)) {
      if (fate === 'end') this.end(other, why, now)
      else if (fate === 'forget') other.close('OK', why, now)
      else other.endLater(now + LATER_MS, why)
      if (other !== sa) this.carryOut(other, now)
    }
    this.#parts.services.up(sa, now)
  }

  #install(
    sa: IkeSa,
    child: ChildSa,
    outbound: boolean,
    replaces: ChildSa | 'redundant' | undefined,
    now: number,
  ): void {
    const { rim, host, children, peers, ready } = this.#parts
    const name = child.settings.name
    const old = child.initiator || !outbound ? undefined : standIn(peers.get(sa.peer!)!, sa, child)
    const refusal = children.install(sa, child, outbound && old === undefined, host, now)
    if (refusal !== undefined) {
      sa.enqueue(new DeleteChild(child, refusal.why), now)
      return rim.event(sa.peer!, { type: 'child-failed', child: name, ...refusal }, now)
    }
    // the answer that gives the peer the keys may be lost: it is sent on when the peer does, or at latest soon
    if (old !== undefined) children.activateAt(child, now + OVERLAP_MS)
    const suite = showProposal(espProposal(child.suite))
    const up = { child: name, id: child.id }
    if (replaces === undefined) rim.event(sa.peer!, { type: 'child-up', ...up, plan: child.plan, suite }, now)
    else if (replaces !== 'redundant') rim.event(sa.peer!, { type: 'child-rekeyed', ...up, previous: replaces.id }, now)
    sa.armKeepalive(now)
    rim.deviceChanged()
    ready(sa.peer!, child, now)
  }

  /** Removes a Child SA; where another one carries the same traffic, that takes over, and this one receives a little longer. */
  #remove(sa: IkeSa, child: ChildSa, now: number): void {
    const { children, peers } = this.#parts
    const peer = peers.get(sa.peer ?? '')
    const other = peer === undefined ? undefined : standIn(peer, sa, child)
    if (other === undefined) return children.remove(child)
    child.successor = other
    children.retire(child, now)
  }

  #reauth(sa: IkeSa, now: number): void {
    if (!sa.initiated) return this.end(sa, 'the peer has not authenticated anew in time', now)
    const names = new Set([...sa.children.values()].map(child => child.settings.name))
    const wanted = Object.values(sa.settings!.children).filter(child => names.has(child.name))
    this.initiate(this.#parts.peers.get(sa.peer!)!, sa.flow, now, { wanted, renews: sa })
  }

  /** Starts making an IKE SA with a peer; what comes of it are events. */
  initiate(
    peer: Peer,
    flow: Flow,
    now: number,
    { wanted, renews, path = renews?.plan?.path, tries, resume = false }: Beginning = {},
  ): void {
    const { host } = this.#parts
    const initiatorSpi = freshSpi(host)
    const first = { own: 0, peer: 0 }
    const sa = new IkeSa({ host, behaviour: ikev2, initiator: true, initiatorSpi, responderSpi: 0n, flow, now, first })
    sa.settings = peer.settings
    sa.facts = peer.facts
    sa.wanted = wanted ?? acquired(peer)
    sa.renews = renews
    sa.redirectedFrom = peer.redirected?.from
    sa.path = path
    if (tries !== undefined) sa.session.hasten(tries)
    host.observe(sa)
    peer.sas.push(sa)
    this.table.add(sa)
    const ticket = resume ? peer.ticket(now) : undefined
    if (ticket === undefined) new Init(sa, now)
    else {
      const rest = { ...(sa.wanted && { wanted: sa.wanted }), ...(renews && { renews }), ...(tries && { tries }), path }
      this.#otherwise.set(sa, at => this.initiate(peer, flow, at, rest))
      new Resume(sa, ticket, now)
    }
    this.carryOut(sa, now)
  }

  /** The SA that a ticket was to bring back has ended before it stood: it is negotiated in full, and the ticket goes. */
  #notResumed(peer: Peer, sa: IkeSa, code: string, why: string, now: number): boolean {
    const otherwise = this.#otherwise.get(sa)
    if (otherwise === undefined || sa.establishedAt !== Infinity || code === 'OK') return false
    // one that got no answer is good as before: perhaps the peer is away, and comes back
    if (code !== 'PEER_UNREACHABLE') peer.keepTicket(undefined)
    const text = `the session could not be resumed: ${why}; negotiating in full`
    this.#parts.rim.event(peer.settings.name, { type: 'progress', step: 'not-resumed', text }, now)
    otherwise(now)
    return true
  }

  #rekeyed(sa: IkeSa, successor: IkeSa, now: number): void {
    const { rim, host, children, peers, services } = this.#parts
    this.table.add(successor)
    services.rekeyed(successor)
    // the request that rekeyed may have come from a new place, when the children were already on their way here
    children.follow(successor, host)
    const peer = peers.get(sa.peer!)!
    peer.stands(successor)
    rim.event(sa.peer!, { type: 'rekeyed' }, now)
    if (peer.ticket(now)?.line === sa.line) {
      // it is one for the keys of before, RFC 5723 §6.2
      peer.keepTicket(undefined)
      successor.later(new TicketExchange(), now)
    }
    this.carryOut(successor, now)
  }

  #closed(sa: IkeSa, code: string, why: string, now: number): void {
    const { rim, peers, services } = this.#parts
    const peer = peers.get(sa.peer ?? '')
    if (peer === undefined)
      return rim.event('', { type: 'failed', code, why: `${showEndpoint(sa.flow.remote)}: ${why}` }, now)
    peer.remove(sa)
    services.down(sa, why, now)
    if (sa.successor !== undefined || sa.provisional) return
    if (peer.ticket(now)?.line === sa.line && (code === 'OK' || code === 'PEER_AUTH_FAILED')) peer.keepTicket(undefined)
    if (sa.redirect !== undefined && peer.wanted) return this.#redirected(peer, sa.redirect, now)
    if (this.#notResumed(peer, sa, code, why, now)) return
    if (sa.renews !== undefined && sa.renews === peer.round?.renews) {
      if (this.#parts.retried(peer, code, why, now) || sa.renews.state === 'established') return
    } else if (sa.renews?.state === 'established') return this.#notRenewed(sa.renews, code, why, now)
    const wasUp = sa.establishedAt !== Infinity
    const { current } = peer
    // somebody else's attempt that failed says nothing of what stands
    if (current !== undefined && !wasUp && !sa.initiated)
      return rim.event('', { type: 'failed', code, why: `${showEndpoint(sa.flow.remote)}: ${why}` }, now)
    if (current !== undefined && (!wasUp || current.state === 'established')) return this.#standsOn(peer, now)
    if (wasUp || !sa.initiated) {
      if (code === 'OK' && !peer.wanted) peer.lastError = undefined
      else peer.failed(why, now)
      rim.event(sa.peer!, wasUp ? { type: 'down', code, why } : { type: 'failed', code, why }, now)
      if (!wasUp) services.tell({ type: 'connect-failed', peer: sa.peer!, code, why }, now)
    } else this.#parts.failed(peer, code, why, now)
    rim.deviceChanged()
  }

  #redirected(peer: Peer, to: string, now: number): void {
    const { name } = peer.settings
    if (peer.redirect(to, now)) return this.#parts.rim.event(name, { type: 'redirected', to }, now)
    const why = `gateways redirect in circles, last to ${to}`
    peer.failed(why, now)
    this.#parts.rim.event(name, { type: 'failed', code: 'PEER_REDIRECT', why }, now)
  }

  /** The old one is as good as it was until its peer ends it. */
  #notRenewed(old: IkeSa, code: string, why: string, now: number): void {
    old.reauthAt = now + REAUTH_AGAIN_MS
    this.#parts.rim.event(old.peer!, { type: 'reauth-failed', code, why }, now)
    this.carryOut(old, now)
  }

  /** One of several SAs has gone: what it had and is wanted is made on the one that stays. */
  #standsOn(peer: Peer, now: number): void {
    const { current } = peer
    if (peer.wanted && current?.state === 'established') this.complete(current, now)
  }

  /** Negotiates the Child SAs that are wanted and not there. */
  complete(sa: IkeSa, now: number): void {
    const there = new Set([...sa.children.values()].map(child => child.settings.name))
    if (!sa.pending(ChildExchange))
      for (const child of Object.values(sa.settings!.children))
        if (child.start === 'connect' && !there.has(child.name)) sa.enqueue(new ChildExchange(child), now)
    this.carryOut(sa, now)
  }
}

/** What traffic asked for, beside what is made in any case; undefined where nothing was asked for. */
function acquired({ settings, acquired: names }: Peer): readonly ChildSettings[] | undefined {
  if (names.size === 0) return undefined
  const wanted = Object.values(settings.children).filter(c => c.start === 'connect' || names.has(c.name))
  names.clear()
  return wanted
}
