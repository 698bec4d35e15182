import { type IkeMeOptions, ikeMe } from '../../plugins/ike-me/index.ts'
import type { Host, VirtualInternet } from '../kit/index.ts'
import { child, type EventOf, type Node, node, type PeerWish, peer, ping, type Wish } from './support.ts'

/** Builds that find each other through med: who they are to each other in few words. */

/** What hosts speak from inside the tunnel; never told to anybody as a place to be reached at. */
export const INNER = { alice: '10.77.0.1', bob: '10.77.0.2', carol: '10.77.0.3', dave: '10.77.0.4' } as const
export type Name = keyof typeof INNER
/** IPv6 has no NATs here: what is about NATs goes without it. */
const V4_ONLY: IkeMeOptions = { disclose: { only: ['0.0.0.0/0'], hide: ['10.77.0.0/16'] } }

export interface ClientWish extends Partial<Omit<Wish, 'peers'>> {
  readonly options?: IkeMeOptions
  /** About the server, and about every peer. */
  readonly med?: Partial<PeerWish>
  readonly peer?: Partial<PeerWish>
}

/** A mediation server for everybody who has the key. */
export const serving = (options: IkeMeOptions = {}): Wish => ({
  peers: [
    peer({
      name: 'clients',
      me: 'med',
      them: { type: 'any' },
      children: [],
      options: { 'ike-me': { mediation: true } },
    }),
  ],
  plugins: [ikeMe(options)],
})

/** One end: the server, and the peers it may be connected to. */
export function client(me: Name, peers: readonly Name[], wish: ClientWish = {}): Wish {
  const { options = {}, med, peer: more, plugins = [], ...rest } = wish
  const disclose = { ...V4_ONLY.disclose, ...options.disclose }
  return {
    peers: [
      peer({
        name: 'med',
        me,
        remote: '203.0.113.10',
        children: [],
        reconnect: true,
        options: { 'ike-me': { mediation: true } },
        ...med,
      }),
      ...peers.map(name =>
        peer({
          name,
          me,
          children: [child({ local: [`${INNER[me]}/32`], remote: [`${INNER[name]}/32`], mode: 'tunnel' })],
          options: { 'ike-me': { by: 'med' } },
          ...more,
        }),
      ),
    ],
    plugins: [ikeMe({ ...options, disclose }), ...plugins],
    ...rest,
  }
}

export interface Hosts {
  readonly net: VirtualInternet
  readonly med: Host
  readonly alice: Host
  readonly bob: Host
}

/** med, and alice and bob registered with it. */
export async function registered(
  { net, med, alice, bob }: Hosts,
  { a = {}, b = {}, server = {} }: { a?: ClientWish; b?: ClientWish; server?: IkeMeOptions } = {},
) {
  alice.addAddress(`${INNER.alice}/32`)
  bob.addAddress(`${INNER.bob}/32`)
  const m = await node(net, med, serving(server))
  const nodes = {
    m,
    a: await node(net, alice, client('alice', ['bob'], a)),
    b: await node(net, bob, client('bob', ['alice'], b)),
  }
  await net.until(() => steps(m, 'clients', 'registered').length === 2, { within: 10_000 })
  // the last answer is still on its way
  await net.advance(50)
  return nodes
}

export const steps = (n: Node, name: string, step?: string): EventOf<'progress'>[] =>
  n.of('progress').filter(e => e.peer === name && (step === undefined || e.step === step))

/** Pings both ways through the tunnel; what arrived. */
export async function talk(net: VirtualInternet, from: Host, to: Host): Promise<readonly [number, number]> {
  const [mine, theirs] = [INNER[from.name as Name], INNER[to.name as Name]]
  return [await ping(net, from, theirs, 3, mine), await ping(net, to, mine, 3, theirs)]
}
