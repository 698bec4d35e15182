import type { CryptoProvider } from '../contracts/crypto.ts'
import type { ChildCounters, ChildSaSpec } from '../contracts/data-plane.ts'
import type { Drop } from '../contracts/drop.ts'
import type { Rng } from '../contracts/machine.ts'
import type { Flow } from '../contracts/net.ts'
import { AhOpener, AhSealer } from './ah.ts'
import { EspOpener, EspSealer } from './esp.ts'
import { innerMtu } from './overhead.ts'
import { ReplayWindow } from './replay.ts'
import { SelectorPair } from './selector.ts'
import { isAh } from './transforms.ts'

type MutableCounters = { -readonly [K in keyof ChildCounters]: ChildCounters[K] }

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
  /** True once a hard limit was met: it carries nothing more. */
  expired = false
  readonly #counters: MutableCounters = {
    packetsIn: 0,
    octetsIn: 0,
    packetsOut: 0,
    octetsOut: 0,
    drops: {},
    lastIn: 0,
    lastOut: 0,
  }
  readonly #drops: Partial<Record<Drop, number>> = {}
  readonly #softAt: number
  readonly #hardAt: number
  #softSaid = false
  #pathMtu: number | undefined
  #innerMtu = Number.POSITIVE_INFINITY

  /** @throws UsageError USAGE_UNSUPPORTED_TRANSFORM, USAGE_ADDRESS */
  constructor(spec: ChildSaSpec, crypto: CryptoProvider, rng: Rng, now: number) {
    this.spec = spec
    this.flow = spec.flow
    this.selectors = new SelectorPair(spec.local, spec.remote)
    this.ah = isAh(spec.suite)
    this.sealer = this.ah
      ? new AhSealer(crypto, spec.suite, spec.outbound, spec.ahAlign)
      : new EspSealer(crypto, spec.suite, spec.outbound, rng)
    this.opener = this.ah
      ? new AhOpener(crypto, spec.suite, spec.inbound)
      : new EspOpener(crypto, spec.suite, spec.inbound)
    this.window = new ReplayWindow(spec.replayWindow, spec.suite.esn)
    this.#softAt = now + spec.lifetime.softMs
    this.#hardAt = now + spec.lifetime.hardMs
  }

  /** When the next limit of time is due. */
  get deadline(): number {
    if (this.expired) return Number.POSITIVE_INFINITY
    return this.#softSaid ? this.#hardAt : Math.min(this.#softAt, this.#hardAt)
  }

  /** Largest inner packet for the known path; Infinity while nothing is known. */
  get innerMtu(): number {
    return this.#innerMtu
  }

  /** Largest outer packet the path carries; undefined for unknown. */
  setPathMtu(mtu: number | undefined): void {
    this.#pathMtu = mtu
    this.#refit()
  }

  move(flow: Flow, wrapping?: Pick<ChildSaSpec, 'encap' | 'follow'>): void {
    this.flow = flow
    if (wrapping !== undefined) this.spec = { ...this.spec, ...wrapping }
    this.#refit()
  }

  /** A packet authenticated. @returns true for the first one */
  received(now: number): boolean {
    this.#counters.lastIn = now
    return ++this.#counters.packetsIn === 1
  }

  delivered(octets: number): void {
    this.#counters.octetsIn += octets
  }

  /** @param octets - of the inner packet */
  sent(octets: number, now: number): void {
    this.#counters.packetsOut++
    this.#counters.octetsOut += octets
    this.#counters.lastOut = now
  }

  drop(reason: Drop): void {
    this.#drops[reason] = (this.#drops[reason] ?? 0) + 1
  }

  dropped(reason: Drop): number {
    return this.#drops[reason] ?? 0
  }

  /** A copy: the counters go on. */
  counters(): ChildCounters {
    return { ...this.#counters, drops: { ...this.#drops } }
  }

  /**
   * Compares with the limits; each of the two is said once. Packets and octets count per direction, as each has a key of
   * its own.
   */
  expiry(now: number): Expiry {
    if (this.expired) return undefined
    const { lifetime } = this.spec
    if (now >= this.#hardAt || this.#counted(lifetime.hardPackets, lifetime.hardOctets)) {
      this.expired = true
      return 'hard-expiry'
    }
    if (this.#softSaid || !(now >= this.#softAt || this.#counted(lifetime.softPackets, lifetime.softOctets)))
      return undefined
    this.#softSaid = true
    return 'soft-expiry'
  }

  /** Wipes the keys; `expired` afterwards, so that nothing under way uses what is left of them. */
  destroy(): void {
    this.expired = true
    this.sealer.destroy()
    this.opener.destroy()
  }

  #counted(packets: number, octets: number): boolean {
    const { packetsIn, packetsOut, octetsIn, octetsOut } = this.#counters
    return packetsIn >= packets || packetsOut >= packets || octetsIn >= octets || octetsOut >= octets
  }

  #refit(): void {
    const { suite, mode, encap } = this.spec
    const family = this.flow.remote.address.includes(':') ? 6 : 4
    this.#innerMtu =
      this.#pathMtu === undefined
        ? Number.POSITIVE_INFINITY
        : innerMtu(this.#pathMtu, { suite, mode: mode.name, saves: mode.saves, encapOctets: encap.overhead, family })
  }
}
