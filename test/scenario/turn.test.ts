import { describe, expect } from 'vitest'
import {
  type Endpoint,
  type PathStrategy,
  type Plugin,
  SERVICE,
  type ServiceIn,
  type ServiceOut,
  STRATEGY,
  showEndpoint,
} from '../../core/index.ts'
import { type NatName, topologies } from '../kit/index.ts'
import { candidateOf, relayed, relayNode } from './relay.ts'
import { child, type Node, node, peer, ping, scenario } from './support.ts'

/** Sends one datagram from the relayed candidate to `to` as soon as there is one, as a check would. */
const knock = (to: Endpoint): Plugin => ({
  name: 'knock',
  api: 1,
  register: container => {
    container.register(SERVICE, {
      useValue: () => ({
        deadline: Infinity,
        step: (input: ServiceIn): readonly ServiceOut[] =>
          input.type === 'candidates'
            ? input.candidates
                .filter(c => c.kind === 'relayed')
                .map(c => ({
                  type: 'transmit',
                  bytes: Uint8Array.of(0xff),
                  flow: { protocol: 17, local: c.endpoint, remote: to },
                }))
            : [],
      }),
    })
  },
})

const NATS: readonly NatName[] = ['fullCone', 'portRestrictedCone', 'symmetric', 'sequentialSymmetric']

/** alice calls bob at bob's relayed address; bob has let her in. */
async function throughRelay(seed: number, nata: NatName, natb: NatName) {
  const topology = topologies.nat2({ seed, nata, natb })
  const { net, alice, bob, med } = topology
  const relay = await relayNode(net, med)
  const b = await node(net, bob, {
    peers: [peer({ name: 'alice', me: 'bob', children: [child({ local: ['10.2.0.5/32'], remote: ['10.1.0.5/32'] })] })],
    plugins: [relayed('bob'), knock({ address: '198.51.100.1', port: 9 })],
  })
  await net.advance(500)
  const at = candidateOf(b, 'relayed')!
  const a = await node(net, alice, {
    peers: [
      peer({
        name: 'bob',
        me: 'alice',
        remote: at.address,
        remotePort: at.port,
        children: [child({ local: ['10.1.0.5/32'], remote: ['10.2.0.5/32'] })],
      }),
    ],
  })
  return { ...topology, relay, a, b, at }
}

const drops = ({ natweave }: Node): readonly string[] =>
  Object.keys(natweave.status().drops).filter(reason => reason.startsWith('turn'))

describe('a relayed candidate', () => {
  for (const nata of NATS)
    for (const natb of NATS)
      scenario(`carries IKE and ESP from behind a ${nata} NAT to behind a ${natb} one`, async seed => {
        const { net, alice, a, b, at, relay } = await throughRelay(seed, nata, natb)
        expect(at.address).toBe('203.0.113.10')
        await a.connect('bob')
        expect(b.peer('alice').local).toBe(`203.0.113.10:${at.port}`)
        expect(await ping(net, alice, '10.2.0.5', 20)).toBe(20)
        expect([drops(a), drops(b), drops(relay)]).toEqual([[], [], []])
      })

  scenario('has its own way to another one at the same relay', async seed => {
    const { net, alice, bob, med } = topologies.nat2({ seed, nata: 'symmetric', natb: 'symmetric' })
    await relayNode(net, med)
    const [to, from] = [
      child({ local: ['10.1.0.5/32'], remote: ['10.2.0.5/32'] }),
      { address: '203.0.113.10', port: 9 },
    ]
    const back = child({ local: ['10.2.0.5/32'], remote: ['10.1.0.5/32'] })
    const b = await node(net, bob, {
      peers: [peer({ name: 'alice', me: 'bob', children: [back] })],
      plugins: [relayed('bob'), knock(from)],
    })
    await net.advance(500)
    const { address, port } = candidateOf(b, 'relayed')!
    const a = await node(net, alice, {
      peers: [peer({ name: 'bob', me: 'alice', remote: address, remotePort: port, children: [to] })],
      plugins: [relayed('alice'), throughOwn],
      rules: [{ at: 'rules[0]', peers: [], when: {}, use: ['through-own'], prefer: [], avoid: [] }],
    })
    await net.advance(500)
    await a.connect('bob')
    expect(a.peer('bob').local).toBe(showEndpoint(candidateOf(a, 'relayed')!))
    expect(await ping(net, alice, '10.2.0.5', 20)).toBe(20)
  })

  scenario('is replaced after the NAT or the relay has forgotten it, and freed at the end', async seed => {
    const { net, alice, med, nata } = topologies.nat1({ seed, nata: 'symmetric' })
    const relay = await relayNode(net, med)
    const a = await node(net, alice, { peers: [peer({ name: 'x', me: 'alice' })], plugins: [relayed('alice')] })
    const sockets = (): number => relay.natweave.status().locals.length
    const idle = sockets()
    await net.advance(500)
    const first = candidateOf(a, 'relayed')
    nata.reboot()
    await net.advance(30_000)
    const second = candidateOf(a, 'relayed')
    expect(second).toBeDefined()
    expect(second).not.toEqual(first)
    await relay.crash()
    await net.advance(120_000)
    expect(candidateOf(a, 'relayed')).toBe(undefined)
    expect(a.fact('x', 'relayAvailable')).toBe(false)
    const next = await relayNode(net, med)
    await net.advance(120_000)
    expect(candidateOf(a, 'relayed')).toBeDefined()
    expect(a.fact('x', 'relayAvailable')).toBe(true)
    const taken = next.natweave.status().locals.length
    expect(taken).toBeGreaterThan(idle)
    await a.natweave.stop()
    await net.advance(1_000)
    expect(next.natweave.status().locals).toHaveLength(idle)
  })
})

/** Takes any peer to be reachable from the relayed candidate alone. */
const throughOwn: Plugin = {
  name: 'through-own',
  api: 1,
  register: container => {
    const strategy: PathStrategy = {
      slot: 'path',
      name: 'through-own',
      solves: ['inbound'],
      assess: () => ({ usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } }),
      serve: () => {
        let local: Endpoint | undefined
        return {
          deadline: Infinity,
          step: (input): readonly ServiceOut[] => {
            if (input.type === 'candidates') local = input.candidates.find(c => c.kind === 'relayed')?.endpoint
            if (input.type !== 'find' || local === undefined || input.remote === undefined) return []
            const flow = { protocol: 17, local, remote: input.remote } as const
            return [{ type: 'ready', peer: input.peer, flow, why: 'relayed' }]
          },
        }
      },
    }
    container.register(STRATEGY, { useValue: strategy })
  },
}
