import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChildSaSpec } from '../../../core/contracts/data-plane.ts'
import { innerMtu } from '../../../core/ipsec/index.ts'
import { addressBytes, buildIp, internetChecksum, parseTooBig } from '../../../core/wire/index.ts'
import { Reassembler } from '../../kit/fragments.ts'
import { observedPlane, packetOf, selector, specPair, suiteNamed, toHex, udpFlow, udpPacket } from './sample.ts'

const OUTER = ['192.0.2.1', '198.51.100.1'] as const
const BACK = udpFlow('198.51.100.1', '192.0.2.1')
/** IP, UDP, ESP header, IV, ICV: what is left has padding and trailer. */
const AROUND = 20 + 8 + 8 + 8 + 16

function pair(options: Partial<ChildSaSpec> = {}, planes: { mtu?: number; clampMss?: boolean } = {}) {
  const [a, b] = [observedPlane('a', planes), observedPlane('b', planes)]
  const specs = specPair(1, options)
  a.plane.install(specs[0], { outbound: true }, 0)
  b.plane.install(specs[1], { outbound: true }, 0)
  return { a, b, spec: specs[0] }
}

const big = (length: number, df: boolean): Uint8Array => udpPacket(new Uint8Array(length - 28).fill(7), { df })

describe('the path', () => {
  test.each([
    ['nobody can mean so little', OUTER, 60, 552],
    ['another way', ['192.0.2.1', '203.0.113.1'] as const, 1_000, Number.POSITIVE_INFINITY],
    ['the way back', ['198.51.100.1', '192.0.2.1'] as const, 1_000, Number.POSITIVE_INFINITY],
    ['no number of octets', OUTER, Number.NaN, Number.POSITIVE_INFINITY],
  ])('%s', (_, [local, remote], told, path) => {
    const { a, spec } = pair()
    a.plane.pathMtu(local, remote, told, 0)
    const { suite } = spec
    const most = Math.min(
      1_400,
      Number.isFinite(path) ? innerMtu(path, { suite, mode: 'tunnel', encapOctets: 8, family: 4 }) : 1_400,
    )
    // nobody is asked for less than 576 by IPv4
    const asked = Math.max(576, most)
    a.plane.outbound(packetOf(big(asked, true)), 1)
    a.plane.outbound(packetOf(big(asked + 1, true)), 1)
    expect(a.sent).toHaveLength(1)
    expect(parseTooBig(a.delivered[0]!, 0, a.delivered[0]!.length)?.mtu).toBe(asked)
  })

  test('one that an SA has moved to is another one', () => {
    const { a, spec } = pair()
    a.plane.pathMtu(...OUTER, 1_000, 0)
    a.plane.move(spec.id, udpFlow('192.0.2.1', '203.0.113.9'))
    a.plane.outbound(packetOf(big(1_400, true)), 1)
    expect(a.sent).toHaveLength(1)
    a.plane.pathMtu('192.0.2.1', '203.0.113.9', 1_200, 1)
    a.plane.outbound(packetOf(big(1_400, true)), 1)
    expect(a.sent).toHaveLength(1)
  })

  test('is shared by the SAs that go there, and forgotten with the last of them', () => {
    const { a, spec } = pair()
    a.plane.pathMtu(...OUTER, 1_000, 0)
    const other = { local: [selector('10.7.0.1')], remote: [selector('10.8.0.1')] }
    const [second] = specPair(2, other)
    a.plane.install(second, { outbound: true }, 1)
    const packet = udpPacket(new Uint8Array(1_000), { source: '10.7.0.1', destination: '10.8.0.1', df: true })
    a.plane.outbound(packetOf(packet), 1)
    expect(a.sent).toHaveLength(0)
    for (const { id } of [spec, second]) a.plane.remove(id)
    a.plane.install(specPair(3, other)[0], { outbound: true }, 2)
    a.plane.outbound(packetOf(packet), 2)
    expect(a.sent).toHaveLength(1)
  })

  test('what must not be answered beyond measure is dropped all the same', () => {
    const { a, spec } = pair()
    for (let i = 0; i < 1_000; i++) a.plane.outbound(packetOf(big(1_401, true)), 5)
    expect(a.delivered).toHaveLength(50)
    expect(a.plane.counters(spec.id)!.drops).toEqual({ 'too-big': 1_000 })
    a.plane.outbound(packetOf(big(1_401, true)), 6)
    expect(a.delivered).toHaveLength(51)
  })
})

describe('packets without DF', () => {
  test('are cut inside the tunnel, so that nothing is cut outside', () => {
    fc.assert(
      fc.property(fc.integer({ min: 576, max: 1_400 }), fc.integer({ min: 1_000, max: 9_000 }), (path, length) => {
        const { a, b } = pair()
        a.plane.pathMtu(...OUTER, path, 0)
        const packet = big(length, false)
        a.plane.outbound(packetOf(packet), 1)
        for (const { bytes } of a.sent) {
          expect(bytes.length + 28).toBeLessThanOrEqual(path)
          b.plane.inbound(packetOf(bytes), BACK, 1)
        }
        const whole = new Reassembler()
        const joined = b.delivered.map(part => {
          expect(internetChecksum(part, 0, 20)).toBe(0)
          return whole.add(part, 0)
        })
        const last = b.delivered.length === 1 ? b.delivered[0] : joined.at(-1)
        expect(toHex(last!)).toBe(toHex(packet))
        expect(a.delivered).toHaveLength(0)
      }),
    )
  })

  test('fragments are cut again', () => {
    const { a, b } = pair()
    a.plane.pathMtu(...OUTER, 600, 0)
    const packet = big(2_400, false)
    const whole = new Reassembler()
    let joined: Uint8Array | undefined
    for (const from of [20, 1_220]) {
      const part = buildIp(
        { source: addressBytes('10.1.0.1'), destination: addressBytes('10.2.0.1'), protocol: 17, id: 0 },
        packet.subarray(from, Math.min(packet.length, from + 1_200)),
      )
      const field = (from === 20 ? 0x2000 : 0) | ((from - 20) / 8)
      part.set([field >>> 8, field & 0xff], 6)
      part.set([0, 0], 10)
      const sum = internetChecksum(part, 0, 20)
      part.set([sum >>> 8, sum & 0xff], 10)
      a.plane.outbound(packetOf(part), 1)
    }
    expect(a.sent.length).toBeGreaterThan(4)
    for (const { bytes } of a.sent) b.plane.inbound(packetOf(bytes), BACK, 1)
    for (const part of b.delivered) joined = whole.add(part, 0) ?? joined
    expect(joined?.subarray(20)).toEqual(packet.subarray(20))
  })

  test('options that are for the first fragment only stay there', () => {
    const { a, b } = pair()
    a.plane.pathMtu(...OUTER, 600, 0)
    // record route (7) is not copied, router alert (0x94) is
    const options = [7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0]
    const plain = big(1_000, false)
    const packet = new Uint8Array(plain.length + options.length)
    packet.set(plain.subarray(0, 20))
    packet.set(options, 20)
    packet.set(plain.subarray(20), 20 + options.length)
    packet[0] = 0x48
    packet.set([packet.length >>> 8, packet.length & 0xff], 2)
    packet.set([0, 0], 10)
    const sum = internetChecksum(packet, 0, 32)
    packet.set([sum >>> 8, sum & 0xff], 10)
    a.plane.outbound(packetOf(packet), 1)
    for (const { bytes } of a.sent) b.plane.inbound(packetOf(bytes), BACK, 1)
    const [first, second] = b.delivered
    expect([...first!.subarray(20, 32)]).toEqual(options)
    expect([...second!.subarray(20, 32)]).toEqual([1, 1, 1, 1, 1, 1, 1, 0x94, 4, 0, 0, 0])
  })

  test.each([
    [
      'the other end looks for ports',
      { local: [selector('10.1.0.1', '10.1.0.1', { startPort: 1000, endPort: 1000 })] },
    ],
  ])('go whole, to be cut outside, where %s', (_, options) => {
    const { a } = pair(options)
    a.plane.pathMtu(...OUTER, 1_000, 0)
    a.plane.outbound(packetOf(big(1_300, false)), 1)
    expect(a.sent.map(({ bytes, df }) => [bytes.length > 1_300, df])).toEqual([[true, false]])
  })
})

test('IPv6 that no path may ask to be smaller goes whole, to be cut outside', () => {
  const six = { local: [selector('2001:db8:1::1')], remote: [selector('2001:db8:2::1')] }
  const { a } = pair(six)
  a.plane.pathMtu(...OUTER, 1_280, 0)
  const packet = (length: number): Uint8Array =>
    buildIp(
      { source: addressBytes('2001:db8:1::1'), destination: addressBytes('2001:db8:2::1'), protocol: 17 },
      new Uint8Array(length - 40),
    )
  a.plane.outbound(packetOf(packet(1_281)), 1)
  expect(parseTooBig(a.delivered[0]!, 0, a.delivered[0]!.length)?.mtu).toBe(1_280)
  a.plane.outbound(packetOf(packet(1_280)), 1)
  a.plane.outbound(packetOf(packet(1_200)), 1)
  expect(a.sent.map(({ df }) => df)).toEqual([false, true])
})

describe('the MSS of TCP', () => {
  const syn = (family: 4 | 6, outbound: boolean): Uint8Array => {
    const ends = family === 4 ? ['10.1.0.1', '10.2.0.1'] : ['2001:db8:1::1', '2001:db8:2::1']
    const [source, destination] = (outbound ? ends : ends.reverse()).map(addressBytes)
    const segment = new Uint8Array(24)
    segment.set([0, 80, 1, 187, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 0x23, 0x28])
    return buildIp({ source: source!, destination: destination!, protocol: 6 }, segment)
  }
  const mssOf = (packet: Uint8Array): number => (packet.at(-2)! << 8) | packet.at(-1)!
  const six = { local: [selector('2001:db8:1::1')], remote: [selector('2001:db8:2::1')] }

  test.each([
    ['device', 4, Number.NaN, 1_400 - 40],
    ['device', 6, Number.NaN, 1_400 - 60],
    ['path', 4, 1_200, 1_200 - AROUND - 2 - 40],
    ['path', 6, 1_400, 1_400 - AROUND - 4 + 2 - 60],
    ['least of IPv6', 6, 800, 1_280 - 60],
  ] as const)('is lowered to what the %s carries, both ways: IPv%d, %d', (_, family, path, most) => {
    const change = family === 6 ? six : {}
    const { a, b } = pair(change)
    // what comes in is lowered by the end that has the path, what goes out too
    a.plane.pathMtu(...OUTER, path, 0)
    const out = syn(family, true)
    a.plane.outbound(packetOf(out), 1)
    expect(mssOf(out)).toBe(9_000)
    const [other] = specPair(1, change).slice(1)
    const blind = observedPlane('blind', { clampMss: false })
    blind.plane.install(
      { ...other!, ...(family === 6 && { local: six.remote, remote: six.local }) },
      { outbound: true },
      0,
    )
    blind.plane.inbound(packetOf(a.sent[0]!.bytes), BACK, 1)
    expect(mssOf(blind.delivered[0]!)).toBe(most)
    blind.plane.outbound(packetOf(syn(family, false)), 1)
    a.plane.inbound(packetOf(blind.sent[0]!.bytes), udpFlow(...OUTER), 1)
    expect(mssOf(a.delivered[0]!)).toBe(most)
    expect(b.sent).toHaveLength(0)
  })

  test('stays as it is where nobody wants it changed', () => {
    const { a, b } = pair({}, { clampMss: false })
    a.plane.outbound(packetOf(syn(4, true)), 1)
    b.plane.inbound(packetOf(a.sent[0]!.bytes), BACK, 1)
    expect(mssOf(b.delivered[0]!)).toBe(9_000)
  })
})

test.each(['aes128-sha256', 'aes256gcm16', 'null-sha256'])('parts fill the path: %s', name => {
  const suite = suiteNamed(name)
  const a = observedPlane('a')
  a.plane.install(specPair(1, {}, suite)[0], { outbound: true }, 0)
  a.plane.pathMtu(...OUTER, 1_000, 0)
  a.plane.outbound(packetOf(big(1_400, false)), 1)
  const most = innerMtu(1_000, { suite, mode: 'tunnel', encapOctets: 8, family: 4 })
  expect(a.sent[0]!.bytes.length + 28).toBeGreaterThan(most)
  expect(a.sent[0]!.bytes.length + 28).toBeLessThanOrEqual(1_000)
})
