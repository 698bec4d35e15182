import type { Packet } from '../../core/contracts/packet.ts'
import type { Arena } from './arena.ts'
import type { SocketFlow } from './flows.ts'
import {
  CONTROL_LENGTH,
  IOVEC,
  type Libc,
  MMSGHDR,
  MSGHDR,
  Msg,
  SOCKADDR,
  Sys,
  setAddress,
  writeControl,
  writeFields,
} from './libc.ts'
import type { Losses } from './losses.ts'
import { PathMtuDiscovery } from './path-mtu.ts'

/** Datagrams in one send: what all kernels with UDP_SEGMENT take. */
const MAX_SEGMENTS = 64
/** Octets in one send: less than IP's limit by the headers. */
const MAX_OCTETS = 65_000
/** Room for one packet of IP's size behind a full batch. */
const SIZE = MAX_OCTETS + 66_624
/** How long a full socket is waited for before its datagrams are lost, ms. */
const PATIENCE_MS = 50
/** Octets of ESP's header and IV: for AEAD and CTR, for CBC. */
const FRONTS = { least: 16, most: 24 } as const

/** Datagrams on their way out: those of one flow and one size go to the kernel in one call, which cuts them apart. */
export class Outbox {
  readonly #libc: Libc
  readonly #arena: Arena
  readonly #base: number
  readonly #address: number
  readonly #message: number
  /** Headers and vectors for those that go without being cut. */
  readonly #messages: number
  #tail: number
  /** Octets that protection puts in front of a packet: as many as the last one had. */
  #front: number = FRONTS.least
  /** The octets before `#tail`, which a packet that grows more than that one has overwritten. */
  readonly #saved = new Uint32Array(2)
  #flow: SocketFlow | undefined
  #tos = 0
  #ttl = 0
  /** What is too big for the path is lost; else it goes in fragments. */
  #df = false
  #segment = 0
  #count = 0
  /** A shorter datagram has ended the batch. */
  #closed = false

  readonly #discovery: PathMtuDiscovery
  readonly #losses: Losses
  readonly #learned: (flow: SocketFlow, mtu: number) => void

  /** @param learned - told how large packets on a flow's path may be, IP header included, when one was too big */
  constructor(libc: Libc, arena: Arena, losses: Losses, learned: (flow: SocketFlow, mtu: number) => void) {
    this.#libc = libc
    this.#losses = losses
    this.#discovery = new PathMtuDiscovery(libc)
    this.#learned = learned
    this.#arena = arena
    this.#base = arena.take(SIZE) + FRONTS.most
    this.#tail = this.#base
    this.#address = libc.address(arena.bytes)
    this.#message = arena.take(MSGHDR + IOVEC + SOCKADDR + 4 + 3 * CONTROL_LENGTH)
    this.#messages = arena.take(MAX_SEGMENTS * (MMSGHDR + IOVEC))
    const { view } = arena
    const at = this.#message
    const pointer = (field: number, to: number): void => setAddress(view, field, this.#address + to)
    pointer(at + Msg.NAME, at + MSGHDR + IOVEC)
    pointer(at + Msg.IOV, at + MSGHDR)
    view.setUint32(at + Msg.IOV_COUNT, 1, true)
    pointer(at + Msg.CONTROL, this.#control)
    for (let i = 0; i < MAX_SEGMENTS; i++) {
      const header = this.#messages + i * MMSGHDR
      pointer(header + Msg.NAME, at + MSGHDR + IOVEC)
      pointer(header + Msg.IOV, this.#vector(i))
      view.setUint32(header + Msg.IOV_COUNT, 1, true)
      pointer(header + Msg.CONTROL, this.#control)
    }
  }

  #vector(i: number): number {
    return this.#messages + MAX_SEGMENTS * MMSGHDR + i * IOVEC
  }

  get #control(): number {
    return this.#message + MSGHDR + IOVEC + SOCKADDR + 4
  }

  /** Where to build the next packet, so that once protected it stands right behind the one before. Then `add` it. */
  place(): number {
    const { view } = this.#arena
    this.#saved[0] = view.getUint32(this.#tail - 8)
    this.#saved[1] = view.getUint32(this.#tail - 4)
    return this.#tail + this.#front
  }

  /** @param packet - built at `place`, or in other memory */
  add(packet: Packet, flow: SocketFlow): void {
    const length = packet.end - packet.start
    if (
      this.#count > 0 &&
      (flow !== this.#flow ||
        packet.tos !== this.#tos ||
        packet.ttl !== this.#ttl ||
        packet.df !== this.#df ||
        this.#closed ||
        length > this.#segment ||
        this.#count === MAX_SEGMENTS ||
        this.#tail - this.#base + length > MAX_OCTETS)
    )
      this.flush()
    const { bytes } = this.#arena
    if (packet.bytes !== bytes) bytes.set(packet.bytes.subarray(packet.start, packet.end), this.#tail)
    else if (packet.start !== this.#tail) {
      const { view } = this.#arena
      const off = packet.start - this.#tail
      this.#arena.copy(this.#tail, packet.start, length)
      if (this.#count > 0 && off < 0) {
        view.setUint32(this.#tail - 8, this.#saved[0]!)
        view.setUint32(this.#tail - 4, this.#saved[1]!)
      }
      if (this.#count > 0) this.#front = off < 0 ? FRONTS.most : FRONTS.least
    }
    if (this.#count === 0) {
      this.#flow = flow
      this.#tos = packet.tos
      this.#ttl = packet.ttl
      this.#df = packet.df
      this.#segment = length
      this.#closed = false
    } else if (length < this.#segment) this.#closed = true
    this.#count++
    this.#tail += length
  }

  flush(): void {
    const count = this.#count
    if (count === 0) return
    const flow = this.#flow!
    const octets = this.#tail - this.#base
    this.#count = 0
    this.#tail = this.#base
    const segmented = count > 1 && flow.socket.segments
    if (segmented) {
      const error = this.#send(flow, this.#base, octets, this.#segment)
      if (error === 0) return
      // a device that cannot checksum what it cuts, or a path narrower than the datagrams: then one by one
      if (error === Sys.EIO) flow.socket.segments = false
      if (error !== Sys.EIO && error !== Sys.EMSGSIZE && error !== Sys.EINVAL)
        return this.#losses.count('not-sent', count)
    }
    let asked = false
    for (let at = 0; at < octets; at += this.#segment) {
      const many = octets - at > this.#segment ? this.#sendMany(flow, this.#base + at, octets - at) : 0
      at += many * this.#segment
      if (at >= octets) return
      const length = Math.min(this.#segment, octets - at)
      let error = this.#send(flow, this.#base + at, length, 0)
      if (error === Sys.EMSGSIZE) {
        error = this.#tooBig(flow, this.#base + at, length, asked)
        asked = true
      }
      if (error !== 0) this.#losses.count(error === Sys.EMSGSIZE ? 'too-big' : 'not-sent')
    }
  }

  #tooBig(flow: SocketFlow, at: number, length: number, asked: boolean): number {
    const { fd } = flow.socket
    const v4 = flow.nameLength !== SOCKADDR
    const again = (): number => this.#send(flow, at, length, 0)
    const mtu = asked ? undefined : this.#discovery.ask(fd, v4, again)
    if (mtu !== undefined) this.#learned(flow, mtu)
    return this.#df ? Sys.EMSGSIZE : this.#discovery.fragmenting(fd, v4, again)
  }

  /** Sends what the kernel does not cut. @returns how many datagrams have gone, up to the first that is refused */
  #sendMany(flow: SocketFlow, at: number, octets: number): number {
    const { view, bytes } = this.#arena
    bytes.set(flow.name, this.#message + MSGHDR + IOVEC)
    const control = this.#fields(flow, this.#control) - this.#control
    let count = 0
    for (let sent = 0; sent < octets; sent += this.#segment, count++) {
      const header = this.#messages + count * MMSGHDR
      view.setUint32(header + Msg.NAME_LENGTH, flow.nameLength, true)
      view.setUint32(header + Msg.CONTROL_LENGTH, control, true)
      setAddress(view, this.#vector(count), this.#address + at + sent)
      view.setUint32(this.#vector(count) + 8, Math.min(this.#segment, octets - sent), true)
    }
    return Math.max(0, this.#libc.sendmmsg(flow.socket.fd, this.#address + this.#messages, count, Sys.MSG_DONTWAIT))
  }

  #fields(flow: SocketFlow, at: number): number {
    return writeFields(this.#arena.view, at, flow.nameLength !== SOCKADDR, this.#tos, this.#ttl)
  }

  /** @returns 0, or the error's number */
  #send(flow: SocketFlow, at: number, octets: number, segment: number): number {
    const { view, bytes } = this.#arena
    const message = this.#message
    bytes.set(flow.name, message + MSGHDR + IOVEC)
    view.setUint32(message + Msg.NAME_LENGTH, flow.nameLength, true)
    setAddress(view, message + MSGHDR, this.#address + at)
    view.setUint32(message + MSGHDR + 8, octets, true)
    let control = this.#control
    if (segment > 0) {
      control = writeControl(view, control, Sys.SOL_UDP, Sys.UDP_SEGMENT, 2)
      view.setUint16(control - 8, segment, true)
    }
    control = this.#fields(flow, control)
    view.setUint32(message + Msg.CONTROL_LENGTH, control - this.#control, true)
    const { fd } = flow.socket
    for (let waited = false; ; waited = true) {
      if (this.#libc.sendmsg(fd, this.#address + message, Sys.MSG_DONTWAIT) >= 0) return 0
      const error = this.#libc.errno()
      if (error !== Sys.EAGAIN || waited) return error
      this.#awaitRoom(fd)
    }
  }

  #awaitRoom(fd: number): void {
    const { view } = this.#arena
    // the socket's address is of no use meanwhile, and its place is that of a struct pollfd
    const at = this.#control
    const saved = view.getBigUint64(at, true)
    view.setInt32(at, fd, true)
    view.setInt32(at + 4, Sys.POLLOUT, true)
    this.#libc.poll(this.#address + at, 1, PATIENCE_MS)
    view.setBigUint64(at, saved, true)
  }
}
