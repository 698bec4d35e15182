import { memory } from '../../../plugins/memory/index.ts'
import { nodeCrypto } from '../../../plugins/node-crypto/index.ts'
import { udpEncap } from '../../../plugins/udp-encap/index.ts'
import {
  type Host,
  type HostDevice,
  type Lan,
  type Nat,
  nats,
  type VirtualInternet,
  virtualInternet,
} from '../../../test/kit/index.ts'
import {
  type ChildSettings,
  createNatweave,
  DEVICE,
  type Identity,
  type Natweave,
  type PeerSettings,
  type Plugin,
  type SelectorSettings,
  type Settings,
  TRANSPORT,
} from '../../index.ts'
import { IKE_PORT, IpProtocol, NATT_PORT } from '../../wire/index.ts'
import type { Topology } from './result.ts'

/** The world of the demo and the two nodes in it, not started yet. */
export interface Scenario {
  readonly net: VirtualInternet
  /** What a message from alice to moon passes, in this order. */
  readonly segments: readonly [home: Lan, inet: Lan, site: Lan]
  readonly alice: Natweave
  readonly moon: Natweave
  readonly aliceHost: Host
  readonly aliceNat: Nat
  readonly moonNat: Nat
  readonly aliceDevice: HostDevice
  readonly topology: Topology
}

export const ALICE = '10.1.0.5'
export const MARS = '10.3.0.5'
const ALICE_NAT = '198.51.100.1'
const MOON_NAT = '203.0.113.2'
const MOON = '10.2.0.5'
const MOON_LAN = '10.3.0.1'
const MOON_NAME = 'moon.example'
/** A home NAT: any port outside, forgets a mapping after half a minute of silence. */
const HOME = { ...nats.portRestrictedCone, allocation: 'random', timeout: 30_000 } as const

/** alice and moon, each behind a NAT of its own; mars on the LAN behind moon. */
export function scenario(seed: number): Scenario {
  const net = virtualInternet({ seed, trace: false })
  const [home, inet, site, lan] = ['home', 'inet', 'site', 'lan'].map(name => net.lan(name)) as [Lan, Lan, Lan, Lan]
  const onLink = ['198.51.100.0/24', '203.0.113.0/24']
  const aliceNat = net.nat('nat-a', {
    behaviour: HOME,
    outside: { lan: inet, addresses: [`${ALICE_NAT}/24`], onLink, link: { latency: 14, jitter: 1.5, bandwidth: 20e6 } },
    inside: { lan: home, addresses: ['10.1.0.1/24'], link: { latency: 0.5 } },
  })
  const moonNat = net.nat('nat-m', {
    behaviour: 'fullCone',
    outside: { lan: inet, addresses: [`${MOON_NAT}/24`], onLink, link: { latency: 11, jitter: 1, bandwidth: 100e6 } },
    inside: { lan: site, addresses: ['10.2.0.1/24'], link: { latency: 0.5 } },
  })
  for (const port of [IKE_PORT, NATT_PORT]) moonNat.forwardPort(IpProtocol.UDP, port, MOON)
  net.name(MOON_NAME, MOON_NAT)
  const link = { latency: 0.5 }
  const aliceHost = net.host('alice', { lan: home, addresses: [`${ALICE}/24`], gateways: ['10.1.0.1'], link })
  const moonHost = net.router('moon', [
    { lan: site, addresses: [`${MOON}/24`], gateways: ['10.2.0.1'], link },
    { lan, addresses: [`${MOON_LAN}/24`], link },
  ])
  net.host('mars', { lan, addresses: [`${MARS}/24`], gateways: [MOON_LAN], link })
  const psk = net.rng('psk').bytes(32)
  const aliceDevice = aliceHost.device()
  const alice = node(net, aliceHost, aliceDevice, aliceSettings(psk))
  const moon = node(net, moonHost, moonHost.device(), moonSettings(psk))
  const nodes = { alice, moon, aliceHost, aliceNat, moonNat, aliceDevice }
  return { net, segments: [home, inet, site], ...nodes, topology }
}

/** As an embedding program does it: the usual plugins, and the virtual host's transport and device in place of sockets. */
function node(net: VirtualInternet, host: Host, device: HostDevice, settings: Settings): Natweave {
  const rim: Plugin = {
    name: 'virtual-host',
    api: 1,
    register: container => {
      container.register(TRANSPORT, { useValue: host.transport() })
      container.register(DEVICE, { useValue: device })
    },
  }
  const plugins = [nodeCrypto(), udpEncap(), memory(), rim]
  return createNatweave({ plugins, settings, clock: net.clock, rng: net.rng(`natweave ${host.name}`) })
}

const id = (name: string): Identity => ({ type: 'fqdn', value: `${name}.example` })

function aliceSettings(psk: Uint8Array): Settings {
  const child = lanChild(['dynamic'], [{ address: '10.3.0.0', bits: 24 }], 'connect')
  const peer = {
    name: 'moon',
    remote: MOON_NAME,
    localId: id('alice'),
    remoteId: id('moon'),
    requestAddresses: [4],
  } as const
  return settingsOf({ ...common(psk), ...peer, pool: undefined, children: { lan: child } }, {})
}

function moonSettings(psk: Uint8Array): Settings {
  const child = lanChild([{ address: '10.3.0.0', bits: 24 }], ['dynamic'], 'trap')
  const peer = {
    name: 'alice',
    remote: undefined,
    localId: id('moon'),
    remoteId: id('alice'),
    requestAddresses: [],
  } as const
  const pool = { name: 'clients', prefix: { address: '10.9.0.0', bits: 24 }, dns: [] }
  return settingsOf({ ...common(psk), ...peer, pool: 'clients', children: { lan: child } }, { clients: pool })
}

const common = (psk: Uint8Array) =>
  ({
    remotePort: IKE_PORT,
    psk,
    proposals: [],
    encapsulation: 'auto',
    start: 'wait',
    reconnect: false,
    dpdMs: 0,
    rekeyMs: 4 * 3_600_000,
    keepaliveMs: 20_000,
    unique: 'replace',
    mobike: true,
  }) as const

const settingsOf = (peer: PeerSettings, pools: Settings['pools']): Settings => ({
  peers: { [peer.name]: peer },
  pools,
  policy: { rules: [] },
  ike: {
    retransmitMs: 2_000,
    retransmitBase: 1.8,
    retransmitTries: 5,
    cookieThreshold: 32,
    halfOpenLimit: 256,
    halfOpenTimeoutMs: 30_000,
  },
})

type Range = SelectorSettings['range']
const whole = (range: Range): SelectorSettings => ({ range, protocol: 0, startPort: 0, endPort: 65_535 })

const lanChild = (local: readonly Range[], remote: readonly Range[], start: ChildSettings['start']): ChildSettings => ({
  name: 'lan',
  localTs: local.map(whole),
  remoteTs: remote.map(whole),
  proposals: [],
  mode: 'auto',
  rekeyMs: 3_600_000,
  lifeMs: 0,
  rekeyOctets: Number.POSITIVE_INFINITY,
  rekeyPackets: Number.POSITIVE_INFINITY,
  replayWindow: 128,
  start,
})

const topology: Topology = {
  row: [
    { name: 'alice', address: ALICE, notes: [] },
    { name: "alice's NAT", address: ALICE_NAT, notes: ['port-restricted'] },
    { name: "moon's NAT", address: MOON_NAT, notes: ['full cone'] },
    { name: 'moon', address: MOON, notes: [MOON_LAN] },
  ],
  behind: { name: 'mars', address: MARS, notes: [] },
  notes: [
    `alice's NAT: ${HOME.mapping} mapping to ${HOME.allocation} ports, ${HOME.filtering} filtering, forgets after ${HOME.timeout / 1000} s`,
    `moon's NAT: ${nats.fullCone.mapping} mapping and ${nats.fullCone.filtering} filtering, forwards UDP ${IKE_PORT} and ${NATT_PORT} to moon`,
  ],
}
