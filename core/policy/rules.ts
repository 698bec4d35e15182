import type { Facts } from '../contracts/facts.ts'
import type { RuleSettings } from '../contracts/settings.ts'
import { type Plan, SLOTS, type Slot, type Strategy } from '../contracts/strategy.ts'
import { ConfigError } from '../errors.ts'
import { nearest } from '../nearest.ts'

/** What all rules together say of one plan under the facts known now. */
export interface Ruling {
  readonly forbidden: boolean
  /**
   * How far down each rule's `prefer` each slot of the plan stands, earlier rules first, three numbers a rule, 0 for the
   * top. Rulings of the same rules and facts compare number by number; less is better.
   */
  readonly ranks: readonly number[]
  /** Whether a rule names the plan's mode under `use` or `prefer`. */
  readonly asksForMode: boolean
  readonly reasons: readonly string[]
}

/**
 * Applies the rules for a peer to one plan. The earliest rule with a `use` for a slot decides that slot: later ones say
 * nothing about it any more. A rule over an unknown fact does not match, and says so.
 */
export function applyRules(
  rules: readonly RuleSettings[],
  peer: string,
  facts: Facts,
  plan: Plan,
  strategies: readonly Strategy[],
): Ruling {
  const reasons: string[] = []
  const ranks: number[] = []
  const decided = new Set<Slot>()
  let forbidden = false
  let asksForMode = false
  for (const rule of rulesFor(rules, peer)) {
    const matched = matches(rule, facts)
    if (matched !== true) {
      ranks.push(0, 0, 0)
      if (matched !== false && concerns(rule, plan)) reasons.push(`${rule.at} waits: ${matched} is unknown`)
      continue
    }
    const open = SLOTS.filter(slot => !decided.has(slot))
    for (const slot of SLOTS) {
      const named = (list: readonly string[]): readonly string[] =>
        list.filter(name => strategies.some(s => s.slot === slot && s.name === name))
      const [use, prefer, avoid] = [named(rule.use), named(rule.prefer), named(rule.avoid)]
      const name = plan[slot]
      if (slot === 'mode' && (use.includes(name) || prefer.includes(name))) asksForMode = true
      const rank = prefer.indexOf(name)
      ranks.push(rank === -1 ? prefer.length : rank)
      if (rank !== -1) reasons.push(`${rule.at} prefers ${name}`)
      if (!open.includes(slot)) continue
      if (use.length > 0) decided.add(slot)
      if (use.length > 0 && !use.includes(name)) {
        forbidden = true
        reasons.push(`${rule.at} uses ${use.join(' or ')} only`)
      }
      if (avoid.includes(name)) {
        forbidden = true
        reasons.push(`${rule.at} avoids ${name}`)
      }
    }
  }
  return { forbidden, ranks, asksForMode, reasons }
}

/** The rules that speak of a peer, in order. */
export const rulesFor = (rules: readonly RuleSettings[], peer: string): readonly RuleSettings[] =>
  rules.filter(({ peers }) => peers.length === 0 || peers.includes(peer))

/** @returns the name of the first fact that is not known, where that decides */
function matches(rule: RuleSettings, facts: Facts): boolean | string {
  let unknown: string | undefined
  for (const [name, wanted] of Object.entries(rule.when)) {
    const fact = facts[name]
    if (fact === undefined) unknown ??= name
    else if (fact.value !== wanted) return false
  }
  return unknown ?? true
}

const concerns = ({ use, prefer, avoid }: RuleSettings, plan: Plan): boolean =>
  use.length > 0 || SLOTS.some(slot => prefer.includes(plan[slot]) || avoid.includes(plan[slot]))

/** @throws ConfigError for a strategy that is not loaded, with the nearest that is */
export function checkRules(rules: readonly RuleSettings[], strategies: readonly Strategy[]): void {
  const loaded = [...new Set(strategies.map(s => s.name))].sort()
  for (const rule of rules)
    for (const list of ['use', 'prefer', 'avoid'] as const)
      for (const [i, name] of rule[list].entries()) {
        if (loaded.includes(name)) continue
        const near = nearest(name, loaded)
        const hint = near === undefined ? '' : `did you mean "${near}"? `
        throw new ConfigError(
          `${rule.at}.${list}[${i}]`,
          `unknown strategy "${name}"; ${hint}loaded: ${loaded.join(', ')}`,
        )
      }
}
