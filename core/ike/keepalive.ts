import type { IkeSa } from './ike-sa.ts'

/** Keeps the NAT mapping of one IKE SA and its Child SAs alive, where the encapsulation needs that (RFC 3948 §4). */
export class Keepalive {
  #at = Infinity

  get deadline(): number {
    return this.#at
  }

  /** To be called whenever it may have become needed, or needless. */
  arm(sa: IkeSa, now: number): void {
    const interval = sa.settings?.keepaliveMs ?? 0
    this.#at = interval > 0 && datagram(sa) !== undefined ? sent(sa, now) + interval : Infinity
  }

  timeout(sa: IkeSa, now: number): void {
    if (now < this.#at) return
    const bytes = datagram(sa)
    if (bytes !== undefined && now >= sent(sa, now) + sa.settings!.keepaliveMs) {
      sa.lastOut = now
      sa.effect({ type: 'keepalive', bytes, flow: sa.flow })
    }
    this.arm(sa, now)
  }
}

const datagram = (sa: IkeSa): Uint8Array | undefined =>
  sa.plan === undefined ? undefined : sa.host.encap(sa.plan.encap).keepalive?.(sa.facts)

/** When something last left for the peer on this flow. */
function sent(sa: IkeSa, now: number): number {
  let last = sa.lastOut
  for (const child of sa.children.values()) last = Math.max(last, sa.host.counters(child)?.lastOut ?? 0)
  return last === 0 ? now : last
}
