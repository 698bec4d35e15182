import { describe, expect } from 'vitest'
import { topologies } from '../kit/index.ts'
import { child, clients, drive, lanOfMoon, node, type PeerWish, scenario, toMoon, Wire } from './support.ts'

const PFS = { proposals: ['aes256gcm16-x25519'] } as const
/** Room between soft and hard limit for a rekey that is answered late. */
const ROOM = { ...PFS, lifeMs: 15_000 } as const

async function up(seed: number, client: Partial<PeerWish>, gateway: Partial<PeerWish>) {
  const topology = topologies.nat1({ seed, nata: 'symmetric', trace: false })
  const { net, inet, alice, moon } = topology
  const wire = new Wire(net, inet)
  const a = await node(net, alice, { peers: [toMoon({ children: [child(PFS)], ...client })] })
  const m = await node(net, moon, { peers: [clients({ children: [lanOfMoon(PFS)], ...gateway })] })
  await a.connect('moon')
  return { ...topology, wire, a, m }
}

describe('rekeying every few seconds while traffic flows both ways', () => {
  /** Datagrams both ways, numbered; each must arrive once. */
  async function stream({ net, alice, mars }: Awaited<ReturnType<typeof up>>, ms: number, every: number) {
    const [left, right] = [alice.udp(9_000), mars.udp(9_000)]
    const [fromLeft, fromRight] = [new Set<string>(), new Set<string>()]
    left.onMessage = ({ data }) => fromRight.add(new TextDecoder().decode(data))
    right.onMessage = ({ data }) => fromLeft.add(new TextDecoder().decode(data))
    const count = ms / every
    for (let i = 0; i < count; i++) {
      left.send(`${i}`, '10.3.0.5', 9_000)
      right.send(`${i}`, '10.9.0.1', 9_000)
      await net.advance(every)
    }
    await net.advance(500)
    return { count, arrived: [fromLeft.size, fromRight.size] }
  }

  for (const [who, client, gateway] of [
    ['the client', 3_000, 0],
    ['the gateway', 0, 3_000],
    ['both', 3_000, 3_000],
  ] as const)
    scenario(`Child SA with PFS, by ${who}: no packet is lost`, async seed => {
      const world = await up(
        seed,
        { children: [child({ ...ROOM, rekeyMs: client })] },
        { children: [lanOfMoon({ ...ROOM, rekeyMs: gateway })] },
      )
      const { a, m, wire } = world
      const { count, arrived } = await stream(world, 30_000, 8)
      expect(arrived).toEqual([count, count])
      const rekeys = a.of('child-rekeyed').length
      expect(rekeys).toBeGreaterThanOrEqual(4)
      expect(m.of('child-rekeyed').length).toBe(rekeys)
      // each was sent once, on one SA, and none met an SA that was gone or did not take it
      const esp = wire.of('esp-in-udp')
      expect([esp.filter(s => s.to === '203.0.113.20').length, esp.length]).toEqual([count, 2 * count])
      for (const one of [a, m]) expect(one.natweave.status().drops).toEqual({})
      for (const { counters } of [...a.peer('moon').children, ...m.peer('clients').children])
        expect(counters.drops).toEqual({})
      expect(new Set(esp.map(s => s.spi)).size).toBeGreaterThanOrEqual(2 * rekeys)
      expect([a.of('child-down'), m.of('child-down'), a.of('child-failed'), m.of('child-failed')]).toEqual([
        [],
        [],
        [],
        [],
      ])
      expect(a.peer('moon').children.length).toBeLessThanOrEqual(2)
    })

  for (const [who, client, gateway] of [
    ['the client', 3_000, 0],
    ['the gateway', 0, 3_000],
    ['both', 3_000, 3_000],
  ] as const)
    scenario(`IKE SA, by ${who}: no packet is lost, the Child SA stays`, async seed => {
      const world = await up(seed, { rekeyMs: client }, { rekeyMs: gateway })
      const { a, m } = world
      const id = a.child('moon').id
      const spis = new Set<string>()
      a.natweave.on(() => spis.add(a.peer('moon').spiInitiator ?? ''))
      const { count, arrived } = await stream(world, 30_000, 10)
      expect(arrived).toEqual([count, count])
      expect(a.of('rekeyed').length).toBeGreaterThanOrEqual(8)
      expect(spis.size).toBeGreaterThanOrEqual(9)
      expect(a.child('moon')).toMatchObject({ id, counters: { packetsIn: count, packetsOut: count, drops: {} } })
      expect(m.child('clients').counters).toMatchObject({ packetsIn: count, packetsOut: count, drops: {} })
      expect([a.of('down'), m.of('down')]).toEqual([[], []])
      // only one IKE SA is left at each end: rekeying once more works, and a DELETE ends it all
      await drive(world.net, a.natweave.disconnect('moon'))
      expect([a.peer('moon').state, m.peer('clients').state]).toEqual(['idle', 'idle'])
    })

  scenario('everything at once, from both ends, during a transfer over a bad line', async seed => {
    const wish = (childOf: typeof child) => ({ rekeyMs: 5_000, children: [childOf({ ...ROOM, rekeyMs: 3_000 })] })
    const { net, nata, alice, a, m } = await up(seed, wish(child), wish(lanOfMoon))
    Object.assign(nata.interface('wan0').link, { loss: 0.02, reorder: 0.03, duplicate: 0.01, jitter: 4 })
    const bulk = alice.bulk('10.3.0.5', { bytes: 3_000_000, window: 8 })
    await net.until(() => bulk.done, { within: 300_000 })
    expect(bulk.intact).toBe(true)
    expect(bulk.duration).toBeGreaterThan(10_000)
    expect(a.of('child-rekeyed').length).toBeGreaterThanOrEqual(1)
    expect([a.of('down'), m.of('down')]).toEqual([[], []])
    expect(a.of('established')).toHaveLength(1)
  })
})

describe('lifetimes', () => {
  scenario('by octets: rekeyed before the limit, again and again', async seed => {
    const { net, alice, a, m } = await up(seed, { children: [child({ ...PFS, rekeyOctets: 200_000 })] }, {})
    const bulk = alice.bulk('10.3.0.5', { bytes: 1_000_000, window: 8 })
    await net.until(() => bulk.done, { within: 120_000 })
    expect([bulk.intact, bulk.retransmissions]).toEqual([true, 0])
    expect(a.of('child-rekeyed').length).toBeGreaterThanOrEqual(4)
    expect([a.of('child-down'), m.of('child-down')]).toEqual([[], []])
  })

  scenario('by packets, asked for by the gateway', async seed => {
    const { net, alice, a, m } = await up(seed, {}, { children: [lanOfMoon({ ...PFS, rekeyPackets: 200 })] })
    const row = alice.ping('10.3.0.5', { count: 1_000, interval: 10 })
    await net.until(() => row.done, { within: 60_000 })
    expect(row.received).toBe(1_000)
    expect(m.of('child-rekeyed').length).toBeGreaterThanOrEqual(4)
    expect(a.of('child-rekeyed').length).toBe(m.of('child-rekeyed').length)
  })

  scenario('both ends always try at once, and the hard limit is near: no packet is lost', async seed => {
    const late = { ...PFS, rekeyMs: 3_000 }
    const { net, alice, a, m } = await up(seed, { children: [child(late)] }, { children: [lanOfMoon(late)] })
    const row = alice.ping('10.3.0.5', { count: 600, interval: 100 })
    await net.until(() => row.done, { within: 120_000 })
    expect(row.received).toBe(600)
    expect([a.of('child-down'), m.of('child-down')]).toEqual([[], []])
    expect([a.of('down').length, a.of('established').length]).toEqual([0, 1])
    const ids = (one: typeof a) => one.of('child-rekeyed').map(({ id, previous }) => [previous, id])
    expect(ids(a).length).toBeGreaterThan(15)
    // each end tells of the ones that stay, in a chain without a gap
    for (const one of [a, m])
      ids(one).forEach(([previous], i, all) => {
        if (i > 0) expect(previous).toBe(all[i - 1]![1])
      })
    expect(ids(m).length).toBe(ids(a).length)
  })

  scenario('the hard limit ends a Child SA whose peer does not answer rekeys', async seed => {
    const wish = { children: [child({ ...PFS, rekeyMs: 10_000, lifeMs: 12_000 })] }
    const { net, moon, alice, a, wire } = await up(seed, wish, {})
    // IKE is cut off, ESP is not
    moon.interface().link.dropIf = packet =>
      packet[9] === 17 && packet.length > 40 && packet.subarray(28, 32).every(o => o === 0)
    const row = alice.ping('10.3.0.5', { count: 300, interval: 100 })
    await net.until(() => row.done, { within: 60_000 })
    wire.clear()
    alice.ping('10.3.0.5', { count: 5, interval: 10 })
    await net.advance(1_000)
    expect(wire.of('esp-in-udp')).toEqual([])
    expect(row.received).toBeGreaterThan(90)
    expect(row.received).toBeLessThan(130)
    expect(a.peer('moon').state).not.toBe('established')
  })
})
