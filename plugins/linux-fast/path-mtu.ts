import { CMSG_HEADER, Cmsg, IOVEC, type Libc, MMSGHDR, Msg, Sys, setAddress } from './libc.ts'

/** IP_MTU_DISCOVER and IPV6_MTU_DISCOVER: the kernel fragments what is too big for the path, or refuses it. */
const WANT = 1
const DO = 2
const CONTROL = 128
const MEMORY = 8 + MMSGHDR + IOVEC + 64 + CONTROL

/**
 * What the kernel knows of paths, from its routes and from ICMP: it has matched each message with a socket and a
 * destination, believes nothing below 552 octets, and forgets after ten minutes. Sockets refuse datagrams that are too big.
 */
export class PathMtuDiscovery {
  readonly #libc: Libc
  readonly #bytes = new Uint8Array(MEMORY)
  readonly #view = new DataView(this.#bytes.buffer)
  readonly #address: number

  constructor(libc: Libc) {
    this.#libc = libc
    this.#address = libc.address(this.#bytes)
  }

  /** From now on what is too big is refused with EMSGSIZE. */
  begin(fd: number, v4: boolean): void {
    this.#set(fd, v4, v4 ? Sys.IP_MTU_DISCOVER : Sys.IPV6_MTU_DISCOVER, DO)
  }

  /** Sends in fragments, all the same. */
  fragmenting<R>(fd: number, v4: boolean, send: () => R): R {
    const option = v4 ? Sys.IP_MTU_DISCOVER : Sys.IPV6_MTU_DISCOVER
    this.#set(fd, v4, option, WANT)
    const result = send()
    this.#set(fd, v4, option, DO)
    return result
  }

  /**
   * Asks what a datagram was too big for. The error queue is on during this call only: else errors of other peers would
   * fail whatever is sent next.
   *
   * @param send - sends the datagram once more, which is refused once more
   * @returns octets of the largest IP packet on its path; undefined when the kernel does not say
   */
  ask(fd: number, v4: boolean, send: () => void): number | undefined {
    const option = v4 ? Sys.IP_RECVERR : Sys.IPV6_RECVERR
    this.#set(fd, v4, option, 1)
    send()
    const mtu = this.#read(fd)
    this.#set(fd, v4, option, 0)
    return mtu
  }

  /** The last EMSGSIZE in the error queue, struct sock_extended_err of linux/errqueue.h. */
  #read(fd: number): number | undefined {
    const view = this.#view
    const [message, iov] = [8, 8 + MMSGHDR]
    const [name, control] = [iov + IOVEC, iov + IOVEC + 64]
    setAddress(view, message + Msg.NAME, this.#address + name)
    setAddress(view, message + Msg.IOV, this.#address + iov)
    view.setUint32(message + Msg.IOV_COUNT, 1, true)
    setAddress(view, message + Msg.CONTROL, this.#address + control)
    let mtu: number | undefined
    for (let i = 0; i < 16; i++) {
      view.setUint32(message + Msg.NAME_LENGTH, 64, true)
      view.setUint32(message + Msg.CONTROL_LENGTH, CONTROL, true)
      const flags = Sys.MSG_DONTWAIT | Sys.MSG_ERRQUEUE
      if (this.#libc.recvmmsg(fd, this.#address + message, 1, flags, 0) < 1) return mtu
      const level = view.getInt32(control + Cmsg.LEVEL, true)
      const type = view.getInt32(control + Cmsg.TYPE, true)
      const about = level === Sys.SOL_IP ? type === Sys.IP_RECVERR : type === Sys.IPV6_RECVERR
      if (about && view.getUint32(control + CMSG_HEADER, true) === Sys.EMSGSIZE)
        mtu = view.getUint32(control + CMSG_HEADER + 8, true)
    }
    return mtu
  }

  #set(fd: number, v4: boolean, option: number, value: number): void {
    this.#view.setInt32(0, value, true)
    this.#libc.setsockopt(fd, v4 ? Sys.SOL_IP : Sys.SOL_IPV6, option, this.#address, 4)
  }
}
