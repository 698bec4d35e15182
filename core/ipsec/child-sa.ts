import type { PacketCrypto } from '../contracts/crypto.ts'
import type { ChildCounters, ChildSaSpec } from '../contracts/data-plane.ts'
import type { Drop } from '../contracts/drop.ts'
import type { Rng } from '../contracts/machine.ts'
import type { Flow } from '../contracts/net.ts'
import { AhOpener, AhSealer } from './ah.ts'
import { EspOpener, EspSealer } from './esp.ts'
import { innerMtu } from './overhead.ts'
import type { PathMtu, PathMtus } from './path-mtu.ts'
import { ReplayWindow } from './replay.ts'
import { countersOf, SaMemory, Word } from './sa-memory.ts'
import { hasAllPorts, SelectorPair } from './selector.ts'
import { isAh } from './transforms.ts'

/** What became of a limit since the last look. */
export type Expiry = 'soft-expiry' | 'hard-expiry' | undefined

/** One installed Child SA: keys of both directions, replay window, counters and lifetime. */
export class InstalledSa {
  spec: ChildSaSpec
  readonly selectors: SelectorPair
  readonly ah: boolean
  readonly sealer: EspSealer | AhSealer
  readonly opener: EspOpener | AhOpener
  readonly window: ReplayWindow
  flow: Flow
  /** An opened packet needs no room in front of where it was. */
  readonly growsNot: boolean
  /** Inner packets may be cut before they are protected: the other end's selectors take every part. */
  readonly mayCut: boolean
  readonly #memory: SaMemory
  readonly #numbers: Float64Array
  readonly #softAt: number
  readonly #hardAt: number
  /** Which limits are the next to be met: the soft ones, the hard ones once those were said. */
  #nextAt = 0
  #nextPackets = 0
  #nextOctets = 0
  readonly #paths: PathMtus
  #path: PathMtu
  /** The path MTU that `#innerMtu` was reckoned from. */
  #fitted = Number.POSITIVE_INFINITY
  #innerMtu = Number.POSITIVE_INFINITY

  /**
   * @param paths - what is known of the ways that SAs go
   * @param now - when it was installed first
   * @param memory - see `SaMemory`
   * @throws UsageError USAGE_UNSUPPORTED_TRANSFORM, USAGE_ADDRESS
   */
  constructor(
    spec: ChildSaSpec,
    crypto: PacketCrypto,
    rng: Rng,
    paths: PathMtus,
    now: number,
    memory?: ArrayBufferLike,
  ) {
    this.#memory = new SaMemory(spec.replayWindow, memory)
    this.#numbers = this.#memory.numbers
    this.spec = spec
    this.flow = spec.flow
    this.growsNot = (spec.mode.saves ?? (spec.mode.name === 'tunnel' ? 0 : 1)) === 0
    this.mayCut = this.growsNot && [...spec.local, ...spec.remote].every(hasAllPorts)
    this.selectors = new SelectorPair(spec.local, spec.remote)
    this.ah = isAh(spec.suite)
    this.sealer = this.ah
      ? new AhSealer(crypto, spec.suite, spec.outbound, spec.ahAlign)
      : new EspSealer(crypto, spec.suite, spec.outbound, rng, 1, this.#memory)
    this.opener = this.ah
      ? new AhOpener(crypto, spec.suite, spec.inbound)
      : new EspOpener(crypto, spec.suite, spec.inbound)
    this.window = new ReplayWindow(spec.replayWindow, spec.suite.esn, this.#memory)
    this.#softAt = now + spec.lifetime.softMs
    this.#hardAt = now + spec.lifetime.hardMs
    this.#lookAhead()
    this.#paths = paths
    this.#path = paths.use(spec.flow)
  }

  /** True once a hard limit was met: it carries nothing more. */
  get expired(): boolean {
    return this.#numbers[Word.EXPIRED] !== 0
  }

  /** When the next limit of time is due. */
  get deadline(): number {
    return this.#nextAt
  }

  /** Whether `expiry` has something to say. */
  isDue(now: number): boolean {
    return now >= this.#nextAt || this.#counted(this.#nextPackets, this.#nextOctets)
  }

  /** Largest inner packet for the path as it is known; Infinity while nothing is. */
  innerMtu(now: number): number {
    const octets = this.#path.at(now)
    if (octets !== this.#fitted) this.#fit(octets)
    return this.#innerMtu
  }

  move(flow: Flow, wrapping?: Pick<ChildSaSpec, 'encap' | 'follow'>): void {
    this.#paths.leave(this.flow)
    this.#path = this.#paths.use(flow)
    this.flow = flow
    if (wrapping !== undefined) this.spec = { ...this.spec, ...wrapping }
    this.#fit(Number.POSITIVE_INFINITY)
  }

  /** A packet authenticated. @returns true for the first one */
  received(now: number): boolean {
    this.#numbers[Word.LAST_IN] = now
    return ++this.#numbers[Word.PACKETS_IN]! === 1
  }

  delivered(octets: number): void {
    this.#numbers[Word.OCTETS_IN]! += octets
  }

  /** @param octets - of the inner packet */
  sent(octets: number, now: number): void {
    const numbers = this.#numbers
    numbers[Word.PACKETS_OUT]!++
    numbers[Word.OCTETS_OUT]! += octets
    numbers[Word.LAST_OUT] = now
  }

  drop(reason: Drop): void {
    this.#memory.drop(reason)
  }

  dropped(reason: Drop): number {
    return this.#memory.dropped(reason)
  }

  /** A copy: the counters go on. */
  counters(): ChildCounters {
    return countersOf(this.#memory)
  }

  /**
   * Compares with the limits; each of the two is said once. Packets and octets count per direction, as each has a key of
   * its own.
   */
  expiry(now: number): Expiry {
    if (this.expired) return undefined
    const { lifetime } = this.spec
    if (now >= this.#hardAt || this.#counted(lifetime.hardPackets, lifetime.hardOctets)) {
      this.#numbers[Word.EXPIRED] = 1
      this.#lookAhead()
      return 'hard-expiry'
    }
    if (
      this.#numbers[Word.SOFT_SAID] !== 0 ||
      !(now >= this.#softAt || this.#counted(lifetime.softPackets, lifetime.softOctets))
    )
      return undefined
    this.#numbers[Word.SOFT_SAID] = 1
    this.#lookAhead()
    return 'soft-expiry'
  }

  /** Wipes the keys; `expired` afterwards, so that nothing under way uses what is left of them. */
  destroy(): void {
    this.#numbers[Word.EXPIRED] = 1
    this.#lookAhead()
    this.#paths.leave(this.flow)
    this.sealer.destroy()
    this.opener.destroy()
  }

  #lookAhead(): void {
    const { softPackets, softOctets, hardPackets, hardOctets } = this.spec.lifetime
    const soft = this.#numbers[Word.SOFT_SAID] === 0
    this.#nextAt = this.expired ? Number.POSITIVE_INFINITY : soft ? Math.min(this.#softAt, this.#hardAt) : this.#hardAt
    this.#nextPackets = this.expired
      ? Number.POSITIVE_INFINITY
      : soft
        ? Math.min(softPackets, hardPackets)
        : hardPackets
    this.#nextOctets = this.expired ? Number.POSITIVE_INFINITY : soft ? Math.min(softOctets, hardOctets) : hardOctets
  }

  #counted(packets: number, octets: number): boolean {
    const numbers = this.#numbers
    return (
      numbers[Word.PACKETS_IN]! >= packets ||
      numbers[Word.PACKETS_OUT]! >= packets ||
      numbers[Word.OCTETS_IN]! >= octets ||
      numbers[Word.OCTETS_OUT]! >= octets
    )
  }

  #fit(octets: number): void {
    const { suite, mode, encap } = this.spec
    const family = this.flow.remote.address.includes(':') ? 6 : 4
    const framing = { suite, mode: mode.name, saves: mode.saves, encapOctets: encap.overhead, family } as const
    this.#fitted = octets
    this.#innerMtu = Number.isFinite(octets) ? innerMtu(octets, framing) : octets
  }
}
