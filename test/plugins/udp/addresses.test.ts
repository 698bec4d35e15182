import type { NetworkInterfaceInfo } from 'node:os'
import { expect, test } from 'vitest'
import { canonical, isFixed, selectAddresses } from '../../../plugins/udp/addresses.ts'

const info = (address: string, internal = false): NetworkInterfaceInfo => ({
  address,
  internal,
  netmask: '',
  mac: '00:00:00:00:00:00',
  cidr: null,
  ...(address.includes(':') ? { family: 'IPv6', scopeid: 0 } : { family: 'IPv4' }),
})

const HOST = {
  lo: [info('127.0.0.1', true), info('::1', true)],
  eth0: [info('192.0.2.1'), info('2001:db8::1'), info('fe80::1')],
  docker0: [info('172.17.0.1')],
  nw0: [info('10.9.0.2')],
}

const ROWS: { name: string; host?: object; addresses?: string[]; exclude?: string[]; want: string[] }[] = [
  { name: 'all but loopback, link-local and own devices', want: ['192.0.2.1', '2001:db8::1', '172.17.0.1'] },
  { name: 'interface pattern', exclude: ['docker*'], want: ['192.0.2.1', '2001:db8::1'] },
  { name: 'prefixes of both families', exclude: ['172.16.0.0/12', '2001:db8::/32'], want: ['192.0.2.1'] },
  { name: 'single address', exclude: ['192.0.2.1'], want: ['2001:db8::1', '172.17.0.1'] },
  { name: 'a name matches whole', exclude: ['docker'], want: ['192.0.2.1', '2001:db8::1', '172.17.0.1'] },
  { name: 'loopback alone', host: { lo: HOST.lo }, want: ['127.0.0.1', '::1'] },
  {
    name: 'explicit, own device and absent included',
    addresses: ['10.9.0.2', '198.51.100.9'],
    want: ['10.9.0.2', '198.51.100.9'],
  },
  { name: 'all IPv4', addresses: ['0.0.0.0'], want: ['192.0.2.1', '172.17.0.1'] },
  { name: 'all IPv6 and one more', addresses: ['::', '127.0.0.1'], want: ['2001:db8::1', '127.0.0.1'] },
  { name: 'no duplicates', addresses: ['0.0.0.0', '192.0.2.1'], want: ['192.0.2.1', '172.17.0.1'] },
  { name: 'a host without anything', host: {}, want: [] },
]

for (const { name, host = HOST, addresses, exclude, want } of ROWS)
  test(`selects: ${name}`, () => {
    expect(selectAddresses(host as typeof HOST, addresses, exclude)).toEqual(want)
  })

test.each([
  ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['fe80::1%eth0', 'fe80::1'],
  ['192.0.2.1', '192.0.2.1'],
])('%s is %s', (text, want) => {
  expect(canonical(text)).toBe(want)
})

test.each(['192.0.2', '0300.0.2.1', 'host.example', '', '192.0.2.1/24'])('"%s" is refused', text => {
  expect(() => canonical(text)).toThrow(expect.objectContaining({ code: 'USAGE_ADDRESS' }))
})

test('a pattern with foreign characters is refused', () => {
  expect(() => selectAddresses(HOST, [], ['10.0.0.0/99'])).toThrow(expect.objectContaining({ code: 'USAGE_ADDRESS' }))
})

test('a list of plain addresses is fixed, wildcards are not', () => {
  expect(isFixed(['192.0.2.1'])).toBe(true)
  expect(isFixed(['192.0.2.1', '::'])).toBe(false)
  expect(isFixed([])).toBe(false)
  expect(isFixed()).toBe(false)
})
