import { UsageError } from '../../core/errors.ts'
import { fixIpv4Checksum } from '../../core/wire/index.ts'
import { type AddressKey, type Ip, isV6, parseCidr, parseIp } from './address.ts'
import { fragment, Reassembler } from './fragments.ts'
import { type IcmpErrorKind, icmpError } from './icmp-error.ts'
import { type Exit, Interface, type Lan } from './lan.ts'
import { Link, type LinkOptions } from './link.ts'
import {
  destinationKey,
  hasDontFragment,
  headerValid,
  isFragment,
  isIpv6,
  isWellFormed,
  protocolOf,
  sourceKey,
} from './packet.ts'
import { type Route, RouteTable } from './routes.ts'
import type { World } from './world.ts'

export interface Attachment {
  readonly lan: Lan
  /** With prefix lengths, e.g. `10.1.0.5/24`; the prefixes become on-link routes. */
  readonly addresses: readonly string[]
  /** Default routers, one per family. */
  readonly gateways?: readonly string[]
  /** Further prefixes that are on this LAN. */
  readonly onLink?: readonly string[]
  readonly link?: LinkOptions
  /** Default: eth0, eth1, … */
  readonly name?: string
}

/** What ICMP told of a path holds so long, ms: ten minutes, RFC 1191 §6.3. */
const PATH_MTU_AGE = 600_000

/** Takes packets of one IP protocol that are addressed to this node. */
export type Handler = (packet: Uint8Array) => void

/** An IP stack: interfaces, routes, forwarding, fragmentation, ICMP errors. What hosts, routers and NATs share. */
export class Node {
  readonly name: string
  readonly interfaces: Interface[] = []
  /** True for routers. */
  forward = false
  /** False: a silent router or host, which makes path MTU black holes. */
  icmpErrors = true
  protected readonly world: World
  protected readonly handlers = new Map<number, Handler>()
  /** Own addresses, tunnel addresses included, and the exit that has them. */
  protected readonly locals = new Map<AddressKey, Exit>()
  /** Routes into tunnel devices; they win over `routes` of the same length. */
  protected readonly tunnelRoutes = new RouteTable()
  protected readonly reassembler = new Reassembler()
  readonly #routes = new RouteTable()
  readonly #pathMtus = new Map<AddressKey, { readonly mtu: number; readonly until: number }>()
  #nextId = 1

  constructor(name: string, world: World) {
    this.name = name
    this.world = world
  }

  /** Puts one more interface on a LAN. @throws UsageError USAGE_ADDRESS */
  attach({ lan, addresses, gateways = [], onLink = [], link = {}, name }: Attachment): Interface {
    const ifaceName = name ?? `eth${this.interfaces.length}`
    const cable = new Link(link, this.world.rng(`link ${this.name} ${ifaceName}`))
    const iface = new Interface(ifaceName, this.name, cable, (frame, from) => this.input(frame, from))
    iface.lan = lan
    this.interfaces.push(iface)
    for (const address of addresses) this.addAddress(address, iface)
    for (const prefix of onLink) this.#routes.set(parseCidr(prefix), iface)
    for (const gateway of gateways) this.addRoute(gateway.includes(':') ? '::/0' : '0.0.0.0/0', gateway)
    return iface
  }

  /** The interface of that name; without a name the first. */
  interface(name?: string): Interface {
    const iface = name === undefined ? this.interfaces[0] : this.interfaces.find(candidate => candidate.name === name)
    if (iface === undefined) throw new UsageError('USAGE_INTERFACE', `${this.name} has no interface ${name ?? ''}`)
    return iface
  }

  /** The cable of the first interface. */
  get link(): Link {
    return this.interface().link
  }

  /** One more address, e.g. `10.1.0.7/24`, and the on-link route for its prefix. @throws UsageError USAGE_ADDRESS */
  addAddress(prefix: string, iface = this.interface()): void {
    const cidr = parseCidr(prefix)
    iface.addresses.push(cidr.ip)
    this.locals.set(cidr.ip.key, iface)
    this.#routes.set(cidr, iface)
    iface.lan?.join(iface, cidr.ip)
    this.addressesChanged()
  }

  /** Takes an address away; its on-link route stays. */
  removeAddress(address: string, iface = this.interface()): void {
    const { key } = parseIp(address)
    const gone = iface.addresses.filter(ip => ip.key === key)
    iface.addresses = iface.addresses.filter(ip => ip.key !== key)
    this.locals.delete(key)
    for (const ip of gone) iface.lan?.leave(iface, ip)
    this.addressesChanged()
  }

  /** Unplugs the interface and plugs it in elsewhere, as a roaming host does: new LAN, new addresses, new routers. */
  moveTo({ lan, addresses, gateways = [], onLink = [] }: Attachment, iface = this.interface()): void {
    for (const ip of iface.addresses) {
      iface.lan?.leave(iface, ip)
      this.locals.delete(ip.key)
    }
    iface.addresses = []
    iface.lan = lan
    this.#routes.deleteExit(iface)
    for (const address of addresses) this.addAddress(address, iface)
    for (const prefix of onLink) this.#routes.set(parseCidr(prefix), iface)
    for (const gateway of gateways) this.addRoute(gateway.includes(':') ? '::/0' : '0.0.0.0/0', gateway)
    this.addressesChanged()
  }

  /** A route through a router that is on one of the LANs. @throws UsageError USAGE_ROUTE when it is not */
  addRoute(prefix: string, via: string): void {
    const hop = parseIp(via).key
    const exit = this.#routes.lookup(hop)?.exit
    if (exit === undefined) throw new UsageError('USAGE_ROUTE', `${this.name} has no LAN with ${via} on it`)
    this.#routes.set(parseCidr(prefix), exit, hop)
  }

  removeRoute(prefix: string): void {
    this.#routes.delete(parseCidr(prefix))
  }

  /** All addresses of its interfaces. */
  get addresses(): readonly Ip[] {
    return this.interfaces.flatMap(iface => iface.addresses)
  }

  /** @param bypass - leave tunnel devices out, as the sockets of IKE and ESP do */
  routeTo(destination: AddressKey, bypass = false): Route | undefined {
    const route = this.#routes.lookup(destination)
    if (bypass) return route
    const tunnel = this.tunnelRoutes.lookup(destination)
    return tunnel !== undefined && (route === undefined || tunnel.bits >= route.bits) ? tunnel : route
  }

  /** The address this node would send from to `destination`. */
  sourceFor(destination: AddressKey, bypass = false): Ip | undefined {
    const route = this.routeTo(destination, bypass)
    if (route === undefined) return undefined
    const v6 = isV6(destination)
    const own = (ips: readonly Ip[]): Ip | undefined => ips.find(ip => isV6(ip.key) === v6)
    return route.source ?? own(route.exit.addresses) ?? own(this.addresses)
  }

  /** Largest packet towards `destination` as far as this node knows: MTU of the exit, or what ICMP told. */
  mtuTo(destination: AddressKey, bypass = false): number {
    const mtu = this.routeTo(destination, bypass)?.exit.mtu ?? 1500
    return Math.min(mtu, this.#learnt(destination))
  }

  /** Sends a packet of this node's own; it belongs to the network from now on. @returns false when it went nowhere */
  output(packet: Uint8Array, bypass = false): boolean {
    this.world.record(this.name, 'send', packet)
    const destination = destinationKey(packet)
    const local = this.locals.get(destination)
    if (local !== undefined) {
      this.world.clock.after(0, frame => this.deliver(frame), packet)
      return true
    }
    const route = this.routeTo(destination, bypass)
    if (route === undefined) return this.#refuse(packet, 'no-route')
    const mtu = Math.min(route.exit.mtu, this.#learnt(destination))
    if (packet.length <= mtu) return this.emit(packet, route)
    // IPv6 senders always fragment; IPv4 ones unless told not to.
    if (!isIpv6(packet) && hasDontFragment(packet)) return this.#refuse(packet, 'too-big')
    let sent = true
    for (const piece of fragment(packet, mtu, this.nextId())) sent = this.emit(piece, route) && sent
    return sent
  }

  nextId(): number {
    this.#nextId = (this.#nextId % 0xffff) + 1
    return this.#nextId
  }

  /** A packet came in by an exit. */
  protected input(frame: Uint8Array, _from: Exit): void {
    this.world.seen(this.name, 'in', frame)
    const malformed = isWellFormed(frame) ? (headerValid(frame) ? undefined : 'header-checksum') : 'malformed'
    if (malformed !== undefined) {
      this.world.drop(this.name, frame, malformed)
      return
    }
    if (this.locals.has(destinationKey(frame))) this.deliver(frame)
    else if (this.forward) this.forwardPacket(frame)
    else this.world.drop(this.name, frame, 'not-for-me')
  }

  /** Hands a packet to whoever handles its protocol here. */
  protected deliver(frame: Uint8Array): void {
    this.world.record(this.name, 'deliver', frame)
    const packet = isFragment(frame) ? this.reassembler.add(frame, this.world.clock.now()) : frame
    if (packet === undefined) return
    const handler = this.handlers.get(protocolOf(packet))
    if (handler !== undefined) handler(packet)
    else {
      this.world.drop(this.name, packet, 'no-protocol')
      this.sendError('no-protocol', packet)
    }
  }

  /** @param mayFragment - cut even what says "don't": a router that put fragments together has to take them apart */
  protected forwardPacket(frame: Uint8Array, mayFragment = false): void {
    const ttlAt = isIpv6(frame) ? 7 : 8
    if (frame[ttlAt]! <= 1) {
      this.#drop(frame, 'ttl-exceeded')
      return
    }
    const route = this.routeTo(destinationKey(frame))
    if (route === undefined) {
      this.#drop(frame, 'no-route')
      return
    }
    const { mtu } = route.exit
    const tooBig = frame.length > mtu
    if (tooBig && hasDontFragment(frame) && !mayFragment) {
      this.#drop(frame, 'too-big', mtu)
      return
    }
    frame[ttlAt]!--
    if (!isIpv6(frame)) fixIpv4Checksum(frame, 0)
    const leaving = this.leaving(frame, route.exit)
    if (leaving === undefined) return
    this.world.record(this.name, 'forward', leaving)
    if (!tooBig) this.emit(leaving, route)
    else for (const piece of fragment(leaving, mtu, this.nextId())) this.emit(piece, route)
  }

  /** Last look at a forwarded packet; a NAT translates here. Undefined drops it. */
  protected leaving(frame: Uint8Array, _exit: Exit): Uint8Array | undefined {
    return frame
  }

  protected emit(frame: Uint8Array, { exit, via }: Route): boolean {
    this.world.seen(this.name, 'out', frame)
    if (exit.emit(frame, via ?? destinationKey(frame))) return true
    this.#drop(frame, 'no-neighbour')
    return false
  }

  /** Tells the sender of `offending` what is wrong with it. */
  protected sendError(kind: IcmpErrorKind, offending: Uint8Array, mtu = 0): void {
    if (!this.icmpErrors) return
    const source = this.sourceFor(sourceKey(offending))
    const error = source === undefined ? undefined : icmpError(kind, source.bytes, offending, mtu)
    if (error !== undefined) this.output(error)
  }

  /** ICMP said that packets to `destination` may have `mtu` octets at most; never below the minimum of its family. */
  protected learnPathMtu(destination: AddressKey, mtu: number): void {
    const least = Math.max(mtu, isV6(destination) ? 1280 : 552)
    if (least < this.#learnt(destination))
      this.#pathMtus.set(destination, { mtu: least, until: this.world.clock.now() + PATH_MTU_AGE })
  }

  #learnt(destination: AddressKey): number {
    const known = this.#pathMtus.get(destination)
    if (known === undefined) return Number.POSITIVE_INFINITY
    if (this.world.clock.now() < known.until) return known.mtu
    this.#pathMtus.delete(destination)
    return Number.POSITIVE_INFINITY
  }

  /** Called after any change of its interfaces' addresses. */
  protected addressesChanged(): void {}

  #refuse(packet: Uint8Array, reason: string): boolean {
    this.world.drop(this.name, packet, reason)
    return false
  }

  #drop(frame: Uint8Array, kind: IcmpErrorKind, mtu?: number): void {
    this.world.drop(this.name, frame, kind)
    if (!this.locals.has(sourceKey(frame))) this.sendError(kind, frame, mtu)
  }
}
