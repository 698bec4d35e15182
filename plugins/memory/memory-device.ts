import type { DeviceSink, DeviceState, PacketDevice } from '../../core/contracts/device.ts'
import { HEADROOM, MAX_PACKET, newPacket, octets, type Packet } from '../../core/contracts/packet.ts'
import { UsageError } from '../../core/errors.ts'

export interface MemoryDeviceOptions {
  readonly name?: string
  /** Delivered packets kept until taken, default 1024; more are dropped and counted. */
  readonly queue?: number
}

/** A device without an operating system: the embedding program is the inner host. */
export class MemoryDevice implements PacketDevice {
  readonly name: string
  /** Called with a copy of each delivered packet instead of queueing it. */
  deliver: ((packet: Uint8Array) => void) | undefined
  readonly #limit: number
  readonly #queue: Uint8Array[] = []
  readonly #packet: Packet = newPacket()
  #sink: DeviceSink | undefined
  #state: DeviceState | undefined
  #dropped = 0

  constructor(options: MemoryDeviceOptions = {}) {
    this.name = options.name ?? 'memory'
    this.#limit = options.queue ?? 1_024
  }

  /** The last wanted state; undefined before the first `configure` and after `close`. */
  get state(): DeviceState | undefined {
    return this.#state
  }

  /** Delivered packets lost because nobody took them. */
  get dropped(): number {
    return this.#dropped
  }

  /** Delivered packets that wait. */
  get queued(): number {
    return this.#queue.length
  }

  async open(sink: DeviceSink): Promise<void> {
    if (this.#sink !== undefined) throw new UsageError('USAGE_OPEN', `${this.name}: already open`)
    this.#sink = sink
  }

  async close(): Promise<void> {
    this.#sink = undefined
    this.#state = undefined
    this.#queue.length = 0
  }

  async configure(state: DeviceState): Promise<void> {
    this.#state = state
  }

  write(packet: Packet): void {
    if (this.#sink === undefined) return
    if (this.deliver !== undefined) this.deliver(octets(packet).slice())
    else if (this.#queue.length < this.#limit) this.#queue.push(octets(packet).slice())
    else this.#dropped++
  }

  /** The oldest delivered packet, now the caller's; undefined when there is none. */
  take(): Uint8Array | undefined {
    return this.#queue.shift()
  }

  /**
   * Sends an inner IP packet as the inner host would. `bytes` is copied.
   * @throws UsageError USAGE_CLOSED when not open, USAGE_PACKET_SIZE when empty or longer than an IP packet
   */
  inject(bytes: Uint8Array): void {
    if (this.#sink === undefined) throw new UsageError('USAGE_CLOSED', `${this.name}: not open`)
    if (bytes.length === 0 || bytes.length > MAX_PACKET) {
      throw new UsageError('USAGE_PACKET_SIZE', `${this.name}: ${bytes.length} octets, 1 to ${MAX_PACKET} wanted`)
    }
    const packet = this.#packet
    packet.bytes.set(bytes, HEADROOM)
    packet.start = HEADROOM
    packet.end = HEADROOM + bytes.length
    packet.nextHeader = packet.tos = packet.ttl = packet.id = packet.flowLabel = 0
    packet.df = false
    this.#sink.packet(packet)
  }
}
