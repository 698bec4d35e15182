import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { describe } from './packet.ts'

/** `send` by its origin, `forward` by a router, `nat` after a translation, `deliver` to its destination. */
export type TraceEvent = 'send' | 'forward' | 'nat' | 'deliver' | 'drop'

export interface TraceEntry {
  /** Virtual ms. */
  readonly at: number
  readonly node: string
  readonly event: TraceEvent
  /** Why it was dropped, or what the NAT did; else empty. */
  readonly reason: string
  /** Octets of the packet. */
  readonly length: number
  /** The start of the packet as it was then, at most 128 octets. */
  readonly head: Uint8Array
}

export interface TraceFilter {
  readonly node?: string
  readonly event?: TraceEvent
  readonly reason?: string
  /** Must occur in the rendered line, e.g. `UDP` or `203.0.113.20:4500`. */
  readonly text?: string
}

const HEAD = 128

/** What happened to every packet, in order. Off, it costs nothing and digests nothing. */
export class Trace {
  enabled: boolean
  /** Older entries are forgotten beyond this; the digest still covers them. */
  limit = 200_000
  readonly #digest = sha256.create()
  readonly #encoder = new TextEncoder()
  #entries: TraceEntry[] = []
  #count = 0

  constructor(enabled: boolean) {
    this.enabled = enabled
  }

  record(at: number, node: string, event: TraceEvent, frame: Uint8Array, reason = ''): void {
    if (!this.enabled) return
    this.#count++
    this.#digest.update(this.#encoder.encode(`${at} ${node} ${event} ${reason} ${frame.length}\n`)).update(frame)
    this.#entries.push({ at, node, event, reason, length: frame.length, head: frame.slice(0, HEAD) })
    if (this.#entries.length > 2 * this.limit) this.#entries = this.#entries.slice(-this.limit)
  }

  /** Entries recorded so far, forgotten ones included. */
  get count(): number {
    return this.#count
  }

  entries(filter: TraceFilter = {}): readonly TraceEntry[] {
    const { node, event, reason, text } = filter
    return this.#entries.filter(
      entry =>
        (node === undefined || entry.node === node) &&
        (event === undefined || entry.event === event) &&
        (reason === undefined || entry.reason === reason) &&
        (text === undefined || renderEntry(entry).includes(text)),
    )
  }

  /** One line per entry: `12.500 nata nat out UDP 198.51.100.1:500 > 203.0.113.20:500 428`. */
  render(filter?: TraceFilter): string {
    return this.entries(filter).map(renderEntry).join('\n')
  }

  /** SHA-256 over every entry and every octet of every packet so far, hex. */
  digest(): string {
    return bytesToHex(this.#digest.clone().digest())
  }

  clear(): void {
    this.#entries = []
  }
}

export const renderEntry = ({ at, node, event, reason, head }: TraceEntry): string =>
  `${at.toFixed(3)} ${node} ${event}${reason === '' ? '' : ` ${reason}`} ${describe(head)}`
