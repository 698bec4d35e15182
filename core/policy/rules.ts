import type { Facts } from '../contracts/facts.ts'
import type { RuleSettings } from '../contracts/settings.ts'
import { type Plan, SLOTS, type Slot, type Strategy } from '../contracts/strategy.ts'
import { ConfigError } from '../errors.ts'
import { nearest } from '../nearest.ts'
import { holds, showCondition } from './condition.ts'

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

/** Whether a rule holds now: a rule over an unknown fact does not, unless another of its facts says so for sure. */
export interface Match {
  readonly state: 'matched' | 'not-matched' | 'unknown'
  /** In words: which fact decided, or which ones are not known. */
  readonly why: string
  /** The facts that are not known, where that decides. */
  readonly unknown: readonly string[]
}

/** Leaves a slot to policy, and later rules nothing to say about it. */
const AUTO = 'auto'

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
    const { state, unknown } = matchRule(rule, facts)
    if (state !== 'matched') {
      ranks.push(0, 0, 0)
      if (state === 'unknown' && concerns(rule, plan, strategies))
        reasons.push(`${rule.at} waits: ${unknown.join(' and ')} ${unknown.length === 1 ? 'is' : 'are'} unknown`)
      continue
    }
    const open = SLOTS.filter(slot => !decided.has(slot))
    for (const slot of SLOTS) {
      const [use, prefer, avoid] = [rule.use, rule.prefer, rule.avoid].map(list => named(list, slot, strategies))
      const name = plan[slot]
      if (slot === 'mode' && (use!.includes(name) || prefer!.includes(name))) asksForMode = true
      const rank = prefer!.indexOf(name)
      ranks.push(rank === -1 ? prefer!.length : rank)
      if (rank !== -1) reasons.push(`${rule.at} prefers ${name}`)
      if (!open.includes(slot)) continue
      if (use!.length > 0 || free(rule, slot)) decided.add(slot)
      if (use!.length > 0 && !use!.includes(name) && !free(rule, slot)) {
        forbidden = true
        reasons.push(`${rule.at} uses ${use!.join(' or ')} only`)
      }
      if (avoid!.includes(name)) {
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

/** The strategies of one slot that a list of a rule names. */
const named = (list: readonly string[], slot: Slot, strategies: readonly Strategy[]): readonly string[] =>
  list
    .filter(entry => strategies.some(s => s.slot === slot && (entry === s.name || entry === `${slot}:${s.name}`)))
    .map(entry => entry.slice(entry.indexOf(':') + 1))

const free = ({ use }: RuleSettings, slot: Slot): boolean => use.includes(AUTO) || use.includes(`${slot}:${AUTO}`)

/** Whether a rule, when it matches, decides a slot, so that later ones say nothing about it. */
export const decides = (rule: RuleSettings, slot: Slot, strategies: readonly Strategy[]): boolean =>
  free(rule, slot) || named(rule.use, slot, strategies).length > 0

export function matchRule({ when }: RuleSettings, facts: Facts): Match {
  const unknown: string[] = []
  const met: string[] = []
  for (const [name, wanted] of Object.entries(when)) {
    const fact = facts[name]
    if (fact === undefined) unknown.push(name)
    else if (holds(wanted, fact.value)) met.push(`${name} ${showCondition(wanted)}`)
    else
      return {
        state: 'not-matched',
        why: `${name} is ${fact.value}, and the rule wants that it ${showCondition(wanted)}`,
        unknown: [],
      }
  }
  if (unknown.length > 0)
    return {
      state: 'unknown',
      why: `${unknown.join(' and ')} ${unknown.length === 1 ? 'is' : 'are'} not known yet`,
      unknown,
    }
  return { state: 'matched', why: met.length === 0 ? 'it has no condition' : met.join(', '), unknown: [] }
}

/** Whether a rule, did it match, would say anything of this plan. */
function concerns(rule: RuleSettings, plan: Plan, strategies: readonly Strategy[]): boolean {
  return SLOTS.some(
    slot =>
      named(rule.use, slot, strategies).length > 0 ||
      [rule.prefer, rule.avoid].some(list => named(list, slot, strategies).includes(plan[slot])),
  )
}

/** @throws ConfigError for a strategy that is not loaded, with the nearest that is */
export function checkRules(rules: readonly RuleSettings[], strategies: readonly Strategy[]): void {
  const loaded = [...new Set(strategies.map(s => s.name))].sort()
  for (const rule of rules)
    for (const list of ['use', 'prefer', 'avoid'] as const)
      for (const [i, entry] of rule[list].entries()) {
        const [slot, name] = entry.includes(':') ? entry.split(':') : [undefined, entry]
        if (name === AUTO && list === 'use') continue
        const there = slot === undefined ? loaded : strategies.filter(s => s.slot === slot).map(s => s.name)
        if (there.includes(name!)) continue
        const near = nearest(name!, there)
        const hint = near === undefined ? '' : `did you mean "${near}"? `
        throw new ConfigError(
          slot === undefined ? `${rule.at}.${list}[${i}]` : `${rule.at}.${list}.${slot}`,
          `unknown strategy "${name}"; ${hint}loaded: ${there.join(', ')}`,
        )
      }
}
