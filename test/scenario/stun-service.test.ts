import { describe, expect, test } from 'vitest'
import { type StunOptions, stun } from '../../plugins/stun/index.ts'
import { type NatBehaviour, type NatName, nats, topologies } from '../kit/index.ts'
import { serveStun } from './stun-support.ts'
import { clients, node, ping, toMoon } from './support.ts'

/** The detector in natweave itself: on IKE's own sockets, beside IKE and ESP. */

async function behind(nata: NatName | NatBehaviour, options: StunOptions = {}) {
  const topology = topologies.nat1({ seed: 3, nata, trace: false })
  const { net, alice, moon } = topology
  const server = serveStun(net, topology.stun)
  net.name('stun.example', '203.0.113.30', '2001:db8::30')
  const plugins = [stun({ servers: ['stun.example'], ...options })]
  const a = await node(net, alice, { peers: [toMoon()], plugins })
  const m = await node(net, moon, { peers: [clients()] })
  const candidates = () =>
    a.natweave.status().candidates.flatMap(c => (c.kind === 'server-reflexive' ? [`${c.endpoint} from ${c.base}`] : []))
  return { ...topology, a, m, server, candidates }
}

test.each([
  ['fullCone', 'full-cone', 'endpoint-independent', 'endpoint-independent'],
  ['restrictedCone', 'restricted-cone', 'endpoint-independent', 'address-dependent'],
  ['portRestrictedCone', 'port-restricted-cone', 'endpoint-independent', 'address-and-port-dependent'],
  ['sequentialSymmetric', 'symmetric', 'address-and-port-dependent', 'address-and-port-dependent'],
] as const)(
  'behind %s: a candidate from port 4500, and facts for every peer with their reasons',
  async (nata, kind, mapping, filtering) => {
    const { net, a, nata: nat, candidates } = await behind(nata)
    await net.advance(10_000)
    const outside = nat
      .mappings()
      .filter(({ inside }) => inside.port === 4500)
      .map(({ outside }) => `${outside.address}:${outside.port} from 10.1.0.5:4500`)
    expect(outside).toContain(candidates()[0])
    expect(candidates()).toHaveLength(1)
    expect(a.fact('moon', 'localNatKind')).toBe(kind)
    expect(a.fact('moon', 'localNatMapping')).toBe(mapping)
    expect(a.fact('moon', 'localNatFiltering')).toBe(filtering)
    const [report] = a.natweave.plan('moon')
    expect(report!.facts['localNatKind']!.source).toMatch(/^STUN server 203\.0\.113\.30:3478: test I: .*% sure\)$/)
    if (nata === 'sequentialSymmetric') expect(a.fact('moon', 'localPortStep')).toBe(1)
    // the sockets that it had opened are closed again
    expect(a.natweave.status().locals).toHaveLength(6)
  },
)

test('IKE and ESP go on beside it, and nothing of STUN reaches them', async () => {
  const { net, alice, a, m } = await behind('symmetric', { intervalMs: 5000 })
  await a.connect('moon')
  expect(await ping(net, alice, '10.3.0.5', 20)).toBe(20)
  await net.advance(60_000)
  expect(a.natweave.status().drops).toEqual({})
  expect(m.natweave.status().drops).toEqual({})
  expect(a.peer('moon').state).toBe('established')
})

test('a NAT that was restarted: the candidate is the new one, and the NAT is looked at again where its address changed', async () => {
  const { net, nata, candidates, a } = await behind('symmetric', { intervalMs: 10_000 })
  await net.advance(10_000)
  const before = candidates()
  nata.renumber('198.51.100.7/24')
  nata.behaviour.mapping = 'endpoint-independent'
  await net.advance(40_000)
  expect(candidates()).toHaveLength(1)
  expect(candidates()).not.toEqual(before)
  expect(candidates()[0]).toContain('198.51.100.7:')
  expect(a.fact('moon', 'localNatMapping')).toBe('endpoint-independent')
})

test('the candidate goes when the server does, and comes again with it', async () => {
  const { net, server, stun: host, candidates } = await behind('portRestrictedCone', { intervalMs: 10_000 })
  await net.advance(5000)
  expect(candidates()).toEqual(['198.51.100.1:4500 from 10.1.0.5:4500'])
  server.close()
  await net.advance(60_000)
  expect(candidates()).toEqual([])
  serveStun(net, host)
  await net.advance(60_000)
  expect(candidates()).toEqual(['198.51.100.1:4500 from 10.1.0.5:4500'])
})

test('without translation there is nothing to announce', async () => {
  const { net, candidates, a } = await behind('none')
  await net.advance(10_000)
  expect(candidates()).toEqual([])
  expect(a.fact('moon', 'localNatKind')).toBe('none')
})

test('no server, no question asked', async () => {
  const { net, nata, candidates } = await behind('portRestrictedCone', { servers: [] })
  await net.advance(60_000)
  expect(candidates()).toEqual([])
  expect(nata.mappings()).toEqual([])
})

test('classify: false watches the mapping alone', async () => {
  const { net, a, candidates } = await behind('symmetric', { classify: false })
  await net.advance(20_000)
  expect(candidates()).toHaveLength(1)
  expect(a.fact('moon', 'localNatKind')).toBeUndefined()
})

test('a keepalive interval below the NAT’s timeout keeps the mapping', async () => {
  const { net, nata, candidates } = await behind({ ...nats.symmetric, timeout: 30_000 })
  await net.advance(10_000)
  const before = candidates()
  await net.advance(300_000)
  expect(candidates()).toEqual(before)
  expect(nata.mappings().length).toBeGreaterThan(0)
})

describe('strangers', () => {
  test('messages without a transaction of ours are ESP or nothing, and are counted as such', async () => {
    const { net, a, bob } = await behind('fullCone')
    await net.advance(10_000)
    const drops = () => Object.values(a.natweave.status().drops).reduce((sum, n) => sum + n, 0)
    const before = drops()
    const forged = Uint8Array.from(
      Buffer.from('0101000c2112a442000102030405060708090a0b002000080001a147e112a643', 'hex'),
    )
    bob.udp(3478).send(forged, '198.51.100.1', 4500)
    await net.advance(1000)
    expect(drops()).toBe(before + 1)
    expect(a.natweave.status().candidates.filter(c => c.kind === 'server-reflexive')).toHaveLength(1)
  })
})

test.each([
  [{ servers: ['a b:1'] }, /"a b:1" is no STUN server/],
  [{ servers: ['host:0'] }, /"host:0"/],
  [{ servers: 'host' }, /servers: a list of texts is wanted, not "host"/],
  [{ intervalMs: 1 }, /intervalMs: a number from 5000 to 3600000 is wanted, not 1/],
  [{ serve: ['localhost:3478'] }, /"localhost:3478" is no IP address/],
  [{ serve: ['192.0.2.1:3478', '192.0.2.1:3479'] }, /differ in both/],
  [{ serve: ['192.0.2.1', '192.0.2.2:1', '192.0.2.3:2'] }, /at most two/],
  [{ classify: 'no' }, /classify: "no"/],
  [{ sever: [] }, /"sever" is none of servers/],
])('options %o are refused', (options, message) => {
  expect(() => stun(options as StunOptions)).toThrow(message)
})
