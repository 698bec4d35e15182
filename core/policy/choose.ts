import { type Facts, knownFact } from '../contracts/facts.ts'
import type { JudgedPlan } from '../contracts/natweave.ts'
import type { RuleSettings } from '../contracts/settings.ts'
import type { Cost, Plan, Problem, Strategy } from '../contracts/strategy.ts'
import { applyRules } from './rules.ts'

/** What is to be planned: a Child SA with a peer. */
export interface Wanted {
  readonly peer: string
  readonly encapsulation: 'auto' | 'force' | 'never'
  /** A mode strategy's name, or `auto`. */
  readonly mode: string
  /** Slots that are decided already, by the IKE SA that stands. */
  readonly fixed?: Partial<Plan>
}

interface Judged extends JudgedPlan {
  readonly preference: number
  readonly uncured: number
}

/**
 * Policy, as one pure function: every combination of loaded strategies, judged, best first. Usable before unusable, then
 * what rules prefer, then what cures more of the problems that the facts show, then the cheapest.
 */
export function choose(
  facts: Facts,
  rules: readonly RuleSettings[],
  strategies: readonly Strategy[],
  wanted: Wanted,
): readonly JudgedPlan[] {
  const shown = problemsShown(facts)
  const plans = combinations(strategies, wanted).map(plan => judge(plan, facts, rules, strategies, wanted, shown))
  plans.sort(
    (a, b) =>
      Number(b.usable) - Number(a.usable) ||
      b.preference - a.preference ||
      a.uncured - b.uncured ||
      weight(a.cost) - weight(b.cost),
  )
  return plans.map(({ preference: _preference, uncured: _uncured, ...plan }) => plan)
}

function combinations(strategies: readonly Strategy[], { fixed = {}, mode }: Wanted): Plan[] {
  const named = (slot: Strategy['slot']): string[] =>
    strategies.filter(s => s.slot === slot && (fixed[slot] ?? s.name) === s.name).map(s => s.name)
  const modes = named('mode').filter(name => mode === 'auto' || name === mode)
  return named('path').flatMap(path => named('encap').flatMap(encap => modes.map(m => ({ path, encap, mode: m }))))
}

function judge(
  plan: Plan,
  facts: Facts,
  rules: readonly RuleSettings[],
  strategies: readonly Strategy[],
  { peer, encapsulation, mode }: Wanted,
  shown: readonly Problem[],
): Judged {
  const parts = (['path', 'encap', 'mode'] as const).map(slot => strategies.find(s => s.slot === slot && s.name === plan[slot])!)
  const reasons: string[] = []
  let cost: Cost | undefined = { octets: 0, roundTrips: 0, trusts: [] }
  for (const part of parts) {
    const assessment = part.assess(facts, plan)
    if (!assessment.usable) {
      cost = undefined
      reasons.unshift(`${part.name}: ${assessment.why}`)
    } else {
      if (cost !== undefined) cost = add(cost, assessment.cost)
      if (assessment.why !== undefined) reasons.push(`${part.name}: ${assessment.why}`)
    }
  }
  const ruling = applyRules(rules, peer, facts, plan, strategies)
  reasons.push(...ruling.reasons)
  const forced = encapsulation === 'force' && plan.encap === 'none'
  const barred = encapsulation === 'never' && plan.encap !== 'none'
  if (forced) reasons.unshift(`peers.${peer}.encapsulation is force`)
  if (barred) reasons.unshift(`peers.${peer}.encapsulation is never`)
  // transport mode changes what applications see, so nobody gets it without asking
  const unasked = mode === 'auto' && ruling.preference === 0 && parts[2]?.slot === 'mode' && parts[2].substitutes === true
  const solves = [...new Set(parts.flatMap(p => p.solves))]
  const uncured = shown.filter(problem => !solves.includes(problem))
  if (uncured.length > 0) reasons.push(`leaves ${uncured.join(', ')} uncured`)
  const usable = cost !== undefined && ruling.verdict !== 'forbids' && !forced && !barred
  if (usable && cost !== undefined) reasons.push(`costs ${cost.octets} octets per packet`)
  return {
    plan,
    usable,
    reasons: unasked ? [...reasons, 'only when asked for'] : reasons,
    cost,
    solves,
    preference: ruling.preference - (unasked ? 1 : 0),
    uncured: uncured.length,
  }
}

/** What the facts say is in the way; unknown facts show nothing. */
function problemsShown(facts: Facts): Problem[] {
  const behindNat = knownFact(facts, 'localBehindNat') === true || knownFact(facts, 'remoteBehindNat') === true
  return behindNat ? ['non-udp-tcp', 'mapping-timeouts', 'fixed-ike-ports'] : []
}

const add = (a: Cost, b: Cost): Cost => ({
  octets: a.octets + b.octets,
  roundTrips: a.roundTrips + b.roundTrips,
  trusts: [...new Set([...a.trusts, ...b.trusts])],
})

/** Trust weighs most, a round trip as much as a packet's worth of octets. */
const weight = (cost: Cost | undefined): number =>
  cost === undefined ? Infinity : cost.trusts.length * 1e6 + cost.roundTrips * 100 + cost.octets
