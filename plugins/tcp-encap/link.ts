import type { Duplex } from 'node:stream'
import type { Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import { LENGTH, MAX_MESSAGE, STREAM_PREFIX, StreamReader } from './framing.ts'

/** Octets that may wait for a slow peer or a connection that is not there yet; more is dropped, as a full queue does. */
const MAX_WAITING = 1 << 20
/** What one write takes together at most. */
const BATCH = 64 << 10

export interface LinkSink {
  message(bytes: Uint8Array, flow: Flow): void
  dropped(reason: 'queue' | 'size'): void
  /** The stream cannot be read, or has ended; the link is of no use any more. */
  closed(link: Link, why: string): void
}

/** Datagrams over one stream in both directions. What is sent within one turn of the event loop goes in one write. */
export class Link {
  readonly flow: Flow
  readonly #stream: Duplex
  readonly #sink: LinkSink
  readonly #reader: StreamReader
  #batch = Buffer.allocUnsafe(BATCH)
  #filled = 0
  #flushing = false
  #over = false
  #heard = false
  /** When the first datagram was sent after the last one came. */
  #waitingSince = Infinity

  /** @param originator - whether this host opened the connection */
  constructor(stream: Duplex, flow: Flow, originator: boolean, sink: LinkSink) {
    this.#stream = stream
    this.flow = flow
    this.#sink = sink
    this.#reader = new StreamReader(!originator, bytes => {
      this.#heard = true
      this.#waitingSince = Infinity
      sink.message(bytes, flow)
    })
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    stream.on('error', error => this.close(error.message))
    stream.on('close', () => this.close('the connection was closed'))
    if (originator) stream.write(STREAM_PREFIX)
  }

  /** Whether anything has come on it that was a datagram. */
  get heard(): boolean {
    return this.#heard
  }

  /** ms since something was sent without anything coming back. */
  unanswered(now: number): number {
    return Math.max(0, now - this.#waitingSince)
  }

  send({ bytes, start, end }: Packet): void {
    const length = end - start
    if (length > MAX_MESSAGE) return this.#sink.dropped('size')
    if (this.#over || this.#stream.writableLength + this.#filled + length > MAX_WAITING)
      return this.#sink.dropped('queue')
    this.#waitingSince = Math.min(this.#waitingSince, performance.now())
    const total = length + LENGTH
    if (this.#filled + total > this.#batch.length) this.#flush(Math.max(BATCH, total))
    this.#batch.writeUInt16BE(total, this.#filled)
    this.#batch.set(bytes.subarray(start, end), this.#filled + LENGTH)
    this.#filled += total
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => {
      this.#flushing = false
      this.#flush(BATCH)
    })
  }

  /** The stream keeps what it is given until it is written, so each batch has memory of its own. */
  #flush(next: number): void {
    if (this.#filled > 0 && !this.#over) this.#stream.write(this.#batch.subarray(0, this.#filled))
    this.#batch = Buffer.allocUnsafe(next)
    this.#filled = 0
  }

  #read(chunk: Buffer): void {
    if (this.#over) return
    const fault = this.#reader.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length))
    if (fault !== undefined) this.close(fault === 'prefix' ? 'the stream is not IKE over TCP' : 'a length of 0 or 1')
  }

  close(why: string): void {
    if (this.#over) return
    this.#over = true
    this.#stream.destroy()
    this.#sink.closed(this, why)
  }
}
