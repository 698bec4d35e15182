import { HEADROOM, TAILROOM } from '../../core/contracts/packet.ts'
import type { Arena } from './arena.ts'
import type { Socket, SocketFlow } from './flows.ts'
import { CMSG_HEADER, Cmsg, IOVEC, type Libc, MMSGHDR, Msg, SOCKADDR, Sys, setAddress } from './libc.ts'

/** Receives in one call; those of UDP may each be many datagrams of one flow and size, which the kernel has put together. */
const MESSAGES = { udp: 8, raw: 32 } as const
const OCTETS = 65_536
const CONTROL = 64

/** Takes one datagram at `start` to `end` of the arena, with the TOS it came with. */
export type Take = (start: number, end: number, flow: SocketFlow, tos: number) => void

/** Datagrams on their way in. */
export class Inbox {
  /** Hop Limit of the message that is being taken, where the socket tells it. */
  hopLimit = 0
  readonly #libc: Libc
  readonly #arena: Arena
  readonly #headers: number
  readonly #names: number
  readonly #controls: number
  readonly #slots: number
  readonly #address: number

  constructor(libc: Libc, arena: Arena) {
    this.#libc = libc
    this.#arena = arena
    this.#address = libc.address(arena.bytes)
    const most = MESSAGES.raw
    this.#headers = arena.take(most * (MMSGHDR + IOVEC))
    this.#names = arena.take(most * 32)
    this.#controls = arena.take(most * CONTROL)
    this.#slots = arena.take(most * Inbox.#stride)
    const { view } = arena
    const pointer = (field: number, to: number): void => setAddress(view, field, this.#address + to)
    for (let i = 0; i < most; i++) {
      const header = this.#headers + i * MMSGHDR
      const iov = this.#headers + most * MMSGHDR + i * IOVEC
      pointer(header + Msg.NAME, this.#names + i * 32)
      pointer(header + Msg.IOV, iov)
      view.setUint32(header + Msg.IOV_COUNT, 1, true)
      pointer(header + Msg.CONTROL, this.#controls + i * CONTROL)
      pointer(iov, this.#slot(i))
      view.setUint32(iov + 8, OCTETS, true)
      this.#prepare(i)
    }
  }

  /** @returns whether the socket may have more */
  receive(socket: Socket, take: Take): boolean {
    const { view } = this.#arena
    const most = socket.raw ? MESSAGES.raw : MESSAGES.udp
    const count = this.#libc.recvmmsg(socket.fd, this.#address + this.#headers, most, Sys.MSG_DONTWAIT, 0)
    for (let i = 0; i < count; i++) {
      const header = this.#headers + i * MMSGHDR
      const length = view.getUint32(header + MMSGHDR - 8, true)
      const controls = view.getUint32(header + Msg.CONTROL_LENGTH, true)
      let segment = length
      let tos = 0
      for (let at = this.#controls + i * CONTROL; at + CMSG_HEADER <= this.#controls + i * CONTROL + controls; ) {
        const size = view.getUint32(at + Cmsg.LENGTH, true)
        if (size < CMSG_HEADER) break
        const level = view.getInt32(at + Cmsg.LEVEL, true)
        if (level === Sys.SOL_UDP) segment = Math.max(1, view.getInt32(at + CMSG_HEADER, true))
        else if (level === Sys.SOL_IPV6 && view.getInt32(at + Cmsg.TYPE, true) === Sys.IPV6_HOPLIMIT)
          this.hopLimit = view.getUint8(at + CMSG_HEADER)
        // IP_TOS is one octet, IPV6_TCLASS four: the first is it
        else tos = view.getUint8(at + CMSG_HEADER)
        at += (size + 7) & ~7
      }
      const flow = socket.from(this.#arena, this.#names + i * 32)
      const slot = this.#slot(i)
      if (length === 0) take(slot, slot, flow, tos)
      for (let at = 0; at < length; at += segment) take(slot + at, slot + Math.min(at + segment, length), flow, tos)
      this.#prepare(i)
    }
    return count === most
  }

  static get #stride(): number {
    return HEADROOM + OCTETS + TAILROOM
  }

  #slot(i: number): number {
    return this.#slots + i * Inbox.#stride + HEADROOM
  }

  #prepare(i: number): void {
    const header = this.#headers + i * MMSGHDR
    this.#arena.view.setUint32(header + Msg.NAME_LENGTH, SOCKADDR, true)
    this.#arena.view.setUint32(header + Msg.CONTROL_LENGTH, CONTROL, true)
  }
}
