import { expect, test } from 'vitest'
import { direct } from '../../../core/path/direct.ts'
import { none } from '../../../core/path/none.ts'
import type { Wanted } from '../../../core/policy/choose.ts'
import { remedies } from '../../../core/policy/remedies.ts'
import { UdpEncap } from '../../../plugins/udp-encap/index.ts'
import { facts, mode, rule } from './strategies.ts'

const strategies = [direct, none, new UdpEncap(), mode('tunnel', { octets: 20 })]
const auto: Wanted = { peer: 'moon', encapsulation: 'auto', mode: 'auto' }
const show = (found: ReturnType<typeof remedies>) =>
  found.map(({ side, change, plan }) => `${side}: ${change} > ${plan.path}+${plan.encap}+${plan.mode}`)

test('nothing to change where the best plan is the cheapest there is', () => {
  expect(remedies(facts({ localBehindNat: false, remoteBehindNat: false }), [], strategies, auto)).toEqual([])
})

test('a NAT here: without it ESP would need no UDP header', () => {
  expect(show(remedies(facts({ localBehindNat: true }), [], strategies, auto))).toEqual([
    'here: give this host an address that no NAT translates > direct+none+tunnel',
  ])
})

test('no plan at all: each change that would make one', () => {
  const known = facts({ localBehindNat: true, peerNatTraversal: false })
  expect(show(remedies(known, [], strategies, auto))).toEqual([
    'here: give this host an address that no NAT translates > direct+none+tunnel',
    'peer: switch NAT traversal (RFC 7296 §2.23) on at the peer > direct+udp-encap+tunnel',
  ])
})

test('the configuration itself may be what stands in the way', () => {
  const known = facts({ localBehindNat: true })
  expect(show(remedies(known, [], strategies, { ...auto, encapsulation: 'never' }))).toContain(
    'here: set peers.moon.encapsulation to auto > direct+udp-encap+tunnel',
  )
  const rules = [rule('policy.rules[0]', { avoid: ['udp-encap'] }), rule('policy.rules[1]', { peers: ['sun'] })]
  expect(show(remedies(known, rules, strategies, auto))).toContain(
    'here: drop policy.rules[0] > direct+udp-encap+tunnel',
  )
  expect(show(remedies(facts({}), [], strategies, { ...auto, mode: 'ah' }))).toContain(
    'here: leave the mode of the child to policy (auto) > direct+none+tunnel',
  )
})
