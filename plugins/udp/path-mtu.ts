import type { Endpoint } from '../../core/contracts/net.ts'
import { CMSG_HEADER, MSGHDR, Msg, type Native, Sys, setAddress, sockaddr } from './native.ts'
import type { Refused } from './sender.ts'

/** Linux's numbers; these hold on x86, Arm and RISC-V. */
const V4 = { level: 0, discover: 10, errors: 11 } as const
const V6 = { level: 41, discover: 23, errors: 25 } as const
/** Values of IP_MTU_DISCOVER: the kernel fragments what is too big for the path, or refuses it. */
const WANT = 1
const DO = 2
const MSG_ERRQUEUE = 0x2000
/** What is behind struct msghdr here: iovec, name, control messages. */
const IOV_AT = MSGHDR
const NAME_AT = IOV_AT + 16
const CONTROL_AT = NAME_AT + 64
const CONTROL = 128

/**
 * What the kernel knows of paths, from its routes and from ICMP: it has matched each message with a socket and a
 * destination, believes nothing below 552 octets, and forgets after ten minutes. node:dgram has no way to ask.
 */
export interface PathMtuDiscovery {
  /** From now on the socket refuses what is too big, with EMSGSIZE. */
  begin(fd: number, v4: boolean): void
  /** @returns octets of the largest IP packet on the path; undefined when the kernel does not say */
  ask(fd: number, refused: Refused): number | undefined
  /** Sends in fragments. @returns whether it went */
  fragment(fd: number, refused: Refused): boolean
}

export function pathMtuDiscovery(native: Native): PathMtuDiscovery {
  const set = (fd: number, { level }: typeof V4 | typeof V6, option: number, value: number): void => {
    native.setsockopt(fd, level, option, new Uint8Array(new Int32Array([value]).buffer), 4)
  }
  const send = (fd: number, { bytes, length, remote }: Refused): boolean => {
    const name = sockaddr(remote)
    return native.sendto(fd, bytes, length, Sys.MSG_DONTWAIT, name, name.length) >= 0
  }
  const block = new Uint8Array(CONTROL_AT + CONTROL)
  const view = new DataView(block.buffer)
  const base = native.address(block)
  const read = (fd: number): number | undefined => {
    let mtu: number | undefined
    for (let i = 0; i < 16; i++) {
      block.fill(0)
      for (const [at, to] of [
        [Msg.NAME, NAME_AT],
        [Msg.IOV, IOV_AT],
        [Msg.CONTROL, CONTROL_AT],
      ] as const)
        setAddress(view, at, base + to)
      view.setUint32(Msg.NAME_LENGTH, 64, true)
      view.setUint32(Msg.IOV_COUNT, 1, true)
      view.setUint32(Msg.CONTROL_LENGTH, CONTROL, true)
      if (native.recvmsg(fd, base, Sys.MSG_DONTWAIT | MSG_ERRQUEUE) < 0) return mtu
      const [level, type] = [view.getInt32(CONTROL_AT + 8, true), view.getInt32(CONTROL_AT + 12, true)]
      // struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, padding, info
      const about = level === V4.level ? type === V4.errors : type === V6.errors
      if (about && view.getUint32(CONTROL_AT + CMSG_HEADER, true) === Sys.EMSGSIZE)
        mtu = view.getUint32(CONTROL_AT + CMSG_HEADER + 8, true)
    }
    return mtu
  }
  return {
    begin: (fd, v4) => {
      const family = v4 ? V4 : V6
      set(fd, family, family.discover, DO)
    },
    ask: (fd, refused) => {
      const family = familyOf(refused.remote)
      // on for this call only: else errors of other peers would fail whatever is sent next
      set(fd, family, family.errors, 1)
      send(fd, refused)
      const mtu = read(fd)
      set(fd, family, family.errors, 0)
      return mtu
    },
    fragment: (fd, refused) => {
      const family = familyOf(refused.remote)
      set(fd, family, family.discover, WANT)
      const sent = send(fd, refused)
      set(fd, family, family.discover, DO)
      return sent
    },
  }
}

const familyOf = ({ address }: Endpoint): typeof V4 | typeof V6 => (address.includes(':') ? V6 : V4)
