import { getSystemErrorName } from 'node:util'
import type { Endpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import { IOVEC, MMSGHDR, Msg, type Native, Sys, setAddress, sockaddr } from './native.ts'

/** Datagrams by one call at most. */
const BATCH = 64
const IOVS = BATCH * MMSGHDR
const NAMES = IOVS + BATCH * IOVEC
/** Octets for each sockaddr. */
const NAME = 32
const DATA = NAMES + BATCH * NAME
/** Room for a datagram of any size, or for a batch of those of an Ethernet path. */
const OCTETS = 128 * 1_024
const NOWHERE: Endpoint = { address: '', port: 0 }

/** A datagram that the kernel did not take. */
export interface Refused {
  /** Its octets, `length` of them, valid during the call. */
  readonly bytes: Uint8Array
  readonly length: number
  readonly remote: Endpoint
  readonly df: boolean
}

/** Datagrams on their way out of one socket, sent many at a time: when a batch is full, and when the present turn ends. */
export class Sender {
  readonly #native: Native
  readonly #fd: number
  readonly #refused: (datagram: Refused, error: string) => void
  readonly #bytes = new Uint8Array(DATA + OCTETS)
  readonly #view = new DataView(this.#bytes.buffer)
  readonly #address: number
  /** struct sockaddr of those sent to. */
  readonly #names = new WeakMap<Endpoint, Uint8Array>()
  readonly #batch = Array.from({ length: BATCH }, () => ({ at: 0, length: 0, remote: NOWHERE, df: false }))
  #count = 0
  #end = DATA
  readonly #turn = (): void => this.flush()

  /** @param refused - told of each that the kernel did not take, in order, by the name of the error; EAGAIN: it has no room */
  constructor(native: Native, fd: number, refused: (datagram: Refused, error: string) => void) {
    this.#native = native
    this.#fd = fd
    this.#refused = refused
    this.#address = native.address(this.#bytes)
    for (let i = 0; i < BATCH; i++) {
      setAddress(this.#view, i * MMSGHDR + Msg.NAME, this.#address + NAMES + i * NAME)
      setAddress(this.#view, i * MMSGHDR + Msg.IOV, this.#address + IOVS + i * IOVEC)
      this.#view.setUint32(i * MMSGHDR + Msg.IOV_COUNT, 1, true)
    }
  }

  /** Takes a copy. */
  add({ bytes, start, end, df }: Packet, remote: Endpoint): void {
    const length = end - start
    if (this.#count === BATCH || this.#end + length > this.#bytes.length) this.flush()
    if (this.#count === 0) queueMicrotask(this.#turn)
    const i = this.#count++
    const datagram = this.#batch[i]!
    datagram.at = this.#end
    datagram.length = length
    datagram.df = df
    this.#bytes.set(bytes.subarray(start, end), this.#end)
    this.#end += length
    const iov = IOVS + i * IOVEC
    setAddress(this.#view, iov, this.#address + datagram.at)
    this.#view.setUint32(iov + 8, length, true)
    // most of a place's datagrams go where the one before them went
    if (datagram.remote === remote) return
    datagram.remote = remote
    const name = this.#nameOf(remote)
    this.#bytes.set(name, NAMES + i * NAME)
    this.#view.setUint32(i * MMSGHDR + Msg.NAME_LENGTH, name.length, true)
  }

  /** Sends what was added. */
  flush(): void {
    const count = this.#count
    let full = false
    for (let i = 0; i < count; ) {
      const sent = full ? -1 : this.#native.sendmmsg(this.#fd, this.#address + i * MMSGHDR, count - i, Sys.MSG_DONTWAIT)
      if (sent > 0) {
        i += sent
        continue
      }
      const errno: number = full ? Sys.EAGAIN : this.#native.errno()
      if (errno === Sys.EINTR) continue
      // the others must not overtake this one
      full = errno === Sys.EAGAIN
      const { at, length, remote, df } = this.#batch[i++]!
      this.#refused({ bytes: this.#bytes.subarray(at, at + length), length, remote, df }, getSystemErrorName(-errno))
    }
    this.#count = 0
    this.#end = DATA
  }

  #nameOf(remote: Endpoint): Uint8Array {
    let name = this.#names.get(remote)
    if (name === undefined) {
      name = sockaddr(remote)
      this.#names.set(remote, name)
    }
    return name
  }
}
