import { ikeMe } from '../../../plugins/ike-me/index.ts'
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

/** Which pairs of hosts behind NATs find each other through a mediation server, each pair run on the virtual internet. */

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
  /** What could be: a direct way, one through a relay only, or none without TCP. */
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
  /** Between hosts behind one NAT each. */
  readonly roundTripMs: number
  readonly pairs: readonly PairResult[]
}

const ACCESS_MS = 1
const BACKBONE_MS = 5
/** Host, home, public segment and back again to the other one, both ways. */
const ROUND_TRIP_MS = 4 * (2 * ACCESS_MS + BACKBONE_MS)

const INNER = { alice: '10.77.0.1', bob: '10.77.0.2' } as const
type Name = keyof typeof INNER

/** @param tell - called after each pair */
export async function runNatPairs(seed: number, tell: (pair: PairResult) => void = () => {}): Promise<NatMatrix> {
  const pairs: PairResult[] = []
  for (const alice of SIDE_NAMES)
    for (const bob of SIDE_NAMES) {
      const pair = await runPair(seed, alice, bob)
      pairs.push(pair)
      tell(pair)
    }
  return { seed, roundTripMs: ROUND_TRIP_MS, pairs }
}

async function runPair(seed: number, alice: Side, bob: Side): Promise<PairResult> {
  const net = virtualInternet({ seed, trace: false })
  const inet = net.lan('inet')
  const link = { latency: BACKBONE_MS }
  const onLink = ['203.0.113.0/24', '198.51.100.0/24']
  const med = net.host('med', { lan: inet, addresses: ['203.0.113.10/24'], onLink, link })
  const hosts = [home(net, inet, 'alice', 1, SIDES[alice]), home(net, inet, 'bob', 2, SIDES[bob])] as const
  const server = await end(net, med, SERVER, [udpEncap(), ikeMe()])
  const ends = await Promise.all(hosts.map(host => end(net, host, clientOf(host.name as Name), plugins())))
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
  await stop(net, [server, ...ends])
  const why = failure ?? (chosen?.type === 'progress' ? chosen.text : '')
  const roundTrips = Math.round((10 * ms) / ROUND_TRIP_MS) / 10
  return { alice, bob, connected: failure === undefined, possible: possible(alice, bob), ms, roundTrips, packets, why }
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

const plugins = () => [udpEncap(), ikeMe({ disclose: { hide: ['10.77.0.0/16'] } })]

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
