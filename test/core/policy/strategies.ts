import type { Fact, Facts } from '../../../core/contracts/facts.ts'
import type { RuleSettings } from '../../../core/contracts/settings.ts'
import type { Assessment, ModeStrategy, PathStrategy, Problem } from '../../../core/contracts/strategy.ts'

/** Strategies of which only the judgement matters, and short ways to write facts and rules. */

export const facts = (values: Readonly<Record<string, string | number | boolean>>): Facts =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]): [string, Fact] => [name, { value, source: 'the test', at: 0 }]),
  )

export const rule = (at: string, part: Partial<RuleSettings>): RuleSettings => ({
  at,
  peers: [],
  when: {},
  use: [],
  prefer: [],
  avoid: [],
  ...part,
})

interface ModeOptions {
  readonly octets: number
  readonly solves?: readonly Problem[]
  readonly substitutes?: boolean
  readonly assess?: Assessment
}

export const mode = (
  name: string,
  { octets, solves = [], substitutes = false, assess }: ModeOptions,
): ModeStrategy => ({
  slot: 'mode',
  name,
  solves,
  substitutes,
  assess: () => assess ?? { usable: true, cost: { octets, roundTrips: 0, trusts: [] } },
  create: () => ({ name, encode: () => undefined, decode: () => undefined }),
})

export const path = (name: string, roundTrips: number, trusts: readonly string[]): PathStrategy => ({
  slot: 'path',
  name,
  solves: ['inbound'],
  assess: () => ({ usable: true, cost: { octets: 0, roundTrips, trusts } }),
  serve: () => ({ deadline: Number.POSITIVE_INFINITY, step: () => [] }),
})
