import type { PoolSettings } from './contracts/settings.ts'
import { type AddressPrefix, addressPlus, formatAddress, prefixRange } from './wire/index.ts'

/** Blocks looked at before a pool counts as full. */
const MAX_BLOCKS = 65_536

/** Blocks of one pool's addresses, for peers whose own addresses this side sees as others; who comes again gets the same. */
export class Blocks {
  readonly #pool: AddressPrefix
  readonly #taken = new Map<string, AddressPrefix>()

  constructor({ prefix }: PoolSettings) {
    this.#pool = prefix
  }

  /**
   * @param key - whose block, and for what
   * @param bits - prefix length of the block
   * @param busy - whether a key's block is in use now; others are given away when there is none left
   * @returns undefined when the pool has no room for it
   */
  take(key: string, bits: number, busy: (key: string) => boolean): AddressPrefix | undefined {
    const before = this.#taken.get(key)
    if (before?.bits === bits) return before
    const found = this.#free(bits) ?? this.#reclaimed(bits, busy)
    if (found !== undefined) this.#taken.set(key, found)
    return found
  }

  #reclaimed(bits: number, busy: (key: string) => boolean): AddressPrefix | undefined {
    for (const key of [...this.#taken.keys()]) {
      if (busy(key)) continue
      this.#taken.delete(key)
      const found = this.#free(bits)
      if (found !== undefined) return found
    }
    return undefined
  }

  #free(bits: number): AddressPrefix | undefined {
    const { start } = prefixRange(this.#pool)
    if (bits < this.#pool.bits) return undefined
    const blocks = Math.min(2 ** (bits - this.#pool.bits), MAX_BLOCKS)
    const size = 1n << BigInt(start.length * 8 - bits)
    const taken = [...this.#taken.values()]
    for (let i = 0; i < blocks; i++) {
      const block = { address: formatAddress(addressPlus(start, BigInt(i) * size)!), bits }
      if (!taken.some(other => meet(other, block))) return block
    }
    return undefined
  }
}

/** Two prefixes meet where the wider one has the other's first address. */
function meet(a: AddressPrefix, b: AddressPrefix): boolean {
  const [wide, narrow] = a.bits <= b.bits ? [a, b] : [b, a]
  return prefixRange({ address: narrow.address, bits: wide.bits }).start.every(
    (octet, i) => octet === prefixRange(wide).start[i],
  )
}
