import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { Fact, Facts } from '../../../core/contracts/facts.ts'
import { type Plugin, STRATEGY } from '../../../core/contracts/plugin.ts'
import { type ModeContext, type Plan, PROBLEMS, SLOTS, type Strategy } from '../../../core/contracts/strategy.ts'
import { check, frozen, isKebabCase, partsOf, quiet, type SuiteRunner, same } from './check.ts'
import { checkEncap } from './encap.ts'
import { checkMode } from './mode.ts'
import { checkPath, type PathCase } from './path.ts'
import { checkTasks } from './tasks.ts'

export interface StrategySuiteOptions extends SuiteRunner {
  /** For tasks that need real cryptography; hashes work without. */
  readonly crypto?: CryptoProvider
  /** Facts beyond core's that `assess` reads, each with the values it may have. */
  readonly facts?: Readonly<Record<string, readonly (string | number | boolean)[]>>
  /** A path is also asked for these; where the peer is, and what is bound. */
  readonly paths?: readonly PathCase[]
  /** A mode is also created with these, which it must not refuse. */
  readonly modes?: readonly ModeContext[]
}

const KNOWN = {
  localBehindNat: [true, false],
  remoteBehindNat: [true, false],
  peerNatTraversal: [true, false],
  outerFamily: [4, 6],
  forceEncapsulation: [true, false],
  plainEspPossible: [true, false],
  udpBlocked: [true, false],
  espBlocked: [true, false],
}

/**
 * What every strategy must do, of whatever slot. One call: `strategySuite(() => udpEncap(), { test })`.
 *
 * @param make - a strategy, or a plugin that registers some
 */
export function strategySuite(make: () => Strategy | Plugin, options: StrategySuiteOptions): void {
  const { test, crypto, facts = {}, paths = [], modes = [] } = options
  // how many there are is known at once, so that each has tests of its own name; each test makes them anew
  const count = partsOf(make(), STRATEGY).length
  test('strategy: there is one', () => check(count > 0, 'the plugin to register a strategy'))
  for (let i = 0; i < count; i++) {
    const fresh = (): Strategy => partsOf(make(), STRATEGY)[i]!
    const { slot, name } = fresh()
    const about = `${slot} ${name}`
    const all = factsToTry({ ...KNOWN, ...facts })

    test(`${about}: names itself and what it solves`, () => {
      const strategy = fresh()
      check(SLOTS.includes(strategy.slot), `one of the slots ${SLOTS.join(', ')}`)
      check(isKebabCase(strategy.name), `a kebab-case name, not "${strategy.name}"`)
      for (const problem of strategy.solves) check(PROBLEMS.includes(problem), `${problem} to be a known problem`)
      same(new Set(strategy.solves).size, strategy.solves.length, 'the number of distinct problems')
    })

    test(`${about}: unknown facts are not bad news`, () => {
      check(fresh().assess(frozen({}), planWith(slot, name)).usable, 'a strategy to be usable while nothing is known')
    })

    test(`${about}: assess is pure and says why not`, () => {
      const strategy = fresh()
      const before = all.map(known => assessed(strategy, known))
      // the same again after everything else was asked: nothing may be remembered
      for (const [at, known] of all.entries()) same(assessed(strategy, known), before[at], 'assess of the same facts')
      same(assessed(fresh(), all.at(-1)!), before.at(-1), 'assess of another instance')
    })

    test(`${about}: tasks are fresh for each IKE SA and stand whatever a peer sends`, () => {
      const strategy = fresh()
      checkTasks(() => strategy.tasks?.() ?? [], crypto)
    })

    if (slot === 'path') checkPath(about, () => narrowed(fresh(), 'path'), test, paths)
    else if (slot === 'encap') checkEncap(about, () => narrowed(fresh(), 'encap'), test, all)
    else checkMode(about, () => narrowed(fresh(), 'mode'), test, modes)
  }
}

const narrowed = <S extends Strategy['slot']>(strategy: Strategy, _slot: S) =>
  strategy as Extract<Strategy, { slot: S }>

const planWith = (slot: Strategy['slot'], name: string): Plan =>
  frozen({ path: 'direct', encap: 'none', mode: 'tunnel', [slot]: name })

function assessed(strategy: Strategy, facts: Facts): unknown {
  const assessment = quiet('assess', () => strategy.assess(facts, planWith(strategy.slot, strategy.name)))
  const { why } = assessment
  check(why === undefined || why !== '', 'a reason in words')
  if (!assessment.usable) return assessment
  const { octets, roundTrips, trusts } = assessment.cost
  check(Number.isFinite(octets) && octets >= 0, `a cost of 0 octets or more, not ${octets}`)
  check(Number.isFinite(roundTrips) && roundTrips >= 0, `a cost of 0 round trips or more, not ${roundTrips}`)
  check(
    trusts.every(party => party !== ''),
    'trusted parties with names',
  )
  return assessment
}

/** Nothing, each value alone, each pair of values, and all at once; frozen. */
function factsToTry(values: Readonly<Record<string, readonly (string | number | boolean)[]>>): readonly Facts[] {
  const single = Object.entries(values).flatMap(([name, list]) => list.map(value => [name, value] as const))
  const fact = (value: string | number | boolean): Fact => ({ value, source: 'contract suite', at: 0 })
  const tried: Record<string, Fact>[] = [{}]
  for (const [i, [name, value]] of single.entries()) {
    tried.push({ [name]: fact(value) })
    for (const [other, otherValue] of single.slice(i + 1))
      if (other !== name) tried.push({ [name]: fact(value), [other]: fact(otherValue) })
  }
  for (const pick of [0, 1])
    tried.push(Object.fromEntries(Object.entries(values).map(([name, list]) => [name, fact(list[pick] ?? list[0]!)])))
  return frozen(tried)
}
