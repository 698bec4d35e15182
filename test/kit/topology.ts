import type { Host } from './host.ts'
import type { Lan } from './lan.ts'
import type { LinkOptions } from './link.ts'
import type { Nat } from './nat.ts'
import type { NatBehaviour, NatName } from './nat-behaviour.ts'
import { type VirtualInternet, type VirtualInternetOptions, virtualInternet } from './net.ts'

export interface TopologyOptions extends VirtualInternetOptions {
  /** NATs of alice and bob; default `portRestrictedCone`. */
  readonly nata?: NatName | NatBehaviour
  readonly natb?: NatName | NatBehaviour
  /** The carrier's NAT; default `portRestrictedCone`. */
  readonly cgn?: NatName | NatBehaviour
  /** Cables of alice and bob. */
  readonly access?: LinkOptions
  /** Cables of everything on the public segment. */
  readonly backbone?: LinkOptions
}

/** What all topologies have. Public: 203.0.113.0/24 and 198.51.100.0/24 on one segment, and 2001:db8::/64. */
export interface Topology {
  readonly net: VirtualInternet
  /** The public segment. */
  readonly inet: Lan
  readonly alice: Host
  readonly bob: Host
  /** Gateway 203.0.113.20 with the LAN 10.3.0.0/24; forwards, translates nothing. */
  readonly moon: Host
  /** 10.3.0.5 behind moon. */
  readonly mars: Host
  /** Mediation server 203.0.113.10. */
  readonly med: Host
  /** 203.0.113.30 and .31. */
  readonly stun: Host
}
export interface Nat1 extends Topology {
  readonly nata: Nat
}
export interface Nat2 extends Nat1 {
  readonly natb: Nat
}
export interface Cgnat extends Nat2 {
  readonly cgn: Nat
}

/** The provider's router `core`, which knows the way to every home that is not translated. */
const CORE = ['203.0.113.1', '2001:db8::1'] as const
const ON_LINK = ['203.0.113.0/24', '198.51.100.0/24']

/** The usual places; addresses as in the table of this folder's README. */
export const topologies = {
  /** alice and bob both on the public segment. */
  direct(options: TopologyOptions = {}): Topology {
    const site = publicSite(options)
    return { ...site, alice: publicHost(site, 'alice', 50, options), bob: publicHost(site, 'bob', 60, options) }
  },

  /** alice behind nata; bob public. */
  nat1(options: TopologyOptions = {}): Nat1 {
    const site = publicSite(options)
    const home = natHome(site, 'nata', options.nata, 1, '10.1.0', 'a')
    return { ...site, nata: home.nat, alice: home.host('alice', 5, options), bob: publicHost(site, 'bob', 60, options) }
  },

  /** alice behind nata, bob behind natb. */
  nat2(options: TopologyOptions = {}): Nat2 {
    return twoHomes(options, '10.1.0', '10.2.0')
  },

  /** Like nat2, but both homes are 10.0.0.0/24 and both hosts 10.0.0.5. */
  overlap(options: TopologyOptions = {}): Nat2 {
    return twoHomes(options, '10.0.0', '10.0.0')
  },

  /** alice 10.1.0.5 and bob 10.1.0.6 behind the same nata. */
  samenat(options: TopologyOptions = {}): Nat1 {
    const site = publicSite(options)
    const home = natHome(site, 'nata', options.nata, 1, '10.1.0', 'a')
    return { ...site, nata: home.nat, alice: home.host('alice', 5, options), bob: home.host('bob', 6, options) }
  },

  /** alice behind nata (100.64.0.2) behind the carrier's cgn; bob behind natb. IPv4 only for alice. */
  cgnat(options: TopologyOptions = {}): Cgnat {
    const site = publicSite(options)
    const carrier = site.net.lan('carrier')
    const cgn = site.net.nat('cgn', {
      behaviour: options.cgn ?? 'portRestrictedCone',
      outside: {
        lan: site.inet,
        addresses: ['198.51.100.100/24'],
        onLink: ON_LINK,
        gateways: [CORE[0]],
        link: options.backbone ?? {},
      },
      inside: { lan: carrier, addresses: ['100.64.0.1/24'] },
    })
    const lan = site.net.lan('home-a')
    const nata = site.net.nat('nata', {
      behaviour: options.nata ?? 'portRestrictedCone',
      outside: { lan: carrier, addresses: ['100.64.0.2/24'], gateways: ['100.64.0.1'] },
      inside: { lan, addresses: ['10.1.0.1/24'], link: { latency: 1 } },
    })
    const alice = site.net.host('alice', {
      lan,
      addresses: ['10.1.0.5/24'],
      gateways: ['10.1.0.1'],
      link: { latency: 1, ...options.access },
    })
    const homeB = natHome(site, 'natb', options.natb, 2, '10.2.0', 'b')
    return { ...site, cgn, nata, natb: homeB.nat, alice, bob: homeB.host('bob', 5, options) }
  },
} as const

type Site = Pick<Topology, 'net' | 'inet' | 'moon' | 'mars' | 'med' | 'stun'> & {
  readonly options: TopologyOptions
  readonly core: Host
}

function publicSite(options: TopologyOptions): Site {
  const net = virtualInternet(options)
  const inet = net.lan('inet')
  const link = { latency: 5, ...options.backbone }
  const onInet = (last: readonly number[]) => ({
    lan: inet,
    addresses: last.flatMap(n => [`203.0.113.${n}/24`, `2001:db8::${n}/64`]),
    onLink: ON_LINK,
    link,
  })
  const core = net.router('core', [onInet([1])])
  const withCore = (last: readonly number[]) => ({ ...onInet(last), gateways: CORE })
  const lan = net.lan('lan-moon')
  const moon = net.router('moon', [
    withCore([20]),
    { lan, addresses: ['10.3.0.1/24', '2001:db8:3::1/64'], link: { latency: 1 } },
  ])
  const mars = net.host('mars', {
    lan,
    addresses: ['10.3.0.5/24', '2001:db8:3::5/64'],
    gateways: ['10.3.0.1', '2001:db8:3::1'],
    link: { latency: 1 },
  })
  const med = net.host('med', withCore([10]))
  const stun = net.host('stun', withCore([30, 31]))
  core.addRoute('2001:db8:3::/64', '2001:db8::20')
  return { net, inet, core, moon, mars, med, stun, options }
}

function publicHost({ net, inet, options }: Site, name: string, last: number, { access }: TopologyOptions): Host {
  return net.host(name, {
    lan: inet,
    addresses: [`203.0.113.${last}/24`, `2001:db8::${last}/64`],
    onLink: ON_LINK,
    link: { latency: 5, ...options.backbone, ...access },
    gateways: CORE,
  })
}

interface Home {
  readonly nat: Nat
  host(name: string, last: number, options: TopologyOptions): Host
}

function natHome(
  site: Site,
  name: string,
  behaviour: NatName | NatBehaviour = 'portRestrictedCone',
  last: number,
  prefix: string,
  letter: string,
): Home {
  const { net, inet, core, options } = site
  const lan = net.lan(`home-${letter}`)
  const v6 = `2001:db8:${letter}`
  const nat = net.nat(name, {
    behaviour,
    outside: {
      lan: inet,
      addresses: [`198.51.100.${last}/24`, `2001:db8::${letter}/64`],
      onLink: ON_LINK,
      link: { latency: 5, ...options.backbone },
      gateways: CORE,
    },
    inside: { lan, addresses: [`${prefix}.1/24`, `${v6}::1/64`], link: { latency: 1 } },
  })
  core.addRoute(`${v6}::/64`, `2001:db8::${letter}`)
  if (!nat.behaviour.translate) core.addRoute(`${prefix}.0/24`, `198.51.100.${last}`)
  return {
    nat,
    host: (hostName, hostLast, { access }) =>
      net.host(hostName, {
        lan,
        addresses: [`${prefix}.${hostLast}/24`, `${v6}::${hostLast}/64`],
        gateways: [`${prefix}.1`, `${v6}::1`],
        link: { latency: 1, ...access },
      }),
  }
}

function twoHomes(options: TopologyOptions, prefixA: string, prefixB: string): Nat2 {
  const site = publicSite(options)
  const a = natHome(site, 'nata', options.nata, 1, prefixA, 'a')
  const b = natHome(site, 'natb', options.natb, 2, prefixB, 'b')
  return { ...site, nata: a.nat, natb: b.nat, alice: a.host('alice', 5, options), bob: b.host('bob', 5, options) }
}
