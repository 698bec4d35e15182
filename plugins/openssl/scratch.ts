import type { Library } from './library.ts'

/** Octets for the parts of a call that live in memory which the collector may move. */
const SIZE = 1_024
/** Views with fewer octets may be moved by the collector. */
export const LEAST = 64
/** Places in it. */
export const At = { LENGTH: 0, NONCE: 16, AAD: 64, TAG: 128, KEY: 256, DIGEST: 384 } as const

/** Memory at a fixed address, and the addresses of the buffers that packets are in. One for each library and thread. */
export class Scratch {
  readonly bytes = new Uint8Array(SIZE)
  readonly address: number
  readonly #library: Library
  /** The buffer asked for last, and the one before: packets come in runs from few buffers. */
  #last: Uint8Array = this.bytes
  #lastAddress: number
  #older: Uint8Array = this.bytes
  #olderAddress: number

  constructor(library: Library) {
    this.#library = library
    this.address = library.address(this.bytes)
    this.#lastAddress = this.#olderAddress = this.address
  }

  /** Address of `bytes[0]`; `bytes` must have 64 octets or more. */
  of(bytes: Uint8Array): number {
    if (bytes === this.#last) return this.#lastAddress
    const [last, address] = [this.#last, this.#lastAddress]
    if (bytes === this.#older) {
      this.#last = bytes
      this.#lastAddress = this.#olderAddress
    } else {
      this.#last = bytes
      this.#lastAddress = this.#library.address(bytes)
    }
    this.#older = last
    this.#olderAddress = address
    return this.#lastAddress
  }

  /** Copies `bytes` to `at`. @returns the address */
  put(bytes: Uint8Array, at: number): number {
    const scratch = this.bytes
    for (let i = 0; i < bytes.length; i++) scratch[at + i] = bytes[i]!
    return this.address + at
  }

  /** Address of the octets where they stay for good; undefined where the collector may move them. */
  lasting(bytes: Uint8Array): number | undefined {
    return bytes.buffer.byteLength < LEAST ? undefined : this.#library.address(bytes)
  }

  /** Address of the octets, which are copied to `at` where they might move. */
  place(bytes: Uint8Array, at: number): number {
    return bytes.length < LEAST ? this.put(bytes, at) : this.#library.address(bytes)
  }
}
