import { expect } from 'vitest'
import { beet } from '../../plugins/beet/index.ts'
import { topologies } from '../kit/index.ts'
import { child, clients, lanOfMoon, node, ping, scenario, toMoon, Wire } from './support.ts'

/**
 * The attack on BEET, and on any ESP: packets with a right SPI and a wrong ICV, from anywhere, each cost an integrity
 * check. The counter-measure is a new SPI, without losing traffic.
 */

const FORGED = 60

async function up(seed: number, mode: 'tunnel' | 'beet' = 'tunnel') {
  const topology = topologies.nat1({ seed, trace: false })
  const { net, inet, alice, bob, moon } = topology
  const wire = new Wire(net, inet)
  const wish = { guard: { failures: 50, windowMs: 10_000, pauseMs: 60_000 } }
  const plugins = [beet()]
  const lan = mode === 'beet' ? ['10.3.0.5'] : ['10.3.0.0/24']
  const a = await node(net, alice, { ...wish, plugins, peers: [toMoon({ children: [child({ mode, remote: lan })] })] })
  const children = [lanOfMoon({ mode, local: lan })]
  const m = await node(net, moon, { ...wish, plugins, peers: [clients({ children })] })
  await a.connect('moon')
  const attacker = bob.udp(4500)
  const forge = (spi: string, count = FORGED) => {
    for (let i = 0; i < count; i++) {
      const packet = new Uint8Array(100).fill(i)
      new DataView(packet.buffer).setUint32(0, Number.parseInt(spi, 16))
      new DataView(packet.buffer).setUint32(4, 1_000_000 + i)
      attacker.send(packet, '203.0.113.20', 4500)
    }
  }
  return { ...topology, wire, a, m, forge }
}

for (const mode of ['tunnel', 'beet'] as const)
  scenario(
    `${mode} mode, forged packets with the right SPI: counted, noticed, and a new SPI without loss`,
    async seed => {
      const { net, alice, mars, a, m, forge } = await up(seed, mode)
      expect(m.child('clients').mode).toBe(mode)
      const { spiIn, id } = m.child('clients')
      const bulk = alice.bulk('10.3.0.5', { bytes: 1_000_000 })
      await net.advance(100)
      expect(bulk.done).toBe(false)
      forge(spiIn)
      await net.advance(1_000)
      expect(m.of('forged-packets')).toMatchObject([{ child: 'lan', id, failures: 50, windowMs: 10_000, rekey: true }])
      expect(m.of('child-rekeyed')).toHaveLength(1)
      await net.until(() => bulk.done, { within: 60_000 })
      expect([bulk.intact, bulk.retransmissions]).toEqual([true, 0])
      // the old SPI is gone: what comes with it costs a look into a table
      await net.advance(10_000)
      expect(m.peer('clients').children).toHaveLength(1)
      expect(m.child('clients').spiIn).not.toBe(spiIn)
      const before = m.natweave.status().drops['unknown-spi'] ?? 0
      forge(spiIn)
      await net.advance(1_000)
      expect(m.natweave.status().drops['unknown-spi']).toBe(before + FORGED)
      expect(m.child('clients').counters.drops.integrity ?? 0).toBe(0)
      expect(await ping(net, mars, '10.9.0.1')).toBe(3)
      expect(a.of('down')).toEqual([])
    },
  )

scenario('an attacker on the path who knows every new SPI: no storm of rekeys', async seed => {
  const { net, alice, m, forge } = await up(seed)
  for (let second = 0; second < 100; second++) {
    forge(m.child('clients').spiIn)
    await net.advance(1_000)
  }
  expect(m.of('child-rekeyed').length).toBeLessThanOrEqual(2)
  expect(m.of('forged-packets').length).toBeLessThanOrEqual(12)
  expect(m.of('forged-packets').filter(({ rekey }) => !rekey).length).toBeGreaterThan(0)
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
})

scenario('now and then a damaged packet is no attack', async seed => {
  const { net, m, forge } = await up(seed)
  for (let i = 0; i < 10; i++) {
    forge(m.child('clients').spiIn, 20)
    await net.advance(10_000)
  }
  expect(m.child('clients').counters.drops.integrity).toBe(200)
  expect([...m.of('forged-packets'), ...m.of('child-rekeyed')]).toEqual([])
})
