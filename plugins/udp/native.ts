import { endianness } from 'node:os'
import type { Endpoint } from '../../core/contracts/net.ts'
import { addressBytes } from '../../core/wire/index.ts'

/** What node:dgram has no way to do, on its descriptors. Pointers are addresses: numbers below 2^53, 0 for NULL. */
export interface Native {
  /** Address of `bytes[0]`, which must be 64 octets or more: smaller arrays may be moved. */
  address(bytes: Uint8Array): number
  /** Of the last call that failed. */
  errno(): number
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, length: number): number
  sendto(fd: number, data: Uint8Array, length: number, flags: number, name: Uint8Array, nameLength: number): number
  sendmmsg(fd: number, messages: number, count: number, flags: number): number
  recvmsg(fd: number, message: number, flags: number): number
  recvmmsg(fd: number, messages: number, count: number, flags: number, timeout: number): number
}

const PROTOTYPES = [
  'int setsockopt(int fd, int level, int name, void *value, uint32 length)',
  'long sendto(int fd, void *data, size_t length, int flags, void *name, uint32 nameLength)',
  'int sendmmsg(int fd, int64 messages, uint32 count, int flags)',
  'long recvmsg(int fd, int64 message, int flags)',
  'int recvmmsg(int fd, int64 messages, uint32 count, int flags, int64 timeout)',
] as const

/** @returns undefined where it cannot be had: not 64-bit Linux, or no package koffi */
export async function loadNative(): Promise<Native | undefined> {
  if (process.platform !== 'linux' || endianness() !== 'LE' || process.arch === 'ia32' || process.arch === 'arm')
    return undefined
  const koffi = (await import('koffi').catch(() => undefined))?.default
  if (koffi === undefined) return undefined
  const libc = koffi.load(null)
  const functions = PROTOTYPES.map(prototype => [/\w+(?=\()/.exec(prototype)![0], libc.func(prototype)])
  return {
    ...Object.fromEntries(functions),
    address: bytes => Number(koffi.address(bytes)),
    errno: () => koffi.errno(),
  }
}

/** Linux's numbers; these hold on x86, Arm and RISC-V. */
export const Sys = { AF_INET: 2, AF_INET6: 10, MSG_DONTWAIT: 0x40, EINTR: 4, EAGAIN: 11, EMSGSIZE: 90 } as const

/** Octets of struct msghdr, mmsghdr, cmsghdr, iovec and of sockaddr_in6, the larger of the two families. */
export const MSGHDR = 56
export const MMSGHDR = 64
export const CMSG_HEADER = 16
export const IOVEC = 16
export const SOCKADDR = 28
/** Offsets in struct msghdr. */
export const Msg = { NAME: 0, NAME_LENGTH: 8, IOV: 16, IOV_COUNT: 24, CONTROL: 32, CONTROL_LENGTH: 40 } as const

/** Writes an address, 64 bits in the machine's order, without a BigInt. */
export function setAddress(view: DataView, at: number, address: number): void {
  view.setUint32(at, address >>> 0, true)
  view.setUint32(at + 4, address / 0x1_0000_0000, true)
}

/** struct sockaddr_in or sockaddr_in6. */
export function sockaddr({ address, port }: Endpoint): Uint8Array {
  const octets = addressBytes(address)
  const v4 = octets.length === 4
  const name = new Uint8Array(v4 ? 16 : SOCKADDR)
  name[0] = v4 ? Sys.AF_INET : Sys.AF_INET6
  name[2] = port >>> 8
  name[3] = port & 0xff
  name.set(octets, v4 ? 4 : 8)
  return name
}
