import type { Address, Flow } from '../contracts/net.ts'

/** Below this no report is believed: what Linux takes from ICMP at least, and RFC 8201 §4. */
const LEAST = { 4: 552, 6: 1_280 } as const
/** A path may have become wider after that time, RFC 1191 §6.3, RFC 8201 §4. */
const AGE_MS = 600_000

/** What is known of the way from one address to another. */
export class PathMtu {
  #octets = Number.POSITIVE_INFINITY
  #until = Number.POSITIVE_INFINITY
  /** SAs that go this way. */
  users = 0

  /** Octets of the largest outer packet, IP header included; Infinity while nothing is known. */
  at(now: number): number {
    if (now >= this.#until) {
      this.#octets = Number.POSITIVE_INFINITY
      this.#until = Number.POSITIVE_INFINITY
    }
    return this.#octets
  }

  learn(octets: number, now: number): void {
    this.#octets = octets
    this.#until = now + AGE_MS
  }
}

/** Path MTUs by both outer addresses, of the ways that SAs go; about others nothing is kept. */
export class PathMtus {
  readonly #paths = new Map<string, PathMtu>()

  /** One more SA goes this way. */
  use(flow: Flow): PathMtu {
    const key = keyOf(flow.local.address, flow.remote.address)
    let path = this.#paths.get(key)
    if (path === undefined) {
      path = new PathMtu()
      this.#paths.set(key, path)
    }
    path.users++
    return path
  }

  /** One SA less goes this way. */
  leave(flow: Flow): void {
    const key = keyOf(flow.local.address, flow.remote.address)
    const path = this.#paths.get(key)
    if (path !== undefined && --path.users === 0) this.#paths.delete(key)
  }

  /** @param octets - what nobody can mean is taken for the least of the family */
  learn(local: Address, remote: Address, octets: number, now: number): void {
    const least = LEAST[remote.includes(':') ? 6 : 4]
    if (octets > 0) this.#paths.get(keyOf(local, remote))?.learn(Math.max(least, octets), now)
  }
}

const keyOf = (local: Address, remote: Address): string => `${local} ${remote}`
