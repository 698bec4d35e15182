import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChildSaSpec } from '../../../core/contracts/data-plane.ts'
import type { EncapStrategy } from '../../../core/contracts/strategy.ts'
import { espOverhead, innerMtu, PortablePlane } from '../../../core/ipsec/index.ts'
import { addressBytes, buildIp, parseTooBig } from '../../../core/wire/index.ts'
import {
  FOREVER,
  observedPlane,
  PROVIDERS,
  packetOf,
  plain,
  selector,
  specPair,
  suiteNamed,
  suitesOf,
  toHex,
  udpFlow,
  udpPacket,
} from './sample.ts'

type Observed = ReturnType<typeof observedPlane>

/** Two planes with one SA between them. */
function connected(options: Partial<ChildSaSpec> = {}, suite = suiteNamed('chacha20poly1305')) {
  const [a, b] = [observedPlane('a'), observedPlane('b')]
  const [specA, specB] = specPair(1, options, suite)
  a.plane.install(specA, { outbound: true }, 0)
  b.plane.install(specB, { outbound: true }, 0)
  return { a, b, specA, specB }
}

const arrive = (to: Observed, bytes: Uint8Array, flow = udpFlow('198.51.100.1', '192.0.2.1'), now = 1): boolean =>
  to.plane.inbound(packetOf(bytes), flow, now)

const send = (from: Observed, bytes: Uint8Array, now = 1): Uint8Array | undefined => {
  const before = from.sent.length
  from.plane.outbound(packetOf(bytes), now)
  return from.sent.length > before ? from.sent.at(-1)!.bytes : undefined
}

describe.each(PROVIDERS)('$name', crypto => {
  test.each(suitesOf(crypto))('carries packets both ways with %s', name => {
    const suite = suiteNamed(name)
    const [a, b] = [observedPlane('a', {}, crypto), observedPlane('b', {}, crypto)]
    const [specA, specB] = specPair(1, {}, suite)
    a.plane.install(specA, { outbound: true }, 0)
    b.plane.install(specB, { outbound: true }, 0)
    const ping = udpPacket('ping')
    const pong = udpPacket('pong', { source: '10.2.0.1', destination: '10.1.0.1' })
    expect(arrive(b, send(a, ping)!)).toBe(true)
    expect(arrive(a, send(b, pong)!)).toBe(true)
    expect(b.delivered.map(toHex)).toEqual([toHex(ping)])
    expect(a.delivered.map(toHex)).toEqual([toHex(pong)])
    expect(a.plane.counters(specA.id)).toEqual({
      packetsIn: 1,
      octetsIn: pong.length,
      packetsOut: 1,
      octetsOut: ping.length,
      drops: {},
      lastIn: 1,
      lastOut: 1,
    })
  })
})

test('the first packet that authenticates is said once', () => {
  const { a, b, specB } = connected()
  for (let i = 0; i < 3; i++) arrive(b, send(a, udpPacket('x'))!)
  expect(b.events).toEqual([{ type: 'first-inbound', id: specB.id }])
})

test('a replayed, a late and a forged packet are counted by reason', () => {
  const { a, b, specB } = connected({ replayWindow: 32 })
  const packets = Array.from({ length: 40 }, () => send(a, udpPacket('x'))!)
  arrive(b, packets[39]!)
  arrive(b, packets[39]!)
  arrive(b, packets[20]!)
  arrive(b, packets[3]!)
  const forged = packets[30]!.slice()
  forged[forged.length - 1]! ^= 1
  arrive(b, forged)
  arrive(b, packets[30]!)
  expect(b.delivered.length).toBe(3)
  expect(b.plane.counters(specB.id)!.drops).toEqual({ replay: 2, integrity: 1 })
})

test('a forged packet does not move the window', () => {
  const { a, b } = connected()
  const genuine = send(a, udpPacket('x'))!
  const forged = genuine.slice()
  forged.set([0xff, 0, 0, 0], 4)
  arrive(b, forged)
  arrive(b, genuine)
  expect(b.delivered.length).toBe(1)
})

test('unknown SPIs are somebody else’s', () => {
  const { b } = connected()
  expect(arrive(b, new Uint8Array(100))).toBe(false)
  expect(arrive(b, new Uint8Array(3))).toBe(false)
  expect(b.plane.drops).toEqual({})
})

test('packets that no policy covers go nowhere', () => {
  const { a } = connected()
  expect(send(a, udpPacket('x', { destination: '10.9.0.1' }))).toBeUndefined()
  expect(send(a, new Uint8Array(7))).toBeUndefined()
  expect(a.plane.drops).toEqual({ 'no-policy': 1, 'inner-malformed': 1 })
})

test('what comes out of the tunnel must fit the selectors', () => {
  const { a, b, specB } = connected()
  const [, narrow] = specPair(1, { remote: [selector('10.1.7.0', '10.1.7.255')] })
  b.plane.remove(specB.id)
  b.plane.install(narrow, { outbound: true }, 0)
  arrive(b, send(a, udpPacket('x'))!)
  expect(b.delivered).toEqual([])
  expect(b.plane.counters(narrow.id)!.drops).toEqual({ selector: 1 })
})

describe('traps', () => {
  test('traffic asks for an SA once a second, and flows when there is one', () => {
    const a = observedPlane('a')
    const [spec] = specPair(1)
    a.plane.trap('peer', 'net', spec.local, spec.remote)
    const packet = udpPacket('first')
    for (const now of [0, 1, 999, 1000]) a.plane.outbound(packetOf(packet), now)
    expect(a.events.map(({ type }) => type)).toEqual(['acquire', 'acquire'])
    expect(a.events[0]).toMatchObject({ peer: 'peer', child: 'net', packet })
    expect(a.plane.drops).toEqual({ 'no-sa': 4 })
    a.plane.install(spec, { outbound: true }, 1000)
    expect(send(a, packet)).toBeDefined()
    a.plane.remove(spec.id)
    expect(send(a, packet)).toBeUndefined()
    a.plane.untrap('peer', 'net')
    expect(send(a, packet)).toBeUndefined()
    expect(a.plane.drops['no-policy']).toBe(1)
  })
})

describe('rekeying', () => {
  test('no packet is lost, on either side', () => {
    const { a, b, specA, specB } = connected()
    const [newA, newB] = specPair(2)
    const onTheWay = send(a, udpPacket('before'))!
    // the responder of the exchange receives on the new SA first and goes on sending on the old one
    b.plane.install(newB, { outbound: false }, 5)
    arrive(a, send(b, udpPacket('still old', { source: '10.2.0.1', destination: '10.1.0.1' }))!)
    a.plane.install(newA, { outbound: true }, 6)
    const first = send(a, udpPacket('after'))!
    arrive(b, first)
    expect(b.events.at(-1)).toEqual({ type: 'first-inbound', id: newB.id })
    b.plane.activate(newB.id)
    arrive(a, send(b, udpPacket('now new', { source: '10.2.0.1', destination: '10.1.0.1' }))!)
    arrive(b, onTheWay)
    a.plane.remove(specA.id)
    b.plane.remove(specB.id)
    arrive(b, send(a, udpPacket('last'))!)
    expect(b.delivered.length).toBe(3)
    expect(a.delivered.length).toBe(2)
    expect(a.plane.counters(newA.id)!.packetsIn).toBe(1)
    expect(arrive(b, onTheWay)).toBe(false)
  })
})

describe('lifetimes', () => {
  test('of time: each limit is said once, then nothing goes', () => {
    const { a, specA } = connected({ lifetime: { ...FOREVER, softMs: 100, hardMs: 200 } })
    expect(a.plane.deadline).toBe(100)
    a.plane.timeout(99)
    a.plane.timeout(100)
    a.plane.timeout(100)
    expect(a.plane.deadline).toBe(200)
    expect(send(a, udpPacket('x'), 150)).toBeDefined()
    // late timers do not prolong the life
    expect(send(a, udpPacket('x'), 200)).toBeUndefined()
    a.plane.timeout(200)
    expect(a.plane.deadline).toBe(Number.POSITIVE_INFINITY)
    expect(a.events.map(({ type }) => type)).toEqual(['soft-expiry', 'hard-expiry'])
    expect(a.plane.counters(specA.id)!.drops).toEqual({ 'hard-lifetime': 1 })
  })

  test.each([
    { name: 'packets', lifetime: { ...FOREVER, softPackets: 2, hardPackets: 4 } },
    {
      name: 'octets',
      lifetime: { ...FOREVER, softOctets: 2 * udpPacket('x').length, hardOctets: 4 * udpPacket('x').length },
    },
  ])('of $name, either way', ({ lifetime }) => {
    const { a, b } = connected({ lifetime })
    for (let i = 0; i < 6; i++) {
      const bytes = send(a, udpPacket('x'))
      if (bytes !== undefined) arrive(b, bytes)
    }
    expect(a.sent.length).toBe(4)
    expect(a.events.map(({ type }) => type)).toEqual(['soft-expiry', 'hard-expiry'])
    expect(b.delivered.length).toBe(4)
    expect(b.events.map(({ type }) => type)).toEqual(['first-inbound', 'soft-expiry', 'hard-expiry'])
  })

  test('an SA removed by its own event sends nothing more', () => {
    let plane: PortablePlane | undefined
    let transmitted = 0
    const [spec] = specPair(1, { lifetime: { ...FOREVER, softMs: 10 } })
    plane = new PortablePlane(
      PROVIDERS[1]!,
      { bytes: n => new Uint8Array(n) },
      {
        transmit: () => transmitted++,
        deliver: () => {},
        event: ({ type }) => type === 'soft-expiry' && plane!.remove(spec.id),
      },
    )
    plane.install(spec, { outbound: true }, 0)
    plane.outbound(packetOf(udpPacket('x')), 20)
    expect(transmitted).toBe(0)
  })
})

describe('following the peer', () => {
  const moved = udpFlow('198.51.100.1', '203.0.113.9', 61_234)

  test('only to where the newest authentic packet came from', () => {
    const { a, b, specB } = connected({ follow: true })
    const [one, two, three] = [1, 2, 3].map(() => send(a, udpPacket('x'))!)
    const forged = three!.slice()
    forged[20]! ^= 1
    arrive(b, forged, moved)
    expect(b.plane.flow(specB.id)).toEqual(specB.flow)
    arrive(b, two!, moved)
    expect(b.plane.flow(specB.id)).toEqual(moved)
    // older, though authentic
    arrive(b, one!)
    expect(b.plane.flow(specB.id)).toEqual(moved)
    expect(b.events.filter(({ type }) => type === 'peer-moved')).toEqual([
      { type: 'peer-moved', id: specB.id, flow: moved },
    ])
    send(b, udpPacket('x', { source: '10.2.0.1', destination: '10.1.0.1' }))
    expect(b.sent.at(-1)!.flow).toEqual(moved)
  })

  test('not when the SA stays where IKE put it', () => {
    const { a, b, specB } = connected()
    arrive(b, send(a, udpPacket('x'))!, moved)
    expect(b.delivered.length).toBe(1)
    expect(b.plane.flow(specB.id)).toEqual(specB.flow)
    b.plane.move(specB.id, moved)
    expect(b.plane.flow(specB.id)).toEqual(moved)
  })
})

describe('conflicts', () => {
  test('nobody gets another owner’s selectors', () => {
    const { a } = connected()
    const [other] = specPair(2, { peer: 'mallory', id: 'mallory/net{2}' })
    expect(a.plane.refuses(other)).toContain('already belong to an SA of peer')
    expect(() => a.plane.install(other, { outbound: false }, 0)).toThrow(
      expect.objectContaining({ code: 'USAGE_POLICY_CONFLICT' }),
    )
    // one configured peer, two identities
    const [twin] = specPair(3, { owner: 'bob@example.com' })
    expect(() => a.plane.install(twin, { outbound: true }, 0)).toThrow(
      expect.objectContaining({ code: 'USAGE_POLICY_CONFLICT' }),
    )
    a.plane.remove('peer/net{1}')
    expect(a.plane.refuses(other)).toBeUndefined()
  })

  test.each<{ name: string; change: Partial<ChildSaSpec>; want: string }>([
    { name: 'a used id', change: { id: 'peer/net{1}' }, want: 'is installed' },
    { name: 'a used SPI', change: { inbound: specPair(1)[0].inbound }, want: 'in use' },
    { name: 'a suite nobody has', change: { suite: { encr: 99, esn: false } }, want: 'not supported' },
  ])('refused: $name', ({ change, want }) => {
    const { a } = connected()
    const [spec] = specPair(2, change)
    expect(a.plane.refuses(spec)).toContain(want)
    expect(() => a.plane.install(spec, { outbound: true }, 0)).toThrow(
      expect.objectContaining({ code: 'USAGE_SA_REFUSED' }),
    )
  })
})

describe('packets too big', () => {
  const big = (length: number, df: boolean) => udpPacket(new Uint8Array(length - 28), { df })

  test('a packet with DF is answered with the MTU', () => {
    const { a, specA } = connected()
    expect(send(a, big(1400, true))).toBeDefined()
    expect(send(a, big(1401, true))).toBeUndefined()
    expect(parseTooBig(a.delivered[0]!, 0, a.delivered[0]!.length)?.mtu).toBe(1400)
    expect(send(a, big(1401, false))).toBeDefined()
    expect(a.plane.counters(specA.id)!.drops).toEqual({ 'too-big': 1 })
  })

  test('what the path says lowers it', () => {
    const { a, specA } = connected()
    a.plane.pathMtu('192.0.2.1', '198.51.100.1', 1000, 0)
    // 1000 - IP 20 - UDP 8 - ESP 8 - IV 8 - ICV 16 = 940, less the trailer
    expect(send(a, big(938, true))!.length).toBe(1000 - 28)
    expect(send(a, big(939, true))).toBeUndefined()
    expect(parseTooBig(a.delivered[0]!, 0, a.delivered[0]!.length)?.mtu).toBe(938)
    expect(send(a, big(1400, true), 599_999)).toBeUndefined()
    expect(send(a, big(1400, true), 600_000)).toBeDefined() // it may have become wider
    expect(a.plane.counters(specA.id)!.drops).toEqual({ 'too-big': 2 })
  })

  test('IPv6 is never asked for less than 1280', () => {
    const a = observedPlane('a', { mtu: 1000 })
    const six = { local: [selector('2001:db8:1::1')], remote: [selector('2001:db8:2::1')] }
    a.plane.install(specPair(1, six)[0], { outbound: true }, 0)
    const packet = (length: number) =>
      buildIp(
        { source: addressBytes('2001:db8:1::1'), destination: addressBytes('2001:db8:2::1'), protocol: 17 },
        new Uint8Array(length - 40),
      )
    expect(send(a, packet(1280))).toBeDefined()
    expect(send(a, packet(1281))).toBeUndefined()
    expect(parseTooBig(a.delivered[0]!, 0, a.delivered[0]!.length)?.mtu).toBe(1280)
  })

  test.each(suitesOf(PROVIDERS[1]!))(
    'the largest inner packet fills the path, one more octet does not fit: %s',
    name => {
      const suite = suiteNamed(name)
      for (const mtu of [1280, 1281, 1283, 1492, 1500]) {
        const a = observedPlane('a', { mtu: 9000 })
        a.plane.install(specPair(1, {}, suite)[0], { outbound: true }, 0)
        const largest = innerMtu(mtu, { suite, mode: 'tunnel', encapOctets: 8, family: 4 })
        expect(send(a, big(largest, false))!.length + 28).toBeLessThanOrEqual(mtu)
        expect(send(a, big(largest + 1, false))!.length + 28).toBeGreaterThan(mtu)
        expect(largest + espOverhead({ suite, mode: 'tunnel', encapOctets: 8, family: 4 })).toBeGreaterThanOrEqual(mtu)
      }
    },
  )
})

test('an encapsulation that changes packets is taken off before the SPI is looked for', () => {
  const masked: EncapStrategy = {
    ...plain,
    name: 'masked',
    wrap: packet => {
      packet.start -= 2
      packet.bytes[packet.start] = 0xaa
      packet.bytes[packet.start + 1] = 0xbb
    },
    unwrap: packet => {
      if (packet.bytes[packet.start] !== 0xaa) return 'encapsulation'
      packet.start += 2
      return undefined
    },
  }
  const { a, b } = connected({ encap: masked })
  const bytes = send(a, udpPacket('x'))!
  expect(bytes[0]).toBe(0xaa)
  expect(arrive(b, bytes.subarray(2))).toBe(false)
  expect(arrive(b, bytes)).toBe(true)
  expect(b.delivered.length).toBe(1)
})

test('hostile datagrams never throw and deliver nothing', () => {
  const { a, b, specA } = connected()
  const genuine = send(a, udpPacket('genuine'))!
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 120 }),
      fc.nat(genuine.length - 1),
      fc.integer({ min: 1, max: 255 }),
      (noise, at, mask) => {
        arrive(b, noise)
        const known = noise.slice()
        if (known.length >= 4) known.set(genuine.subarray(0, 4))
        arrive(b, known)
        const mutated = genuine.slice()
        mutated[at]! ^= mask
        arrive(b, mutated)
        arrive(b, genuine.subarray(0, at))
        a.plane.outbound(packetOf(noise), 1)
      },
    ),
    { numRuns: 500 },
  )
  expect(b.delivered).toEqual([])
  expect(b.plane.counters(specA.id)!.packetsIn).toBe(0)
})
