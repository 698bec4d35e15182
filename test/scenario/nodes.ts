import {
  type ChildSettings,
  createNatweave,
  DEVICE,
  type Identity,
  type IdentityPattern,
  type IkeSettings,
  type Natweave,
  type NatweaveEvent,
  type PeerSettings,
  type Plugin,
  type PoolSettings,
  type RuleSettings,
  type SelectorSettings,
  type Settings,
  TRANSPORT,
} from '../../core/index.ts'
import { parsePrefix } from '../../core/wire/index.ts'
import { memory } from '../../plugins/memory/index.ts'
import { nodeCrypto } from '../../plugins/node-crypto/index.ts'
import { udpEncap } from '../../plugins/udp-encap/index.ts'
import type { Host, HostDevice, HostTransport, HostTransportOptions, VirtualInternet } from '../kit/index.ts'
import { FastHost } from './fast/plugin.ts'

/** Which data plane scenarios run on: their project in vitest.config.ts says. */
const ON_FAST_PLANE = process.env['NATWEAVE_PLANE'] === 'linux-fast'

/** Real natweave builds on the hosts of the virtual internet, with settings in few words. */

const PSK = new TextEncoder().encode('correct horse battery staple')
const WITHIN = 120_000

/** `10.3.0.0/24`, or `dynamic`; all protocols and ports. */
export const ts = (range: string): SelectorSettings => ({
  range: range === 'dynamic' ? 'dynamic' : parsePrefix(range)!,
  protocol: 0,
  startPort: 0,
  endPort: 65_535,
})

export const fqdn = (value: string): Identity => ({ type: 'fqdn', value })

export type ChildWish = Omit<Partial<ChildSettings>, 'localTs' | 'remoteTs'> & {
  readonly local?: string[]
  readonly remote?: string[]
}

/** From `dynamic` to moon's LAN unless told otherwise. */
export const child = ({ local = ['dynamic'], remote = ['10.3.0.0/24'], ...wish }: ChildWish = {}): ChildSettings => ({
  name: 'lan',
  localTs: local.map(ts),
  remoteTs: remote.map(ts),
  proposals: [],
  mode: 'auto',
  rekeyMs: 0,
  lifeMs: 0,
  rekeyOctets: Infinity,
  rekeyPackets: Infinity,
  replayWindow: 128,
  start: 'connect',
  ...wish,
})

export type PeerWish = Omit<Partial<PeerSettings>, 'localId' | 'remoteId' | 'children' | 'psk'> & {
  readonly name: string
  /** Names of both ends, `alice` standing for `alice.example`. */
  readonly me: string
  /** Default: `name`. */
  readonly them?: string | IdentityPattern
  readonly psk?: string
  readonly children?: readonly ChildSettings[]
}

/** Quiet defaults: no timers, no retries; a scenario turns on what it is about. */
export function peer({ me, them, psk, children = [child()], ...wish }: PeerWish): PeerSettings {
  const remote = them ?? wish.name
  return {
    remote: undefined,
    remotePort: 500,
    localId: fqdn(`${me}.example`),
    remoteId: typeof remote === 'string' ? fqdn(`${remote}.example`) : remote,
    psk: psk === undefined ? PSK : new TextEncoder().encode(psk),
    proposals: [],
    children: Object.fromEntries(children.map(c => [c.name, c])),
    requestAddresses: [],
    pool: undefined,
    encapsulation: 'auto',
    mobike: false,
    start: 'wait',
    reconnect: false,
    dpdMs: 0,
    rekeyMs: 0,
    keepaliveMs: 20_000,
    unique: 'replace',
    ...wish,
  }
}

/** alice's usual view: a virtual address, and the way to moon's LAN. */
export const toMoon = (wish: Partial<PeerWish> = {}): PeerSettings =>
  peer({ name: 'moon', me: 'alice', remote: '203.0.113.20', requestAddresses: [4], ...wish })

/** moon's usual view of its clients: whoever authenticates gets an address of the pool. */
export const clients = (wish: Partial<PeerWish> = {}): PeerSettings =>
  peer({ name: 'clients', me: 'moon', them: { type: 'any' }, pool: 'clients', children: [lanOfMoon()], ...wish })

export const lanOfMoon = (wish: ChildWish = {}): ChildSettings =>
  child({ local: ['10.3.0.0/24'], remote: ['dynamic'], ...wish })

export interface Wish {
  readonly peers: readonly PeerSettings[]
  /** Prefixes by name; default: `clients` is 10.9.0.0/24. */
  readonly pools?: Readonly<Record<string, string>>
  readonly leased?: Settings['leased']
  readonly rules?: readonly RuleSettings[]
  readonly ike?: Partial<IkeSettings>
  readonly manual?: Settings['manual']
  readonly guard?: Settings['guard']
  /** Of the fast plane; absent: one or two, by chance. */
  readonly threads?: 1 | 2
  /** Beside those every scenario has. */
  readonly plugins?: readonly Plugin[]
}

export function settings({
  peers,
  pools = { clients: '10.9.0.0/24' },
  leased,
  rules = [],
  ike = {},
  manual,
  guard,
}: Wish): Settings {
  const pool = ([name, prefix]: [string, string]): [string, PoolSettings] => [
    name,
    { name, prefix: parsePrefix(prefix)!, dns: [] },
  ]
  return {
    peers: Object.fromEntries(peers.map(p => [p.name, p])),
    pools: Object.fromEntries(Object.entries(pools).map(pool)),
    ...(leased !== undefined && { leased }),
    policy: { rules },
    ...(manual !== undefined && { manual }),
    ...(guard !== undefined && { guard }),
    ike: {
      retransmitMs: 500,
      retransmitBase: 1.8,
      retransmitTries: 5,
      cookieThreshold: 32,
      halfOpenLimit: 1024,
      halfOpenTimeoutMs: 30_000,
      ...ike,
    },
  }
}

// ------------------------------------------------------------------ nodes

export type EventOf<T extends NatweaveEvent['type']> = Extract<NatweaveEvent, { type: T }>

/** One natweave build on a virtual host. */
export class Node {
  readonly host: Host
  readonly natweave: Natweave
  readonly device: HostDevice
  /** What the node has of the fast plane where scenarios run on that; see fast/. */
  readonly fast: FastHost | undefined
  readonly events: NatweaveEvent[] = []
  readonly #net: VirtualInternet
  readonly #transport: HostTransport

  constructor(net: VirtualInternet, host: Host, wish: Wish, options: HostTransportOptions = {}) {
    this.#net = net
    this.host = host
    this.device = host.device()
    this.fast = ON_FAST_PLANE ? new FastHost(net, host, this.device, options, wish.threads) : undefined
    this.#transport = host.transport(options)
    this.natweave = createNatweave({
      plugins: [
        nodeCrypto(),
        udpEncap(),
        memory(),
        ...(wish.plugins ?? []),
        this.fast?.plugin ?? {
          name: 'virtual-host',
          api: 1,
          register: container => {
            container.register(TRANSPORT, { useValue: this.#transport })
            container.register(DEVICE, { useValue: this.device })
          },
        },
      ],
      settings: settings(wish),
      clock: net.clock,
      rng: net.rng(`natweave ${host.name} ${this.device.name}`),
    })
    this.natweave.on(event => this.events.push(event))
  }

  /** Connects while virtual time passes. */
  async connect(name: string): Promise<void> {
    await drive(this.#net, this.natweave.connect(name))
    // the device learns addresses and routes in its own time
    await this.#net.advance(0)
  }

  /** Power cut: nobody is told anything. */
  async crash(): Promise<void> {
    await this.fast?.crash()
    await this.#transport.close()
    await this.device.close()
  }

  peer(name: string) {
    const found = this.natweave.status().peers.find(p => p.name === name)
    if (found === undefined) throw new Error(`${this.host.name} has no peer ${name}`)
    return found
  }

  /** The one Child SA of a peer, the newest where a rekey leaves two. */
  child(name: string) {
    const found = this.peer(name).children.at(-1)
    if (found === undefined) throw new Error(`${this.host.name} has no Child SA with ${name}`)
    return found
  }

  of<T extends NatweaveEvent['type']>(type: T): EventOf<T>[] {
    return this.events.filter((e): e is EventOf<T> => e.type === type)
  }

  fact(name: string, fact: string): unknown {
    return this.peer(name).facts[fact]?.value
  }
}

/** A started build. */
export async function node(
  net: VirtualInternet,
  host: Host,
  wish: Wish,
  options?: HostTransportOptions,
): Promise<Node> {
  const made = new Node(net, host, wish, options)
  await made.natweave.start()
  await net.settle()
  return made
}

/** Lets virtual time pass until the promise has settled. */
export async function drive<T>(net: VirtualInternet, promise: Promise<T>, within = WITHIN): Promise<T> {
  let settled = false
  const watched = promise.finally(() => {
    settled = true
  })
  // the rejection is the caller's; without this it would count as unhandled while time passes
  watched.catch(() => {})
  await net.until(() => settled, { within })
  return watched
}

/** @returns how many of the pings were answered */
export async function ping(net: VirtualInternet, from: Host, to: string, count = 3, source?: string): Promise<number> {
  const row = from.ping(to, { count, interval: 100, timeout: 1_000, ...(source !== undefined && { source }) })
  await net.until(() => row.done, { within: WITHIN })
  return row.received
}

/** A transfer of which every octet must arrive as it was sent. */
export async function transfer(net: VirtualInternet, from: Host, to: string, bytes = 100_000): Promise<boolean> {
  const bulk = from.bulk(to, { bytes })
  await net.until(() => bulk.done, { within: WITHIN })
  return bulk.intact
}
