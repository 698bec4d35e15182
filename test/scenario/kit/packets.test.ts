import { describe, expect, test } from 'vitest'
import { checksumsValid, nats, type Topology, topologies } from '../../kit/index.ts'

const MOON = '203.0.113.20'

/** Every packet on the public segment, checked as it passes. */
function watch({ net, inet }: Topology) {
  const seen: Uint8Array[] = []
  net.tap(inet, packet => seen.push(packet))
  return seen
}

describe('checksums after NAT rewriting', () => {
  test.each(['fullCone', 'symmetric'] as const)('%s: all of them, recomputed in full, both ways', nata => {
    const world = topologies.nat1({ nata, backbone: { mtu: 1400 } })
    const { net, alice, moon } = world
    const seen = watch(world)
    const home: Uint8Array[] = []
    net.tap(alice, packet => home.push(packet))
    const echo = moon.udp(7)
    echo.onMessage = ({ data, from, to }) => echo.send(data, from.address, from.port, { source: to })
    const socket = alice.udp(4500)
    const rng = net.rng('payloads')
    for (let length = 0; length < 300; length++) {
      socket.send(rng.bytes(length), MOON, 7)
      net.run(100)
    }
    const ping = alice.ping(MOON, { count: 3, interval: 10 })
    const bulk = alice.bulk(MOON, { bytes: 20_000 })
    net.runUntil(() => ping.done && bulk.done, { within: 10_000 })
    expect(socket.received).toHaveLength(300)
    expect(ping.received).toBe(3)
    expect(bulk.intact).toBe(true)
    expect(seen.length).toBeGreaterThan(600)
    expect([...seen, ...home].filter(packet => !checksumsValid(packet))).toEqual([])
    expect(alice.badChecksums + moon.badChecksums).toBe(0)
  })

  test('nat66 likewise', () => {
    const world = topologies.nat1({ nata: { ...nats.symmetric, v6: 'nat66' } })
    const seen = watch(world)
    const bulk = world.alice.bulk('2001:db8::20', { bytes: 20_000 })
    const ping = world.alice.ping('2001:db8::20')
    world.net.runUntil(() => bulk.done && ping.done, { within: 10_000 })
    expect(bulk.intact && ping.received === 1).toBe(true)
    expect(seen.filter(packet => !checksumsValid(packet))).toEqual([])
  })

  test('no inner address leaves', () => {
    const world = topologies.nat1()
    const seen = watch(world)
    world.alice.bulk(MOON, { bytes: 5_000 })
    world.alice.ping('203.0.113.99')
    world.net.run(1_000)
    const inner = Buffer.from([10, 1, 0, 5])
    expect(seen.filter(packet => Buffer.from(packet).subarray(0, 28).includes(inner))).toEqual([])
  })

  test('a damaged datagram is counted and thrown away', () => {
    const { net, alice, moon } = topologies.direct()
    const socket = moon.udp(7)
    moon.interface().link.dropIf = packet => {
      packet[packet.length - 1]! ^= 1
      return false
    }
    alice.udp().send('x', MOON, 7)
    net.run(100)
    expect([socket.received.length, moon.badChecksums]).toEqual([0, 1])
  })
})

describe('packets that are too big', () => {
  const narrow = { access: { mtu: 1500 }, backbone: { mtu: 1300 } }

  test('IPv4 with DF: ICMP tells the MTU through the NAT, the sender learns', () => {
    const { net, alice } = topologies.nat1({ ...narrow, seed: 3 })
    const first = alice.ping(MOON, { size: 1400, df: true })
    net.run(3_000)
    expect([first.received, first.errors]).toEqual([0, 1])
    expect(net.trace.entries({ event: 'drop', reason: 'too-big', node: 'nata' })).toHaveLength(1)
    alice.ping(MOON, { size: 1400, df: true })
    expect(net.trace.entries({ event: 'drop', reason: 'too-big', node: 'alice' })).toHaveLength(1)
    expect(alice.udp().send(new Uint8Array(1_400), MOON, 9, { df: true })).toBe(false)
  })

  test.each(['none', 'symmetric'] as const)(
    'IPv4 without DF is cut on the way and put together again, NAT %s',
    nata => {
      const { net, alice, moon } = topologies.nat1({ ...narrow, nata })
      const socket = moon.udp(7)
      const data = net.rng('data').bytes(4_000)
      alice.udp().send(data, MOON, 7)
      net.run(100)
      expect(socket.received[0]?.data).toEqual(data)
      expect(net.trace.entries({ text: 'fragment' }).length).toBeGreaterThan(3)
    },
  )

  test('answers in fragments come back through the NAT', () => {
    const { net, alice } = topologies.nat1({ ...narrow, nata: 'symmetric' })
    const ping = alice.ping(MOON, { size: 3_000 })
    net.runUntil(() => ping.done, { within: 3_000 })
    expect(ping.received).toBe(1)
  })

  test('IPv6: packet too big, then the sender itself fragments', () => {
    const { net, alice, moon } = topologies.nat1(narrow)
    const socket = moon.udp(7)
    const sender = alice.udp()
    const data = new Uint8Array(1_400).fill(7)
    sender.send(data, '2001:db8::20', 7)
    net.run(100)
    expect(socket.received).toHaveLength(0)
    sender.send(data, '2001:db8::20', 7)
    net.run(100)
    expect(socket.received[0]?.data).toEqual(data)
  })

  test('TCP finds the path MTU', () => {
    const { net, alice } = topologies.nat1(narrow)
    for (const to of [MOON, '2001:db8::20']) {
      const bulk = alice.bulk(to, { bytes: 50_000 })
      net.runUntil(() => bulk.done, { within: 20_000 })
      expect(bulk.intact).toBe(true)
    }
  })

  test('a silent router makes a black hole', () => {
    const { net, alice, nata } = topologies.nat1(narrow)
    nata.icmpErrors = false
    const bulk = alice.bulk(MOON, { bytes: 50_000 })
    // The server announces its own MSS of 1260, so the data fits; a DF ping does not.
    const ping = alice.ping(MOON, { size: 1400, df: true })
    net.runUntil(() => bulk.done && ping.done, { within: 200_000 })
    expect([bulk.intact, ping.received, ping.errors]).toEqual([true, 0, 0])
  })

  test('lost fragments cost the whole datagram, nothing else', () => {
    const { net, alice, moon } = topologies.direct({ access: { mtu: 600 } })
    const socket = moon.udp(7)
    let count = 0
    alice.interface().link.dropIf = () => ++count === 2
    const sender = alice.udp()
    sender.send(new Uint8Array(2_000), MOON, 7)
    sender.send(new Uint8Array(2_000), MOON, 7)
    net.run(100)
    expect(socket.received).toHaveLength(1)
  })
})

describe('links', () => {
  test('loss comes close to what was asked for', () => {
    const { net, alice } = topologies.direct({ seed: 5 })
    alice.interface().link.loss = 0.1
    const ping = alice.ping(MOON, { count: 4_000, interval: 5 })
    net.runUntil(() => ping.done, { within: 60_000 })
    // Lost on the way there or back: 1 - 0.9² = 0.19; four standard deviations are 0.025
    expect(1 - ping.received / ping.count).toBeGreaterThan(0.165)
    expect(1 - ping.received / ping.count).toBeLessThan(0.215)
  })

  test('latency, jitter, duplication', () => {
    const { net, alice } = topologies.direct()
    const quiet = alice.ping(MOON)
    net.run(3_000)
    expect(quiet.rtts).toEqual([20])
    const { link } = alice.interface()
    link.jitter = 10
    link.duplicate = 1
    const noisy = alice.ping(MOON, { count: 50, interval: 20 })
    net.run(5_000)
    expect(noisy.received).toBe(50)
    // both the request and each answer are doubled
    expect(noisy.duplicates).toBe(150)
    expect(Math.min(...noisy.rtts)).toBeGreaterThanOrEqual(20)
    expect(Math.max(...noisy.rtts)).toBeLessThanOrEqual(40)
    expect(new Set(noisy.rtts).size).toBeGreaterThan(10)
  })

  test('jitter keeps the order, reordering does not', () => {
    const { net, alice, moon } = topologies.direct({ access: { jitter: 30 } })
    const socket = moon.udp(7)
    const sender = alice.udp()
    const order = () => {
      socket.received.length = 0
      for (let i = 0; i < 100; i++) sender.send(Uint8Array.of(i), MOON, 7)
      net.run(1_000)
      return socket.received.map(({ data }) => data[0]!)
    }
    const sorted = Array.from({ length: 100 }, (_, i) => i)
    expect(order()).toEqual(sorted)
    alice.interface().link.reorder = 0.2
    const mixed = order()
    expect(mixed).not.toEqual(sorted)
    expect([...mixed].sort((a, b) => a - b)).toEqual(sorted)
  })

  test('bandwidth spreads packets and drops what does not fit the queue', () => {
    const { net, alice, moon } = topologies.direct({ access: { bandwidth: 1_000_000, queue: 50_000 } })
    const socket = moon.udp(7)
    const sender = alice.udp()
    const started = net.clock.now()
    for (let i = 0; i < 100; i++) sender.send(new Uint8Array(972), MOON, 7)
    net.run(10_000)
    // 50 wait, one is being sent, and one more may be queued while exactly 50,000 octets wait
    expect(socket.received.length).toBeGreaterThanOrEqual(50)
    expect(socket.received.length).toBeLessThanOrEqual(52)
    const last = net.trace.entries({ node: 'moon', event: 'deliver' }).at(-1)!
    expect(last.at - started).toBeGreaterThanOrEqual(8 * socket.received.length)
  })

  test('a link that is down carries nothing until it is up', () => {
    const { net, alice } = topologies.direct()
    const { link } = alice.interface()
    link.down()
    const lost = alice.ping(MOON)
    net.run(3_000)
    link.up()
    const answered = alice.ping(MOON)
    net.run(3_000)
    expect([lost.received, answered.received]).toEqual([0, 1])
  })
})

describe('bulk transfer', () => {
  test.each([
    ['loss', { loss: 0.05 }],
    ['loss, reordering, duplication, jitter', { loss: 0.03, reorder: 0.1, duplicate: 0.1, jitter: 10 }],
    ['a thin link', { bandwidth: 2_000_000, queue: 20_000 }],
  ])('is intact after %s', (_, access) => {
    const { net, alice, mars, moon } = topologies.nat1({ access, seed: 11 })
    moon.addRoute('10.1.0.0/24', '203.0.113.1')
    const bulk = alice.bulk(MOON, { bytes: 200_000 })
    net.runUntil(() => bulk.done, { within: 600_000 })
    expect(bulk.failure).toBeUndefined()
    expect(bulk.intact).toBe(true)
    expect(bulk.retransmissions).toBeGreaterThan(0)
    expect(moon.bulkReceived[0]?.bytes).toBe(200_000)
    expect(mars.bulkReceived).toHaveLength(0)
  })

  test('gives up when nobody answers', () => {
    const { net, alice } = topologies.direct({ access: { loss: 1 } })
    const bulk = alice.bulk(MOON, { bytes: 10 })
    net.runUntil(() => bulk.done, { within: 600_000 })
    expect(bulk.failure).toBe('timeout')
  })
})

test('a TTL that runs out is reported by the router', () => {
  const { net, alice } = topologies.nat1()
  alice.udp(9000).send('x', MOON, 9, { ttl: 1 })
  net.run(100)
  expect(net.trace.render({ node: 'alice', event: 'deliver' })).toContain('ICMP 10.1.0.1 > 10.1.0.5 57 type 11 code 0')
})

test('the error of a closed port finds its way back through the NAT', () => {
  const { net, alice } = topologies.nat1({ nata: 'symmetric' })
  alice.udp(9000).send('x', MOON, 9)
  net.run(100)
  expect(net.trace.render({ node: 'alice', event: 'deliver' })).toContain(
    `ICMP ${MOON} > 10.1.0.5 57 type 3 code 3 (UDP 10.1.0.5:9000 > ${MOON}:9 29)`,
  )
})
