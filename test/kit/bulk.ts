import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { type FlowData, type FlowPath, TcpFlow } from './tcp-flow.ts'

/** TCP port on which every host takes bulk transfers. */
export const BULK_PORT = 5001

export interface BulkOptions {
  readonly bytes: number
  /** Unacknowledged segments at most. */
  readonly window?: number
  /** Source address; default: what the routes say. */
  readonly source?: string
}

/** Sends pattern octets, then reads back the SHA-256 that the receiver computed over what it got. */
export class Bulk implements FlowData {
  readonly bytes: number
  readonly flow: TcpFlow
  done = false
  /** Why it ended early: `timeout` or `reset`. */
  failure: string | undefined
  /** True when the receiver's digest equals the sender's. */
  intact = false
  /** Virtual ms from SYN to the receiver's digest. */
  duration = 0
  readonly #sent = sha256.create()
  readonly #answer: number[] = []
  readonly #now: () => number
  readonly #started: number
  #hashed = 0

  constructor(path: FlowPath, { bytes, window = 32 }: BulkOptions, initial: number) {
    this.bytes = bytes
    this.#now = () => path.clock.now()
    this.#started = this.#now()
    this.flow = new TcpFlow(path, this, initial, window)
  }

  get retransmissions(): number {
    return this.flow.retransmissions
  }

  /** Digest of the data sent, hex; complete when all was sent. */
  get digest(): string {
    return bytesToHex(this.#sent.clone().digest())
  }

  total(): number {
    return this.bytes
  }

  read(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length)
    for (let i = 0; i < length; i++) data[i] = ((offset + i) * 7) ^ ((offset + i) >>> 8)
    const fresh = offset + length - this.#hashed
    if (fresh > 0) {
      this.#sent.update(data.subarray(length - fresh))
      this.#hashed += fresh
    }
    return data
  }

  received(data: Uint8Array): void {
    if (this.#answer.length + data.length <= 32) this.#answer.push(...data)
  }

  ended(): void {
    this.duration = this.#now() - this.#started
    this.intact = bytesToHex(Uint8Array.from(this.#answer)) === this.digest
    this.done = true
  }

  finished(failure: string | undefined): void {
    if (failure === undefined || this.done) return
    this.failure = failure
    this.duration = this.#now() - this.#started
    this.done = true
  }
}

/** The other end: hashes what comes, answers with the digest. */
export class BulkReceiver implements FlowData {
  /** Octets received in order. */
  bytes = 0
  readonly flow: TcpFlow
  readonly #hash = sha256.create()
  #answer: Uint8Array | undefined

  constructor(path: FlowPath, initial: number) {
    this.flow = new TcpFlow(path, this, initial, 4)
  }

  total(): number | undefined {
    return this.#answer?.length
  }

  read(offset: number, length: number): Uint8Array {
    return this.#answer?.subarray(offset, offset + length) ?? new Uint8Array(0)
  }

  received(data: Uint8Array): void {
    this.bytes += data.length
    this.#hash.update(data)
  }

  ended(): void {
    this.#answer = this.#hash.digest()
  }

  finished(): void {}
}
