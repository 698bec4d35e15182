import type { Endpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'

/** One datagram on its way into the kernel. */
export interface SendSlot {
  /** Holds the datagram's octets until `done` was called. */
  readonly bytes: Uint8Array
  length: number
  remote: Endpoint
  /** Is to be lost rather than go in fragments. */
  df: boolean
  /** What to do about a datagram too big for its path; true when it went all the same. */
  tooBig: ((slot: SendSlot) => boolean) | undefined
  /** Callback of socket.send: gives the slot back. Made once per slot, not once per datagram. */
  readonly done: (error: Error | null) => void
}

/** Fits any datagram of an Ethernet path; larger ones (fragmented IKE, jumbo frames) get a buffer of their own. */
const SLOT_SIZE = 2_048
const NOWHERE: Endpoint = { address: '', port: 0 }

const isTooBig = (error: NodeJS.ErrnoException): boolean => error.code === 'EMSGSIZE'

/**
 * Buffers for datagrams that the kernel has not taken yet. dgram keeps a reference until then, while the caller of
 * `Transport.send` wants its buffer back at once, hence one copy per datagram. `limit` bounds what may be under way.
 */
export class SendPool {
  readonly #free: SendSlot[] = []
  readonly #limit: number
  /** Told about each datagram that the kernel refused, by the error's code. */
  readonly failed: (code: string) => void
  #pending = 0

  constructor(limit: number, failed: (code: string) => void) {
    this.#limit = limit
    this.failed = failed
  }

  /** Datagrams under way. */
  get pending(): number {
    return this.#pending
  }

  /** @returns a slot holding a copy of the packet at its front; undefined when `limit` are under way */
  take({ bytes, start, end, df }: Packet, remote: Endpoint, tooBig: SendSlot['tooBig']): SendSlot | undefined {
    if (this.#pending >= this.#limit) return undefined
    this.#pending++
    const slot = end - start > SLOT_SIZE ? this.#slot(end - start) : (this.#free.pop() ?? this.#slot(SLOT_SIZE))
    slot.bytes.set(bytes.subarray(start, end))
    slot.length = end - start
    slot.remote = remote
    slot.df = df
    slot.tooBig = tooBig
    return slot
  }

  #slot(size: number): SendSlot {
    const slot: SendSlot = {
      bytes: new Uint8Array(size),
      length: 0,
      remote: NOWHERE,
      df: false,
      tooBig: undefined,
      done: error => {
        const lost = error !== null && !(isTooBig(error) && slot.tooBig?.(slot))
        this.#pending--
        if (size === SLOT_SIZE) this.#free.push(slot)
        if (lost) this.failed((error as NodeJS.ErrnoException).code ?? 'unknown')
      },
    }
    return slot
  }
}
