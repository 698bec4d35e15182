import type { Address } from '../../core/contracts/net.ts'
import { NatweaveError } from '../../core/errors.ts'
import { parseIp } from './address.ts'
import type { VirtualClock } from './clock.ts'
import { Host } from './host.ts'
import { Lan } from './lan.ts'
import { Nat } from './nat.ts'
import { type NatBehaviour, type NatName, nats } from './nat-behaviour.ts'
import type { Attachment } from './node.ts'
import type { SeededRng } from './rng.ts'
import { renderEntry, type Trace } from './trace.ts'
import { type Tap, World } from './world.ts'

export interface VirtualInternetOptions {
  /** Same seed, same trace, octet by octet. */
  readonly seed?: number | string
  /** False for speed. */
  readonly trace?: boolean
}

export interface NatPlacement {
  /** A preset by name, a preset with changes, or all fields. */
  readonly behaviour: NatName | NatBehaviour
  readonly outside: Attachment
  readonly inside: Attachment
}

/** Creates an empty virtual internet; its time stands still until somebody runs it. */
export const virtualInternet = (options: VirtualInternetOptions = {}): VirtualInternet => new VirtualInternet(options)

/**
 * A network in one process with its own clock that jumps from event to event. The synchronous runners (`step`, `run`,
 * `runUntil`) suit machines; the asynchronous ones (`advance`, `until`) let promises settle between events, as
 * natweave's runtime needs.
 */
export class VirtualInternet {
  readonly seed: string
  readonly clock: VirtualClock
  readonly trace: Trace
  readonly #world: World
  readonly #hosts = new Map<string, Host>()

  constructor({ seed = 1, trace = true }: VirtualInternetOptions) {
    this.#world = new World(seed, trace)
    this.seed = this.#world.seed
    this.clock = this.#world.clock
    this.trace = this.#world.trace
  }

  /** Packet handlings so far: each arrival, departure and LAN passage counts one. */
  get hops(): number {
    return this.#world.hops
  }

  /** The stream of randomness of that name; asked twice, it goes on where it was. */
  rng(name: string): SeededRng {
    return this.#world.rng(name)
  }

  lan(name: string): Lan {
    return new Lan(name, this.#world)
  }

  /** A host, on a LAN if one is given; more with `attach`. */
  host(name: string, attachment?: Attachment): Host {
    const host = this.#add(new Host(name, this.#world))
    if (attachment !== undefined) host.attach(attachment)
    return host
  }

  /** A router between several LANs. */
  router(name: string, attachments: readonly Attachment[]): Host {
    const router = this.#add(new Host(name, this.#world))
    router.forward = true
    for (const attachment of attachments) router.attach(attachment)
    return router
  }

  /** A NAT box; its interfaces are `wan0` and `lan0`. */
  nat(name: string, { behaviour, outside, inside }: NatPlacement): Nat {
    const fields = typeof behaviour === 'string' ? nats[behaviour] : behaviour
    const nat = new Nat(name, this.#world, { ...fields }, box => box.attach({ name: 'wan0', ...outside }))
    nat.attach({ name: 'lan0', ...inside })
    return this.#add(nat)
  }

  /** What `Transport.resolve` finds under a name. */
  name(host: string, ...addresses: readonly Address[]): void {
    this.#world.names.set(
      host,
      addresses.map(address => parseIp(address).text),
    )
  }

  /** Shows a copy of every packet that passes a host (in and out) or a LAN. @returns takes the tap away */
  tap(point: { readonly name: string } | string, tap: Tap): () => void {
    return this.#world.tap(typeof point === 'string' ? point : point.name, tap)
  }

  /** Runs the next event. @returns false when nothing is left to happen */
  step(): boolean {
    return this.clock.step()
  }

  /** Runs everything that happens within `ms` from now, and ends there. */
  run(ms: number): void {
    const end = this.clock.now() + ms
    while (this.clock.step(end));
    this.clock.moveTo(end)
  }

  /** Runs until `done` holds. @throws NatweaveError TESTING_NOT_REACHED when it does not within that many virtual ms */
  runUntil(done: () => boolean, { within }: { readonly within: number }): void {
    const end = this.clock.now() + within
    while (!done()) if (!this.clock.step(end)) throw this.#notReached(end)
  }

  /** Lets all promises that can settle do so, without moving time. Real I/O is not waited for. */
  async settle(): Promise<void> {
    this.clock.outside = false
    // A macrotask comes after all microtasks, however long their chain.
    await new Promise<void>(resolve => setImmediate(resolve))
  }

  /** Like `run`, with promises settled after each event that touched code outside the simulation. */
  async advance(ms: number): Promise<void> {
    const end = this.clock.now() + ms
    await this.settle()
    while (this.clock.step(end)) if (this.clock.outside) await this.settle()
    this.clock.moveTo(end)
    await this.settle()
  }

  /** Like `runUntil`, with promises settled. @throws NatweaveError TESTING_NOT_REACHED */
  async until(done: () => boolean, { within }: { readonly within: number }): Promise<void> {
    const end = this.clock.now() + within
    await this.settle()
    while (!done()) {
      if (!this.clock.step(end)) throw this.#notReached(end)
      if (this.clock.outside) await this.settle()
    }
  }

  /** Lets time pass until the promise has settled. @throws what it throws, NatweaveError TESTING_NOT_REACHED */
  async complete<T>(promise: Promise<T>, { within = 120_000 }: { readonly within?: number } = {}): Promise<T> {
    let settled = false
    const watched = promise.finally(() => {
      settled = true
    })
    // the rejection is the caller's; without this it would count as unhandled while time passes
    watched.catch(() => {})
    await this.until(() => settled, { within })
    return watched
  }

  #add<T extends Host>(host: T): T {
    if (this.#hosts.has(host.name)) throw new NatweaveError('TESTING_NAME', `there are two hosts named ${host.name}`)
    this.#hosts.set(host.name, host)
    return host
  }

  #notReached(end: number): NatweaveError {
    const now = this.clock.now()
    this.clock.moveTo(end)
    const last = this.trace.entries().slice(-12).map(renderEntry)
    const tail = last.length === 0 ? '' : `\nlast packets:\n  ${last.join('\n  ')}`
    return new NatweaveError(
      'TESTING_NOT_REACHED',
      `not reached by ${end} ms of virtual time, last event at ${now} ms; seed ${this.seed}${tail}`,
    )
  }
}
