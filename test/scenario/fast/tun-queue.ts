import { newPacket } from '../../../core/contracts/packet.ts'
import type { HostDevice, SeededRng } from '../../kit/index.ts'
import { large, received, runLength, single } from './offload.ts'

/** Packets that wait for a reader, as `ip link` says txqueuelen. */
const LENGTH = 500

/** The kernel's end of a TUN device's descriptor. */
export class TunQueue {
  readonly #device: HostDevice
  readonly #rng: SeededRng
  #waiting: Uint8Array[] = []

  /** @param ready - called when there is something to read */
  constructor(device: HostDevice, rng: SeededRng, ready: () => void) {
    this.#device = device
    this.#rng = rng
    void device.open({
      packet: ({ bytes, start, end }) => {
        if (this.#waiting.length === LENGTH) return
        this.#waiting.push(bytes.slice(start, end))
        ready()
      },
      failed: error => {
        throw error
      },
    })
  }

  get readable(): boolean {
    return this.#waiting.length > 0
  }

  /** A packet with its header, sometimes a large one. */
  read(): Uint8Array | undefined {
    if (this.#waiting.length === 0) return undefined
    const run = this.#rng.chance(0.8) ? runLength(this.#waiting) : 1
    const packets = this.#waiting.splice(0, run)
    return run > 1 ? large(packets) : single(packets[0]!, this.#rng.chance(0.5))
  }

  /** @returns false for what Linux refuses */
  write(written: Uint8Array): boolean {
    const packets = received(written)
    for (const bytes of packets ?? []) this.#device.write({ ...newPacket(0), bytes, start: 0, end: bytes.length })
    return packets !== undefined
  }

  close(): void {
    void this.#device.close()
  }
}
