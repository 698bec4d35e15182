import { knownFact } from '../contracts/facts.ts'
import type { IkeSa } from './ike-sa.ts'

/** Where nothing is known of the NAT: RFC 3948 §4 has 20 s, which the most forgetful of them remember. */
const USUAL_MS = 20_000
/** The part of a measured lifetime that is used: a keepalive may be late, or lost. */
const SAFE = 0.75
const LEAST_MS = 2_000

/** Keeps the NAT mapping of one IKE SA and its Child SAs alive, where the encapsulation needs that (RFC 3948 §4). */
export class Keepalive {
  #at = Infinity

  get deadline(): number {
    return this.#at
  }

  /** To be called whenever it may have become needed, or needless. */
  arm(sa: IkeSa, now: number): void {
    const interval = intervalOf(sa)
    this.#at = interval > 0 && datagram(sa) !== undefined ? sent(sa, now) + interval : Infinity
  }

  timeout(sa: IkeSa, now: number): void {
    if (now < this.#at) return
    const bytes = datagram(sa)
    if (bytes !== undefined && now >= sent(sa, now) + intervalOf(sa)) {
      sa.lastOut = now
      sa.effect({ type: 'keepalive', bytes, flow: sa.flow })
    }
    this.arm(sa, now)
  }
}

function intervalOf(sa: IkeSa): number {
  const fixed = sa.settings?.keepaliveMs ?? 0
  if (fixed !== 'auto') return fixed
  const lifetime = knownFact(sa.facts, 'mappingLifetime')
  return typeof lifetime === 'number' ? Math.max(LEAST_MS, lifetime * SAFE) : USUAL_MS
}

const datagram = (sa: IkeSa): Uint8Array | undefined =>
  sa.plan === undefined ? undefined : sa.host.encap(sa.plan.encap).keepalive?.(sa.facts)

/** When something last left for the peer on this flow. */
function sent(sa: IkeSa, now: number): number {
  let last = sa.lastOut
  for (const child of sa.children.values()) last = Math.max(last, sa.host.counters(child)?.lastOut ?? 0)
  return last === 0 ? now : last
}
