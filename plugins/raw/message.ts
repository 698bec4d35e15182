import { getU32 } from '../../core/wire/index.ts'

/**
 * The structures of sendmsg(2) and recvmsg(2) in memory of our own, as 64-bit little-endian Linux lays them out. A view
 * in a buffer stays where it is, so the pointers in it are written once.
 */

/** Octets of struct msghdr, mmsghdr, iovec and of sockaddr_in6, the larger of the two families. */
export const MSGHDR = 56
export const MMSGHDR = 64
export const IOVEC = 16
export const SOCKADDR = 28
/** Room for control messages: 40 + 24 + 24 octets are asked for at most. */
export const CONTROL = 96

/** Offsets in struct msghdr. */
export const Msg = {
  NAME: 0,
  NAME_LENGTH: 8,
  IOV: 16,
  IOV_COUNT: 24,
  CONTROL: 32,
  CONTROL_LENGTH: 40,
  FLAGS: 48,
} as const
const CMSG_HEADER = 16

export const AF_INET = 2
export const AF_INET6 = 10
export const SOL_IP = 0
export const SOL_IPV6 = 41
const IP_PKTINFO = 8
export const IP_PROTOCOL = 52
export const IPV6_FLOWINFO = 11
const IPV6_PKTINFO = 50
const IPV6_HOPLIMIT = 52

/** @returns the offset behind the sockaddr; the port is 0, as raw sockets want it */
export function writeName(view: DataView, at: number, address: Uint8Array): number {
  const v4 = address.length === 4
  view.setUint16(at, v4 ? AF_INET : AF_INET6, true)
  new Uint8Array(view.buffer).set(address, view.byteOffset + at + (v4 ? 4 : 8))
  return at + (v4 ? 16 : SOCKADDR)
}

/** Says from which address the route is looked up: policy rules may depend on it. @returns the offset behind */
export function writeSource(view: DataView, at: number, address: Uint8Array): number {
  const v4 = address.length === 4
  // in_pktinfo is index, source, destination; in6_pktinfo is address, index
  const data = control(view, at, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_PKTINFO : IPV6_PKTINFO, v4 ? 12 : 20)
  new Uint8Array(view.buffer).set(address, view.byteOffset + data + (v4 ? 4 : 0))
  return at + (v4 ? 32 : 40)
}

/** Says which protocol the route is looked up for. @returns the offset behind */
export function writeProtocol(view: DataView, at: number, protocol: number): number {
  view.setInt32(control(view, at, SOL_IP, IP_PROTOCOL, 4), protocol, true)
  return at + 24
}

/** @returns where the data go */
function control(view: DataView, at: number, level: number, type: number, length: number): number {
  view.setBigUint64(at, BigInt(CMSG_HEADER + length), true)
  view.setInt32(at + 8, level, true)
  view.setInt32(at + 12, type, true)
  return at + CMSG_HEADER
}

/** What an IPv6 raw socket tells beside the payload, because it keeps the header to itself. */
export interface Ancillary {
  /** Where in the buffer the destination address is; -1 when it was not told. */
  destinationAt: number
  tos: number
  ttl: number
  flowLabel: number
}

/** Reads the control messages in `bytes[at..end)`, which came from the kernel. */
export function readControl(bytes: Uint8Array, at: number, end: number, into: Ancillary): void {
  into.destinationAt = -1
  into.tos = into.ttl = into.flowLabel = 0
  const view = new DataView(bytes.buffer, bytes.byteOffset, end)
  for (let cmsg = at; cmsg + CMSG_HEADER + 4 <= end; ) {
    const length = view.getUint32(cmsg, true)
    if (length < CMSG_HEADER || cmsg + length > end) return
    const data = cmsg + CMSG_HEADER
    if (view.getInt32(cmsg + 8, true) === SOL_IPV6) {
      const type = view.getInt32(cmsg + 12, true)
      if (type === IPV6_PKTINFO && length >= CMSG_HEADER + 16) into.destinationAt = data
      else if (type === IPV6_HOPLIMIT) into.ttl = view.getInt32(data, true) & 0xff
      else if (type === IPV6_FLOWINFO) {
        // the header's first word without the version: traffic class, flow label
        const info = getU32(bytes, data)
        into.tos = (info >>> 20) & 0xff
        into.flowLabel = info & 0xf_ffff
      }
    }
    cmsg += (length + 7) & ~7
  }
}
