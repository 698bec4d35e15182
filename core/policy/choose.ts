import type { Facts } from '../contracts/facts.ts'
import type { JudgedPlan } from '../contracts/natweave.ts'
import type { RuleSettings } from '../contracts/settings.ts'
import { type Cost, type Plan, type Problem, SLOTS, type Strategy } from '../contracts/strategy.ts'
import { refusedByAh } from './ah.ts'
import { derive } from './derived.ts'
import { problemsShown } from './problems.ts'
import { applyRules, rulesFor } from './rules.ts'

/** What is to be planned: a Child SA with a peer. */
export interface Wanted {
  readonly peer: string
  readonly encapsulation: 'auto' | 'force' | 'never'
  /** A mode strategy's name, or `auto`. */
  readonly mode: string
  /** Absent: esp. */
  readonly protocol?: 'esp' | 'ah'
  /** What speaks against every plan, where something does. */
  readonly obstacle?: string | undefined
  /** Slots that are decided already, by the IKE SA that stands; other strategies for them are not judged. */
  readonly fixed?: Partial<Plan>
  /** Paths that have just failed, with the reason: they are not tried again blindly. */
  readonly tried?: ReadonlyMap<string, string> | undefined
  /** The path that worked last on this network: it comes before those that nothing else puts before it. */
  readonly remembered?: string | undefined
}

interface Judged extends JudgedPlan {
  /** The mode changes what applications see and nobody asked for it. */
  readonly unasked: boolean
  readonly ranks: readonly number[]
  readonly uncured: readonly Problem[]
  readonly remembered: boolean
}

/**
 * Policy, as one pure function: every combination of loaded strategies, judged, best first. Usable before unusable, then
 * what rules prefer, then what cures more of the problems that the facts show, then what worked here before, then the
 * cheapest, then the order in which strategies were loaded.
 */
export function choose(
  given: Facts,
  rules: readonly RuleSettings[],
  strategies: readonly Strategy[],
  wanted: Wanted,
): readonly JudgedPlan[] {
  const facts = derive(given)
  const shown = problemsShown(facts)
  const spoken = rulesFor(rules, wanted.peer)
  const plans = combinations(strategies, wanted.fixed ?? {})
    .map(plan => judge(plan, facts, spoken, strategies, wanted, shown))
    .sort((a, b) => Number(b.usable) - Number(a.usable) || decide(a, b, spoken).order)
  return plans.map(({ plan, usable, reasons, cost, solves }, i) => {
    if (!usable) return { plan, usable, reasons, cost, solves }
    const other = plans[i === 0 ? 1 : 0]
    const verdict = other?.usable ? decide(plans[i]!, other, spoken).words : 'the only usable plan'
    return { plan, usable, reasons: [verdict, ...reasons], cost, solves }
  })
}

function combinations(strategies: readonly Strategy[], fixed: Partial<Plan>): Plan[] {
  const [paths = [], encaps = [], modes = []] = SLOTS.map(slot =>
    strategies.filter(s => s.slot === slot && (fixed[slot] ?? s.name) === s.name).map(s => s.name),
  )
  return paths.flatMap(path => encaps.flatMap(encap => modes.map(mode => ({ path, encap, mode }))))
}

function judge(
  plan: Plan,
  facts: Facts,
  rules: readonly RuleSettings[],
  strategies: readonly Strategy[],
  { peer, encapsulation, mode, protocol, obstacle, tried, remembered }: Wanted,
  shown: readonly Problem[],
): Judged {
  const parts = SLOTS.map(slot => strategies.find(s => s.slot === slot && s.name === plan[slot])!)
  const against: string[] = obstacle === undefined ? [] : [obstacle]
  const failure = tried?.get(plan.path)
  if (failure !== undefined) against.push(`it has just failed: ${failure}`)
  const aside: string[] = []
  if (encapsulation === 'force' && plan.encap === 'none') against.push(`peers.${peer}.encapsulation is force`)
  if (encapsulation === 'never' && plan.encap !== 'none') against.push(`peers.${peer}.encapsulation is never`)
  if (mode !== 'auto' && plan.mode !== mode) against.push(`the configuration asks for mode ${mode}`)
  if (protocol === 'ah') against.push(...refusedByAh(plan))
  let cost: Cost | undefined = { octets: 0, roundTrips: 0, trusts: [] }
  for (const part of parts) {
    // what an encapsulation says of itself is about ESP
    if (protocol === 'ah' && part.slot === 'encap') continue
    const assessment = part.assess(facts, plan)
    if (!assessment.usable) {
      cost = undefined
      against.push(`${part.name}: ${assessment.why}`)
    } else {
      if (cost !== undefined) cost = add(cost, assessment.cost)
      if (assessment.why !== undefined) aside.push(`${part.name}: ${assessment.why}`)
    }
  }
  const ruling = applyRules(rules, peer, facts, plan, strategies)
  const usable = against.length === 0 && !ruling.forbidden
  const substitutes = parts.some(part => part.slot === 'mode' && part.substitutes === true)
  const solves = [...new Set(parts.flatMap(part => part.solves))]
  const uncured = shown.filter(problem => !solves.includes(problem))
  if (uncured.length > 0) aside.push(`leaves ${uncured.join(', ')} uncured`)
  return {
    plan,
    usable,
    reasons: usable
      ? [...ruling.reasons, ...aside, `costs ${showCost(cost)}`]
      : [...against, ...ruling.reasons, ...aside],
    cost,
    solves,
    unasked: mode === 'auto' && substitutes && !ruling.asksForMode,
    ranks: ruling.ranks,
    uncured,
    remembered: remembered === plan.path,
  }
}

/** Where `a` stands against `b` (before it when negative), and what decided that, in words about `a`. */
function decide(a: Judged, b: Judged, rules: readonly RuleSettings[]): { order: number; words: string } {
  const other = showPlan(b.plan)
  const asked = Number(a.unasked) - Number(b.unasked)
  if (asked < 0) return { order: asked, words: `before ${other}, which comes only when asked for` }
  if (asked > 0) return { order: asked, words: `${a.plan.mode} comes only when asked for` }
  const at = a.ranks.findIndex((rank, i) => rank !== b.ranks[i])
  if (at !== -1) {
    const order = a.ranks[at]! - b.ranks[at]!
    const rule = rules[Math.floor(at / SLOTS.length)]!.at
    return { order, words: order < 0 ? `${rule} puts it before ${other}` : `${rule} puts ${other} first` }
  }
  const cures = a.uncured.length - b.uncured.length
  if (cures !== 0) return { order: cures, words: `cures ${cures < 0 ? 'more' : 'less'} than ${other}` }
  const before = Number(b.remembered) - Number(a.remembered)
  if (before !== 0) return { order: before, words: before < 0 ? 'worked here before' : `${other} worked here before` }
  const price = weight(a.cost) - weight(b.cost)
  if (price < 0) return { order: price, words: `cheaper than ${other}, which costs ${showCost(b.cost)}` }
  if (price > 0) return { order: price, words: `dearer than ${other}, which costs ${showCost(b.cost)}` }
  return { order: 0, words: `as good as ${other}; the strategies loaded first win` }
}

/** `direct+udp-encap+tunnel` */
export const showPlan = ({ path, encap, mode }: Plan): string => `${path}+${encap}+${mode}`

const add = (a: Cost, b: Cost): Cost => ({
  octets: a.octets + b.octets,
  roundTrips: a.roundTrips + b.roundTrips,
  trusts: [...new Set([...a.trusts, ...b.trusts])],
})

function showCost(cost: Cost | undefined): string {
  if (cost === undefined) return 'what is not known'
  const { octets, roundTrips, trusts } = cost
  return [
    `${octets} octets per packet`,
    ...(roundTrips > 0 ? [`${roundTrips} round trip${roundTrips === 1 ? '' : 's'} first`] : []),
    ...(trusts.length > 0 ? [`trust in ${trusts.join(' and ')}`] : []),
  ].join(', ')
}

/** Trust weighs most, a round trip as much as 100 octets of every packet. */
export const weight = (cost: Cost | undefined): number =>
  cost === undefined ? 0 : cost.trusts.length * 1e6 + cost.roundTrips * 100 + cost.octets
