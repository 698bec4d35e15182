import {
  type Host,
  type Lan,
  nats,
  type TopologyOptions,
  topologies,
  type VirtualInternet,
} from '../../../test/kit/index.ts'
import type { ConfigInput } from '../../config/index.ts'
import { type Column, hostMode } from './columns.ts'
import { brief, connect, type End, end, exchange, stop } from './world.ts'

/** The eight problems of RFC 3715 as executable scenarios: each must fail without a cure before a cure means anything. */

export interface Observation {
  readonly cured: boolean
  /** False: the cure has no say in this, whatever happened. */
  readonly applies?: boolean
  /** What was seen, in words. */
  readonly saw: string
}

export interface Problem {
  readonly name: string
  readonly title: string
  /** What the literature says of the cures alone; `policy`: of their combination. */
  readonly literature: Readonly<Record<'udp-encap' | 'beet' | 'ike-me', boolean>>
  readonly curable: boolean
  /** What goes wrong and how the scenario shows it. */
  readonly story: string
  /** Where observation and literature differ, why. */
  readonly differs?: string
  run(world: World): Promise<Observation>
}

/** One cell's stage. */
export interface World {
  readonly column: Column
  readonly seed: number
  /** The virtual internet of the cell, for its trace. */
  stage<T extends { readonly net: VirtualInternet; readonly inet: Lan }>(topology: T): T
}

type Peer = NonNullable<ConfigInput['peers']>[string]
type Child = NonNullable<Peer['children']>[string]

const PSK = 'correct horse battery staple'
const MOON = '203.0.113.20'
const MARS = '10.3.0.5'
const LAN = '10.3.0.0/24'

const peer = (wish: Partial<Peer>): Peer => ({ psk: PSK, mobike: false, reconnect: false, dpd: 0, ...wish })

const toMoon = (me: string, child: Child, wish: Partial<Peer> = {}): ConfigInput => ({
  peers: {
    moon: peer({
      remote: MOON,
      localId: `${me}.example`,
      remoteId: 'moon.example',
      addresses: ['ipv4'],
      children: { lan: child },
      ...wish,
    }),
  },
})

const atMoon = (child: Child, wish: Partial<Peer> = {}): ConfigInput => ({
  pools: { clients: { addresses: '10.9.0.0/24' } },
  peers: {
    clients: peer({ localId: 'moon.example', remoteId: 'any', pool: 'clients', children: { lan: child }, ...wish }),
  },
})

/** What alice protects: with BEET one pair of addresses, else moon's whole LAN. */
const child = (column: Column, wish: Partial<Child> = {}): Child => ({
  remote: [column.beet ? `${MARS}/32` : LAN],
  mode: column.name === 'policy' ? 'auto' : column.beet ? 'beet' : 'tunnel',
  ...wish,
})

const back = (column: Column, wish: Partial<Child> = {}): Child => ({
  local: [column.beet ? `${MARS}/32` : LAN],
  mode: column.name === 'policy' ? 'auto' : column.beet ? 'beet' : 'tunnel',
  start: 'trap',
  ...wish,
})

const HOST: Partial<Child> = { remote: ['dynamic'], local: ['dynamic'] }

/** alice behind a NAT, with moon as her gateway; then what they can exchange. */
async function roadwarrior(
  { column, seed, stage }: World,
  options: TopologyOptions,
  alice: ConfigInput,
  moon: ConfigInput,
  silenceMs = 0,
): Promise<Observation> {
  const t = stage(topologies.nat1({ seed, trace: false, ...options }))
  const a = await end(t.net, t.alice, alice, column.plugins())
  const m = await end(t.net, t.moon, moon, column.plugins())
  const failure = await connect(t.net, a, 'moon')
  if (failure !== undefined) return closed(t.net, [a, m], { cured: false, saw: failure })
  if (silenceMs === 0) {
    const [{ works, saw } = NOTHING] = await exchange(t.net, [{ from: t.alice, to: t.mars, address: MARS }])
    return closed(t.net, [a, m], { cured: works, saw: `${planOf(a)}: ${saw}${dropsOf(m)}` })
  }
  await t.net.advance(silenceMs)
  const [{ works, saw } = NOTHING] = await exchange(t.net, [{ from: t.mars, to: t.alice, address: innerOf(a) }])
  return closed(t.net, [a, m], {
    cured: works,
    saw: `${planOf(a)}, after ${silenceMs / 60_000} silent minutes: ${saw}`,
  })
}

/** Two clients with the same gateway, one after the other; then what each can exchange at the same time as the other. */
async function twoClients(
  { column }: World,
  t: { net: VirtualInternet; alice: Host; bob: Host; moon: Host; mars: Host },
  config: (me: string) => ConfigInput,
  moon: ConfigInput,
  target: { readonly host: Host; readonly address: string },
): Promise<Observation> {
  const a = await end(t.net, t.alice, config('alice'), column.plugins())
  const b = await end(t.net, t.bob, config('bob'), column.plugins())
  const m = await end(t.net, t.moon, moon, column.plugins())
  const ends = [a, b, m]
  const first = await connect(t.net, a, 'moon')
  if (first !== undefined) return closed(t.net, ends, { cured: false, saw: `alice: ${first}` })
  const second = await connect(t.net, b, 'moon')
  if (second !== undefined) {
    const why = m.events.find(e => e.type === 'child-failed')
    return closed(t.net, ends, {
      cured: false,
      saw: `bob: ${why === undefined ? second : brief(`refused, ${why.why}`)}`,
    })
  }
  const [one = NOTHING, two = NOTHING] = await exchange(
    t.net,
    [t.alice, t.bob].map(from => ({ from, to: target.host, address: target.address })),
  )
  const both = `${planOf(a)}: alice ${one.saw}; bob ${two.saw}`
  return closed(t.net, ends, { cured: one.works && two.works, saw: both })
}

const NOTHING = { works: false, saw: 'nothing' }

async function closed(net: VirtualInternet, ends: readonly End[], observation: Observation): Promise<Observation> {
  await stop(net, ends)
  return observation
}

function planOf({ natweave }: End): string {
  const { children, plan } = natweave.status().peers[0]!
  const { mode, encap } = children[0] ?? { mode: '?', encap: '?' }
  return `${plan?.path ?? '?'}+${encap}+${mode}`
}

const innerOf = ({ natweave }: End): string => natweave.status().peers[0]!.virtualAddresses[0] ?? '0.0.0.0'

function dropsOf({ natweave }: End): string {
  const drops = natweave.status().peers.flatMap(p => p.children.flatMap(c => Object.entries(c.counters.drops)))
  return drops.map(([reason, count]) => `; ${count} dropped for ${reason}`).join('')
}

const FORGETFUL = { ...nats.portRestrictedCone, allocation: 'random', timeout: 30_000 } as const

export const PROBLEMS: readonly Problem[] = [
  {
    name: 'ah-integrity',
    title: 'AH behind a NAT',
    literature: { 'udp-encap': false, beet: false, 'ike-me': false },
    curable: false,
    story:
      'The ICV of AH covers the outer addresses, which a NAT changes. alice asks for AH to the LAN behind moon; without NAT detection every packet arrives and fails its integrity check, with it the plan refuses and says what to use instead.',
    async run(world) {
      const ah = { protocol: 'ah' } as const
      const seen = await roadwarrior(
        world,
        {},
        toMoon('alice', child(world.column, ah)),
        atMoon(back(world.column, ah)),
      )
      return world.column.name === 'beet'
        ? { ...seen, applies: false, saw: 'AH has tunnel and transport mode only' }
        : seen
    },
  },
  {
    name: 'integrity-only',
    title: '… integrity-only ESP instead',
    literature: { 'udp-encap': true, beet: true, 'ike-me': true },
    curable: true,
    story:
      'What AH was wanted for, ESP with NULL encryption and HMAC-SHA-256 gives behind a NAT too: integrity of everything but the outer header. Under BEET the inner addresses are covered as well, since they are part of the SA.',
    run: world =>
      roadwarrior(
        world,
        {},
        toMoon('alice', child(world.column, { proposals: ['null-sha256'] })),
        atMoon(back(world.column, { proposals: ['null-sha256'] })),
      ),
  },
  {
    name: 'checksums',
    title: 'TCP and UDP checksums',
    literature: { 'udp-encap': true, beet: true, 'ike-me': true },
    curable: true,
    story:
      'In transport mode the checksums of TCP and UDP cover addresses that the NAT has changed. The NAT here lets ESP pass, so that nothing else stands in the way; without a cure the server throws everything away.',
    async run({ column, seed, stage }) {
      const t = stage(topologies.nat1({ seed, trace: false }))
      const mode = hostMode(column)
      // under BEET the hosts have addresses of their own
      const ofAlice = column.beet ? { remote: ['10.8.0.1/32'] } : HOST
      const ofMoon = column.beet ? { local: ['10.8.0.1/32'] } : HOST
      const a = await end(
        t.net,
        t.alice,
        toMoon('alice', { ...ofAlice, mode }, column.beet ? {} : { addresses: [] }),
        column.plugins(),
      )
      t.moon.addAddress('10.8.0.1/32', t.moon.interface('eth1'))
      const m = await end(
        t.net,
        t.moon,
        atMoon({ ...ofMoon, mode, start: column.beet ? 'trap' : 'connect' }),
        column.plugins(),
      )
      const failure = await connect(t.net, a, 'moon')
      if (failure !== undefined) return closed(t.net, [a, m], { cured: false, saw: failure })
      const address = column.beet ? '10.8.0.1' : MOON
      const [{ works, saw } = NOTHING] = await exchange(t.net, [{ from: t.alice, to: t.moon, address }])
      return closed(t.net, [a, m], { cured: works, saw: `${planOf(a)}: ${saw}` })
    },
  },
  {
    name: 'address-identities',
    title: 'IKE identities that are addresses',
    literature: { 'udp-encap': false, beet: true, 'ike-me': false },
    curable: true,
    story:
      'alice identifies herself by her address, and moon expects the address that her packets come from: behind a NAT these are two. Under BEET she has an inner address that is hers wherever she is, and that both ends know.',
    run: world => {
      const inner = '10.9.0.1'
      const [mine, expected] = world.column.beet ? [inner, inner] : ['10.1.0.5', '198.51.100.1']
      return roadwarrior(
        world,
        {},
        toMoon('alice', child(world.column), { localId: mine }),
        atMoon(back(world.column), { remoteId: expected }),
      )
    },
  },
  {
    name: 'fixed-ike-ports',
    title: 'several clients on one IKE port',
    literature: { 'udp-encap': true, beet: false, 'ike-me': true },
    curable: true,
    story:
      'A NAT with "IPsec pass-through" leaves port 500 untranslated, so that one client at a time can use it. Who speaks from port 4500 is not taken for IKE by such a NAT, and gets a port of its own.',
    run: ({ column, seed, stage }) => {
      const t = stage(
        topologies.samenat({ seed, trace: false, nata: { ...nats.portRestrictedCone, pinnedPorts: [500] } }),
      )
      const remote = column.udp ? `${MOON}:4500` : MOON
      return twoClients({ column, seed, stage }, t, me => toMoon(me, child(column), { remote }), atMoon(back(column)), {
        host: t.mars,
        address: MARS,
      })
    },
  },
  {
    name: 'overlapping-tunnels',
    title: 'overlapping SPD entries: equal networks behind two NATs, tunnel mode',
    literature: { 'udp-encap': false, beet: true, 'ike-me': false },
    curable: true,
    story:
      'alice and bob are both 10.0.0.5 in a network 10.0.0.0/24, behind NATs of their own. In tunnel mode moon would have two equal entries and send what is for alice to bob; natweave refuses the second. Under BEET each has an inner address of its own.',
    run: ({ column, seed, stage }) => {
      const t = stage(topologies.overlap({ seed, trace: false }))
      const ofSite: Partial<Child> = column.beet ? {} : { local: ['10.0.0.0/24'] }
      const ofMoon: Partial<Child> = column.beet ? {} : { remote: ['10.0.0.0/24'] }
      return twoClients(
        { column, seed, stage },
        t,
        me => toMoon(me, child(column, ofSite), column.beet ? {} : { addresses: [] }),
        atMoon(back(column, ofMoon)),
        { host: t.mars, address: MARS },
      )
    },
  },
  {
    name: 'overlapping-hosts',
    title: 'overlapping SPD entries: two clients behind one NAT, transport mode',
    literature: { 'udp-encap': false, beet: true, 'ike-me': false },
    curable: true,
    story:
      'alice and bob have the same address to moon, that of their NAT. In transport mode both want the same entry, and whoever came second would receive and send as the first: the server must prevent that, and does. Under BEET they are two.',
    differs:
      'BEET alone leaves ESP without ports, and a NAT has no way to tell two clients of one server apart by SPIs that it cannot predict. The literature counts BEET together with UDP encapsulation; so does the last column.',
    run: ({ column, seed, stage }) => {
      const t = stage(topologies.samenat({ seed, trace: false }))
      const mode = hostMode(column)
      const host: Partial<Child> = column.beet ? {} : { ...HOST, mode: column.name === 'none' ? mode : 'transport' }
      return twoClients(
        { column, seed, stage },
        t,
        me => toMoon(me, column.beet ? child(column) : { ...host }, column.beet ? {} : { addresses: [] }),
        atMoon(column.beet ? back(column) : { ...host }),
        column.beet ? { host: t.mars, address: MARS } : { host: t.moon, address: MOON },
      )
    },
  },
  {
    name: 'non-udp-tcp',
    title: 'NATs that drop all but UDP and TCP',
    literature: { 'udp-encap': true, beet: true, 'ike-me': true },
    curable: true,
    story:
      'The NAT drops ESP, which has no ports to translate. IKE gets through, and the tunnel that it makes is deaf.',
    differs:
      'BEET changes what is inside ESP and nothing outside: alone it sends IP protocol 50, which this NAT drops. The literature counts BEET together with UDP encapsulation; so does the last column.',
    run: world =>
      roadwarrior(
        world,
        { nata: { ...nats.portRestrictedCone, dropNonUdpTcp: true } },
        toMoon('alice', child(world.column)),
        atMoon(back(world.column)),
      ),
  },
  {
    name: 'mapping-timeouts',
    title: 'NATs that forget mappings',
    literature: { 'udp-encap': true, beet: false, 'ike-me': false },
    curable: true,
    story:
      'The NAT forgets a mapping after 30 silent seconds, and nothing from outside reaches alice any more. NAT-keepalives hold the mapping of UDP encapsulation for ten silent minutes.',
    run: world =>
      roadwarrior(
        world,
        { nata: FORGETFUL },
        toMoon('alice', child(world.column)),
        atMoon(back(world.column)),
        600_000,
      ),
  },
  {
    name: 'inbound',
    title: 'connections from outside, both behind NATs',
    literature: { 'udp-encap': false, beet: false, 'ike-me': true },
    // by a mediated path, which no strategy here is
    curable: false,
    story:
      'alice and bob are behind NATs of their own, and alice calls the address of bob’s NAT. Nobody inside has opened the way, so the NAT drops what comes.',
    async run({ column, seed, stage }) {
      const t = stage(topologies.nat2({ seed, trace: false }))
      const remote = '198.51.100.2'
      const target = '10.2.0.5'
      const mode = column.beet && column.name !== 'policy' ? 'beet' : column.beet ? 'auto' : 'tunnel'
      const a = await end(
        t.net,
        t.alice,
        toMoon('alice', { remote: [`${target}/32`], mode }, { remote, remoteId: 'bob.example' }),
        column.plugins(),
      )
      const b = await end(
        t.net,
        t.bob,
        atMoon({ local: [`${target}/32`], mode, start: 'trap' }, { localId: 'bob.example' }),
        column.plugins(),
      )
      const failure = await connect(t.net, a, 'moon')
      if (failure !== undefined) return closed(t.net, [a, b], { cured: false, saw: failure })
      const [{ works, saw } = NOTHING] = await exchange(t.net, [{ from: t.alice, to: t.bob, address: target }])
      return closed(t.net, [a, b], { cured: works, saw: `${planOf(a)}: ${saw}` })
    },
  },
]
