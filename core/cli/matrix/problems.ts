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
  stage<T extends Stage>(topology: T): T
}

interface Stage {
  readonly net: VirtualInternet
  readonly inet: Lan
  readonly med: Host
}

type Peer = NonNullable<ConfigInput['peers']>[string]
type Child = NonNullable<Peer['children']>[string]

const PSK = 'correct horse battery staple'
const MOON = '203.0.113.20'
const MARS = '10.3.0.5'
const LAN = '10.3.0.0/24'

const peer = (wish: Partial<Peer>): Peer => ({ psk: PSK, mobike: false, reconnect: false, dpd: 0, ...wish })

/** The connection with the mediation server, from the port that no NAT takes for IKE's. */
const toMed = (me: string): Peer =>
  peer({
    remote: '203.0.113.10:4500',
    localId: `${me}.example`,
    remoteId: 'med.example',
    options: { 'ike-me': { mediation: true } },
  })

/** @param them - the other end, by the name that the mediation server knows */
const by = (them: string): Partial<Peer> => ({ options: { 'ike-me': { by: 'med', id: `${them}.example` } } })

const toMoon = (
  { mediated }: Pick<Column, 'mediated'>,
  me: string,
  child: Child,
  wish: Partial<Peer> = {},
  them = 'moon',
): ConfigInput => {
  const { remote = mediated ? undefined : MOON, ...rest } = wish
  return {
    peers: {
      moon: peer({
        ...(mediated && by(them)),
        ...(remote !== undefined && { remote }),
        localId: `${me}.example`,
        remoteId: `${them}.example`,
        addresses: ['ipv4'],
        children: { lan: child },
        ...rest,
      }),
      ...(mediated && { med: toMed(me) }),
    },
  }
}

const atMoon = (
  { mediated }: Pick<Column, 'mediated'>,
  child: Child,
  wish: Partial<Peer> = {},
  me = 'moon',
): ConfigInput => {
  const all = { localId: `${me}.example`, pool: 'clients', children: { lan: child } }
  return {
    pools: { clients: { addresses: '10.9.0.0/24' } },
    peers: mediated
      ? {
          ...Object.fromEntries(
            ['alice', 'bob']
              .filter(name => name !== me)
              .map(name => [
                name,
                peer({
                  ...all,
                  ...by(name),
                  ...wish,
                  remoteId: (name === 'alice' ? wish.remoteId : undefined) ?? `${name}.example`,
                }),
              ]),
          ),
          med: toMed(me),
        }
      : { clients: peer({ ...all, remoteId: 'any', ...wish }) },
  }
}

/** The mediation server, where the column has one. */
async function mediation({ column }: World, { net, med }: Stage): Promise<End[]> {
  if (!column.mediated) return []
  const clients = peer({ localId: 'med.example', remoteId: 'any', options: { 'ike-me': { mediation: true } } })
  return [await end(net, med, { peers: { clients } }, column.plugins())]
}

/** Time for everybody to register. */
const registered = async ({ column }: World, { net }: Stage): Promise<void> => {
  if (column.mediated) await net.advance(1_000)
}

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

/** What alice and another host can exchange once she has connected; `silenceMs`: only after that long, and from outside. */
async function between(
  world: World,
  t: Stage & { readonly alice: Host },
  config: ConfigInput,
  other: { readonly host: Host; readonly config: ConfigInput; readonly target: Host; readonly address: string },
  silenceMs = 0,
): Promise<Observation> {
  const { column } = world
  const server = await mediation(world, t)
  const a = await end(t.net, t.alice, config, column.plugins())
  const b = await end(t.net, other.host, other.config, column.plugins())
  const ends = [a, b, ...server]
  await registered(world, t)
  const failure = await connect(t.net, a, 'moon')
  if (failure !== undefined) return closed(t.net, ends, { cured: false, saw: failure })
  await t.net.advance(silenceMs)
  const talk =
    silenceMs === 0
      ? { from: t.alice, to: other.target, address: other.address }
      : { from: other.target, to: t.alice, address: innerOf(a) }
  const [{ works, saw } = NOTHING] = await exchange(t.net, [talk])
  const when = silenceMs === 0 ? '' : `, after ${silenceMs / 60_000} silent minutes`
  return closed(t.net, ends, { cured: works, saw: `${planOf(a)}${when}: ${saw}${dropsOf(b)}` })
}

/** alice behind a NAT, with moon as her gateway to mars. */
function roadwarrior(
  world: World,
  options: TopologyOptions,
  alice: ConfigInput,
  moon: ConfigInput,
  silenceMs = 0,
): Promise<Observation> {
  const t = world.stage(topologies.nat1({ seed: world.seed, trace: false, ...options }))
  return between(world, t, alice, { host: t.moon, config: moon, target: t.mars, address: MARS }, silenceMs)
}

/** Two clients with the same gateway, one after the other; then what each can exchange at the same time as the other. */
async function twoClients(
  world: World,
  t: Stage & { readonly alice: Host; readonly bob: Host; readonly moon: Host; readonly mars: Host },
  config: (me: string) => ConfigInput,
  moon: ConfigInput,
  target: { readonly host: Host; readonly address: string },
): Promise<Observation> {
  const { column } = world
  const server = await mediation(world, t)
  const a = await end(t.net, t.alice, config('alice'), column.plugins())
  const b = await end(t.net, t.bob, config('bob'), column.plugins())
  const m = await end(t.net, t.moon, moon, column.plugins())
  const ends = [a, b, m, ...server]
  await registered(world, t)
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
  const { children = [], plan } = natweave.status().peers.find(p => p.name === 'moon') ?? {}
  const { mode, encap } = children[0] ?? { mode: '?', encap: '?' }
  return `${plan?.path ?? '?'}+${encap}+${mode}`
}

const innerOf = ({ natweave }: End): string =>
  natweave.status().peers.find(p => p.name === 'moon')?.virtualAddresses[0] ?? '0.0.0.0'

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
        toMoon(world.column, 'alice', child(world.column, ah)),
        atMoon(world.column, back(world.column, ah)),
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
        toMoon(world.column, 'alice', child(world.column, { proposals: ['null-sha256'] })),
        atMoon(world.column, back(world.column, { proposals: ['null-sha256'] })),
      ),
  },
  {
    name: 'checksums',
    title: 'TCP and UDP checksums',
    literature: { 'udp-encap': true, beet: true, 'ike-me': true },
    curable: true,
    story:
      'In transport mode the checksums of TCP and UDP cover addresses that the NAT has changed. The NAT here lets ESP pass, so that nothing else stands in the way; without a cure the server throws everything away.',
    run(world) {
      const { column } = world
      const t = world.stage(topologies.nat1({ seed: world.seed, trace: false }))
      const mode = hostMode(column)
      // under BEET the hosts have addresses of their own
      const address = column.beet ? '10.8.0.1' : MOON
      if (column.beet) t.moon.addAddress(`${address}/32`, t.moon.interface('eth1'))
      const ofAlice = column.beet ? { remote: [`${address}/32`] } : HOST
      const ofMoon: Partial<Child> = column.beet ? { local: [`${address}/32`], start: 'trap' } : HOST
      const config = toMoon(column, 'alice', { ...ofAlice, mode }, column.beet ? {} : { addresses: [] })
      const moon = atMoon(column, { ...ofMoon, mode })
      return between(world, t, config, { host: t.moon, config: moon, target: t.moon, address })
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
        toMoon(world.column, 'alice', child(world.column), { localId: mine }),
        atMoon(world.column, back(world.column), { remoteId: expected }),
      )
    },
  },
  {
    name: 'fixed-ike-ports',
    title: 'several clients on one IKE port',
    literature: { 'udp-encap': true, beet: false, 'ike-me': true },
    curable: true,
    story:
      'A NAT with "IPsec pass-through" leaves port 500 untranslated, so that one client at a time can use it. When 500 stays silent, IKE begins at port 4500, which such a NAT does not take for IKE’s: there each client gets a port of its own.',
    run: world => {
      const { column, seed, stage } = world
      const t = stage(
        topologies.samenat({ seed, trace: false, nata: { ...nats.portRestrictedCone, pinnedPorts: [500] } }),
      )
      return twoClients(
        { column, seed, stage },
        t,
        me => toMoon(column, me, child(column)),
        atMoon(column, back(column)),
        {
          host: t.mars,
          address: MARS,
        },
      )
    },
  },
  {
    name: 'overlapping-tunnels',
    title: 'overlapping SPD entries: equal networks behind two NATs, tunnel mode',
    literature: { 'udp-encap': false, beet: true, 'ike-me': false },
    curable: true,
    story:
      'alice and bob are both 10.0.0.5 in a network 10.0.0.0/24, behind NATs of their own. In tunnel mode moon would have two equal entries and send what is for alice to bob; natweave refuses the second. Under BEET each has an inner address of its own.',
    run: world => {
      const { column, seed, stage } = world
      const t = stage(topologies.overlap({ seed, trace: false }))
      const ofSite: Partial<Child> = column.beet ? {} : { local: ['10.0.0.0/24'] }
      const ofMoon: Partial<Child> = column.beet ? {} : { remote: ['10.0.0.0/24'] }
      return twoClients(
        world,
        t,
        me => toMoon(column, me, child(column, ofSite), column.beet ? {} : { addresses: [] }),
        atMoon(column, back(column, ofMoon)),
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
    run: world => {
      const { column, seed, stage } = world
      const t = stage(topologies.samenat({ seed, trace: false }))
      const mode = hostMode(column)
      const host: Partial<Child> = column.beet ? {} : { ...HOST, mode: column.name === 'none' ? mode : 'transport' }
      return twoClients(
        world,
        t,
        me => toMoon(column, me, column.beet ? child(column) : { ...host }, column.beet ? {} : { addresses: [] }),
        atMoon(column, column.beet ? back(column) : { ...host }),
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
        toMoon(world.column, 'alice', child(world.column)),
        atMoon(world.column, back(world.column)),
      ),
  },
  {
    name: 'mapping-timeouts',
    title: 'NATs that forget mappings',
    literature: { 'udp-encap': true, beet: false, 'ike-me': true },
    curable: true,
    story:
      'The NAT forgets a mapping after 30 silent seconds, and nothing from outside reaches alice any more. NAT-keepalives hold the mapping of UDP encapsulation for ten silent minutes.',
    run: world =>
      roadwarrior(
        world,
        { nata: FORGETFUL },
        toMoon(world.column, 'alice', child(world.column)),
        atMoon(world.column, back(world.column)),
        600_000,
      ),
  },
  {
    name: 'inbound',
    title: 'connections from outside, both behind NATs',
    literature: { 'udp-encap': false, beet: false, 'ike-me': true },
    curable: true,
    story:
      'alice and bob are behind NATs of their own, and alice calls the address of bob’s NAT. Nobody inside has opened the way, so the NAT drops what comes.',
    run({ column: given, ...world }) {
      // where mediation is to be had, it is configured for policy too
      const column = given.name === 'policy' ? { ...given, mediated: true } : given
      const t = world.stage(topologies.nat2({ seed: world.seed, trace: false }))
      const [outer, inner] = ['198.51.100.2', '10.2.0.5']
      const { mode } = child(column)
      const ofAlice = { remote: [`${inner}/32`], ...(mode !== undefined && { mode }) }
      const ofBob: Child = { local: [`${inner}/32`], ...(mode !== undefined && { mode }), start: 'trap' }
      return between(
        { ...world, column },
        t,
        toMoon(column, 'alice', ofAlice, column.name === 'ike-me' ? {} : { remote: outer }, 'bob'),
        { host: t.bob, config: atMoon(column, ofBob, {}, 'bob'), target: t.bob, address: inner },
      )
    },
  },
]
