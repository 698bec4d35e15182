import { expect, test } from 'vitest'
import type { Facts } from '../../../core/contracts/facts.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { Tunnel } from '../../../core/ipsec/index.ts'
import { direct } from '../../../core/path/direct.ts'
import { none } from '../../../core/path/none.ts'
import { ahObstacle, refusedByAh } from '../../../core/policy/ah.ts'
import { choose } from '../../../core/policy/choose.ts'
import { UdpEncap } from '../../../plugins/udp-encap/index.ts'

const facts = (known: Readonly<Record<string, boolean>>): Facts =>
  Object.fromEntries(Object.entries(known).map(([name, value]) => [name, { value, source: 'test', at: 0 }]))
const raw = (protocol: 17 | 50 | 51): LocalEndpoint => ({ address: '192.0.2.1', port: 0, role: 'raw', protocol })

test.each([
  [{}, undefined],
  [{ localBehindNat: false, remoteBehindNat: false }, undefined],
  [{ localBehindNat: true }, 'this host is behind a NAT'],
  [{ remoteBehindNat: true }, 'the peer is behind a NAT'],
  [{ localBehindNat: true, remoteBehindNat: true }, 'both ends are behind a NAT'],
] as const)('AH under %j', (known, why) => {
  const obstacle = ahObstacle(facts(known), [raw(51)])
  if (why === undefined) expect(obstacle).toBeUndefined()
  else {
    expect(obstacle).toContain(why)
    expect(obstacle).toContain('[null-sha256]')
    expect(obstacle).toContain('mode beet')
  }
})

test('without a transport for it there is no AH', () => {
  expect(ahObstacle({}, [raw(50), raw(17)])).toContain('nothing here can send IP protocol 51')
})

test('AH goes without encapsulation, in the two modes RFC 4302 has', () => {
  expect(refusedByAh({ path: 'direct', encap: 'none', mode: 'tunnel' })).toEqual([])
  expect(refusedByAh({ path: 'direct', encap: 'none', mode: 'transport' })).toEqual([])
  expect(refusedByAh({ path: 'direct', encap: 'udp-encap', mode: 'beet' })).toEqual([
    'AH covers the outer IP header, so there is no udp-encap for it',
    'AH has tunnel and transport mode only',
  ])
})

test('what speaks against encapsulations of ESP does not speak against AH', () => {
  const wanted = { peer: 'moon', encapsulation: 'auto', mode: 'auto', protocol: 'ah' } as const
  const strategies = [direct, none, new UdpEncap(), new Tunnel()]
  const judged = choose(facts({ plainEspPossible: false }), [], strategies, wanted)
  expect(judged.map(j => [j.plan.encap, j.usable])).toEqual([
    ['none', true],
    ['udp-encap', false],
  ])
  const blocked = choose({}, [], strategies, { ...wanted, obstacle: 'it rains' })
  expect(blocked.map(j => [j.usable, j.reasons[0]])).toEqual([
    [false, 'it rains'],
    [false, 'it rains'],
  ])
})
