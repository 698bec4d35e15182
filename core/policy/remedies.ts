import type { Facts } from '../contracts/facts.ts'
import type { Remedy } from '../contracts/natweave.ts'
import type { RuleSettings } from '../contracts/settings.ts'
import type { Strategy } from '../contracts/strategy.ts'
import { choose, showPlan, type Wanted, weight } from './choose.ts'
import { derive } from './derived.ts'
import { problemsShown } from './problems.ts'
import { rulesFor } from './rules.ts'

/** What would have to change for a better plan, found by asking `choose` again with one thing changed at a time. */

/** For facts that somebody can do something about, by the value that stands in the way. */
const WHAT_TO_DO: Readonly<Record<string, Readonly<Record<string, readonly [side: Remedy['side'], change: string]>>>> =
  {
    plainEspPossible: { false: ['here', 'load the plugin raw, which can send IP protocol 50'] },
    localBehindNat: { true: ['here', 'give this host an address that no NAT translates'] },
    remoteBehindNat: { true: ['peer', 'give the peer an address that no NAT translates'] },
    peerNatTraversal: { false: ['peer', 'switch NAT traversal (RFC 7296 §2.23) on at the peer'] },
    peerBeet: { false: ['peer', 'have the peer offer BEET mode (strongSwan: send_vendor_id = yes)'] },
    innerPair: { false: ['both', 'limit each side of the child to one address, or use a child for each'] },
    udpBlocked: { true: ['network', 'let UDP to ports 500 and 4500 through'] },
    espBlocked: { true: ['network', 'let IP protocol 50 through'] },
    remoteKnown: { false: ['here', 'say where the peer is (its `remote`)'] },
  }

/**
 * Changes, each alone, after which the best plan would be another one that cures more or costs less, or would be there at
 * all. Facts that nobody can change, such as the address family, are left out.
 */
export function remedies(
  facts: Facts,
  rules: readonly RuleSettings[],
  strategies: readonly Strategy[],
  wanted: Wanted,
): readonly Remedy[] {
  const now = choose(facts, rules, strategies, wanted)[0]
  const worth = (judged: typeof now, known: Facts): number => {
    if (judged === undefined || !judged.usable) return Infinity
    const uncured = problemsShown(derive(known)).filter(problem => !judged.solves.includes(problem))
    return uncured.length * 1e9 + weight(judged.cost)
  }
  const before = worth(now, facts)
  const found: Remedy[] = []
  const consider = (
    side: Remedy['side'],
    change: string,
    known: Facts,
    remaining: readonly RuleSettings[],
    other: Wanted,
  ): void => {
    const best = choose(known, remaining, strategies, other)[0]
    if (best?.usable !== true || worth(best, known) >= before) return
    if (now?.usable === true && showPlan(best.plan) === showPlan(now.plan)) return
    found.push({ side, change, plan: best.plan, cost: best.cost })
  }
  for (const [name, fact] of Object.entries(facts)) {
    const known = WHAT_TO_DO[name]?.[String(fact.value)]
    if (known !== undefined) consider(...known, { ...facts, [name]: { ...fact, value: !fact.value } }, rules, wanted)
  }
  const { peer } = wanted
  if (wanted.encapsulation !== 'auto')
    consider('here', `set peers.${peer}.encapsulation to auto`, facts, rules, { ...wanted, encapsulation: 'auto' })
  if (wanted.mode !== 'auto')
    consider('here', 'leave the mode of the child to policy (auto)', facts, rules, { ...wanted, mode: 'auto' })
  for (const rule of rulesFor(rules, peer))
    consider(
      'here',
      `drop ${rule.at}`,
      facts,
      rules.filter(other => other !== rule),
      wanted,
    )
  return found
}
