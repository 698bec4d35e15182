import { type Facts, knownFact } from '../contracts/facts.ts'
import type { Problem } from '../contracts/strategy.ts'

/** What the facts say is in the way, of RFC 3715's list; unknown facts show nothing. */
export function problemsShown(facts: Facts): readonly Problem[] {
  if (knownFact(facts, 'localBehindNat') === true || knownFact(facts, 'remoteBehindNat') === true)
    return ['fixed-ike-ports', 'non-udp-tcp', 'mapping-timeouts']
  return knownFact(facts, 'espBlocked') === true ? ['non-udp-tcp'] : []
}
