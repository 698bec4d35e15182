import { endianness } from 'node:os'
import type { Endpoint } from '../../core/contracts/net.ts'
import { addressBytes } from '../../core/wire/index.ts'

/** Linux's numbers; these hold on x86, Arm and RISC-V. */
const V4 = { level: 0, discover: 10, errors: 11, family: 2 } as const
const V6 = { level: 41, discover: 23, errors: 25, family: 10 } as const
/** Values of IP_MTU_DISCOVER: the kernel fragments what is too big for the path, or refuses it. */
const WANT = 1
const DO = 2
const EMSGSIZE = 90
const MSG_DONTWAIT = 0x40
const MSG_ERRQUEUE = 0x2000
/** Octets of struct msghdr, of struct cmsghdr, and what is behind them here: iovec, name, control messages. */
const MSGHDR = 56
const CMSG_HEADER = 16
const IOV_AT = MSGHDR
const NAME_AT = IOV_AT + 16
const CONTROL_AT = NAME_AT + 64
const CONTROL = 128

/** One datagram that was refused. */
export interface Refused {
  readonly bytes: Uint8Array
  readonly length: number
  readonly remote: Endpoint
}

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

/** @returns undefined where it cannot be had: not 64-bit Linux, or no package koffi */
export async function pathMtuDiscovery(): Promise<PathMtuDiscovery | undefined> {
  if (process.platform !== 'linux' || endianness() !== 'LE' || process.arch === 'ia32' || process.arch === 'arm')
    return undefined
  const koffi = await import('koffi').catch(() => undefined)
  if (koffi === undefined) return undefined
  const libc = koffi.default.load(null)
  const setsockopt = libc.func('int setsockopt(int fd, int level, int name, void *value, uint32_t length)')
  const sendto = libc.func('long sendto(int fd, void *data, size_t length, int flags, void *name, uint32_t nameLength)')
  const recvmsg = libc.func('long recvmsg(int fd, void *message, int flags)')
  const set = (fd: number, { level }: typeof V4 | typeof V6, option: number, value: number): void => {
    setsockopt(fd, level, option, new Uint8Array(new Int32Array([value]).buffer), 4)
  }
  const send = (fd: number, { bytes, length, remote }: Refused): boolean => {
    const name = sockaddr(remote)
    return sendto(fd, bytes, length, MSG_DONTWAIT, name, name.length) >= 0
  }
  const block = new Uint8Array(CONTROL_AT + CONTROL)
  const view = new DataView(block.buffer)
  const base = koffi.default.address(block)
  const read = (fd: number): number | undefined => {
    let mtu: number | undefined
    for (let i = 0; i < 16; i++) {
      block.fill(0)
      for (const [at, to] of [
        [0, NAME_AT],
        [16, IOV_AT],
        [32, CONTROL_AT],
      ] as const)
        view.setBigUint64(at, base + BigInt(to), true)
      view.setUint32(8, 64, true)
      view.setBigUint64(24, 1n, true)
      view.setBigUint64(40, BigInt(CONTROL), true)
      if (recvmsg(fd, block, MSG_DONTWAIT | MSG_ERRQUEUE) < 0) return mtu
      const [level, type] = [view.getInt32(CONTROL_AT + 8, true), view.getInt32(CONTROL_AT + 12, true)]
      // struct sock_extended_err of linux/errqueue.h: errno, origin, type, code, padding, info
      const about = level === V4.level ? type === V4.errors : type === V6.errors
      if (about && view.getUint32(CONTROL_AT + CMSG_HEADER, true) === EMSGSIZE)
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

/** struct sockaddr_in or sockaddr_in6. */
function sockaddr(remote: Endpoint): Uint8Array {
  const v4 = familyOf(remote) === V4
  const name = new Uint8Array(v4 ? 16 : 28)
  name[0] = familyOf(remote).family
  name[2] = remote.port >>> 8
  name[3] = remote.port & 0xff
  name.set(addressBytes(remote.address), v4 ? 4 : 8)
  return name
}
