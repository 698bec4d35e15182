import type { PacketCrypto } from '../../core/contracts/crypto.ts'
import type { PacketSizes } from '../../core/contracts/data-plane.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import type { Flow } from '../../core/contracts/net.ts'
import { HEADROOM, MAX_PACKET, newPacket, type Packet, TAILROOM } from '../../core/contracts/packet.ts'
import type { EncapStrategy, Mode } from '../../core/contracts/strategy.ts'
import { PortablePlane } from '../../core/ipsec/index.ts'
import { DONT_FRAGMENT, getU16, IKE_PORT, Ipv4, ipv4HeaderLength } from '../../core/wire/index.ts'
import { Arena } from './arena.ts'
import { Socket, type SocketFlow } from './flows.ts'
import { Inbox, type Take } from './inbox.ts'
import { Leavings } from './leavings.ts'
import { type Libc, SOCKADDR, Sys } from './libc.ts'
import { Losses } from './losses.ts'
import { type Command, type InstallCommand, RELAYED, type RemoteSpec, type Report, type Side } from './messages.ts'
import { Outbox } from './outbox.ts'
import type { SegmentSink } from './segment.ts'
import { TunQueue } from './tun-queue.ts'

export interface PumpParts {
  readonly libc: Libc
  /** Which packets it moves: it reads sockets, the device, or both. */
  readonly side: Side
  readonly crypto: PacketCrypto
  readonly rng: Rng
  readonly control: Int32Array
  /** eventfd that ends a wait. */
  readonly wakeFd: number
  readonly sizes: PacketSizes
  readonly now: () => number
  readonly report: (message: Report, transfer?: ArrayBuffer[]) => void
}

/** Octets for all buffers of a pump. */
const ARENA = 4 << 20
/** Longest uninterrupted system call, so that a thread whose process forgot to close can be ended. */
const POLL_MS = 500
/** Reads from the TUN device before the sockets have their turn, and octets: small packets shall fill a batch too. */
const READS = 64
const READ_OCTETS = 512 << 10
const POLLFD = 8
const MAX_FDS = 512
/** Local ends remembered that are no sockets. */
const FOREIGN = 256

/**
 * Moves packets between sockets and the TUN device through a data plane, a batch at a time; what the plane does not want
 * goes to the main thread.
 */
export class Pump {
  readonly #parts: PumpParts
  readonly #libc: Libc
  readonly #arena = new Arena(ARENA)
  readonly #plane: PortablePlane
  readonly #inbox: Inbox
  readonly #outbox: Outbox
  readonly #leavings: Leavings
  readonly #sockets = new Map<number, Socket>()
  readonly #losses: Losses
  /** Local ends that are no sockets here, by protocol, address and port. */
  readonly #foreign = new Map<string, Socket>()
  /** Where a datagram is worked on that came by a relay. */
  readonly #relayed: number
  readonly #fds: number
  #polled: readonly Socket[] = []
  #tun: TunQueue | undefined
  #now: number
  /** Worked on in place in the arena. */
  readonly #packet: Packet
  readonly #take: Take
  readonly #takeRaw: Take
  readonly #segments: SegmentSink

  constructor(parts: PumpParts) {
    this.#parts = parts
    this.#libc = parts.libc
    this.#losses = new Losses(parts.control)
    const { bytes } = this.#arena
    this.#packet = { ...newPacket(0), bytes }
    this.#relayed = this.#arena.take(HEADROOM + MAX_PACKET + TAILROOM) + HEADROOM
    this.#fds = this.#arena.take(MAX_FDS * POLLFD)
    this.#inbox = new Inbox(this.#libc, this.#arena)
    this.#outbox = new Outbox(this.#libc, this.#arena, this.#losses, (flow, mtu) => this.#learned(flow, mtu))
    this.#leavings = new Leavings(parts.control, this.#losses, parts.report)
    this.#now = parts.now()
    this.#plane = new PortablePlane(
      parts.crypto,
      parts.rng,
      {
        transmit: (packet, flow) => this.#send(packet, flow as SocketFlow),
        deliver: packet => this.#tun?.write(packet),
        event: event => parts.report({ type: 'event', event }),
      },
      { ...parts.sizes, unprotected: packet => this.#leavings.add(packet, undefined) },
    )
    this.#take = (start, end, flow, tos) => this.#received(start, end, flow, tos)
    this.#takeRaw = (start, end, flow, tos) => this.#receivedRaw(start, end, flow, tos)
    this.#segments = {
      place: () => this.#outbox.place(),
      packet: (start, end, again) => {
        this.#reset(start, end, 0)
        if (again) this.#plane.outboundNext(this.#packet, this.#now)
        else this.#plane.outbound(this.#packet, this.#now, true)
      },
    }
    this.#watch()
  }

  /** Carries out a command. @throws whatever is a bug of this plugin */
  obey(command: Exclude<Command, InstallCommand>): void {
    const plane = this.#plane
    switch (command.type) {
      case 'socket':
        this.#sockets.set(command.id, new Socket(command.id, command.fd, command.local))
        return this.#watch()
      case 'close-socket':
        this.#sockets.delete(command.id)
        this.#watch()
        return this.#parts.report({ type: 'closed' })
      case 'tun':
        this.#tun ??= new TunQueue(this.#libc, this.#arena, this.#losses)
        this.#tun.open(command.fd, command.udp)
        return this.#watch()
      case 'close-tun':
        this.#tun?.close()
        this.#watch()
        return this.#parts.report({ type: 'closed' })
      case 'activate':
        return plane.activate(command.id)
      case 'move': {
        const { id, flow, wrapping } = command
        return plane.move(id, this.#flow(flow), wrapping && { ...wrapping, encap: encapOf(wrapping.encap) })
      }
      case 'peer-moved':
        return plane.move(command.id, this.#flow(command.flow))
      case 'remove':
        return plane.remove(command.id)
      case 'yield':
        return plane.yield(command.id, command.local, command.remote)
      case 'regain':
        return plane.regain(command.id)
      case 'trap':
        return plane.trap(command.peer, command.child, command.local, command.remote)
      case 'path-mtu':
        return plane.pathMtu(command.local, command.remote, command.mtu, command.now)
      case 'inbound': {
        const { bytes, flow, tos } = command
        this.#arena.bytes.set(bytes, this.#relayed)
        this.#reset(this.#relayed, this.#relayed + bytes.length, tos)
        plane.inbound(this.#packet, this.#flow(flow), this.#now, true)
        return this.#tun?.flush()
      }
      case 'outbound': {
        const place = this.#outbox.place()
        this.#arena.bytes.set(command.bytes, place)
        this.#segments.packet(place, place + command.bytes.length, false)
        return this.#outbox.flush()
      }
    }
  }

  /**
   * Puts an SA in place.
   *
   * @param mode - its mode, made in this thread
   * @throws UsageError when this thread's plane refuses it
   */
  install({ spec, outbound, now, memory }: InstallCommand, mode: Mode): void {
    const { flow, encap } = spec
    const { side } = this.#parts
    // what another thread draws numbers for is never sent on
    const options = { outbound: outbound && side !== 'in', memory: memory[side]! }
    this.#plane.install({ ...spec, mode, encap: encapOf(encap), flow: this.#flow(flow) }, options, now)
  }

  /** Waits for packets, and moves those that came. @param interrupted - whether something else is to be done first */
  turn(interrupted: () => boolean): void {
    const { view } = this.#arena
    const due = this.#plane.deadline - this.#now
    const wait = Math.max(0, Math.min(POLL_MS, Math.ceil(due)))
    const count = this.#polled.length + 2
    this.#libc.poll(this.#libc.address(this.#arena.bytes) + this.#fds, count, wait)
    this.#now = this.#parts.now()
    this.#plane.timeout(this.#now)
    if (view.getUint16(this.#fds + 6, true) !== 0) this.#libc.read(this.#parts.wakeFd, this.#wakeBuffer, 8)
    for (let i = 0; i < this.#polled.length; i++) {
      if (view.getUint16(this.#fds + (2 + i) * POLLFD + 6, true) === 0) continue
      if (interrupted()) break
      const socket = this.#polled[i]!
      this.#inbox.receive(socket, socket.raw ? this.#takeRaw : this.#take)
      this.#tun?.flush()
      this.#outbox.flush()
    }
    if (view.getUint16(this.#fds + POLLFD + 6, true) !== 0 && !interrupted()) this.#fromTun()
    this.#leavings.flush()
  }

  get #wakeBuffer(): number {
    return this.#libc.address(this.#arena.bytes) + this.#fds + (MAX_FDS - 1) * POLLFD
  }

  #fromTun(): void {
    const tun = this.#tun
    if (tun === undefined || tun.fd < 0) return
    for (let i = 0, octets = 0; i < READS && octets < READ_OCTETS; i++) {
      const read = tun.read(this.#segments)
      if (read === undefined) {
        this.#parts.report({ type: 'tun-lost', why: this.#libc.errorName() })
        tun.close()
        this.#watch()
      }
      if (read === undefined || read === 0) break
      octets += read
    }
    tun.flush() // what was answered with "too big"
    this.#outbox.flush()
  }

  #send(packet: Packet, flow: SocketFlow): void {
    if (flow.socket.id === RELAYED) this.#leavings.add(packet, flow)
    else this.#outbox.add(packet, flow)
  }

  #learned({ socket, local, remote }: SocketFlow, mtu: number): void {
    this.#plane.pathMtu(local.address, remote.address, mtu, this.#now)
    this.#parts.report({ type: 'path-mtu', socket: socket.id, remote: remote.address, mtu })
  }

  #received(start: number, end: number, flow: SocketFlow, tos: number): void {
    const packet = this.#packet
    this.#reset(start, end, tos)
    const ike = flow.local.port === IKE_PORT || flow.remote.port === IKE_PORT
    if (ike || !this.#plane.inbound(packet, flow, this.#now, true)) this.#leavings.add(packet, flow)
  }

  /** Raw sockets of IPv4 leave the header in front, which the kernel has validated; those of IPv6 do not. */
  #receivedRaw(start: number, end: number, flow: SocketFlow, tos: number): void {
    const packet = this.#packet
    const { bytes } = packet
    if (flow.nameLength === SOCKADDR) {
      this.#reset(start, end, tos)
      packet.ttl = this.#inbox.hopLimit
      packet.df = true // no router fragments IPv6
    } else {
      this.#reset(start + ipv4HeaderLength(bytes, start), end, bytes[start + Ipv4.TOS]!)
      packet.ttl = bytes[start + Ipv4.TTL]!
      packet.id = getU16(bytes, start + Ipv4.ID)
      packet.df = (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) !== 0
    }
    if (!this.#plane.inbound(packet, flow, this.#now, true)) this.#leavings.add(packet, flow)
  }

  #reset(start: number, end: number, tos: number): void {
    const packet = this.#packet
    packet.start = start
    packet.end = end
    packet.tos = tos
    packet.nextHeader = packet.ttl = packet.id = packet.flowLabel = 0
    packet.df = false
  }

  /** The flow object that packets of it come with. */
  #flow({ protocol, local, remote }: Flow): SocketFlow {
    for (const socket of this.#sockets.values())
      if (
        socket.local.protocol === protocol &&
        socket.local.port === local.port &&
        socket.local.address === local.address
      )
        return socket.flow(remote)
    // a relay's address, or one that has gone: the engine knows
    const key = `${protocol} ${local.address} ${local.port}`
    let foreign = this.#foreign.get(key)
    if (foreign === undefined) {
      if (this.#foreign.size >= FOREIGN) this.#foreign.clear()
      foreign = new Socket(RELAYED, -1, { ...local, protocol, role: 'extra' })
      this.#foreign.set(key, foreign)
    }
    return foreign.flow(remote)
  }

  #watch(): void {
    const { view } = this.#arena
    const { side, wakeFd } = this.#parts
    this.#polled = side === 'out' ? [] : [...this.#sockets.values()].slice(0, MAX_FDS - 3)
    const fds = [wakeFd, side === 'in' ? -1 : (this.#tun?.fd ?? -1), ...this.#polled.map(({ fd }) => fd)]
    for (const [i, fd] of fds.entries()) {
      view.setInt32(this.#fds + i * POLLFD, fd, true)
      view.setUint32(this.#fds + i * POLLFD + 4, Sys.POLLIN, true)
    }
  }
}

/** Without `wrap` and `unwrap`: such SAs are refused. */
const encapOf = ({ name, overhead }: RemoteSpec['encap']): EncapStrategy =>
  ({ slot: 'encap', name, overhead }) as EncapStrategy
