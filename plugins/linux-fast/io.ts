import type { Flow, FlowProtocol } from '../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet } from '../../core/contracts/packet.ts'
import type { BoundSocket, PacketIo, PacketIoSink, TunQueue } from '../../core/contracts/packet-io.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import { Datagram } from './datagram.ts'
import { openEar, openSocket, openTunQueue } from './descriptors.ts'
import type { Libc } from './libc.ts'
import { type Command, INDEX_WORDS, type Leftovers, RELAYED, type Release, type Report } from './messages.ts'
import { PathMtuDiscovery } from './path-mtu.ts'
import { Vnet } from './vnet.ts'

interface OpenSocket {
  readonly fd: number
  readonly local: LocalEndpoint
  readonly sink: PacketIoSink<Flow>
}

/** What the main thread writes to the device: virtio header and packet. */
const SIZE = Vnet.OCTETS + 65_536

/** What `FastIo` wants of the thread that reads its descriptors. */
export interface Reader {
  post(command: Command): void
  /** Resolves when the thread has let go of a descriptor, or there is none. */
  release(command: Release): Promise<void>
}

/**
 * Opens sockets and the TUN device, which the thread reads; what the main thread sends, it sends itself, on the same
 * descriptors.
 */
export class FastIo implements PacketIo {
  readonly name = 'linux-fast'
  available = true
  readonly #libc: Libc
  readonly #discovery: PathMtuDiscovery
  readonly #openQueue: typeof openTunQueue
  readonly #reader: Reader
  readonly #sockets = new Map<number, OpenSocket>()
  readonly #packet: Packet = newPacket(0)
  readonly #datagram: Datagram
  readonly #out = new Uint8Array(SIZE)
  readonly #outAt: number
  #tun: { readonly fd: number; readonly udp: boolean; readonly sink: PacketIoSink<undefined> } | undefined
  #serial = 0

  /** @param openQueue - opens the TUN device */
  constructor(libc: Libc, reader: Reader, openQueue = openTunQueue) {
    this.#libc = libc
    this.#discovery = new PathMtuDiscovery(libc)
    this.#datagram = new Datagram(libc)
    this.#openQueue = openQueue
    this.#reader = reader
    this.#outAt = libc.address(this.#out)
  }

  /** Whether a TUN device is open. */
  get hasDevice(): boolean {
    return this.#tun !== undefined
  }

  /** Whether it has sockets of this protocol. */
  carries(protocol: FlowProtocol): boolean {
    return [...this.#sockets.values()].some(({ local }) => local.protocol === protocol)
  }

  /** What a new thread has to be told. */
  *history(): Iterable<Command> {
    for (const [id, { fd, local }] of this.#sockets) yield { type: 'socket', id, fd, local }
    if (this.#tun !== undefined) yield { type: 'tun', fd: this.#tun.fd, udp: this.#tun.udp }
  }

  async bind(wanted: LocalEndpoint, bufferSize: number, sink: PacketIoSink<Flow>): Promise<BoundSocket> {
    const { fd, local } = openSocket(this.#libc, wanted, bufferSize)
    const ear = local.protocol !== 17 && local.address.includes(':') ? openEar(this.#libc, local) : -1
    const id = ++this.#serial
    this.#sockets.set(id, { fd, local, sink })
    this.#reader.post({ type: 'socket', id, fd, local })
    return {
      local,
      send: (packet, remote) => {
        this.#datagram.load(packet, remote)
        const send = (): string | undefined => this.#datagram.send(fd)
        const failure = send()
        if (failure !== 'EMSGSIZE') return failure
        const v4 = !remote.address.includes(':')
        const mtu = this.#discovery.ask(fd, v4, send)
        if (mtu !== undefined) sink.pathMtu?.(remote.address, mtu)
        return packet.df ? failure : this.#discovery.fragmenting(fd, v4, send)
      },
      close: async () => {
        if (!this.#sockets.delete(id)) return
        if (ear >= 0) this.#libc.close(ear)
        await this.#close(fd, { type: 'close-socket', id })
      },
    }
  }

  async openTun(pattern: string, sink: PacketIoSink<undefined>): Promise<TunQueue> {
    if (this.#tun !== undefined) throw Object.assign(new Error('one TUN device at a time'), { code: 'EBUSY' })
    const { fd, name, udp } = this.#openQueue(this.#libc, pattern)
    this.#tun = { fd, udp, sink }
    this.#reader.post({ type: 'tun', fd, udp })
    return {
      name,
      write: ({ bytes, start, end }) => {
        this.#out.set(bytes.subarray(start, end), Vnet.OCTETS)
        const written = this.#libc.write(fd, this.#outAt, Vnet.OCTETS + end - start)
        return written < 0 ? this.#libc.errorName() : undefined
      },
      close: async () => {
        if (this.#tun?.fd !== fd) return
        this.#tun = undefined
        await this.#close(fd, { type: 'close-tun' })
      },
    }
  }

  /**
   * Takes what the thread says about descriptors.
   * @param relay - sends what none of the sockets here can
   */
  report(
    report: Exclude<Report, { type: 'event' | 'refused' | 'ready' | 'closed' }>,
    relay: (packet: Packet, flow: Flow) => void,
  ): void {
    switch (report.type) {
      case 'path-mtu':
        return this.#sockets.get(report.socket)?.sink.pathMtu?.(report.remote, report.mtu)
      case 'tun-lost':
        return this.#tun?.sink.failed(new SystemError('SYSTEM_DEVICE', `reading the TUN device: ${report.why}`))
      case 'leftovers':
        return this.#leftovers(report, relay)
    }
  }

  /** Closes a descriptor once the thread no longer touches it: its number may be another's right afterwards. */
  async #close(fd: number, command: Release): Promise<void> {
    await this.#reader.release(command)
    this.#libc.close(fd)
  }

  #leftovers({ bytes, index, from }: Leftovers, relay: (packet: Packet, flow: Flow) => void): void {
    const packet = this.#packet
    for (const [i, origin] of from.entries()) {
      const [start = 0, end = 0, fields = 0, id = 0] = index.subarray(INDEX_WORDS * i)
      packet.bytes = bytes
      packet.start = start
      packet.end = end
      packet.nextHeader = origin?.flow.protocol ?? 0
      packet.tos = fields & 0xff
      packet.ttl = (fields >>> 8) & 0xff
      packet.df = fields >>> 16 !== 0
      packet.id = id
      packet.flowLabel = 0
      if (origin === undefined) this.#tun?.sink.receive(packet, undefined)
      else if (origin.socket === RELAYED) relay(within(packet), origin.flow)
      else this.#sockets.get(origin.socket)?.sink.receive(packet, origin.flow)
    }
  }
}

/** A copy with room around it, as a relay wants to put something in front. */
function within(packet: Packet): Packet {
  const roomy = newPacket()
  roomy.bytes.set(octets(packet), HEADROOM)
  roomy.end = HEADROOM + packet.end - packet.start
  roomy.tos = packet.tos
  roomy.ttl = packet.ttl
  roomy.df = packet.df
  return roomy
}
