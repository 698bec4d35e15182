import { constants } from 'node:os'
import { concat, IpProtocol } from '../../../core/wire/index.ts'
import { CMSG_HEADER, Cmsg, IOVEC, type Libc, MMSGHDR, MSGHDR, Msg, Sys } from '../../../plugins/linux-fast/libc.ts'
import { readName, writeName } from '../../../plugins/linux-fast/sockaddr.ts'
import { Gso, Vnet } from '../../../plugins/linux-fast/vnet.ts'
import type { Host, HostDevice, SeededRng } from '../../kit/index.ts'
import { Memory } from './memory.ts'
import { type Datagram, type Fields, isTo, Socket } from './socket.ts'
import { TunQueue } from './tun-queue.ts'

/** What Linux writes unless it is told otherwise. */
const TTL = 64
const TUNSETIFF = 0x400454ca
const { EBADF, EADDRINUSE, EADDRNOTAVAIL, ENOENT } = constants.errno
const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]))

class EventFd {
  count = 0
  readonly readable = false
}
type File = Socket | TunQueue | EventFd | 'tun'

/**
 * The system calls of plugin linux-fast on a host of the virtual internet: its sockets and the device are the host's. Nothing
 * blocks: what a `poll` would have waited for is said to `watchers`.
 */
export class VirtualKernel implements Libc {
  /** Called when a descriptor has something to read; `by` tells a wake from a packet. */
  readonly watchers = new Set<(by: 'packet' | 'wake') => void>()
  /** How long the last `poll` that found nothing would have waited, ms; undefined: it found something. */
  idle: number | undefined
  /** Datagrams there was no room for. */
  overflown = 0
  /** How often many packets went through at once: datagrams put together and cut, large packets from and to the device. */
  readonly batches = { received: 0, sent: 0, read: 0, written: 0 }
  readonly #host: Host
  readonly #device: HostDevice
  readonly #rng: SeededRng
  readonly #memory = new Memory()
  readonly #files = new Map<number, File>()
  readonly #ports = new Map<string, { readonly sockets: Socket[]; readonly unbind: () => void }>()
  #next = 3
  #errno = 0

  constructor(host: Host, device: HostDevice, rng: SeededRng) {
    this.#host = host
    this.#device = device
    this.#rng = rng
  }

  #ready(by: 'packet' | 'wake'): void {
    for (const watcher of this.watchers) watcher(by)
  }

  address(bytes: Uint8Array): number {
    return this.#memory.address(bytes)
  }

  errno(): number {
    return this.#errno
  }

  errorName(): string {
    return NAMES.get(this.#errno) ?? String(this.#errno)
  }

  socket(domain: number, type: number, protocol: number): number {
    const raw = (type & 0xf) === Sys.SOCK_RAW
    return this.#open(new Socket(this.#host, this.#rng, domain === Sys.AF_INET6, raw ? protocol : IpProtocol.UDP))
  }

  bind(fd: number, name: number, length: number): number {
    const socket = this.#socket(fd)
    if (socket === undefined) return this.#fail(EBADF)
    const wanted = this.#endpoint(name, length)
    if (!this.#host.addresses.some(({ text }) => text === wanted.address)) return this.#fail(EADDRNOTAVAIL)
    if (socket.raw) return this.#join(socket, { ...wanted, port: 0 })
    return this.#join(socket, { ...wanted, port: wanted.port === 0 ? this.#host.freePort() : wanted.port })
  }

  /** Sockets of one port share what the host knows one receiver for. */
  #join(socket: Socket, local: Socket['local']): number {
    const { protocol } = socket
    const key = `${protocol} ${local.port}`
    const entry = this.#ports.get(key)
    if (entry?.sockets.some(one => one.local.address === local.address)) return this.#fail(EADDRINUSE)
    if (entry === undefined && !socket.raw && this.#host.hasUdp(local.port)) return this.#fail(EADDRINUSE)
    socket.local = local
    if (entry !== undefined) entry.sockets.push(socket)
    else {
      const sockets = [socket]
      const take = (packet: Uint8Array): void => this.#arrived(sockets, packet)
      const unbind = socket.raw ? this.#host.bindProtocol(protocol, take) : this.#host.bindUdp(local.port, take)
      this.#ports.set(key, { sockets, unbind })
    }
    return 0
  }

  #arrived(sockets: readonly Socket[], packet: Uint8Array): void {
    const socket = sockets.find(({ local }) => isTo(packet, local.address))
    if (socket?.take(packet) !== true) this.overflown++
    else this.#ready('packet')
  }

  getsockname(fd: number, name: number, _length: number): number {
    const socket = this.#socket(fd)
    if (socket === undefined) return this.#fail(EBADF)
    writeName(this.#memory.at(name, 28), 0, socket.local)
    return 0
  }

  setsockopt(fd: number, level: number, name: number, value: number, length: number): number {
    const socket = this.#socket(fd)
    if (socket === undefined) return this.#fail(EBADF)
    socket.options.set(`${level} ${name}`, this.#memory.at(value, length).getInt32(0, true))
    return 0
  }

  sendto(fd: number, data: number, length: number, _flags: number, name: number, nameLength: number): number {
    return this.#send(fd, this.#memory.bytes(data, length), this.#endpoint(name, nameLength), { tos: 0, ttl: TTL })
  }

  sendmmsg(fd: number, messages: number, count: number, flags: number): number {
    for (let i = 0; i < count; i++) {
      const sent = this.sendmsg(fd, messages + i * MMSGHDR, flags)
      if (sent < 0) return i === 0 ? -1 : i
      this.#memory.at(messages + i * MMSGHDR, MMSGHDR).setUint32(MMSGHDR - 8, sent, true)
    }
    return count
  }

  sendmsg(fd: number, message: number, _flags: number): number {
    const memory = this.#memory
    const header = memory.at(message, MSGHDR)
    const data = this.#gather(memory.pointer(header, Msg.IOV), header.getUint32(Msg.IOV_COUNT, true))
    const to = this.#endpoint(memory.pointer(header, Msg.NAME), header.getUint32(Msg.NAME_LENGTH, true))
    const end = header.getUint32(Msg.CONTROL_LENGTH, true)
    const fields = { tos: 0, ttl: TTL }
    let segment = 0
    for (let at = 0; at + CMSG_HEADER <= end; ) {
      const control = memory.at(memory.pointer(header, Msg.CONTROL) + at, end - at)
      const length = control.getUint32(Cmsg.LENGTH, true)
      if (length < CMSG_HEADER || at + length > end) return this.#fail(Sys.EINVAL)
      const level = control.getInt32(Cmsg.LEVEL, true)
      const type = control.getInt32(Cmsg.TYPE, true)
      const is = (wantedLevel: number, wantedType: number): boolean => level === wantedLevel && type === wantedType
      if (is(Sys.SOL_UDP, Sys.UDP_SEGMENT)) segment = control.getUint16(CMSG_HEADER, true)
      else if (is(Sys.SOL_IP, Sys.IP_TOS) || is(Sys.SOL_IPV6, Sys.IPV6_TCLASS))
        fields.tos = control.getInt32(CMSG_HEADER, true)
      else if (is(Sys.SOL_IP, Sys.IP_TTL) || is(Sys.SOL_IPV6, Sys.IPV6_HOPLIMIT))
        fields.ttl = control.getInt32(CMSG_HEADER, true)
      else return this.#fail(Sys.EINVAL)
      at += (length + 7) & ~7
    }
    return this.#send(fd, data, to, fields, segment)
  }

  #endpoint(name: number, length: number): Socket['local'] {
    return readName(this.#memory.bytes(name, length), this.#memory.at(name, length), 0)
  }

  #send(fd: number, data: Uint8Array, to: Socket['local'], fields: Fields, segment = 0): number {
    const socket = this.#socket(fd)
    if (socket === undefined) return this.#fail(EBADF)
    const error = socket.send(data, to, fields, segment)
    if (error === 0 && segment > 0) this.batches.sent++
    return error === 0 ? data.length : this.#fail(error)
  }

  recvmmsg(fd: number, messages: number, count: number, flags: number, _timeout: number): number {
    const socket = this.#socket(fd)
    if (socket === undefined) return this.#fail(EBADF)
    let taken = 0
    for (; taken < count; taken++) {
      const header = this.#memory.at(messages + taken * MMSGHDR, MMSGHDR)
      if ((flags & Sys.MSG_ERRQUEUE) !== 0) {
        const mtu = socket.errors.shift()
        if (mtu === undefined) break
        this.#tellError(header, socket.v6, mtu)
      } else {
        const datagram = socket.receive()
        if (datagram === undefined) break
        if (datagram.parts.length > 1) this.batches.received++
        this.#deliver(header, socket, datagram)
      }
    }
    return taken === 0 ? this.#fail(Sys.EAGAIN) : taken
  }

  #deliver(header: DataView, socket: Socket, { from, tos, ttl, parts }: Datagram): void {
    const memory = this.#memory
    const nameLength = socket.v6 ? 28 : 16
    writeName(memory.at(memory.pointer(header, Msg.NAME), header.getUint32(Msg.NAME_LENGTH, true)), 0, from)
    header.setUint32(Msg.NAME_LENGTH, nameLength, true)
    const iov = memory.at(memory.pointer(header, Msg.IOV), IOVEC)
    const room = iov.getUint32(8, true)
    const to = memory.bytes(memory.pointer(iov, 0), room)
    let length = 0
    for (const part of parts) {
      to.set(part.subarray(0, room - length), length)
      length = Math.min(room, length + part.length)
    }
    header.setUint32(MMSGHDR - 8, length, true)
    const controls: [number, number, number, number][] = []
    if (parts.length > 1) controls.push([Sys.SOL_UDP, Sys.UDP_GRO, 4, parts[0]!.length])
    if (socket.v6 && socket.option(Sys.SOL_IPV6, Sys.IPV6_RECVTCLASS) !== 0)
      controls.push([Sys.SOL_IPV6, Sys.IPV6_TCLASS, 4, tos])
    if (socket.v6 && socket.option(Sys.SOL_IPV6, Sys.IPV6_RECVHOPLIMIT) !== 0)
      controls.push([Sys.SOL_IPV6, Sys.IPV6_HOPLIMIT, 4, ttl])
    if (!socket.v6 && socket.option(Sys.SOL_IP, Sys.IP_RECVTOS) !== 0) controls.push([Sys.SOL_IP, Sys.IP_TOS, 1, tos])
    let at = 0
    for (const [level, type, size, value] of controls) {
      const control = this.#control(header, at, level, type, size)
      if (size === 1) control.setUint8(CMSG_HEADER, value)
      else control.setInt32(CMSG_HEADER, value, true)
      at += 24
    }
    header.setUint32(Msg.CONTROL_LENGTH, at, true)
  }

  /** struct sock_extended_err: the error's number, and behind origin, type, code and padding what it is about. */
  #tellError(header: DataView, v6: boolean, mtu: number): void {
    const level = v6 ? Sys.SOL_IPV6 : Sys.SOL_IP
    const control = this.#control(header, 0, level, v6 ? Sys.IPV6_RECVERR : Sys.IP_RECVERR, 16)
    control.setUint32(CMSG_HEADER, Sys.EMSGSIZE, true)
    control.setUint32(CMSG_HEADER + 8, mtu, true)
    header.setUint32(Msg.CONTROL_LENGTH, CMSG_HEADER + 16, true)
    header.setUint32(MMSGHDR - 8, 0, true)
  }

  #control(header: DataView, at: number, level: number, type: number, size: number): DataView {
    const room = header.getUint32(Msg.CONTROL_LENGTH, true)
    if (at + CMSG_HEADER + size > room && at === 0) throw new Error('no room for a control message')
    const control = this.#memory.at(this.#memory.pointer(header, Msg.CONTROL) + at, CMSG_HEADER + size)
    control.setUint32(Cmsg.LENGTH, CMSG_HEADER + size, true)
    control.setUint32(Cmsg.LENGTH + 4, 0, true)
    control.setInt32(Cmsg.LEVEL, level, true)
    control.setInt32(Cmsg.TYPE, type, true)
    return control
  }

  poll(fds: number, count: number, timeout: number): number {
    const view = this.#memory.at(fds, 8 * count)
    let found = 0
    for (let at = 0; at < 8 * count; at += 8) {
      const fd = view.getInt32(at, true)
      const wanted = view.getInt16(at + 4, true)
      const got = fd < 0 ? 0 : wanted & (Sys.POLLOUT | (this.#readable(fd) ? Sys.POLLIN : 0))
      view.setInt16(at + 6, got, true)
      if (got !== 0) found++
    }
    this.idle = found === 0 ? timeout : undefined
    return found
  }

  #readable(fd: number): boolean {
    const file = this.#files.get(fd)
    if (file === undefined || file === 'tun') throw new Error(`poll of a descriptor that is not open, ${fd}`)
    return file instanceof EventFd ? file.count > 0 : file.readable
  }

  read(fd: number, data: number, length: number): number {
    const file = this.#files.get(fd)
    if (file instanceof EventFd) {
      if (file.count === 0) return this.#fail(Sys.EAGAIN)
      this.#memory.at(data, 8).setBigUint64(0, BigInt(file.count), true)
      file.count = 0
      return 8
    }
    if (!(file instanceof TunQueue)) return this.#fail(EBADF)
    const packet = file.read()
    if (packet === undefined) return this.#fail(Sys.EAGAIN)
    if (packet.length > length) throw new Error(`a packet of ${packet.length} octets and room for ${length}`)
    this.#memory.bytes(data, length).set(packet)
    if (packet[Vnet.GSO_TYPE] !== Gso.NONE) this.batches.read++
    return packet.length
  }

  write(fd: number, data: number, length: number): number {
    const file = this.#files.get(fd)
    if (file instanceof EventFd) {
      file.count += Number(this.#memory.at(data, 8).getBigUint64(0, true))
      this.#ready('wake')
      return 8
    }
    return this.#toDevice(fd, this.#memory.bytes(data, length))
  }

  writev(fd: number, parts: number, count: number): number {
    return this.#toDevice(fd, this.#gather(parts, count))
  }

  #toDevice(fd: number, packet: Uint8Array): number {
    const file = this.#files.get(fd)
    if (!(file instanceof TunQueue)) return this.#fail(EBADF)
    if (!file.write(packet)) return this.#fail(Sys.EINVAL)
    if (packet[Vnet.GSO_TYPE] !== Gso.NONE) this.batches.written++
    return packet.length
  }

  #gather(parts: number, count: number): Uint8Array {
    const iov = this.#memory.at(parts, IOVEC * count)
    const pieces = Array.from({ length: count }, (_, i) =>
      this.#memory.bytes(this.#memory.pointer(iov, IOVEC * i), iov.getUint32(IOVEC * i + 8, true)),
    )
    return concat(...pieces)
  }

  eventfd(initial: number, _flags: number): number {
    const file = new EventFd()
    file.count = initial
    return this.#open(file)
  }

  open(path: string, _flags: number): number {
    return path === '/dev/net/tun' ? this.#open('tun') : this.#fail(ENOENT)
  }

  ioctl(fd: number, request: number, argument: number): number {
    const file = this.#files.get(fd)
    if (file === undefined) return this.#fail(EBADF)
    if (request !== TUNSETIFF) return 0
    this.#files.set(fd, new TunQueue(this.#device, this.#rng, () => this.#ready('packet')))
    const name = this.#memory.bytes(argument, 16)
    name.fill(0)
    new TextEncoder().encodeInto(this.#device.name, name)
    return 0
  }

  close(fd: number): number {
    const file = this.#files.get(fd)
    if (file === undefined) return this.#fail(EBADF)
    this.#files.delete(fd)
    if (file instanceof Socket) this.#unbind(file)
    if (file instanceof TunQueue) file.close()
    return 0
  }

  /** The program has ended: its descriptors are closed. */
  closeAll(): void {
    for (const fd of [...this.#files.keys()]) this.close(fd)
  }

  #unbind(socket: Socket): void {
    const key = `${socket.protocol} ${socket.local.port}`
    const entry = this.#ports.get(key)
    const index = entry?.sockets.indexOf(socket) ?? -1
    if (entry === undefined || index < 0) return
    entry.sockets.splice(index, 1)
    if (entry.sockets.length > 0) return
    entry.unbind()
    this.#ports.delete(key)
  }

  #open(file: File): number {
    const fd = this.#next++
    this.#files.set(fd, file)
    return fd
  }

  #socket(fd: number): Socket | undefined {
    const file = this.#files.get(fd)
    return file instanceof Socket ? file : undefined
  }

  #fail(error: number): -1 {
    this.#errno = error
    return -1
  }
}
