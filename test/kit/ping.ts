import { getU16 } from '../../core/wire/index.ts'
import { payloadAt } from './packet.ts'

export interface PingOptions {
  readonly count?: number
  /** ms between requests. */
  readonly interval?: number
  /** Octets of ICMP data. */
  readonly size?: number
  readonly df?: boolean
  readonly source?: string
  /** ms to wait for the last answers. */
  readonly timeout?: number
}

/** A row of echo requests and what came of them. */
export class Ping {
  readonly count: number
  sent = 0
  /** Distinct answers; a second one to the same request counts as duplicate. */
  received = 0
  duplicates = 0
  /** ICMP errors about the requests. */
  errors = 0
  /** Round-trip times in ms, in order of arrival. */
  readonly rtts: number[] = []
  /** All answered, or waited for. */
  done = false
  readonly #sentAt: number[] = []
  readonly #answered = new Set<number>()

  constructor(count: number) {
    this.count = count
  }

  /** @internal */
  noteSent(now: number): number {
    this.#sentAt.push(now)
    return ++this.sent
  }

  /** @internal */
  noteReply(packet: Uint8Array, now: number): void {
    const sequence = getU16(packet, payloadAt(packet) + 6)
    const at = this.#sentAt[sequence - 1]
    if (at === undefined) return
    if (this.#answered.has(sequence)) this.duplicates++
    else {
      this.#answered.add(sequence)
      this.received++
      this.rtts.push(now - at)
    }
    if (this.received === this.count) this.done = true
  }
}
