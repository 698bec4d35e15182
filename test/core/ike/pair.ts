import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { ChildCounters } from '../../../core/contracts/data-plane.ts'
import { type Facts, knownFact } from '../../../core/contracts/facts.ts'
import type { IkeTask } from '../../../core/contracts/ike-task.ts'
import type { Address, Flow } from '../../../core/contracts/net.ts'
import type { ChildSettings, Identity, IkeSettings, PeerSettings } from '../../../core/contracts/settings.ts'
import type { EncapStrategy, ModeStrategy, Plan } from '../../../core/contracts/strategy.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { WireError } from '../../../core/errors.ts'
import type { PeerCredentials } from '../../../core/ike/credentials.ts'
import type { Exchange } from '../../../core/ike/exchange.ts'
import type { ChildSa, ChosenPlan, IkeEffect, IkeHost } from '../../../core/ike/host.ts'
import { showIdentity } from '../../../core/ike/identity.ts'
import { IkeSa } from '../../../core/ike/ike-sa.ts'
import { Init } from '../../../core/ike/init.ts'
import { ReassemblyBudget } from '../../../core/ike/reassembly.ts'
import { freshSpi } from '../../../core/ike/rekey-ike.ts'
import { ikev2 } from '../../../core/ike/respond.ts'
import { Responder } from '../../../core/ike/responder.ts'
import { Resume } from '../../../core/ike/resume.ts'
import type { Ticket } from '../../../core/ike/resumption.ts'
import { Tickets } from '../../../core/ike/tickets.ts'
import { Flag, opensIkeSa, parseIke } from '../../../core/wire/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'

/** Two IKE ends, a wire between them that obeys the test, and a clock that jumps from deadline to deadline. */

const text = new TextEncoder()

export const child = (settings: Partial<ChildSettings> = {}): ChildSettings => ({
  name: 'lan',
  localTs: [anything('10.1.0.0', 16)],
  remoteTs: [anything('10.2.0.0', 16)],
  proposals: [],
  mode: 'auto',
  rekeyMs: 0,
  lifeMs: 0,
  rekeyOctets: Infinity,
  rekeyPackets: Infinity,
  replayWindow: 64,
  start: 'connect',
  ...settings,
})

export const anything = (address: Address | 'dynamic', bits = 0) => ({
  range: address === 'dynamic' ? ('dynamic' as const) : { address, bits },
  protocol: 0,
  startPort: 0,
  endPort: 65_535,
})

/** How the left end sees the right one. */
export const sun = (settings: Partial<PeerSettings> = {}): PeerSettings => ({
  name: 'sun',
  remote: '192.0.2.2',
  remotePort: 500,
  localId: { type: 'fqdn', value: 'moon.example' },
  remoteId: { type: 'fqdn', value: 'sun.example' },
  psk: text.encode('secret'),
  proposals: ['aes128gcm16-prfsha256-x25519'],
  children: { lan: child() },
  requestAddresses: [],
  pool: undefined,
  encapsulation: 'auto',
  mobike: false,
  start: 'wait',
  reconnect: false,
  dpdMs: 0,
  rekeyMs: 0,
  keepaliveMs: 0,
  unique: 'never',
  ...settings,
})

/** How the right end sees the left one. */
export const moon = (settings: Partial<PeerSettings> = {}): PeerSettings => ({
  ...sun(),
  name: 'moon',
  remote: '192.0.2.1',
  localId: { type: 'fqdn', value: 'sun.example' },
  remoteId: { type: 'fqdn', value: 'moon.example' },
  children: { lan: child({ localTs: [anything('10.2.0.0', 16)], remoteTs: [anything('10.1.0.0', 16)] }) },
  ...settings,
})

const TIMERS: IkeSettings = {
  retransmitMs: 1_000,
  retransmitBase: 2,
  retransmitTries: 4,
  cookieThreshold: 100,
  halfOpenLimit: 200,
  halfOpenTimeoutMs: 60_000,
  // charts stay short: what tests fragmentation turns it on
  fragmentSize: 0,
}

const tunnel: ModeStrategy = {
  slot: 'mode',
  name: 'tunnel',
  solves: [],
  assess: () => ({ usable: true, cost: { octets: 20, roundTrips: 0, trusts: [] } }),
  create: () => ({ name: 'tunnel', encode: () => undefined, decode: () => undefined }),
}

/** Everything an encapsulation can want: it floats to 4500, keeps alive behind a NAT and follows a peer behind one. */
const floating: EncapStrategy = {
  slot: 'encap',
  name: 'floating',
  solves: [],
  overhead: 8,
  assess: () => ({ usable: true, cost: { octets: 8, roundTrips: 0, trusts: [] } }),
  ikeFlow: ({ protocol, local, remote }) => ({
    protocol,
    local: { ...local, port: 4500 },
    remote: { ...remote, port: 4500 },
  }),
  espFlow: flow => flow,
  keepalive: facts => (knownFact(facts, 'localBehindNat') === true ? Uint8Array.of(0xff) : undefined),
  follows: facts => knownFact(facts, 'remoteBehindNat') === true,
}
const plain: EncapStrategy = {
  ...floating,
  name: 'plain',
  ikeFlow: flow => flow,
  keepalive: () => undefined,
  follows: () => false,
}

export interface EndOptions {
  readonly name: string
  readonly address: Address
  readonly peers: readonly PeerSettings[]
  readonly timers?: Partial<IkeSettings>
  readonly crypto?: CryptoProvider
  readonly encap?: 'floating' | 'plain'
  readonly pool?: readonly Address[]
  /** Keys and trust by the peer's name. */
  readonly credentials?: Readonly<Record<string, PeerCredentials>>
  readonly dns?: readonly Address[]
  /** The policy refuses everything. */
  readonly planless?: boolean
  readonly tasks?: () => readonly IkeTask[]
  /** Preferred to tunnel mode where they are usable and the child does not name another. */
  readonly modes?: readonly ModeStrategy[]
}

export type Happened = IkeEffect & { readonly at: number; readonly sa: IkeSa }

/** One host: what the engine is to IKE, small enough to see through. */
export class End implements IkeHost {
  readonly listens = () => true
  readonly crypto: CryptoProvider
  readonly rng: SeededRng
  readonly timers: IkeSettings
  readonly reassembly = new ReassemblyBudget()
  readonly tickets: Tickets
  readonly options: EndOptions
  readonly responder: Responder
  readonly sas = new Map<bigint, IkeSa>()
  readonly halfOpen = new Map<string, IkeSa>()
  readonly log: Happened[] = []
  readonly drops: Record<string, number> = {}
  readonly leases = new Map<string, Address>()
  /** When ESP packets were last received and sent, for all children alike. */
  traffic = { lastIn: 0, lastOut: 0 }
  planless: boolean
  /** Own addresses; without any the end asks nothing of its locals, as when it never moves. */
  here: readonly Address[] = []
  #serial = 0
  readonly #send: (bytes: Uint8Array, flow: Flow) => void

  constructor(options: EndOptions, rng: SeededRng, send: (bytes: Uint8Array, flow: Flow) => void) {
    this.options = options
    this.crypto = options.crypto ?? nodeCryptoProvider
    this.rng = rng
    this.timers = { ...TIMERS, ...options.timers }
    this.planless = options.planless ?? false
    this.#send = send
    this.tickets = new Tickets(this)
    this.responder = new Responder(this, ikev2)
  }

  tasks(): readonly IkeTask[] {
    return [...(this.options.tasks?.() ?? []), ...(this.options.modes ?? []).flatMap(m => m.tasks?.() ?? [])]
  }
  extension(): undefined {
    return undefined
  }
  locals(): readonly LocalEndpoint[] {
    const roles = [
      ['ike', 500],
      ['natt', 4500],
    ] as const
    return this.here.flatMap(address => roles.map(([role, port]) => ({ protocol: 17 as const, role, address, port })))
  }
  observe(): void {}
  peers(): readonly PeerSettings[] {
    return this.options.peers
  }
  credentials(peer: PeerSettings): PeerCredentials {
    return this.options.credentials?.[peer.name] ?? {}
  }
  wake(sa: IkeSa): void {
    this.woken.push(sa)
  }
  /** SAs that want to be resumed. */
  readonly woken: IkeSa[] = []
  wall(now: number): number {
    return Date.UTC(2026, 10, 28) + now
  }
  plan(_peer: PeerSettings, child: ChildSettings | undefined, facts: Facts, fixed: Partial<Plan> = {}): ChosenPlan {
    if (this.planless) return { plan: undefined, why: 'the policy says so' }
    const plan = { path: 'direct', encap: this.options.encap ?? 'plain', mode: 'tunnel', ...fixed }
    const allowed =
      child === undefined || child.mode === 'auto' ? () => true : (m: ModeStrategy) => m.name === child.mode
    const judged = [...(this.options.modes ?? []), tunnel]
      .filter(allowed)
      .map(mode => ({ mode, ...mode.assess(facts, plan) }))
    const best = judged.find(({ usable }) => usable)
    if (best === undefined) return { plan: undefined, why: judged.map(({ why }) => why).join('; ') }
    return { plan: { ...plan, mode: best.mode.name }, why: 'the first that is usable' }
  }
  encap(name: string): EncapStrategy {
    return name === 'floating' ? floating : plain
  }
  mode(name: string): ModeStrategy | undefined {
    return this.modes().find(m => m.name === name)
  }
  modes(): readonly ModeStrategy[] {
    return [tunnel, ...(this.options.modes ?? [])]
  }
  encaps(): readonly EncapStrategy[] {
    return [floating, plain]
  }
  espSpi(): number {
    return (this.rng.u32() | 0x100) >>> 0
  }
  expect(): void {}
  serial(): number {
    return ++this.#serial
  }
  lease(_sa: IkeSa, identity: Identity, family: 4 | 6): Address | undefined {
    const free = this.options.pool?.find(a => a.includes(':') === (family === 6) && !this.leases.has(a))
    if (free !== undefined) this.leases.set(free, showIdentity(identity))
    return free
  }
  prepareLease(): boolean {
    return false
  }
  release(_peer: PeerSettings, address: Address): void {
    this.leases.delete(address)
  }
  seen(): undefined {
    return undefined
  }

  dns(): readonly Address[] {
    return this.options.dns ?? []
  }
  first(sa: IkeSa): boolean {
    return [...this.sas.values()].every(other => other === sa)
  }
  rejects(): undefined {}
  counters(): ChildCounters {
    return { packetsIn: 0, octetsIn: 0, packetsOut: 0, octetsOut: 0, drops: {}, ...this.traffic }
  }

  /** The one SA that is up; throws when there is none or more than one. */
  get sa(): IkeSa {
    const live = this.live
    if (live.length !== 1) throw new Error(`${this.options.name} has ${live.length} live IKE SAs`)
    return live[0]!
  }
  get live(): IkeSa[] {
    return [...this.sas.values()].filter(sa => sa.state !== 'dead')
  }
  get children(): ChildSa[] {
    return this.live.flatMap(sa => [...sa.children.values()])
  }
  /** Effects of one kind, oldest first. */
  of<T extends IkeEffect['type']>(type: T): (Extract<IkeEffect, { type: T }> & { at: number; sa: IkeSa })[] {
    return this.log.filter((e): e is Extract<IkeEffect, { type: T }> & { at: number; sa: IkeSa } => e.type === type)
  }
  /** `closed` and `child-failed` codes so far. */
  get codes(): string[] {
    return this.log.flatMap(e => (e.type === 'closed' || e.type === 'child-failed' ? [e.code] : []))
  }
  get deadline(): number {
    return Math.min(Infinity, ...[...this.sas.values()].map(sa => sa.deadline))
  }

  /** @param ticket - to resume by, in place of IKE_SA_INIT */
  connect(settings: PeerSettings, now: number, port = 500, ticket?: Ticket): IkeSa {
    const sa = new IkeSa({
      host: this,
      behaviour: ikev2,
      initiator: true,
      initiatorSpi: freshSpi(this),
      responderSpi: 0n,
      flow: {
        protocol: 17,
        local: { address: this.options.address, port },
        remote: { address: settings.remote!, port },
      },
      now,
      first: { own: 0, peer: 0 },
    })
    sa.settings = settings
    this.sas.set(sa.ownSpi, sa)
    if (ticket === undefined) new Init(sa, now)
    else new Resume(sa, ticket, now)
    this.carryOut(sa, now)
    return sa
  }

  start(exchange: Exchange, now: number, sa = this.sa): void {
    sa.enqueue(exchange, now)
    this.carryOut(sa, now)
  }

  receive(raw: Uint8Array, flow: Flow, now: number): void {
    let message: ReturnType<typeof parseIke>
    try {
      message = parseIke(raw)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      return this.drop('ike-malformed')
    }
    const { header } = message
    const ours = (header.flags & Flag.INITIATOR) !== 0 ? header.responderSpi : header.initiatorSpi
    const sa = ours === 0n ? this.halfOpen.get(key(header.initiatorSpi, flow)) : this.sas.get(ours)
    if (sa !== undefined) {
      sa.receive(raw, message, flow, now)
      return this.carryOut(sa, now)
    }
    if (!opensIkeSa(header.exchange)) return this.drop('ike-unknown-spi')
    const load = { all: this.halfOpen.size, fromThere: 0 }
    const challenge = this.responder.challenge(raw, flow, load, now)
    if (challenge !== undefined) return this.#send(challenge, flow)
    const answered = this.responder.receive(raw, message, flow, load, now)
    if (answered.drop !== undefined) this.drop(answered.drop)
    if (answered.sa !== undefined) {
      this.sas.set(answered.sa.ownSpi, answered.sa)
      this.halfOpen.set(key(header.initiatorSpi, flow), answered.sa)
      this.carryOut(answered.sa, now)
    }
    if (answered.reply !== undefined) this.#send(answered.reply, flow)
  }

  timeout(now: number): void {
    for (const sa of [...this.sas.values()])
      if (sa.deadline <= now) {
        sa.timeout(now)
        this.carryOut(sa, now)
      }
  }

  carryOut(sa: IkeSa, now: number): void {
    for (const effect of sa.take()) {
      this.log.push({ ...effect, at: now, sa })
      if (effect.type === 'transmit') this.#send(effect.bytes, effect.flow)
      else if (effect.type === 'drop') this.drop(effect.reason)
      else if (effect.type === 'forgotten') this.sas.delete(sa.ownSpi)
      else if (effect.type === 'established' || effect.type === 'closed') this.#leaveHalfOpen(sa)
      else if (effect.type === 'rekeyed' || effect.type === 'also') {
        const other = effect.type === 'also' ? effect.sa : effect.successor
        this.sas.set(other.ownSpi, other)
        this.carryOut(other, now)
      }
    }
  }

  #leaveHalfOpen(sa: IkeSa): void {
    for (const [at, other] of this.halfOpen) if (other === sa) this.halfOpen.delete(at)
  }

  drop(reason: string): void {
    this.drops[reason] = (this.drops[reason] ?? 0) + 1
  }
}

const key = (spi: bigint, { remote }: Flow): string => `${spi}/${remote.address}/${remote.port}`

export interface Datagram {
  /** Number since the start, from 0. */
  readonly n: number
  readonly to: 'left' | 'right'
  readonly bytes: Uint8Array
  /** As the receiver sees it. */
  readonly flow: Flow
}

export interface PairOptions {
  readonly seed?: number | string
  readonly left?: Partial<EndOptions>
  readonly right?: Partial<EndOptions>
  readonly sun?: Partial<PeerSettings>
  readonly moon?: Partial<PeerSettings>
  /** Address family of the outer path. */
  readonly family?: 4 | 6
}

const ADDRESSES = { 4: ['192.0.2.1', '192.0.2.2'], 6: ['2001:db8::1', '2001:db8::2'] } as const

export class Pair {
  now = 1_000
  readonly left: End
  readonly right: End
  /** Datagrams on the way, first to arrive first. */
  readonly wire: Datagram[] = []
  /** All datagrams ever sent. */
  readonly sent: Datagram[] = []
  /** What becomes of a datagram that is sent: nothing, one or several that arrive. */
  fate: (datagram: Datagram) => readonly Datagram[] = d => [d]
  readonly sun: PeerSettings
  readonly moon: PeerSettings
  #n = 0

  constructor(options: PairOptions = {}) {
    const [a, b] = ADDRESSES[options.family ?? 4]
    this.sun = sun({ remote: b, ...options.sun })
    this.moon = moon({ remote: a, ...options.moon })
    const rng = new SeededRng(options.seed ?? 1)
    const send = (to: 'left' | 'right') => (bytes: Uint8Array, flow: Flow) => this.#send(to, bytes, flow)
    this.left = new End(
      { name: 'left', address: a, peers: [this.sun], ...options.left },
      rng.fork('left'),
      send('right'),
    )
    this.right = new End(
      { name: 'right', address: b, peers: [this.moon], ...options.right },
      rng.fork('right'),
      send('left'),
    )
  }

  #send(to: 'left' | 'right', bytes: Uint8Array, { protocol, local, remote }: Flow): void {
    const datagram = { n: this.#n++, to, bytes: bytes.slice(), flow: { protocol, local: remote, remote: local } }
    this.sent.push(datagram)
    this.wire.push(...this.fate(datagram))
  }

  connect(): IkeSa {
    return this.left.connect(this.sun, this.now)
  }

  /** Hands over the datagram that is next, or `datagram`. */
  deliver(datagram = this.wire.shift()): void {
    if (datagram === undefined) throw new Error('nothing is on the way')
    this[datagram.to].receive(datagram.bytes, datagram.flow, this.now)
  }

  /** Delivers until nothing is on the way; time stands still. */
  settle(limit = 1_000): void {
    for (let i = 0; this.wire.length > 0; i++) {
      if (i === limit) throw new Error('the ends never come to rest')
      this.deliver()
    }
  }

  /** Lets time pass, from deadline to deadline. */
  run(ms: number): void {
    const end = this.now + ms
    for (let i = 0; ; i++) {
      if (i === 100_000) throw new Error('a deadline that never moves')
      this.settle()
      const due = Math.min(this.left.deadline, this.right.deadline)
      if (due > end) break
      this.now = Math.max(this.now, due)
      this.left.timeout(this.now)
      this.right.timeout(this.now)
    }
    this.now = end
  }

  /** Resumes by a ticket of the left end; the SA before is gone there, as after a crash of the right end. */
  resume(ticket: Ticket): IkeSa {
    return this.left.connect(this.sun, this.now, 500, ticket)
  }

  /** A standing IKE SA with its first Child SA. */
  established(): this {
    this.connect()
    this.settle()
    return this
  }
}

/** What nearly every IKE SA begins with. */
const OFFERS = /( N\(TICKET_REQUEST\)| N\(TICKET_LT_OPAQUE\)| N\(REDIRECT_SUPPORTED\)| N\(CHILDLESS_IKEV2_SUPPORTED\))/g

/** Trace of one end: `> IKE_SA_INIT request 0 [ … ]` for out, `<` for in; without those offers. */
export const chart = (end: End): string[] =>
  end.of('message').map(({ direction, summary }) => `${direction === 'out' ? '>' : '<'} ${summary.replace(OFFERS, '')}`)
