import { expect, test } from 'vitest'
import type { DeviceState } from '../../../core/contracts/device.ts'
import { ipError } from '../../../plugins/tun/ip.ts'
import { tunError } from '../../../plugins/tun/native.ts'
import { changes, type Item, itemsFor, type ListedRule, layoutOf, staleRules } from '../../../plugins/tun/network.ts'

const LAYOUT = layoutOf('nw0', 7, 4500)
const EMPTY: DeviceState = { addresses: [], routes: [], mtu: 1400, dns: [], bypassPorts: [500, 4500] }
const STATE: DeviceState = {
  ...EMPTY,
  addresses: [{ address: '10.9.0.2', bits: 24 }],
  routes: [{ to: { address: '0.0.0.0', bits: 0 }, source: '10.9.0.2' }],
}
const lines = (items: readonly Item[]): string[] => items.map(item => item.add.join(' '))
const removals = (items: readonly Item[]): string[] => items.map(item => item.remove?.join(' ') ?? '')

test('two devices of a namespace share nothing, and all bypasses come before all look-ups', () => {
  const other = layoutOf('nw1', 8, 4500)
  expect(LAYOUT).toEqual({ device: 'nw0', table: 4507, bypass: 4507, lookup: 5507 })
  expect(other).toEqual({ device: 'nw1', table: 4508, bypass: 4508, lookup: 5508 })
  expect(layoutOf('nw2', 3_999, 4500).bypass).toBeLessThan(LAYOUT.lookup)
  expect(layoutOf('nw0', 7, 4500, 220).table).toBe(220)
})

test('what keeps IKE out is installed first, the look-up last', () => {
  expect(lines(itemsFor(STATE, LAYOUT))).toEqual([
    'link set dev nw0 mtu 1400 up',
    '-4 rule add pref 4507 ipproto esp table main',
    '-4 rule add pref 4507 ipproto ah table main',
    '-4 rule add pref 4507 ipproto udp sport 500 table main',
    '-4 rule add pref 4507 ipproto udp sport 4500 table main',
    '-4 addr replace 10.9.0.2/32 dev nw0',
    '-4 route replace 0.0.0.0/0 dev nw0 table 4507 src 10.9.0.2',
    '-4 rule add pref 5507 table 4507',
  ])
})

test('a family without routes gets no rules, IPv6 keeps its smallest MTU, host bits go', () => {
  expect(lines(itemsFor(EMPTY, LAYOUT))).toEqual(['link set dev nw0 mtu 1400 up'])
  const v6 = {
    ...EMPTY,
    mtu: 1200,
    bypassPorts: [],
    addresses: [{ address: 'fd00::2', bits: 64 }],
    routes: [{ to: { address: 'fd00::2', bits: 64 } }],
  }
  expect(lines(itemsFor(v6, LAYOUT))).toEqual([
    'link set dev nw0 mtu 1280 up',
    '-6 rule add pref 4507 ipproto esp table main',
    '-6 rule add pref 4507 ipproto ah table main',
    '-6 addr replace fd00::2/128 dev nw0 nodad',
    '-6 route replace fd00::/64 dev nw0 table 4507',
    '-6 rule add pref 5507 table 4507',
  ])
})

test('a preferred source may be refused, for it may be the address of another host: the route comes all the same', () => {
  const [route] = itemsFor(STATE, LAYOUT).filter(({ key }) => key.startsWith('route'))
  expect(route?.instead?.join(' ')).toBe('-4 route replace 0.0.0.0/0 dev nw0 table 4507')
  expect(itemsFor(STATE, LAYOUT).filter(({ instead }) => instead !== undefined)).toEqual([route])
})

test('the same route twice is one route', () => {
  const twice = { ...STATE, routes: [...STATE.routes, ...STATE.routes] }
  expect(itemsFor(twice, LAYOUT)).toEqual(itemsFor(STATE, LAYOUT))
})

const ROWS: { name: string; from: DeviceState; to: DeviceState; add: string[]; remove: string[] }[] = [
  { name: 'nothing changed', from: STATE, to: STATE, add: [], remove: [] },
  { name: 'mtu only', from: STATE, to: { ...STATE, mtu: 1300 }, add: ['link set dev nw0 mtu 1300 up'], remove: [] },
  {
    name: 'another source for the same route replaces it',
    from: STATE,
    to: {
      ...STATE,
      addresses: [{ address: '10.9.0.3', bits: 32 }],
      routes: [{ to: { address: '0.0.0.0', bits: 0 }, source: '10.9.0.3' }],
    },
    add: ['-4 addr replace 10.9.0.3/32 dev nw0', '-4 route replace 0.0.0.0/0 dev nw0 table 4507 src 10.9.0.3'],
    remove: ['-4 addr del 10.9.0.2/32 dev nw0'],
  },
  {
    name: 'the last route takes the rules along, look-up first',
    from: { ...STATE, bypassPorts: [500] },
    to: { ...STATE, routes: [] },
    add: [],
    remove: [
      '-4 rule del pref 5507 table 4507',
      '-4 route del 0.0.0.0/0 dev nw0 table 4507',
      '-4 rule del pref 4507 ipproto udp sport 500 table main',
      '-4 rule del pref 4507 ipproto ah table main',
      '-4 rule del pref 4507 ipproto esp table main',
    ],
  },
  {
    name: 'a port more',
    from: { ...STATE, bypassPorts: [500] },
    to: STATE,
    add: ['-4 rule add pref 4507 ipproto udp sport 4500 table main'],
    remove: [],
  },
]

for (const { name, from, to, add, remove } of ROWS)
  test(`changes: ${name}`, () => {
    const got = changes(itemsFor(from, LAYOUT), itemsFor(to, LAYOUT))
    expect(lines(got.add)).toEqual(add)
    expect(removals(got.remove)).toEqual(remove)
  })

test('rules of killed processes are found, those of others are left alone', () => {
  const rules: ListedRule[] = [
    { priority: 0, table: 'local' },
    { priority: 4507, ipproto: 'udp', sport: 4500, table: 'main' },
    { priority: 4507, ipproto: 'esp', table: 'main' },
    { priority: 4508, ipproto: 'esp', table: 'main' }, // interface 8 lives
    { priority: 4509, table: 'vpn' }, // not shaped like ours
    { priority: 5507, table: '4507' },
    { priority: 5508, table: '4508' },
    { priority: 5509, table: '9999' },
    { priority: 32766, table: 'main' },
  ]
  expect(staleRules(rules, [1, 8], 4, 4500).map(args => args.join(' '))).toEqual([
    '-4 rule del pref 4507 ipproto udp sport 4500 table main',
    '-4 rule del pref 4507 ipproto esp table main',
    '-4 rule del pref 5507 table 4507',
  ])
  expect(staleRules(rules, [1, 7, 8], 4, 4500)).toEqual([])
  expect(staleRules(rules, [1, 8, 7], 6, 4500, 9999).map(args => args.join(' '))).toEqual([
    '-6 rule del pref 5509 table 9999',
  ])
})

test.each([
  ['EPERM', 'SYSTEM_PERMISSION', 'opening /dev/net/tun needs CAP_NET_ADMIN: run as root'],
  ['EACCES', 'SYSTEM_PERMISSION', 'CAP_NET_ADMIN'],
  ['ENOENT', 'SYSTEM_MISSING', 'modprobe tun'],
  ['EBUSY', 'SYSTEM_DEVICE', 'in use'],
  ['EINVAL', 'SYSTEM_DEVICE', 'EINVAL'],
])('TUN error %s is %s', (errno, code, message) => {
  expect(tunError('opening /dev/net/tun', errno)).toMatchObject({ code, message: expect.stringContaining(message) })
})

test.each([
  [{ code: 'ENOENT', message: 'spawn ip ENOENT' }, 'SYSTEM_MISSING'],
  [{ code: 2, message: '', stderr: 'RTNETLINK answers: Operation not permitted\n' }, 'SYSTEM_PERMISSION'],
  [{ code: 2, message: '', stderr: 'RTNETLINK answers: File exists\n' }, 'SYSTEM_DEVICE'],
])('ip failing with %o is %s', (error, code) => {
  expect(ipError(['link'], error).code).toBe(code)
})
