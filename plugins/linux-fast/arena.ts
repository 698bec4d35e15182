/** checksum.wat, assembled. */
const CHECKSUM =
  'AGFzbQEAAAABFANgAn9/AX9gA39/fwF/YAN/f38AAgsBAW0BbQIBAYCABAMFBAABAAIHDQMBcwAAAWMAAQFtAAMK3AIEbAICewJ/IAFBIGshBQJAA0AgACAFSg0BIAIgAP0AAAD9f/2uASECIAMgAP0AABD9f/2uASEDIABBIGohAAwACwsgAiAD/a4BIQIgAv0bACAC/RsBaiAC/RsCIAL9GwNqaiEEIAQgACABEAJqC58BAgR7A38gASACaiEIIAhBIGshCQJAA0AgASAJSg0BIAH9AAAAIQUgAf0AABAhBiAAIAX9CwAAIAAgBv0LABAgAyAF/X/9rgEhAyAEIAb9f/2uASEEIAFBIGohASAAQSBqIQAMAAsLIAAgASAIIAFr/AoAACADIAT9rgEhAyAD/RsAIAP9GwFqIAP9GwIgA/0bA2pqIQcgByABIAgQAmoLPwECfyABQQJrIQMCQANAIAAgA0oNASACIAAvAABqIQIgAEECaiEADAALCyAAIAFIBEAgAiAALQAAaiECCyACCwwAIAAgASAC/AoAAAs='

const PAGE = 65_536

/** As far as it is used; the types of Node 20 do without. */
interface WebAssemblyApi {
  readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
  readonly Module: new (octets: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: Readonly<Record<string, unknown>> }
}
const { Memory, Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly

interface Loops {
  readonly s: (start: number, end: number) => number
  readonly c: (to: number, from: number, octets: number) => number
  readonly m: (to: number, from: number, octets: number) => void
}

/**
 * All memory that packets are in while the thread has them: one block at a fixed address, so that system calls, OpenSSL and
 * the checksum loop, which runs in WebAssembly for its 128-bit registers, work on the packets where they are.
 */
export class Arena {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly #loops: Loops
  #used = 0

  /** @param octets - rounded up to whole pages */
  constructor(octets: number) {
    const pages = Math.ceil(octets / PAGE)
    const memory = new Memory({ initial: pages, maximum: pages })
    const module = new Module(Buffer.from(CHECKSUM, 'base64'))
    this.#loops = new Instance(module, { m: { m: memory } }).exports as unknown as Loops
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
    return folded(this.#loops.s(start, end))
  }

  /** Copies as `copyWithin` does for parts that do not meet. @returns their sum as `sum` has it */
  copySum(to: number, from: number, octets: number): number {
    return folded(this.#loops.c(to, from, octets))
  }

  /** Copies as `copyWithin` does, without its price. */
  copy(to: number, from: number, octets: number): void {
    this.#loops.m(to, from, octets)
  }
}

function folded(words: number): number {
  let sum = words >>> 0
  sum = (sum & 0xffff) + (sum >>> 16)
  sum = (sum & 0xffff) + (sum >>> 16)
  return ((sum & 0xff) << 8) | (sum >>> 8)
}

/** Adds two folded sums. */
export const addSums = (a: number, b: number): number => {
  const sum = a + b
  return (sum & 0xffff) + (sum >>> 16)
}
