import { type Facts, knownFact } from '../contracts/facts.ts'
import type { Plan } from '../contracts/strategy.ts'
import type { LocalEndpoint } from '../contracts/transport.ts'

/** The first of the problems of NAT, RFC 3715 §2.1: AH covers what a NAT changes. */

const CURE =
  'use protocol esp with proposals [null-sha256], which authenticates without encryption and passes NATs inside UDP, or mode beet'

/** Why AH can serve in no plan at all; undefined when it may. Unknown facts are not bad news. */
export function ahObstacle(facts: Facts, locals: readonly LocalEndpoint[]): string | undefined {
  const here = knownFact(facts, 'localBehindNat') === true
  const there = knownFact(facts, 'remoteBehindNat') === true
  if (here || there) {
    const who = here && there ? 'both ends are' : here ? 'this host is' : 'the peer is'
    return `AH covers the outer addresses, and ${who} behind a NAT, which changes them: every packet would fail its integrity check; ${CURE}`
  }
  if (!locals.some(l => l.protocol === 51))
    return `nothing here can send IP protocol 51, as the plugin raw does; ${CURE}`
  return undefined
}

/** What AH has against one plan. */
export function refusedByAh({ encap, mode }: Plan): readonly string[] {
  return [
    ...(encap === 'none' ? [] : [`AH covers the outer IP header, so there is no ${encap} for it`]),
    ...(mode === 'tunnel' || mode === 'transport' ? [] : ['AH has tunnel and transport mode only']),
  ]
}
