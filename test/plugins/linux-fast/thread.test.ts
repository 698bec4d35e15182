import { describe, expect, test } from 'vitest'
import { Tunnel } from '../../../core/ipsec/index.ts'
import { Vnet } from '../../../plugins/linux-fast/vnet.ts'
import { FOREVER, selector, specPair, suiteNamed, suitesOf, udpPacket } from '../../core/ipsec/sample.ts'
import { crypto, packetOf, UDP_V4, UDP_V6 } from './rig.ts'
import { type Case, contractSuite, differentialSuite, modeCases, noiseSuite, rigs, single } from './suites.ts'
import { largeTcp } from './tcp.ts'

describe.each([UDP_V4, UDP_V6])('$name', outer => {
  contractSuite(outer)
  const suites = suitesOf(crypto).map((suite): Case => ({ suite, esn: false, mode: new Tunnel(), family: 4 }))
  differentialSuite(outer, [...(outer === UDP_V4 ? suites : []), ...modeCases(outer === UDP_V4 ? 4 : 6)])
  noiseSuite(outer, 40)
})

const rig = rigs()

test('limits of packets are met to the packet, and said once', async () => {
  const lifetime = { ...FOREVER, softPackets: 5, hardPackets: 12 }
  const [a] = specPair(1, { lifetime })
  const one = await rig()
  one.plane.install(one.placed(a), { outbound: true }, 0)
  await one.inner(Array.from({ length: 30 }, (_, i) => udpPacket(`${i}`)))
  expect(one.sent().length).toBe(12)
  expect(one.events.map(e => e.type)).toEqual(['soft-expiry', 'hard-expiry'])
  expect(one.plane.counters(a.id)!.drops).toEqual({ 'hard-lifetime': 18 })
})

test('traffic that another plane has, or that waits for an SA, comes up', async () => {
  const one = await rig()
  const [a] = specPair(1)
  one.plane.install(one.placed(a), { outbound: true }, 0)
  one.plane.yield('other/net{2}', [selector('10.1.0.1')], [selector('10.2.0.9')])
  one.plane.trap('third', 'net', [selector('10.1.0.1')], [selector('10.2.0.8')])
  const [mine, theirs, waiting] = ['10.2.0.1', '10.2.0.9', '10.2.0.8'].map(destination =>
    udpPacket('x', { destination }),
  )
  await one.inner([mine!, theirs!, waiting!])
  expect(one.sent().length).toBe(1)
  expect(one.leftPackets).toEqual([theirs, waiting])
  one.plane.regain('other/net{2}')
  await one.inner([theirs!])
  expect(one.sent().length).toBe(1)
})

test('by a relay packets go to the engine, and come from it', async () => {
  const [a, b] = specPair(1, {}, suiteNamed('aes256gcm16'))
  const [left, right] = [await rig(), await rig()]
  left.plane.install(left.placed(a), { outbound: true }, 0)
  right.plane.install(right.placed(b), { outbound: true }, 0)
  const relay = { protocol: 17 as const, local: { address: '192.0.2.9', port: 49_152 }, remote: right.flow.local }
  left.plane.move(a.id, relay)
  await left.inner([udpPacket('one'), udpPacket('two')])
  expect(left.sent()).toEqual([])
  expect(left.relayed.map(({ flow }) => ({ local: flow.local.address, remote: flow.remote }))).toEqual([
    { local: '192.0.2.9', remote: right.flow.local },
    { local: '192.0.2.9', remote: right.flow.local },
  ])
  const [one, two] = left.relayed.map(({ bytes }) => packetOf(bytes))
  const there = { protocol: 17 as const, local: { address: '192.0.2.10', port: 1 }, remote: relay.local }
  expect(right.plane.inbound(one!, there)).toBe(true)
  expect(right.plane.inbound(two!, there)).toBe(true)
  expect(single(await right.outer([]))).toEqual([udpPacket('one'), udpPacket('two')])
  left.plane.move(a.id, left.flow)
  await left.inner([udpPacket('three')])
  expect(single(await right.outer(left.sent()))).toEqual([udpPacket('three')])
})

test('a packet that overtakes its SA comes up, and is taken when it comes down again', async () => {
  const [a, b] = specPair(1, {}, suiteNamed('aes256gcm16'))
  const [left, right] = [await rig(), await rig()]
  left.plane.install(left.placed(a), { outbound: true }, 0)
  await left.inner([udpPacket('early')])
  expect(await right.outer(left.sent())).toEqual([])
  const [early] = right.leftDatagrams
  expect(right.plane.inbound(packetOf(early!), right.flow)).toBe(false)
  right.plane.install(right.placed(b), { outbound: true }, 0)
  expect(right.plane.inbound(packetOf(early!), right.flow)).toBe(true)
  expect(single(await right.outer([]))).toEqual([udpPacket('early')])
})

test('a thread that dies takes nothing along but what it held: numbers, windows and counters go on', async () => {
  const [a, b] = specPair(1, {}, suiteNamed('aes128gcm16'))
  const [left, right] = [await rig(), await rig()]
  left.plane.install(left.placed(a), { outbound: true }, 0)
  right.plane.install(right.placed(b), { outbound: true }, 0)
  const numbers: number[] = []
  const early: Uint8Array[] = []
  for (let round = 0; round < 3; round++) {
    await left.inner(Array.from({ length: 50 }, (_, i) => udpPacket(`${round} ${i}`)))
    const sent = left.sent()
    early.push(sent[0]!)
    numbers.push(...sent.map(d => new DataView(d.buffer).getUint32(4)))
    expect(single(await right.outer(sent)).length).toBe(50)
    await Promise.all([left.kill(), right.kill()])
  }
  expect(numbers).toEqual(Array.from({ length: 150 }, (_, i) => i + 1))
  expect(single(await right.outer(early))).toEqual([])
  expect(right.plane.counters(b.id)).toMatchObject({ packetsIn: 150, drops: { replay: 3 } })
  expect(left.plane.counters(a.id)).toMatchObject({ packetsOut: 150 })
})

test('a large packet of the kernel leaves as datagrams of the right size, and arrives as one write', async () => {
  const [a, b] = specPair(1, {}, suiteNamed('aes128gcm16'))
  const [left, right] = [await rig(), await rig()]
  left.plane.install(left.placed(a), { outbound: true }, 0)
  right.plane.install(right.placed(b), { outbound: true }, 0)
  const { packet, pieces } = largeTcp(20_000, 1_340)
  await left.inner([packet], true)
  const sent = left.sent()
  expect(sent.length).toBe(pieces.length)
  expect(Math.max(...sent.map(d => d.length))).toBeLessThan(1_440)
  const written = await right.outer(sent)
  expect(written.length).toBeLessThan(sent.length)
  expect(single(written)).toEqual(pieces)
  expect(written.every(w => w.length > Vnet.OCTETS)).toBe(true)
})
