import type { PacketCrypto } from '../contracts/crypto.ts'
import type { ChildCounters, ChildSaSpec } from '../contracts/data-plane.ts'
import type { Drop } from '../contracts/drop.ts'
import type { Rng } from '../contracts/machine.ts'
import type { Flow } from '../contracts/net.ts'
import { UsageError } from '../errors.ts'
import { concat } from '../wire/index.ts'
import { AhOpener, AhSealer } from './ah.ts'
import { EspOpener, EspSealer } from './esp.ts'
import { innerMtu } from './overhead.ts'
import type { PathMtu, PathMtus } from './path-mtu.ts'
import { ReplayWindow } from './replay.ts'
import { countersOf, SaMemory, Word } from './sa-memory.ts'
import { hasAllPorts, type SelectorPair, selectorPair } from './selector.ts'
import { isAh, refusesSuite } from './transforms.ts'

/** What became of a limit since the last look. */
export type Expiry = 'soft-expiry' | 'hard-expiry' | undefined

/** What works on packets. */
interface Working {
  readonly sealer: EspSealer | AhSealer
  readonly opener: EspOpener | AhOpener
  readonly window: ReplayWindow
}

const IDLE: ChildCounters = Object.freeze({
  packetsIn: 0,
  octetsIn: 0,
  packetsOut: 0,
  octetsOut: 0,
  drops: Object.freeze({}),
  lastIn: 0,
  lastOut: 0,
})

const keysOf = ({ inbound, outbound }: ChildSaSpec): readonly Uint8Array[] =>
  [inbound, outbound].flatMap(({ encr, salt, integ }) => [encr, salt, integ])

/**
 * One installed Child SA: keys of both directions, replay window, counters and lifetime. Until its first packet it is little
 * more than its keys: most SAs of a gateway are idle, and what works on packets is large.
 */
export class InstalledSa {
  spec: ChildSaSpec
  readonly selectors: SelectorPair
  readonly ah: boolean
  flow: Flow
  /** An opened packet needs no room in front of where it was. */
  readonly growsNot: boolean
  /** Inner packets may be cut before they are protected: the other end's selectors take every part. */
  readonly mayCut: boolean
  readonly #crypto: PacketCrypto
  readonly #rng: Rng
  /** Those of `keysOf` one after the other, until `#working` has them. */
  #keys: Uint8Array | undefined
  #working: Working | undefined
  #memory: SaMemory | undefined
  #destroyed = false
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
    const refusal = refusesSuite(crypto, spec.suite, spec.inbound) ?? refusesSuite(crypto, spec.suite, spec.outbound)
    if (refusal !== undefined) throw new UsageError('USAGE_UNSUPPORTED_TRANSFORM', refusal)
    this.#crypto = crypto
    this.#rng = rng
    if (memory !== undefined) this.#memory = new SaMemory(spec.replayWindow, memory)
    this.spec = spec
    this.flow = spec.flow
    this.growsNot = (spec.mode.saves ?? (spec.mode.name === 'tunnel' ? 0 : 1)) === 0
    this.mayCut = this.growsNot && [...spec.local, ...spec.remote].every(hasAllPorts)
    this.selectors = selectorPair(spec.local, spec.remote)
    this.ah = isAh(spec.suite)
    this.#keys = concat(...keysOf(spec))
    this.#softAt = now + spec.lifetime.softMs
    this.#hardAt = now + spec.lifetime.hardMs
    this.#lookAhead()
    this.#paths = paths
    this.#path = paths.use(spec.flow)
  }

  get sealer(): EspSealer | AhSealer {
    return (this.#working ?? this.#wake()).sealer
  }

  get opener(): EspOpener | AhOpener {
    return (this.#working ?? this.#wake()).opener
  }

  get window(): ReplayWindow {
    return (this.#working ?? this.#wake()).window
  }

  get #state(): SaMemory {
    this.#memory ??= new SaMemory(this.spec.replayWindow)
    return this.#memory
  }

  #wake(): Working {
    const { suite, outbound, inbound, ahAlign, replayWindow } = this.spec
    const [crypto, memory] = [this.#crypto, this.#state]
    let at = 0
    const [encrIn, saltIn, integIn, encr, salt, integ] = keysOf(this.spec).map(({ length }) => {
      at += length
      return this.#keys!.subarray(at - length, at)
    })
    const theirs = { spi: inbound.spi, encr: encrIn!, salt: saltIn!, integ: integIn! }
    const mine = { spi: outbound.spi, encr: encr!, salt: salt!, integ: integ! }
    const working = {
      sealer: this.ah
        ? new AhSealer(crypto, suite, mine, ahAlign)
        : new EspSealer(crypto, suite, mine, this.#rng, 1, memory),
      opener: this.ah ? new AhOpener(crypto, suite, theirs) : new EspOpener(crypto, suite, theirs),
      window: new ReplayWindow(replayWindow, suite.esn, memory),
    }
    this.#keys!.fill(0)
    this.#keys = undefined
    this.#working = working
    return working
  }

  /** True once a hard limit was met: it carries nothing more. */
  get expired(): boolean {
    return this.#destroyed || this.#said(Word.EXPIRED)
  }

  #said(word: typeof Word.EXPIRED | typeof Word.SOFT_SAID): boolean {
    return this.#memory !== undefined && this.#memory.numbers[word] !== 0
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
    const { numbers } = this.#state
    numbers[Word.LAST_IN] = now
    return ++numbers[Word.PACKETS_IN]! === 1
  }

  delivered(octets: number): void {
    this.#state.numbers[Word.OCTETS_IN]! += octets
  }

  /** @param octets - of the inner packet */
  sent(octets: number, now: number): void {
    const { numbers } = this.#state
    numbers[Word.PACKETS_OUT]!++
    numbers[Word.OCTETS_OUT]! += octets
    numbers[Word.LAST_OUT] = now
  }

  drop(reason: Drop): void {
    this.#state.drop(reason)
  }

  dropped(reason: Drop): number {
    return this.#memory?.dropped(reason) ?? 0
  }

  /** A copy: the counters go on. */
  counters(): ChildCounters {
    return this.#memory === undefined ? IDLE : countersOf([this.#memory])
  }

  /**
   * Compares with the limits; each of the two is said once. Packets and octets count per direction, as each has a key of
   * its own.
   */
  expiry(now: number): Expiry {
    if (this.expired) {
      // by another thread perhaps: nothing is due any more
      this.#lookAhead()
      return undefined
    }
    const { lifetime } = this.spec
    if (now >= this.#hardAt || this.#counted(lifetime.hardPackets, lifetime.hardOctets)) {
      this.#state.expire()
      this.#lookAhead()
      return 'hard-expiry'
    }
    if (
      this.#said(Word.SOFT_SAID) ||
      !(now >= this.#softAt || this.#counted(lifetime.softPackets, lifetime.softOctets))
    )
      return undefined
    this.#state.numbers[Word.SOFT_SAID] = 1
    this.#lookAhead()
    return 'soft-expiry'
  }

  /** Wipes the keys; `expired` afterwards, so that nothing under way uses what is left of them. */
  destroy(): void {
    this.#destroyed = true
    this.#memory?.expire()
    this.#lookAhead()
    this.#paths.leave(this.flow)
    this.#keys?.fill(0)
    this.#working?.sealer.destroy()
    this.#working?.opener.destroy()
  }

  #lookAhead(): void {
    const { softPackets, softOctets, hardPackets, hardOctets } = this.spec.lifetime
    const soft = !this.#said(Word.SOFT_SAID)
    this.#nextAt = this.expired ? Number.POSITIVE_INFINITY : soft ? Math.min(this.#softAt, this.#hardAt) : this.#hardAt
    this.#nextPackets = this.expired
      ? Number.POSITIVE_INFINITY
      : soft
        ? Math.min(softPackets, hardPackets)
        : hardPackets
    this.#nextOctets = this.expired ? Number.POSITIVE_INFINITY : soft ? Math.min(softOctets, hardOctets) : hardOctets
  }

  #counted(packets: number, octets: number): boolean {
    const numbers = this.#memory?.numbers
    if (numbers === undefined) return packets <= 0 || octets <= 0
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
