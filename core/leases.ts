import type { Address } from './contracts/net.ts'
import type { ServiceIn } from './contracts/service.ts'
import type { Identity, LeasedPoolSettings } from './contracts/settings.ts'
import type { IkeSa } from './ike/ike-sa.ts'

export interface LeaseLinks {
  /** Tells the service that leases by this name. */
  ask(by: string, input: Extract<ServiceIn, { readonly type: 'lease' | 'release' }>, now: number): void
  wake(sa: IkeSa): void
}

interface Lease {
  readonly tag: string
  readonly pool: LeasedPoolSettings
  readonly owner: string
  readonly instance: number
  users: number
  /** Undefined while it is asked for. */
  address: Address | undefined
  dns: readonly Address[]
  /** Who waits for it. */
  readonly waiting: IkeSa[]
}

/** Who wants an address of a leased pool. */
export interface Leaser {
  readonly sa: IkeSa
  readonly identity: Identity
  /** As in `Pool.lease`. */
  readonly shared: boolean
  /** The address that the peer asks for. */
  readonly wanted: Address | undefined
  /** Whether `wanted` is what an SA has that this one renews. */
  readonly again: boolean
}

/** Addresses that a service leases on behalf of peers: asked for once per owner, given back when the last SA has gone. */
export class Leases {
  readonly #links: LeaseLinks
  readonly #leases = new Map<string, Lease>()
  #serial = 0

  constructor(links: LeaseLinks) {
    this.#links = links
  }

  /** @returns true when it takes time: the SA is woken when it has an address, or the reason why there is none */
  prepare(pool: LeasedPoolSettings, { sa, identity, shared, wanted, again }: Leaser, now: number): boolean {
    const owner = `${identity.type}:${identity.value}`
    const own = [...this.#leases.values()].filter(l => l.pool === pool && l.owner === owner)
    const before = shared ? own[0] : own.find(l => again && l.address === wanted)
    const lease = before ?? this.#ask({ pool, owner, identity, wanted, taken: own.map(l => l.instance) }, now)
    if (lease.address !== undefined) assign(sa, lease)
    else if (this.#leases.has(lease.tag)) lease.waiting.push(sa)
    return lease.address === undefined && this.#leases.has(lease.tag)
  }

  /** What an SA with this address is told. */
  dns(pool: LeasedPoolSettings, addresses: readonly Address[]): readonly Address[] {
    return pool.dns.length > 0 ? pool.dns : (this.#find(pool, addresses[0])?.dns ?? [])
  }

  /** An SA needs it no more. */
  release(pool: LeasedPoolSettings, address: Address, now: number): void {
    const lease = this.#find(pool, address)
    if (lease !== undefined && --lease.users === 0) this.#giveBack(lease, now)
  }

  /** From the service; nobody may want it any more. */
  leased(tag: string, address: Address, dns: readonly Address[], now: number): void {
    const lease = this.#leases.get(tag)
    if (lease === undefined || lease.address !== undefined) return
    lease.address = address
    lease.dns = dns
    const alive = lease.waiting.splice(0).filter(sa => sa.state !== 'dead')
    for (const sa of alive) assign(sa, lease)
    if (alive.length === 0) return this.#giveBack(lease, now)
    for (const sa of alive) this.#links.wake(sa)
  }

  /**
   * From the service: there is none, or none any more.
   * @returns the pool and the address that nobody may use now; undefined when nobody had it
   */
  unleased(tag: string, why: string): { readonly pool: string; readonly address: Address } | undefined {
    const lease = this.#leases.get(tag)
    if (lease === undefined) return undefined
    this.#leases.delete(tag)
    for (const sa of lease.waiting) {
      sa.unassigned = why
      this.#links.wake(sa)
    }
    return lease.address === undefined ? undefined : { pool: lease.pool.name, address: lease.address }
  }

  #find(pool: LeasedPoolSettings, address: Address | undefined): Lease | undefined {
    if (address === undefined) return undefined
    for (const lease of this.#leases.values()) if (lease.pool === pool && lease.address === address) return lease
    return undefined
  }

  #ask(
    wish: Pick<Lease, 'pool' | 'owner'> & Pick<Leaser, 'identity' | 'wanted'> & { readonly taken: readonly number[] },
    now: number,
  ): Lease {
    const { pool, owner, identity, wanted, taken } = wish
    let instance = 0
    while (taken.includes(instance)) instance++
    const tag = String(++this.#serial)
    const lease: Lease = { tag, pool, owner, instance, users: 0, address: undefined, dns: [], waiting: [] }
    this.#leases.set(tag, lease)
    this.#links.ask(pool.by, { type: 'lease', tag, pool: pool.name, identity, instance, wanted }, now)
    return lease
  }

  #giveBack({ tag, pool }: Lease, now: number): void {
    this.#leases.delete(tag)
    this.#links.ask(pool.by, { type: 'release', tag }, now)
  }
}

/** From now on closing the SA gives it back. */
function assign(sa: IkeSa, lease: Lease): void {
  lease.users++
  sa.assigned = [lease.address!]
}
