/** One datagram on its way into the kernel. */
export interface SendSlot {
  /** Holds the datagram's octets until `done` was called. */
  readonly bytes: Uint8Array
  /** Callback of socket.send: gives the slot back. Made once per slot, not once per datagram. */
  readonly done: (error: Error | null) => void
}

/** Fits any datagram of an Ethernet path; larger ones (fragmented IKE, jumbo frames) get a buffer of their own. */
const SLOT_SIZE = 2_048

/**
 * Buffers for datagrams that the kernel has not taken yet. dgram keeps a reference until then, while the caller of
 * `Transport.send` wants its buffer back at once, hence one copy per datagram. `limit` bounds what may be under way.
 */
export class SendPool {
  readonly #free: SendSlot[] = []
  readonly #limit: number
  readonly #failed: (error: Error) => void
  #pending = 0

  /** @param failed - told about each datagram that the kernel refused */
  constructor(limit: number, failed: (error: Error) => void) {
    this.#limit = limit
    this.#failed = failed
  }

  /** Datagrams under way. */
  get pending(): number {
    return this.#pending
  }

  /** @returns a slot holding a copy of `bytes[start..end)` at its front; undefined when `limit` are under way */
  take(bytes: Uint8Array, start: number, end: number): SendSlot | undefined {
    if (this.#pending >= this.#limit) return undefined
    this.#pending++
    const slot = end - start > SLOT_SIZE ? this.#slot(end - start) : (this.#free.pop() ?? this.#slot(SLOT_SIZE))
    slot.bytes.set(bytes.subarray(start, end))
    return slot
  }

  #slot(size: number): SendSlot {
    const slot: SendSlot = {
      bytes: new Uint8Array(size),
      done: error => {
        this.#pending--
        if (size === SLOT_SIZE) this.#free.push(slot)
        if (error) this.#failed(error)
      },
    }
    return slot
  }
}
