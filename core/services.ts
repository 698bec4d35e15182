import { Candidates } from './candidates.ts'
import type { NatDetector } from './contracts/nat-detector.ts'
import type { Flow } from './contracts/net.ts'
import { octets, type Packet } from './contracts/packet.ts'
import type { IkeSaRef, Service, ServiceContext, ServiceFactory, ServiceIn, ServiceOut } from './contracts/service.ts'
import type { LeasedPoolSettings, Settings } from './contracts/settings.ts'
import type { PathStrategy, Strategy } from './contracts/strategy.ts'
import type { LocalEndpoint } from './contracts/transport.ts'
import { ConfigError } from './errors.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import type { Payload } from './wire/index.ts'

/** What a service asks for that only the engine can do. */
export type EngineRequest = Exclude<ServiceOut, { readonly type: 'candidate' | 'candidate-gone' | 'respond' }>

export interface ServicesEngine {
  perform(out: EngineRequest, by: Service, now: number): void
  /** There are other candidates now. */
  changed(): void
  /** A service has thrown, and is left alone from now on. `plugin`: whose it is. */
  broken(plugin: string, why: string, now: number): void
  /** Peers that this path strategy is looking for. */
  soughtBy(path: string): readonly string[]
}

interface ServiceSources extends Omit<ServiceContext, 'peers'> {
  readonly settings: Settings
  readonly strategies: readonly Strategy[]
  readonly detectors: readonly NatDetector[]
  readonly services: readonly ServiceFactory[]
  /** Names of the plugins that brought strategies, detectors and services. */
  readonly owners?: ReadonlyMap<unknown, string>
}

/** Everything among these parts that lives as long as the build. */
export function servicesOf(
  { settings, strategies, detectors, services, owners, crypto, rng }: ServiceSources,
  engine: ServicesEngine,
): Services {
  const context = { crypto, rng, peers: Object.values(settings.peers), leased: Object.values(settings.leased ?? {}) }
  const paths = strategies.filter((s): s is PathStrategy => s.slot === 'path')
  const plugins = new Map<Service, string>()
  const owned = (service: Service, by: { readonly name: string }): Service => {
    plugins.set(service, owners?.get(by) ?? by.name)
    return service
  }
  const others = [
    ...detectors.flatMap(d => (d.serve === undefined ? [] : owned(d.serve(context), d))),
    ...services.map(make => owned(make(context), make)),
  ]
  const found = new Map(paths.map(path => [path.name, owned(path.serve(context), path)]))
  return new Services(found, others, plugins, engine)
}

/** Runs the services of a build: tells them what happens, and the engine what they want, in order. */
export class Services {
  readonly candidates = new Candidates()
  readonly #all: readonly Service[]
  readonly #paths: ReadonlyMap<string, Service>
  readonly #claiming: readonly Service[]
  readonly #rerouting: readonly Service[]
  readonly #plugins: ReadonlyMap<Service, string>
  /** Those that have thrown, and why: a stranger's mistake must not take the others along. */
  readonly #broken = new Map<Service, string>()
  readonly #engine: ServicesEngine
  /** Established IKE SAs by the line they are of. */
  readonly #sas = new Map<string, IkeSa>()
  readonly #queue: (readonly [Service, ServiceOut])[] = []
  #draining = false
  #locals: readonly LocalEndpoint[] = []
  #started = false

  /**
   * @param paths - the service behind each path strategy
   * @param others - of detectors and plugins
   * @param plugins - whose they are
   */
  constructor(
    paths: ReadonlyMap<string, Service>,
    others: readonly Service[],
    plugins: ReadonlyMap<Service, string>,
    engine: ServicesEngine,
  ) {
    this.#paths = paths
    this.#all = [...new Set([...paths.values(), ...others])]
    this.#claiming = this.#all.filter(s => s.claims !== undefined)
    this.#rerouting = this.#all.filter(s => s.reroute !== undefined)
    this.#plugins = plugins
    this.#engine = engine
  }

  start(now: number): void {
    this.#started = true
    this.tell({ type: 'start' }, now)
    this.tell({ type: 'locals', locals: this.#locals }, now)
    this.#announce(now)
  }

  setLocals(locals: readonly LocalEndpoint[], now: number): void {
    this.#locals = locals
    const changed = this.candidates.setLocals(locals)
    if (!this.#started) return
    this.tell({ type: 'locals', locals }, now)
    if (changed) this.#announce(now)
  }

  get deadline(): number {
    let due = this.candidates.deadline
    for (const service of this.#all) due = Math.min(due, this.#due(service))
    return due
  }

  timeout(now: number): void {
    if (this.candidates.timeout(now)) this.#announce(now)
    for (const service of this.#all) if (this.#due(service) <= now) this.#step(service, { type: 'timeout' }, now)
    this.drain(now)
  }

  /** Tells all of them. */
  tell(input: ServiceIn, now: number): void {
    for (const service of this.#all) this.#step(service, input, now)
    this.drain(now)
  }

  /** Answers one of them. */
  answer(service: Service, input: ServiceIn, now: number): void {
    this.#step(service, input, now)
    this.drain(now)
  }

  /** Tells the service that leases by this name. */
  lease(by: string, input: Extract<ServiceIn, { readonly type: 'lease' | 'release' }>, now: number): void {
    const service = this.#lender(by)
    if (service === undefined) return
    const why = this.#broken.get(service)
    if (why !== undefined && input.type === 'lease')
      this.#queue.push([service, { type: 'unleased', tag: input.tag, why }])
    this.answer(service, input, now)
  }

  /** @throws ConfigError naming the pool that no service leases for */
  checkLeases(pools: readonly LeasedPoolSettings[]): void {
    for (const { name, by } of pools)
      if (this.#lender(by) === undefined)
        throw new ConfigError(`pools.${name}.${by}`, `no plugin that leases by ${by} is loaded; add it to plugins`)
  }

  #lender(by: string): Service | undefined {
    return this.#all.find(s => s.leases === by)
  }

  /** Has the path look for a peer, or look no longer. */
  ask(path: string, input: Extract<ServiceIn, { readonly type: 'find' | 'forget' }>, now: number): void {
    const service = this.#paths.get(path)
    if (service === undefined) return
    const why = this.#broken.get(service)
    if (why === undefined) return this.answer(service, input, now)
    if (input.type === 'find') this.#queue.push([service, lost(input.peer, why)])
    this.drain(now)
  }

  /**
   * Offers a datagram to those who look first.
   * @returns 'taken', or the flow it goes on as, its packet unwrapped
   */
  claim(packet: Packet, flow: Flow, now: number): 'taken' | Flow {
    const outer = this.#offer(packet, flow, now)
    // what a relay has brought is offered to all of them, whoever comes before the relay included
    return outer === 'taken' || outer === flow ? outer : this.#offer(packet, outer, now)
  }

  #offer(packet: Packet, flow: Flow, now: number): 'taken' | Flow {
    for (const service of this.#claiming) {
      const claimed = this.#claimed(service, packet, flow, now)
      if (claimed === undefined) continue
      if (claimed !== 'mine') return claimed
      this.answer(service, { type: 'datagram', bytes: octets(packet), flow }, now)
      return 'taken'
    }
    return flow
  }

  #claimed(service: Service, packet: Packet, flow: Flow, now: number): 'mine' | Flow | undefined {
    if (this.#broken.has(service)) return undefined
    const { start, end } = packet
    try {
      return service.claims!(packet, flow)
    } catch (error) {
      this.#broke(service, 'claims', error, now)
      packet.start = start
      packet.end = end
      this.drain(now)
      return undefined
    }
  }

  reroute(packet: Packet, flow: Flow, now: number): Flow | 'taken' {
    for (const service of this.#rerouting) {
      if (this.#broken.has(service)) continue
      try {
        const via = service.reroute!(packet, flow)
        if (via !== undefined) return via
      } catch (error) {
        // what it has made of the packet nobody knows
        this.#broke(service, 'reroute', error, now)
        return 'taken'
      }
    }
    return flow
  }

  // ------------------------------------------------------------------ IKE SAs

  sa(line: string): IkeSa | undefined {
    return this.#sas.get(line)
  }

  up(sa: IkeSa, now: number): void {
    this.#sas.set(sa.line, sa)
    this.tell({ type: 'sa-up', sa: reference(sa) }, now)
  }

  rekeyed(successor: IkeSa): void {
    this.#sas.set(successor.line, successor)
  }

  moved(sa: IkeSa, now: number): void {
    if (this.#sas.get(sa.line) === sa) this.tell({ type: 'sa-moved', sa: reference(sa) }, now)
  }

  down(sa: IkeSa, why: string, now: number): void {
    if (this.#sas.get(sa.line) !== sa) return
    this.#sas.delete(sa.line)
    this.tell({ type: 'sa-down', sa: reference(sa), why }, now)
  }

  /**
   * Answers a request of an exchange that is not IKE's own. What else it causes is done by the next `drain`: the answer
   * goes first.
   * @returns undefined where nobody knows the exchange
   */
  respond(sa: IkeSa, exchange: number, payloads: readonly Payload[], now: number): Payload[] | undefined {
    const service = this.#all.find(s => s.exchanges?.includes(exchange))
    if (service === undefined) return undefined
    const outs = this.#outs(service, { type: 'request', sa: reference(sa), exchange, payloads }, now)
    for (const out of outs) if (out.type !== 'respond') this.#queue.push([service, out])
    const answer = outs.find(out => out.type === 'respond')
    return answer?.type === 'respond' ? [...answer.payloads] : undefined
  }

  /** Brings a service the answer to its request. */
  response(service: Service, sa: IkeSa, tag: string, payloads: readonly Payload[], now: number): void {
    this.answer(service, { type: 'response', sa: reference(sa), tag, payloads }, now)
  }

  // ------------------------------------------------------------------ outputs

  #step(service: Service, input: ServiceIn, now: number): void {
    for (const out of this.#outs(service, input, now)) this.#queue.push([service, out])
  }

  #outs(service: Service, input: ServiceIn, now: number): readonly ServiceOut[] {
    if (this.#broken.has(service)) return []
    try {
      return [...service.step(input, now)]
    } catch (error) {
      this.#broke(service, `step('${input.type}')`, error, now)
      return []
    }
  }

  #due(service: Service): number {
    if (this.#broken.size > 0 && this.#broken.has(service)) return Infinity
    const { deadline } = service
    // no time at all would stand for the deadline of everything else
    return Number.isNaN(deadline) ? Infinity : deadline
  }

  /** It is stopped; whoever waits for it is told. */
  #broke(service: Service, where: string, error: unknown, now: number): void {
    const plugin = this.#plugins.get(service)!
    const why = `${where} has thrown ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`
    this.#broken.set(service, `plugin ${plugin} is stopped, since ${why}`)
    this.#engine.broken(plugin, why, now)
    for (const [name, of] of this.#paths)
      if (of === service)
        for (const peer of this.#engine.soughtBy(name))
          this.#queue.push([service, lost(peer, this.#broken.get(service)!)])
  }

  /** What one output causes may cause more: one queue keeps the order. */
  drain(now: number): void {
    if (this.#draining) return
    this.#draining = true
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) this.#carryOut(next, now)
    } finally {
      this.#draining = false
    }
  }

  #carryOut([service, out]: readonly [Service, ServiceOut], now: number): void {
    switch (out.type) {
      case 'candidate':
        if (this.candidates.add(out.candidate)) this.#announce(now)
        return
      case 'candidate-gone':
        if (this.candidates.remove(out.candidate)) this.#announce(now)
        return
      case 'respond':
        return
      default:
        return this.#engine.perform(out, service, now)
    }
  }

  #announce(now: number): void {
    this.#engine.changed()
    if (this.#started) this.tell({ type: 'candidates', candidates: this.candidates.all }, now)
  }
}

const lost = (peer: string, why: string): ServiceOut => ({ type: 'failed', peer, code: 'PATH_FAILED', why })

const reference = (sa: IkeSa): IkeSaRef => ({
  id: sa.line,
  peer: sa.peer!,
  remoteId: sa.remoteId!,
  initiator: sa.initiated,
  flow: sa.flow,
  facts: sa.facts,
})
