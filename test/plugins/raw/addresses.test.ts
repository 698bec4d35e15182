import type { NetworkInterfaceInfo } from 'node:os'
import { expect, test } from 'vitest'
import { isFixed, isPresent, selectAddresses } from '../../../plugins/raw/addresses.ts'
import { isFixed as udpIsFixed, selectAddresses as udpSelectAddresses } from '../../../plugins/udp/addresses.ts'

const info = (address: string, internal = false): NetworkInterfaceInfo =>
  ({ address, internal, family: address.includes(':') ? 'IPv6' : 'IPv4' }) as NetworkInterfaceInfo
const loopback = { lo: [info('127.0.0.1', true), info('::1', true)] }
const host = {
  ...loopback,
  eth0: [info('192.0.2.1'), info('2001:0DB8::1'), info('fe80::1%eth0')],
  docker0: [info('172.17.0.1')],
  'eth0.7': [info('10.7.0.1')],
  nw0: [info('10.9.0.2'), info('fd09::2')],
}

const ROWS: readonly [name: string, addresses: string[] | undefined, exclude: string[] | undefined, want: string[]][] =
  [
    ['everything outside', undefined, undefined, ['192.0.2.1', '2001:db8::1', '172.17.0.1', '10.7.0.1']],
    ['one family', ['0.0.0.0'], undefined, ['192.0.2.1', '172.17.0.1', '10.7.0.1']],
    ['the other', ['::'], undefined, ['2001:db8::1']],
    ['named ones, even our own device', ['10.9.0.2', '2001:DB8:0::1'], undefined, ['10.9.0.2', '2001:db8::1']],
    ['a name and a pattern left out', undefined, ['eth0.7', 'docker*'], ['192.0.2.1', '2001:db8::1']],
    ['a prefix left out', undefined, ['172.16.0.0/12', '2001:db8::/33'], ['192.0.2.1', '10.7.0.1']],
    ['an address left out', undefined, ['192.0.2.1', '10.7.0.0/31'], ['2001:db8::1', '172.17.0.1']],
  ]

test.each(ROWS)('%s, as plugin udp', (_, addresses, exclude, want) => {
  expect(selectAddresses(host, addresses, exclude)).toEqual(want)
  expect(udpSelectAddresses(host, addresses, exclude)).toEqual(want)
  expect(isFixed(addresses)).toBe(udpIsFixed(addresses))
})

test('loopback when there is nothing else', () => {
  expect(selectAddresses(loopback)).toEqual(['127.0.0.1', '::1'])
})

test('what is no address or pattern', () => {
  expect(() => selectAddresses(host, ['eth0'])).toThrow('eth0 is no IP address')
  expect(() => selectAddresses(host, [], ['10.0.0.0/99'])).toThrow('neither a prefix nor an interface name')
})

test('present addresses', () => {
  expect(isPresent(host, '2001:db8::1')).toBe(true)
  expect(isPresent(host, '192.0.2.7')).toBe(false)
})
