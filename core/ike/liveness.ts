import type { IkeSa } from './ike-sa.ts'

/** When the peer is to be asked whether it is there, RFC 7296 §2.4; Infinity where that is switched off. */
export function livenessDue(sa: IkeSa): number {
  const dpd = sa.settings?.dpdMs ?? 0
  // only an IKE message tells what the NAT does to IKE: ESP's may not stand in for it
  return dpd === 0 ? Infinity : (sa.mobility.watchesMapping(sa) ? sa.lastIn : heard(sa)) + dpd
}

/** When the peer was last heard, on IKE or on any Child SA. */
function heard(sa: IkeSa): number {
  let last = sa.lastIn
  for (const child of sa.children.values()) last = Math.max(last, sa.host.counters(child)?.lastIn ?? 0)
  return last
}
