import type { Facts } from '../contracts/facts.ts'
import type { RuleSettings } from '../contracts/settings.ts'
import type { Plan, Strategy } from '../contracts/strategy.ts'
import { ConfigError } from '../errors.ts'

/** What one rule says of one plan under the facts known now. */
export interface Ruling {
  readonly verdict: 'allows' | 'forbids' | 'silent'
  /** Higher is better; earlier rules count more. */
  readonly preference: number
  readonly reasons: readonly string[]
}

const names = ({ path, encap, mode }: Plan): readonly string[] => [path, encap, mode]

/** Applies all rules for a peer to one plan. A rule over an unknown fact does not match, and says so. */
export function applyRules(rules: readonly RuleSettings[], peer: string, facts: Facts, plan: Plan, strategies: readonly Strategy[]): Ruling {
  const reasons: string[] = []
  let preference = 0
  let forbidden = false
  const spoken = rules.filter(rule => rule.peers.length === 0 || rule.peers.includes(peer))
  for (const [i, rule] of spoken.entries()) {
    const state = matches(rule, facts)
    if (typeof state === 'string') {
      reasons.push(`${rule.at} waits: ${state} is unknown`)
      continue
    }
    if (!state) continue
    for (const slot of ['path', 'encap', 'mode'] as const) {
      const inSlot = rule.use.filter(name => strategies.some(s => s.slot === slot && s.name === name))
      if (inSlot.length > 0 && !inSlot.includes(plan[slot])) {
        forbidden = true
        reasons.push(`${rule.at} wants ${slot} ${inSlot.join(' or ')}`)
      }
    }
    const avoided = rule.avoid.filter(name => names(plan).includes(name))
    if (avoided.length > 0) {
      forbidden = true
      reasons.push(`${rule.at} avoids ${avoided.join(', ')}`)
    }
    const preferred = rule.prefer.filter(name => names(plan).includes(name))
    if (preferred.length > 0) {
      preference += preferred.length * 2 ** (spoken.length - i)
      reasons.push(`${rule.at} prefers ${preferred.join(', ')}`)
    }
  }
  return { verdict: forbidden ? 'forbids' : reasons.length > 0 ? 'allows' : 'silent', preference, reasons }
}

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

/** @throws ConfigError for a strategy that is not loaded, with the nearest that is */
export function checkRules(rules: readonly RuleSettings[], strategies: readonly Strategy[]): void {
  const loaded = strategies.map(s => s.name).sort()
  for (const rule of rules)
    for (const list of ['use', 'prefer', 'avoid'] as const)
      for (const [i, name] of rule[list].entries())
        if (!loaded.includes(name))
          throw new ConfigError(`${rule.at}.${list}[${i}]`, `unknown strategy "${name}"; loaded: ${loaded.join(', ')}`)
}
