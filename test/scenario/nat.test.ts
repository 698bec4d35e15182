import { describe, expect } from 'vitest'
import { IpProtocol } from '../../core/wire/index.ts'
import { nats, topologies } from '../kit/index.ts'
import { child, clients, node, peer, ping, scenario, toMoon, transfer, Wire } from './support.ts'

const ROUGH = { loss: 0.01, reorder: 0.02, duplicate: 0.04, jitter: 2 }
const PRESETS = ['fullCone', 'restrictedCone', 'portRestrictedCone', 'symmetric', 'sequentialSymmetric'] as const

describe('alice behind a NAT, moon public with a LAN', () => {
  for (const preset of PRESETS)
    scenario(`${preset}: virtual address, tunnel in UDP, traffic both ways over a bad line`, async seed => {
      const { net, inet, nata, alice, moon, mars } = topologies.nat1({ seed, nata: preset, trace: false })
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [toMoon()] })
      const m = await node(net, moon, { peers: [clients()] })
      await a.connect('moon')

      expect(a.peer('moon').virtualAddresses).toEqual(['10.9.0.1'])
      expect(a.child('moon')).toMatchObject({
        mode: 'tunnel',
        encap: 'udp-encap',
        suite: 'aes256gcm16',
        local: ['10.9.0.1'],
        remote: ['10.3.0.0/24'],
      })
      expect(m.child('clients')).toMatchObject({ mode: 'tunnel', encap: 'udp-encap', remote: ['10.9.0.1'] })
      expect([a.fact('moon', 'localBehindNat'), a.fact('moon', 'remoteBehindNat')]).toEqual([true, false])
      expect([m.fact('clients', 'localBehindNat'), m.fact('clients', 'remoteBehindNat')]).toEqual([false, true])

      Object.assign(nata.interface('wan0').link, ROUGH)
      expect(await ping(net, alice, '10.3.0.5', 5)).toBeGreaterThanOrEqual(4)
      expect(await ping(net, mars, '10.9.0.1', 5)).toBeGreaterThanOrEqual(4)
      expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
      expect(await transfer(net, mars, '10.9.0.1', 30_000)).toBe(true)

      expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
      const { counters } = a.child('moon')
      expect(counters.octetsOut).toBeGreaterThan(100_000)
      expect(counters.octetsIn).toBeGreaterThan(30_000)
      // what the line doubled was seen to be a replay, on one end or the other
      expect(Object.keys({ ...counters.drops, ...m.child('clients').counters.drops })).toEqual(['replay'])
    })

  scenario('carrier-grade NAT over a home NAT', async seed => {
    const { net, alice, moon } = topologies.cgnat({ seed, nata: 'symmetric', cgn: 'symmetric', trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(a.child('moon').encap).toBe('udp-encap')
  })

  scenario('a NAT that lets only UDP and TCP through, and not port 500', async seed => {
    const nata = { ...nats.portRestrictedCone, dropNonUdpTcp: true, blockedPorts: [500] }
    const { net, inet, alice, moon } = topologies.nat1({ seed, nata, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ remotePort: 4500 })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(wire.seen.every(s => s.fromPort === 4500 || s.toPort === 4500)).toBe(true)
  })
})

describe('the gateway behind a NAT', () => {
  const toBob = (wish = {}) =>
    peer({
      name: 'bob',
      me: 'alice',
      remote: '198.51.100.2',
      requestAddresses: [4],
      children: [child({ remote: ['10.2.0.5/32'] })],
      ...wish,
    })
  const atBob = () =>
    peer({
      name: 'clients',
      me: 'bob',
      them: { type: 'any' },
      pool: 'clients',
      children: [child({ local: ['10.2.0.5/32'], remote: ['dynamic'] })],
    })

  for (const nata of ['portRestrictedCone', 'symmetric'] as const)
    scenario(`ports forwarded to it; the client behind a ${nata} NAT`, async seed => {
      const { net, inet, natb, alice, bob } = topologies.nat2({ seed, nata, trace: false })
      for (const port of [500, 4500]) natb.forwardPort(IpProtocol.UDP, port, '10.2.0.5')
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [toBob()] })
      const b = await node(net, bob, { peers: [atBob()] })
      await a.connect('bob')
      expect([a.fact('bob', 'localBehindNat'), a.fact('bob', 'remoteBehindNat')]).toEqual([true, true])
      expect(await ping(net, alice, '10.2.0.5')).toBe(3)
      expect(await ping(net, bob, '10.9.0.1')).toBe(3)
      expect(await transfer(net, alice, '10.2.0.5')).toBe(true)
      expect(b.child('clients').encap).toBe('udp-encap')
      expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
    })

  scenario(
    'no forwarding: a full cone opened by the keepalives of another tunnel lets clients in at port 4500',
    async seed => {
      const { net, natb, alice, bob, moon } = topologies.nat2({
        seed,
        natb: { ...nats.fullCone, timeout: 30_000 },
        trace: false,
      })
      await node(net, moon, { peers: [clients()] })
      const b = await node(net, bob, {
        peers: [toMoon({ me: 'bob', remotePort: 4500 }), atBob()],
        pools: { clients: '10.8.0.0/24' },
      })
      await b.connect('moon')
      await net.advance(300_000)
      expect(natb.mappings().filter(m => m.protocol === 17)).toHaveLength(1)
      const a = await node(net, alice, { peers: [toBob({ remotePort: 4500 })] })
      await a.connect('bob')
      // both tunnels at once: each end is client of one gateway
      expect(await ping(net, alice, '10.2.0.5')).toBe(3)
      expect(await ping(net, bob, '10.3.0.5')).toBe(3)
    },
  )
})
