import { createColors } from 'picocolors'
import { beforeAll, expect, test } from 'vitest'
import { renderNatMatrix } from '../../../../core/cli/commands/matrix-nat.ts'
import { type NatMatrix, runNatPairs, SIDE_NAMES, type Side } from '../../../../core/cli/matrix/nat-pairs.ts'
import type { Output } from '../../../../core/cli/output.ts'

/** All pairs from one live run; `natweave matrix nat` is this run. */

const out: Output = { colours: createColors(false), terminal: false, line() {}, json() {}, complain() {} }
let matrix: NatMatrix

beforeAll(async () => {
  matrix = await runNatPairs(1)
  // on a busy machine
}, 120_000)

const EASY: readonly Side[] = ['none', 'full cone', 'restricted', 'port-restricted']
const pair = (alice: Side, bob: Side) => matrix.pairs.find(p => p.alice === alice && p.bob === bob)!

test('every pair that theory allows to be direct is direct', () => {
  expect(matrix.pairs).toHaveLength(SIDE_NAMES.length ** 2)
  for (const { alice, bob, connected, possible, why } of matrix.pairs)
    expect(connected, `${alice} – ${bob}: ${why}`).toBe(possible === 'direct')
})

test('NATs that map every destination alike take a few round trips and few packets', () => {
  for (const alice of EASY)
    for (const bob of EASY) {
      expect(pair(alice, bob).roundTrips, `${alice} – ${bob}`).toBeLessThan(6)
      expect(pair(alice, bob).packets, `${alice} – ${bob}`).toBeLessThan(40)
    }
})

test('ports that can be predicted take hardly more; random ones stay within the budget and below three seconds', () => {
  expect(pair('port-restricted', 'sequential').roundTrips).toBeLessThan(8)
  expect(pair('sequential', 'sequential').roundTrips).toBeLessThan(14)
  for (const [alice, bob] of [
    ['symmetric', 'port-restricted'],
    ['port-restricted', 'symmetric'],
  ] as const) {
    expect(pair(alice, bob).ms).toBeLessThan(3_000)
    // 256 sockets once or twice, 2048 probes, and what ordinary checks take
    expect(pair(alice, bob).packets).toBeLessThan(2 * 256 + 2_048 + 100)
  }
})

test('where nothing is possible the reason names the cure', () => {
  expect(pair('symmetric', 'symmetric').why).toMatch(/^PATH_NO_PAIR: .*a relay is needed/)
  expect(pair('UDP blocked', 'none').why).toMatch(/^PATH_MEDIATION_SERVER: the mediation server med/)
})

test('the table has a row and a column for each', () => {
  const lines = renderNatMatrix(matrix, out)
  for (const name of SIDE_NAMES) expect(lines.filter(line => line.startsWith(name))).toHaveLength(1)
  expect(lines.join('\n')).toContain('needs a relay')
  expect(lines.join('\n')).not.toContain('FAILED')
})
