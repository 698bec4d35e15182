import { turnFrameLength } from '../../core/wire/index.ts'

const EMPTY = new Uint8Array(0)

/** Takes STUN messages and ChannelData out of a stream, RFC 8656 §12.5: by their own lengths, however they were cut. */
export class FrameReader {
  readonly #take: (frame: Uint8Array) => void
  /** Begins with a frame that is not complete yet; shorter than 64 KiB and a header by what a length can say. */
  #rest: Uint8Array = EMPTY

  /** @param take - a whole frame; valid during the call */
  constructor(take: (frame: Uint8Array) => void) {
    this.#take = take
  }

  /** @returns false when the stream makes no sense any more */
  push(chunk: Uint8Array): boolean {
    const bytes = this.#rest.length === 0 ? chunk : joined(this.#rest, chunk)
    let at = 0
    for (;;) {
      const length = turnFrameLength(bytes, at, bytes.length)
      if (length === 0) return false
      if (length === undefined || at + length > bytes.length) break
      this.#take(bytes.subarray(at, at + length))
      at += length
    }
    this.#rest = bytes.slice(at)
    return true
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}
