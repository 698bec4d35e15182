import type { Children } from './children.ts'
import { type Flow, showEndpoint } from './contracts/net.ts'
import type { Host } from './host.ts'
import type { ChildSa, IkeEffect } from './ike/host.ts'
import { sameIdentity, showIdentity } from './ike/identity.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { DeleteChild, DeleteIke } from './ike/informational.ts'
import { showProposal } from './ike/proposal.ts'
import { espProposal, suiteProposal } from './ike/selection.ts'
import type { IntegrityWatch } from './integrity-watch.ts'
import type { Peer } from './peer.ts'
import type { Rim } from './rim.ts'
import { SaTable } from './sa-table.ts'
import type { Services } from './services.ts'

export interface LiveSasParts {
  readonly rim: Rim
  readonly host: Host
  readonly children: Children
  readonly watch: IntegrityWatch
  readonly services: Services
  readonly peers: ReadonlyMap<string, Peer>
  /** A Child SA of this name sends now. */
  readonly ready: (peer: string, child: string, now: number) => void
}

/** All IKE SAs of one build, and what becomes of their effects: datagrams, Child SAs in data planes, events. */
export class LiveSas {
  readonly table = new SaTable()
  readonly #parts: LiveSasParts

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
        children.remove(effect.child)
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
      case 'child-rekeyed': {
        const { id, settings } = effect.child
        return rim.event(name, { type: 'child-rekeyed', child: settings.name, id, previous: effect.replaces.id }, now)
      }
      case 'also':
        this.table.add(effect.sa)
        return this.carryOut(effect.sa, now)
      case 'rekeyed':
        return this.#rekeyed(sa, effect.successor, now)
      case 'rekey-failed':
        return rim.event(name, { type: 'rekey-failed', code: effect.code, why: effect.why }, now)
      case 'closed':
        return this.#closed(sa, effect.code, effect.why, now)
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
    if (!peer.sas.includes(sa)) peer.sas.push(sa)
    peer.succeeded()
    const suite = showProposal(suiteProposal(sa.channel!.suite))
    this.#parts.rim.event(sa.peer!, { type: 'established', suite, remoteId: showIdentity(sa.remoteId) }, now)
    for (const other of [...peer.sas]) {
      if (other === sa || other.remoteId === undefined || !sameIdentity(other.remoteId, sa.remoteId!)) continue
      // INITIAL_CONTACT: the peer has lost the old one, telling it would be talking to nobody
      if (contact) other.close('OK', 'the peer has started anew', now)
      else if (peer.settings.unique === 'replace' && other.createdAt < sa.createdAt) this.end(other, 'replaced', now)
      this.carryOut(other, now)
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
    const { rim, host, children, ready } = this.#parts
    const name = child.settings.name
    const refusal = children.install(sa, child, outbound, host, now)
    if (refusal !== undefined) {
      sa.enqueue(new DeleteChild(child, refusal.why), now)
      return rim.event(sa.peer!, { type: 'child-failed', child: name, ...refusal }, now)
    }
    const suite = showProposal(espProposal(child.suite))
    const up = { child: name, id: child.id }
    if (replaces === undefined) rim.event(sa.peer!, { type: 'child-up', ...up, plan: child.plan, suite }, now)
    else if (replaces !== 'redundant') rim.event(sa.peer!, { type: 'child-rekeyed', ...up, previous: replaces.id }, now)
    sa.armKeepalive(now)
    rim.deviceChanged()
    ready(sa.peer!, name, now)
  }

  #rekeyed(sa: IkeSa, successor: IkeSa, now: number): void {
    const { rim, host, children, peers, services } = this.#parts
    this.table.add(successor)
    services.rekeyed(successor)
    // the request that rekeyed may have come from a new place, when the children were already on their way here
    children.follow(successor, host)
    peers.get(sa.peer!)!.sas.push(successor)
    rim.event(sa.peer!, { type: 'rekeyed' }, now)
    this.carryOut(successor, now)
  }

  #closed(sa: IkeSa, code: string, why: string, now: number): void {
    const { rim, peers, services } = this.#parts
    this.table.leaveHalfOpen(sa)
    const peer = peers.get(sa.peer ?? '')
    if (peer === undefined)
      return rim.event('', { type: 'failed', code, why: `${showEndpoint(sa.flow.remote)}: ${why}` }, now)
    peer.remove(sa)
    services.down(sa, why, now)
    if (sa.successor !== undefined || sa.provisional || peer.current !== undefined) return
    const wasUp = sa.remoteId !== undefined
    if (code === 'OK' && !peer.wanted) peer.lastError = undefined
    else peer.failed(why, now)
    rim.event(sa.peer!, wasUp ? { type: 'down', code, why } : { type: 'failed', code, why }, now)
    if (!wasUp) services.tell({ type: 'connect-failed', peer: sa.peer!, code, why }, now)
    rim.deviceChanged()
  }
}
