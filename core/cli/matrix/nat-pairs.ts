import { ikeMe } from '../../../plugins/ike-me/index.ts'
import { turn } from '../../../plugins/turn/index.ts'
import { udpEncap } from '../../../plugins/udp-encap/index.ts'
import {
  type Host,
  type Lan,
  type NatBehaviour,
  nats,
  type VirtualInternet,
  virtualInternet,
} from '../../../test/kit/index.ts'
import type { ConfigInput } from '../../config/index.ts'
import { connect, type End, end, stop } from './world.ts'

/** Which pairs of hosts behind NATs find each other through a mediation server and a relay, each on the virtual internet. */

/** What a host can be behind. */
export const SIDES = {
  none: [],
  'full cone': [nats.fullCone],
  restricted: [nats.restrictedCone],
  'port-restricted': [nats.portRestrictedCone],
  symmetric: [nats.symmetric],
  sequential: [nats.sequentialSymmetric],
  double: [nats.portRestrictedCone, nats.portRestrictedCone],
  'UDP blocked': [{ ...nats.portRestrictedCone, blockUdp: true }],
} as const satisfies Readonly<Record<string, readonly NatBehaviour[]>>
export type Side = keyof typeof SIDES
export const SIDE_NAMES = Object.keys(SIDES) as Side[]

export interface PairResult {
  readonly alice: Side
  readonly bob: Side
  readonly connected: boolean
  /** How they were connected first. */
  readonly way: 'direct' | 'relayed' | 'none'
  /** Virtual ms from `connect` to the direct way that a relayed one was left for. */
  readonly directMs?: number
  /** What could be: a direct way, one through a relay only, or none without TCP, which is not simulated. */
  readonly possible: 'direct' | 'relayed' | 'nothing'
  /** Virtual ms from `connect` to the tunnel, and round trips between the two that is. */
  readonly ms: number
  readonly roundTrips: number
  /** UDP packets that both ends sent meanwhile. */
  readonly packets: number
  /** Why this pair of endpoints, or why nothing came of it. */
  readonly why: string
}

export interface NatMatrix {
  readonly seed: number
  /** Whether both hosts have an account with a relay. */
  readonly relay: boolean
  /** Between hosts behind one NAT each. */
  readonly roundTripMs: number
  readonly pairs: readonly PairResult[]
}

const ACCESS_MS = 1
const BACKBONE_MS = 5
/** Host, home, public segment and back again to the other one, both ways. */
export const ROUND_TRIP_MS = 4 * (2 * ACCESS_MS + BACKBONE_MS)

/** A direct way is looked for after 5 s, 15 more, and 45 more. */
const LEAVES_MS = 70_000

const INNER = { alice: '10.77.0.1', bob: '10.77.0.2' } as const
type Name = keyof typeof INNER

/** Whether this pair is connected as well as it can be. */
export const asPossible = ({ way, directMs, possible }: PairResult, relay: boolean): boolean =>
  possible === 'direct'
    ? way === 'direct' || directMs !== undefined
    : way === (possible === 'relayed' && relay ? 'relayed' : 'none')

/**
 * @param relay - a TURN relay is there, and both hosts have an account
 * @param tell - called after each pair
 */
export async function runNatPairs(
  seed: number,
  relay: boolean,
  tell: (pair: PairResult) => void = () => {},
): Promise<NatMatrix> {
  const pairs: PairResult[] = []
  for (const alice of SIDE_NAMES)
    for (const bob of SIDE_NAMES) {
      const pair = await runPair(seed, relay, alice, bob)
      pairs.push(pair)
      tell(pair)
    }
  return { seed, relay, roundTripMs: ROUND_TRIP_MS, pairs }
}

/** One pair on a virtual internet of its own. */
export async function runPair(seed: number, relay: boolean, alice: Side, bob: Side): Promise<PairResult> {
  const net = virtualInternet({ seed, trace: false })
  const inet = net.lan('inet')
  const link = { latency: BACKBONE_MS }
  const onLink = ['203.0.113.0/24', '198.51.100.0/24']
  const med = net.host('med', { lan: inet, addresses: ['203.0.113.10/24'], onLink, link })
  const hosts = [home(net, inet, 'alice', 1, SIDES[alice]), home(net, inet, 'bob', 2, SIDES[bob])] as const
  const servers = [await end(net, med, SERVER, [udpEncap(), ikeMe()])]
  if (relay) {
    const host = net.host('relay', { lan: inet, addresses: [`${RELAY}/24`], onLink, link })
    servers.push(
      await end(net, host, { local: { id: 'relay.example' } }, [udpEncap(), turn({ serve: { users: USERS } })]),
    )
  }
  const ends = await Promise.all(
    hosts.map(host => end(net, host, clientOf(host.name as Name), plugins(host.name as Name, relay))),
  )
  const [caller] = ends as [End, End]
  await net.advance(1_000)
  let packets = 0
  const untap = hosts.map(host => net.tap(host, (_, { direction }) => void (direction === 'out' && packets++)))
  const began = net.clock.now()
  const failure = await connect(net, caller, 'bob')
  for (const stopCounting of untap) stopCounting()
  const up = caller.events.find(e => e.type === 'child-up')
  const chosen = caller.events.findLast(e => e.type === 'progress' && e.step === 'chosen')
  const ms = Math.round((up?.at ?? net.clock.now()) - began)
  const way = failure !== undefined ? 'none' : isRelayed(caller) ? 'relayed' : 'direct'
  const better = way === 'relayed' && possible(alice, bob) === 'direct' ? await untilDirect(net, caller) : undefined
  const later = better === undefined ? {} : { directMs: Math.round(better - began) }
  await stop(net, [...servers, ...ends])
  const why = failure ?? (chosen?.type === 'progress' ? chosen.text : '')
  const roundTrips = Math.round((10 * ms) / ROUND_TRIP_MS) / 10
  const could = possible(alice, bob)
  return { alice, bob, connected: failure === undefined, way, ...later, possible: could, ms, roundTrips, packets, why }
}

const isRelayed = ({ natweave }: End): boolean =>
  natweave.status().peers.find(({ name }) => name === 'bob')?.facts['relayed']?.value === true

/** When the tunnel has left the relay; undefined when it does not. */
async function untilDirect(net: VirtualInternet, caller: End): Promise<number | undefined> {
  const until = net.clock.now() + LEAVES_MS
  while (isRelayed(caller) && net.clock.now() < until) await net.advance(100)
  return caller.events.findLast(e => e.type === 'moved' && e.peer === 'bob')?.at
}

/** What theory allows: two NATs that map anew only where both count. */
function possible(alice: Side, bob: Side): PairResult['possible'] {
  const sides = [alice, bob]
  if (sides.includes('UDP blocked')) return 'nothing'
  const anew = sides.filter(s => s === 'symmetric' || s === 'sequential')
  return anew.length === 2 && anew.includes('symmetric') ? 'relayed' : 'direct'
}

/** A host behind these NATs, the innermost last. */
function home(net: VirtualInternet, inet: Lan, name: Name, number: number, behind: readonly NatBehaviour[]): Host {
  const onLink = ['203.0.113.0/24', '198.51.100.0/24']
  let lan = inet
  let address = `203.0.113.${50 + number}/24`
  let gateway: string | undefined
  for (const [i, behaviour] of behind.entries()) {
    const inside = net.lan(`${name} ${i}`)
    const prefix = i === behind.length - 1 ? `10.${number}.0` : `100.64.${number}`
    net.nat(`${name} nat ${i}`, {
      behaviour,
      outside: {
        lan,
        addresses: [i === 0 ? `198.51.100.${number}/24` : `100.64.${number}.2/24`],
        ...(i === 0 ? { onLink, link: { latency: BACKBONE_MS } } : { gateways: [gateway!] }),
      },
      inside: { lan: inside, addresses: [`${prefix}.1/24`], link: { latency: ACCESS_MS } },
    })
    lan = inside
    address = `${prefix}.5/24`
    gateway = `${prefix}.1`
  }
  const link = { latency: behind.length === 0 ? BACKBONE_MS : ACCESS_MS }
  const way = gateway === undefined ? { onLink } : { gateways: [gateway] }
  const host = net.host(name, { lan, addresses: [address], link, ...way })
  host.addAddress(`${INNER[name]}/32`)
  return host
}

const RELAY = '203.0.113.30'
const USERS = { alice: 'wonderland', bob: 'the builder' }

const plugins = (name: Name, relay: boolean) => [
  udpEncap(),
  ikeMe({ disclose: { hide: ['10.77.0.0/16'] } }),
  ...(relay ? [turn({ servers: [{ url: `turn:${RELAY}:4500`, username: name, password: USERS[name] }] })] : []),
]

const KEY = 'correct horse battery staple'
const mediation = { 'ike-me': { mediation: true } }

const SERVER: ConfigInput = {
  local: { id: 'med.example' },
  peers: { clients: { remoteId: '*.example', psk: KEY, options: mediation } },
}

const clientOf = (name: Name): ConfigInput => {
  const other = name === 'alice' ? 'bob' : 'alice'
  return {
    local: { id: `${name}.example` },
    peers: {
      med: { remote: '203.0.113.10', remoteId: 'med.example', psk: KEY, options: mediation },
      [other]: {
        remoteId: `${other}.example`,
        psk: KEY,
        reconnect: false,
        options: { 'ike-me': { by: 'med' } },
        children: { lan: { local: [`${INNER[name]}/32`], remote: [`${INNER[other]}/32`], mode: 'tunnel' } },
      },
    },
  }
}
