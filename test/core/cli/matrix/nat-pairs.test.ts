import { createColors } from 'picocolors'
import { beforeAll, expect, test } from 'vitest'
import { renderNatMatrix } from '../../../../core/cli/commands/matrix-nat.ts'
import {
  asPossible,
  type NatMatrix,
  type PairResult,
  runNatPairs,
  SIDE_NAMES,
  type Side,
} from '../../../../core/cli/matrix/nat-pairs.ts'
import type { Output } from '../../../../core/cli/output.ts'

/** All pairs from one live run each with and without a relay; `natweave matrix nat` is the first. */

const out: Output = { colours: createColors(false), terminal: false, line() {}, json() {}, complain() {} }
let matrix: NatMatrix
let without: NatMatrix

beforeAll(async () => {
  matrix = await runNatPairs(1, true)
  without = await runNatPairs(1, false)
  // on a busy machine
}, 120_000)

const EASY: readonly Side[] = ['none', 'full cone', 'restricted', 'port-restricted']
const FOUR_TYPES: readonly Side[] = ['full cone', 'restricted', 'port-restricted', 'symmetric']
const pair = (alice: Side, bob: Side, of = matrix): PairResult =>
  of.pairs.find(p => p.alice === alice && p.bob === bob)!

test('every pair that has UDP connects, in less than three seconds', () => {
  expect(matrix.pairs).toHaveLength(SIDE_NAMES.length ** 2)
  for (const { alice, bob, connected, ms, why } of matrix.pairs) {
    expect(connected, `${alice} – ${bob}: ${why}`).toBe(alice !== 'UDP blocked' && bob !== 'UDP blocked')
    if (connected) expect(ms, `${alice} – ${bob}`).toBeLessThan(3_000)
  }
})

test('every pair that theory allows to be direct is direct, at once or soon', () => {
  for (const { pairs, relay } of [matrix, without])
    for (const one of pairs) expect(asPossible(one, relay), `${one.alice} – ${one.bob}: ${one.why}`).toBe(true)
  for (const { alice, bob, possible, connected } of without.pairs)
    expect(connected, `${alice} – ${bob}`).toBe(possible === 'direct')
})

test('of the four types a relay is needed first where one end is symmetric and the other as strict', () => {
  const relayed = FOUR_TYPES.flatMap(alice => FOUR_TYPES.map(bob => pair(alice, bob))).filter(p => p.way === 'relayed')
  expect(relayed.map(({ alice, bob }) => `${alice} – ${bob}`)).toEqual([
    'port-restricted – symmetric',
    'symmetric – port-restricted',
    'symmetric – symmetric',
  ])
  expect(relayed.map(({ directMs }) => directMs !== undefined)).toEqual([true, true, false])
})

test('NATs that map every destination alike take a few round trips and few packets', () => {
  for (const alice of EASY)
    for (const bob of EASY) {
      expect(pair(alice, bob).roundTrips, `${alice} – ${bob}`).toBeLessThan(6)
      expect(pair(alice, bob, without).packets, `${alice} – ${bob}`).toBeLessThan(40)
      // the relay is asked for permissions, and its candidates are checked
      expect(pair(alice, bob).packets, `${alice} – ${bob}`).toBeLessThan(50)
    }
})

test('without a relay, ports that can be predicted take hardly more; random ones stay within the budget and below three seconds', () => {
  expect(pair('port-restricted', 'sequential').roundTrips).toBeLessThan(8)
  expect(pair('sequential', 'sequential', without).roundTrips).toBeLessThan(14)
  for (const [alice, bob] of [
    ['symmetric', 'port-restricted'],
    ['port-restricted', 'symmetric'],
  ] as const) {
    expect(pair(alice, bob, without).ms).toBeLessThan(3_000)
    // 256 sockets once or twice, 2048 probes, and what ordinary checks take
    expect(pair(alice, bob, without).packets).toBeLessThan(2 * 256 + 2_048 + 100)
  }
})

test('where nothing is possible the reason names the cure', () => {
  expect(pair('symmetric', 'symmetric', without).why).toMatch(/^PATH_NO_PAIR: .*a relay is needed/)
  expect(pair('UDP blocked', 'none').why).toMatch(/^PATH_MEDIATION_SERVER: the mediation server med/)
})

test('the table has a row and a column for each, and says what goes through the relay', () => {
  for (const one of [matrix, without]) {
    const lines = renderNatMatrix(one, out)
    for (const name of SIDE_NAMES) expect(lines.filter(line => line.startsWith(name))).toHaveLength(1)
    expect(lines.join('\n')).toContain('no UDP')
    expect(lines.join('\n')).not.toContain('FAILED')
  }
  const { ms, packets } = pair('symmetric', 'symmetric')
  expect(renderNatMatrix(matrix, out).join('\n')).toContain(`relay ${ms} ms, ${packets}`)
  expect(renderNatMatrix(without, out).join('\n')).toContain('needs a relay')
})

test('what is not as it could be is red', () => {
  const pairs = matrix.pairs.map(p =>
    p.alice === 'none' && p.bob === 'none' ? ({ ...p, way: 'relayed' } as const) : p,
  )
  expect(renderNatMatrix({ ...matrix, pairs }, out).join('\n')).toContain('FAILED')
})
