import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Selector } from '../../../core/contracts/strategy.ts'
import { SelectorPair } from '../../../core/ipsec/index.ts'
import {
  addressBytes,
  buildEcho,
  buildIp,
  compareAddresses,
  formatAddress,
  newIpInfo,
  readIp,
  setU16,
} from '../../../core/wire/index.ts'
import { selector, udpPacket } from './sample.ts'

const netA = selector('10.1.0.0', '10.1.255.255')
const netB = selector('10.2.0.0', '10.2.255.255')

function matches(bytes: Uint8Array, local: readonly Selector[], remote: readonly Selector[]): boolean {
  const info = newIpInfo()
  expect(readIp(bytes, 0, bytes.length, info)).toBeUndefined()
  return new SelectorPair(local, remote).matchesOutbound(bytes, info)
}

const fragment = udpPacket('later fragment')
setU16(fragment, 6, 100)
const opaque = { startPort: 65_535, endPort: 0 }
const echo = buildEcho(addressBytes('10.1.0.1'), addressBytes('10.2.0.1'), {
  reply: false,
  id: 1,
  sequence: 1,
  data: new Uint8Array(4),
})
const gre = buildIp(
  { source: addressBytes('10.1.0.1'), destination: addressBytes('10.2.0.1'), protocol: 47 },
  new Uint8Array(8),
)

test.each<{ name: string; packet: Uint8Array; local: Selector[]; remote: Selector[]; want: boolean }>([
  { name: 'networks', packet: udpPacket('x'), local: [netA], remote: [netB], want: true },
  { name: 'wrong way round', packet: udpPacket('x'), local: [netB], remote: [netA], want: false },
  { name: 'second of several', packet: udpPacket('x'), local: [netB, netA], remote: [netA, netB], want: true },
  { name: 'other family', packet: udpPacket('x'), local: [selector('::', 'ffff::')], remote: [netB], want: false },
  {
    name: 'last address',
    packet: udpPacket('x', { destination: '10.2.255.255' }),
    local: [netA],
    remote: [netB],
    want: true,
  },
  {
    name: 'one beyond',
    packet: udpPacket('x', { destination: '10.3.0.0' }),
    local: [netA],
    remote: [netB],
    want: false,
  },
  { name: 'protocol', packet: udpPacket('x'), local: [{ ...netA, protocol: 17 }], remote: [netB], want: true },
  { name: 'other protocol', packet: udpPacket('x'), local: [{ ...netA, protocol: 6 }], remote: [netB], want: false },
  {
    name: 'port',
    packet: udpPacket('x'),
    local: [netA],
    remote: [{ ...netB, startPort: 53, endPort: 53 }],
    want: true,
  },
  {
    name: 'other port',
    packet: udpPacket('x'),
    local: [netA],
    remote: [{ ...netB, startPort: 54, endPort: 99 }],
    want: false,
  },
  { name: 'fragment, all ports', packet: fragment, local: [netA], remote: [netB], want: true },
  {
    name: 'fragment, one port',
    packet: fragment,
    local: [netA],
    remote: [{ ...netB, startPort: 53, endPort: 53 }],
    want: false,
  },
  {
    name: 'fragment, opaque',
    packet: fragment,
    local: [{ ...netA, ...opaque }],
    remote: [{ ...netB, ...opaque }],
    want: true,
  },
  { name: 'ports there, opaque', packet: udpPacket('x'), local: [{ ...netA, ...opaque }], remote: [netB], want: false },
  {
    name: 'ICMP type',
    packet: echo,
    local: [{ ...netA, protocol: 1, startPort: 0x800, endPort: 0x8ff }],
    remote: [netB],
    want: true,
  },
  {
    name: 'other ICMP type',
    packet: echo,
    local: [{ ...netA, protocol: 1, startPort: 0, endPort: 0 }],
    remote: [netB],
    want: false,
  },
  { name: 'portless protocol', packet: gre, local: [{ ...netA, protocol: 47 }], remote: [netB], want: true },
  {
    name: 'portless protocol, one port',
    packet: gre,
    local: [{ ...netA, startPort: 1, endPort: 1 }],
    remote: [netB],
    want: false,
  },
])('$name', ({ packet, local, remote, want }) => {
  expect(matches(packet, local, remote)).toBe(want)
})

test('inbound is outbound with the sides exchanged', () => {
  const bytes = udpPacket('x', { source: '10.2.0.9', destination: '10.1.0.9' })
  const info = newIpInfo()
  readIp(bytes, 0, bytes.length, info)
  expect(new SelectorPair([netA], [netB]).matchesInbound(bytes, info)).toBe(true)
  expect(new SelectorPair([netB], [netA]).matchesInbound(bytes, info)).toBe(false)
})

describe.each([4, 16])('ranges of addresses of %i octets', length => {
  test('agree with comparing octets', () => {
    // few different octets, so that bounds and addresses often share their first words
    const address = fc
      .array(fc.constantFrom(0, 1, 255), { minLength: length, maxLength: length })
      .map(o => Uint8Array.from(o))
    fc.assert(
      fc.property(address, address, address, (a, b, subject) => {
        const [start, end] = compareAddresses(a, b) <= 0 ? [a, b] : [b, a]
        const packet = buildIp({ source: subject, destination: subject, protocol: 47 }, new Uint8Array(8))
        const range = [selector(formatAddress(start), formatAddress(end))]
        const inside = compareAddresses(subject, start) >= 0 && compareAddresses(subject, end) <= 0
        expect(matches(packet, range, range)).toBe(inside)
      }),
    )
  })
})

test('a narrower pair is more specific, across families too', () => {
  const breadth = (local: Selector, remote: Selector) => new SelectorPair([local], [remote]).breadth
  const everything = selector('0.0.0.0', '255.255.255.255')
  expect(breadth(netA, netB)).toBeLessThan(breadth(netA, everything))
  expect(breadth(netA, { ...netB, protocol: 17 })).toBeLessThan(breadth(netA, netB))
  expect(breadth(netA, { ...netB, startPort: 53, endPort: 53 })).toBeLessThan(breadth(netA, netB))
  expect(breadth(selector('2001:db8::1'), selector('2001:db8::2'))).toBe(
    breadth(selector('10.0.0.1'), selector('10.0.0.2')),
  )
})

test('the key does not depend on the order of selectors', () => {
  expect(new SelectorPair([netA, netB], [netB]).key).toBe(new SelectorPair([netB, netA], [netB]).key)
  expect(new SelectorPair([netA], [netB]).key).not.toBe(new SelectorPair([netB], [netA]).key)
})
