import type { IpInfo } from '../wire/index.ts'
import { FlowCache } from './flow-cache.ts'
import type { SelectorPair } from './selector.ts'

/** An acquire is not repeated within this many ms, per policy. */
const ACQUIRE_INTERVAL = 1000

/** What outbound traffic of one pair of selectors is to be protected by; `T` is an SA. */
export interface Policy<T> {
  readonly selectors: SelectorPair
  /** SAs that may send, the newest last; it is the one that does. */
  readonly senders: T[]
  /** Whose SA to ask for when there is none. */
  readonly trap: Trap | undefined
}

export interface Trap {
  readonly peer: string
  readonly child: string
  lastAcquire: number
}

/** Who wants selectors, or has them. */
export interface Claimant {
  readonly owner: string
  readonly peer: string
  /** Others may have the same selectors: flows tell whose a packet is. */
  readonly shared: boolean
}

interface Claim extends Claimant {
  readonly selectors: SelectorPair
  count: number
}

/**
 * Outbound policies, RFC 4301 §4.4.1: the most specific one that matches decides, among equals one that has an SA, then
 * the newest. No match is no protection, and nothing leaves.
 */
export class Spd<T> {
  readonly #cache = new FlowCache<Policy<T>>()
  /** Who has which selectors, and for how many SAs. */
  readonly #claims = new Map<string, Claim>()
  #policies: Policy<T>[] = []

  /** The policy for an inner packet; undefined when none covers it. */
  lookup(bytes: Uint8Array, info: IpInfo): Policy<T> | undefined {
    const cacheable = info.fragmentOffset === 0
    const cached = cacheable ? this.#cache.get(bytes, info) : undefined
    if (cached !== undefined) return cached
    const policy = this.#policies.find(({ selectors }) => selectors.matchesOutbound(bytes, info))
    if (cacheable && policy !== undefined) this.#cache.put(policy)
    return policy
  }

  /**
   * Why an SA of this owner must not get these selectors: another owner's SA has them, and its traffic would go to the
   * newcomer (RFC 3948 §5.2, two clients behind one NAT). Where one peer of the configuration stands for many owners,
   * selectors that overlap are no better: whoever asks for a part of another's addresses would get its packets. Of different
   * peers selectors that merely overlap are the configuration's business, and distinct ports are a cure.
   */
  conflict(selectors: SelectorPair, by: Claimant): string | undefined {
    const claim = this.#claims.get(selectors.key)
    const same = claim === undefined || claim.owner === by.owner || (claim.shared && by.shared) ? undefined : claim
    const other = same ?? this.#overlapping(selectors, by)
    if (other === undefined) return undefined
    const what = same === undefined ? 'overlap with those of' : 'already belong to'
    return `selectors ${selectors.key} ${what} an SA of ${other.owner}`
  }

  #overlapping(selectors: SelectorPair, { owner, peer, shared }: Claimant): Claim | undefined {
    for (const claim of this.#claims.values())
      if (claim.peer === peer && claim.owner !== owner && claim.selectors.overlaps(selectors))
        if (!claim.shared || !shared || claim.selectors.key !== selectors.key) return claim
    return undefined
  }

  /** Takes the selectors for one more SA of this owner, whether it sends or not. `conflict` was asked. */
  claim(selectors: SelectorPair, by: Claimant): void {
    const claim = this.#claims.get(selectors.key)
    if (claim === undefined) this.#claims.set(selectors.key, { ...by, selectors, count: 1 })
    else claim.count++
  }

  /** Gives back what one `claim` took. */
  release(selectors: SelectorPair): void {
    const claim = this.#claims.get(selectors.key)
    if (claim !== undefined && --claim.count === 0) this.#claims.delete(selectors.key)
  }

  /** The SA sends from now on, before all others with these selectors. */
  add(selectors: SelectorPair, sa: T): void {
    this.remove(sa)
    const policy = this.#policies.find(p => p.trap === undefined && p.selectors.key === selectors.key)
    if (policy !== undefined) policy.senders.push(sa)
    else this.#insert({ selectors, senders: [sa], trap: undefined })
  }

  /** The SA sends no more; an older one with these selectors does again. */
  remove(sa: T): void {
    for (const { senders } of this.#policies) {
      const at = senders.indexOf(sa)
      if (at >= 0) senders.splice(at, 1)
    }
    this.#keep(policy => policy.trap !== undefined || policy.senders.length > 0)
  }

  trap(selectors: SelectorPair, peer: string, child: string): void {
    this.untrap(peer, child)
    const trap = { peer, child, lastAcquire: Number.NEGATIVE_INFINITY }
    this.#insert({ selectors, senders: [], trap })
  }

  untrap(peer: string, child: string): void {
    this.#keep(({ trap }) => trap?.peer !== peer || trap.child !== child)
  }

  #insert(policy: Policy<T>): void {
    this.#cache.clear()
    // stable sort, newest first: of equals the newer wins
    this.#policies = [policy, ...this.#policies].sort(
      (a, b) =>
        a.selectors.breadth - b.selectors.breadth || Number(a.trap !== undefined) - Number(b.trap !== undefined),
    )
  }

  #keep(wanted: (policy: Policy<T>) => boolean): void {
    this.#cache.clear()
    this.#policies = this.#policies.filter(wanted)
  }
}

/** Whether an acquire may be said now; if so it counts as said. */
export function mayAcquire(trap: Trap, now: number): boolean {
  if (now - trap.lastAcquire < ACQUIRE_INTERVAL) return false
  trap.lastAcquire = now
  return true
}
