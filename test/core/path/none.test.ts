import { expect, test } from 'vitest'
import type { Flow } from '../../../core/contracts/net.ts'
import { none } from '../../../core/path/none.ts'
import { facts } from '../policy/strategies.ts'

const plan = { path: 'direct', encap: 'none', mode: 'tunnel' }
const ike: Flow = {
  protocol: 17,
  local: { address: '10.1.0.10', port: 500 },
  remote: { address: '192.0.2.1', port: 500 },
}

test('IKE stays where it is', () => {
  expect(none.ikeFlow(ike, [])).toBe(ike)
})

test('ESP goes between the same addresses as IP protocol 50', () => {
  const raw = { address: '10.1.0.10', port: 0, protocol: 50, role: 'raw' } as const
  expect(none.espFlow(ike, [raw])).toEqual({
    protocol: 50,
    local: { address: '10.1.0.10', port: 0 },
    remote: { address: '192.0.2.1', port: 0 },
  })
})

test.each([
  [],
  [{ address: '10.1.0.11', port: 0, protocol: 50, role: 'raw' } as const],
  [{ address: '10.1.0.10', port: 500, protocol: 17, role: 'ike' } as const],
])('without a raw endpoint of that address nothing carries it: %j', (...locals) => {
  expect(none.espFlow(ike, locals)).toBeUndefined()
})

test('usable while nothing speaks against it', () => {
  const usable = { usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } }
  expect(none.assess({}, plan)).toEqual(usable)
  expect(none.assess(facts({ localBehindNat: false, remoteBehindNat: false, plainEspPossible: true }), plan)).toEqual(
    usable,
  )
})

test.each([
  ['forceEncapsulation', true, 'encapsulation is forced'],
  ['localBehindNat', true, 'this host is behind a NAT, and most NATs drop IP protocol 50'],
  ['remoteBehindNat', true, 'the peer is behind a NAT, and most NATs drop IP protocol 50'],
  ['plainEspPossible', false, 'nothing here can send IP protocol 50'],
  ['espBlocked', true, 'IP protocol 50 does not get through to the peer'],
])('not usable when %s is %s', (name, value, why) => {
  expect(none.assess(facts({ [name]: value }), plan)).toEqual({ usable: false, why })
})
