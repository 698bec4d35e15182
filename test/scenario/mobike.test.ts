import { describe, expect } from 'vitest'
import { IpProtocol } from '../../core/wire/index.ts'
import { beet } from '../../plugins/beet/index.ts'
import { type Attachment, type Host, type Nat2, topologies } from '../kit/index.ts'
import { child, clients, drive, lanOfMoon, type Node, node, ping, scenario, toMoon, Wire } from './support.ts'

/** A mobile client keeps its TCP connections: MOBIKE between whole builds. */

const MARS = '10.3.0.5'
const BYTES = 1_500_000

type Place = (world: Nat2) => Attachment
const places = {
  'public v4': ({ inet }) => ({
    lan: inet,
    addresses: ['203.0.113.70/24'],
    onLink: ['198.51.100.0/24'],
    gateways: ['203.0.113.1'],
  }),
  'public v6': ({ inet }) => ({ lan: inet, addresses: ['2001:db8::70/64'], gateways: ['2001:db8::1'] }),
  'both families': ({ inet }) => ({
    lan: inet,
    addresses: ['203.0.113.70/24', '2001:db8::70/64'],
    onLink: ['198.51.100.0/24'],
    gateways: ['203.0.113.1', '2001:db8::1'],
  }),
  'behind nata': ({ alice }) => ({ lan: home.get(alice)!, addresses: ['10.1.0.5/24'], gateways: ['10.1.0.1'] }),
  'behind natb': ({ bob }) => ({ lan: bob.interface().lan!, addresses: ['10.2.0.9/24'], gateways: ['10.2.0.1'] }),
} as const satisfies Record<string, Place>
type PlaceName = keyof typeof places
const home = new WeakMap<Host, Attachment['lan']>()

async function up(seed: number, mode: 'tunnel' | 'beet', at: PlaceName, wish: { dpdMs?: number } = {}) {
  const world = topologies.nat2({ seed, trace: false })
  const { net, inet, alice, moon } = world
  home.set(alice, alice.interface().lan!)
  alice.moveTo(places[at](world))
  const wire = new Wire(net, inet)
  const settings = { mobike: true, ...wish }
  const plugins = [beet()]
  const remote = mode === 'beet' ? [MARS] : ['10.3.0.0/24']
  const peers = [toMoon({ ...settings, children: [child({ mode, remote })] })]
  const a = await node(net, alice, { plugins, peers })
  const m = await node(net, moon, {
    plugins,
    peers: [clients({ ...settings, children: [lanOfMoon({ mode, local: remote })] })],
  })
  await a.connect('moon')
  return { ...world, world, wire, a, m }
}

/** Neither clear packets nor private addresses on the public segment. */
function expectPrivate(wire: Wire): void {
  // a NAT may say that nobody is there any more
  expect(wire.of('other').filter(({ protocol }) => protocol !== IpProtocol.ICMP)).toEqual([])
  expect(wire.seen.filter(({ from, to }) => [from, to].some(address => address.startsWith('10.')))).toEqual([])
}

const same = (a: Node) => [a.of('child-up').length, a.of('down').length, a.of('established').length]

const moves = [
  { from: 'public v4', to: 'both families', encap: 'none', remote: '203.0.113.20:4500' },
  { from: 'public v4', to: 'behind nata', encap: 'udp-encap', remote: '203.0.113.20:4500' },
  { from: 'behind nata', to: 'behind natb', encap: 'udp-encap', remote: '203.0.113.20:4500' },
  { from: 'behind nata', to: 'public v4', encap: 'none', remote: '203.0.113.20:4500' },
  { from: 'public v4', to: 'public v6', encap: 'none', remote: '[2001:db8::20]:4500' },
  { from: 'behind nata', to: 'public v6', encap: 'none', remote: '[2001:db8::20]:4500' },
  { from: 'both families', to: 'public v6', encap: 'none', remote: '[2001:db8::20]:4500' },
] as const satisfies readonly { from: PlaceName; to: PlaceName; encap: string; remote: string }[]

describe.each(['tunnel', 'beet'] as const)(
  '%s mode: alice goes to another network in the middle of a transfer',
  mode => {
    for (const { from, to, encap, remote } of moves)
      scenario(`${from} → ${to}`, async seed => {
        const { world, net, alice, mars, wire, a, m } = await up(seed, mode, from)
        const bulk = alice.bulk(MARS, { bytes: BYTES })
        await net.advance(150)
        expect(bulk.done).toBe(false)
        alice.moveTo(places[to](world))
        await net.until(() => bulk.done, { within: 60_000 })
        expect(bulk.intact).toBe(true)
        expect(same(a)).toEqual([1, 0, 1])
        await net.advance(1_000)
        expect([a.child('moon').encap, m.child('clients').encap]).toEqual([encap, encap])
        expect(a.peer('moon').remote).toBe(remote)
        expect(m.of('moved').length).toBeGreaterThan(0)
        // both ways, also when the gateway speaks first
        expect(await ping(net, mars, '10.9.0.1')).toBe(3)
        await drive(net, m.natweave.rekey('clients'))
        await drive(net, a.natweave.rekey('moon', 'lan'))
        expect(await ping(net, alice, MARS)).toBe(3)
        expectPrivate(wire)
      })
  },
)

describe('MOBIKE is agreed on in IKE_AUTH', () => {
  scenario('both ends: IKE goes to 4500 even without a NAT, status knows the other addresses', async seed => {
    const { a, m, wire } = await up(seed, 'tunnel', 'both families')
    expect(a.peer('moon').remote).toBe('203.0.113.20:4500')
    expect(a.child('moon').encap).toBe('none')
    expect([a.fact('moon', 'mobike'), m.fact('clients', 'mobike')]).toEqual([true, true])
    expect(a.peer('moon').additionalAddresses).toEqual(['2001:db8::20', '2001:db8:3::1'])
    expect(m.peer('clients').additionalAddresses).toEqual(['2001:db8::70'])
    expect(wire.of('ike').every(({ fromPort }) => fromPort === 500 || fromPort === 4500)).toBe(true)
  })
})

describe('paths fail without an address going away', () => {
  scenario('two uplinks, one goes dark: a liveness check finds the other', async seed => {
    const { world, net, inet, alice, a, m, wire } = await up(seed, 'tunnel', 'behind nata', { dpdMs: 2_000 })
    alice.attach({ lan: inet, addresses: ['203.0.113.71/24'], onLink: ['198.51.100.0/24'], name: 'lte' })
    await net.advance(100)
    expect(world.alice.addresses).toHaveLength(2)
    const bulk = alice.bulk(MARS, { bytes: BYTES })
    await net.advance(150)
    alice.interface('eth0').link.down()
    await net.until(() => bulk.done, { within: 120_000 })
    expect(bulk.intact).toBe(true)
    expect(same(a)).toEqual([1, 0, 1])
    expect(a.peer('moon').local).toBe('203.0.113.71:4500')
    expect(m.peer('clients').remote).toBe('203.0.113.71:4500')
    expectPrivate(wire)
  })

  scenario('the gateway has two addresses and one of them goes away', async seed => {
    const { net, alice, moon, mars, a } = await up(seed, 'tunnel', 'both families', { dpdMs: 2_000 })
    const bulk = alice.bulk(MARS, { bytes: BYTES })
    await net.advance(150)
    moon.removeAddress('203.0.113.20')
    await net.until(() => bulk.done, { within: 120_000 })
    expect(bulk.intact).toBe(true)
    expect(same(a)).toEqual([1, 0, 1])
    expect(a.peer('moon').remote).toBe('[2001:db8::20]:4500')
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
  })

  scenario('no way at all: the peer is dead after all', async seed => {
    const { net, alice, a } = await up(seed, 'tunnel', 'both families', { dpdMs: 2_000 })
    alice.interface().link.down()
    await net.advance(60_000)
    expect(a.of('down').map(({ code }) => code)).toEqual(['PEER_UNREACHABLE'])
  })
})

describe('the NAT in front of the client', () => {
  scenario('forgets its mappings: a liveness check notices, IKE follows by UPDATE_SA_ADDRESSES', async seed => {
    const { net, nata, alice, mars, a, m } = await up(seed, 'tunnel', 'behind nata', { dpdMs: 2_000 })
    Object.assign(nata.behaviour, { allocation: 'random' })
    expect(await ping(net, alice, MARS)).toBe(3)
    const before = m.peer('clients').remote
    nata.reboot()
    await net.advance(10_000)
    expect(m.peer('clients').remote).not.toBe(before)
    const updates = a.of('message').filter(e => e.direction === 'out' && e.summary.includes('UPDATE_SA_ADDRESSES'))
    expect(updates).toHaveLength(1)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    await drive(net, m.natweave.rekey('clients'))
    expect(same(a)).toEqual([1, 0, 1])
  })

  scenario('forgets them in the middle of a transfer: ESP is followed at once, IKE is not', async seed => {
    const { net, nata, alice, a, m } = await up(seed, 'tunnel', 'behind nata')
    Object.assign(nata.behaviour, { allocation: 'random' })
    const bulk = alice.bulk(MARS, { bytes: BYTES })
    await net.advance(150)
    const before = m.peer('clients').remote
    nata.reboot()
    await net.until(() => bulk.done, { within: 60_000 })
    expect(bulk.intact).toBe(true)
    expect(m.peer('clients').remote).toBe(before)
    expect(m.of('moved').filter(({ remote }) => remote !== before)).not.toEqual([])
    expect(same(a)).toEqual([1, 0, 1])
  })
})

describe('several mobile clients', () => {
  scenario('the same private address behind two NATs, then both behind one', async seed => {
    const world = topologies.overlap({ seed, trace: false })
    const { net, inet, alice, bob, moon, mars } = world
    const wire = new Wire(net, inet)
    const mobile = { mobike: true, unique: 'never' } as const
    const a = await node(net, alice, { peers: [toMoon(mobile)] })
    const b = await node(net, bob, { peers: [toMoon({ ...mobile, me: 'bob' })] })
    const m = await node(net, moon, { peers: [clients(mobile)] })
    await a.connect('moon')
    await b.connect('moon')
    const [mine, theirs] = [a, b].map(({ device }) => device.addresses[0]!.text)
    const bulks = [alice, bob].map(host => host.bulk(MARS, { bytes: BYTES }))
    await net.advance(150)
    alice.moveTo({ lan: bob.interface().lan!, addresses: ['10.0.0.6/24'], gateways: ['10.0.0.1'] })
    await net.until(() => bulks.every(({ done }) => done), { within: 60_000 })
    expect(bulks.map(({ intact }) => intact)).toEqual([true, true])
    expect([same(a), same(b)]).toEqual([
      [1, 0, 1],
      [1, 0, 1],
    ])
    expect(m.peer('clients').children).toHaveLength(2)
    expect(mine).not.toBe(theirs)
    expect(await ping(net, mars, mine!)).toBe(3)
    expect(await ping(net, mars, theirs!)).toBe(3)
    expectPrivate(wire)
  })
})
