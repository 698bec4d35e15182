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
  /** The most specific first, and SAs before traps; the newest policy of each last. */
  readonly #levels: Level<T>[] = []
  readonly #byKey = new Map<string, Policy<T>>()
  readonly #bySender = new Map<T, Policy<T>>()
  readonly #traps = new Map<string, Policy<T>>()

  /** The policy for an inner packet; undefined when none covers it. */
  lookup(bytes: Uint8Array, info: IpInfo): Policy<T> | undefined {
    const cacheable = info.fragmentOffset === 0
    const cached = cacheable ? this.#cache.get(bytes, info) : undefined
    if (cached !== undefined) return cached
    const policy = this.#find(bytes, info)
    if (cacheable && policy !== undefined) this.#cache.put(policy)
    return policy
  }

  /** The SA sends from now on, before all others with these selectors. */
  add(selectors: SelectorPair, sa: T): void {
    this.remove(sa)
    let policy = this.#byKey.get(selectors.key)
    if (policy === undefined) {
      policy = { selectors, senders: [], trap: undefined }
      this.#byKey.set(selectors.key, policy)
      this.#insert(policy)
    }
    policy.senders.push(sa)
    this.#bySender.set(sa, policy)
  }

  /** The SA sends no more; an older one with these selectors does again. */
  remove(sa: T): void {
    const policy = this.#bySender.get(sa)
    if (policy === undefined) return
    this.#bySender.delete(sa)
    policy.senders.splice(policy.senders.indexOf(sa), 1)
    if (policy.senders.length > 0) return
    this.#byKey.delete(policy.selectors.key)
    this.#delete(policy)
  }

  trap(selectors: SelectorPair, peer: string, child: string): void {
    this.untrap(peer, child)
    const policy = { selectors, senders: [], trap: { peer, child, lastAcquire: Number.NEGATIVE_INFINITY } }
    this.#traps.set(trapKey(peer, child), policy)
    this.#insert(policy)
  }

  untrap(peer: string, child: string): void {
    const policy = this.#traps.get(trapKey(peer, child))
    if (policy === undefined) return
    this.#traps.delete(trapKey(peer, child))
    this.#delete(policy)
  }

  #find(bytes: Uint8Array, info: IpInfo): Policy<T> | undefined {
    for (const { policies } of this.#levels) {
      let newest: Policy<T> | undefined
      for (const policy of policies) if (policy.selectors.matchesOutbound(bytes, info)) newest = policy
      if (newest !== undefined) return newest
    }
    return undefined
  }

  #insert(policy: Policy<T>): void {
    this.#cache.clear()
    const [breadth, traps] = [policy.selectors.breadth, policy.trap !== undefined]
    const order = (level: Level<T>): number => level.breadth - breadth || Number(level.traps) - Number(traps)
    const at = this.#levels.findIndex(level => order(level) >= 0)
    const level = at < 0 ? undefined : this.#levels[at]
    if (level !== undefined && order(level) === 0) level.policies.add(policy)
    else this.#levels.splice(at < 0 ? this.#levels.length : at, 0, { breadth, traps, policies: new Set([policy]) })
  }

  #delete(policy: Policy<T>): void {
    this.#cache.clear()
    const at = this.#levels.findIndex(({ policies }) => policies.delete(policy))
    if (this.#levels[at]?.policies.size === 0) this.#levels.splice(at, 1)
  }
}

/** Policies that are as specific as each other. */
interface Level<T> {
  readonly breadth: number
  readonly traps: boolean
  readonly policies: Set<Policy<T>>
}

const trapKey = (peer: string, child: string): string => `${peer}/${child}`

/** Whether an acquire may be said now; if so it counts as said. */
export function mayAcquire(trap: Trap, now: number): boolean {
  if (now - trap.lastAcquire < ACQUIRE_INTERVAL) return false
  trap.lastAcquire = now
  return true
}
