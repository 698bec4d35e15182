import { createColors } from 'picocolors'
import { describe, expect, test } from 'vitest'
import { type Output, table } from '../../../core/cli/output.ts'
import { duration, renderEvent, renderPlans, renderStatus } from '../../../core/cli/render.ts'
import type { NatweaveEvent, Status } from '../../../core/contracts/natweave.ts'
import { established, idle, reports } from './fake.ts'

const colours = createColors(false)
const out: Output = { colours, terminal: false, line() {}, json() {}, complain() {} }

test('a status as people read it', () => {
  const status: Status = {
    peers: [established, { ...idle, name: 'mars', lastError: 'no answer' }],
    locals: ['192.0.2.1:500', '192.0.2.1:4500'],
    candidates: [],
    device: 'nw0',
    plugins: [],
    drops: { 'unknown-spi': 2 },
  }
  expect(renderStatus(status, out)).toEqual([
    'moon  established for 1 min 1 s',
    '    identity  alice@lab.test ↔ moon@lab.test',
    '    path      192.0.2.1:4500 ↔ 198.51.100.7:4500',
    '    IKE       aes256gcm16-prfsha256-x25519  1111111111111111_i 2222222222222222_r',
    '    plan      direct + udp-encap + tunnel',
    '    virtual   10.9.0.1',
    '  lan  tunnel in udp-encap, aes128gcm16  aaaaaaaa in, bbbbbbbb out, portable plane',
    '      selectors  10.9.0.1/32 === 10.3.0.0/24',
    '      in         3 packets, 252 octets',
    '      out        4 packets, 12.0 MB',
    '      dropped    replay 1',
    'mars  idle',
    '    identity    alice@lab.test ↔ %any',
    '    last error  no answer',
    '',
    'dropped: unknown-spi 2',
    '',
    'listening on 192.0.2.1:500, 192.0.2.1:4500; device nw0',
  ])
})

test('a way through a relay is told as such', () => {
  const relayed = { value: true, source: 'a test', at: 0 }
  const peers = [{ ...established, facts: { relayed } }]
  const lines = renderStatus({ peers, locals: [], candidates: [], device: undefined, plugins: [], drops: {} }, out)
  expect(lines).toContain('    path      192.0.2.1:4500 ↔ 198.51.100.7:4500, through a relay')
})

test('a resumed session is told as such', () => {
  const peers = [{ ...established, resumed: true as const }]
  const lines = renderStatus({ peers, locals: [], candidates: [], device: undefined, plugins: [], drops: {} }, out)
  expect(lines.filter(line => line.includes(', resumed'))).toHaveLength(1)
})

test('by what both ends have proved themselves', () => {
  const proof = { own: 'eap-mschapv2 as alice', peer: 'ed25519, CN=moon, issued by CN=CA', ppk: 'lab' }
  const peers = [{ ...established, proof }]
  const lines = renderStatus({ peers, locals: [], candidates: [], device: undefined, plugins: [], drops: {} }, out)
  expect(lines).toContain('    proof     eap-mschapv2 as alice ↔ ed25519, CN=moon, issued by CN=CA; PPK lab')
})

test('plans with what is known and why', () => {
  expect(renderPlans(reports, out)).toEqual([
    'moon/lan',
    '  facts',
    '      mobile          true  policy.facts.mobile, from the start',
    '      localBehindNat  true  NAT_DETECTION from 198.51.100.7, 1 min 0 s ago',
    '  rules',
    '      policy.rules[0]  matched  mobile is true',
    '      policy.rules[1]  waits    udpBlocked is not known yet',
    '  in the way',
    '    fixed-ike-ports, mapping-timeouts',
    '  plans, best first',
    '  → direct + udp-encap + tunnel',
    '      the only usable plan',
    '      28 octets per packet, 1 round trip first, trusts med.example; cures mapping-timeouts',
    '  ✗ direct + none + tunnel',
    '      a NAT is on the way',
    '  what would allow a better plan',
    '    here: give this host an address that no NAT translates → direct + none + tunnel, 20 octets per packet, 0 round trips first, trusts the peer only',
  ])
})

describe('events', () => {
  const plan = { path: 'direct', encap: 'udp-encap', mode: 'tunnel' }
  for (const [event, want] of [
    [{ type: 'connecting', plan }, 'connecting: direct + udp-encap + tunnel'],
    [
      { type: 'fact', name: 'localBehindNat', value: true, source: 'NAT_DETECTION' },
      'found: localBehindNat = true (NAT_DETECTION)',
    ],
    [
      { type: 'established', suite: 'aes256gcm16', remoteId: 'moon@lab.test' },
      'established with moon@lab.test, aes256gcm16',
    ],
    [
      { type: 'established', suite: 'aes256gcm16', remoteId: 'moon@lab.test', resumed: true },
      'resumed with moon@lab.test, aes256gcm16',
    ],
    [
      { type: 'child-up', child: 'lan', id: '1', plan, suite: 'aes128gcm16' },
      'lan is up: tunnel in udp-encap, aes128gcm16',
    ],
    [{ type: 'child-failed', child: '', code: 'PEER_TS_UNACCEPTABLE', why: 'selectors' }, 'a child failed: selectors'],
    [{ type: 'moved', remote: '198.51.100.7:61000' }, 'the path is now 198.51.100.7:61000'],
    [{ type: 'failed', code: 'PEER_TIMEOUT', why: 'no answer' }, 'failed: no answer'],
    [{ type: 'keys', line: { sk_ei: 'secret' } }, undefined],
  ] as const)
    test(event.type, () => {
      expect(renderEvent({ at: 0, peer: 'moon', ...event } as NatweaveEvent, colours)).toBe(want)
    })
})

test('columns are as wide as their widest cell; colours take no room', () => {
  const { red } = createColors(true)
  expect(
    table([
      ['a', 'b', 'c'],
      ['long', red('x'), ''],
    ]),
  ).toEqual(['a     b  c', `long  ${red('x')}`])
})

test('durations in words', () => {
  expect([5_999, 61_000, 7_260_000].map(duration)).toEqual(['5 s', '1 min 1 s', '2 h 1 min'])
})
