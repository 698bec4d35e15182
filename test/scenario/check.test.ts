import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { RuleSettings } from '../../core/index.ts'
import { beet } from '../../plugins/beet/index.ts'
import { nats, topologies } from '../kit/index.ts'
import { child, clients, lanOfMoon, node, ping, toMoon } from './support.ts'

/** Whenever `check` says "always reachable", the virtual internet connects, as long as what it assumes holds there. */

const NAMES = ['direct', 'none', 'udp-encap', 'tunnel', 'beet', 'auto', 'encap:none', 'mode:auto'] as const
const condition = fc.oneof(
  fc.record({ localBehindNat: fc.boolean() }),
  fc.record({ bothBehindNat: fc.boolean() }),
  fc.record({ remoteBehindNat: fc.boolean() }),
  fc.record({ network: fc.constantFrom('home', '10.1.0.0/24', { not: ['office'] }, { in: ['203.0.113.0/24'] }) }),
  fc.record({ addressesOverlap: fc.boolean(), plainEspPossible: fc.boolean() }),
  fc.constant({}),
)
const names = (all: readonly string[]) => fc.uniqueArray(fc.constantFrom(...all), { maxLength: 2 })
const rule = fc.record({
  when: condition,
  use: names(NAMES),
  prefer: names(NAMES.filter(name => !name.includes('auto'))),
  avoid: names(NAMES.filter(name => !name.includes('auto') && name !== 'direct')),
})

const world = fc.record({
  seed: fc.integer({ min: 1, max: 1_000 }),
  place: fc.constantFrom('direct', 'fullCone', 'portRestrictedCone', 'symmetric', 'only-udp-tcp', 'cgnat'),
  encapsulation: fc.constantFrom('auto', 'auto', 'force', 'never'),
  mode: fc.constantFrom('auto', 'auto', 'tunnel', 'beet'),
  pair: fc.boolean(),
  raw: fc.boolean(),
  rules: fc.array(rule, { maxLength: 3 }),
})

function stage(place: string, seed: number) {
  const options = { seed, trace: false } as const
  if (place === 'direct') return topologies.direct(options)
  if (place === 'cgnat') return topologies.cgnat({ ...options, nata: 'symmetric', cgn: 'symmetric' })
  if (place === 'only-udp-tcp')
    return topologies.nat1({ ...options, nata: { ...nats.portRestrictedCone, dropNonUdpTcp: true } })
  return topologies.nat1({ ...options, nata: place as 'fullCone' })
}

test('a promise of check is kept by the network', async () => {
  const verdicts = { always: 0, sometimes: 0, never: 0 }
  await fc.assert(
    fc.asyncProperty(world, async ({ seed, place, encapsulation, mode, pair, raw, rules: drawn }) => {
      const { net, alice, moon } = stage(place, seed)
      const rules = drawn.map((part, i): RuleSettings => ({ at: `policy.rules[${i}]`, peers: [], ...part }))
      const remote = [pair ? '10.3.0.5/32' : '10.3.0.0/24']
      const a = await node(
        net,
        alice,
        { peers: [toMoon({ encapsulation, children: [child({ mode, remote })] })], rules, plugins: [beet()] },
        { protocols: raw ? [50] : [] },
      )
      const [reach] = a.natweave.check().reach
      verdicts[reach!.verdict]++
      if (reach!.verdict === 'sometimes') return
      // moon is configured to match, and can do whatever alice may choose
      await node(net, moon, { peers: [clients({ children: [lanOfMoon({ local: remote })] })], plugins: [beet()] })
      if (reach!.verdict === 'never') {
        await expect(a.connect('moon')).rejects.toMatchObject({ code: 'PLAN_NONE' })
        return
      }
      await a.connect('moon')
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    }),
    { numRuns: 60, seed: 7, endOnFailure: true },
  )
  // both kinds of promise were put to the test
  expect(verdicts.always).toBeGreaterThan(5)
  expect(verdicts.never).toBeGreaterThan(0)
}, 300_000)
