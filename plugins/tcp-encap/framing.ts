/** How datagrams lie in a TCP stream, RFC 9329 §3: "IKETCP" once, then each with its length in front. */

/** What the TCP Originator says first, RFC 9329 §4. */
export const STREAM_PREFIX = new TextEncoder().encode('IKETCP')
/** Octets of the length field, which counts itself too. */
export const LENGTH = 2
/** The largest datagram that the length field can tell. */
export const MAX_MESSAGE = 0xffff - LENGTH

/** Why a stream cannot be read on: it is to be closed. */
export type FramingFault = 'prefix' | 'length'

/** Finds the datagrams in what arrives, in pieces of any size. Keeps one datagram at most. */
export class StreamReader {
  /** Octets of the prefix still to come. */
  #prefix: Uint8Array
  readonly #partial = new Uint8Array(LENGTH + MAX_MESSAGE)
  #have = 0
  readonly #message: (bytes: Uint8Array) => void

  /**
   * @param prefixed - whether the other end opened the connection and says the prefix first
   * @param message - gets each datagram; its octets are valid, and may be changed, during the call
   */
  constructor(prefixed: boolean, message: (bytes: Uint8Array) => void) {
    this.#prefix = prefixed ? STREAM_PREFIX : new Uint8Array(0)
    this.#message = message
  }

  /** @returns what is wrong with the stream; undefined while nothing is */
  push(chunk: Uint8Array): FramingFault | undefined {
    let at = Math.min(this.#prefix.length, chunk.length)
    for (let i = 0; i < at; i++) if (chunk[i] !== this.#prefix[i]) return 'prefix'
    this.#prefix = this.#prefix.subarray(at)
    while (at < chunk.length) {
      // whole datagrams are handed on where they lie; only what a piece cuts in two is copied
      const length = this.#have === 0 && chunk.length - at >= LENGTH ? lengthAt(chunk, at) : 0
      if (length !== 0 && length < LENGTH) return 'length'
      if (length !== 0 && at + length <= chunk.length) {
        if (length > LENGTH) this.#message(chunk.subarray(at + LENGTH, at + length))
        at += length
        continue
      }
      const fault = this.#collect(chunk, at)
      if (typeof fault === 'string') return fault
      at = fault
    }
    return undefined
  }

  /** @returns where in the chunk to go on */
  #collect(chunk: Uint8Array, from: number): number | FramingFault {
    let at = from
    const partial = this.#partial
    while (this.#have < LENGTH && at < chunk.length) partial[this.#have++] = chunk[at++]!
    if (this.#have < LENGTH) return at
    const length = lengthAt(partial, 0)
    if (length < LENGTH) return 'length'
    const more = Math.min(length - this.#have, chunk.length - at)
    partial.set(chunk.subarray(at, at + more), this.#have)
    this.#have += more
    if (this.#have === length) {
      this.#have = 0
      if (length > LENGTH) this.#message(partial.subarray(LENGTH, length))
    }
    return at + more
  }
}

const lengthAt = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!
