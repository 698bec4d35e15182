import { Children } from './children.ts'
import type { ChildCounters, DataPlane, PacketSizes, PlaneEvent } from './contracts/data-plane.ts'
import type { Fact, Facts } from './contracts/facts.ts'
import type { CheckReport, PlanReport } from './contracts/natweave.ts'
import { type Address, type Flow, showEndpoint } from './contracts/net.ts'
import type { Packet } from './contracts/packet.ts'
import type { ServiceFactory } from './contracts/service.ts'
import type { ChildSettings, PeerSettings, Settings } from './contracts/settings.ts'
import { DEFAULT_GUARD } from './contracts/settings.ts'
import type { LocalEndpoint } from './contracts/transport.ts'
import { EarlyPackets } from './early-packets.ts'
import { UsageError, WireError } from './errors.ts'
import { Host, type HostOptions } from './host.ts'
import { ChildExchange } from './ike/create-child.ts'
import type { ChildSa } from './ike/host.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { notify } from './ike/notify.ts'
import { RekeyIke } from './ike/rekey-ike.ts'
import { ikev2 } from './ike/respond.ts'
import { Responder } from './ike/responder.ts'
import { fromSettings } from './ike/selectors.ts'
import { IntegrityWatch } from './integrity-watch.ts'
import { Claims } from './ipsec/claims.ts'
import { PortablePlane } from './ipsec/portable-plane.ts'
import { KeptPackets } from './kept-packets.ts'
import { LiveSas } from './live-sas.ts'
import { ManualSas } from './manual.ts'
import { Peer } from './peer.ts'
import { planeEvent } from './plane-events.ts'
import { networkOf } from './policy/network.ts'
import { type Memory, Pursuit, Round, type Whereabouts } from './pursuit.ts'
import { type EngineOutlet, Rim } from './rim.ts'
import { type Services, servicesOf } from './services.ts'
import {
  classifyNatt,
  Flag,
  IKE_PORT,
  type IkeHeader,
  type IkeMessage,
  IpProtocol,
  NON_ESP_MARKER,
  NotifyType,
  opensIkeSa,
  parseIke,
  peekIkeHeader,
  serializeIke,
} from './wire/index.ts'
import { perform } from './wishes.ts'

const { UDP, ESP, AH } = IpProtocol

export interface EngineOptions extends HostOptions {
  readonly services: readonly ServiceFactory[]
  /** Names of the plugins that brought strategies, detectors and services. */
  readonly owners?: ReadonlyMap<unknown, string>
  /** Asked in order before the portable plane. */
  readonly planes: readonly DataPlane[]
  readonly outlet: EngineOutlet
  readonly sizes: PacketSizes
}

/**
 * All peers of one build as one sans-IO machine: routes datagrams to IKE SAs and data planes, carries out what they want,
 * and knows when it has to be called next. A peer's own rules are in peer.ts, an IKE SA's in ike/.
 */
export class Engine {
  readonly portable: PortablePlane
  /** Those that plugins brought. */
  readonly planes: readonly DataPlane[]
  readonly peersByName = new Map<string, Peer>()
  /** Static SAs of the configuration. */
  readonly manual: ManualSas
  readonly services: Services
  readonly #settings: Settings
  readonly #host: Host
  readonly #rim: Rim
  readonly #responder: Responder
  readonly #live: LiveSas
  readonly #pursuit: Pursuit
  readonly #children: Children
  readonly #planeEvent: (event: PlaneEvent) => void
  readonly #kept = new KeptPackets()
  readonly #early = new EarlyPackets()
  #now = 0
  /** Whether anything but a packet has moved since it was set to false. */
  #stirred = false
  #started = false
  /** What the transports have; a relay's addresses come on top. */
  #bound: readonly LocalEndpoint[] = []

  constructor({ planes, outlet, sizes, ...options }: EngineOptions) {
    const { settings, crypto, rng } = options
    this.#settings = settings
    const rim = new Rim(outlet, (packet, flow) => {
      const via = this.services.reroute(packet, flow, this.#now)
      if (via !== flow) this.#stirred = true
      return via
    })
    this.#rim = rim
    const watch = new IntegrityWatch(settings.guard ?? DEFAULT_GUARD)
    const planeOutlet = {
      transmit: (packet: Packet, flow: Flow) => rim.transmit(packet, flow),
      deliver: (packet: Packet) => outlet.deliver(packet),
      event: (event: PlaneEvent) => {
        this.#stirred = true
        this.#planeEvent(event)
      },
    }
    const claims = new Claims()
    this.portable = new PortablePlane(crypto, rng, planeOutlet, { ...sizes, claims })
    this.planes = planes
    const children = new Children(planes, this.portable, claims)
    this.#children = children
    this.#host = new Host(options, {
      counters: child => children.counters(child),
      spiInUse: spi => children.spiInUse(spi) || this.manual.spiInUse(spi),
      expect: spi => this.#early.expect(spi),
      listens: type => outlet.listens(type),
      alike: sa => this.peersByName.get(sa.peer ?? '')?.alike(sa) ?? [],
      sasOf: name => this.peersByName.get(name)?.sas ?? [],
      extension: (sa, { exchange, payloads }, now) => this.services.respond(sa, exchange, payloads, now),
      wake: sa =>
        outlet.run(now => {
          this.#now = now
          sa.resume(now)
          this.#live.carryOut(sa, now)
        }),
      lease: (by, input, now) => this.services.lease(by, input, now),
    })
    this.services = servicesOf(options, {
      perform: (out, by, now) => perform(out, by, wishes, now),
      broken: (plugin, why, now) => {
        rim.drop('plugin-failed')
        rim.event('', { type: 'plugin-failed', plugin, why }, now)
      },
      soughtBy: path => [...this.peersByName.values()].flatMap(p => (p.path === path ? [p.settings.name] : [])),
      changed: () => {
        this.#refreshLocals()
        for (const peer of this.peersByName.values()) peer.review.want(this.#now)
      },
    })
    this.services.checkLeases(Object.values(settings.leased ?? {}))
    this.manual = new ManualSas(settings.manual ?? {}, {
      plane: this.portable,
      mode: name => this.#host.mode(name),
      locals: () => this.#host.locals(),
    })
    this.#responder = new Responder(this.#host, ikev2)
    for (const peer of Object.values(settings.peers)) this.peersByName.set(peer.name, new Peer(peer))
    const { services } = this
    const common = { rim, children, watch, services, peers: this.peersByName }
    this.#live = new LiveSas({
      ...common,
      host: this.#host,
      ready: (peer, child, now) => this.#release(peer, child, now),
      failed: (peer, code, why, now) => this.#failed(peer, code, why, now),
      silent: (sa, now) => this.#pursuit.replace(this.#peer(sa.peer!), sa, undefined, 'the peer is silent', now),
      retried: (peer, code, why, now) => this.#pursuit.failed(peer, code, why, now),
    })
    const parts = { ...common, live: this.#live }
    this.#pursuit = new Pursuit({ ...parts, host: this.#host })
    const wishes = {
      ...parts,
      host: this.#host,
      pursuit: this.#pursuit,
      failed: (peer: Peer, code: string, why: string, now: number) => this.#failed(peer, code, why, now),
      answered: (now: number) => {
        this.#now = now
      },
    }
    this.#planeEvent = event =>
      event.type === 'acquire' ? this.#trapped(event, this.#now) : planeEvent(event, parts, this.#now)
  }

  // ------------------------------------------------------------------ what others look at

  /** Datagrams and packets that belong to nobody, by reason. */
  get drops(): Readonly<Record<string, number>> {
    return this.#rim.drops
  }

  locals(): readonly LocalEndpoint[] {
    return this.#host.locals()
  }

  counters(child: ChildSa): ChildCounters | undefined {
    return this.#children.counters(child)
  }

  planeOf(child: ChildSa): DataPlane | undefined {
    return this.#children.planeOf(child)
  }

  report(peer: PeerSettings, child: ChildSettings, facts: Facts, now: number): PlanReport {
    return this.#host.report(peer, child, facts, now)
  }

  check(): CheckReport {
    return this.#host.check()
  }

  // ------------------------------------------------------------------ what the runtime tells

  setLocals(locals: readonly LocalEndpoint[], now: number): void {
    this.#now = now
    this.#bound = locals
    this.#refreshLocals()
    this.services.setLocals(locals, now)
    if (this.#started) this.#installManual(now)
  }

  /** A relay's address is a place to send from as good as a socket's. */
  #refreshLocals(): void {
    const relayed = this.services.candidates.relayed.map(
      ({ address, port }): LocalEndpoint => ({ address, port, protocol: UDP, role: 'extra' }),
    )
    this.#host.setLocals([...this.#bound, ...relayed])
  }

  /** Local addresses or routes have changed; `sources`: for the peers' `destinations` the local address to send from. */
  relocate(sources: ReadonlyMap<Address, Address>, now: number): void {
    this.#now = now
    for (const { sas } of this.peersByName.values())
      for (const sa of [...sas]) {
        sa.mobility.relocate(sa, sources, now)
        this.#live.carryOut(sa, now)
        this.#reconnect(sa, sources.get(sa.flow.remote.address), now)
      }
  }

  /** Without MOBIKE an SA stays where it was made: from a new address a new one is made, which takes over. */
  #reconnect(sa: IkeSa, source: Address | undefined, now: number): void {
    const peer = this.peersByName.get(sa.peer ?? '')
    const where = peer?.round?.where
    if (peer === undefined || where === undefined || source === undefined) return
    if (sa.mobility.enabled || sa.state !== 'established' || source === sa.flow.local.address) return
    const why = `${sa.flow.local.address} is not the way any more`
    this.#pursuit.replace(peer, sa, { remote: where.remote, source }, why, now)
  }

  /** Puts static SAs in place, and the policies of children that wait for traffic. */
  start(now: number): void {
    this.#now = now
    this.#started = true
    this.services.start(now)
    this.#installManual(now)
    for (const { settings } of this.peersByName.values())
      for (const child of Object.values(settings.children))
        if (child.start === 'trap') {
          const local = fromSettings(child.localTs, [])
          const remote = fromSettings(child.remoteTs, [])
          if (remote.length === 0) continue
          for (const plane of [...this.planes, this.portable]) plane.trap?.(settings.name, child.name, local, remote)
        }
    this.#rim.deviceChanged()
  }

  /** Static SAs whose address is not there yet are tried again when addresses change. */
  #installManual(now: number): void {
    for (const { name, code, why } of this.manual.install(now))
      this.#rim.event(name, { type: 'failed', code, why }, now)
  }

  /**
   * A datagram from the network. Never throws for what is in it.
   *
   * @returns whether `deadline` may be another now; a packet that a plane moved without a word leaves it where it was
   */
  inbound(packet: Packet, flow: Flow, now: number): boolean {
    this.#now = now
    this.#stirred = false
    if (flow.protocol === ESP || flow.protocol === AH) this.#esp(packet, flow, now)
    else {
      const claimed = this.services.claim(packet, flow, now)
      if (claimed !== flow) this.#stirred = true
      if (claimed !== 'taken') this.#classified(packet, claimed, now)
    }
    return this.#stirred
  }

  /** Over TCP the same lies in the stream as in UDP on the NAT-T port, RFC 9329 §3. */
  #classified(packet: Packet, flow: Flow, now: number): void {
    const plain = flow.local.port === IKE_PORT || flow.remote.port === IKE_PORT
    const what = plain ? 'ike' : classifyNatt(packet.bytes, packet.start, packet.end)
    if (what === 'esp') return this.#esp(packet, flow, now)
    this.#stirred = true
    if (what === 'ike')
      this.#ike(packet.bytes.subarray(packet.start + (plain ? 0 : NON_ESP_MARKER), packet.end), flow, now)
    else if (what === 'short') this.#rim.drop('short')
  }

  #esp(packet: Packet, flow: Flow, now: number): void {
    if (this.portable.inbound(packet, flow, now)) return
    for (const plane of this.planes) if (plane.inbound?.(packet, flow, now)) return
    this.#stirred = true
    if (!this.#early.hold(packet, flow, now)) this.#rim.drop('unknown-spi')
  }

  /** Said by a plane with a thread of its own, whenever it likes. */
  planeEvent(event: PlaneEvent, now: number): void {
    this.#now = now
    this.#planeEvent(event)
  }

  /** What a plane with a thread of its own wants sent by another way than its own sockets. */
  transmit(packet: Packet, flow: Flow, now: number): void {
    this.#now = now
    this.#rim.transmit(packet, flow)
  }

  /** What a transport has learned of a path; see `TransportSink`. */
  pathMtu(local: Address, remote: Address, mtu: number, now: number): void {
    for (const plane of [this.portable, ...this.planes]) plane.pathMtu?.(local, remote, mtu, now)
  }

  /** An inner packet from the device. @returns as `inbound` */
  outbound(packet: Packet, now: number): boolean {
    this.#now = now
    this.#stirred = false
    this.portable.outbound(packet, now)
    return this.#stirred
  }

  get deadline(): number {
    let due = Math.min(this.portable.deadline, this.#live.table.deadline, this.#children.deadline)
    due = Math.min(due, this.#kept.deadline, this.#early.deadline)
    for (const { retryAt, review } of this.peersByName.values()) due = Math.min(due, retryAt, review.at)
    return Math.min(due, this.services.deadline)
  }

  /** The build ends: services take leave of whom they have asked for something. */
  stop(now: number): void {
    this.#now = now
    this.services.tell({ type: 'stop' }, now)
    for (const peer of this.peersByName.values()) peer.keepTicket(undefined)
  }

  timeout(now: number): void {
    this.#now = now
    this.portable.timeout(now)
    this.#live.timeout(now)
    this.#kept.timeout(now)
    for (let gone = this.#early.timeout(now); gone > 0; gone--) this.#rim.drop('unknown-spi')
    this.services.timeout(now)
    for (const peer of this.peersByName.values()) {
      this.#pursuit.review(peer, now)
      if (peer.retryAt > now) continue
      peer.retryAt = Infinity
      this.#rim.event(peer.settings.name, { type: 'retry' }, now)
    }
    this.#children.timeout(now)
  }

  /** Starts connecting; what comes of it are events. `memory`: what reached the peer on this network before. */
  connect(name: string, where: Whereabouts, memory: Memory | undefined, now: number): void {
    this.#now = now
    const peer = this.#peer(name)
    peer.wanted = true
    if (peer.state === 'established') return this.#live.complete(peer.current!, now)
    if (peer.state === 'connecting') return
    const { settings } = peer
    const facts: Record<string, Fact> = { ...peer.facts }
    if (settings.encapsulation === 'force')
      facts['forceEncapsulation'] = { value: true, source: `peers.${name}.encapsulation`, at: now }
    const network = this.networkFrom(where.source)
    if (network !== undefined)
      facts['network'] = { value: network, source: `the local address ${where.source}`, at: now }
    if (memory !== undefined)
      facts['sinceSuccess'] = { value: memory.ageMs, source: `reached by ${memory.path} from this network`, at: now }
    peer.facts = facts
    const why = this.#pursuit.start(peer, new Round(where, memory, undefined), now)
    if (why === undefined) return
    if (settings.remote !== undefined) return this.#failed(peer, 'PLAN_NONE', why, now)
    this.#failed(peer, 'PATH_FAILED', `the address of ${name} is not known, and no plan does without: ${why}`, now)
  }

  /** The network that a local address is in, by the configuration's name where it has one. */
  networkFrom(source: Address | undefined): string | undefined {
    return source === undefined ? undefined : networkOf(source, this.#settings.policy.networks ?? {})
  }

  /** What reached a peer that stands, and from which network; undefined where this host did not call. */
  reachedBy(name: string): ({ readonly network: string } & Omit<Memory, 'ageMs'>) | undefined {
    const { current, round } = this.#peer(name)
    if (current?.state !== 'established' || !current.initiated || round === undefined) return undefined
    return { network: networkOf(current.flow.local.address, this.#settings.policy.networks ?? {}), ...round.outcome }
  }

  /** Deletes all SAs with the peer; the answers to the DELETEs come as events. */
  disconnect(name: string, now: number): void {
    this.#now = now
    const peer = this.#peer(name)
    peer.wanted = false
    // who takes leave proves anew who it is, RFC 5723 §6.2
    peer.keepTicket(undefined)
    peer.retryAt = Infinity
    if (peer.path !== undefined) this.services.ask(peer.path, { type: 'forget', peer: name }, now)
    peer.path = undefined
    for (const sa of [...peer.sas]) this.#live.end(sa, 'disconnected', now)
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
    this.#live.carryOut(sa, now)
  }

  /** @throws UsageError USAGE_PEER_UNKNOWN */
  settingsOf(name: string): PeerSettings {
    return this.#peer(name).settings
  }

  /** The way to the peer could not even be looked for (no such name, no route). */
  unreachable(name: string, code: string, why: string, now: number): void {
    const peer = this.#peer(name)
    peer.wanted = true
    peer.round = undefined
    this.#failed(peer, code, why, now)
  }

  countDrop(reason: string): void {
    this.#rim.drop(reason)
  }

  #peer(name: string): Peer {
    const peer = this.peersByName.get(name)
    if (peer !== undefined) return peer
    const known = [...this.peersByName.keys()].join(', ') || 'none'
    throw new UsageError('USAGE_PEER_UNKNOWN', `no peer "${name}" in the configuration; there are: ${known}`)
  }

  // ------------------------------------------------------------------ IKE

  #ike(raw: Uint8Array, flow: Flow, now: number): void {
    const head = peekIkeHeader(raw)
    if (head !== undefined && head.version >>> 4 > 2) return this.#newerVersion(head, flow)
    // under a flood nothing more is done for a request than this
    if (head !== undefined && opens(head) && this.#live.table.find(head, flow) === undefined) {
      const challenge = this.#responder.challenge(raw, flow, this.#live.table.halfOpen(flow), now)
      if (challenge !== undefined) return this.#rim.sendIke(challenge, flow)
    }
    let message: IkeMessage
    try {
      message = parseIke(raw)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      return this.#rim.drop('ike-malformed')
    }
    const { header } = message
    const sa = this.#live.table.find(header, flow)
    if (sa !== undefined) {
      sa.receive(raw, message, flow, now)
      return this.#live.carryOut(sa, now)
    }
    if (!opensIkeSa(header.exchange)) return this.#rim.drop('ike-unknown-spi')
    const answered = this.#responder.receive(raw, message, flow, this.#live.table.halfOpen(flow), now)
    if (answered.drop !== undefined) this.#rim.drop(answered.drop)
    if (answered.why !== undefined)
      this.#rim.event(
        '',
        { type: 'failed', code: 'PEER_NO_PROPOSAL', why: `${showEndpoint(flow.remote)}: ${answered.why}` },
        now,
      )
    if (answered.sa !== undefined) {
      this.#live.table.addHalfOpen(answered.sa, header, flow)
      this.#live.carryOut(answered.sa, now)
    }
    if (answered.reply !== undefined) this.#rim.sendIke(answered.reply, flow)
  }

  /** RFC 7296 §2.5: a request of a higher major version is answered with ours, unprotected. */
  #newerVersion({ initiatorSpi, responderSpi, exchange, flags, messageId }: IkeHeader, flow: Flow): void {
    this.#rim.drop('ike-version')
    if ((flags & Flag.RESPONSE) !== 0 || responderSpi !== 0n) return
    const head = { initiatorSpi, responderSpi, exchange, flags: Flag.RESPONSE, messageId }
    this.#rim.sendIke(serializeIke(head, [notify(NotifyType.INVALID_MAJOR_VERSION)]), flow)
  }

  #failed(peer: Peer, code: string, reason: string, now: number): void {
    peer.path = undefined
    if (this.#pursuit.failed(peer, code, reason, now)) return
    const why = peer.round?.why || reason
    peer.round = undefined
    peer.failed(why, now)
    this.#rim.event(peer.settings.name, { type: 'failed', code, why }, now)
    this.services.tell({ type: 'connect-failed', peer: peer.settings.name, code, why }, now)
  }

  // ------------------------------------------------------------------ traps

  #trapped({ peer, child, packet }: Extract<PlaneEvent, { type: 'acquire' }>, now: number): void {
    this.#kept.keep(peer, child, packet, now)
    const known = this.#peer(peer)
    if (known.state !== 'established') known.acquired.add(child)
    this.#rim.event(peer, { type: 'acquire', child }, now)
  }

  /** A Child SA stands: what has come for it, and what has to go. */
  #release(peer: string, { settings, inbound }: ChildSa, now: number): void {
    for (const { octets, tos, flow } of this.#early.take(inbound.spi)) {
      const packet = this.#rim.fill(octets)
      packet.tos = tos
      this.#esp(packet, flow, now)
    }
    const kept = this.#kept.take(peer, settings.name, now)
    if (kept !== undefined) this.#children.planeFor(peer, settings.name)?.outbound(this.#rim.fill(kept), now)
  }

  /** Negotiates a Child SA that traffic asked for; the IKE SA must stand. */
  acquire(name: string, child: string, now: number): void {
    const sa = this.#peer(name).current
    const settings = this.#settings.peers[name]?.children[child]
    if (sa?.state !== 'established' || settings === undefined) return
    if ([...sa.children.values()].some(c => c.settings.name === child) || sa.pending(ChildExchange)) return
    sa.enqueue(new ChildExchange(settings), now)
    this.#live.carryOut(sa, now)
  }
}

/** Whether it is the first message of an IKE SA. */
const opens = ({ exchange, flags, initiatorSpi, responderSpi, messageId }: IkeHeader): boolean =>
  opensIkeSa(exchange) &&
  (flags & (Flag.RESPONSE | Flag.INITIATOR)) === Flag.INITIATOR &&
  initiatorSpi !== 0n &&
  responderSpi === 0n &&
  messageId === 0
