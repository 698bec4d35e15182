/** Each block of memory has a range of addresses of its own, so that a pointer says which block it points into. */
const RANGE = 2 ** 33

/** Memory as system calls see it: numbers that stand for octets. */
export class Memory {
  readonly #blocks: ArrayBufferLike[] = []
  readonly #ids = new Map<ArrayBufferLike, number>()

  address({ buffer, byteOffset }: Uint8Array): number {
    let id = this.#ids.get(buffer)
    if (id === undefined) {
      id = this.#blocks.push(buffer)
      this.#ids.set(buffer, id)
    }
    return id * RANGE + byteOffset
  }

  /** @throws Error for a pointer that leads nowhere, where a kernel would say EFAULT or overwrite something */
  at(pointer: number, length: number): DataView {
    const block = this.#blocks[Math.floor(pointer / RANGE) - 1]
    if (block === undefined) throw new Error(`a bad pointer, ${pointer}`)
    return new DataView(block, pointer % RANGE, length)
  }

  bytes(pointer: number, length: number): Uint8Array {
    const { buffer, byteOffset } = this.at(pointer, length)
    return new Uint8Array(buffer, byteOffset, length)
  }

  /** A pointer that stands in memory. */
  pointer(view: DataView, at: number): number {
    return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32
  }
}
