import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RuleSettings } from '../../../core/contracts/settings.ts'
import type { Assessment, Plan } from '../../../core/contracts/strategy.ts'
import { direct } from '../../../core/path/direct.ts'
import { none } from '../../../core/path/none.ts'
import { choose, type Wanted } from '../../../core/policy/choose.ts'
import { UdpEncap } from '../../../plugins/udp-encap/index.ts'
import { facts, mode, path, rule } from './strategies.ts'

const relayed = path('relayed', 3, ['relay.example'])
const tunnel = mode('tunnel', { octets: 20 })
const transport = mode('transport', { octets: 0, substitutes: true })
const beet = mode('beet', { octets: 2 })
const strategies = [direct, none, tunnel, transport, new UdpEncap(), beet, relayed]
const auto: Wanted = { peer: 'moon', encapsulation: 'auto', mode: 'auto' }

const show = ({ path, encap, mode }: Plan): string => `${path}+${encap}+${mode}`

interface Row {
  readonly name: string
  readonly given?: Readonly<Record<string, string | number | boolean>>
  readonly wanted?: Partial<Wanted>
  readonly rules?: readonly RuleSettings[]
  /** The best plan, or none usable. */
  readonly want: string
}

const rows: Row[] = [
  { name: 'nothing known: what is cheapest', want: 'direct+none+beet' },
  { name: 'this host behind a NAT', given: { localBehindNat: true }, want: 'direct+udp-encap+beet' },
  { name: 'the peer behind a NAT', given: { remoteBehindNat: true }, want: 'direct+udp-encap+beet' },
  { name: 'no NAT', given: { localBehindNat: false, remoteBehindNat: false }, want: 'direct+none+beet' },
  { name: 'no protocol 50 here', given: { plainEspPossible: false }, want: 'direct+udp-encap+beet' },
  { name: 'protocol 50 dropped on the way', given: { espBlocked: true }, want: 'direct+udp-encap+beet' },
  { name: 'UDP dropped on the way, which IKE needs', given: { udpBlocked: true }, want: 'none usable' },
  { name: 'NAT and no UDP', given: { localBehindNat: true, udpBlocked: true }, want: 'none usable' },
  {
    name: 'NAT, and a peer that does not know it',
    given: { localBehindNat: true, peerNatTraversal: false },
    want: 'none usable',
  },
  { name: 'encapsulation forced', wanted: { encapsulation: 'force' }, want: 'direct+udp-encap+beet' },
  { name: 'encapsulation never', wanted: { encapsulation: 'never' }, want: 'direct+none+beet' },
  {
    name: 'encapsulation never, behind a NAT',
    given: { localBehindNat: true },
    wanted: { encapsulation: 'never' },
    want: 'none usable',
  },
  { name: 'a mode by name', wanted: { mode: 'tunnel' }, want: 'direct+none+tunnel' },
  { name: 'a mode that changes addresses, by name', wanted: { mode: 'transport' }, want: 'direct+none+transport' },
  { name: 'a mode that is not loaded', wanted: { mode: 'ah' }, want: 'none usable' },
  { name: 'a slot decided before', wanted: { fixed: { path: 'relayed' } }, want: 'relayed+none+beet' },
  { name: 'a rule', rules: [rule('r0', { use: ['tunnel'] })], want: 'direct+none+tunnel' },
  {
    name: 'a rule for this peer',
    rules: [rule('r0', { peers: ['moon'], use: ['tunnel'] })],
    want: 'direct+none+tunnel',
  },
  {
    name: 'a rule for another peer',
    rules: [rule('r0', { peers: ['sun'], use: ['tunnel'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'a rule whose fact holds',
    given: { outerFamily: 6 },
    rules: [rule('r0', { when: { outerFamily: 6 }, use: ['udp-encap'] })],
    want: 'direct+udp-encap+beet',
  },
  {
    name: 'a rule whose fact does not hold',
    given: { outerFamily: 4 },
    rules: [rule('r0', { when: { outerFamily: 6 }, use: ['udp-encap'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'a rule over an unknown fact',
    rules: [rule('r0', { when: { outerFamily: 6 }, use: ['udp-encap'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'use of two slots at once',
    rules: [rule('r0', { use: ['udp-encap', 'tunnel', 'relayed'] })],
    want: 'relayed+udp-encap+tunnel',
  },
  { name: 'use of one of two', rules: [rule('r0', { use: ['tunnel', 'beet'] })], want: 'direct+none+beet' },
  { name: 'prefer beats cost', rules: [rule('r0', { prefer: ['relayed', 'tunnel'] })], want: 'relayed+none+tunnel' },
  { name: 'prefer in its order', rules: [rule('r0', { prefer: ['tunnel', 'beet'] })], want: 'direct+none+tunnel' },
  {
    name: 'prefer yields to what is usable',
    given: { localBehindNat: true },
    rules: [rule('r0', { prefer: ['none'] })],
    want: 'direct+udp-encap+beet',
  },
  {
    name: 'the earlier preference wins over several later ones',
    rules: [rule('r0', { prefer: ['none'] }), rule('r1', { prefer: ['relayed', 'udp-encap', 'tunnel'] })],
    want: 'relayed+none+tunnel',
  },
  { name: 'avoid', rules: [rule('r0', { avoid: ['beet', 'none'] })], want: 'direct+udp-encap+tunnel' },
  {
    name: 'the earlier use decides the slot',
    rules: [rule('r0', { use: ['udp-encap'] }), rule('r1', { use: ['none'], avoid: ['udp-encap'] })],
    want: 'direct+udp-encap+beet',
  },
  {
    name: 'the earlier avoid holds against a later use',
    rules: [rule('r0', { avoid: ['none'] }), rule('r1', { use: ['none'] })],
    want: 'none usable',
  },
  {
    name: 'a preference for something else does not bring a mode nobody asked for',
    rules: [rule('r0', { prefer: ['udp-encap'], avoid: ['beet'] })],
    want: 'direct+udp-encap+tunnel',
  },
  {
    name: 'one of several values',
    given: { localNatKind: 'symmetric' },
    rules: [rule('r0', { when: { localNatKind: { in: ['symmetric', 'full-cone'] } }, use: ['tunnel'] })],
    want: 'direct+none+tunnel',
  },
  {
    name: 'none of these values',
    given: { network: 'office' },
    rules: [rule('r0', { when: { network: { not: ['off*'] } }, use: ['tunnel'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'a number in bounds',
    given: { sinceSuccess: 5_000 },
    rules: [rule('r0', { when: { sinceSuccess: { above: 1_000, atMost: 5_000 } }, use: ['tunnel'] })],
    want: 'direct+none+tunnel',
  },
  {
    name: 'a number out of bounds',
    given: { sinceSuccess: 5_000 },
    rules: [rule('r0', { when: { sinceSuccess: { below: 5_000 } }, use: ['tunnel'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'a comparison with what is no number',
    given: { sinceSuccess: 'never' },
    rules: [rule('r0', { when: { sinceSuccess: { above: 0 } }, use: ['tunnel'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'a fact that follows from two others',
    given: { localBehindNat: true, remoteBehindNat: true },
    rules: [rule('r0', { when: { bothBehindNat: true }, use: ['tunnel'] })],
    want: 'direct+udp-encap+tunnel',
  },
  {
    name: 'one of the two says no: then not both',
    given: { localBehindNat: false },
    rules: [rule('r0', { when: { bothBehindNat: false }, use: ['tunnel'] })],
    want: 'direct+none+tunnel',
  },
  { name: 'a name with its slot', rules: [rule('r0', { use: ['mode:tunnel'] })], want: 'direct+none+tunnel' },
  {
    name: 'a slot left to policy, whatever later rules say',
    rules: [rule('r0', { use: ['mode:auto'] }), rule('r1', { use: ['tunnel', 'udp-encap'] })],
    want: 'direct+udp-encap+beet',
  },
  {
    name: 'everything left to policy',
    rules: [rule('r0', { use: ['auto'] }), rule('r1', { use: ['tunnel', 'udp-encap'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'what worked here before comes before what is cheaper',
    wanted: { remembered: 'relayed' },
    want: 'relayed+none+beet',
  },
  {
    name: 'but not before what a rule prefers',
    wanted: { remembered: 'relayed' },
    rules: [rule('r0', { prefer: ['direct'] })],
    want: 'direct+none+beet',
  },
  {
    name: 'what has just failed is not tried again',
    wanted: { tried: new Map([['direct', 'no answer']]) },
    want: 'relayed+none+beet',
  },
  { name: 'a rule may ask for it', rules: [rule('r0', { prefer: ['transport'] })], want: 'direct+none+transport' },
]

describe('the best plan', () => {
  for (const { name, given = {}, wanted = {}, rules = [], want } of rows)
    test(name, () => {
      const [best] = choose(facts(given), rules, strategies, { ...auto, ...wanted })
      expect(best?.usable ? show(best.plan) : 'none usable').toBe(want)
    })
})

describe('costs', () => {
  const encapsulated = { fixed: { encap: 'none', mode: 'tunnel' } }

  test('add up over the slots', () => {
    const [best] = choose(facts({ localBehindNat: true }), [], strategies, { ...auto, mode: 'tunnel' })
    expect(best?.cost).toEqual({ octets: 28, roundTrips: 0, trusts: [] })
    expect(best?.solves).toEqual(expect.arrayContaining(['non-udp-tcp', 'mapping-timeouts']))
  })

  test('a third party and waiting weigh more than octets', () => {
    const plans = choose({}, [], [relayed, path('slow', 1, []), ...strategies], { ...auto, ...encapsulated })
    expect(plans.map(p => p.plan.path)).toEqual(['direct', 'slow', 'relayed', 'relayed'])
  })

  test('equals keep the order in which they were loaded', () => {
    const same = [path('first', 0, []), path('second', 0, [])]
    const plans = choose({}, [], [...same, none, tunnel], auto)
    expect(plans.map(p => p.plan.path)).toEqual(['first', 'second'])
    expect(plans[1]?.reasons[0]).toBe('as good as first+none+tunnel; the strategies loaded first win')
  })
})

describe('problems', () => {
  test('what cures more comes first, cheap or not', () => {
    const free: Assessment = { usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } }
    const bare = { ...none, name: 'bare', assess: () => free }
    const strategies = [direct, bare, new UdpEncap(), tunnel]
    const plans = choose(facts({ localBehindNat: true }), [], strategies, auto)
    expect(plans.map(p => p.plan.encap)).toEqual(['udp-encap', 'bare'])
    expect(plans[0]?.reasons[0]).toBe('cures more than direct+bare+tunnel')
    expect(plans[1]?.reasons).toContain('leaves fixed-ike-ports, non-udp-tcp, mapping-timeouts uncured')
  })
})

describe('reasons', () => {
  const reasonsOf = (plans: ReturnType<typeof choose>, name: string): readonly string[] =>
    plans.find(p => show(p.plan) === name)!.reasons
  const two = [direct, none, new UdpEncap(), tunnel]

  test('the winner says what it won by, the loser what it lost by', () => {
    const plans = choose({}, [], two, auto)
    expect(reasonsOf(plans, 'direct+none+tunnel')[0]).toBe(
      'cheaper than direct+udp-encap+tunnel, which costs 28 octets per packet',
    )
    expect(reasonsOf(plans, 'direct+udp-encap+tunnel')[0]).toBe(
      'dearer than direct+none+tunnel, which costs 20 octets per packet',
    )
  })

  test('the only usable plan says so, and the other why it is none', () => {
    const plans = choose(facts({ localBehindNat: true }), [], two, auto)
    expect(reasonsOf(plans, 'direct+udp-encap+tunnel')).toEqual([
      'the only usable plan',
      'udp-encap: this host is behind a NAT',
      'costs 28 octets per packet',
    ])
    expect(reasonsOf(plans, 'direct+none+tunnel')[0]).toBe(
      'none: this host is behind a NAT, and most NATs drop IP protocol 50',
    )
  })

  test('a rule is named by its place in the configuration', () => {
    const rules = [rule('policy.rules[0]', { prefer: ['udp-encap'] }), rule('policy.rules[1]', { avoid: ['none'] })]
    const plans = choose({}, rules, two, auto)
    expect(reasonsOf(plans, 'direct+udp-encap+tunnel')).toContain('policy.rules[0] prefers udp-encap')
    expect(reasonsOf(plans, 'direct+none+tunnel')).toEqual(['policy.rules[1] avoids none'])
    const preferring = choose({}, rules.slice(0, 1), two, auto)
    expect(reasonsOf(preferring, 'direct+udp-encap+tunnel')[0]).toBe(
      'policy.rules[0] puts it before direct+none+tunnel',
    )
    expect(reasonsOf(preferring, 'direct+none+tunnel')[0]).toBe('policy.rules[0] puts direct+udp-encap+tunnel first')
  })

  test('a rule that waits for a fact says for which', () => {
    const rules = [rule('policy.rules[0]', { when: { outerFamily: 4, localBehindNat: true }, use: ['none'] })]
    const plans = choose(facts({ outerFamily: 4 }), rules, two, auto)
    for (const plan of plans) expect(plan.reasons).toContain('policy.rules[0] waits: localBehindNat is unknown')
  })

  test('the settings of the peer are named by their place', () => {
    const [, forced] = choose({}, [], two, { ...auto, encapsulation: 'force' })
    expect(forced?.reasons).toContain('peers.moon.encapsulation is force')
    const [, plain] = choose({}, [], two, { ...auto, encapsulation: 'never' })
    expect(plain?.reasons).toContain('peers.moon.encapsulation is never')
  })
})

describe('for any facts and rules', () => {
  const names = fc.uniqueArray(fc.constantFrom(...strategies.map(s => s.name)), { maxLength: 3 })
  const when = fc.dictionary(fc.constantFrom('localBehindNat', 'espBlocked', 'udpBlocked'), fc.boolean())
  const rules = fc.array(fc.record({ when, use: names, prefer: names, avoid: names }), { maxLength: 4 })

  test('every combination is judged once, usable ones first, each with a reason', () => {
    fc.assert(
      fc.property(when, rules, (known, parts) => {
        const all = parts.map((part, i) => rule(`policy.rules[${i}]`, part))
        const plans = choose(facts(known), all, strategies, auto)
        expect(new Set(plans.map(p => show(p.plan))).size).toBe(2 * 2 * 3)
        expect(plans).toHaveLength(2 * 2 * 3)
        const usable = plans.map(p => p.usable)
        expect(usable).toEqual([...usable].sort((a, b) => Number(b) - Number(a)))
        for (const plan of plans) expect(plan.reasons.length).toBeGreaterThan(0)
        for (const plan of plans) if (plan.usable) expect(plan.cost).toBeDefined()
      }),
    )
  })

  test('the same question has the same answer, whatever order strategies of different slots were loaded in', () => {
    fc.assert(
      fc.property(when, rules, (known, parts) => {
        const all = parts.map((part, i) => rule(`policy.rules[${i}]`, part))
        const bySlot = [...strategies].sort((a, b) => b.slot.localeCompare(a.slot))
        expect(choose(facts(known), all, bySlot, auto)).toEqual(choose(facts(known), all, strategies, auto))
      }),
    )
  })
})
