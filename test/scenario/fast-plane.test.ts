import { describe, expect } from 'vitest'
import { getU16, getU32, setU16 } from '../../core/wire/index.ts'
import { type Host, topologies } from '../kit/index.ts'
import { payloadAt, sealChecksums } from '../kit/packet.ts'
import { child, clients, drive, lanOfMoon, type Node, node, ping, scenario, toMoon, transfer, Wire } from './support.ts'

/** Faults that only a plane with a thread of its own, and with batches, can have. */

async function up(seed: number, { rekeyMs = 0, threads }: { rekeyMs?: number; threads?: 1 | 2 } = {}) {
  const topology = topologies.nat1({ seed, trace: false })
  const { net, inet, alice, moon } = topology
  const wire = new Wire(net, inet)
  const a = await node(net, alice, { ...(threads && { threads }), peers: [toMoon({ children: [child({ rekeyMs })] })] })
  const m = await node(net, moon, { ...(threads && { threads }), peers: [clients({ children: [lanOfMoon()] })] })
  await a.connect('moon')
  expect([a.child('moon').plane, m.child('clients').plane]).toEqual(['linux-fast', 'linux-fast'])
  return { ...topology, wire, a, m }
}
type World = Awaited<ReturnType<typeof up>>

const udpAt = (packet: Uint8Array): number => payloadAt(packet)
const isEsp = (packet: Uint8Array): boolean => packet[9] === 17 && getU32(packet, udpAt(packet) + 8) !== 0
const threads = (n: Node) => n.fast!.workers

/** So many datagrams from alice into moon's LAN, all caught on their way; they have all the same size. */
async function caught({ net, alice, moon }: World, count: number): Promise<Uint8Array[]> {
  const frames: Uint8Array[] = []
  const { link } = moon.interface()
  link.dropIf = (packet, direction) => {
    if (direction === 'down' && isEsp(packet)) frames.push(packet.slice())
    return isEsp(packet)
  }
  const socket = alice.udp()
  for (let i = 0; i < count; i++) socket.send(new Uint8Array(200).fill(i), '10.3.0.5', 7)
  await net.advance(1_000)
  link.dropIf = undefined
  expect(frames).toHaveLength(count)
  return frames
}

/** They arrive at one moment, in this order. */
async function arrive({ net }: World, host: Host, frames: readonly Uint8Array[]): Promise<void> {
  for (const frame of frames) host.interface().receive(frame.slice())
  await net.advance(1_000)
}

const numbers = (wire: Wire, to: string): string[] =>
  wire
    .of('esp-in-udp')
    .filter(s => s.to === to)
    .map(({ spi, packet }) => `${spi} ${getU32(packet, udpAt(packet) + 12)}`)

scenario('many packets go through at once, in every place', async seed => {
  const { net, alice, mars, a, m } = await up(seed)
  expect(await transfer(net, alice, '10.3.0.5', 500_000)).toBe(true)
  expect(await transfer(net, mars, '10.9.0.1', 500_000)).toBe(true)
  for (const { fast, natweave } of [a, m]) {
    for (const count of Object.values(fast!.kernel.batches)) expect(count).toBeGreaterThan(5)
    expect(natweave.status().drops).toEqual({})
  }
  expect([alice.badChecksums, mars.badChecksums]).toEqual([0, 0])
})

describe('the thread dies in the midst of a transfer', () => {
  for (const who of ['the client', 'the gateway', 'both'] as const)
    scenario(`${who}: it comes back, and no number is used twice`, async seed => {
      const { net, alice, moon, a, m, wire } = await up(seed, { threads: 1 })
      const bulk = alice.bulk('10.3.0.5', { bytes: 3_000_000, window: 8 })
      const dying = who === 'both' ? [a, m] : [who === 'the client' ? a : m]
      for (let i = 0; i < 5; i++) {
        await net.advance(300)
        expect(bulk.done).toBe(false)
        const dead = dying.flatMap(threads)
        await Promise.all(dead.map(one => one.terminate()))
        await net.until(() => dying.flatMap(threads).every(one => !dead.includes(one)), { within: 5_000 })
      }
      await net.until(() => bulk.done, { within: 120_000 })
      expect(bulk.intact).toBe(true)
      for (const to of ['203.0.113.20', '198.51.100.1']) {
        const used = numbers(wire, to)
        expect(used.length).toBeGreaterThan(1_000)
        expect(new Set(used).size).toBe(used.length)
      }
      // the engine has not noticed: the same SAs, counted on
      expect([...a.of('child-down'), ...m.of('child-down'), ...a.of('down'), ...m.of('down')]).toEqual([])
      expect(m.child('clients').counters.packetsIn).toBeGreaterThan(2_000)
      expect(m.child('clients').counters.drops).toEqual({})
      expect(await ping(net, moon, '10.9.0.1', 3, '10.3.0.1')).toBe(3)
    })

  scenario('while SAs are rekeyed: the next thread knows the new ones and forgets the old', async seed => {
    const { net, alice, a, m, wire } = await up(seed, { rekeyMs: 2_000, threads: 2 })
    const row = alice.ping('10.3.0.5', { count: 600, interval: 50 })
    for (let i = 0; i < 10; i++) {
      await net.advance(2_900 + 37 * i)
      // sometimes the one, sometimes the other direction
      await threads(i % 4 < 2 ? a : m)[i % 2]!.terminate()
    }
    await net.until(() => row.done, { within: 120_000 })
    expect(a.of('child-rekeyed').length).toBeGreaterThan(8)
    // what waits in sockets and the device is not lost with the thread
    expect(row.received).toBe(600)
    for (const to of ['203.0.113.20', '198.51.100.1']) {
      const used = numbers(wire, to)
      expect(new Set(used).size).toBe(used.length)
    }
    expect([...a.of('child-failed'), ...m.of('child-failed'), ...a.of('down'), ...m.of('down')]).toEqual([])
  })
})

scenario('the main thread does not keep up: ESP flows on, what it cannot take is counted', async seed => {
  const { net, alice, bob, a, m } = await up(seed)
  for (const one of threads(m)) one.hold()
  const attacker = bob.udp(4500)
  for (let i = 0; i < 100; i++) {
    for (let j = 0; j < 3; j++) attacker.send(new Uint8Array(60).fill(0x77), '203.0.113.20', 4500)
    await net.advance(10)
  }
  expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
  const lost = 84 * 3
  expect(m.natweave.status().drops).toEqual({ 'main-thread-busy': lost })
  for (const one of threads(m)) one.release()
  await net.advance(10_000)
  expect(m.natweave.status().drops).toEqual({ 'main-thread-busy': lost, 'unknown-spi': 300 - lost })
  // IKE is heard again
  await drive(net, a.natweave.rekey('moon', 'lan'))
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  expect(m.of('child-rekeyed')).toHaveLength(1)
})

scenario('reordered, doubled and lost in batches: each packet once, each other one counted', async seed => {
  const { net, nata, alice, mars, moon, m } = await up(seed)
  Object.assign(nata.interface('wan0').link, { loss: 0.05, reorder: 0.1, reorderBy: 5, duplicate: 0.1 })
  let arrived = 0
  net.tap(moon, (packet, { direction }) => {
    if (direction === 'in' && isEsp(packet) && getU16(packet, udpAt(packet) + 2) === 4500) arrived++
  })
  const [from, to] = [alice.udp(), mars.udp(7)]
  for (let i = 0; i < 100; i++) {
    for (let j = 0; j < 20; j++) from.send(Uint8Array.of(i, j, ...new Uint8Array(300)), '10.3.0.5', 7)
    await net.advance(10)
  }
  await net.advance(1_000)
  const got = to.received.map(({ data }) => `${data[0]} ${data[1]}`)
  expect(new Set(got).size).toBe(got.length)
  expect(got.length).toBeGreaterThan(1_500)
  const { packetsIn, drops } = m.child('clients').counters
  expect(packetsIn).toBe(got.length)
  expect(packetsIn + (drops.replay ?? 0)).toBe(arrived)
  expect(drops.replay).toBeGreaterThan(50)
  expect(m.fast!.kernel.batches.received).toBeGreaterThan(100)
})

scenario('the middle datagram of a batch is forged: it alone is lost', async seed => {
  const world = await up(seed)
  const { mars, m } = world
  const inside = mars.udp(7)
  const frames = await caught(world, 21)
  const forged = frames[10]!
  forged[forged.length - 1]! ^= 1
  sealChecksums(forged)
  const before = m.fast!.kernel.batches.received
  await arrive(world, world.moon, frames)
  expect(m.fast!.kernel.batches.received).toBeGreaterThan(before)
  const expected = Array.from({ length: 21 }, (_, i) => i).filter(i => i !== 10)
  expect(inside.received.map(({ data }) => data[0])).toEqual(expected)
  expect(m.child('clients').counters).toMatchObject({ packetsIn: 20, drops: { integrity: 1 } })
})

describe('the NAT maps the peer anew in the midst of a batch', () => {
  const remapped = (frames: readonly Uint8Array[], port: number): Uint8Array[] =>
    frames.map(frame => {
      const moved = frame.slice()
      setU16(moved, udpAt(moved), port)
      sealChecksums(moved)
      return moved
    })

  scenario('answers go where the last packet came from, and late ones do not turn them back', async seed => {
    const world = await up(seed)
    const { net, moon, mars, m, wire } = world
    const inside = mars.udp(7)
    const frames = await caught(world, 20)
    const port = getU16(frames[0]!, udpAt(frames[0]!))
    const late = frames.splice(3, 1)
    await arrive(world, moon, [...frames.slice(0, 10), ...remapped(frames.slice(10), 61_000)])
    await arrive(world, moon, late)
    expect(inside.received).toHaveLength(20)
    expect(m.child('clients').counters).toMatchObject({ packetsIn: 20, drops: {} })
    wire.clear()
    mars.ping('10.9.0.1', { count: 1 })
    await net.advance(100)
    expect(wire.of('esp-in-udp').map(({ toPort }) => toPort)).toEqual([61_000])
    expect(port).not.toBe(61_000)
  })

  scenario('but forged packets move nobody', async seed => {
    const world = await up(seed)
    const { net, moon, mars, m, wire } = world
    const frames = await caught(world, 20)
    const port = getU16(frames[0]!, udpAt(frames[0]!))
    const forged = remapped(frames.slice(10), 61_000)
    for (const frame of forged) {
      frame[frame.length - 1]! ^= 1
      sealChecksums(frame)
    }
    await arrive(world, moon, [...frames.slice(0, 10), ...forged])
    expect(m.child('clients').counters).toMatchObject({ packetsIn: 10, drops: { integrity: 10 } })
    wire.clear()
    mars.ping('10.9.0.1', { count: 1 })
    await net.advance(100)
    expect(wire.of('esp-in-udp')[0]?.toPort).toBe(port)
  })
})

scenario('the same seed gives the same run, octet by octet', async seed => {
  const run = async (): Promise<string[]> => {
    const { net, nata, alice, a, wire } = await up(seed, { rekeyMs: 1_000 })
    Object.assign(nata.interface('wan0').link, { loss: 0.02, reorder: 0.03, duplicate: 0.01, jitter: 4 })
    const bulk = alice.bulk('10.3.0.5', { bytes: 300_000, window: 8 })
    await net.advance(700)
    await Promise.all(threads(a).map(one => one.terminate()))
    await net.until(() => bulk.done, { within: 120_000 })
    return wire.seen.map(({ at, packet }) => `${at} ${Buffer.from(packet).toString('hex')}`)
  }
  const first = await run()
  expect(first.length).toBeGreaterThan(300)
  expect(await run()).toEqual(first)
})
