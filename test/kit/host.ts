import type { DeviceState } from '../../core/contracts/device.ts'
import type { Address, Prefix } from '../../core/contracts/net.ts'
import { SystemError, UsageError } from '../../core/errors.ts'
import { buildEcho, getU16, getU32, IpProtocol, setU16 } from '../../core/wire/index.ts'
import { type AddressKey, type Cidr, endKey, parseCidr, parseIp, showIp } from './address.ts'
import { BULK_PORT, Bulk, type BulkOptions, BulkReceiver } from './bulk.ts'
import { HostDevice } from './host-device.ts'
import { HostTransport, type HostTransportOptions } from './host-transport.ts'
import { Node } from './node.ts'
import {
  checksumsValid,
  destinationAt,
  destinationKey,
  isEchoReply,
  isEchoRequest,
  isIcmpError,
  isIpv6,
  newIp,
  payloadAt,
  protocolOf,
  sealChecksums,
  sourceAt,
  sourceKey,
} from './packet.ts'
import { Ping, type PingOptions } from './ping.ts'
import type { FlowPath, TcpFlow } from './tcp-flow.ts'
import { type UdpSendOptions, UdpSocket } from './udp-socket.ts'
import type { World } from './world.ts'

/** A host with applications: echo, UDP sockets, bulk transfers; and with the rim of natweave: transport and device. */
export class Host extends Node {
  /** Packets thrown away because a transport checksum was wrong. */
  badChecksums = 0
  /** Bulk transfers received here, oldest first. */
  readonly bulkReceived: BulkReceiver[] = []
  readonly #udpPorts = new Map<number, (packet: Uint8Array) => void>()
  readonly #pings = new Map<number, Ping>()
  readonly #flows = new Map<string, TcpFlow>()
  readonly #transports: HostTransport[] = []
  readonly #devices: HostDevice[] = []
  #nextPort = 49_152

  constructor(name: string, world: World) {
    super(name, world)
    this.handlers.set(IpProtocol.ICMP, packet => this.#icmp(packet))
    this.handlers.set(IpProtocol.ICMPV6, packet => this.#icmp(packet))
    this.handlers.set(IpProtocol.UDP, packet => this.#udp(packet))
    this.handlers.set(IpProtocol.TCP, packet => this.#tcp(packet))
  }

  /** A transport on this host's addresses; open it to bind its ports. */
  transport(options: HostTransportOptions = {}): HostTransport {
    const transport = new HostTransport(this, this.world, options)
    this.#transports.push(transport)
    return transport
  }

  /** A TUN device of this host. */
  device({ name = `tun${this.#devices.length}` }: { readonly name?: string } = {}): HostDevice {
    const device = new HostDevice(name, this, this.world)
    this.#devices.push(device)
    return device
  }

  /** Opens a UDP socket; port 0 takes a free one. @throws SystemError SYSTEM_PORT_BUSY */
  udp(port = 0): UdpSocket {
    const own = port === 0 ? this.freePort() : port
    const socket = new UdpSocket(
      own,
      (data, to, remotePort, options) => this.#sendUdp(own, data, to, remotePort, options),
      () => unbind(),
    )
    const unbind = this.bindUdp(own, packet => {
      const at = payloadAt(packet)
      const v6 = isIpv6(packet)
      this.world.clock.outside = true
      socket.take({
        data: packet.slice(at + 8, at + getU16(packet, at + 4)),
        from: { address: showIp(packet, sourceAt(packet), v6), port: getU16(packet, at) },
        to: showIp(packet, destinationAt(packet), v6),
      })
    })
    return socket
  }

  /** Starts pinging. */
  ping(to: Address, options: PingOptions = {}): Ping {
    const { count = 1, interval = 1000, size = 56, timeout = 2000 } = options
    const ping = new Ping(count)
    const id = this.freePort()
    this.#pings.set(id, ping)
    const next = (): void => {
      this.#echo(to, id, ping.noteSent(this.world.clock.now()), size, options)
      if (ping.sent < count) this.world.clock.after(interval, next)
      else
        this.world.clock.after(timeout, () => {
          ping.done = true
          this.#pings.delete(id)
        })
    }
    next()
    return ping
  }

  /** Starts a bulk transfer to whichever host has this address. */
  bulk(to: Address, options: BulkOptions): Bulk {
    const port = this.freePort()
    const source = options.source ?? this.sourceFor(parseIp(to).key)?.text
    if (source === undefined) throw new UsageError('USAGE_ROUTE', `${this.name} has no route to ${to}`)
    const path = this.#flowPath(source, port, to, BULK_PORT)
    const bulk = new Bulk(path, options, this.world.rng(this.name).u32())
    this.#flows.set(flowKey(parseIp(to).key, BULK_PORT, port), bulk.flow)
    bulk.flow.connect()
    return bulk
  }

  /** @internal One receiver per port. @throws SystemError SYSTEM_PORT_BUSY */
  bindUdp(port: number, take: (packet: Uint8Array) => void): () => void {
    if (this.#udpPorts.has(port)) throw new SystemError('SYSTEM_PORT_BUSY', `${this.name}: UDP port ${port} is taken`)
    this.#udpPorts.set(port, take)
    return () => {
      if (this.#udpPorts.get(port) === take) this.#udpPorts.delete(port)
    }
  }

  /** @internal One receiver per IP protocol. @throws SystemError SYSTEM_PORT_BUSY */
  bindProtocol(protocol: number, take: (packet: Uint8Array) => void): () => void {
    if (this.handlers.has(protocol))
      throw new SystemError('SYSTEM_PORT_BUSY', `${this.name}: protocol ${protocol} is taken`)
    this.handlers.set(protocol, take)
    return () => {
      if (this.handlers.get(protocol) === take) this.handlers.delete(protocol)
    }
  }

  /** True when a socket is bound to this port. */
  hasUdp(port: number): boolean {
    return this.#udpPorts.has(port)
  }

  /** @internal */
  fromDevice(packet: Uint8Array, device: HostDevice): void {
    this.input(packet, device)
  }

  /** @internal Installs a device's addresses and routes, in place of those it had. */
  configureDevice(device: HostDevice, state: DeviceState | undefined): void {
    for (const ip of device.addresses) if (this.locals.get(ip.key) === device) this.locals.delete(ip.key)
    this.tunnelRoutes.deleteExit(device)
    device.addresses = (state?.addresses ?? []).map(({ address }) => parseIp(address))
    // An interface's own address stays the interface's: transport mode has no other.
    for (const ip of device.addresses) if (!this.locals.has(ip.key)) this.locals.set(ip.key, device)
    for (const { to, source } of state?.routes ?? []) {
      this.tunnelRoutes.set(cidrOf(to), device, undefined, source === undefined ? undefined : parseIp(source))
    }
  }

  protected override addressesChanged(): void {
    for (const transport of this.#transports) transport.addressesChanged()
  }

  /** @internal A port nobody has bound. */
  freePort(): number {
    do this.#nextPort = this.#nextPort === 65_535 ? 49_152 : this.#nextPort + 1
    while (this.#udpPorts.has(this.#nextPort) || this.#pings.has(this.#nextPort))
    return this.#nextPort
  }

  #sendUdp(port: number, data: Uint8Array, to: Address, remotePort: number, options: UdpSendOptions): boolean {
    const destination = parseIp(to)
    const bypass = this.#devices.some(device => device.state?.bypassPorts.includes(port))
    const source = options.source === undefined ? this.sourceFor(destination.key, bypass) : parseIp(options.source)
    if (source === undefined) return false
    const { df = false, ttl = 64 } = options
    const header = { source: source.bytes, destination: destination.bytes, protocol: IpProtocol.UDP, df, ttl }
    const packet = newIp({ ...header, id: this.nextId() }, 8 + data.length)
    const at = payloadAt(packet)
    setU16(packet, at, port)
    setU16(packet, at + 2, remotePort)
    setU16(packet, at + 4, 8 + data.length)
    packet.set(data, at + 8)
    sealChecksums(packet)
    return this.output(packet, bypass)
  }

  #echo(to: Address, id: number, sequence: number, size: number, { df = false, source }: PingOptions): void {
    const destination = parseIp(to)
    const from = source === undefined ? this.sourceFor(destination.key) : parseIp(source)
    if (from === undefined) return
    const data = Uint8Array.from({ length: size }, (_, i) => i)
    const packet = buildEcho(from.bytes, destination.bytes, { reply: false, id, sequence, data })
    if (!isIpv6(packet)) {
      setU16(packet, 4, this.nextId())
      setU16(packet, 6, df ? 0x4000 : 0)
      sealChecksums(packet)
    }
    this.output(packet)
  }

  #intact(packet: Uint8Array): boolean {
    if (checksumsValid(packet)) return true
    this.badChecksums++
    this.world.drop(this.name, packet, 'checksum')
    return false
  }

  #icmp(packet: Uint8Array): void {
    const at = payloadAt(packet)
    if (packet.length < at + 8 || !this.#intact(packet)) return
    const id = getU16(packet, at + 4)
    if (isEchoRequest(packet)) {
      const answer = { reply: true, id, sequence: getU16(packet, at + 6), data: packet.subarray(at + 8) }
      this.output(buildEcho(slice(packet, destinationAt(packet)), slice(packet, sourceAt(packet)), answer))
    } else if (isEchoReply(packet)) this.#pings.get(id)?.noteReply(packet, this.world.clock.now())
    else if (isIcmpError(packet)) this.#icmpError(packet, at, at + 8)
  }

  #icmpError(packet: Uint8Array, at: number, quoted: number): void {
    const v6 = isIpv6(packet)
    if (packet.length < quoted + (v6 ? 48 : 28)) return
    const protocol = protocolOf(packet, quoted)
    if (v6 ? packet[at] === 2 : packet[at] === 3 && packet[at + 1] === 4)
      this.learnPathMtu(destinationKey(packet, quoted), v6 ? getU32(packet, at + 4) : getU16(packet, at + 6))
    const payload = payloadAt(packet, quoted)
    if (packet.length < payload + 8) return
    if (protocol === IpProtocol.TCP) {
      const key = flowKey(destinationKey(packet, quoted), getU16(packet, payload + 2), getU16(packet, payload))
      this.#flows.get(key)?.pathChanged()
    } else if (protocol === IpProtocol.ICMP || protocol === IpProtocol.ICMPV6) {
      const ping = this.#pings.get(getU16(packet, payload + 4))
      if (ping !== undefined) ping.errors++
    }
  }

  #udp(packet: Uint8Array): void {
    const at = payloadAt(packet)
    if (packet.length < at + 8 || getU16(packet, at + 4) < 8 || at + getU16(packet, at + 4) > packet.length) {
      this.world.drop(this.name, packet, 'malformed')
      return
    }
    if (!this.#intact(packet)) return
    const take = this.#udpPorts.get(getU16(packet, at + 2))
    if (take !== undefined) {
      take(packet)
      return
    }
    this.world.drop(this.name, packet, 'no-port')
    this.sendError('no-port', packet)
  }

  #tcp(packet: Uint8Array): void {
    const at = payloadAt(packet)
    if (packet.length < at + 20 || !this.#intact(packet)) return
    const key = flowKey(sourceKey(packet), getU16(packet, at), getU16(packet, at + 2))
    let flow = this.#flows.get(key)
    if (flow === undefined && getU16(packet, at + 2) === BULK_PORT && (packet[at + 13]! & 0x12) === 2) {
      const v6 = isIpv6(packet)
      const local = showIp(packet, destinationAt(packet), v6)
      const path = this.#flowPath(local, BULK_PORT, showIp(packet, sourceAt(packet), v6), getU16(packet, at))
      const receiver = new BulkReceiver(path, this.world.rng(this.name).u32())
      this.bulkReceived.push(receiver)
      flow = receiver.flow
      this.#flows.set(key, flow)
    }
    if (flow === undefined) this.world.drop(this.name, packet, 'no-port')
    else flow.receive(packet)
  }

  #flowPath(local: Address, localPort: number, remote: Address, remotePort: number): FlowPath {
    const { key } = parseIp(remote)
    return {
      clock: this.world.clock,
      local: { address: local, port: localPort },
      remote: { address: remote, port: remotePort },
      output: packet => this.output(packet),
      mtu: () => this.mtuTo(key),
    }
  }
}

/** Most routes of a device stay from one state to the next. */
const cidrs = new WeakMap<Prefix, Cidr>()

function cidrOf(prefix: Prefix): Cidr {
  let cidr = cidrs.get(prefix)
  if (cidr === undefined) {
    cidr = parseCidr(`${prefix.address}/${prefix.bits}`)
    cidrs.set(prefix, cidr)
  }
  return cidr
}

const slice = (packet: Uint8Array, at: number): Uint8Array => packet.subarray(at, at + (isIpv6(packet) ? 16 : 4))
const flowKey = (remote: AddressKey, remotePort: number, localPort: number): string =>
  `${endKey(remote, remotePort)} ${localPort}`
