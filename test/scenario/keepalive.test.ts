import { describe, expect } from 'vitest'
import { nats, topologies } from '../kit/index.ts'
import { clients, node, ping, scenario, toMoon, Wire } from './support.ts'

const SILENCE = 600_000
const forgetful = { ...nats.portRestrictedCone, allocation: 'random', timeout: 30_000 } as const

describe('a NAT that forgets mappings after 30 s', () => {
  async function silence(seed: number, keepaliveMs: number) {
    const topology = topologies.nat1({ seed, nata: forgetful, trace: false })
    const { net, inet, alice, moon } = topology
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ keepaliveMs })] })
    const m = await node(net, moon, { peers: [clients({ keepaliveMs })] })
    await a.connect('moon')
    wire.clear()
    await net.advance(SILENCE)
    return { ...topology, a, m, wire }
  }

  scenario('keepalives hold it through ten minutes of silence: traffic from outside still arrives', async seed => {
    const { net, nata, mars, m, wire } = await silence(seed, 20_000)
    expect(wire.kinds()).toEqual(['keepalive'])
    expect(wire.of('keepalive')).toHaveLength(SILENCE / 20_000)
    // one octet 0xFF each, and only from behind the NAT
    expect(wire.seen.every(s => s.packet.length === 29 && s.packet[28] === 0xff && s.to === '203.0.113.20')).toBe(true)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    expect(m.of('moved').filter(e => e.at > 1_000)).toEqual([])
    expect(nata.mappings().filter(x => x.inside.port === 4500)).toHaveLength(1)
  })

  scenario('without them it does not', async seed => {
    const { net, nata, alice, mars, wire } = await silence(seed, 0)
    expect(wire.seen).toEqual([])
    expect(nata.mappings()).toEqual([])
    expect(await ping(net, mars, '10.9.0.1')).toBe(0)
    // the client's own traffic opens a new one, and the gateway follows
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
  })

  scenario('traffic takes the place of keepalives', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, nata: forgetful, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon()] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    const row = alice.ping('10.3.0.5', { count: 60, interval: 5_000 })
    await net.until(() => row.done, { within: 400_000 })
    expect(row.received).toBe(60)
    expect(wire.of('keepalive')).toEqual([])
  })

  scenario('no NAT, no keepalives', async seed => {
    const { net, inet, alice, moon } = topologies.direct({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ encapsulation: 'force' })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    wire.clear()
    await net.advance(SILENCE)
    // the forced end claims to be behind a NAT that is not there: only the peer's view of it may cost datagrams
    expect(wire.seen.filter(s => s.from === '203.0.113.50')).toEqual([])
  })
})
