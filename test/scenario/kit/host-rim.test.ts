import { describe, expect, test } from 'vitest'
import type { Flow } from '../../../core/contracts/net.ts'
import { newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import type { Transport } from '../../../core/contracts/transport.ts'
import { type Host, nats, topologies } from '../../kit/index.ts'

interface Got {
  readonly data: Uint8Array
  readonly flow: Flow
  readonly packet: Omit<Packet, 'bytes'>
}

async function opened(host: Host, options = {}) {
  const transport = host.transport(options)
  const got: Got[] = []
  let changes = 0
  await transport.open({
    receive: (packet, flow) => {
      const { bytes: _, ...rest } = packet
      got.push({ data: octets(packet).slice(), flow, packet: { ...rest } })
    },
    changed: () => changes++,
    failed: error => expect.fail(error.message),
  })
  return { transport, got, changes: () => changes }
}

function send(transport: Transport, flow: Flow, data: Uint8Array, fields: Partial<Packet> = {}): void {
  const packet = Object.assign(newPacket(), fields)
  packet.bytes.set(data, packet.start)
  packet.end = packet.start + data.length
  transport.send(packet, flow)
}

const flow = (protocol: Flow['protocol'], from: string, port: number, to: string, toPort = port): Flow => ({
  protocol,
  local: { address: from, port },
  remote: { address: to, port: toPort },
})

describe('transport of a virtual host', () => {
  test('lists its sockets and finds sources and names', async () => {
    const { net, alice } = topologies.direct()
    const { transport } = await opened(alice, { protocols: [50, 51] })
    expect(transport.locals().map(({ port, role, protocol, address }) => [address, port, role, protocol])).toEqual([
      ['203.0.113.50', 500, 'ike', 17],
      ['203.0.113.50', 4500, 'natt', 17],
      ['203.0.113.50', 0, 'raw', 50],
      ['203.0.113.50', 0, 'raw', 51],
      ['2001:db8::50', 500, 'ike', 17],
      ['2001:db8::50', 4500, 'natt', 17],
      ['2001:db8::50', 0, 'raw', 50],
      ['2001:db8::50', 0, 'raw', 51],
    ])
    expect(await transport.source('203.0.113.20')).toBe('203.0.113.50')
    expect(await transport.source('2001:db8::20')).toBe('2001:db8::50')
    net.name('gw.example', '203.0.113.20', '2001:DB8:0::20')
    expect(await transport.resolve('gw.example')).toEqual(['203.0.113.20', '2001:db8::20'])
    expect(await transport.resolve('2001:DB8::1')).toEqual(['2001:db8::1'])
    await expect(transport.resolve('nowhere.example')).rejects.toMatchObject({ code: 'SYSTEM_RESOLVE' })
    await expect(alice.transport().open({ receive() {}, changed() {}, failed() {} })).rejects.toMatchObject({
      code: 'SYSTEM_PORT_BUSY',
    })
  })

  test('sends and reports outer header fields, and shares flow objects', async () => {
    const { net, alice, moon } = topologies.nat1({ nata: 'symmetric' })
    const a = await opened(alice)
    const m = await opened(moon)
    const out = flow(17, '10.1.0.5', 500, '203.0.113.20')
    send(a.transport, out, Uint8Array.of(1, 2, 3), { tos: 0x2e, ttl: 33, df: true })
    send(a.transport, out, Uint8Array.of(4), { tos: 3, id: 77 })
    net.run(100)
    expect(m.got.map(({ data }) => [...data])).toEqual([[1, 2, 3], [4]])
    expect(m.got[0]?.packet).toMatchObject({ tos: 0x2e, ttl: 32, df: true })
    expect(m.got[1]?.packet).toMatchObject({ tos: 3, ttl: 63, df: false, id: 77 })
    expect(m.got[0]?.flow).toBe(m.got[1]?.flow)
    expect(m.got[0]?.flow.remote.address).toBe('198.51.100.1')
    send(m.transport, m.got[0]!.flow, Uint8Array.of(9))
    net.run(100)
    expect(a.got.map(({ data, flow }) => [data[0], flow])).toEqual([[9, out]])
  })

  test('IPv6 with flow label, and large datagrams in fragments', async () => {
    const { net, alice, moon } = topologies.nat1()
    const a = await opened(alice)
    const m = await opened(moon)
    const data = net.rng('x').bytes(4_000)
    send(a.transport, flow(17, '2001:db8:a::5', 4500, '2001:db8::20'), data.subarray(0, 100), {
      flowLabel: 0xabcde,
      tos: 9,
    })
    send(a.transport, flow(17, '2001:db8:a::5', 4500, '2001:db8::20'), data)
    net.run(100)
    expect(m.got[0]?.packet).toMatchObject({ flowLabel: 0xabcde, tos: 9, ttl: 63 })
    expect(m.got[1]?.data).toEqual(data)
  })

  test('ESP goes through a NAT by address only; the last inside host gets the answers', async () => {
    const { net, alice, bob, moon } = topologies.samenat()
    const [a, b, m] = [await opened(alice), await opened(bob), await opened(moon)]
    const esp = (n: number) => Uint8Array.of(0, 0, 1, n, 0, 0, 0, 1, 0xff)
    send(a.transport, flow(50, '10.1.0.5', 0, '203.0.113.20'), esp(1))
    send(b.transport, flow(50, '10.1.0.6', 0, '203.0.113.20'), esp(2))
    net.run(100)
    expect(m.got.map(({ flow }) => flow.remote)).toEqual([
      { address: '198.51.100.1', port: 0 },
      { address: '198.51.100.1', port: 0 },
    ])
    send(m.transport, m.got[0]!.flow, esp(3))
    net.run(100)
    expect([a.got.length, b.got.length]).toEqual([0, 1])
  })

  test('ESP is dropped where only UDP and TCP pass', async () => {
    const { net, alice, moon } = topologies.nat1({ nata: { ...nats.fullCone, dropNonUdpTcp: true } })
    const [a, m] = [await opened(alice), await opened(moon)]
    send(a.transport, flow(50, '10.1.0.5', 0, '203.0.113.20'), new Uint8Array(20))
    net.run(100)
    expect(m.got).toEqual([])
    expect(net.trace.entries({ reason: 'nat-protocol' })).toHaveLength(1)
  })

  test('roaming: the owner is told, old flows carry no more', async () => {
    const { net, alice, inet, moon } = topologies.nat1()
    const [a, m] = [await opened(alice), await opened(moon)]
    alice.moveTo({ lan: inet, addresses: ['203.0.113.70/24'], gateways: ['203.0.113.1'] })
    expect(a.changes()).toBeGreaterThan(0)
    const [old, fresh] = [flow(17, '10.1.0.5', 500, '203.0.113.20'), flow(17, '203.0.113.70', 500, '203.0.113.20')]
    expect([a.transport.carries(old), a.transport.carries(fresh)]).toEqual([false, true])
    send(a.transport, old, Uint8Array.of(1))
    send(a.transport, fresh, Uint8Array.of(2))
    net.run(100)
    expect(m.got.map(({ data, flow }) => [data[0], flow.remote.address])).toEqual([[2, '203.0.113.70']])
  })
})

describe('device of a virtual host', () => {
  /** A tunnel without security: inner packets in UDP between alice and moon. */
  async function tunnel() {
    const world = topologies.nat1({ nata: 'symmetric' })
    const { alice, moon } = world
    const a = { device: alice.device(), transport: alice.transport() }
    const m = { device: moon.device(), transport: moon.transport() }
    let back: Flow | undefined
    const out = flow(17, '10.1.0.5', 4500, '203.0.113.20')
    const failed = (error: Error): void => expect.fail(error.message)
    await a.device.open({ packet: packet => a.transport.send(packet, out), failed })
    await m.device.open({ packet: packet => back && m.transport.send(packet, back), failed })
    await a.transport.open({ receive: packet => a.device.write(packet), changed() {}, failed })
    await m.transport.open({
      receive: (packet, from) => {
        back = from
        m.device.write(packet)
      },
      changed() {},
      failed,
    })
    const common = { mtu: 1400, dns: [], bypassPorts: [500, 4500] }
    await a.device.configure({
      ...common,
      addresses: [{ address: '10.9.0.1', bits: 32 }],
      routes: [{ to: { address: '10.3.0.0', bits: 24 }, source: '10.9.0.1' }],
    })
    await m.device.configure({ ...common, addresses: [], routes: [{ to: { address: '10.9.0.0', bits: 24 } }] })
    return { ...world, a, m }
  }

  test('applications reach the LAN behind the gateway, and are reached', async () => {
    const { net, alice, mars, inet } = await tunnel()
    const clear: Uint8Array[] = []
    net.tap(inet, packet => packet[9] !== 17 && clear.push(packet))
    const ping = alice.ping('10.3.0.5', { count: 3, interval: 100 })
    const bulk = alice.bulk('10.3.0.5', { bytes: 100_000 })
    await net.until(() => ping.done && bulk.done, { within: 30_000 })
    expect([ping.received, bulk.intact]).toEqual([3, true])
    const echo = mars.ping('10.9.0.1')
    await net.until(() => echo.done, { within: 3_000 })
    expect(echo.received).toBe(1)
    expect(clear).toEqual([])
  })

  test('what is too big for the tunnel is fragmented, or reported', async () => {
    const { net, alice, mars } = await tunnel()
    const socket = mars.udp(7)
    const data = net.rng('x').bytes(3_000)
    alice.udp().send(data, '10.3.0.5', 7)
    const reply = mars.ping('10.9.0.1', { size: 1_450, df: true })
    await net.advance(3_000)
    expect(socket.received[0]?.data).toEqual(data)
    expect([reply.received, reply.errors]).toEqual([0, 1])
  })

  test('a closed device gives its routes and addresses back', async () => {
    const { net, alice, a, mars } = await tunnel()
    await a.device.close()
    const ping = alice.ping('10.3.0.5')
    const echo = mars.ping('10.9.0.1')
    await net.advance(5_000)
    expect([ping.received, echo.received]).toEqual([0, 0])
  })
})
