import { UsageError } from '../errors.ts'
import { internetChecksum, pseudoHeaderSum, pseudoHeaderSumAt } from './checksum.ts'
import { getU16, getU32, setU16, setU32 } from './fields.ts'
import { buildIp, newIpInfo, readIp } from './ip.ts'
import { IpProtocol } from './ip-numbers.ts'

/** The messages of ICMP (RFC 792) and ICMPv6 (RFC 4443) that a tunnel end sends or reads: echo and "too big". */

export const Icmp = { ECHO_REPLY: 0, DESTINATION_UNREACHABLE: 3, ECHO: 8 } as const
export const Icmpv6 = { PACKET_TOO_BIG: 2, ECHO_REQUEST: 128, ECHO_REPLY: 129 } as const

/** Code of DESTINATION_UNREACHABLE: fragmentation needed and DF set, RFC 1191. */
const FRAGMENTATION_NEEDED = 4
/** Type, code, checksum and the four octets each message uses in its own way. */
const HEADER = 8
/** Errors are at most this long, RFC 1812 §4.3.2.3 and RFC 4443 §3.2. */
const MAX_V4_ERROR = 576
const MAX_V6_ERROR = 1280

export interface Echo {
  readonly reply: boolean
  readonly id: number
  readonly sequence: number
  readonly data: Uint8Array
}

/** An IP packet with an echo message, in memory of its own; the family is that of the addresses. */
export function buildEcho(source: Uint8Array, destination: Uint8Array, echo: Echo): Uint8Array {
  const v4 = source.length === 4
  const message = new Uint8Array(HEADER + echo.data.length)
  message[0] = v4 ? (echo.reply ? Icmp.ECHO_REPLY : Icmp.ECHO) : echo.reply ? Icmpv6.ECHO_REPLY : Icmpv6.ECHO_REQUEST
  setU16(message, 4, echo.id)
  setU16(message, 6, echo.sequence)
  message.set(echo.data, HEADER)
  return wrap(source, destination, message)
}

/** The echo message in the IP packet `bytes[start..end)`, its data a view; undefined when there is no intact one. */
export function parseEcho(bytes: Uint8Array, start: number, end: number): Echo | undefined {
  const message = unwrap(bytes, start, end)
  if (message === undefined) return undefined
  const { at, end: last, v4 } = message
  const type = bytes[at]!
  const reply = type === (v4 ? Icmp.ECHO_REPLY : Icmpv6.ECHO_REPLY)
  if (!reply && type !== (v4 ? Icmp.ECHO : Icmpv6.ECHO_REQUEST)) return undefined
  return { reply, id: getU16(bytes, at + 4), sequence: getU16(bytes, at + 6), data: bytes.subarray(at + HEADER, last) }
}

/**
 * The IP packet that tells the sender of `bytes[start..end)` to send smaller ones: "fragmentation needed" or "packet too
 * big", by the version of the packet.
 *
 * @param source - address of the host that says so, of the packet's family
 * @param mtu - octets of the largest packet that fits
 * @returns memory of its own; undefined when the packet must not be answered: malformed, a later fragment, or an ICMP
 * error itself (RFC 1122 §3.2.2, RFC 4443 §2.4)
 */
export function buildTooBig(
  source: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
  mtu: number,
): Uint8Array | undefined {
  const info = newIpInfo()
  if (readIp(bytes, start, end, info) !== undefined || info.fragmentOffset > 0) return undefined
  if (source.length !== info.addressLength)
    throw new UsageError('USAGE_ADDRESS', `an IPv${info.version} packet answered from ${source.length} octets`)
  if (isIcmpError(bytes, info.protocol, info.upperAt, info.end)) return undefined
  const v4 = info.version === 4
  const room = v4 ? MAX_V4_ERROR - 20 - HEADER : MAX_V6_ERROR - 40 - HEADER
  const quoted = bytes.subarray(start, Math.min(info.end, start + room))
  const message = new Uint8Array(HEADER + quoted.length)
  message[0] = v4 ? Icmp.DESTINATION_UNREACHABLE : Icmpv6.PACKET_TOO_BIG
  message[1] = v4 ? FRAGMENTATION_NEEDED : 0
  if (v4) setU16(message, 6, Math.min(mtu, 0xffff))
  else setU32(message, 4, mtu)
  message.set(quoted, HEADER)
  return wrap(source, bytes.subarray(info.sourceAt, info.sourceAt + info.addressLength), message)
}

export interface TooBig {
  /** Octets; 0 from routers older than RFC 1191. */
  readonly mtu: number
  /** The start of the packet that was too big; may be cut off; a view. */
  readonly quoted: Uint8Array
}

/** A "too big" message in the IP packet `bytes[start..end)`; undefined when there is no intact one. Unauthenticated. */
export function parseTooBig(bytes: Uint8Array, start: number, end: number): TooBig | undefined {
  const message = unwrap(bytes, start, end)
  if (message === undefined) return undefined
  const { at, end: last, v4 } = message
  const wanted = v4
    ? bytes[at] === Icmp.DESTINATION_UNREACHABLE && bytes[at + 1] === FRAGMENTATION_NEEDED
    : bytes[at] === Icmpv6.PACKET_TOO_BIG
  if (!wanted) return undefined
  return { mtu: v4 ? getU16(bytes, at + 6) : getU32(bytes, at + 4), quoted: bytes.subarray(at + HEADER, last) }
}

function wrap(source: Uint8Array, destination: Uint8Array, message: Uint8Array): Uint8Array {
  const v4 = source.length === 4
  const sum = v4 ? 0 : pseudoHeaderSum(source, destination, IpProtocol.ICMPV6, message.length)
  setU16(message, 2, internetChecksum(message, 0, message.length, sum))
  return buildIp({ source, destination, protocol: v4 ? IpProtocol.ICMP : IpProtocol.ICMPV6 }, message)
}

/** Where a whole ICMP message with a right checksum stands in an IP packet. */
function unwrap(bytes: Uint8Array, start: number, end: number): { at: number; end: number; v4: boolean } | undefined {
  const info = newIpInfo()
  if (readIp(bytes, start, end, info) !== undefined || info.fragmentOffset > 0 || info.moreFragments) return undefined
  const v4 = info.version === 4
  const length = info.end - info.upperAt
  if (info.protocol !== (v4 ? IpProtocol.ICMP : IpProtocol.ICMPV6) || length < HEADER) return undefined
  const sum = v4 ? 0 : pseudoHeaderSumAt(bytes, start, IpProtocol.ICMPV6, length)
  if (internetChecksum(bytes, info.upperAt, info.end, sum) !== 0) return undefined
  return { at: info.upperAt, end: info.end, v4 }
}

function isIcmpError(bytes: Uint8Array, protocol: number, at: number, end: number): boolean {
  if (protocol === IpProtocol.ICMPV6) return at >= end || bytes[at]! < 128
  if (protocol !== IpProtocol.ICMP) return false
  const type = at < end ? bytes[at]! : -1
  // unreachable, source quench, redirect, time exceeded, parameter problem
  return type === -1 || type === 3 || type === 4 || type === 5 || type === 11 || type === 12
}
