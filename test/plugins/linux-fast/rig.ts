import { createRequire } from 'node:module'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { ChildSaSpec, PlaneEvent } from '../../../core/contracts/data-plane.ts'
import { silentLog } from '../../../core/contracts/log.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import type { BoundSocket, TunQueue } from '../../../core/contracts/packet-io.ts'
import { combineProviders } from '../../../core/ike/suite.ts'
import { systemClock } from '../../../core/index.ts'
import { SaMemory, Word } from '../../../core/ipsec/sa-memory.ts'
import { Arena } from '../../../plugins/linux-fast/arena.ts'
import { Datagram } from '../../../plugins/linux-fast/datagram.ts'
import { openSocket } from '../../../plugins/linux-fast/descriptors.ts'
import { Socket } from '../../../plugins/linux-fast/flows.ts'
import { Inbox, type Take } from '../../../plugins/linux-fast/inbox.ts'
import { FastIo } from '../../../plugins/linux-fast/io.ts'
import { type Libc, loadLibc, Sys } from '../../../plugins/linux-fast/libc.ts'
import type { Side } from '../../../plugins/linux-fast/messages.ts'
import { sidesOf } from '../../../plugins/linux-fast/options.ts'
import { FastPlane, type PlaneThreads } from '../../../plugins/linux-fast/plane.ts'
import { spawnWorker, type ThreadParts } from '../../../plugins/linux-fast/thread.ts'
import { Threads } from '../../../plugins/linux-fast/threads.ts'
import { Vnet } from '../../../plugins/linux-fast/vnet.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { opensslProvider } from '../../../plugins/openssl/index.ts'

const AF_UNIX = 1
const SOCK_SEQPACKET = 5
const BUFFER = 70_000

/** A datagram that is nobody's and an inner packet of a family of its own: they come back when all before is done. */
const MARKER = Uint8Array.of(0, 0, 0, 0, 0x6d, 0x61, 0x72, 0x6b)
const INNER_MARKER = Uint8Array.of(0x60, 0, 0, 0, 0, 0, 59, 1, ...new Uint8Array(31), 7)

/** What is around the packets, and which addresses the n-th rig and its other end have. */
export interface Outer {
  readonly name: string
  readonly protocol: 17 | 50
  readonly here: (serial: number) => string
  readonly there: (serial: number) => string
}

export const UDP_V4: Outer = { name: 'UDP over IPv4', protocol: 17, here: () => '127.0.0.1', there: () => '127.0.0.1' }
export const UDP_V6: Outer = { name: 'UDP over IPv6', protocol: 17, here: () => '::1', there: () => '::1' }

/** A packet as it came out of the socket; `ttl` 0: not told. */
export interface Arrived {
  readonly bytes: Uint8Array
  readonly tos: number
  readonly ttl: number
}

let rigs = 0

export const crypto: CryptoProvider = combineProviders([opensslProvider() as CryptoProvider, nodeCryptoProvider])

/** Two descriptors that keep packets apart as a TUN device does, without privilege: what is written to one is read from the other. */
function pair(libc: Libc): [number, number] {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  const socketpair = koffi.load(null).func('int socketpair(int domain, int type, int protocol, int64 fds)')
  const fds = new Int32Array(32)
  const at = libc.address(new Uint8Array(fds.buffer))
  const made = socketpair(AF_UNIX, SOCK_SEQPACKET | Sys.SOCK_NONBLOCK, 0, at)
  if (made !== 0) throw new Error(`socketpair: ${libc.errorName()}`)
  return [fds[0]!, fds[1]!]
}

/** The threads with a socket on the loopback device and something like a TUN device, and the other end of both. */
export class Rig {
  readonly plane: FastPlane
  /** As many as each rig has. */
  static threads: 1 | 2 = 1
  readonly sides = sidesOf({ threads: Rig.threads })
  readonly events: PlaneEvent[] = []
  readonly refused: string[] = []
  /** What was to be sent by another way than the socket. */
  readonly relayed: { readonly bytes: Uint8Array; readonly flow: Flow }[] = []
  /** How large packets may be, as the engine is told: address and octets. */
  readonly told: string[] = []
  /** What came up that is no marker. */
  readonly leftDatagrams: Uint8Array[] = []
  readonly leftPackets: Uint8Array[] = []
  readonly #threads: Threads
  readonly #libc = loadLibc()
  readonly #io: FastIo
  readonly #buffer = new Uint8Array(BUFFER)
  readonly #view = new DataView(this.#buffer.buffer)
  readonly #at = this.#libc.address(this.#buffer)
  readonly #datagram = new Datagram(this.#libc)
  readonly #arena = new Arena(4 << 20)
  readonly #inbox = new Inbox(this.#libc, this.#arena)
  /** Of this rig: those with raw sockets must not hear each other. */
  readonly #serial = ++rigs
  /** Number of the last packet that SAs from now on have received before. */
  heard = 0
  #inner = -1
  #device = -1
  #wire: Socket | undefined
  #port: BoundSocket | undefined
  #tun: TunQueue | undefined
  #flow: Flow | undefined
  #marked: { datagram?: () => void; packet?: () => void } = {}
  #logged: () => void = () => {}

  constructor() {
    this.#threads = new Threads(this.sides, {
      libc: this.#libc,
      log: { ...silentLog, error: () => this.#logged() },
      clock: systemClock,
      crypto: [(opensslProvider() as CryptoProvider).origin!, nodeCryptoProvider.origin!],
      spawn: spawnWorker,
      history: () => [...this.#io.history(), ...this.plane.history()],
      report: report => this.#report(report),
    })
    this.#io = new FastIo(this.#libc, this.#threads, () => ({ fd: this.#device, name: 'test', udp: true }))
    const threads = this.#threads
    const told: PlaneThreads = {
      sides: threads.sides,
      get losses() {
        return threads.losses
      },
      post: command => {
        if (command.type === 'install')
          for (const memory of Object.values(command.memory))
            new SaMemory(command.spec.replayWindow, memory).numbers[Word.TOP] = this.heard
        threads.post(command)
      },
      start: sizes => threads.start(sizes),
      stop: () => threads.stop(),
    }
    this.plane = new FastPlane(crypto, this.#io, told, error => {
      throw error
    })
  }

  #report(report: Parameters<ThreadParts['report']>[0]): void {
    if (report.type === 'event' || report.type === 'refused') {
      if (report.type === 'refused') this.refused.push(report.why)
      return this.plane.report(report)
    }
    this.#io.report(report, (packet, flow) => this.plane.relay(packet, flow))
  }

  async open(mtu = 1_400, outer: Outer = UDP_V4): Promise<this> {
    ;[this.#device, this.#inner] = pair(this.#libc)
    await this.plane.open(
      {
        transmit: (packet, flow) => this.relayed.push({ bytes: octets(packet).slice(), flow }),
        deliver: () => {},
        event: event => this.events.push(event),
      },
      { mtu, clampMss: true },
    )
    const failed = (error: Error): void => {
      throw error
    }
    const { protocol, here, there } = outer
    const role = protocol === 17 ? 'natt' : 'raw'
    const serial = this.#serial
    this.#port = await this.#io.bind({ protocol, role, address: here(serial), port: 0 }, 4 << 20, {
      receive: packet => {
        const bytes = octets(packet).slice()
        if (!same(bytes, MARKER)) this.leftDatagrams.push(bytes)
        else this.#marked.datagram?.()
      },
      pathMtu: (remote, mtu) => this.told.push(`${remote} ${mtu}`),
      failed,
    })
    this.#tun = await this.#io.openTun('test', {
      receive: packet => {
        const bytes = octets(packet).slice()
        if (!same(bytes, INNER_MARKER)) this.leftPackets.push(bytes)
        else this.#marked.packet?.()
      },
      failed,
    })
    const wire = openSocket(this.#libc, { protocol, role, address: there(serial), port: 0 }, 4 << 20)
    this.#wire = new Socket(0, wire.fd, wire.local)
    // the wire carries single datagrams: what the kernel put together would hide what was sent
    this.#view.setInt32(0, 0, true)
    if (protocol === 17) this.#libc.setsockopt(wire.fd, 17, 104, this.#at, 4)
    this.#flow = { protocol, local: this.#port.local, remote: wire.local }
    return this
  }

  async close(): Promise<void> {
    await this.#tun?.close()
    await this.#port?.close()
    await this.plane.close()
    for (const fd of [this.#inner, this.#wire?.fd ?? -1]) this.#libc.close(fd)
  }

  get flow(): Flow {
    return this.#flow!
  }

  /** The other ends of the device and of the socket, for whoever brings them packets himself. */
  get ends(): { readonly inner: number; readonly wire: Socket } {
    return { inner: this.#inner, wire: this.#wire! }
  }

  /** Threads end as by a failure; resolves when the next ones are about to start. */
  async kill(sides: readonly Side[] = this.sides): Promise<void> {
    let alive = sides.length
    const logged = new Promise<void>(resolve => {
      this.#logged = () => {
        if (--alive === 0) resolve()
      }
    })
    await Promise.all(sides.map(side => this.#threads.kill(side)))
    await logged
  }

  /** Hands packets over as the kernel does. @param raw - with their virtio headers already */
  async inner(packets: readonly Uint8Array[], raw = false): Promise<void> {
    for (const [i, packet] of [...packets, INNER_MARKER].entries()) {
      const headed = raw && i < packets.length ? packet : withHeader(packet)
      this.#buffer.set(headed)
      if (this.#libc.write(this.#inner, this.#at, headed.length) !== headed.length)
        throw new Error(`the device took no packet: ${this.#libc.errorName()}`)
      // the pair holds few packets, a TUN device hundreds
      if (i % 16 === 15) await this.#mark('packet')
    }
    await this.#mark('packet', false)
  }

  async #mark(kind: 'packet' | 'datagram', write = true): Promise<void> {
    const marked = new Promise<void>(resolve => {
      this.#marked[kind] = resolve
    })
    if (write && kind === 'packet') {
      const headed = withHeader(INNER_MARKER)
      this.#buffer.set(headed)
      this.#libc.write(this.#inner, this.#at, headed.length)
    }
    await marked
  }

  /** What the device has got since, virtio headers included. */
  device(): Uint8Array[] {
    return this.#drain(this.#inner)
  }

  /** What has left for the other end since. */
  sent(): Uint8Array[] {
    return this.arrived().map(({ bytes }) => bytes)
  }

  /** What has left for the other end since, as it arrives there: from the SPI on. */
  arrived(): Arrived[] {
    const found: Arrived[] = []
    const { bytes } = this.#arena
    const take: Take = (start, end, { nameLength }, tos) => {
      const v4 = nameLength === 16
      if (this.flow.protocol === 17) found.push({ bytes: bytes.slice(start, end), tos, ttl: 0 })
      else if (!v4) found.push({ bytes: bytes.slice(start, end), tos, ttl: this.#inbox.hopLimit })
      else found.push({ bytes: bytes.slice(start + 20, end), tos: bytes[start + 1]!, ttl: bytes[start + 8]! })
    }
    for (let more = true; more; ) {
      const before = found.length
      this.#inbox.receive(this.#wire!, take)
      more = found.length > before
    }
    return found
  }

  /**
   * Datagrams arrive, one after the other, under these fields of the outer header.
   * @returns what the device got, virtio headers included
   */
  async outer(datagrams: readonly Uint8Array[], { tos = 0, ttl = 0 } = {}): Promise<Uint8Array[]> {
    const delivered: Uint8Array[] = []
    for (let from = 0; from <= datagrams.length; from += 64) {
      const marked = this.#mark('datagram')
      for (const datagram of [...datagrams.slice(from, from + 64), MARKER]) {
        const packet = packetOf(datagram)
        this.#datagram.load(Object.assign(packet, { tos, ttl }), this.flow.local)
        this.#datagram.send(this.#wire!.fd)
      }
      await marked
      delivered.push(...this.device())
    }
    return delivered
  }

  #drain(fd: number): Uint8Array[] {
    const found: Uint8Array[] = []
    for (;;) {
      const length = this.#libc.read(fd, this.#at, BUFFER)
      if (length < 0) return found
      found.push(this.#buffer.slice(0, length))
    }
  }

  /** The spec with this rig's flow. */
  placed(spec: ChildSaSpec): ChildSaSpec {
    return { ...spec, flow: this.flow }
  }
}

function withHeader(packet: Uint8Array): Uint8Array {
  const headed = new Uint8Array(Vnet.OCTETS + packet.length)
  headed.set(packet, Vnet.OCTETS)
  return headed
}

/** `bytes` at HEADROOM of a packet of its own. */
export function packetOf(bytes: Uint8Array): Packet {
  const packet = newPacket()
  packet.bytes.set(bytes, HEADROOM)
  packet.end = HEADROOM + bytes.length
  return packet
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i])
}
