import type { CryptoProvider } from './contracts/crypto.ts'
import type { ChildCounters } from './contracts/data-plane.ts'
import { type Fact, type Facts, type FactValue, withFacts } from './contracts/facts.ts'
import type { IkeTask, IncomingMessage } from './contracts/ike-task.ts'
import type { Rng } from './contracts/machine.ts'
import type { NatDetector } from './contracts/nat-detector.ts'
import type { CheckReport, Finding, JudgedPlan, PlanReport } from './contracts/natweave.ts'
import { type Address, showEndpoint } from './contracts/net.ts'
import type {
  ChildSettings,
  Identity,
  IkeSettings,
  LeasedPoolSettings,
  PeerSettings,
  SelectorSettings,
  Settings,
} from './contracts/settings.ts'
import type { EncapStrategy, ModeStrategy, Plan, Selector, Strategy } from './contracts/strategy.ts'
import type { LocalEndpoint } from './contracts/transport.ts'
import { UsageError } from './errors.ts'
import type { PeerCredentials } from './ike/credentials.ts'
import type { ChildSa, ChosenPlan, IkeHost, PlanHistory } from './ike/host.ts'
import { showIdentity } from './ike/identity.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { ReassemblyBudget } from './ike/reassembly.ts'
import { crossed } from './ike/reauth.ts'
import { Tickets } from './ike/tickets.ts'
import { type LeaseLinks, Leases } from './leases.ts'
import { ahObstacle } from './policy/ah.ts'
import { checkPolicy, reachOf } from './policy/check.ts'
import { choose, type Wanted } from './policy/choose.ts'
import { derive } from './policy/derived.ts'
import { networkOf, overlaps } from './policy/network.ts'
import { checkOverlaps } from './policy/overlap.ts'
import { problemsShown } from './policy/problems.ts'
import { remedies } from './policy/remedies.ts'
import { matchRule, rulesFor } from './policy/rules.ts'
import { Verdicts } from './policy/verdicts.ts'
import { Pool } from './pools.ts'
import { SeenAs } from './seen-as.ts'
import { sameEnd } from './unique.ts'
import { IpProtocol, type Payload } from './wire/index.ts'

export interface HostOptions {
  readonly settings: Settings
  readonly strategies: readonly Strategy[]
  readonly detectors: readonly NatDetector[]
  readonly crypto: CryptoProvider
  readonly rng: Rng
  /** Keys and trust by the peer's name, where its `auth` needs them. */
  readonly credentials: ReadonlyMap<string, PeerCredentials>
  /** Wall clock of a monotonic moment, ms since 1970. */
  readonly wall: (now: number) => number
}

/** What only the engine knows of its SAs. */
export interface HostLinks {
  counters(child: ChildSa): ChildCounters | undefined
  spiInUse(spi: number): boolean
  expect: IkeHost['expect']
  /** All live IKE SAs with a configured peer. */
  sasOf(peer: string): readonly IkeSa[]
  /** Others that stand with the same identity of its peer. */
  alike(sa: IkeSa): readonly IkeSa[]
  listens: IkeHost['listens']
  extension: IkeHost['extension']
  wake: IkeHost['wake']
  lease: LeaseLinks['ask']
}

/** From the configuration: `dynamic` stands for one address. */
function innerPair(peer: string, { name, localTs, remoteTs }: ChildSettings): Fact {
  const one = ({ range }: SelectorSettings): boolean =>
    range === 'dynamic' || range.bits === (range.address.includes(':') ? 128 : 32)
  return { value: localTs.every(one) && remoteTs.every(one), source: `peers.${peer}.children.${name}`, at: 0 }
}

/** Facts of the configuration; they hold from the start. */
const told = (facts: Readonly<Record<string, FactValue>>, at: string): Facts =>
  Object.fromEntries(Object.entries(facts).map(([name, value]) => [name, { value, source: `${at}.${name}`, at: 0 }]))

/** SPIs up to here are reserved, RFC 4303 §2.1. */
const RESERVED_SPIS = 255

/** An SPI that begins like a STUN message or ChannelData makes ESP look the same on a port that both use, RFC 7983 §7. */
const looksLikeTurn = (firstOctet: number): boolean => firstOctet < 4 || (firstOctet >= 0x40 && firstOctet < 0x50)

/** Whether all SAs of an identity are of one host, which has one address. */
const isOneHost = ({ unique }: PeerSettings): boolean => unique === 'replace' || unique === 'keep'

/** The first of judged plans, or why there is none. */
function best(judged: readonly JudgedPlan[]): ChosenPlan {
  const [first] = judged
  if (first?.usable) return { plan: first.plan, why: first.reasons.join('; ') }
  const why = judged.map(j => `${j.plan.path}+${j.plan.encap}+${j.plan.mode}: ${j.reasons.join(', ')}`).join('; ')
  return { plan: undefined, why: why || 'no strategy is loaded for some slot' }
}

/** The house as IKE sees it: loaded strategies, configuration, pools, randomness. */
export class Host implements IkeHost {
  readonly crypto: CryptoProvider
  readonly rng: Rng
  readonly timers: IkeSettings
  readonly reassembly = new ReassemblyBudget()
  readonly tickets: Tickets
  readonly wall: (now: number) => number
  readonly #settings: Settings
  readonly #strategies: readonly Strategy[]
  readonly #detectors: readonly NatDetector[]
  readonly #links: HostLinks
  readonly #credentials: ReadonlyMap<string, PeerCredentials>
  readonly #pools = new Map<string, Pool>()
  readonly leases: Leases
  readonly #seenAs: SeenAs
  readonly #verdicts = new Verdicts<ChosenPlan>()
  #locals: readonly LocalEndpoint[] = []
  #facts: Facts = {}
  #serial = 0

  constructor(options: HostOptions, links: HostLinks) {
    const { settings, strategies, detectors, crypto, rng, credentials, wall } = options
    this.#settings = settings
    this.#strategies = strategies
    this.#detectors = detectors
    this.#links = links
    this.crypto = crypto
    this.rng = rng
    this.timers = settings.ike
    this.wall = wall
    this.#credentials = credentials
    this.tickets = new Tickets(this)
    this.leases = new Leases({ ask: links.lease, wake: links.wake })
    this.#seenAs = new SeenAs(settings, links.sasOf)
    for (const pool of Object.values(settings.pools)) this.#pools.set(pool.name, new Pool(pool))
  }

  tasks(): readonly IkeTask[] {
    return [...this.#detectors.flatMap(d => d.tasks()), ...this.#strategies.flatMap(s => s.tasks?.() ?? [])]
  }

  listens(type: 'message' | 'keys'): boolean {
    return this.#links.listens(type)
  }

  locals(): readonly LocalEndpoint[] {
    return this.#locals
  }

  setLocals(locals: readonly LocalEndpoint[]): void {
    this.#locals = locals
  }

  peers(): readonly PeerSettings[] {
    return Object.values(this.#settings.peers)
  }

  wake(sa: IkeSa): void {
    this.#links.wake(sa)
  }

  credentials(peer: PeerSettings): PeerCredentials {
    return this.#credentials.get(peer.name) ?? {}
  }

  extension(sa: IkeSa, request: IncomingMessage, now: number): Payload[] | undefined {
    return this.#links.extension(sa, request, now)
  }

  /** What services have found out about this host: known to every IKE SA from its start. */
  learn(name: string, fact: Fact): void {
    this.#facts = { ...this.#facts, [name]: fact }
  }

  observe(sa: IkeSa): void {
    sa.facts = withFacts(this.#facts, sa.facts)
    const { address } = sa.flow.local
    const raw = this.#locals.some(l => l.protocol === 50 && l.address === address)
    sa.learn('outerProtocol', sa.flow.protocol === IpProtocol.TCP ? 'tcp' : 'udp', 'the path')
    sa.learn('outerFamily', address.includes(':') ? 6 : 4, 'the path')
    sa.learn('plainEspPossible', raw, 'the loaded transports')
    sa.learn('network', networkOf(address, this.#settings.policy.networks ?? {}), `the local address ${address}`)
    const remote = Object.values(sa.settings?.children ?? {}).flatMap(child => child.remoteTs.map(ts => ts.range))
    if (remote.length > 0) sa.learn('addressesOverlap', overlaps(address, remote), `the local address ${address}`)
    // a peer that sees no NAT would send IP protocol 50, which nothing here receives
    if (!raw) sa.learn('forceEncapsulation', true, 'no transport here carries IP protocol 50')
  }

  plan(
    peer: PeerSettings,
    child: ChildSettings | undefined,
    facts: Facts,
    fixed: Partial<Plan> = {},
    history?: PlanHistory,
  ): ChosenPlan {
    const obstacle = this.#obstacle(child, facts)
    if (obstacle !== undefined) return { plan: undefined, why: obstacle }
    if (history !== undefined) return best(this.judge(peer, child, facts, fixed, history))
    const { path, encap, mode } = fixed
    const about = [peer.name, child?.name, child?.mode, child?.protocol, path, encap, mode].join('\0')
    return this.#verdicts.of(about, facts, watch => {
      const known = watch(derive(this.#known(peer, child, facts)))
      const wanted = this.#wanted(peer, child, facts, fixed)
      return best(choose(known, this.#settings.policy.rules, this.#strategies, wanted))
    })
  }

  judge(
    peer: PeerSettings,
    child: ChildSettings | undefined,
    facts: Facts,
    fixed: Partial<Plan> = {},
    history?: PlanHistory,
  ): readonly JudgedPlan[] {
    const wanted = {
      ...this.#wanted(peer, child, facts, fixed),
      tried: history?.tried,
      remembered: history?.memory?.path,
    }
    return choose(this.#known(peer, child, facts), this.#settings.policy.rules, this.#strategies, wanted)
  }

  /** What can be proved of the configuration without a network. */
  check(): CheckReport {
    const settings = this.#settings
    const finds = this.#detectors.flatMap(d => d.finds)
    const reach = Object.values(settings.peers).map(peer => reachOf(peer, { settings, strategies: this.#strategies }))
    const stranded = reach
      .filter(({ verdict }) => verdict === 'never')
      .map(
        ({ peer, without }): Finding => ({
          severity: 'error',
          at: `peers.${peer}`,
          problem: `there is never a plan for it: ${without.join('; ')}`,
        }),
      )
    return {
      findings: [
        ...checkPolicy({ settings, strategies: this.#strategies, finds }),
        ...checkOverlaps(settings),
        ...stranded,
      ],
      reach,
    }
  }

  /** What policy says of a child and why, with everything it rests on. */
  report(peer: PeerSettings, child: ChildSettings, facts: Facts, now: number): PlanReport {
    const { rules } = this.#settings.policy
    const known = derive(this.#known(peer, child, facts))
    const wanted = this.#wanted(peer, child, facts, {})
    return {
      peer: peer.name,
      child: child.name,
      at: now,
      facts: known,
      rules: rulesFor(rules, peer.name).map(rule => {
        const { state, why } = matchRule(rule, known)
        return { at: rule.at, state, why }
      }),
      problems: problemsShown(known),
      plans: choose(known, rules, this.#strategies, wanted),
      remedies: remedies(known, rules, this.#strategies, wanted),
    }
  }

  #wanted(peer: PeerSettings, child: ChildSettings | undefined, facts: Facts, fixed: Partial<Plan>): Wanted {
    const { encapsulation, name } = peer
    const { mode = 'auto', protocol = 'esp' } = child ?? {}
    return { peer: name, encapsulation, mode, protocol, obstacle: this.#obstacle(child, facts), fixed }
  }

  /** What was found out, and where that is silent what the user knows. */
  #known(peer: PeerSettings, child: ChildSettings | undefined, facts: Facts): Facts {
    const { policy } = this.#settings
    return {
      ...told(policy.facts ?? {}, 'policy.facts'),
      ...told(peer.facts ?? {}, `peers.${peer.name}.facts`),
      ...facts,
      ...(child !== undefined && { innerPair: innerPair(peer.name, child) }),
    }
  }

  #obstacle(child: ChildSettings | undefined, facts: Facts): string | undefined {
    return child?.protocol === 'ah' ? ahObstacle(facts, this.#locals) : undefined
  }

  encap(name: string): EncapStrategy {
    return this.#strategy('encap', name)
  }

  #strategy<S extends Strategy['slot']>(slot: S, name: string): Extract<Strategy, { slot: S }> {
    const found = this.#strategies.find((s): s is Extract<Strategy, { slot: S }> => s.slot === slot && s.name === name)
    if (found === undefined) throw new UsageError('USAGE_STRATEGY', `no ${slot} strategy ${name} is loaded`)
    return found
  }

  mode(name: string): ModeStrategy | undefined {
    return this.modes().find(m => m.name === name)
  }

  modes(): readonly ModeStrategy[] {
    return this.#strategies.filter((s): s is ModeStrategy => s.slot === 'mode')
  }

  encaps(): readonly EncapStrategy[] {
    return this.#strategies.filter((s): s is EncapStrategy => s.slot === 'encap')
  }

  espSpi(): number {
    for (;;) {
      const octets = this.rng.bytes(4)
      const spi = new DataView(octets.buffer, octets.byteOffset).getUint32(0)
      if (spi > RESERVED_SPIS && !looksLikeTurn(octets[0]!) && !this.#links.spiInUse(spi)) return spi
    }
  }

  expect(spi: number): void {
    this.#links.expect(spi)
  }

  serial(): number {
    return ++this.#serial
  }

  lease(sa: IkeSa, identity: Identity, family: 4 | 6, wanted?: Address): Address | undefined {
    const peer = sa.settings!
    if (this.#leased(peer) !== undefined) return sa.assigned.find(a => a.includes(':') === (family === 6))
    const pool = this.#settings.pools[peer.pool ?? '']
    if (pool === undefined || pool.prefix.address.includes(':') !== (family === 6)) return undefined
    const leases = this.#pools.get(pool.name)!
    const owner = `${identity.type}:${identity.value}`
    // who authenticates anew from where it is goes on with its address, even where an identity stands for many hosts
    if (this.#again(sa, wanted) && leases.again(owner, wanted!)) return wanted
    return leases.lease(owner, isOneHost(peer), wanted)
  }

  prepareLease(sa: IkeSa, identity: Identity, wanted: Address | undefined, now: number): boolean {
    const pool = this.#leased(sa.settings!)
    if (pool === undefined) return false
    const again = this.#again(sa, wanted)
    return this.leases.prepare(pool, { sa, identity, shared: isOneHost(sa.settings!), wanted, again }, now)
  }

  /** Whether it is the address of an SA that this one replaces. */
  #again(sa: IkeSa, wanted: Address | undefined): boolean {
    return this.#links.alike(sa).some(other => other.assigned.includes(wanted ?? '') && sameEnd(other, sa))
  }

  #leased(peer: PeerSettings): LeasedPoolSettings | undefined {
    return this.#settings.leased?.[peer.pool ?? '']
  }

  release(peer: PeerSettings, address: Address, now: number): void {
    const leased = this.#leased(peer)
    if (leased !== undefined) return this.leases.release(leased, address, now)
    this.#pools.get(peer.pool ?? '')?.release(address)
  }

  seen(sa: IkeSa, child: ChildSettings, remote: readonly Selector[]): readonly Selector[] | undefined {
    return this.#seenAs.seen(sa, child, remote)
  }

  dns(sa: IkeSa): readonly Address[] {
    const peer = sa.settings!
    const leased = this.#leased(peer)
    if (leased !== undefined) return this.leases.dns(leased, sa.assigned)
    return this.#settings.pools[peer.pool ?? '']?.dns ?? []
  }

  first(sa: IkeSa): boolean {
    // RFC 7296 §2.4: never said by one of several hosts that share an identity
    if (sa.settings?.unique === 'never') return false
    return this.#links.sasOf(sa.peer ?? '').every(other => other === sa)
  }

  rejects(sa: IkeSa, contact: boolean): string | undefined {
    if (sa.settings?.unique !== 'keep' || contact) return undefined
    const kept = this.#links.alike(sa).find(other => !sameEnd(other, sa) && !crossed(other, sa))
    if (kept === undefined) return undefined
    return `${showIdentity(sa.remoteId)} is connected from ${showEndpoint(kept.flow.remote)}, and peers.${sa.peer}.unique is keep`
  }

  counters(child: ChildSa): ChildCounters | undefined {
    return this.#links.counters(child)
  }
}
