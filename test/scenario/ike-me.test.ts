import { describe, expect } from 'vitest'
import { type Nat2, type Topology, topologies } from '../kit/index.ts'
import { client, INNER, registered, serving, steps, talk } from './mediation.ts'
import { drive, node, ping, scenario, Wire } from './support.ts'

describe('two peers behind NATs and a server', () => {
  scenario('find each other without a fixed wait and talk through ESP; the server carries none of it', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, inet, alice, bob } = topology
    const { a, b } = await registered(topology)
    const began = net.clock.now()
    await a.connect('bob')
    // through the server and back 48 ms, checks 24 and what better pairs are given, IKE 48
    expect(net.clock.now() - began).toBeLessThan(200)
    expect(steps(a, 'bob').map(e => e.step)).toEqual(['offering', 'checking', 'pair', 'chosen'])
    expect(steps(b, 'alice').map(e => e.step)).toEqual(['asked', 'offering', 'checking', 'pair'])
    expect(a.peer('bob')).toMatchObject({ role: 'initiator', remote: '198.51.100.2:4500', plan: { path: 'ike-me' } })
    expect(b.peer('alice')).toMatchObject({ role: 'responder', remote: '198.51.100.1:4500' })
    await net.advance(50)
    const wire = new Wire(net, inet)
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect(wire.kinds()).toEqual(['esp-in-udp'])
    expect([a.natweave.status().drops, b.natweave.status().drops]).toEqual([{}, {}])
  })

  scenario('nobody was changed on the way: both ends say so', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { a, b } = await registered(topology)
    await a.connect('bob')
    expect([a.fact('bob', 'mediationAltered'), b.fact('alice', 'mediationAltered')]).toEqual([false, false])
  })

  scenario('the one who is asked first may ask as well, later', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { a, b } = await registered(topology)
    await b.connect('alice')
    expect(b.peer('alice').role).toBe('initiator')
    await drive(topology.net, b.natweave.disconnect('alice'))
    await a.connect('bob')
    expect(a.peer('bob').role).toBe('initiator')
    expect(await talk(topology.net, topology.alice, topology.bob)).toEqual([3, 3])
  })

  const places: Record<string, (seed: number) => Topology> = {
    direct: seed => topologies.direct({ seed, trace: false }),
    'one behind a NAT': seed => topologies.nat1({ seed, trace: false }),
    'both behind the same NAT': seed => topologies.samenat({ seed, trace: false }),
    'overlapping LANs': seed => topologies.overlap({ seed, trace: false }),
    'carrier-grade NAT': seed => topologies.cgnat({ seed, trace: false }),
  }
  for (const [name, place] of Object.entries(places))
    for (const from of ['alice', 'bob'] as const)
      scenario(`${name}, ${from} asks`, async seed => {
        const topology = place(seed)
        const { a, b } = await registered(topology)
        await (from === 'alice' ? a.connect('bob') : b.connect('alice'))
        expect(await talk(topology.net, topology.alice, topology.bob)).toEqual([3, 3])
        if (name.includes('same NAT')) expect(a.peer('bob').remote).toBe('10.1.0.6:4500')
      })

  scenario('on a line that loses, doubles and reorders', async seed => {
    const bad = { latency: 5, jitter: 3, loss: 0.1, duplicate: 0.05, reorder: 0.1 }
    const topology = topologies.nat2({ seed, trace: false, access: bad })
    const { a } = await registered(topology)
    await a.connect('bob')
    expect(await ping(topology.net, topology.alice, INNER.bob, 20, INNER.alice)).toBeGreaterThan(8)
  })
})

describe('both ask at once', () => {
  scenario('one of the two attempts is carried on, and both calls succeed', async seed => {
    const topology: Nat2 = topologies.nat2({ seed, trace: false })
    const { a, b } = await registered(topology)
    await Promise.all([a.connect('bob'), b.connect('alice')])
    expect(
      [a.natweave.status().peers, b.natweave.status().peers].flat().filter(p => p.state === 'established'),
    ).toHaveLength(4)
    expect([a.peer('bob').role, b.peer('alice').role].sort()).toEqual(['initiator', 'responder'])
    expect(await talk(topology.net, topology.alice, topology.bob)).toEqual([3, 3])
    expect(a.of('established').filter(e => e.peer === 'bob')).toHaveLength(1)
  })
})

describe('the peer is not there yet', () => {
  scenario('the server calls back when it comes, and the call that waits goes on', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, med, alice, bob } = topology
    alice.addAddress(`${INNER.alice}/32`)
    bob.addAddress(`${INNER.bob}/32`)
    await node(net, med, serving())
    const a = await node(net, alice, client('alice', ['bob']))
    const connected = a.connect('bob')
    await net.until(() => steps(a, 'bob', 'offline').length === 1, { within: 5_000 })
    await node(net, bob, client('bob', ['alice']))
    await connected
    expect(steps(a, 'bob').map(e => e.step)).toEqual([
      ...['registering', 'registered', 'offering', 'offline', 'online', 'offering', 'checking', 'pair', 'chosen'],
    ])
    expect(await talk(net, alice, bob)).toEqual([3, 3])
  })

  scenario('and does not come: the error says so and names the server', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, med, alice } = topology
    await node(net, med, serving())
    const a = await node(net, alice, client('alice', ['bob']))
    await expect(a.connect('bob')).rejects.toMatchObject({
      code: 'PATH_OFFLINE',
      message: expect.stringMatching(/bob.example has not come online within 30 s, or med does not/),
    })
  })
})

describe('many at once', () => {
  scenario('two peers behind one NAT each connect two behind another', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, med, alice, bob } = topology
    const carol = net.host('carol', { lan: alice.interface().lan!, addresses: ['10.1.0.7/24'], gateways: ['10.1.0.1'] })
    const dave = net.host('dave', { lan: bob.interface().lan!, addresses: ['10.2.0.7/24'], gateways: ['10.2.0.1'] })
    for (const host of [alice, bob, carol, dave]) host.addAddress(`${INNER[host.name as keyof typeof INNER]}/32`)
    await node(net, med, serving())
    const a = await node(net, alice, client('alice', ['bob', 'dave']))
    const c = await node(net, carol, client('carol', ['bob', 'dave']))
    await node(net, bob, client('bob', ['alice', 'carol']))
    await node(net, dave, client('dave', ['alice', 'carol']))
    await net.advance(500)
    await Promise.all([a.connect('bob'), a.connect('dave'), c.connect('bob'), c.connect('dave')])
    for (const [x, y] of [
      [alice, bob],
      [alice, dave],
      [carol, bob],
      [carol, dave],
    ] as const)
      expect(await talk(net, x, y), `${x.name} and ${y.name}`).toEqual([3, 3])
  })
})
