import { expect, test } from 'vitest'
import { networkOf, overlaps } from '../../../core/policy/network.ts'
import { parsePrefix } from '../../../core/wire/index.ts'

const networks = { office: [parsePrefix('10.20.0.0/16')!, parsePrefix('2001:db8:20::/48')!] }

test.each([
  ['10.20.3.4', 'office'],
  ['2001:db8:20:1::5', 'office'],
  ['10.21.3.4', '10.21.3.0/24'],
  ['2001:db8:21:7:1:2:3:4', '2001:db8:21:7::/64'],
])('%s is in %s', (address, want) => {
  expect(networkOf(address, networks)).toBe(want)
})

test('an address that is also one behind the peer', () => {
  const lan = parsePrefix('10.3.0.0/24')!
  expect(overlaps('10.3.0.77', ['dynamic', lan])).toBe(true)
  expect(overlaps('10.4.0.77', ['dynamic', lan])).toBe(false)
  expect(overlaps('2001:db8::1', [lan])).toBe(false)
  expect(overlaps('10.3.0.77', [parsePrefix('0.0.0.0/0')!])).toBe(false)
})
