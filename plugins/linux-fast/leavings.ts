import type { Packet } from '../../core/contracts/packet.ts'
import type { SocketFlow } from './flows.ts'
import type { Losses } from './losses.ts'
import { Control, INDEX_WORDS, type Leftovers, type Report } from './messages.ts'

/** Packets in one report, and octets. */
const PACKETS = 128
const OCTETS = 256 << 10
/** Reports that may wait in the main thread; then what else comes is lost, as it is in a full socket. */
const REPORTS = 16

/** Collects packets for the main thread: IKE, and what belongs to no SA of this plane. */
export class Leavings {
  readonly #control: Int32Array
  readonly #losses: Losses
  readonly #report: (message: Report, transfer?: ArrayBuffer[]) => void
  readonly #bytes = new Uint8Array(OCTETS)
  readonly #index = new Uint32Array(INDEX_WORDS * PACKETS)
  #from: Leftovers['from'][number][] = []
  #used = 0

  constructor(control: Int32Array, losses: Losses, report: (message: Report, transfer?: ArrayBuffer[]) => void) {
    this.#control = control
    this.#losses = losses
    this.#report = report
  }

  /** @param flow - undefined: from the TUN device */
  add({ bytes, start, end, tos, ttl, df, id }: Packet, flow: SocketFlow | undefined): void {
    const length = end - start
    if (this.#from.length === PACKETS || this.#used + length > OCTETS) this.flush()
    this.#bytes.set(bytes.subarray(start, end), this.#used)
    const fields = tos | (ttl << 8) | (df ? 1 << 16 : 0)
    this.#index.set([this.#used, this.#used + length, fields, id], INDEX_WORDS * this.#from.length)
    this.#used += length
    this.#from.push(
      flow && { socket: flow.socket.id, flow: { protocol: flow.protocol, local: flow.local, remote: flow.remote } },
    )
  }

  flush(): void {
    const from = this.#from
    if (from.length === 0) return
    const [bytes, index] = [this.#bytes.slice(0, this.#used), this.#index.slice(0, INDEX_WORDS * from.length)]
    this.#from = []
    this.#used = 0
    if (Atomics.load(this.#control, Control.WAITING) >= REPORTS)
      return this.#losses.count('main-thread-busy', from.length)
    Atomics.add(this.#control, Control.WAITING, 1)
    this.#report({ type: 'leftovers', bytes, index, from }, [bytes.buffer, index.buffer])
  }
}
