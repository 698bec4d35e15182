import { networkInterfaces } from 'node:os'
import type { Log } from '../../core/contracts/log.ts'
import type { Address, Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { PacketIo, PacketIoSink } from '../../core/contracts/packet-io.ts'
import type { LocalEndpoint, Transport, TransportSink } from '../../core/contracts/transport.ts'
import { SystemError, UsageError } from '../../core/errors.ts'
import {
  addressBytes,
  DONT_FRAGMENT,
  familyOf,
  getU16,
  type IpHeader,
  Ipv4,
  ipv4HeaderLength,
} from '../../core/wire/index.ts'
import { type Interfaces, isFixed, isPresent, selectAddresses } from './addresses.ts'
import { EspSockets } from './esp-sockets.ts'
import { Flows } from './flows.ts'
import { type Ancillary, readControl } from './message.ts'
import { openRaw, type RawHandle, type RawSocket } from './native.ts'
import { ANCILLARY, INDEX_WORDS, META, startReader } from './reader.ts'

/** ESP, AH. */
export type RawProtocol = 50 | 51

export interface RawOptions {
  /** Addresses to use; `0.0.0.0` and `::` mean all of their family. Default: all but loopback and link-local. */
  readonly addresses?: readonly string[]
  /** Prefixes, addresses or interface names (`docker*`) that detection leaves out; `nw*` always. */
  readonly exclude?: readonly string[]
  /** IP protocols to carry, default both. */
  readonly protocols?: readonly RawProtocol[]
  /** Milliseconds between looks for changed addresses, default 5000; 0 for never. */
  readonly watchMs?: number
  /** Octets of kernel buffer asked for per socket and direction, default 4 MiB. */
  readonly bufferSize?: number
  /** Where addresses come from; default os.networkInterfaces. */
  readonly interfaces?: () => Interfaces
}

export interface RawStats {
  readonly received: number
  readonly receivedOctets: number
  readonly sent: number
  readonly sentOctets: number
  /** Received for an address that is not used here; a raw socket gets a copy of everything. */
  readonly foreign: number
  /** Not sent: no socket or local address for the flow. */
  readonly unbound: number
  /** Refused by the kernel, by error code: EMSGSIZE too big for the interface, EAGAIN and ENOBUFS full, EPERM a firewall. */
  readonly sendErrors: Readonly<Record<string, number>>
}

/** The header of a flow's packets; what differs from packet to packet is filled in before each. */
type FlowHeader = { -readonly [K in keyof IpHeader]-?: IpHeader[K] }

const SOURCE_IN_NAME = 8 // sockaddr_in6: family, port, flow information, address
const DEFAULT_TTL = 64

const ESP = 50
const AH = 51

/**
 * IP protocols 50 and 51 over raw sockets, one per protocol and family for all local addresses. Where a data plane reads
 * sockets itself, those of ESP are its own.
 */
export class RawTransport implements Transport {
  readonly name = 'raw'
  readonly #options: RawOptions
  readonly #log: Log
  readonly #interfaces: () => Interfaces
  readonly #io: PacketIo | undefined
  #esp: EspSockets | undefined
  /** As the sockets in the handle. */
  #flows: readonly Flows[] = []
  #headers = new WeakMap<Flow, FlowHeader>()
  #locals: readonly LocalEndpoint[] = []
  #addresses: ReadonlySet<Address> = new Set()
  readonly #packet: Packet = {
    bytes: new Uint8Array(0),
    start: 0,
    end: 0,
    nextHeader: 0,
    tos: 0,
    ttl: 0,
    df: false,
    id: 0,
    flowLabel: 0,
  }
  readonly #ancillary: Ancillary = { destinationAt: -1, tos: 0, ttl: 0, flowLabel: 0 }
  readonly #sendErrors: Record<string, number> = {}
  #received = 0
  #receivedOctets = 0
  #sent = 0
  #sentOctets = 0
  #foreign = 0
  #unbound = 0
  #handle: RawHandle | undefined
  #stopReader: (() => Promise<void>) | undefined
  #sink: TransportSink | undefined
  #timer: NodeJS.Timeout | undefined
  #scan: Promise<void> | undefined

  /** @param io - opens the sockets of ESP; absent: they are opened here, and a thread of this plugin's reads them */
  constructor(options: RawOptions, log: Log, io?: PacketIo) {
    this.#options = options
    this.#io = io
    this.#log = log
    this.#interfaces = options.interfaces ?? networkInterfaces
  }

  /** @throws SystemError SYSTEM_MISSING, SYSTEM_PERMISSION, SYSTEM_ADDRESS, SYSTEM_SOCKET; UsageError USAGE_ADDRESS */
  async open(sink: TransportSink): Promise<void> {
    if (this.#sink !== undefined) throw new UsageError('USAGE_OPEN', 'raw: already open')
    const { addresses, exclude, protocols = [50, 51], watchMs = 5_000, bufferSize = 4 << 20 } = this.#options
    const wanted = selectAddresses(this.#interfaces(), addresses, exclude)
    const missing = wanted.find(address => !isPresent(this.#interfaces(), address))
    if (missing !== undefined) throw new SystemError('SYSTEM_ADDRESS', `${missing} is not an address of this host`)
    if (wanted.length === 0) {
      throw new SystemError('SYSTEM_ADDRESS', 'this host has no address to use: check addresses and exclude')
    }
    this.#sink = sink
    try {
      const all = [...new Set(protocols)]
      const threaded = this.#io?.available === true && all.includes(ESP)
      const own = threaded ? all.filter(protocol => protocol !== ESP) : all
      if (own.length > 0) await this.#openOwn(own, bufferSize)
      if (threaded) {
        this.#esp = new EspSockets(this.#io!, bufferSize, address => this.#espSink(address))
        const failures = await this.#esp.use(wanted)
        if (this.#esp.locals.length === 0) throw failures[0]
        // an address that has just gone, or is not ready yet: it is looked for again
        for (const failure of failures) sink.failed(failure)
      }
    } catch (error) {
      await this.close()
      throw error
    }
    this.#use(wanted)
    if (watchMs > 0 && !isFixed(addresses)) this.#timer = setInterval(() => this.rescan(), watchMs).unref()
  }

  async #openOwn(protocols: readonly RawProtocol[], bufferSize: number): Promise<void> {
    const handle = await openRaw(protocols, bufferSize)
    this.#handle = handle
    this.#flows = handle.sockets.map(() => new Flows())
    this.#stopReader = startReader(
      handle,
      batch => this.#deliver(batch),
      error => this.#sink?.failed(error),
    )
    if (!handle.routesByProtocol) {
      this.#log.warn(
        'this kernel looks up routes of raw IPv4 packets without their protocol: no full tunnel with plain ESP',
      )
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#sink = undefined
    this.#handle = undefined
    clearInterval(this.#timer)
    await this.#scan
    await this.#esp?.use([])
    this.#esp = undefined
    this.#use([])
    await this.#stopReader?.()
    this.#stopReader = undefined
    handle?.close()
  }

  locals(): readonly LocalEndpoint[] {
    return this.#locals
  }

  /** Nothing: finding the way is the business of the transport that carries IKE. */
  async source(): Promise<undefined> {
    return undefined
  }

  async resolve(): Promise<readonly Address[]> {
    return []
  }

  carries(flow: Flow): boolean {
    if (this.#threaded(flow)) return this.#esp!.has(flow.local.address)
    return this.#addresses.has(flow.local.address) && this.#socket(flow) !== undefined
  }

  #threaded({ protocol }: Flow): boolean {
    return this.#esp !== undefined && protocol === ESP
  }

  send(packet: Packet, flow: Flow): void {
    const failure = this.#threaded(flow) ? this.#esp!.send(packet, flow) : this.#sendOwn(packet, flow)
    if (failure === null) {
      this.#unbound++
      return
    }
    if (failure !== undefined) return this.#sendFailed(failure)
    this.#sent++
    this.#sentOctets += packet.end - packet.start
  }

  /** @returns the error's name when the kernel refused it; null when no socket is of this flow */
  #sendOwn(packet: Packet, flow: Flow): string | undefined | null {
    const socket = this.#socket(flow)
    if (socket === undefined || !this.#addresses.has(flow.local.address)) return null
    const header = this.#header(flow)
    header.tos = packet.tos
    header.ttl = packet.ttl || DEFAULT_TTL
    header.df = packet.df
    header.id = packet.id
    header.flowLabel = packet.flowLabel
    const failure = socket.send(packet, header)
    if (failure === 'EMSGSIZE') {
      const mtu = socket.pathMtu()
      if (mtu !== undefined) this.#sink?.pathMtu?.(flow.local.address, flow.remote.address, mtu)
    }
    return failure
  }

  stats(): RawStats {
    return {
      received: this.#received,
      receivedOctets: this.#receivedOctets,
      sent: this.#sent,
      sentOctets: this.#sentOctets,
      foreign: this.#foreign,
      unbound: this.#unbound,
      sendErrors: { ...this.#sendErrors },
    }
  }

  /** Looks for changed addresses now and tells the sink. Never throws; calls do not overlap. */
  rescan(): Promise<void> {
    this.#scan ??= this.#rescan().finally(() => {
      this.#scan = undefined
    })
    return this.#scan
  }

  async #rescan(): Promise<void> {
    if (this.#sink === undefined) return
    const wanted = selectAddresses(this.#interfaces(), this.#options.addresses, this.#options.exclude)
    const shown = (): string => this.#locals.map(({ protocol, address }) => `${protocol} ${address}`).join(' ')
    const before = shown()
    if (this.#esp !== undefined) for (const failure of await this.#esp.use(wanted)) this.#sink?.failed(failure)
    this.#use(wanted)
    if (before === shown()) return
    this.#log.info('local addresses changed', { locals: [...new Set(this.#locals.map(({ address }) => address))] })
    this.#sink?.changed()
  }

  #espSink(address: Address): PacketIoSink<Flow> {
    return {
      receive: (packet, flow) => {
        this.#received++
        this.#receivedOctets += packet.end - packet.start
        this.#sink?.receive(packet, flow)
      },
      pathMtu: (remote, mtu) => this.#sink?.pathMtu?.(address, remote, mtu),
      failed: error => this.#sink?.failed(error),
    }
  }

  #socket({ protocol, local }: Flow): RawSocket | undefined {
    const family = familyOf(local.address)
    for (const socket of this.#handle?.sockets ?? [])
      if (socket.protocol === protocol && socket.family === family) return socket
    return undefined
  }

  #header(flow: Flow): FlowHeader {
    let header = this.#headers.get(flow)
    if (header === undefined) {
      const [source, destination] = [addressBytes(flow.local.address), addressBytes(flow.remote.address)]
      header = { source, destination, protocol: flow.protocol, tos: 0, ttl: 0, df: false, id: 0, flowLabel: 0 }
      this.#headers.set(flow, header)
    }
    return header
  }

  #usable(addresses: readonly Address[]): readonly Address[] {
    const families = new Set(this.#handle?.sockets.map(({ family }) => family))
    return addresses.filter(address => families.has(familyOf(address)))
  }

  #use(addresses: readonly Address[]): void {
    const usable = this.#usable(addresses)
    this.#addresses = new Set(usable)
    const sockets = this.#handle?.sockets ?? []
    const locals = sockets.map(({ protocol, family }) =>
      usable
        .filter(address => familyOf(address) === family)
        .map(address => ({ protocol, role: 'raw', address, port: 0 }) satisfies LocalEndpoint),
    )
    this.#locals = [...(this.#esp?.locals ?? []), ...locals.flat()]
    this.#flows.forEach((flows, i) => {
      flows.setLocals(new Map(locals[i]?.map(local => [local.address, local])))
    })
  }

  #deliver(batch: ArrayBuffer): void {
    const [socketIndex = 0, count = 0] = new Uint32Array(batch, 0, 2)
    const index = new Uint32Array(batch, 0, 2 + INDEX_WORDS * count)
    const family = this.#handle?.sockets[socketIndex]?.family
    const flows = this.#flows[socketIndex]
    if (family === undefined || flows === undefined) return
    const packet = this.#packet
    const bytes = new Uint8Array(batch)
    for (let i = 0; i < count; i++) {
      packet.bytes = bytes
      packet.start = index[2 + INDEX_WORDS * i] ?? 0
      packet.end = index[3 + INDEX_WORDS * i] ?? 0
      const flow = family === 4 ? this.#readIpv4(flows) : this.#readIpv6(flows, index[4 + INDEX_WORDS * i] ?? 0)
      if (flow === undefined) {
        this.#foreign++
        continue
      }
      packet.nextHeader = flow.protocol
      this.#received++
      this.#receivedOctets += packet.end - packet.start
      this.#sink?.receive(packet, flow)
    }
  }

  /** The kernel has validated the header, put fragments together and leaves the header in front. */
  #readIpv4(flows: Flows): Flow | undefined {
    const packet = this.#packet
    const { bytes, start } = packet
    packet.tos = bytes[start + Ipv4.TOS]!
    packet.ttl = bytes[start + Ipv4.TTL]!
    packet.id = getU16(bytes, start + Ipv4.ID)
    packet.df = (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) !== 0
    packet.flowLabel = 0
    packet.start = start + ipv4HeaderLength(bytes, start)
    // AH covers the header with its options, which are known only here
    packet.outer = bytes[start + Ipv4.PROTOCOL] === AH ? packet.start - start : undefined
    return flows.of(bytes, start + Ipv4.SOURCE, start + Ipv4.DESTINATION, 4)
  }

  #readIpv6(flows: Flows, controlLength: number): Flow | undefined {
    const packet = this.#packet
    const ancillary = this.#ancillary
    const name = packet.start - META
    readControl(packet.bytes, name + ANCILLARY, name + ANCILLARY + controlLength, ancillary)
    packet.tos = ancillary.tos
    packet.ttl = ancillary.ttl
    packet.flowLabel = ancillary.flowLabel
    packet.id = 0
    packet.df = true // no router fragments IPv6
    if (ancillary.destinationAt < 0) return undefined
    return flows.of(packet.bytes, name + SOURCE_IN_NAME, ancillary.destinationAt, 16)
  }

  #sendFailed(code: string): void {
    const count = (this.#sendErrors[code] ?? 0) + 1
    this.#sendErrors[code] = count
    // one line per kind and then ever fewer: a dead route would otherwise write one per packet
    if ((count & (count - 1)) === 0) this.#log.debug('packet not sent', { code, count })
  }
}
