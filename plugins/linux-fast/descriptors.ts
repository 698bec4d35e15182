import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { type Libc, SOCKADDR, Sys, setAddress } from './libc.ts'
import { PathMtuDiscovery } from './path-mtu.ts'
import { readName, writeName } from './sockaddr.ts'
import { Vnet } from './vnet.ts'

/** Descriptors of sockets and TUN devices, with the options that let the kernel give and take many packets at once. */

/** linux/if_tun.h; these values hold on x86, Arm and RISC-V. */
const TUNSETIFF = 0x400454ca
const TUNSETOFFLOAD = 0x400454d0
const TUNSETVNETHDRSZ = 0x400454d8
const IFF_TUN = 0x0001
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
/** Checksums; TCP of both families, with ECN; UDP, from Linux 6.2 on. */
const OFFLOADS = [0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40, 0x01 | 0x02 | 0x04 | 0x08] as const
/** struct ifreq: 16 octets of name, then a union. */
const IFREQ_LENGTH = 40
const IFNAMSIZ = 16
const O_RDWR = 2
/** linux/bpf_common.h: the packet is cut to so many octets. */
const BPF_RET = 0x06
const MEMORY = 256

/** Names the system call that failed, with `code` as Node's own errors have it. */
function failed(libc: Libc, what: string): Error {
  const code = libc.errorName()
  return Object.assign(new Error(`${what}: ${code}`), { code })
}

/** Memory for one call at a time. */
class Memory {
  readonly bytes = new Uint8Array(MEMORY)
  readonly view = new DataView(this.bytes.buffer)
  readonly address: number

  constructor(libc: Libc) {
    this.address = libc.address(this.bytes)
  }
}

/**
 * A bound socket that does not block, of UDP or a raw one.
 *
 * @param local - port 0 for any
 * @throws Error with the `code` of the call that failed
 */
export function openSocket(libc: Libc, local: LocalEndpoint, bufferSize: number): { fd: number; local: LocalEndpoint } {
  const memory = new Memory(libc)
  const { view, bytes, address } = memory
  const v6 = local.address.includes(':')
  const raw = local.protocol !== 17
  const type = (raw ? Sys.SOCK_RAW : Sys.SOCK_DGRAM) | Sys.SOCK_NONBLOCK | Sys.SOCK_CLOEXEC
  const fd = libc.socket(v6 ? Sys.AF_INET6 : Sys.AF_INET, type, raw ? local.protocol : 0)
  if (fd < 0) throw failed(libc, 'socket')
  const set = (level: number, option: number, value: number): boolean => {
    view.setInt32(0, value, true)
    return libc.setsockopt(fd, level, option, address, 4) === 0
  }
  if (v6) set(Sys.SOL_IPV6, Sys.IPV6_V6ONLY, 1)
  const length = writeName(view, 0, local)
  if (libc.bind(fd, address, length) < 0) {
    const error = failed(libc, 'bind')
    libc.close(fd)
    throw error
  }
  if (!raw) set(Sys.SOL_UDP, Sys.UDP_GRO, 1)
  new PathMtuDiscovery(libc).begin(fd, !v6)
  set(v6 ? Sys.SOL_IPV6 : Sys.SOL_IP, v6 ? Sys.IPV6_RECVTCLASS : Sys.IP_RECVTOS, 1)
  // those of IPv4 come with their header
  if (raw && v6) set(Sys.SOL_IPV6, Sys.IPV6_RECVHOPLIMIT, 1)
  // the kernel's limits give way to CAP_NET_ADMIN only; less room is no failure
  for (const [forced, plain] of [
    [Sys.SO_SNDBUFFORCE, Sys.SO_SNDBUF],
    [Sys.SO_RCVBUFFORCE, Sys.SO_RCVBUF],
  ] as const)
    if (!set(Sys.SOL_SOCKET, forced, bufferSize)) set(Sys.SOL_SOCKET, plain, bufferSize)
  if (raw) return { fd, local }
  view.setUint32(SOCKADDR + 4, SOCKADDR, true)
  libc.getsockname(fd, address, address + SOCKADDR + 4)
  return { fd, local: { ...local, port: readName(bytes, view, 0).port } }
}

/**
 * A second raw socket of IPv6 for each address, which takes no packet but hears of errors. Without `IPV6_RECVERR` Linux's raw
 * sockets of IPv6 learn nothing from ICMPv6, and with it an error of any peer fails what is sent next. What this one hears of
 * a path counts for all.
 *
 * @returns -1 when it cannot be had: paths are learned from the own interface only
 */
export function openEar(libc: Libc, local: LocalEndpoint): number {
  const { view, address } = new Memory(libc)
  const type = Sys.SOCK_RAW | Sys.SOCK_NONBLOCK | Sys.SOCK_CLOEXEC
  const fd = libc.socket(Sys.AF_INET6, type, local.protocol)
  if (fd < 0) return -1
  // struct sock_fprog, and behind it the one instruction: return 0
  view.setUint16(0, 1, true)
  setAddress(view, 8, address + 16)
  view.setUint16(16, BPF_RET, true)
  const deaf = libc.setsockopt(fd, Sys.SOL_SOCKET, Sys.SO_ATTACH_FILTER, address, 16) === 0
  const length = writeName(view, 0, local)
  const bound = libc.bind(fd, address, length) === 0
  view.setInt32(0, 1, true)
  if (deaf && bound && libc.setsockopt(fd, Sys.SOL_IPV6, Sys.IPV6_RECVERR, address, 4) === 0) return fd
  libc.close(fd)
  return -1
}

/** A TUN device's descriptor. */
export interface OpenQueue {
  readonly fd: number
  readonly name: string
  /** Whether the kernel cuts large packets of UDP too. */
  readonly udp: boolean
}

/** @throws Error with the `code` of the call that failed */
export function openTunQueue(libc: Libc, pattern: string): OpenQueue {
  const fd = libc.open('/dev/net/tun', O_RDWR | Sys.SOCK_NONBLOCK | Sys.SOCK_CLOEXEC) // the same bits as O_
  if (fd < 0) throw failed(libc, 'opening /dev/net/tun')
  const memory = new Memory(libc)
  const request = Buffer.from(memory.bytes.buffer, 0, IFREQ_LENGTH)
  const control = (code: number, argument: number): void => {
    if (libc.ioctl(fd, code, argument) >= 0) return
    const error = failed(libc, `creating the TUN device ${pattern}`)
    libc.close(fd)
    throw error
  }
  request.write(pattern, 0, IFNAMSIZ - 1, 'latin1')
  request.writeUInt16LE(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, IFNAMSIZ)
  control(TUNSETIFF, memory.address)
  const name = request.toString('latin1', 0, request.indexOf(0))
  memory.view.setInt32(0, Vnet.OCTETS, true)
  control(TUNSETVNETHDRSZ, memory.address)
  const udp = libc.ioctl(fd, TUNSETOFFLOAD, OFFLOADS[0]) >= 0
  if (!udp) control(TUNSETOFFLOAD, OFFLOADS[1])
  return { fd, name, udp }
}

/** Why sockets and devices like these cannot be had here, in words; undefined when they can. */
export function obstacleTo(libc: Libc): string | undefined {
  const memory = new Memory(libc)
  const fd = libc.socket(Sys.AF_INET, Sys.SOCK_DGRAM | Sys.SOCK_CLOEXEC, 0)
  if (fd < 0) return `no UDP socket (${libc.errorName()})`
  memory.view.setInt32(0, 1_400, true)
  const segments = libc.setsockopt(fd, Sys.SOL_UDP, Sys.UDP_SEGMENT, memory.address, 4) === 0
  memory.view.setInt32(0, 1, true)
  const merges = libc.setsockopt(fd, Sys.SOL_UDP, Sys.UDP_GRO, memory.address, 4) === 0
  libc.close(fd)
  return segments && merges ? undefined : 'this kernel has no UDP_SEGMENT and UDP_GRO (Linux 5.0)'
}
