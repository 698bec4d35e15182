/** How long a packet may wait for the Child SA it has asked for: whoever sent it has given up or sent another by then. */
const KEEP_MS = 10_000

interface Kept {
  readonly octets: Uint8Array
  readonly until: number
}

/** The packets that asked for a Child SA which did not exist, one for each child, the newest (RFC 4301 §5.1). */
export class KeptPackets {
  readonly #byChild = new Map<string, Kept>()

  keep(peer: string, child: string, octets: Uint8Array, now: number): void {
    this.#byChild.set(`${peer}/${child}`, { octets, until: now + KEEP_MS })
  }

  /** The Child SA stands: the packet to send on it; undefined when there is none, or it is too old. */
  take(peer: string, child: string, now: number): Uint8Array | undefined {
    const kept = this.#byChild.get(`${peer}/${child}`)
    this.#byChild.delete(`${peer}/${child}`)
    return kept !== undefined && now < kept.until ? kept.octets : undefined
  }

  /** When the next one is too old. */
  get deadline(): number {
    return Math.min(Infinity, ...[...this.#byChild.values()].map(({ until }) => until))
  }

  timeout(now: number): void {
    for (const [child, { until }] of this.#byChild) if (now >= until) this.#byChild.delete(child)
  }
}
