import { closeSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { endianness } from 'node:os'
import { getSystemErrorName } from 'node:util'
import type { Packet } from '../../core/contracts/packet.ts'
import { SystemError } from '../../core/errors.ts'
import { type IpHeader, Ipv4, Ipv6, writeIpv4Header, writeIpv6Header } from '../../core/wire/index.ts'
import {
  AF_INET,
  AF_INET6,
  CONTROL,
  IOVEC,
  IP_PROTOCOL,
  IPV6_FLOWINFO,
  MSGHDR,
  Msg,
  SOCKADDR,
  SOL_IP,
  SOL_IPV6,
  writeName,
  writeProtocol,
  writeSource,
} from './message.ts'

/** Linux's numbers; these hold on x86, Arm and RISC-V. */
const SOCK_RAW = 3
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_BUFFERS = { send: [7, 32], receive: [8, 33] } as const // SO_SNDBUF(FORCE), SO_RCVBUF(FORCE)
const IP_HDRINCL = 3
const IPV6_HDRINCL = 36
const IPV6_RECVPKTINFO = 49
const IPV6_RECVHOPLIMIT = 51
const MSG_DONTWAIT = 0x40
const MSG_ERRQUEUE = 0x2000
const IP_RECVERR = 11
const IPV6_RECVERR = 25
const EMSGSIZE = 90
/** Of struct cmsghdr: where its parts are; struct sock_extended_err of linux/errqueue.h stands behind it. */
const CMSG = { level: 8, type: 12, data: 16 } as const
const ERROR_INFO = 8
const ARCHITECTURES: readonly string[] = ['x64', 'arm64', 'riscv64', 'loong64']

/** Where in a socket's block of memory the parts of a message are. */
const IOV_AT = MSGHDR
const NAME_AT = IOV_AT + IOVEC
const CONTROL_AT = (NAME_AT + SOCKADDR + 7) & ~7
const PACKET_AT = CONTROL_AT + CONTROL

export interface RawSocket {
  readonly fd: number
  readonly protocol: 50 | 51
  readonly family: 4 | 6
  /** Sends `header` and the packet's octets behind it. @returns the error's name (`EMSGSIZE`), undefined when it went */
  send(packet: Packet, header: IpHeader): string | undefined
  /** What the packet just refused was too big for: octets of the largest on its path; undefined if the kernel does not say. */
  pathMtu(): number | undefined
}

export interface RawHandle {
  readonly sockets: readonly RawSocket[]
  /** eventfd that ends a poll in another thread. */
  readonly wakeFd: number
  /** Absolute path of koffi, for the reading thread. */
  readonly koffi: string
  /** False: this kernel looks up the route of IPv4 packets without their protocol, see README. */
  readonly routesByProtocol: boolean
  wake(): void
  close(): void
}

/**
 * Opens a raw socket per protocol and family, IPv6 only where the host has it.
 *
 * @param bufferSize - octets of kernel buffer asked for per socket and direction
 * @throws SystemError SYSTEM_MISSING, SYSTEM_PERMISSION, SYSTEM_SOCKET
 */
export async function openRaw(protocols: readonly (50 | 51)[], bufferSize: number): Promise<RawHandle> {
  if (process.platform !== 'linux' || endianness() !== 'LE' || !ARCHITECTURES.includes(process.arch)) {
    const here = `${process.platform} on ${process.arch}`
    throw new SystemError('SYSTEM_MISSING', `raw sockets are supported on 64-bit Linux only, this is ${here}`)
  }
  const { default: koffi } = await import('koffi').catch((error: unknown) => {
    throw new SystemError('SYSTEM_MISSING', 'raw sockets need the package koffi: npm install koffi', { cause: error })
  })
  const libc = koffi.load(null)
  const socket = libc.func('int socket(int domain, int type, int protocol)')
  const setsockopt = libc.func('int setsockopt(int fd, int level, int name, void *value, uint32_t length)')
  const getsockopt = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)')
  const sendmsg = libc.func('long sendmsg(int fd, void *message, int flags)')
  const recvmsg = libc.func('long recvmsg(int fd, void *message, int flags)')
  const eventfd = libc.func('int eventfd(unsigned int initial, int flags)')
  const opened: number[] = []
  const close = (): void => opened.splice(0).forEach(closeSync)
  const errorName = (): string => getSystemErrorName(-koffi.errno())
  const int = (value: number): Uint8Array => new Uint8Array(new Int32Array([value]).buffer)
  const set = (fd: number, level: number, name: number, value: number): boolean =>
    setsockopt(fd, level, name, int(value), 4) === 0

  const open = (protocol: 50 | 51, family: 4 | 6): RawSocket | undefined => {
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC
    const fd: number = socket(family === 4 ? AF_INET : AF_INET6, type, protocol)
    if (fd < 0) {
      const code = errorName()
      if (family === 6 && code === 'EAFNOSUPPORT') return undefined // IPv6 switched off in the kernel
      throw rawError(`opening a raw socket for IP protocol ${protocol}`, code)
    }
    opened.push(fd)
    const wanted = family === 4 ? [IP_HDRINCL] : [IPV6_HDRINCL, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_FLOWINFO]
    for (const option of wanted)
      if (!set(fd, family === 4 ? SOL_IP : SOL_IPV6, option, 1)) throw rawError(`setsockopt ${option}`, errorName())
    // the kernel's limits give way to CAP_NET_ADMIN only; less room is no failure
    for (const [plain, forced] of Object.values(SO_BUFFERS))
      if (!set(fd, SOL_SOCKET, forced, bufferSize)) set(fd, SOL_SOCKET, plain, bufferSize)
    return { fd, protocol, family, ...sender(fd, family) }
  }

  const sender = (fd: number, family: 4 | 6): Pick<RawSocket, 'send' | 'pathMtu'> => {
    const block = new Uint8Array(new ArrayBuffer(PACKET_AT + 0x1_0000 + Ipv6.HEADER))
    const view = new DataView(block.buffer)
    const base = koffi.address(block)
    const pointer = (at: number, to: number): void => view.setBigUint64(at, base + BigInt(to), true)
    pointer(Msg.NAME, NAME_AT)
    pointer(Msg.IOV, IOV_AT)
    view.setBigUint64(Msg.IOV_COUNT, 1n, true)
    pointer(Msg.CONTROL, CONTROL_AT)
    pointer(IOV_AT, PACKET_AT)
    const headerLength = family === 4 ? Ipv4.HEADER : Ipv6.HEADER
    const limit = family === 4 ? 0xffff - headerLength : 0xffff
    let last: IpHeader | undefined
    const send: RawSocket['send'] = (packet, header) => {
      const length = packet.end - packet.start
      if (length > limit) return 'EMSGSIZE'
      if (header !== last) {
        view.setUint32(Msg.NAME_LENGTH, writeName(view, NAME_AT, header.destination) - NAME_AT, true)
        const behind = writeSource(view, CONTROL_AT, header.source)
        const end = family === 4 && routesByProtocol ? writeProtocol(view, behind, header.protocol) : behind
        view.setUint32(Msg.CONTROL_LENGTH, end - CONTROL_AT, true)
        last = header
      }
      if (family === 4) writeIpv4Header(block, PACKET_AT, header, length)
      else writeIpv6Header(block, PACKET_AT, header, length)
      block.set(packet.bytes.subarray(packet.start, packet.end), PACKET_AT + headerLength)
      view.setUint32(IOV_AT + 8, headerLength + length, true)
      return sendmsg(fd, block, MSG_DONTWAIT) < 0 ? errorName() : undefined
    }
    const pathMtu = (): number | undefined => {
      const [level, option] = family === 4 ? [SOL_IP, IP_RECVERR] : [SOL_IPV6, IPV6_RECVERR]
      // on for this call only: else errors of other peers would fail whatever is sent next
      set(fd, level, option, 1)
      sendmsg(fd, block, MSG_DONTWAIT)
      const mtu = readError(fd, level, option)
      set(fd, level, option, 0)
      return mtu
    }
    return { send, pathMtu }
  }

  const errors = new Uint8Array(new ArrayBuffer(PACKET_AT))
  const errorView = new DataView(errors.buffer)
  /** The last EMSGSIZE in the error queue. */
  const readError = (fd: number, level: number, option: number): number | undefined => {
    const base = koffi.address(errors)
    let mtu: number | undefined
    for (let i = 0; i < 16; i++) {
      errors.fill(0)
      errorView.setBigUint64(Msg.NAME, base + BigInt(NAME_AT), true)
      errorView.setUint32(Msg.NAME_LENGTH, SOCKADDR, true)
      errorView.setBigUint64(Msg.IOV, base + BigInt(IOV_AT), true)
      errorView.setBigUint64(Msg.IOV_COUNT, 1n, true)
      errorView.setBigUint64(Msg.CONTROL, base + BigInt(CONTROL_AT), true)
      errorView.setBigUint64(Msg.CONTROL_LENGTH, BigInt(CONTROL), true)
      if (recvmsg(fd, errors, MSG_DONTWAIT | MSG_ERRQUEUE) < 0) return mtu
      const about = errorView.getInt32(CONTROL_AT + CMSG.level, true) === level
      const type = errorView.getInt32(CONTROL_AT + CMSG.type, true)
      if (about && type === option && errorView.getUint32(CONTROL_AT + CMSG.data, true) === EMSGSIZE)
        mtu = errorView.getUint32(CONTROL_AT + CMSG.data + ERROR_INFO, true)
    }
    return mtu
  }

  let routesByProtocol = false
  try {
    const sockets = protocols.flatMap(protocol => ([4, 6] as const).flatMap(family => open(protocol, family) ?? []))
    const any = sockets[0]
    routesByProtocol = any !== undefined && getsockopt(any.fd, SOL_IP, IP_PROTOCOL, int(0), int(4)) === 0
    const wakeFd: number = eventfd(0, SOCK_CLOEXEC | SOCK_NONBLOCK) // the same bits as EFD_
    if (wakeFd < 0) throw rawError('eventfd', errorName())
    opened.push(wakeFd)
    return {
      sockets,
      wakeFd,
      koffi: createRequire(import.meta.url).resolve('koffi'),
      routesByProtocol,
      wake: () => {
        writeSync(wakeFd, new Uint8Array(new BigUint64Array([1n]).buffer))
      },
      close,
    }
  } catch (error) {
    close()
    throw error
  }
}

/** Says what a refused system call means and what to do about it. */
export function rawError(what: string, code: string): SystemError {
  if (code === 'EPERM' || code === 'EACCES')
    return new SystemError(
      'SYSTEM_PERMISSION',
      `${what}: raw sockets need CAP_NET_RAW: run as root or give node the capability, or leave plugin raw out`,
    )
  return new SystemError('SYSTEM_SOCKET', `${what}: ${code}`)
}
