import { getU32, type IpInfo } from '../wire/index.ts'

/** Words of a key: family and protocol, ports, two addresses of up to four. */
const KEY = 10

/**
 * Remembers a decision per inner flow (family, protocol, ports, addresses) without an object per packet: one slot per
 * hash, the newer flow wins. What was decided about one packet of a flow must hold for all; later fragments, whose ports
 * nobody sees, stay outside.
 */
export class FlowCache<T> {
  readonly #slots: number
  readonly #keys: Uint32Array
  readonly #values: (T | undefined)[]
  readonly #key = new Uint32Array(KEY)
  #slot = 0

  /** @param slots - a power of two */
  constructor(slots = 1024) {
    this.#slots = slots
    this.#keys = new Uint32Array(slots * KEY)
    this.#values = new Array<T | undefined>(slots).fill(undefined)
  }

  /** What was `put` for the flow of this packet; undefined when it was forgotten. */
  get(bytes: Uint8Array, info: IpInfo): T | undefined {
    this.#slot = this.#find(bytes, info)
    const value = this.#values[this.#slot]
    if (value === undefined) return undefined
    const at = this.#slot * KEY
    for (let i = 0; i < KEY; i++) if (this.#keys[at + i] !== this.#key[i]) return undefined
    return value
  }

  /** Remembers `value` for the flow of the last `get`. */
  put(value: T): void {
    this.#keys.set(this.#key, this.#slot * KEY)
    this.#values[this.#slot] = value
  }

  clear(): void {
    this.#values.fill(undefined)
  }

  #find(bytes: Uint8Array, info: IpInfo): number {
    const key = this.#key
    const words = info.addressLength / 4
    // the sign bits keep "no port" apart from port 65535
    key[0] = (info.version << 8) | info.protocol | (info.sourcePort & 0x1_0000) | (info.destinationPort & 0x2_0000)
    key[1] = (info.sourcePort << 16) | (info.destinationPort & 0xffff)
    for (let i = 0; i < 4; i++) {
      key[2 + i] = i < words ? getU32(bytes, info.sourceAt + 4 * i) : 0
      key[6 + i] = i < words ? getU32(bytes, info.destinationAt + 4 * i) : 0
    }
    let hash = 0
    for (let i = 0; i < KEY; i++) {
      hash = Math.imul(hash ^ key[i]!, 0x9e37_79b1)
      hash ^= hash >>> 15
    }
    return hash & (this.#slots - 1)
  }
}
