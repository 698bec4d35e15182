import type { FactValue } from '../contracts/facts.ts'
import type { ConditionSettings } from '../contracts/settings.ts'
import { matchesWildcard } from '../wildcard.ts'

/** What a rule wants of one fact, and whether it has it. */

/** A bare value stands for "is this one". */
export const conditionOf = (wanted: FactValue | ConditionSettings): ConditionSettings =>
  typeof wanted === 'object' ? wanted : { in: [wanted] }

/** Comparisons of numbers hold for numbers only. */
export function holds(wanted: FactValue | ConditionSettings, value: FactValue): boolean {
  const { in: among, not, above, atLeast, below, atMost } = conditionOf(wanted)
  if (among !== undefined && !among.some(one => fits(one, value))) return false
  if (not?.some(one => fits(one, value))) return false
  const bounds = [above, atLeast, below, atMost]
  if (bounds.every(bound => bound === undefined)) return true
  if (typeof value !== 'number') return false
  return (
    (above === undefined || value > above) &&
    (atLeast === undefined || value >= atLeast) &&
    (below === undefined || value < below) &&
    (atMost === undefined || value <= atMost)
  )
}

/** `*` in a wanted text stands for any run of characters. */
function fits(wanted: FactValue, value: FactValue): boolean {
  if (typeof wanted !== 'string' || typeof value !== 'string' || !wanted.includes('*')) return wanted === value
  return matchesWildcard(value, wanted)
}

/** In words, as in "localNatKind is symmetric or port-restricted-cone". */
export function showCondition(wanted: FactValue | ConditionSettings): string {
  const { in: among, not, above, atLeast, below, atMost } = conditionOf(wanted)
  return [
    ...(among === undefined ? [] : [`is ${among.join(' or ')}`]),
    ...(not === undefined ? [] : [`is not ${not.join(' or ')}`]),
    ...(above === undefined ? [] : [`is above ${above}`]),
    ...(atLeast === undefined ? [] : [`is at least ${atLeast}`]),
    ...(below === undefined ? [] : [`is below ${below}`]),
    ...(atMost === undefined ? [] : [`is at most ${atMost}`]),
  ].join(' and ')
}

/** Why no value can satisfy a condition; undefined when one can, or when that cannot be told. */
export function impossible(wanted: FactValue | ConditionSettings): string | undefined {
  const condition = conditionOf(wanted)
  const { low, high } = span(condition)
  if (low.at > high.at || (low.at === high.at && (low.open || high.open)))
    return 'no number is that large and that small'
  const { in: among } = condition
  if (among === undefined || among.some(pattern)) return undefined
  return among.some(value => holds(condition, value)) ? undefined : 'its other parts rule out each value it names'
}

/** Whether all that satisfies `narrow` satisfies `wide`; false where that cannot be told. */
export function implies(narrow: FactValue | ConditionSettings, wide: FactValue | ConditionSettings): boolean {
  const [a, b] = [conditionOf(narrow), conditionOf(wide)]
  if (JSON.stringify(a) === JSON.stringify(b)) return true
  if (a.in !== undefined && !a.in.some(pattern)) return a.in.every(value => !holds(a, value) || holds(b, value))
  if (b.in !== undefined || !(b.not ?? []).every(value => a.not?.includes(value))) return false
  const [inner, outer] = [span(a), span(b)]
  if (outer.low.at === -Infinity && outer.high.at === Infinity) return true
  return (
    (inner.low.at > outer.low.at || (inner.low.at === outer.low.at && (inner.low.open || !outer.low.open))) &&
    (inner.high.at < outer.high.at || (inner.high.at === outer.high.at && (inner.high.open || !outer.high.open)))
  )
}

const pattern = (value: FactValue): boolean => typeof value === 'string' && value.includes('*')

interface Bound {
  readonly at: number
  /** The bound itself lies outside. */
  readonly open: boolean
}

/** The numbers a condition's comparisons leave. */
function span({ above, atLeast, below, atMost }: ConditionSettings): { readonly low: Bound; readonly high: Bound } {
  const low = Math.max(above ?? -Infinity, atLeast ?? -Infinity)
  const high = Math.min(below ?? Infinity, atMost ?? Infinity)
  return { low: { at: low, open: above === low }, high: { at: high, open: below === high } }
}
