import type { Address } from './contracts/net.ts'
import type { PoolSettings } from './contracts/settings.ts'
import { addressPlus, formatAddress, parseAddress, prefixRange, rangeContains } from './wire/index.ts'

interface Lease {
  readonly owner: string
  users: number
}

/** Addresses of one pool by identity: who comes again gets the same one as long as nobody else needed it. */
export class Pool {
  readonly #first: Uint8Array
  readonly #size: number
  readonly #leases = new Map<Address, Lease>()
  readonly #owned = new Map<string, Address>()
  #next = 0

  constructor({ prefix }: PoolSettings) {
    const { start } = prefixRange(prefix)
    const hostBits = (prefix.address.includes(':') ? 128 : 32) - prefix.bits
    const whole = hostBits >= 30 ? 2 ** 30 : 2 ** hostBits
    // the all-zeros and all-ones hosts of a real subnet stay unused
    const margin = whole > 2 ? 1 : 0
    this.#first = addressPlus(start, margin)!
    this.#size = whole - 2 * margin
  }

  /**
   * @param shared - true: all uses of an owner, such as an SA and the one that replaces it, have the same address; false:
   *   the owner stands for several hosts at once, and each has its own
   * @param wanted - given where the owner has none and nobody has had it: after a restart of this host it was the owner's
   * @returns undefined when all addresses are in use by others
   */
  lease(owner: string, shared: boolean, wanted?: Address): Address | undefined {
    const before = this.#owned.get(owner)
    const lease = this.#leases.get(before ?? '')
    if (before !== undefined && lease !== undefined && (shared || lease.users === 0)) {
      lease.users++
      return before
    }
    const address = lease === undefined && this.#fresh(wanted) ? wanted : this.#free()
    if (address === undefined) return undefined
    const idle = this.#leases.get(address)
    if (idle !== undefined && this.#owned.get(idle.owner) === address) this.#owned.delete(idle.owner)
    this.#leases.set(address, { owner, users: 1 })
    if (lease === undefined) this.#owned.set(owner, address)
    return address
  }

  /** The same address for one more use. @returns false when it is not the owner's */
  again(owner: string, address: Address): boolean {
    const lease = this.#leases.get(address)
    if (lease?.owner !== owner || lease.users === 0) return false
    lease.users++
    return true
  }

  /** Gives one use of an address back; it stays reserved for its owner until it is needed. */
  release(address: Address): void {
    const lease = this.#leases.get(address)
    if (lease !== undefined && lease.users > 0) lease.users--
  }

  /** Whether it is of this pool, and nobody has had it. */
  #fresh(address: Address | undefined): address is Address {
    if (address === undefined || this.#leases.has(address)) return false
    const bytes = parseAddress(address)
    const end = addressPlus(this.#first, this.#size - 1)!
    return bytes !== undefined && rangeContains({ start: this.#first, end }, bytes)
  }

  #free(): Address | undefined {
    while (this.#next < this.#size) {
      const address = formatAddress(addressPlus(this.#first, this.#next++)!)
      if (!this.#leases.has(address)) return address
    }
    for (const [address, lease] of this.#leases) if (lease.users === 0) return address
    return undefined
  }
}
