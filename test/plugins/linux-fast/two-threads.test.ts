import { afterEach, beforeEach, expect, test } from 'vitest'
import { octets } from '../../../core/contracts/packet.ts'
import { PortablePlane } from '../../../core/ipsec/index.ts'
import { FOREVER, specPair, suiteNamed, udpPacket } from '../../core/ipsec/sample.ts'
import { SeededRng } from '../../kit/index.ts'
import { crypto, packetOf, Rig } from './rig.ts'

Rig.threads = 2
// all that holds for one thread holds for two
await import('./thread.test.ts')

let rig: Rig
beforeEach(async () => {
  rig = await new Rig().open()
}, 60_000)
afterEach(() => rig.close(), 60_000)

const number = (datagram: Uint8Array): number => new DataView(datagram.buffer).getUint32(4)

/** The other end: a portable plane whose packets are carried by hand. */
function peer(spec: Parameters<PortablePlane['install']>[0]) {
  const sent: Uint8Array[] = []
  const delivered: Uint8Array[] = []
  const plane = new PortablePlane(crypto, new SeededRng('peer'), {
    transmit: packet => sent.push(octets(packet).slice()),
    deliver: packet => delivered.push(octets(packet).slice()),
    event: () => {},
  })
  plane.install(spec, { outbound: true }, 0)
  return {
    delivered,
    plane,
    protect: (count: number): Uint8Array[] => {
      for (let i = 0; i < count; i++)
        plane.outbound(packetOf(udpPacket(`${i}`, { source: '10.2.0.1', destination: '10.1.0.1' })), 1)
      return sent.splice(0)
    },
  }
}

test('either thread dies in the middle of traffic both ways: no number is used twice, no packet taken twice', async () => {
  const [a, b] = specPair(1, {}, suiteNamed('aes128gcm16'))
  rig.plane.install(rig.placed(a), { outbound: true }, 0)
  const other = peer(b)
  const numbers: number[] = []
  let delivered = 0
  const early: Uint8Array[] = []
  for (const dying of ['in', 'out', 'in', 'out'] as const) {
    const arriving = other.protect(40)
    early.push(arriving[0]!)
    const [got] = await Promise.all([
      rig.outer(arriving),
      rig.inner(Array.from({ length: 40 }, (_, i) => udpPacket(`${i}`))),
    ])
    delivered += got.length
    numbers.push(...rig.sent().map(number))
    await rig.kill([dying])
    // the other one has not noticed
    if (dying === 'in') {
      await rig.inner([udpPacket('meanwhile')])
      numbers.push(...rig.sent().map(number))
    } else delivered += (await rig.outer(other.protect(1))).length
  }
  expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => i + 1))
  expect(numbers.length).toBe(162)
  expect(await rig.outer(early)).toEqual([])
  expect(delivered).toBe(rig.plane.counters(a.id)!.packetsIn)
  expect(rig.plane.counters(a.id)).toMatchObject({ packetsOut: 162, packetsIn: 162, drops: { replay: 4 } })
})

test.each(['soft', 'hard'] as const)('a %s limit of time is met by both threads, and said once', async limit => {
  const [a, b] = specPair(1, { lifetime: { ...FOREVER, [`${limit}Ms`]: 1 } })
  rig.plane.install(rig.placed(a), { outbound: true }, 0)
  const passes = limit === 'soft' ? 1 : 0
  expect((await rig.outer(peer({ ...b, lifetime: FOREVER }).protect(1))).length).toBe(passes)
  await rig.inner([udpPacket('late')])
  expect(rig.sent().length).toBe(passes)
  await rig.kill()
  await rig.inner([udpPacket('later')])
  expect(rig.sent().length).toBe(passes)
  expect(rig.events.filter(e => e.type.endsWith('expiry'))).toEqual([{ type: `${limit}-expiry`, id: a.id }])
  expect(rig.plane.counters(a.id)!.drops).toEqual(limit === 'soft' ? {} : { 'hard-lifetime': 3 })
})

test('a limit that one direction meets ends the other', async () => {
  const lifetime = { ...FOREVER, hardPackets: 3 }
  const [a, b] = specPair(1, { lifetime })
  rig.plane.install(rig.placed(a), { outbound: true }, 0)
  await rig.inner(Array.from({ length: 3 }, () => udpPacket('x')))
  expect(await rig.outer(peer({ ...b, lifetime: FOREVER }).protect(2))).toEqual([])
  expect(rig.events).toEqual([{ type: 'hard-expiry', id: a.id }])
  expect(rig.plane.counters(a.id)).toMatchObject({ packetsOut: 3, packetsIn: 0, drops: { 'hard-lifetime': 2 } })
})

test('where the inbound thread has followed the peer the outbound one sends', async () => {
  const [a, b] = specPair(1, { follow: true })
  const { flow } = rig
  const { address, port } = flow.remote
  rig.plane.install({ ...a, flow: { ...flow, remote: { address: '127.0.0.9', port: 9 } } }, { outbound: true }, 0)
  await rig.inner([udpPacket('to where it was')])
  expect(rig.sent()).toEqual([])
  await rig.outer(peer(b).protect(1))
  expect(rig.events).toMatchObject([
    { type: 'first-inbound', id: a.id },
    { type: 'peer-moved', id: a.id, flow: { protocol: 17, local: flow.local, remote: { address, port } } },
  ])
  await rig.inner([udpPacket('to where it is')])
  expect(rig.sent().length).toBe(1)
  await rig.kill(['out'])
  await rig.inner([udpPacket('to where it still is')])
  expect(rig.sent().length).toBe(1)
})
