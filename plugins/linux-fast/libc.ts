import { createRequire } from 'node:module'
import { getSystemErrorName } from 'node:util'

/** System calls by FFI. Pointers are addresses: numbers below 2^53, 0 for NULL. */
export interface Libc {
  address(bytes: Uint8Array): number
  /** Of the last call that failed. */
  errno(): number
  errorName(): string
  socket(domain: number, type: number, protocol: number): number
  bind(fd: number, name: number, length: number): number
  getsockname(fd: number, name: number, length: number): number
  setsockopt(fd: number, level: number, name: number, value: number, length: number): number
  sendto(fd: number, data: number, length: number, flags: number, name: number, nameLength: number): number
  sendmsg(fd: number, message: number, flags: number): number
  sendmmsg(fd: number, messages: number, count: number, flags: number): number
  recvmmsg(fd: number, messages: number, count: number, flags: number, timeout: number): number
  poll(fds: number, count: number, timeout: number): number
  read(fd: number, data: number, length: number): number
  write(fd: number, data: number, length: number): number
  writev(fd: number, parts: number, count: number): number
  eventfd(initial: number, flags: number): number
  open(path: string, flags: number): number
  close(fd: number): number
  ioctl(fd: number, request: number, argument: number): number
}

const PROTOTYPES = [
  'int socket(int domain, int type, int protocol)',
  'int bind(int fd, int64 name, uint32 length)',
  'int getsockname(int fd, int64 name, int64 length)',
  'int setsockopt(int fd, int level, int name, int64 value, uint32 length)',
  'long sendto(int fd, int64 data, size_t length, int flags, int64 name, uint32 nameLength)',
  'long sendmsg(int fd, int64 message, int flags)',
  'int sendmmsg(int fd, int64 messages, uint32 count, int flags)',
  'int recvmmsg(int fd, int64 messages, uint32 count, int flags, int64 timeout)',
  'int poll(int64 fds, unsigned long count, int timeout)',
  'long read(int fd, int64 data, size_t length)',
  'long write(int fd, int64 data, size_t length)',
  'long writev(int fd, int64 parts, int count)',
  'int eventfd(uint32 initial, int flags)',
  'int open(const char *path, int flags)',
  'int close(int fd)',
  'int ioctl(int fd, unsigned long request, int64 argument)',
] as const

let loaded: Libc | undefined

/** Loads it once in each thread. @throws Error when koffi is not there */
export function loadLibc(): Libc {
  loaded ??= load()
  return loaded
}

function load(): Libc {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  const library = koffi.load(null)
  const functions = PROTOTYPES.map(prototype => [/\w+(?=\()/.exec(prototype)![0], library.func(prototype)])
  return {
    ...Object.fromEntries(functions),
    address: bytes => Number(koffi.address(bytes)),
    errno: () => koffi.errno(),
    errorName: () => getSystemErrorName(-koffi.errno()),
  }
}

/** Linux's numbers; these hold on x86, Arm and RISC-V. */
export const Sys = {
  AF_INET: 2,
  AF_INET6: 10,
  SOCK_DGRAM: 2,
  SOCK_RAW: 3,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  SOL_SOCKET: 1,
  SO_SNDBUF: 7,
  SO_RCVBUF: 8,
  SO_SNDBUFFORCE: 32,
  SO_ATTACH_FILTER: 26,
  SO_RCVBUFFORCE: 33,
  SOL_IP: 0,
  IP_TOS: 1,
  IP_TTL: 2,
  IP_MTU_DISCOVER: 10,
  IP_RECVERR: 11,
  IP_RECVTOS: 13,
  SOL_IPV6: 41,
  IPV6_MTU_DISCOVER: 23,
  IPV6_RECVERR: 25,
  IPV6_V6ONLY: 26,
  IPV6_RECVHOPLIMIT: 51,
  IPV6_HOPLIMIT: 52,
  IPV6_RECVTCLASS: 66,
  IPV6_TCLASS: 67,
  SOL_UDP: 17,
  UDP_SEGMENT: 103,
  UDP_GRO: 104,
  MSG_DONTWAIT: 0x40,
  MSG_ERRQUEUE: 0x2000,
  POLLIN: 1,
  POLLOUT: 4,
  EINTR: 4,
  EIO: 5,
  EAGAIN: 11,
  EINVAL: 22,
  EMSGSIZE: 90,
} as const

/** Writes an address, 64 bits in the machine's order, without a BigInt. */
export function setAddress(view: DataView, at: number, address: number): void {
  view.setUint32(at, address >>> 0, true)
  view.setUint32(at + 4, address / 0x1_0000_0000, true)
}

/** Octets of struct msghdr, mmsghdr, iovec and of sockaddr_in6, the larger of the two families. */
export const MSGHDR = 56
export const MMSGHDR = 64
export const IOVEC = 16
export const SOCKADDR = 28
/** Offsets in struct msghdr. */
export const Msg = { NAME: 0, NAME_LENGTH: 8, IOV: 16, IOV_COUNT: 24, CONTROL: 32, CONTROL_LENGTH: 40 } as const
/** Of struct cmsghdr: octets, and where level and type are. */
export const CMSG_HEADER = 16
export const Cmsg = { LENGTH: 0, LEVEL: 8, TYPE: 12 } as const
/** Octets of a control message that holds a number. */
export const CONTROL_LENGTH = 24
/** What the kernel writes unless it is told otherwise. */
const DEFAULT_TTL = 64

/** Writes a control message that holds a number. @returns the offset behind; the number stands 8 octets before */
export function writeControl(view: DataView, at: number, level: number, type: number, length: number): number {
  setAddress(view, at + Cmsg.LENGTH, CMSG_HEADER + length)
  view.setInt32(at + Cmsg.LEVEL, level, true)
  view.setInt32(at + Cmsg.TYPE, type, true)
  return at + CONTROL_LENGTH
}

/** Writes the control messages for fields of the outer header, at most two; none for the usual ones. @returns the offset behind */
export function writeFields(view: DataView, at: number, v4: boolean, tos: number, ttl: number): number {
  const level = v4 ? Sys.SOL_IP : Sys.SOL_IPV6
  let end = at
  if (tos !== 0) {
    end = writeControl(view, end, level, v4 ? Sys.IP_TOS : Sys.IPV6_TCLASS, 4)
    view.setInt32(end - 8, tos, true)
  }
  if (ttl !== 0 && ttl !== DEFAULT_TTL) {
    end = writeControl(view, end, level, v4 ? Sys.IP_TTL : Sys.IPV6_HOPLIMIT, 4)
    view.setInt32(end - 8, ttl, true)
  }
  return end
}
