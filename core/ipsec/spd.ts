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

/**
 * Outbound policies, RFC 4301 §4.4.1: the most specific one that matches decides, among equals one that has an SA, then
 * the newest. No match is no protection, and nothing leaves.
 */
export class Spd<T> {
  readonly #cache = new FlowCache<Policy<T>>()
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
