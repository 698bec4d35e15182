import { Children } from './children.ts'
import type { CryptoProvider } from './contracts/crypto.ts'
import type { ChildCounters, DataPlane, PlaneEvent } from './contracts/data-plane.ts'
import type { Fact, Facts } from './contracts/facts.ts'
import type { Rng } from './contracts/machine.ts'
import type { NatDetector } from './contracts/nat-detector.ts'
import type { JudgedPlan, NatweaveEvent } from './contracts/natweave.ts'
import { type Address, type Endpoint, type Flow, showEndpoint } from './contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet } from './contracts/packet.ts'
import type { ChildSettings, PeerSettings, Settings } from './contracts/settings.ts'
import { DEFAULT_GUARD } from './contracts/settings.ts'
import type { Strategy } from './contracts/strategy.ts'
import type { LocalEndpoint } from './contracts/transport.ts'
import { UsageError, WireError } from './errors.ts'
import { Host } from './host.ts'
import { ChildExchange } from './ike/create-child.ts'
import type { ChildSa, IkeEffect } from './ike/host.ts'
import { sameIdentity, showIdentity } from './ike/identity.ts'
import { IkeSa } from './ike/ike-sa.ts'
import { DeleteChild, DeleteIke } from './ike/informational.ts'
import { Init } from './ike/init.ts'
import { notify } from './ike/notify.ts'
import { planFor } from './ike/plan.ts'
import { showProposal } from './ike/proposal.ts'
import { freshSpi, RekeyIke } from './ike/rekey-ike.ts'
import { ikev2 } from './ike/respond.ts'
import { Responder } from './ike/responder.ts'
import { espProposal, suiteProposal } from './ike/selection.ts'
import { fromSettings } from './ike/selectors.ts'
import { IntegrityWatch } from './integrity-watch.ts'
import { PortablePlane } from './ipsec/portable-plane.ts'
import { ManualSas } from './manual.ts'
import { Peer } from './peer.ts'
import { SaTable } from './sa-table.ts'
import {
  classifyNatt,
  ExchangeType,
  Flag,
  IKE_PORT,
  type IkeHeader,
  type IkeMessage,
  NON_ESP_MARKER,
  NotifyType,
  parseIke,
  peekIkeHeader,
  serializeIke,
} from './wire/index.ts'

/** What the engine causes, at once and in order. Packets are valid during the call. */
export interface EngineOutlet {
  transmit(packet: Packet, flow: Flow): void
  deliver(packet: Packet): void
  event(event: NatweaveEvent): void
  /** Addresses or routes of the device have to change; `deviceNeeds` tells them. */
  deviceChanged(): void
}

export interface EngineOptions {
  readonly settings: Settings
  readonly strategies: readonly Strategy[]
  readonly detectors: readonly NatDetector[]
  /** Asked in order before the portable plane. */
  readonly planes: readonly DataPlane[]
  readonly crypto: CryptoProvider
  readonly rng: Rng
  readonly outlet: EngineOutlet
  /** Octets of the largest inner packet. */
  readonly mtu: number
}

/**
 * All peers of one build as one sans-IO machine: routes datagrams to IKE SAs and data planes, carries out what they want,
 * and knows when it has to be called next. A peer's own rules are in peer.ts, an IKE SA's in ike/.
 */
export class Engine {
  readonly portable: PortablePlane
  readonly peersByName = new Map<string, Peer>()
  /** Datagrams and packets that belong to nobody, by reason. */
  readonly drops: Record<string, number> = {}
  readonly #settings: Settings
  readonly #host: Host
  readonly #outlet: EngineOutlet
  readonly #responder: Responder
  readonly #sas = new SaTable()
  /** Static SAs of the configuration. */
  readonly manual: ManualSas
  readonly #children: Children
  readonly #watch: IntegrityWatch
  readonly #packet = newPacket()
  /** The packet that asked for a Child SA, sent when that stands; one for each child at most. */
  readonly #kept = new Map<string, Uint8Array>()
  #now = 0
  #started = false

  constructor({ planes, outlet, mtu, ...options }: EngineOptions) {
    const { settings, crypto, rng } = options
    this.#settings = settings
    this.#outlet = outlet
    this.#watch = new IntegrityWatch(settings.guard ?? DEFAULT_GUARD)
    const planeOutlet = {
      transmit: (packet: Packet, flow: Flow) => outlet.transmit(packet, flow),
      deliver: (packet: Packet) => outlet.deliver(packet),
      event: (event: PlaneEvent) => this.#planeEvent(event, this.#now),
    }
    this.portable = new PortablePlane(crypto, rng, planeOutlet, { mtu })
    this.#children = new Children([...planes, this.portable])
    this.#host = new Host(options, {
      counters: child => this.#children.counters(child),
      spiInUse: spi => this.#children.spiInUse(spi) || this.manual.spiInUse(spi),
      sasOf: name => this.peersByName.get(name)?.sas ?? [],
    })
    this.manual = new ManualSas(settings.manual ?? {}, {
      plane: this.portable,
      mode: name => this.#host.mode(name),
      locals: () => this.#host.locals(),
    })
    this.#responder = new Responder(this.#host, ikev2)
    for (const peer of Object.values(settings.peers)) this.peersByName.set(peer.name, new Peer(peer))
  }

  // ------------------------------------------------------------------ what others look at

  locals(): readonly LocalEndpoint[] {
    return this.#host.locals()
  }

  counters(child: ChildSa): ChildCounters | undefined {
    return this.#children.counters(child)
  }

  planeOf(child: ChildSa): DataPlane | undefined {
    return this.#children.planeOf(child)
  }

  judge(peer: PeerSettings, child: ChildSettings, facts: Facts): readonly JudgedPlan[] {
    return this.#host.judge(peer, child, facts)
  }

  // ------------------------------------------------------------------ what the runtime tells

  setLocals(locals: readonly LocalEndpoint[]): void {
    this.#host.setLocals(locals)
    if (this.#started) this.#installManual(this.#now)
  }

  /** Local addresses or routes have changed; `sources`: for the peers' `destinations` the local address to send from. */
  relocate(sources: ReadonlyMap<Address, Address>, now: number): void {
    this.#now = now
    for (const { sas } of this.peersByName.values())
      for (const sa of [...sas]) {
        sa.mobility.relocate(sa, sources, now)
        this.#carryOut(sa, now)
      }
  }

  /** Puts static SAs in place, and the policies of children that wait for traffic. */
  start(now: number): void {
    this.#now = now
    this.#started = true
    this.#installManual(now)
    for (const { settings } of this.peersByName.values())
      for (const child of Object.values(settings.children))
        if (child.start === 'trap') {
          const local = fromSettings(child.localTs, [])
          const remote = fromSettings(child.remoteTs, [])
          if (remote.length > 0) this.portable.trap(settings.name, child.name, local, remote)
        }
    this.#outlet.deviceChanged()
  }

  /** Static SAs whose address is not there yet are tried again when addresses change. */
  #installManual(now: number): void {
    for (const { name, code, why } of this.manual.install(now)) this.event(name, { type: 'failed', code, why }, now)
  }

  /** A datagram from the network. Never throws for what is in it. */
  inbound(packet: Packet, flow: Flow, now: number): void {
    this.#now = now
    if (flow.protocol !== 17) {
      if (!this.portable.inbound(packet, flow, now)) this.#drop('unknown-spi')
      return
    }
    if (flow.local.port === IKE_PORT || flow.remote.port === IKE_PORT) return this.#ike(octets(packet), flow, now)
    switch (classifyNatt(packet.bytes, packet.start, packet.end)) {
      case 'keepalive':
        return
      case 'ike':
        return this.#ike(packet.bytes.subarray(packet.start + NON_ESP_MARKER, packet.end), flow, now)
      case 'esp':
        if (!this.portable.inbound(packet, flow, now)) this.#drop('unknown-spi')
        return
      case 'short':
        return this.#drop('short')
    }
  }

  /** An inner packet from the device. */
  outbound(packet: Packet, now: number): void {
    this.#now = now
    this.portable.outbound(packet, now)
  }

  get deadline(): number {
    let due = Math.min(this.portable.deadline, this.#sas.deadline, this.#children.deadline)
    for (const { path, retryAt } of this.peersByName.values()) due = Math.min(due, retryAt, path?.deadline ?? Infinity)
    return due
  }

  timeout(now: number): void {
    this.#now = now
    this.portable.timeout(now)
    for (let sa = this.#sas.takeDue(now); sa !== undefined; sa = this.#sas.takeDue(now)) {
      sa.timeout(now)
      this.#carryOut(sa, now)
    }
    for (const peer of this.peersByName.values()) {
      if (peer.path !== undefined && peer.path.deadline <= now) this.#path(peer, { type: 'timeout' }, now)
      if (peer.retryAt > now) continue
      peer.retryAt = Infinity
      this.event(peer.settings.name, { type: 'retry' }, now)
    }
    this.#children.timeout(now)
  }

  /**
   * Starts connecting; what comes of it are events.
   * @param remote - resolved address; undefined when only a path strategy can find the peer
   */
  connect(name: string, remote: Endpoint | undefined, source: Address | undefined, now: number): void {
    this.#now = now
    const peer = this.#peer(name)
    peer.wanted = true
    if (peer.state === 'established') return this.#complete(peer.current!, now)
    if (peer.state === 'connecting') return
    const { settings } = peer
    const facts: Record<string, Fact> = { ...peer.facts }
    if (settings.encapsulation === 'force')
      facts['forceEncapsulation'] = { value: true, source: `peers.${name}.encapsulation`, at: now }
    peer.facts = facts
    const { plan, why } = planFor(this.#host, settings, facts)
    if (plan === undefined) return this.#failed(peer, 'PLAN_NONE', why, now)
    this.event(name, { type: 'connecting', plan }, now)
    peer.path = this.#host.path(plan.path).open({ peer: name, remote, source, locals: this.locals() })
    this.#path(peer, { type: 'start' }, now)
  }

  /** The IKE SA stands; Child SAs that were deleted meanwhile are negotiated again. */
  #complete(sa: IkeSa, now: number): void {
    const there = new Set([...sa.children.values()].map(child => child.settings.name))
    if (!sa.pending(ChildExchange))
      for (const child of Object.values(sa.settings!.children))
        if (child.start === 'connect' && !there.has(child.name)) sa.enqueue(new ChildExchange(child), now)
    this.#carryOut(sa, now)
  }

  /** Deletes all SAs with the peer; the answers to the DELETEs come as events. */
  disconnect(name: string, now: number): void {
    this.#now = now
    const peer = this.#peer(name)
    peer.wanted = false
    peer.retryAt = Infinity
    peer.path = undefined
    for (const sa of [...peer.sas]) this.#end(sa, 'disconnected', now)
  }

  #end(sa: IkeSa, why: string, now: number): void {
    if (sa.state === 'established') sa.enqueue(new DeleteIke(why), now)
    else if (sa.state === 'connecting') sa.close('OK', why, now)
    this.#carryOut(sa, now)
  }

  /** @throws UsageError USAGE_NOT_CONNECTED */
  rekey(name: string, child: string | undefined, now: number): void {
    this.#now = now
    const sa = this.#peer(name).current
    if (sa?.state !== 'established') throw new UsageError('USAGE_NOT_CONNECTED', `${name} is not connected`)
    if (child === undefined) sa.enqueue(new RekeyIke(), now)
    else {
      const old = [...sa.children.values()].findLast(c => c.settings.name === child && c.state === 'installed')
      if (old === undefined) throw new UsageError('USAGE_NOT_CONNECTED', `${name} has no Child SA ${child}`)
      sa.enqueue(new ChildExchange(old.settings, old), now)
    }
    this.#carryOut(sa, now)
  }

  /** @throws UsageError USAGE_PEER_UNKNOWN */
  settingsOf(name: string): PeerSettings {
    return this.#peer(name).settings
  }

  /** The way to the peer could not even be looked for (no such name, no route). */
  unreachable(name: string, code: string, why: string, now: number): void {
    const peer = this.#peer(name)
    peer.wanted = true
    this.#failed(peer, code, why, now)
  }

  countDrop(reason: string): void {
    this.#drop(reason)
  }

  #peer(name: string): Peer {
    const peer = this.peersByName.get(name)
    if (peer !== undefined) return peer
    const known = [...this.peersByName.keys()].join(', ') || 'none'
    throw new UsageError('USAGE_PEER_UNKNOWN', `no peer "${name}" in the configuration; there are: ${known}`)
  }

  // ------------------------------------------------------------------ IKE

  #ike(raw: Uint8Array, flow: Flow, now: number): void {
    const version = peekIkeHeader(raw)
    if (version !== undefined && version.version >>> 4 > 2) return this.#newerVersion(version, flow)
    let message: IkeMessage
    try {
      message = parseIke(raw)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      return this.#drop('ike-malformed')
    }
    const { header } = message
    const sa = this.#sas.find(header, flow)
    if (sa !== undefined) {
      sa.receive(raw, message, flow, now)
      return this.#carryOut(sa, now)
    }
    if (header.exchange !== ExchangeType.IKE_SA_INIT) return this.#drop('ike-unknown-spi')
    const answered = this.#responder.receive(raw, message, flow, this.#sas.halfOpen, now)
    if (answered.drop !== undefined) this.#drop(answered.drop)
    if (answered.why !== undefined)
      this.event(
        '',
        { type: 'failed', code: 'PEER_NO_PROPOSAL', why: `${showEndpoint(flow.remote)}: ${answered.why}` },
        now,
      )
    if (answered.sa !== undefined) {
      this.#sas.addHalfOpen(answered.sa, header, flow)
      this.#carryOut(answered.sa, now)
    }
    if (answered.reply !== undefined) this.#sendIke(answered.reply, flow)
  }

  /** RFC 7296 §2.5: a request of a higher major version is answered with ours, unprotected. */
  #newerVersion({ initiatorSpi, responderSpi, exchange, flags, messageId }: IkeHeader, flow: Flow): void {
    this.#drop('ike-version')
    if ((flags & Flag.RESPONSE) !== 0 || responderSpi !== 0n) return
    const head = { initiatorSpi, responderSpi, exchange, flags: Flag.RESPONSE, messageId }
    this.#sendIke(serializeIke(head, [notify(NotifyType.INVALID_MAJOR_VERSION)]), flow)
  }

  #path(peer: Peer, input: Parameters<NonNullable<Peer['path']>['step']>[0], now: number): void {
    for (const out of peer.path?.step(input, now) ?? []) {
      if (out.type === 'transmit') this.#send(out.bytes, out.flow)
      else if (out.type === 'failed') return this.#failed(peer, 'PATH_FAILED', out.why, now)
      else {
        peer.path = undefined
        this.#initiate(peer, out.flow, now)
      }
    }
  }

  #initiate(peer: Peer, flow: Flow, now: number): void {
    const sa = new IkeSa({
      host: this.#host,
      behaviour: ikev2,
      initiator: true,
      initiatorSpi: freshSpi(this.#host),
      responderSpi: 0n,
      flow,
      now,
      first: { own: 0, peer: 0 },
    })
    sa.settings = peer.settings
    sa.facts = peer.facts
    this.#host.observe(sa)
    peer.sas.push(sa)
    this.#sas.add(sa)
    new Init(sa, now)
    this.#carryOut(sa, now)
  }

  #failed(peer: Peer, code: string, why: string, now: number): void {
    peer.failed(why, now)
    this.event(peer.settings.name, { type: 'failed', code, why }, now)
  }

  #carryOut(sa: IkeSa, now: number): void {
    for (const effect of sa.take()) this.#effect(sa, effect, now)
    // a deadline that passed meanwhile comes up in the next timeout, not again in this one
    this.#sas.reschedule(sa)
  }

  #effect(sa: IkeSa, effect: IkeEffect, now: number): void {
    const name = sa.peer ?? ''
    switch (effect.type) {
      case 'transmit':
        return this.#sendIke(effect.bytes, effect.flow)
      case 'keepalive':
        return this.#send(effect.bytes, effect.flow)
      case 'message': {
        const { direction, summary, flow } = effect
        const [from, to] = direction === 'out' ? [flow.local, flow.remote] : [flow.remote, flow.local]
        const ends = { from: showEndpoint(from), to: showEndpoint(to) }
        return this.event(name, { type: 'message', direction, summary, ...ends }, now)
      }
      case 'fact':
        return this.event(name, { type: 'fact', name: effect.name, value: effect.value, source: effect.source }, now)
      case 'plan':
        return this.event(name, { type: 'plan', plan: effect.plan, why: effect.why }, now)
      case 'established':
        return this.#established(sa, effect.contact, now)
      case 'child-up':
        return this.#install(sa, effect.child, effect.outbound, effect.replaces, now)
      case 'activate':
        return this.#children.activate(effect.child)
      case 'retire':
        this.#watch.forget(effect.child)
        return this.#children.retire(sa, effect.child, now)
      case 'child-down':
        this.#children.remove(effect.child)
        this.#watch.forget(effect.child)
        this.event(
          name,
          { type: 'child-down', child: effect.child.settings.name, id: effect.child.id, why: effect.why },
          now,
        )
        return this.#outlet.deviceChanged()
      case 'child-failed':
        return this.event(name, { type: 'child-failed', child: effect.name, code: effect.code, why: effect.why }, now)
      case 'moved':
        return this.#moved(sa, effect.flow, now)
      case 'addresses':
        return this.#outlet.deviceChanged()
      case 'rekeyed':
        return this.#rekeyed(sa, effect.successor, now)
      case 'rekey-failed':
        return this.event(name, { type: 'rekey-failed', code: effect.code, why: effect.why }, now)
      case 'closed':
        return this.#closed(sa, effect.code, effect.why, now)
      case 'forgotten':
        this.#sas.delete(sa)
        return
      case 'keys':
        return this.event(name, { type: 'keys', line: effect.line }, now)
      case 'drop':
        return this.#drop(effect.reason)
    }
  }

  #established(sa: IkeSa, contact: boolean, now: number): void {
    this.#sas.leaveHalfOpen(sa)
    const peer = this.#peer(sa.peer!)
    if (!peer.sas.includes(sa)) peer.sas.push(sa)
    peer.succeeded()
    const suite = showProposal(suiteProposal(sa.channel!.suite))
    this.event(sa.peer!, { type: 'established', suite, remoteId: showIdentity(sa.remoteId) }, now)
    for (const other of [...peer.sas]) {
      if (other === sa || other.remoteId === undefined || !sameIdentity(other.remoteId, sa.remoteId!)) continue
      // INITIAL_CONTACT: the peer has lost the old one, telling it would be talking to nobody
      if (contact) other.close('OK', 'the peer has started anew', now)
      else if (peer.settings.unique === 'replace' && other.createdAt < sa.createdAt) this.#end(other, 'replaced', now)
      this.#carryOut(other, now)
    }
  }

  #install(sa: IkeSa, child: ChildSa, outbound: boolean, replaces: ChildSa | undefined, now: number): void {
    const name = child.settings.name
    const refusal = this.#children.install(sa, child, outbound, this.#host, now)
    if (refusal !== undefined) {
      sa.enqueue(new DeleteChild(child, refusal.why), now)
      return this.event(sa.peer!, { type: 'child-failed', child: name, ...refusal }, now)
    }
    const suite = showProposal(espProposal(child.suite))
    const up = { child: name, id: child.id }
    if (replaces === undefined) this.event(sa.peer!, { type: 'child-up', ...up, plan: child.plan, suite }, now)
    else this.event(sa.peer!, { type: 'child-rekeyed', ...up, previous: replaces.id }, now)
    sa.armKeepalive(now)
    this.#outlet.deviceChanged()
    const kept = this.#kept.get(`${sa.peer}/${name}`)
    if (kept === undefined) return
    this.#kept.delete(`${sa.peer}/${name}`)
    this.portable.outbound(this.#fill(kept, 0), now)
  }

  #moved(sa: IkeSa, flow: Flow, now: number): void {
    this.#children.follow(sa, this.#host)
    if (sa.state === 'established')
      this.event(sa.peer!, { type: 'moved', remote: showEndpoint(flow.remote), local: showEndpoint(flow.local) }, now)
  }

  #rekeyed(sa: IkeSa, successor: IkeSa, now: number): void {
    this.#sas.add(successor)
    // the request that rekeyed may have come from a new place, when the children were already on their way here
    this.#children.follow(successor, this.#host)
    this.#peer(sa.peer!).sas.push(successor)
    this.event(sa.peer!, { type: 'rekeyed' }, now)
    this.#carryOut(successor, now)
  }

  #closed(sa: IkeSa, code: string, why: string, now: number): void {
    this.#sas.leaveHalfOpen(sa)
    const peer = this.peersByName.get(sa.peer ?? '')
    if (peer === undefined)
      return this.event('', { type: 'failed', code, why: `${showEndpoint(sa.flow.remote)}: ${why}` }, now)
    peer.remove(sa)
    if (sa.successor !== undefined || peer.current !== undefined) return
    const wasUp = sa.remoteId !== undefined
    if (code === 'OK' && !peer.wanted) peer.lastError = undefined
    else peer.failed(why, now)
    const name = sa.peer!
    this.event(name, wasUp ? { type: 'down', code, why } : { type: 'failed', code, why }, now)
    this.#outlet.deviceChanged()
  }

  // ------------------------------------------------------------------ data planes

  #planeEvent(event: PlaneEvent, now: number): void {
    if (event.type === 'acquire') {
      this.#kept.set(`${event.peer}/${event.child}`, event.packet)
      return this.event(event.peer, { type: 'acquire', child: event.child }, now)
    }
    const entry = this.#children.find(event.id)
    if (entry === undefined || !entry.sa.children.has(event.id)) return
    const { sa, child } = entry
    switch (event.type) {
      case 'soft-expiry':
        if (child.state === 'installed') sa.enqueue(new ChildExchange(child.settings, child), now)
        break
      case 'hard-expiry':
        sa.enqueue(new DeleteChild(child, 'its lifetime is over'), now)
        // no rekey was in time (two that collided, a refusal): what the configuration wants connected is made anew
        if (this.#peer(sa.peer!).wanted && child.settings.start === 'connect' && child.state !== 'replaced')
          sa.enqueue(new ChildExchange(child.settings), now)
        break
      case 'peer-moved':
        if (!sa.mobility.enabled)
          sa.move({ protocol: sa.flow.protocol, local: sa.flow.local, remote: event.flow.remote })
        else {
          sa.mobility.espMoved(sa, event.flow)
          this.#moved(sa, sa.carrying, now)
        }
        break
      case 'forged': {
        const alarm = this.#watch.failed(sa.peer!, child, event.total, now)
        if (alarm !== undefined) this.event(sa.peer!, alarm, now)
        if (alarm?.rekey) sa.enqueue(new ChildExchange(child.settings, child), now)
        break
      }
      case 'first-inbound':
        // the peer has shown that it has the new SA: now it is safe to send on it
        this.#children.activate(child)
        break
    }
    this.#carryOut(sa, now)
  }

  /** Negotiates a Child SA that traffic asked for; the IKE SA must stand. */
  acquire(name: string, child: string, now: number): void {
    const sa = this.#peer(name).current
    const settings = this.#settings.peers[name]?.children[child]
    if (sa?.state !== 'established' || settings === undefined) return
    if ([...sa.children.values()].some(c => c.settings.name === child) || sa.pending(ChildExchange)) return
    sa.enqueue(new ChildExchange(settings), now)
    this.#carryOut(sa, now)
  }

  // ------------------------------------------------------------------ the rim

  #sendIke(bytes: Uint8Array, flow: Flow): void {
    const marked = flow.local.port !== IKE_PORT && flow.remote.port !== IKE_PORT
    const packet = this.#fill(bytes, marked ? NON_ESP_MARKER : 0)
    this.#outlet.transmit(packet, flow)
  }

  #send(bytes: Uint8Array, flow: Flow): void {
    this.#outlet.transmit(this.#fill(bytes, 0), flow)
  }

  #fill(bytes: Uint8Array, marker: number): Packet {
    const packet = this.#packet
    packet.start = HEADROOM
    packet.bytes.fill(0, HEADROOM, HEADROOM + marker)
    packet.bytes.set(bytes, HEADROOM + marker)
    packet.end = HEADROOM + marker + bytes.length
    packet.tos = 0
    packet.ttl = 64
    packet.df = false
    return packet
  }

  #drop(reason: string): void {
    this.drops[reason] = (this.drops[reason] ?? 0) + 1
  }

  event(peer: string, event: EventBody, now: number): void {
    this.#outlet.event({ at: now, peer, ...event } as NatweaveEvent)
  }
}

type EventBody = NatweaveEvent extends infer E ? (E extends unknown ? Omit<E, 'at' | 'peer'> : never) : never
