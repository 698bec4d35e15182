import type { SeededRng } from './rng.ts'

export interface LinkOptions {
  /** One-way delay, ms. */
  readonly latency?: number
  /** Up to this much more delay, ms, uniform; it never reorders by itself. */
  readonly jitter?: number
  /** Probabilities, 0 to 1, per packet and direction. */
  readonly loss?: number
  readonly duplicate?: number
  readonly reorder?: number
  /** How much later a reordered packet comes, ms. */
  readonly reorderBy?: number
  /** Largest IP packet, octets. */
  readonly mtu?: number
  /** Bits per second each way; Infinity: none counted. */
  readonly bandwidth?: number
  /** Octets that wait for a busy link before more are dropped. */
  readonly queue?: number
}

/** From the node to the segment, and back. */
export type Direction = 'up' | 'down'

/**
 * The cable between one interface and its LAN. All properties may be changed while packets are flying; those already
 * under way arrive as they were sent.
 */
export class Link implements Required<LinkOptions> {
  latency: number
  jitter: number
  loss: number
  duplicate: number
  reorder: number
  reorderBy: number
  mtu: number
  bandwidth: number
  queue: number
  /** Drops exactly what a test wants dropped: return true to drop. */
  dropIf: ((packet: Uint8Array, direction: Direction) => boolean) | undefined
  #connected = true
  readonly #busyUntil = { up: 0, down: 0 }
  /** When the latest packet entered each way, and when it comes out. */
  readonly #last = { up: { start: 0, arrival: 0 }, down: { start: 0, arrival: 0 } }
  readonly #rng: SeededRng

  constructor(options: LinkOptions, rng: SeededRng) {
    this.latency = options.latency ?? 5
    this.jitter = options.jitter ?? 0
    this.loss = options.loss ?? 0
    this.duplicate = options.duplicate ?? 0
    this.reorder = options.reorder ?? 0
    this.reorderBy = options.reorderBy ?? 20
    this.mtu = options.mtu ?? 1500
    this.bandwidth = options.bandwidth ?? Number.POSITIVE_INFINITY
    this.queue = options.queue ?? 256 * 1024
    this.#rng = rng
  }

  down(): void {
    this.#connected = false
  }

  up(): void {
    this.#connected = true
  }

  get connected(): boolean {
    return this.#connected
  }

  /** Why this packet does not get through; undefined when it does. */
  refuses(packet: Uint8Array, direction: Direction, start: number): string | undefined {
    if (!this.#connected) return 'link-down'
    if (packet.length > this.mtu) return 'link-mtu'
    if (this.dropIf?.(packet, direction)) return 'link-filter'
    if (this.#rng.chance(this.loss)) return 'loss'
    const waiting = ((this.#busyUntil[direction] - start) * this.bandwidth) / 8000
    return waiting > this.queue ? 'queue-full' : undefined
  }

  /** When a packet of this size, handed over at `start`, is through. */
  arrival(size: number, direction: Direction, start: number): number {
    let at = start
    if (this.bandwidth !== Number.POSITIVE_INFINITY) {
      at = Math.max(at, this.#busyUntil[direction]) + (size * 8000) / this.bandwidth
      this.#busyUntil[direction] = at
    }
    at += this.latency
    if (this.jitter > 0) at += this.#rng.float() * this.jitter
    if (this.#rng.chance(this.reorder)) return at + this.reorderBy
    // First in, first out; but a packet reckoned later may have entered earlier, and then owes nothing to the other.
    const last = this.#last[direction]
    if (start < last.start) return at
    last.start = start
    last.arrival = Math.max(at, last.arrival)
    return last.arrival
  }

  duplicates(): boolean {
    return this.#rng.chance(this.duplicate)
  }
}
