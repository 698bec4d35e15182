import { describe, expect } from 'vitest'
import { portMapping } from '../../plugins/port-mapping/index.ts'
import { topologies } from '../kit/index.ts'
import { type GatewayOptions, gateway } from './gateway.ts'
import { candidateOf } from './relay.ts'
import { child, drive, node, peer, ping, scenario } from './support.ts'

/** alice behind a NAT that lets in nobody it has not sent to, with a gateway that may be asked. */
async function home(seed: number, options: GatewayOptions = {}) {
  const topology = topologies.nat1({ seed, nata: 'symmetric' })
  const { net, alice, nata } = topology
  const router = gateway(net, nata, options)
  const a = await node(net, alice, {
    peers: [
      peer({ name: 'bob', me: 'alice', children: [child({ local: ['10.1.0.5/32'], remote: ['203.0.113.60/32'] })] }),
    ],
    plugins: [portMapping({ gateways: ['10.1.0.1'], protocols: ['pcp', 'nat-pmp'] })],
  })
  await net.advance(1_000)
  return { ...topology, router, a }
}

describe('a forwarded port', () => {
  for (const [name, options] of [
    ['PCP', {}],
    ['NAT-PMP', { pcp: false }],
  ] as const)
    scenario(`by ${name} lets in a peer that nobody has sent to`, async seed => {
      const { net, bob, a, router } = await home(seed, options)
      expect(candidateOf(a, 'server-reflexive')).toEqual({ address: '198.51.100.1', port: 20_000 })
      expect(a.fact('bob', 'portMapped')).toBe(true)
      const b = await node(net, bob, {
        peers: [
          peer({
            name: 'alice',
            me: 'bob',
            remote: '198.51.100.1',
            remotePort: 20_000,
            children: [child({ local: ['203.0.113.60/32'], remote: ['10.1.0.5/32'] })],
          }),
        ],
      })
      await b.connect('alice')
      expect(await ping(net, bob, '10.1.0.5')).toBe(3)
      expect(router.mappings.size).toBe(1)
      await drive(net, a.natweave.stop())
      await net.advance(1_000)
      expect(router.mappings.size).toBe(0)
    })

  scenario('is renewed at half its lifetime', async seed => {
    const { net, a, router } = await home(seed, { lifetime: 600 })
    await net.advance(3_600_000)
    expect(router.requests).toHaveLength(13)
    expect(new Set(router.requests)).toEqual(new Set(['2 1 7200']))
    expect(candidateOf(a, 'server-reflexive')).toEqual({ address: '198.51.100.1', port: 20_000 })
  })

  scenario('is another one after the gateway has lost its state', async seed => {
    const { net, a, router } = await home(seed, { lifetime: 600 })
    await net.advance(10_000)
    router.restart()
    await net.advance(600_000)
    expect(candidateOf(a, 'server-reflexive')).toEqual({ address: '198.51.100.1', port: 20_001 })
    expect(a.natweave.status().candidates.filter(c => c.kind === 'server-reflexive')).toHaveLength(1)
  })

  scenario('that is refused is no candidate, and is asked for again when the gateway says so', async seed => {
    const { net, a, router } = await home(seed, { lifetime: 600 })
    router.refuse(8)
    await net.advance(301_000)
    expect(candidateOf(a, 'server-reflexive')).toBe(undefined)
    expect(a.peer('bob').facts['portMapped']).toMatchObject({ value: false, source: '10.1.0.1: PCP: NO_RESOURCES' })
    const asked = router.requests.length
    router.refuse(0)
    await net.advance(100_000)
    expect(router.requests).toHaveLength(asked)
    await net.advance(30_000)
    expect(candidateOf(a, 'server-reflexive')).toBeDefined()
  })

  scenario('nobody gives where there is no such gateway', async seed => {
    const { net, alice, nata } = topologies.nat1({ seed })
    nata.udp(5351)
    const a = await node(net, alice, {
      peers: [peer({ name: 'bob', me: 'alice' })],
      plugins: [portMapping({ gateways: ['10.1.0.1'], protocols: ['pcp', 'nat-pmp'] })],
    })
    await net.advance(120_000)
    expect(a.peer('bob').facts['portMapped']).toMatchObject({
      value: false,
      source: '10.1.0.1: the gateway answers neither PCP nor NAT-PMP',
    })
  })
})
