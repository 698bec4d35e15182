import { getSystemErrorName } from 'node:util'
import type { Endpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import { CMSG_HEADER, IOVEC, MMSGHDR, Msg, type Native, Sys, setAddress, sockaddr } from './native.ts'

/** Datagrams by one call at most. */
const BATCH = 64
const IOVS = BATCH * MMSGHDR
const NAMES = IOVS + BATCH * IOVEC
/** Octets for each sockaddr. */
const NAME = 32
const CONTROLS = NAMES + BATCH * NAME
/** Octets for each control message: struct cmsghdr and a number of 16 bits. */
const CONTROL = 24
const DATA = CONTROLS + BATCH * CONTROL
/** Room for a datagram of any size, or for a batch of those of an Ethernet path. */
const OCTETS = 128 * 1_024
/** What the kernel cuts datagrams from must be no larger. */
const GROUP = 65_000
const SOL_UDP = 17
const UDP_SEGMENT = 103
const NOWHERE: Endpoint = { address: '', port: 0 }

/** A datagram that the kernel did not take. */
export interface Refused {
  /** Its octets, `length` of them, valid during the call. */
  readonly bytes: Uint8Array
  readonly length: number
  readonly remote: Endpoint
  readonly df: boolean
}

/**
 * Datagrams on their way out of one socket, sent many at a time: when a batch is full, and when the present turn ends. Those
 * of one size to one place go as one, which the kernel cuts (UDP_SEGMENT, Linux 4.18).
 */
export class Sender {
  readonly #native: Native
  readonly #fd: number
  readonly #refused: (datagram: Refused, error: string) => void
  readonly #bytes = new Uint8Array(DATA + OCTETS)
  readonly #view = new DataView(this.#bytes.buffer)
  readonly #address: number
  /** struct sockaddr of those sent to. */
  readonly #names = new WeakMap<Endpoint, Uint8Array>()
  /** One behind the other in the buffer. */
  readonly #batch = Array.from({ length: BATCH }, () => ({ at: 0, length: 0, remote: NOWHERE, df: false }))
  #count = 0
  #end = DATA
  /** Which datagram each message starts with, and in the end how many there are. */
  readonly #firsts = new Uint32Array(BATCH + 1)
  /** Whether the kernel cuts. */
  #cuts: boolean
  readonly #turn = (): void => this.flush()

  /** @param refused - told of each that the kernel did not take, in order, by the name of the error; EAGAIN: it has no room */
  constructor(native: Native, fd: number, refused: (datagram: Refused, error: string) => void) {
    this.#native = native
    this.#fd = fd
    this.#refused = refused
    this.#address = native.address(this.#bytes)
    this.#cuts = native.setsockopt(fd, SOL_UDP, UDP_SEGMENT, new Uint8Array(4), 4) === 0
    const view = this.#view
    for (let i = 0; i < BATCH; i++) {
      const [header, control] = [i * MMSGHDR, CONTROLS + i * CONTROL]
      setAddress(view, header + Msg.NAME, this.#address + NAMES + i * NAME)
      setAddress(view, header + Msg.IOV, this.#address + IOVS + i * IOVEC)
      view.setUint32(header + Msg.IOV_COUNT, 1, true)
      setAddress(view, header + Msg.CONTROL, this.#address + control)
      view.setUint32(control, CMSG_HEADER + 2, true)
      view.setInt32(control + 8, SOL_UDP, true)
      view.setInt32(control + 12, UDP_SEGMENT, true)
    }
  }

  /** Takes a copy. */
  add({ bytes, start, end, df }: Packet, remote: Endpoint): void {
    const length = end - start
    if (this.#count === BATCH || this.#end + length > this.#bytes.length) this.flush()
    if (this.#count === 0) queueMicrotask(this.#turn)
    const datagram = this.#batch[this.#count++]!
    datagram.at = this.#end
    datagram.length = length
    datagram.remote = remote
    datagram.df = df
    this.#bytes.set(bytes.subarray(start, end), this.#end)
    this.#end += length
  }

  /** Sends what was added. */
  flush(): void {
    let grouped = this.#cuts
    let suspect = false
    for (let i = 0; i < this.#count; ) {
      const messages = this.#lay(i, grouped)
      const sent = this.#native.sendmmsg(this.#fd, this.#address, messages, Sys.MSG_DONTWAIT)
      if (sent > 0) {
        i = this.#firsts[sent]!
        // alone it goes where as one of many it did not
        if (suspect) this.#cuts = false
        continue
      }
      const errno = this.#native.errno()
      if (errno === Sys.EINTR) continue
      if (grouped && errno !== Sys.EAGAIN && this.#firsts[1]! > i + 1) {
        grouped = false
        suspect = errno !== Sys.EMSGSIZE
        continue
      }
      suspect = false
      this.#refuse(i++, errno)
      // the others must not overtake it
      if (errno === Sys.EAGAIN) while (i < this.#count) this.#refuse(i++, errno)
    }
    this.#count = 0
    this.#end = DATA
  }

  /** Writes messages for the datagrams from one on. @returns how many messages */
  #lay(from: number, grouped: boolean): number {
    const view = this.#view
    let messages = 0
    for (let i = from; i < this.#count; messages++) {
      this.#firsts[messages] = i
      const { at, length, remote } = this.#batch[i++]!
      let octets = length
      // the last one may be shorter
      for (let same = grouped; same && i < this.#count; ) {
        const next = this.#batch[i]!
        if (next.remote !== remote || next.length > length || next.length === 0 || octets + next.length > GROUP) break
        octets += next.length
        same = next.length === length
        i++
      }
      const [header, iov, control] = [messages * MMSGHDR, IOVS + messages * IOVEC, CONTROLS + messages * CONTROL]
      setAddress(view, iov, this.#address + at)
      view.setUint32(iov + 8, octets, true)
      view.setUint32(header + Msg.CONTROL_LENGTH, octets > length ? CONTROL : 0, true)
      view.setUint16(control + CMSG_HEADER, length, true)
      const name = this.#nameOf(remote)
      this.#bytes.set(name, NAMES + messages * NAME)
      view.setUint32(header + Msg.NAME_LENGTH, name.length, true)
    }
    this.#firsts[messages] = this.#count
    return messages
  }

  #refuse(i: number, errno: number): void {
    const { at, length, remote, df } = this.#batch[i]!
    this.#refused({ bytes: this.#bytes.subarray(at, at + length), length, remote, df }, getSystemErrorName(-errno))
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
