import { describe, expect } from 'vitest'
import { type HolePunchOptions, holePunch } from '../../plugins/hole-punch/index.ts'
import { type NatName, type Topology, type TopologyOptions, topologies } from '../kit/index.ts'
import { relayed, relayNode } from './relay.ts'
import { child, node, type PeerWish, peer, ping, scenario } from './support.ts'

const SECRET = 'a secret of all members'
const rendezvous = { secret: SECRET, server: '203.0.113.10' }

const alices = child({ local: ['10.1.0.5/32'], remote: ['10.2.0.5/32'] })
const bobs = child({ local: ['10.2.0.5/32'], remote: ['10.1.0.5/32'] })
const throughRendezvous = (name: string): Partial<PeerWish> => ({ options: { 'hole-punch': { name } } })

async function members(
  topology: Topology,
  {
    relay = false,
    v6 = false,
    bobsOptions = {},
  }: { relay?: boolean; v6?: boolean; bobsOptions?: Partial<HolePunchOptions> } = {},
) {
  const { net, alice, bob, med } = topology
  // the NATs are IPv4's
  if (!v6)
    for (const host of [alice, bob])
      for (const { text } of [...host.addresses]) if (text.includes(':')) host.removeAddress(text)
  const m = await node(net, med, { peers: [], plugins: [holePunch({ secret: SECRET, serve: true })] })
  // on another host: one port is enough for one server
  if (relay) await relayNode(net, topology.stun)
  const via = (user: 'alice' | 'bob') => (relay ? [relayed(user, '203.0.113.30')] : [])
  const b = await node(net, bob, {
    peers: [peer({ name: 'alice', me: 'bob', children: [bobs] })],
    plugins: [holePunch({ ...rendezvous, name: 'bob', ...bobsOptions }), ...via('bob')],
  })
  const a = await node(net, alice, {
    peers: [peer({ name: 'bob', me: 'alice', children: [alices], ...throughRendezvous('bob') })],
    plugins: [holePunch({ ...rendezvous, name: 'alice' }), ...via('alice')],
  })
  await net.advance(1_000)
  return { ...topology, m, a, b }
}

const NATS: readonly NatName[] = ['none', 'fullCone', 'restrictedCone', 'portRestrictedCone', 'symmetric']
const hard = (a: NatName, b: NatName): boolean =>
  (a === 'symmetric' && (b === 'symmetric' || b === 'portRestrictedCone')) ||
  (b === 'symmetric' && a === 'portRestrictedCone')

describe('hole punching through a rendezvous', () => {
  for (const nata of NATS)
    for (const natb of NATS) {
      const relay = hard(nata, natb)
      scenario(`${nata} to ${natb}${relay ? ', over a relay' : ''}`, async seed => {
        const { net, alice, a } = await members(topologies.nat2({ seed, nata, natb } satisfies TopologyOptions), {
          relay,
        })
        const began = net.clock.now()
        await a.connect('bob')
        expect(net.clock.now() - began).toBeLessThan(1_500)
        expect(await ping(net, alice, '10.2.0.5')).toBe(3)
        const { local = '', remote = '' } = a.peer('bob')
        expect(local.startsWith('203.0.113.30') || remote.startsWith('203.0.113.30')).toBe(relay)
      })
    }

  scenario('through the firewalls of IPv6 where IPv4 has no way', async seed => {
    const { net, alice, a } = await members(topologies.nat2({ seed, nata: 'symmetric', natb: 'symmetric' }), {
      v6: true,
    })
    await a.connect('bob')
    expect(a.peer('bob').remote).toBe('[2001:db8:b::5]:4500')
    expect(a.peer('bob').plan?.encap).toBe('udp-encap')
    expect(await ping(net, alice, '10.2.0.5')).toBe(3)
  })

  scenario('behind one NAT that does not hairpin', async seed => {
    const { a } = await members(topologies.samenat({ seed }))
    await a.connect('bob')
    expect(a.peer('bob').remote).toBe('10.1.0.6:4500')
  })

  scenario('in homes with the same addresses', async seed => {
    const { a } = await members(topologies.overlap({ seed }))
    await a.connect('bob')
    expect(a.peer('bob').remote).toBe('198.51.100.2:4500')
  })

  scenario('where nothing gets through it fails, and says so', async seed => {
    const { a } = await members(topologies.nat2({ seed, nata: 'symmetric', natb: 'symmetric' }))
    await expect(a.connect('bob')).rejects.toMatchObject({ code: 'PATH_FAILED', message: /no check was answered/ })
  })

  scenario('a peer that is not registered, a rendezvous that is silent', async seed => {
    const { net, a, b, m } = await members(topologies.nat2({ seed }))
    await b.crash()
    await net.advance(100_000)
    await expect(a.connect('bob')).rejects.toMatchObject({ message: /the rendezvous: bob is not registered/ })
    await m.crash()
    await net.advance(60_000)
    await expect(a.connect('bob')).rejects.toMatchObject({ message: /the rendezvous 203\.0\.113\.10 does not answer/ })
  })

  scenario('somebody with another secret is nobody', async seed => {
    const { a, b, m } = await members(topologies.nat2({ seed }), {
      bobsOptions: { secret: 'not what the others have' },
    })
    await expect(a.connect('bob')).rejects.toMatchObject({ message: /bob is not registered/ })
    expect(m.natweave.status().drops['rendezvous-integrity']).toBeGreaterThan(0)
    expect(b.natweave.status().drops).toEqual({})
  })
})
