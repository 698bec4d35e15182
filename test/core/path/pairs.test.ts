import { expect, test } from 'vitest'
import {
  candidatePriority,
  formPairs,
  isReachable,
  type LocalCandidate,
  MAX_PAIRS,
  type PathCandidateKind,
  pairPriority,
  type RemoteCandidate,
} from '../../../core/path/index.ts'

const at = (address: string, port = 4500) => ({ address, port })
const own = (kind: PathCandidateKind, address: string, base = address, port = 4500): LocalCandidate => ({
  kind,
  endpoint: at(address, port),
  base: at(base),
  priority: candidatePriority(kind),
})
const theirs = (kind: PathCandidateKind, address: string, port = 4500): RemoteCandidate => ({
  kind,
  endpoint: at(address, port),
  priority: candidatePriority(kind),
})

test.each([
  ['host', 0x00ff_ffff],
  ['peer-reflexive', 0x0080_ffff],
  ['server-reflexive', 0x0040_ffff],
  ['relayed', 0x0000_ffff],
] as const)('priority of a %s candidate, as recorded from strongSwan', (kind, want) => {
  expect(candidatePriority(kind)).toBe(want)
})

// what strongSwan computes
test.each([
  ['host', 'host', 0xffff_ff01_ffff_fen],
  ['host', 'server-reflexive', 0x40_ffff_01ff_ffffn],
  ['server-reflexive', 'host', 0x40_ffff_01ff_fffen],
  ['peer-reflexive', 'server-reflexive', 0x40_ffff_0101_ffffn],
  ['server-reflexive', 'server-reflexive', 0x40_ffff_0081_fffen],
] as const)('pair priority %s to %s', (g, d, want) => {
  expect(pairPriority(candidatePriority(g), candidatePriority(d))).toBe(want)
})

test('pairs between two NATs: sent from bases, best first, numbered, own reflexive ones pruned', () => {
  const alice = [own('host', '10.1.0.5'), own('server-reflexive', '198.51.100.1', '10.1.0.5')]
  const bob = [theirs('host', '10.2.0.5'), theirs('server-reflexive', '198.51.100.2')]
  const flows = formPairs(true, alice, bob).map(({ number, flow }) => [number, flow.local.address, flow.remote.address])
  expect(flows).toEqual([
    [1, '10.1.0.5', '10.2.0.5'],
    [2, '10.1.0.5', '198.51.100.2'],
  ])
})

test('families are not mixed, and nobody checks himself', () => {
  const alice = [own('host', '10.0.0.5'), own('host', '2001:db8::5')]
  const bob = [theirs('host', '10.0.0.5'), theirs('host', '2001:db8::6')]
  expect(formPairs(false, alice, bob).map(p => p.flow.remote.address)).toEqual(['2001:db8::6'])
})

test('a flood of candidates ends at the caps', () => {
  const alice = Array.from({ length: 40 }, (_, i) => own('host', `10.1.${i}.5`))
  const bob = Array.from({ length: 4000 }, (_, i) => theirs('host', `10.2.${i >> 8}.${i & 255}`, 1000 + i))
  expect(formPairs(true, alice, bob)).toHaveLength(MAX_PAIRS)
})

test.each([
  ['203.0.113.7', 4500, true],
  ['10.0.0.1', 1, true],
  ['2001:db8::1', 4500, true],
  ['203.0.113.7', 0, false],
  ['0.0.0.0', 4500, false],
  ['127.0.0.1', 4500, false],
  ['169.254.1.1', 4500, false],
  ['224.0.0.1', 4500, false],
  ['255.255.255.255', 4500, false],
  ['::', 4500, false],
  ['::1', 4500, false],
  ['::ffff:10.0.0.1', 4500, false],
  ['fe80::1', 4500, false],
  ['ff02::1', 4500, false],
  ['nonsense', 4500, false],
])('%s port %i can be checked: %s', (address, port, want) => {
  expect(isReachable({ address, port })).toBe(want)
})
