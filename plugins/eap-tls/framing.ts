/** TLS messages in EAP packets, RFC 5216 §2.1.5, §3.1: flags, a length in front of the first piece, pieces in turn. */

const FLAG = { LENGTH: 0x80, MORE: 0x40, START: 0x20 } as const
/** Octets of TLS in one packet; IKE has fragments of its own, but not every peer does. */
const PIECE = 1024
/** What a whole flight may be: long chains, and no more. */
const MAX_FLIGHT = 65_536

export const START = Uint8Array.of(FLAG.START)
/** Asks for the next piece, or says that there is nothing more to say. */
export const ACKNOWLEDGE = Uint8Array.of(0)

export const isStart = (data: Uint8Array): boolean => ((data[0] ?? 0) & FLAG.START) !== 0

/** One flight on its way out. */
export class Outgoing {
  #left: Uint8Array
  readonly #total: number

  constructor(flight: Uint8Array) {
    this.#left = flight
    this.#total = flight.length
  }

  get empty(): boolean {
    return this.#left.length === 0
  }

  next(): Uint8Array {
    const first = this.#left.length === this.#total
    const piece = this.#left.subarray(0, PIECE)
    this.#left = this.#left.subarray(PIECE)
    const more = this.#left.length > 0
    const withLength = first && more
    const data = new Uint8Array(1 + (withLength ? 4 : 0) + piece.length)
    data[0] = (withLength ? FLAG.LENGTH : 0) | (more ? FLAG.MORE : 0)
    if (withLength) new DataView(data.buffer).setUint32(1, this.#total)
    data.set(piece, data.length - piece.length)
    return data
  }
}

/** One flight as it comes in. */
export class Incoming {
  #pieces: Uint8Array[] = []
  #length = 0

  /** @returns the flight when it is whole, 'more' to ask for the next piece, or why it cannot be */
  add(data: Uint8Array): { readonly flight: Uint8Array } | 'more' | { readonly why: string } {
    const flags = data[0]
    if (flags === undefined) return { why: 'an EAP-TLS packet without flags' }
    const at = (flags & FLAG.LENGTH) !== 0 ? 5 : 1
    if (data.length < at) return { why: 'an EAP-TLS packet without its length' }
    const piece = data.slice(at)
    this.#length += piece.length
    if (this.#length > MAX_FLIGHT) return { why: `a TLS message of more than ${MAX_FLIGHT} octets` }
    this.#pieces.push(piece)
    if ((flags & FLAG.MORE) !== 0) return piece.length === 0 ? { why: 'an empty piece of a TLS message' } : 'more'
    const flight = new Uint8Array(Buffer.concat(this.#pieces))
    this.#pieces = []
    this.#length = 0
    return { flight }
  }
}
