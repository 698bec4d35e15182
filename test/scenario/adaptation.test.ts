import { describe, expect } from 'vitest'
import { type Nat2, nats, topologies } from '../kit/index.ts'
import { client, INNER, serving, talk } from './mediation.ts'
import { clients, drive, node, ping, scenario, toMoon, Wire } from './support.ts'

/** After a failed attempt the next one is made at once, never the same again; what worked is remembered per network. */

const NO_500 = { ...nats.portRestrictedCone, blockedPorts: [500] }

describe('a network that lets port 500 not through', () => {
  scenario('IKE begins at 4500 once 500 is silent, and there at once the next time', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, nata: NO_500, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon()] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(a.of('progress').map(e => [e.step, e.text])).toEqual([
      [
        'next-plan',
        expect.stringMatching(
          /no answer to IKE_SA_INIT after 3 tries.*trying direct with udp-encap at 203.0.113.20:4500$/,
        ),
      ],
    ])
    expect(a.of('failed')).toEqual([])
    const slow = a.of('established')[0]!.at

    await drive(net, a.natweave.disconnect('moon'))
    wire.clear()
    const began = net.clock.now()
    await a.connect('moon')
    expect(wire.of('ike').every(s => s.toPort === 4500 || s.fromPort === 4500)).toBe(true)
    expect(a.of('established')[1]!.at - began).toBeLessThan(slow / 10)
    expect(a.natweave.plan('moon')[0]?.facts['sinceSuccess']?.source).toBe('reached by direct from this network')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('on another network nothing of that is assumed', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, nata: NO_500, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    await drive(net, a.natweave.disconnect('moon'))
    alice.moveTo({ lan: inet, addresses: ['203.0.113.50/24'], gateways: ['203.0.113.1'] })
    await net.settle() // sockets follow
    const wire = new Wire(net, inet)
    await a.connect('moon')
    expect(wire.of('ike')[0]).toMatchObject({ fromPort: 500, toPort: 500 })
    expect(a.fact('moon', 'network')).toBe('203.0.113.0/24')
  })

  scenario('nothing answers anywhere: each was tried once, and the error tells all', async seed => {
    const { net, alice } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon({ remote: '203.0.113.99' })] })
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({
      code: 'PEER_UNREACHABLE',
      message: expect.stringMatching(
        /direct: no answer.*203\.0\.113\.99:500.*; direct: no answer.*203\.0\.113\.99:4500/,
      ),
    })
    expect(a.of('failed')).toHaveLength(1)
  })

  scenario('a wrong key is no reason to look for another way', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon({ psk: 'wrong' })] })
    await node(net, moon, { peers: [clients()] })
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({ code: 'PEER_AUTH_FAILED' })
    expect(a.of('progress')).toEqual([])
  })
})

describe('a peer whose address does not lead to it', () => {
  const calling = { ...client('alice', ['bob'], { peer: { remote: '198.51.100.2' } }) }

  async function behindNats(seed: number) {
    const t: Nat2 = topologies.nat2({ seed, trace: false })
    t.alice.addAddress(`${INNER.alice}/32`)
    t.bob.addAddress(`${INNER.bob}/32`)
    await node(t.net, t.med, serving())
    const a = await node(t.net, t.alice, calling)
    await node(t.net, t.bob, client('bob', ['alice']))
    await t.net.advance(1_000)
    return { ...t, a }
  }

  scenario('direct first, since it is cheaper; then the mediated path, which is remembered', async seed => {
    const t = await behindNats(seed)
    const { net, a } = t
    await a.connect('bob')
    expect(a.peer('bob').plan?.path).toBe('ike-me')
    expect(await talk(net, t.alice, t.bob)).toEqual([3, 3])
    expect(
      a
        .of('connecting')
        .filter(e => e.peer === 'bob')
        .map(e => e.plan.path),
    ).toEqual(['direct', 'ike-me'])
    await drive(net, a.natweave.disconnect('bob'))
    const began = net.clock.now()
    await a.connect('bob')
    expect(net.clock.now() - began).toBeLessThan(500)
    expect(
      a
        .of('connecting')
        .filter(e => e.peer === 'bob')
        .map(e => e.plan.path),
    ).toEqual(['direct', 'ike-me', 'ike-me'])
  })
})

describe('when things change while the tunnel stands', () => {
  scenario('another network, without MOBIKE: a new SA takes over, nothing waits for a timeout', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    const m = await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    const [before] = a.peer('moon').virtualAddresses
    alice.moveTo({ lan: inet, addresses: ['203.0.113.50/24'], gateways: ['203.0.113.1'] })
    await net.advance(2_000)
    expect(a.peer('moon')).toMatchObject({ state: 'established', local: expect.stringContaining('203.0.113.50') })
    expect(a.of('down')).toEqual([])
    expect(a.peer('moon').virtualAddresses).toEqual([before])
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(m.of('established')).toHaveLength(2)
  })

  scenario('the path goes dead under a mediated peer: the next plan is made before the SA is given up', async seed => {
    const t = topologies.nat2({ seed, trace: false })
    const { net, natb, alice, bob } = t
    alice.addAddress(`${INNER.alice}/32`)
    bob.addAddress(`${INNER.bob}/32`)
    for (const port of [500, 4500]) natb.forwardPort(17, port, '10.2.0.5')
    await node(net, t.med, serving())
    const wish = { peer: { dpdMs: 5_000 }, med: { dpdMs: 5_000, remotePort: 4500 } }
    const a = await node(
      net,
      alice,
      client('alice', ['bob'], { ...wish, peer: { ...wish.peer, remote: '198.51.100.2' } }),
    )
    await node(net, bob, client('bob', ['alice'], { med: wish.med }))
    await net.advance(1_000)
    await a.connect('bob')
    expect(a.peer('bob').plan?.path).toBe('direct')
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    // the forwarding is gone, and with it the mappings: nothing from outside reaches bob, nor his answers alice
    for (const port of [500, 4500]) natb.unforwardPort(17, port)
    natb.reboot()
    await net.advance(30_000)
    expect(a.of('progress').find(e => e.peer === 'bob' && e.step === 'next-plan')?.text).toMatch(
      /silent.*trying ike-me/,
    )
    expect(a.peer('bob')).toMatchObject({ state: 'established', plan: { path: 'ike-me' } })
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect(a.of('down').filter(e => e.peer === 'bob')).toEqual([])
  })
})
