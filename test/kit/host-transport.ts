import type { Address, Endpoint, Flow, FlowProtocol } from '../../core/contracts/net.ts'
import { HEADROOM, MAX_PACKET, type Packet } from '../../core/contracts/packet.ts'
import type { LocalEndpoint, Transport, TransportSink } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import { getU16, getU32, IpProtocol, parseAddress, setU16 } from '../../core/wire/index.ts'
import { type AddressKey, endKey, type Ip, keyAt, showIp } from './address.ts'
import {
  destinationAt,
  destinationKey,
  hasDontFragment,
  isIpv6,
  newIp,
  payloadAt,
  sealChecksums,
  sourceAt,
  sourceKey,
} from './packet.ts'
import type { World } from './world.ts'

export interface HostTransportOptions {
  /** UDP port of role 'ike'; default 500. */
  readonly ike?: number
  /** UDP port of role 'natt'; default 4500. */
  readonly natt?: number
  /** False: no UDP ports, raw protocols alone. */
  readonly udp?: boolean
  /** Raw protocols; default ESP only. */
  readonly protocols?: readonly (50 | 51)[]
}

/** What a transport needs from its host. */
export interface TransportHost {
  readonly name: string
  readonly addresses: readonly Ip[]
  bindUdp(port: number, take: (packet: Uint8Array) => void): () => void
  /** A port nobody has bound. */
  freePort(): number
  bindProtocol(protocol: number, take: (packet: Uint8Array) => void): () => void
  sourceFor(destination: AddressKey, bypass: boolean): Ip | undefined
  mtuTo(destination: AddressKey, bypass: boolean): number
  output(packet: Uint8Array, bypass: boolean): boolean
  /** A fresh IP identification. */
  nextId(): number
}

const MAX_FLOWS = 65_536
/** Packets up to this get through everywhere, RFC 791 §3.1. */
const SMALL = 576
/** A path MTU is told again after that time, ms. */
const TELL_AGAIN = 60_000

/** Sockets of IKE and ESP on a virtual host: real IP packets, past all tunnel routes. */
export class HostTransport implements Transport {
  readonly name = 'virtual'
  readonly #host: TransportHost
  readonly #world: World
  readonly #udpPorts: Map<number, LocalEndpoint['role']>
  readonly #protocols: readonly (50 | 51)[]
  readonly #flows = new Map<AddressKey, Map<AddressKey, Flow>>()
  readonly #bytes = new Map<Address, Uint8Array>()
  readonly #told = new Map<string, { readonly mtu: number; readonly at: number }>()
  #unbind: (() => void)[] = []
  readonly #extra = new Map<number, () => void>()
  #locals: readonly LocalEndpoint[] | undefined
  #sink: TransportSink | undefined

  constructor(host: TransportHost, world: World, options: HostTransportOptions) {
    const { ike = 500, natt = 4500, udp = true, protocols = [50] } = options
    this.#host = host
    this.#world = world
    this.#udpPorts = new Map(
      udp
        ? [
            [ike, 'ike'],
            [natt, 'natt'],
          ]
        : [],
    )
    this.#protocols = protocols
  }

  /** On all addresses of the host at once: a port is the host's. */
  async bind(address: Address): Promise<LocalEndpoint> {
    if (this.#sink === undefined) throw new SystemError('SYSTEM_ADDRESS', `${this.#host.name}: not open`)
    const port = this.#host.freePort()
    this.#extra.set(
      port,
      this.#host.bindUdp(port, packet => this.#udp(packet)),
    )
    this.#udpPorts.set(port, 'extra')
    this.addressesChanged()
    return { address, port, role: 'extra', protocol: 17 }
  }

  unbind({ port }: Endpoint): void {
    this.#extra.get(port)?.()
    if (!this.#extra.delete(port)) return
    this.#udpPorts.delete(port)
    this.addressesChanged()
  }

  async open(sink: TransportSink): Promise<void> {
    for (const port of this.#udpPorts.keys()) this.#unbind.push(this.#host.bindUdp(port, packet => this.#udp(packet)))
    for (const protocol of this.#protocols)
      this.#unbind.push(this.#host.bindProtocol(protocol, packet => this.#raw(packet, protocol)))
    this.#sink = sink
  }

  async close(): Promise<void> {
    for (const unbind of [...this.#unbind, ...this.#extra.values()]) unbind()
    for (const port of this.#extra.keys()) this.#udpPorts.delete(port)
    this.#extra.clear()
    this.#unbind = []
    this.#sink = undefined
  }

  locals(): readonly LocalEndpoint[] {
    if (this.#sink === undefined) return []
    this.#locals ??= this.#host.addresses.flatMap(({ text: address }) => [
      ...[...this.#udpPorts].map(([port, role]): LocalEndpoint => ({ address, port, role, protocol: 17 })),
      ...this.#protocols.map((protocol): LocalEndpoint => ({ address, port: 0, role: 'raw', protocol })),
    ])
    return this.#locals
  }

  async source(remote: Address): Promise<Address | undefined> {
    // finding the way is the business of the transport that carries IKE
    if (this.#udpPorts.size === 0) return undefined
    const bytes = parseAddress(remote)
    return bytes && this.#host.sourceFor(keyAt(bytes, 0, bytes.length === 16), true)?.text
  }

  async resolve(host: string): Promise<readonly Address[]> {
    const bytes = parseAddress(host)
    if (bytes !== undefined) return [showIp(bytes, 0, bytes.length === 16)]
    const addresses = this.#world.names.get(host)
    if (addresses === undefined)
      throw new SystemError('SYSTEM_RESOLVE', `${host}: no such name in the virtual internet`)
    return addresses
  }

  carries({ protocol, local }: Flow): boolean {
    return this.locals().some(
      own => own.protocol === protocol && own.port === local.port && own.address === local.address,
    )
  }

  send(packet: Packet, flow: Flow): void {
    if (this.#sink === undefined) return
    const { protocol, local, remote } = flow
    const length = packet.end - packet.start
    const udp = protocol === IpProtocol.UDP
    const source = this.#address(local.address)
    const destination = this.#address(remote.address)
    if (source.length !== destination.length || length + 48 > MAX_PACKET) return
    const out = newIp(
      {
        source,
        destination,
        protocol,
        tos: packet.tos,
        ttl: packet.ttl || 64,
        df: packet.df,
        id: packet.id || (packet.df ? 0 : this.#host.nextId()),
        flowLabel: packet.flowLabel,
      },
      length + (udp ? 8 : 0),
    )
    out.set(packet.bytes.subarray(packet.start, packet.end), out.length - length)
    if (udp) {
      const at = payloadAt(out)
      setU16(out, at, local.port)
      setU16(out, at + 2, remote.port)
      setU16(out, at + 4, length + 8)
    }
    sealChecksums(out)
    if (out.length > SMALL) this.#tellMtu(out, local.address, remote.address)
    // As a kernel refuses: the socket's address went away while the engine was not looking.
    if (this.carries(flow)) this.#host.output(out, true)
    else this.#world.drop(this.#host.name, out, 'no-such-local')
  }

  /** @internal The host's addresses changed. */
  addressesChanged(): void {
    this.#locals = undefined
    this.#flows.clear()
    if (this.#sink === undefined) return
    this.#world.clock.outside = true
    this.#sink.changed()
  }

  /** What the host knows of the path, from its own exits and from ICMP. */
  #tellMtu(packet: Uint8Array, local: Address, remote: Address): void {
    const mtu = this.#host.mtuTo(destinationKey(packet), true)
    const now = this.#world.clock.now()
    const key = `${local} ${remote}`
    const told = this.#told.get(key)
    if (told?.mtu === mtu && now < told.at + TELL_AGAIN) return
    if (this.#told.size >= MAX_FLOWS) this.#told.clear()
    this.#told.set(key, { mtu, at: now })
    this.#sink?.pathMtu?.(local, remote, mtu)
  }

  #udp(packet: Uint8Array): void {
    const at = payloadAt(packet)
    const local = endKey(destinationKey(packet), getU16(packet, at + 2))
    const remote = endKey(sourceKey(packet), getU16(packet, at))
    this.#receive(packet, at + 8, at + getU16(packet, at + 4), local, remote, IpProtocol.UDP)
  }

  #raw(packet: Uint8Array, protocol: 50 | 51): void {
    // Port 0 keeps raw flows apart from UDP ones; the protocol number is in its place in the local key.
    const local = endKey(destinationKey(packet), protocol - 50)
    const at = payloadAt(packet)
    this.#receive(packet, at, packet.length, local, endKey(sourceKey(packet), 0), protocol)
  }

  #receive(
    p: Uint8Array,
    from: number,
    to: number,
    local: AddressKey,
    remote: AddressKey,
    protocol: FlowProtocol,
  ): void {
    const sink = this.#sink
    if (sink === undefined) return
    const v6 = isIpv6(p)
    const { received: packet, clock } = this.#world
    // AH covers the header too, options included
    packet.outer = protocol === IpProtocol.AH && from <= HEADROOM ? from : undefined
    packet.bytes.set(p.subarray(from - (packet.outer ?? 0), to), HEADROOM - (packet.outer ?? 0))
    packet.start = HEADROOM
    packet.end = HEADROOM + (to - from)
    packet.nextHeader = protocol
    packet.tos = v6 ? ((p[0]! << 4) | (p[1]! >> 4)) & 0xff : p[1]!
    packet.ttl = p[v6 ? 7 : 8]!
    packet.df = !v6 && hasDontFragment(p)
    packet.id = v6 ? 0 : getU16(p, 4)
    packet.flowLabel = v6 ? getU32(p, 0) & 0xf_ffff : 0
    clock.outside = true
    sink.receive(packet, this.#flow(p, local, remote, protocol))
  }

  #flow(p: Uint8Array, local: AddressKey, remote: AddressKey, protocol: FlowProtocol): Flow {
    let flows = this.#flows.get(local)
    if (flows === undefined || flows.size >= MAX_FLOWS) {
      flows = new Map()
      this.#flows.set(local, flows)
    }
    let flow = flows.get(remote)
    if (flow === undefined) {
      const v6 = isIpv6(p)
      const at = payloadAt(p)
      const port = (offset: number): number => (protocol === IpProtocol.UDP ? getU16(p, at + offset) : 0)
      flow = {
        protocol,
        local: { address: showIp(p, destinationAt(p), v6), port: port(2) },
        remote: { address: showIp(p, sourceAt(p), v6), port: port(0) },
      }
      flows.set(remote, flow)
    }
    return flow
  }

  #address(text: Address): Uint8Array {
    let bytes = this.#bytes.get(text)
    if (bytes === undefined) {
      if (this.#bytes.size >= MAX_FLOWS) this.#bytes.clear()
      bytes = parseAddress(text) ?? new Uint8Array(text.includes(':') ? 16 : 4)
      this.#bytes.set(text, bytes)
    }
    return bytes
  }
}
