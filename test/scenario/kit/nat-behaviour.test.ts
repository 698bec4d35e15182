import { describe, expect, test } from 'vitest'
import { type NatBehaviour, type NatName, nats, topologies } from '../../kit/index.ts'

const MED = '203.0.113.10'
const STUN = ['203.0.113.30', '203.0.113.31'] as const

/** The outer ports that alice's port 4500 gets towards three remote ends. */
function outerPorts(nata: NatName | NatBehaviour): number[] {
  const { net, alice, stun } = topologies.nat1({ nata })
  const [low, high] = [stun.udp(3478), stun.udp(3479)]
  const socket = alice.udp(4500)
  for (const [address, port] of [
    [STUN[0], 3478],
    [STUN[0], 3479],
    [STUN[1], 3478],
  ] as const) {
    socket.send('hello', address, port)
    net.run(100)
  }
  return [low.received[0], high.received[0], low.received[1]].map(datagram => datagram?.from.port ?? -1)
}

/** After alice sent to STUN[0]:3478 — who else gets in? */
function letsIn(nata: NatName | NatBehaviour) {
  const { net, alice, stun, med } = topologies.nat1({ nata })
  const [contacted, otherPort, otherHost] = [stun.udp(3478), stun.udp(3479), med.udp(3478)]
  const socket = alice.udp(4500)
  socket.send('hello', STUN[0], 3478)
  net.run(100)
  const { address, port } = contacted.received[0]!.from
  contacted.send('contacted', address, port, { source: STUN[0] })
  otherPort.send('same address', address, port, { source: STUN[0] })
  otherHost.send('stranger', address, port)
  net.run(100)
  return socket.received.map(({ data }) => new TextDecoder().decode(data))
}

describe('RFC 4787 behaviour of the presets', () => {
  const table: readonly [NatName, distinctPorts: number, preserved: boolean, in_: readonly string[]][] = [
    ['fullCone', 1, true, ['contacted', 'same address', 'stranger']],
    ['restrictedCone', 1, true, ['contacted', 'same address']],
    ['portRestrictedCone', 1, true, ['contacted']],
    ['symmetric', 3, false, ['contacted']],
    ['sequentialSymmetric', 3, false, ['contacted']],
  ]
  test.each(table)('%s: %i outer ports, inner port kept: %s, lets in %j', (name, distinct, preserved, wanted) => {
    const ports = outerPorts(name)
    expect(new Set(ports).size).toBe(distinct)
    expect(ports[0] === 4500).toBe(preserved)
    expect(letsIn(name)).toEqual(wanted)
  })

  test('none routes: inner address and port are seen outside, everybody gets in', () => {
    const { net, alice, stun } = topologies.nat1({ nata: 'none' })
    const server = stun.udp(3478)
    const socket = alice.udp(4500)
    socket.send('x', STUN[0], 3478)
    net.run(100)
    expect(server.received[0]?.from).toEqual({ address: '10.1.0.5', port: 4500 })
    stun.udp(9).send('y', '10.1.0.5', 4500)
    net.run(100)
    expect(socket.received).toHaveLength(1)
  })

  test('address-dependent mapping: one port per remote address', () => {
    const [first, samePlace, elsewhere] = outerPorts({ ...nats.symmetric, mapping: 'address-dependent' })
    expect(samePlace).toBe(first)
    expect(elsewhere).not.toBe(first)
  })

  test.each([
    ['preserve', (ports: number[]) => ports[0] === 4500 && ports[1] === 4501 && ports[2] === 4502],
    ['parity', (ports: number[]) => new Set(ports).size === 3 && ports.every(port => port % 2 === 0)],
    ['sequential', (ports: number[]) => ports[1] === ports[0]! + 1 && ports[2] === ports[1]! + 1],
    ['random', (ports: number[]) => new Set(ports).size === 3],
  ] as const)('port allocation %s', (allocation, holds) => {
    expect(holds(outerPorts({ ...nats.symmetric, allocation }))).toBe(true)
  })
})

describe('life of a mapping', () => {
  const setup = (behaviour: Partial<NatBehaviour> = {}) => {
    const world = topologies.nat1({ nata: { ...nats.fullCone, ...behaviour } })
    const server = world.stun.udp(3478)
    const socket = world.alice.udp(4500)
    socket.send('open', STUN[0], 3478)
    world.net.run(100)
    const back = () => {
      const before = socket.received.length
      server.send('back', '198.51.100.1', 4500)
      world.net.run(100)
      return socket.received.length > before
    }
    return { ...world, server, socket, back }
  }

  test('dies after the timeout, default two minutes', () => {
    const { net, nata, back } = setup()
    net.run(119_000)
    expect(back()).toBe(true)
    net.run(1_000)
    expect(back()).toBe(false)
    expect(nata.mappings()).toEqual([])
    expect(net.trace.entries({ event: 'drop', reason: 'nat-no-mapping' })).toHaveLength(1)
  })

  test.each([
    ['outbound', false],
    ['both', true],
  ] as const)('inbound packets, refresh %s, keep it alive: %s', (refresh, alive) => {
    const { net, back } = setup({ refresh, timeout: 30_000 })
    net.run(20_000)
    expect(back()).toBe(true)
    net.run(20_000)
    expect(back()).toBe(alive)
  })

  test('outbound packets keep it alive', () => {
    const { net, socket, back } = setup({ timeout: 30_000 })
    net.run(20_000)
    socket.send('keepalive', STUN[0], 3478)
    net.run(20_000)
    expect(back()).toBe(true)
  })

  test('filters time out with what they saw, not with the mapping', () => {
    const { net, socket, back, med } = setup({ filtering: 'address-dependent', timeout: 30_000 })
    med.udp(9)
    for (let i = 0; i < 3; i++) {
      net.run(20_000)
      socket.send('elsewhere', MED, 9)
    }
    expect(back()).toBe(false)
  })

  test('a reboot loses all mappings, the next packet makes a new one', () => {
    const { nata, back, socket, net } = setup()
    nata.reboot()
    expect(back()).toBe(false)
    socket.send('again', STUN[0], 3478)
    net.run(100)
    expect(back()).toBe(true)
  })

  test('a new outer address shows on the next packet', () => {
    const { nata, net, socket, server } = setup()
    nata.renumber('198.51.100.77/24')
    socket.send('again', STUN[0], 3478)
    net.run(100)
    expect(server.received.at(-1)?.from.address).toBe('198.51.100.77')
  })

  test('a full table takes no more, until something expires', () => {
    const { net, alice, server } = setup({ maxMappings: 1, timeout: 30_000 })
    const late = alice.udp(5000)
    late.send('x', STUN[0], 3478)
    net.run(100)
    expect(server.received).toHaveLength(1)
    net.run(30_000)
    late.send('x', STUN[0], 3478)
    net.run(100)
    expect(server.received).toHaveLength(2)
  })

  test('a port forwarding lets strangers in and never expires', () => {
    const { net, nata, alice, med } = setup({ filtering: 'address-and-port-dependent' })
    nata.forwardPort(17, 8000, '10.1.0.5', 80)
    const server = alice.udp(80)
    net.run(1_000_000)
    med.udp(1234).send('x', '198.51.100.1', 8000)
    net.run(100)
    expect(server.received).toHaveLength(1)
    nata.unforwardPort(17, 8000)
    med.udp(1235).send('x', '198.51.100.1', 8000)
    net.run(100)
    expect(server.received).toHaveLength(1)
  })

  test('IP fragments are put together, or dropped where the NAT is told so', () => {
    const { net, nata, alice, stun } = topologies.nat1()
    const server = stun.udp(3478)
    const long = new Uint8Array(3_000)
    alice.udp(500).send(long, STUN[0], 3478)
    net.run(100)
    expect(server.received.map(({ data }) => data.length)).toEqual([3_000])
    nata.behaviour.dropFragments = true
    alice.udp(501).send(long, STUN[0], 3478)
    alice.udp(502).send('short', STUN[0], 3478)
    net.run(100)
    expect(server.received.map(({ data }) => data.length)).toEqual([3_000, 5])
  })

  test('behaviour can be changed while running', () => {
    const { nata, back } = setup()
    nata.behaviour.blockUdp = true
    expect(back()).toBe(false)
    nata.behaviour.blockUdp = false
    expect(back()).toBe(true)
  })
})

describe('two hosts behind the same NAT', () => {
  test('the same inner port gets two outer ports', () => {
    const { net, alice, bob, stun } = topologies.samenat()
    const server = stun.udp(3478)
    alice.udp(500).send('a', STUN[0], 3478)
    bob.udp(500).send('b', STUN[0], 3478)
    net.run(100)
    expect(server.received.map(({ from }) => from.port)).toEqual([500, 501])
  })

  test.each([true, false])('hairpinning: %s', hairpin => {
    const { net, alice, bob, stun } = topologies.samenat({ nata: { ...nats.fullCone, hairpin } })
    stun.udp(3478)
    const [a, b] = [alice.udp(4500), bob.udp(4600)]
    for (const socket of [a, b]) socket.send('x', STUN[0], 3478)
    net.run(100)
    b.send('hairpin', '198.51.100.1', 4500)
    net.run(100)
    // RFC 4787 REQ-9: the source is the outer address and port
    expect(a.received.map(({ from }) => from)).toEqual(hairpin ? [{ address: '198.51.100.1', port: 4600 }] : [])
    expect(alice.badChecksums).toBe(0)
  })
})

describe('what a NAT blocks', () => {
  test('blocked ports', () => {
    const { net, alice, stun } = topologies.nat1({ nata: { ...nats.fullCone, blockedPorts: [500, 4500] } })
    const [blocked, open] = [stun.udp(500), stun.udp(501)]
    const socket = alice.udp(4500)
    socket.send('x', STUN[0], 500)
    socket.send('x', STUN[0], 501)
    net.run(100)
    expect([blocked.received.length, open.received.length]).toEqual([0, 1])
  })

  test('two NATs in a row: CGN', () => {
    const { net, alice, stun, nata, cgn } = topologies.cgnat({ cgn: 'symmetric' })
    const server = stun.udp(3478)
    const socket = alice.udp(4500)
    socket.send('x', STUN[0], 3478)
    net.run(100)
    const from = server.received[0]!.from
    expect(from.address).toBe('198.51.100.100')
    expect(nata.mappings()[0]?.outside).toEqual({ address: '100.64.0.2', port: 4500 })
    expect(cgn.mappings()[0]?.inside).toEqual({ address: '100.64.0.2', port: 4500 })
    server.send('y', from.address, from.port)
    net.run(100)
    expect(socket.received).toHaveLength(1)
  })

  test('overlapping inner addresses do not disturb each other', () => {
    const { net, alice, bob, stun } = topologies.overlap()
    const server = stun.udp(3478)
    alice.udp(4500).send('a', STUN[0], 3478)
    bob.udp(4500).send('b', STUN[0], 3478)
    net.run(100)
    expect(server.received.map(({ from }) => from.address).sort()).toEqual(['198.51.100.1', '198.51.100.2'])
  })
})

describe('IPv6', () => {
  test('a stateful firewall: own address kept, strangers out, answers in', () => {
    const { net, alice, stun, med } = topologies.nat1()
    const server = stun.udp(3478)
    const socket = alice.udp(4500)
    socket.send('x', '2001:db8::30', 3478)
    net.run(100)
    expect(server.received[0]?.from).toEqual({ address: '2001:db8:a::5', port: 4500 })
    server.send('y', '2001:db8:a::5', 4500, { source: '2001:db8::30' })
    med.udp(1).send('z', '2001:db8:a::5', 4500)
    net.run(100)
    expect(socket.received).toHaveLength(1)
    expect(net.trace.entries({ event: 'drop' }).map(({ reason }) => reason)).toEqual(['nat-filtered'])
  })

  test('nat66 translates addresses and ports', () => {
    const { net, alice, stun } = topologies.nat1({ nata: { ...nats.symmetric, v6: 'nat66' } })
    const server = stun.udp(3478)
    const socket = alice.udp(4500)
    socket.send('x', '2001:db8::30', 3478)
    net.run(100)
    const from = server.received[0]!.from
    expect(from.address).toBe('2001:db8::a')
    server.send('y', from.address, from.port, { source: '2001:db8::30' })
    net.run(100)
    expect(socket.received).toHaveLength(1)
  })
})
