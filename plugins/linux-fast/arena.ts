/** checksum.wat, assembled. */
const CHECKSUM =
  'AGFzbQEAAAABBwFgAn9/AX8CCwEBbQFtAgEBgIAEAwIBAAcFAQFzAAAKoQEBngECAnsCfyABQSBrIQUCQANAIAAgBUoNASACIAD9AAAA/X/9rgEhAiADIAD9AAAQ/X/9rgEhAyAAQSBqIQAMAAsLIAIgA/2uASECIAL9GwAgAv0bAWogAv0bAiAC/RsDamohBCABQQJrIQUCQANAIAAgBUoNASAEIAAvAABqIQQgAEECaiEADAALCyAAIAFIBEAgBCAALQAAaiEECyAECw=='

const PAGE = 65_536

/** As far as it is used; the types of Node 20 do without. */
interface WebAssemblyApi {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
  readonly Module: new (octets: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: Readonly<Record<string, unknown>> }
}
const { Memory, Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly

type Sum = (start: number, end: number) => number

/**
 * All memory that packets are in while the thread has them: one block at a fixed address, so that system calls, OpenSSL and
 * the checksum loop, which runs in WebAssembly for its 128-bit registers, work on the packets where they are.
 */
export class Arena {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly #sum: Sum
  #used = 0

  /** @param octets - rounded up to whole pages */
  constructor(octets: number) {
    const pages = Math.ceil(octets / PAGE)
    const memory = new Memory({ initial: pages, maximum: pages })
    const module = new Module(Buffer.from(CHECKSUM, 'base64'))
    this.#sum = new Instance(module, { m: { m: memory } }).exports['s'] as Sum
    this.bytes = new Uint8Array(memory.buffer)
    this.view = new DataView(memory.buffer)
  }

  /** Takes a part for good. @returns its offset, a multiple of 64 */
  take(octets: number): number {
    const at = this.#used
    this.#used = (at + octets + 63) & ~63
    if (this.#used > this.bytes.length) throw new RangeError(`the arena has ${this.bytes.length} octets`)
    return at
  }

  /**
   * The Internet checksum's sum over `bytes[start..end)`, folded to 16 bits and in network order; an odd last octet counts
   * as the upper half of a word.
   */
  sum(start: number, end: number): number {
    let sum = this.#sum(start, end) >>> 0
    sum = (sum & 0xffff) + (sum >>> 16)
    sum = (sum & 0xffff) + (sum >>> 16)
    return ((sum & 0xff) << 8) | (sum >>> 8)
  }
}

/** Adds two folded sums. */
export const addSums = (a: number, b: number): number => {
  const sum = a + b
  return (sum & 0xffff) + (sum >>> 16)
}
