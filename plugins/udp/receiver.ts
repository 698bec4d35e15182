import type { Endpoint, Flow } from '../../core/contracts/net.ts'
import { HEADROOM, newPacket, type Packet, TAILROOM } from '../../core/contracts/packet.ts'
import { addressOfBytes } from '../../core/wire/index.ts'
import { IOVEC, MMSGHDR, Msg, type Native, SOCKADDR, Sys, setAddress } from './native.ts'

/** Datagrams by one call at most. */
const BATCH = 32
const OCTETS = 65_536
const STRIDE = HEADROOM + OCTETS + TAILROOM
const NAMES = BATCH * (MMSGHDR + IOVEC)
const SLOTS = NAMES + BATCH * 32

/** Where datagrams come to that are read many at a time; one for all sockets, since each batch is done with at once. */
export class Receiver {
  readonly #native: Native
  /** Pages of it that no datagram has touched take no memory. */
  readonly #packet: Packet = newPacket(SLOTS + BATCH * STRIDE)
  readonly #view: DataView
  readonly #address: number
  /** Names of the last sender, as the kernel writes them, and whose flow that is. */
  readonly #name = new Uint8Array(SOCKADDR)
  #nameLength = 0
  #flow: Flow | undefined
  #flowOf: unknown

  constructor(native: Native) {
    this.#native = native
    const { bytes } = this.#packet
    this.#view = new DataView(bytes.buffer)
    this.#address = native.address(bytes)
    for (let i = 0; i < BATCH; i++) {
      const header = i * MMSGHDR
      const iov = BATCH * MMSGHDR + i * IOVEC
      setAddress(this.#view, header + Msg.NAME, this.#address + NAMES + i * 32)
      setAddress(this.#view, header + Msg.IOV, this.#address + iov)
      this.#view.setUint32(header + Msg.IOV_COUNT, 1, true)
      setAddress(this.#view, iov, this.#address + SLOTS + i * STRIDE + HEADROOM)
      this.#view.setUint32(iov + 8, OCTETS, true)
      this.#view.setUint32(header + Msg.NAME_LENGTH, SOCKADDR, true)
    }
  }

  /**
   * Takes what waits in a socket.
   *
   * @param flow - the shared flow of a remote endpoint
   * @param receive - called for each datagram
   * @returns whether there may be more
   */
  drain(fd: number, flow: (remote: Endpoint) => Flow, receive: (packet: Packet, flow: Flow) => void): boolean {
    const view = this.#view
    const packet = this.#packet
    const count = this.#native.recvmmsg(fd, this.#address, BATCH, Sys.MSG_DONTWAIT, 0)
    for (let i = 0; i < count; i++) {
      const header = i * MMSGHDR
      packet.start = SLOTS + i * STRIDE + HEADROOM
      packet.end = packet.start + view.getUint32(header + MMSGHDR - 8, true)
      view.setUint32(header + Msg.NAME_LENGTH, SOCKADDR, true)
      packet.nextHeader = 17
      packet.tos = packet.ttl = packet.id = packet.flowLabel = 0
      packet.df = false
      receive(packet, this.#from(NAMES + i * 32, flow))
    }
    return count === BATCH
  }

  /** @param at - of a struct sockaddr */
  #from(at: number, flow: (remote: Endpoint) => Flow): Flow {
    const { bytes } = this.#packet
    if (this.#flow !== undefined && this.#flowOf === flow && this.#same(at)) return this.#flow
    const v4 = this.#view.getUint16(at, true) === Sys.AF_INET
    // behind an IPv6 address a link's number may follow, which flows are without
    this.#nameLength = v4 ? 8 : SOCKADDR - 4
    for (let i = 0; i < this.#nameLength; i++) this.#name[i] = bytes[at + i]!
    const address = addressOfBytes(bytes, at + (v4 ? 4 : 8), v4 ? 4 : 6)
    this.#flow = flow({ address, port: this.#view.getUint16(at + 2) })
    this.#flowOf = flow
    return this.#flow
  }

  #same(at: number): boolean {
    const { bytes } = this.#packet
    for (let i = 0; i < this.#nameLength; i++) if (this.#name[i] !== bytes[at + i]) return false
    return true
  }
}
