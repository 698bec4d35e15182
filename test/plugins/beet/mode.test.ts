import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import type { Mode, Selector } from '../../../core/contracts/strategy.ts'
import { innerMtu } from '../../../core/ipsec/index.ts'
import { addressBytes, fixIpv4Checksum, getU16, ipv4HeaderLength, setU16, setU32 } from '../../../core/wire/index.ts'
import { Beet } from '../../../plugins/beet/index.ts'
import {
  context,
  hex,
  observedPlane,
  packetOf,
  plain,
  selector,
  specPair,
  suiteNamed,
  toHex,
  udpFlow,
  udpPacket,
} from '../../core/ipsec/sample.ts'

const INNER = { 4: ['10.1.0.1', '10.2.0.1'], 6: ['2001:db8:1::1', '2001:db8:2::1'] } as const
const OUTER = { 4: ['192.0.2.1', '198.51.100.1'], 6: ['2001:db8:a::1', '2001:db8:b::1'] } as const
const beet = new Beet()

type Family = 4 | 6

/** Both ends' modes, and the flow as the second one sees it. */
function ends(inner: Family, outer: Family) {
  const [a, b] = INNER[inner]
  const [here, there] = OUTER[outer]
  const flow = udpFlow(there, here)
  return {
    a: beet.create(context(udpFlow(here, there), [selector(a)], [selector(b)])),
    b: beet.create(context(flow, [selector(b)], [selector(a)])),
    flow,
  }
}

interface Fields {
  readonly tos: number
  readonly ttl: number
  readonly id: number
  readonly df: boolean
  readonly flowLabel: number
  readonly protocol: number
  readonly options: Uint8Array
  readonly payload: Uint8Array
}

function innerPacket(family: Family, f: Fields): Uint8Array {
  const [source, destination] = INNER[family].map(addressBytes) as [Uint8Array, Uint8Array]
  const header = family === 4 ? 20 + f.options.length : 40
  const bytes = new Uint8Array(header + f.payload.length)
  if (family === 4) {
    bytes.set([0x40 | (header / 4), f.tos])
    setU16(bytes, 2, bytes.length)
    setU16(bytes, 4, f.id)
    setU16(bytes, 6, f.df ? 0x4000 : 0)
    bytes.set([f.ttl, f.protocol], 8)
    bytes.set(source, 12)
    bytes.set(destination, 16)
    bytes.set(f.options, 20)
    fixIpv4Checksum(bytes, 0)
  } else {
    setU32(bytes, 0, ((6 << 28) | (f.tos << 20) | f.flowLabel) >>> 0)
    setU16(bytes, 4, f.payload.length)
    bytes.set([f.protocol, f.ttl], 6)
    bytes.set(source, 8)
    bytes.set(destination, 24)
  }
  bytes.set(f.payload, header)
  return bytes
}

/** Neither taken by BEET and ESP (94, 59) nor an IPv6 extension header. */
const protocol = fc.constantFrom(1, 4, 6, 17, 41, 47, 50, 58, 132)
const fields = fc.record({
  tos: fc.integer({ min: 0, max: 255 }),
  ttl: fc.integer({ min: 1, max: 255 }),
  id: fc.integer({ min: 0, max: 0xffff }),
  df: fc.boolean(),
  flowLabel: fc.integer({ min: 0, max: 0xf_ffff }),
  protocol,
  options: fc
    .integer({ min: 0, max: 10 })
    .chain(words => fc.uint8Array({ minLength: 4 * words, maxLength: 4 * words })),
  payload: fc.uint8Array({ maxLength: 64 }),
})

/** What the outer header carries is all that gets through, apart from the payload. */
function carry(packet: Packet, told = true): Packet {
  const arrived = packetOf(octets(packet).slice())
  arrived.nextHeader = packet.nextHeader
  if (told)
    Object.assign(arrived, {
      tos: packet.tos,
      ttl: packet.ttl,
      df: packet.df,
      id: packet.id,
      flowLabel: packet.flowLabel,
    })
  return arrived
}

describe.each([
  [4, 4],
  [6, 6],
  [4, 6],
  [6, 4],
] as const)('v%i in v%i', (inner, outer) => {
  const { a, b, flow } = ends(inner, outer)

  test('what goes in comes out, but for what the outer header has no place for', () => {
    fc.assert(
      fc.property(fields, f => {
        const packet = packetOf(innerPacket(inner, f))
        expect(a.encode(packet)).toBeUndefined()
        const arrived = carry(packet)
        expect(b.decode(arrived, flow)).toBeUndefined()
        const kept = inner === outer ? f : { ...f, id: 0, df: true, flowLabel: 0 }
        expect(toHex(octets(arrived))).toBe(toHex(innerPacket(inner, kept)))
      }),
    )
  })

  test('routers and NATs outside show inside: TTL, ECN, DSCP', () => {
    fc.assert(
      fc.property(fields, fc.integer({ min: 0, max: 255 }), fc.integer({ min: 1, max: 255 }), (f, tos, ttl) => {
        const packet = packetOf(innerPacket(inner, f))
        a.encode(packet)
        const arrived = Object.assign(carry(packet), { tos, ttl })
        expect(b.decode(arrived, flow)).toBeUndefined()
        const kept = inner === outer ? f : { ...f, id: 0, df: true, flowLabel: 0 }
        expect(toHex(octets(arrived))).toBe(toHex(innerPacket(inner, { ...kept, tos, ttl })))
      }),
    )
  })

  test('a transport that tells nothing gets a header that is valid and never fragmented', () => {
    fc.assert(
      fc.property(fields, f => {
        const packet = packetOf(innerPacket(inner, f))
        a.encode(packet)
        const arrived = carry(packet, false)
        expect(b.decode(arrived, flow)).toBeUndefined()
        const kept = { ...f, tos: 0, ttl: 64, id: 0, df: true, flowLabel: 0 }
        expect(toHex(octets(arrived))).toBe(toHex(innerPacket(inner, kept)))
      }),
    )
  })

  test('any payload: a packet between the inner addresses, or a drop', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.integer({ min: 0, max: 255 }), (bytes, nextHeader) => {
        const arrived = Object.assign(packetOf(bytes), { nextHeader })
        const failure = b.decode(arrived, flow)
        if (failure !== undefined) {
          expect(nextHeader).toBe(94)
          return
        }
        const at = arrived.start + (inner === 4 ? 12 : 8)
        const addresses = INNER[inner].map(x => toHex(addressBytes(x))).join('')
        expect(toHex(arrived.bytes.subarray(at, at + (inner === 4 ? 8 : 32)))).toBe(addresses)
        const length =
          inner === 4 ? getU16(arrived.bytes, arrived.start + 2) : 40 + getU16(arrived.bytes, arrived.start + 4)
        expect(length).toBe(arrived.end - arrived.start)
      }),
    )
  })

  test('any octets from the device: a drop or an ESP payload', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), bytes => {
        const packet = packetOf(bytes)
        const failure = a.encode(packet)
        expect(['inner-malformed', 'not-encodable', 'fragment', undefined]).toContain(failure)
      }),
    )
  })

  test('the outer addresses may change family under a standing SA', () => {
    const f = {
      tos: 3,
      ttl: 9,
      id: 7,
      df: false,
      flowLabel: 5,
      protocol: 17,
      options: hex(''),
      payload: hex('01020304'),
    }
    const packet = packetOf(innerPacket(inner, f))
    a.encode(packet)
    const moved = udpFlow(...(OUTER[outer === 4 ? 6 : 4] as readonly [string, string]))
    const arrived = carry(packet)
    expect(b.decode(arrived, moved)).toBeUndefined()
    const kept = inner === outer ? { ...f, id: 0, df: true, flowLabel: 0 } : { ...f, flowLabel: inner === 6 ? 5 : 0 }
    if (inner === 4 && outer === 6) expect(getU16(arrived.bytes, arrived.start + 4)).toBe(7)
    else expect(toHex(octets(arrived))).toBe(toHex(innerPacket(inner, kept)))
  })
})

/** RFC 7402 appendix B; the octets between IPv4 header and payload. */
describe('IPv4 options', () => {
  const { a, b, flow } = ends(4, 4)
  const base = { tos: 0, ttl: 64, id: 1, df: false, flowLabel: 0, protocol: 6, payload: hex('aabbccdd') }

  test.each([
    ['router alert', '94040000', '0600000094040000'],
    ['8 octets', '0101010101010100', '06010400010101010101010101010100'],
    ['40 octets', '01'.repeat(40), `0605040001010101${'01'.repeat(40)}`],
    ['36 octets', '01'.repeat(36), `06040000${'01'.repeat(36)}`],
  ])('%s', (_, options, wanted) => {
    const packet = packetOf(innerPacket(4, { ...base, options: hex(options) }))
    expect(a.encode(packet)).toBeUndefined()
    expect(packet.nextHeader).toBe(94)
    expect(toHex(octets(packet))).toBe(`${wanted}aabbccdd`)
  })

  test.each([
    ['none, and padding', '0600040000000000', 20],
    ['any padding and reserved octet', '060104c7deadbeef0101010101010100', 28],
  ])('accepted: %s', (_, header, length) => {
    const packet = Object.assign(packetOf(hex(`${header}aabbccdd`)), { nextHeader: 94 })
    expect(b.decode(packet, flow)).toBeUndefined()
    expect(ipv4HeaderLength(packet.bytes, packet.start)).toBe(length)
    expect(toHex(octets(packet)).slice(-8)).toBe('aabbccdd')
  })

  test.each([
    ['nothing', ''],
    ['cut off in the fixed part', '060000'],
    ['options beyond the payload', '0601000094040000'],
    ['padding beyond the payload', '06000400'],
    ['padding of 2', '0600020094040000'],
    ['padding of 8', '0600080094040000'],
    ['44 octets of options', `06050000${'01'.repeat(44)}`],
    ['255 units', `06ff0000${'01'.repeat(300)}`],
  ])('dropped: %s', (_, header) => {
    const packet = Object.assign(packetOf(hex(header)), { nextHeader: 94 })
    expect(b.decode(packet, flow)).toBe('inner-malformed')
  })

  test('dropped: on an SA with inner IPv6', () => {
    const packet = Object.assign(packetOf(hex('0600000094040000')), { nextHeader: 94 })
    expect(ends(6, 4).b.decode(packet, flow)).toBe('next-header')
  })
})

describe('what is not sent', () => {
  const base = {
    tos: 0,
    ttl: 64,
    id: 1,
    df: false,
    flowLabel: 0,
    protocol: 17,
    options: hex(''),
    payload: hex('0011223344556677'),
  }
  const edited = (family: Family, edit: (bytes: Uint8Array) => void, f: Partial<Fields> = {}): Packet => {
    const bytes = innerPacket(family, { ...base, ...f })
    edit(bytes)
    return packetOf(bytes)
  }
  const v4 = ends(4, 4).a
  const v6 = ends(6, 6).a
  const rows: readonly (readonly [string, string, Mode, Packet])[] = [
    ['another source', 'not-encodable', v4, edited(4, b => b.set([2], 15))],
    ['another destination', 'not-encodable', v4, edited(4, b => b.set([2], 19))],
    ['another IPv6 source', 'not-encodable', v6, edited(6, b => b.set([9], 23))],
    ['another IPv6 destination', 'not-encodable', v6, edited(6, b => b.set([9], 39))],
    ['IPv6 on an SA with inner IPv4', 'not-encodable', v4, edited(6, () => {})],
    ['IPv4 on an SA with inner IPv6', 'not-encodable', v6, edited(4, () => {})],
    ['a first fragment', 'fragment', v4, edited(4, b => setU16(b, 6, 0x2000))],
    ['a last fragment', 'fragment', v4, edited(4, b => setU16(b, 6, 1))],
    ['protocol 94, the pseudo header', 'not-encodable', v4, edited(4, () => {}, { protocol: 94 })],
    ['next header 94', 'not-encodable', v6, edited(6, () => {}, { protocol: 94 })],
    ['next header 59, a dummy to ESP', 'not-encodable', v6, edited(6, () => {}, { protocol: 59 })],
    ['a header longer than the packet', 'inner-malformed', v4, edited(4, b => b.set([0x4f], 0))],
    ['a packet cut off', 'inner-malformed', v6, edited(6, b => setU16(b, 4, 100))],
    ['nothing', 'inner-malformed', v4, newPacket(1024)],
  ]
  test.each(rows)('%s: %s', (_, drop, mode, packet) => {
    expect(mode.encode(packet)).toBe(drop)
  })

  test('an IPv6 fragment is sent: its header is payload', () => {
    const fragment = hex('1100000900000001aabbccdd')
    const packet = edited(6, () => {}, { protocol: 44, payload: fragment })
    expect(v6.encode(packet)).toBeUndefined()
    expect(packet.nextHeader).toBe(44)
    expect(toHex(octets(packet))).toBe(toHex(fragment))
  })

  test('octets behind the inner packet stay behind', () => {
    const packet = packetOf(Uint8Array.of(...innerPacket(4, base), 1, 2, 3))
    expect(v4.encode(packet)).toBeUndefined()
    expect(toHex(octets(packet))).toBe(toHex(base.payload))
  })
})

describe('on the portable plane', () => {
  const planes = (local: readonly Selector[], remote: readonly Selector[]) => {
    const [specA, specB] = specPair(1, {
      encap: plain,
      follow: true,
      plan: { path: 'direct', encap: 'plain', mode: 'beet' },
    })
    const left = observedPlane('left')
    const right = observedPlane('right')
    left.plane.install(
      { ...specA, local, remote, mode: beet.create(context(specA.flow, local, remote)) },
      { outbound: true },
      0,
    )
    right.plane.install(
      { ...specB, local: remote, remote: local, mode: beet.create(context(specB.flow, remote, local)) },
      { outbound: true },
      0,
    )
    return { left, right, id: specA.id, flow: specB.flow }
  }

  test('inner addresses stay while the outer ones move', () => {
    const { left, right, id, flow } = planes([selector('10.1.0.1')], [selector('10.2.0.1')])
    const packet = udpPacket('hello', { df: true })
    left.plane.outbound(packetOf(packet), 1)
    const moved = { ...flow, remote: { address: '2001:db8::99', port: 1234 } }
    for (const [i, from] of [flow, moved].entries()) {
      if (i > 0) left.plane.outbound(packetOf(packet), 2)
      expect(right.plane.inbound(packetOf(left.sent[i]!.bytes), from, 2)).toBe(true)
    }
    // no inner header: ESP 8, IV 8, UDP 13, padding 1, trailer 2, ICV 16
    expect(left.sent[0]!.bytes.length).toBe(48)
    expect(right.delivered.map(d => toHex(d.subarray(12)))).toEqual([packet, packet].map(d => toHex(d.subarray(12))))
    expect(right.events.at(-1)).toEqual({ type: 'peer-moved', id, flow: moved })
    expect(right.plane.flow(id)).toEqual(moved)
  })

  test('bad input is dropped and counted', () => {
    const { left, right, id, flow } = planes(
      [selector('10.1.0.1')],
      [selector('10.2.0.1', '10.2.0.1', { protocol: 17 })],
    )
    const fragment = udpPacket('hello')
    setU16(fragment, 6, 0x2000)
    fixIpv4Checksum(fragment, 0)
    left.plane.outbound(packetOf(fragment), 1)
    expect(left.plane.counters(id)?.drops).toEqual({ fragment: 1 })
    left.plane.outbound(packetOf(udpPacket('hello', { source: '10.1.0.2' })), 1)
    expect(left.plane.drops).toEqual({ 'no-policy': 1 })
    // the other end's selectors allow UDP only
    const { left: wide } = planes([selector('10.1.0.1')], [selector('10.2.0.1')])
    const icmp = udpPacket('hello')
    icmp[9] = 1
    fixIpv4Checksum(icmp, 0)
    wide.plane.outbound(packetOf(icmp), 1)
    right.plane.inbound(packetOf(wide.sent[0]!.bytes), flow, 1)
    expect(right.plane.counters(id)?.drops).toEqual({ selector: 1 })
    expect(right.delivered).toEqual([])
  })

  test.each([
    [4, 4, 1466],
    [4, 6, 1446],
    [6, 4, 1486],
    [6, 6, 1466],
  ] as const)('v%i in v%i: inner packets of %i octets fit 1500', (inner, outer, largest) => {
    const { saves } = ends(inner, outer).a
    const framing = { suite: suiteNamed('aes128gcm16'), mode: 'beet', saves, encapOctets: 0, family: outer }
    expect(innerMtu(1500, framing)).toBe(largest)
  })
})
