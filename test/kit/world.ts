import type { Address } from '../../core/contracts/net.ts'
import { newPacket, type Packet } from '../../core/contracts/packet.ts'
import { VirtualClock } from './clock.ts'
import { SeededRng } from './rng.ts'
import { Trace, type TraceEvent } from './trace.ts'

/** `in` and `out` at a node's interface, `pass` on a LAN. */
export type TapDirection = 'in' | 'out' | 'pass'
/** @param packet - a copy of the IP packet, the tap's own */
export type Tap = (packet: Uint8Array, info: { readonly at: number; readonly direction: TapDirection }) => void

/** What all parts of one virtual internet share. */
export class World {
  readonly clock = new VirtualClock()
  readonly trace: Trace
  readonly seed: string
  /** Names that `Transport.resolve` knows. */
  readonly names = new Map<string, readonly Address[]>()
  /** Lent to sinks during their calls; deliveries are events, so one of each kind is enough for all hosts. */
  readonly received: Packet = newPacket()
  readonly captured: Packet = newPacket()
  /** Packets that a node or LAN handled, of all nodes together. */
  hops = 0
  readonly #root: SeededRng
  readonly #rngs = new Map<string, SeededRng>()
  readonly #taps = new Map<string, Set<Tap>>()

  constructor(seed: number | string, trace: boolean) {
    this.seed = String(seed)
    this.#root = new SeededRng(seed)
    this.trace = new Trace(trace)
  }

  rng(name: string): SeededRng {
    let rng = this.#rngs.get(name)
    if (rng === undefined) {
      rng = this.#root.fork(name)
      this.#rngs.set(name, rng)
    }
    return rng
  }

  record(node: string, event: TraceEvent, frame: Uint8Array, reason?: string): void {
    if (this.trace.enabled) this.trace.record(this.clock.now(), node, event, frame, reason)
  }

  drop(node: string, frame: Uint8Array, reason: string): void {
    this.record(node, 'drop', frame, reason)
  }

  seen(point: string, direction: TapDirection, frame: Uint8Array): void {
    this.hops++
    if (this.#taps.size === 0) return
    for (const tap of this.#taps.get(point) ?? []) tap(frame.slice(), { at: this.clock.now(), direction })
  }

  tap(point: string, tap: Tap): () => void {
    const taps = this.#taps.get(point) ?? new Set()
    this.#taps.set(point, taps.add(tap))
    return () => {
      taps.delete(tap)
      if (taps.size === 0) this.#taps.delete(point)
    }
  }
}
