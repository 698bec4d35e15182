import { type Facts, knownFact } from '../contracts/facts.ts'
import type { Problem } from '../contracts/strategy.ts'

/** What the facts say is in the way, of RFC 3715's list; unknown facts show nothing. */
export function problemsShown(facts: Facts): readonly Problem[] {
  const nat = knownFact(facts, 'localBehindNat') === true || knownFact(facts, 'remoteBehindNat') === true
  const shown: Problem[] = nat ? ['fixed-ike-ports', 'non-udp-tcp', 'mapping-timeouts'] : []
  if (!nat && knownFact(facts, 'espBlocked') === true) shown.push('non-udp-tcp')
  if (knownFact(facts, 'addressesOverlap') === true) shown.push('overlapping-spd')
  return shown
}
