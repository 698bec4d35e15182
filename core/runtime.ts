import type { PluginHost } from './container.ts'
import type { PacketSizes, PlaneOutlet } from './contracts/data-plane.ts'
import type { DeviceState, PacketDevice } from './contracts/device.ts'
import type { Log } from './contracts/log.ts'
import type { Clock } from './contracts/machine.ts'
import type { CheckReport, Natweave, NatweaveEvent, PeerStatus, PlanReport, Status } from './contracts/natweave.ts'
import type { Address, Endpoint, Flow } from './contracts/net.ts'
import type { Packet } from './contracts/packet.ts'
import type { SaStore } from './contracts/sa-store.ts'
import type { ServiceIn } from './contracts/service.ts'
import type { LocalEndpoint, Transport, TransportSink } from './contracts/transport.ts'
import { deviceState } from './device-state.ts'
import type { Engine } from './engine.ts'
import { NatweaveError, SystemError } from './errors.ts'
import type { Memory } from './pursuit.ts'
import type { OuterWish } from './rim.ts'
import { planReports, status } from './status.ts'

export interface RuntimeParts {
  readonly engine: Engine
  readonly transports: readonly Transport[]
  readonly device: PacketDevice | undefined
  readonly store: SaStore | undefined
  readonly clock: Clock
  readonly log: Log
  readonly host: PluginHost
  readonly sizes: PacketSizes
}

/** How long `stop` waits for peers to answer their DELETE. */
const FAREWELL_MS = 2_000

/** What `connect` waits for, by peer. */
interface Waiter {
  readonly done: (event: NatweaveEvent) => boolean
  readonly settle: (error?: Error) => void
}

/**
 * The async rim of one build: opens what the plugins brought, hands the engine datagrams, packets and time, and carries
 * out what it says. No protocol decisions here.
 */
export class Runtime implements Natweave {
  readonly #parts: RuntimeParts
  /** And whether they want keys. */
  readonly #listeners = new Map<(event: NatweaveEvent) => void, boolean>()
  readonly #waiters = new Set<Waiter>()
  #state: 'new' | 'starting' | 'running' | 'stopping' | 'stopped' = 'new'
  #cancelTimer: () => void = () => {}
  #timerAt = Infinity
  #configuring: Promise<void> = Promise.resolve()
  #configureAgain = false
  /** Counts changes of local addresses: what was asked about an older one is of no use. */
  #changes = 0
  readonly #opened: { close(): Promise<void> }[] = []

  constructor(parts: RuntimeParts) {
    this.#parts = parts
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') throw new NatweaveError('USAGE_STATE', 'an instance is started once')
    this.#state = 'starting'
    const { engine, transports, device, store, host, sizes } = this.#parts
    try {
      await host.start()
      if (store !== undefined) await this.#open(store, () => store.open())
      for (const plane of engine.planes)
        if (plane.open !== undefined)
          await this.#open({ close: async () => plane.close?.() }, () => plane.open!(this.#outlet(), sizes))
      for (const transport of transports) await this.#open(transport, () => transport.open(this.#sink()))
      engine.setLocals(
        transports.flatMap(t => t.locals()),
        this.#now(),
      )
      if (device !== undefined)
        await this.#open(device, () =>
          device.open({ packet: p => this.#fromDevice(p), failed: e => this.#broken(device.name, e) }),
        )
    } catch (error) {
      await this.#closeAll()
      this.#state = 'stopped'
      throw error
    }
    this.#state = 'running'
    engine.start(this.#now())
    this.#arm()
    for (const { settings } of engine.peersByName.values())
      if (settings.start === 'connect') void this.#begin(settings.name)
  }

  async #open(part: { close(): Promise<void> }, open: () => Promise<void>): Promise<void> {
    await open()
    this.#opened.push(part)
  }

  #sink(): TransportSink {
    return {
      receive: (packet, flow) => this.#fromNetwork(packet, flow),
      changed: () => {
        this.#parts.engine.setLocals(
          this.#parts.transports.flatMap(t => t.locals()),
          this.#now(),
        )
        this.deviceChanged()
        void this.#relocate()
      },
      pathMtu: (local, remote, mtu) => this.#parts.engine.pathMtu(local, remote, mtu, this.#now()),
      failed: error => this.#broken('transport', error),
    }
  }

  /** For planes with a thread of their own. */
  #outlet(): PlaneOutlet {
    return {
      transmit: (packet, flow) => this.#parts.engine.transmit(packet, flow, this.#now()),
      deliver: packet => this.deliver(packet),
      event: event => {
        if (this.#state !== 'running' && this.#state !== 'stopping') return
        this.#parts.engine.planeEvent(event, this.#now())
        this.#arm()
      },
    }
  }

  /** Asks which local address leads to which peer now, and tells the engine. */
  async #relocate(): Promise<void> {
    const { engine, transports } = this.#parts
    const change = ++this.#changes
    if (this.#state !== 'running') return
    const sources = new Map<Address, Address>()
    for (const to of new Set([...engine.peersByName.values()].flatMap(peer => peer.destinations)))
      for (const transport of transports) {
        const source = await transport.source(to)
        if (source !== undefined && !sources.has(to)) sources.set(to, source)
      }
    if (change === this.#changes) this.run(now => engine.relocate(sources, now))
  }

  #broken(what: string, error: Error): void {
    this.#parts.log.error(`${what}: ${error.message}`)
  }

  async stop(): Promise<void> {
    if (this.#state !== 'running') return
    this.#state = 'stopping'
    const { engine, clock } = this.#parts
    const up = [...engine.peersByName.values()].filter(p => p.sas.length > 0)
    const gone = this.#wait(() => up.every(p => p.sas.length === 0))
    for (const peer of up) engine.disconnect(peer.settings.name, this.#now())
    this.#arm()
    if (up.some(p => p.sas.length > 0)) {
      const cancel = clock.schedule(this.#now() + FAREWELL_MS, () => gone.settle())
      await gone.promise
      cancel()
    } else gone.settle()
    engine.stop(this.#now())
    this.#cancelTimer()
    for (const waiter of [...this.#waiters]) waiter.settle(new NatweaveError('STOPPED', 'natweave was stopped'))
    await this.#closeAll()
    this.#state = 'stopped'
  }

  async #closeAll(): Promise<void> {
    for (const part of this.#opened.splice(0).reverse())
      await part.close().catch((error: Error) => this.#broken('closing', error))
    await this.#parts.host.stop().catch((error: Error) => this.#broken('closing', error))
  }

  async connect(name: string): Promise<PeerStatus> {
    const { engine } = this.#parts
    this.#needRunning()
    const settings = engine.settingsOf(name)
    const wanted = Object.values(settings.children).filter(c => c.start === 'connect').length
    const ready = (): boolean => {
      const sa = engine.peersByName.get(name)?.current
      return sa?.state === 'established' && sa.children.size >= wanted
    }
    if (!ready()) {
      const waiting = this.#wait(event => event.peer === name && ready(), name)
      await this.#begin(name, waiting.settle)
      await waiting.promise.catch((error: Error) => {
        // who asked has the reason; only what the configuration wants connected is tried on
        if (settings.start !== 'connect') this.run(now => engine.disconnect(name, now))
        throw error
      })
    }
    // who sends something now finds addresses and routes in place
    await this.#configuring
    return this.status().peers.find(p => p.name === name)!
  }

  /** Resolves the peer's name and tells the engine to go; a failure goes to `settle`, or to the peer's next attempt. */
  async #begin(name: string, settle?: (error: Error) => void): Promise<void> {
    const { engine } = this.#parts
    const settings = engine.settingsOf(name)
    try {
      const { remote } = engine.peersByName.get(name)!
      const where = remote === undefined ? undefined : await this.#locate(remote, settings.remotePort)
      if (this.#state !== 'running') return
      const memory = await this.#recall(name, where?.source)
      if (this.#state !== 'running') return
      engine.connect(name, { remote: where?.remote, source: where?.source }, memory, this.#now())
    } catch (error) {
      if (!(error instanceof NatweaveError)) throw error
      engine.unreachable(name, error.code, error.message, this.#now())
      settle?.(error)
    }
    this.#arm()
  }

  /** What reached the peer from this network before. A store that fails costs a memory, not the connection. */
  async #recall(name: string, source: Address | undefined): Promise<Memory | undefined> {
    const { engine, store, clock } = this.#parts
    const network = engine.networkFrom(source)
    if (network === undefined || store === undefined) return undefined
    const found = await store.get(`reached/${network}/${name}`).catch((error: Error) => this.#broken(store.name, error))
    if (typeof found !== 'object' || found === null) return undefined
    const { path, encap, at } = found as Record<string, unknown>
    if (typeof path !== 'string' || typeof at !== 'number') return undefined
    return { path, ...(typeof encap === 'string' && { encap }), ageMs: Math.max(0, clock.wall() - at) }
  }

  #remember(name: string): void {
    const { engine, store, clock } = this.#parts
    const reached = engine.reachedBy(name)
    if (reached === undefined || store === undefined) return
    const { network, ...how } = reached
    store
      .set(`reached/${network}/${name}`, { ...how, at: clock.wall() })
      .catch((error: Error) => this.#broken(store.name, error))
  }

  async #locate(host: string, port: number): Promise<{ remote: Endpoint; source: Address | undefined }> {
    const { transports } = this.#parts
    const failures: string[] = []
    for (const transport of transports) {
      for (const address of await transport.resolve(host)) {
        const source = await transport.source(address)
        if (source !== undefined) return { remote: { address, port }, source }
        failures.push(`no route to ${address}`)
      }
    }
    throw new SystemError('SYSTEM_UNREACHABLE', `${host}: ${failures.join(', ') || 'no transport is loaded'}`)
  }

  async disconnect(name: string): Promise<void> {
    const { engine } = this.#parts
    this.#needRunning()
    engine.settingsOf(name)
    const gone = (): boolean => engine.peersByName.get(name)!.sas.length === 0
    const waiting = this.#wait(event => event.peer === name && gone())
    engine.disconnect(name, this.#now())
    this.#arm()
    if (gone()) waiting.settle()
    await waiting.promise
  }

  async rekey(name: string, child?: string): Promise<void> {
    this.#needRunning()
    const wanted = child === undefined ? 'rekeyed' : 'child-rekeyed'
    const { engine } = this.#parts
    engine.settingsOf(name)
    const waiting = this.#wait(
      e => e.peer === name && e.type === wanted && (e.type !== 'child-rekeyed' || e.child === child),
      name,
    )
    try {
      engine.rekey(name, child, this.#now())
    } catch (error) {
      waiting.settle()
      throw error
    }
    this.#arm()
    await waiting.promise
  }

  status(): Status {
    const { engine, device, host } = this.#parts
    return status(engine, { device: device?.name, plugins: host.names }, this.#now())
  }

  plan(name: string): readonly PlanReport[] {
    return planReports(this.#parts.engine, name, this.#now())
  }

  check(): CheckReport {
    return this.#parts.engine.check()
  }

  on(listener: (event: NatweaveEvent) => void, wanted?: { readonly keys: boolean }): () => void {
    this.#listeners.set(listener, wanted?.keys === true)
    return () => this.#listeners.delete(listener)
  }

  /** From the engine: whether anybody wants events of the kinds that cost something to make, and secrets at that. */
  listens(type: 'message' | 'keys'): boolean {
    if (type === 'message') return this.#listeners.size > 0
    for (const wantsKeys of this.#listeners.values()) if (wantsKeys) return true
    return false
  }

  /** From the engine: an event for the application, and for whoever waits for it. */
  event(event: NatweaveEvent): void {
    if (event.type === 'plugin-failed')
      this.#parts.log.error('a plugin has failed and is stopped', { plugin: event.plugin, error: event.why })
    for (const [listener, wantsKeys] of this.#listeners) {
      if (event.type === 'keys' && !wantsKeys) continue
      try {
        listener(event)
      } catch (error) {
        this.#parts.log.error('a listener failed', { error: String(error) })
      }
    }
    for (const waiter of [...this.#waiters]) if (waiter.done(event)) waiter.settle()
    if (event.type === 'retry' || event.type === 'redirected') void this.#begin(event.peer)
    if (event.type === 'established') this.#remember(event.peer)
    if (event.type === 'acquire') this.#acquire(event.peer, event.child)
  }

  #acquire(peer: string, child: string): void {
    const { engine } = this.#parts
    if (engine.peersByName.get(peer)?.state === 'established')
      queueMicrotask(() => this.run(now => engine.acquire(peer, child, now)))
    else if (engine.peersByName.get(peer)?.state === 'idle') void this.#begin(peer)
  }

  /** From the engine: something a service wants that takes time. */
  fetch(wish: OuterWish, answered: (input: ServiceIn, now: number) => void): void {
    const tell = (input: ServiceIn): void => this.run(now => answered(input, now))
    switch (wish.type) {
      case 'connect':
        if (this.#parts.engine.peersByName.get(wish.peer)?.state === 'idle') void this.#begin(wish.peer)
        return
      case 'unbind':
        for (const transport of this.#parts.transports) transport.unbind?.(wish.local)
        return
      case 'bind':
        return void this.#bind(wish.address).then(
          local => tell({ type: 'bound', tag: wish.tag, local }),
          (error: Error) => tell({ type: 'bound', tag: wish.tag, local: undefined, why: error.message }),
        )
      case 'resolve':
        return void this.#resolve(wish.host).then(found => tell({ type: 'resolved', tag: wish.tag, ...found }))
    }
  }

  async #bind(address: Address): Promise<LocalEndpoint> {
    for (const transport of this.#parts.transports)
      if (transport.bind !== undefined && transport.locals().some(l => l.address === address && l.protocol === 17))
        return transport.bind(address)
    throw new SystemError('SYSTEM_ADDRESS', `no transport has further sockets for ${address}`)
  }

  async #resolve(host: string): Promise<{ addresses: readonly Address[]; source: Address | undefined }> {
    for (const transport of this.#parts.transports) {
      const addresses = await transport.resolve(host).catch(() => [])
      const [first] = addresses
      if (first !== undefined) return { addresses, source: await transport.source(first) }
    }
    return { addresses: [], source: undefined }
  }

  transmit(packet: Packet, flow: Flow): void {
    for (const transport of this.#parts.transports) if (transport.carries(flow)) return transport.send(packet, flow)
    this.#parts.engine.countDrop('no-transport')
  }

  deliver(packet: Packet): void {
    this.#parts.device?.write(packet)
  }

  /** Brings the device to what the engine needs now; changes that come meanwhile are done together afterwards. */
  deviceChanged(): void {
    const { device, engine, sizes } = this.#parts
    if (device === undefined || this.#state === 'starting') return
    if (this.#configureAgain) return
    this.#configureAgain = true
    this.#configuring = this.#configuring.then(async () => {
      this.#configureAgain = false
      if (this.#state !== 'running') return
      const state: DeviceState = deviceState(engine, sizes.mtu)
      await device.configure(state).catch((error: Error) => this.#broken(device.name, error))
    })
  }

  #fromNetwork(packet: Packet, flow: Flow): void {
    if (this.#state !== 'running' && this.#state !== 'stopping') return
    if (this.#parts.engine.inbound(packet, flow, this.#now())) this.#arm()
  }

  #fromDevice(packet: Packet): void {
    if (this.#state !== 'running') return
    if (this.#parts.engine.outbound(packet, this.#now())) this.#arm()
  }

  /** Does something in the engine at the present time. */
  run(action: (now: number) => void): void {
    if (this.#state !== 'running') return
    action(this.#now())
    this.#arm()
  }

  #now(): number {
    return this.#parts.clock.now()
  }

  /** One timer for the whole engine; one that fires too early costs a look, so it is moved only when it must be earlier. */
  #arm(): void {
    const due = this.#parts.engine.deadline
    if (due >= this.#timerAt || this.#state === 'stopped') return
    this.#cancelTimer()
    this.#timerAt = due
    this.#cancelTimer = this.#parts.clock.schedule(due, () => {
      this.#timerAt = Infinity
      this.#parts.engine.timeout(this.#now())
      this.#arm()
    })
  }

  /** @param failing - peer whose failure ends the wait with an error */
  #wait(
    done: (event: NatweaveEvent) => boolean,
    failing?: string,
  ): { promise: Promise<void>; settle: (error?: Error) => void } {
    let settle: (error?: Error) => void = () => {}
    const promise = new Promise<void>((resolve, reject) => {
      settle = error => {
        this.#waiters.delete(waiter)
        if (error === undefined) resolve()
        else reject(error)
      }
      const waiter: Waiter = {
        done: event => {
          const failed = event.type === 'failed' || event.type === 'down' || event.type === 'child-failed'
          if (failing !== undefined && event.peer === failing && failed) {
            settle(new NatweaveError(event.code === 'OK' ? 'PEER_CLOSED' : event.code, `${event.peer}: ${event.why}`))
            return false
          }
          return done(event)
        },
        settle: error => settle(error),
      }
      this.#waiters.add(waiter)
    })
    return { promise, settle }
  }

  #needRunning(): void {
    if (this.#state !== 'running') throw new NatweaveError('USAGE_STATE', 'natweave is not running')
  }
}
