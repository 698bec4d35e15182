import type { Flow } from '../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet } from '../../core/contracts/packet.ts'
import type { PacketIo, PacketIoSink, TunQueue, UdpPort } from '../../core/contracts/packet-io.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import { openSocket, openTunQueue } from './descriptors.ts'
import { type Libc, Sys } from './libc.ts'
import { type Command, type Leftovers, RELAYED, type Release, type Report } from './messages.ts'
import { PathMtuDiscovery } from './path-mtu.ts'
import { writeName } from './sockaddr.ts'
import { Vnet } from './vnet.ts'

interface OpenSocket {
  readonly fd: number
  readonly local: LocalEndpoint
  readonly sink: PacketIoSink<Flow>
}

/** Octets in front of what the main thread sends: struct sockaddr, or the virtio header. */
const FRONT = 32
const SIZE = FRONT + 65_536

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
  /** For what goes out of this thread. */
  readonly #out = new Uint8Array(SIZE)
  readonly #outView = new DataView(this.#out.buffer)
  readonly #outAt: number
  #tun: { readonly fd: number; readonly udp: boolean; readonly sink: PacketIoSink<undefined> } | undefined
  #serial = 0

  /** @param openQueue - opens the TUN device */
  constructor(libc: Libc, reader: Reader, openQueue = openTunQueue) {
    this.#libc = libc
    this.#discovery = new PathMtuDiscovery(libc)
    this.#openQueue = openQueue
    this.#reader = reader
    this.#outAt = libc.address(this.#out)
  }

  /** Whether a TUN device is open. */
  get hasDevice(): boolean {
    return this.#tun !== undefined
  }

  /** What a new thread has to be told. */
  *history(): Iterable<Command> {
    for (const [id, { fd, local }] of this.#sockets) yield { type: 'socket', id, fd, local }
    if (this.#tun !== undefined) yield { type: 'tun', fd: this.#tun.fd, udp: this.#tun.udp }
  }

  async bindUdp(wanted: LocalEndpoint, bufferSize: number, sink: PacketIoSink<Flow>): Promise<UdpPort> {
    const { fd, local } = openSocket(this.#libc, wanted, bufferSize)
    const id = ++this.#serial
    this.#sockets.set(id, { fd, local, sink })
    this.#reader.post({ type: 'socket', id, fd, local })
    return {
      local,
      send: (packet, remote) => {
        const { length, at } = this.#load(packet)
        const nameLength = writeName(this.#outView, 0, remote)
        const send = (): string | undefined => {
          const sent = this.#libc.sendto(fd, this.#outAt + at, length, Sys.MSG_DONTWAIT, this.#outAt, nameLength)
          return sent < 0 ? this.#libc.errorName() : undefined
        }
        const failure = send()
        if (failure !== 'EMSGSIZE') return failure
        const v4 = !remote.address.includes(':')
        const mtu = this.#discovery.ask(fd, v4, send)
        if (mtu !== undefined) sink.pathMtu?.(remote.address, mtu)
        return packet.df ? failure : this.#discovery.fragmenting(fd, v4, send)
      },
      close: async () => {
        if (this.#sockets.delete(id)) await this.#close(fd, { type: 'close-socket', id })
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
      write: packet => {
        const { length, at } = this.#load(packet)
        const start = at - Vnet.OCTETS
        this.#out.fill(0, start, at)
        const written = this.#libc.write(fd, this.#outAt + start, Vnet.OCTETS + length)
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

  #load({ bytes, start, end }: Packet): { readonly at: number; readonly length: number } {
    this.#out.set(bytes.subarray(start, end), FRONT)
    return { at: FRONT, length: end - start }
  }

  #leftovers({ bytes, index, from }: Leftovers, relay: (packet: Packet, flow: Flow) => void): void {
    const packet = this.#packet
    for (const [i, origin] of from.entries()) {
      const [start = 0, end = 0, tos = 0] = index.subarray(3 * i)
      packet.bytes = bytes
      packet.start = start
      packet.end = end
      packet.nextHeader = origin === undefined ? 0 : 17
      packet.tos = tos
      packet.ttl = packet.id = packet.flowLabel = 0
      packet.df = false
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
  return roomy
}
