import { UsageError } from '../errors.ts'
import { internetChecksum } from './checksum.ts'
import { getU16, setU16, setU32 } from './fields.ts'
import { IpProtocol } from './ip-numbers.ts'

/** IPv4 (RFC 791) and IPv6 (RFC 8200) headers at fixed offsets of the caller's buffer; nothing here allocates. */

export const Ipv4 = {
  TOS: 1,
  TOTAL_LENGTH: 2,
  ID: 4,
  FRAGMENT: 6,
  TTL: 8,
  PROTOCOL: 9,
  CHECKSUM: 10,
  SOURCE: 12,
  DESTINATION: 16,
  HEADER: 20,
} as const

export const Ipv6 = {
  PAYLOAD_LENGTH: 4,
  NEXT_HEADER: 6,
  HOP_LIMIT: 7,
  SOURCE: 8,
  DESTINATION: 24,
  HEADER: 40,
} as const

/** In the 16 bits at Ipv4.FRAGMENT. */
export const DONT_FRAGMENT = 0x4000
const MORE_FRAGMENTS = 0x2000
const FRAGMENT_OFFSET = 0x1fff

/** More than any honest packet chains; bounds the walk. */
const MAX_EXTENSIONS = 16

/** What `readIp` finds; one object, reused for every packet. Offsets are into the packet's buffer. */
export interface IpInfo {
  version: 4 | 6
  /** First octet of the source and of the destination address. */
  sourceAt: number
  destinationAt: number
  /** 4 or 16. */
  addressLength: number
  /** TOS or Traffic Class. */
  tos: number
  /** TTL or Hop Limit. */
  ttl: number
  /** The upper layer: what follows the IPv4 header or the last IPv6 extension header. ESP and AH count as upper layers. */
  protocol: number
  upperAt: number
  /** End of the IP packet; octets behind it are padding of lower layers or of traffic flow confidentiality. */
  end: number
  /** Octets of upper layer before this fragment; ports are unknown unless 0. */
  fragmentOffset: number
  moreFragments: boolean
  /** Ports; type and code as in traffic selectors (type * 256 + code) in both for ICMP; -1 where there are none. */
  sourcePort: number
  destinationPort: number
}

export const newIpInfo = (): IpInfo => ({
  version: 4,
  sourceAt: 0,
  destinationAt: 0,
  addressLength: 4,
  tos: 0,
  ttl: 0,
  protocol: 0,
  upperAt: 0,
  end: 0,
  fragmentOffset: 0,
  moreFragments: false,
  sourcePort: -1,
  destinationPort: -1,
})

/**
 * Finds the parts of one IP packet in `bytes[start..end)`.
 *
 * @param info - filled; its content is undefined after a failure
 * @returns why the packet is malformed; undefined when it is well-formed (checksums are not looked at)
 */
export function readIp(bytes: Uint8Array, start: number, end: number, info: IpInfo): string | undefined {
  if (end <= start) return 'empty'
  const version = bytes[start]! >>> 4
  const problem =
    version === 4
      ? readIpv4(bytes, start, end, info)
      : version === 6
        ? readIpv6(bytes, start, end, info)
        : 'neither IPv4 nor IPv6'
  if (problem === undefined) readPorts(bytes, info)
  return problem
}

const scratch = newIpInfo()

/** As `readIp`, with the IPv4 header checksum (RFC 1122 §3.2.1.2), for packets from strangers. */
export function validateIp(bytes: Uint8Array, start: number, end: number): string | undefined {
  const problem = readIp(bytes, start, end, scratch)
  if (problem !== undefined || scratch.version === 6) return problem
  return internetChecksum(bytes, start, start + ipv4HeaderLength(bytes, start)) === 0
    ? undefined
    : 'IPv4 header checksum wrong'
}

/** 4, 6, or another number for what is no IP packet. @param at - one octet must be there */
export const ipVersion = (bytes: Uint8Array, at: number): number => bytes[at]! >>> 4

/** Octets of the IPv4 header with options. */
export const ipv4HeaderLength = (bytes: Uint8Array, at: number): number => (bytes[at]! & 0x0f) * 4

function readIpv4(bytes: Uint8Array, start: number, end: number, info: IpInfo): string | undefined {
  if (end - start < Ipv4.HEADER) return 'IPv4 header cut off'
  const header = ipv4HeaderLength(bytes, start)
  const total = getU16(bytes, start + Ipv4.TOTAL_LENGTH)
  if (header < Ipv4.HEADER || header > total) return `IPv4 header of ${header} in a packet of ${total} octets`
  if (total > end - start) return `IPv4 packet of ${total} octets, ${end - start} there`
  const fragment = getU16(bytes, start + Ipv4.FRAGMENT)
  info.version = 4
  info.sourceAt = start + Ipv4.SOURCE
  info.destinationAt = start + Ipv4.DESTINATION
  info.addressLength = 4
  info.tos = bytes[start + Ipv4.TOS]!
  info.ttl = bytes[start + Ipv4.TTL]!
  info.protocol = bytes[start + Ipv4.PROTOCOL]!
  info.upperAt = start + header
  info.end = start + total
  info.fragmentOffset = (fragment & FRAGMENT_OFFSET) * 8
  info.moreFragments = (fragment & MORE_FRAGMENTS) !== 0
  return fragmentProblem(info)
}

function readIpv6(bytes: Uint8Array, start: number, end: number, info: IpInfo): string | undefined {
  if (end - start < Ipv6.HEADER) return 'IPv6 header cut off'
  const total = Ipv6.HEADER + getU16(bytes, start + Ipv6.PAYLOAD_LENGTH)
  if (total > end - start) return `IPv6 packet of ${total} octets, ${end - start} there`
  info.version = 6
  info.sourceAt = start + Ipv6.SOURCE
  info.destinationAt = start + Ipv6.DESTINATION
  info.addressLength = 16
  info.tos = ((bytes[start]! & 0x0f) << 4) | (bytes[start + 1]! >>> 4)
  info.ttl = bytes[start + Ipv6.HOP_LIMIT]!
  info.end = start + total
  info.fragmentOffset = 0
  info.moreFragments = false
  return walkExtensions(bytes, start + Ipv6.HEADER, bytes[start + Ipv6.NEXT_HEADER]!, info)
}

/** Walks IPv6 extension headers (RFC 8200 §4) up to the upper layer, or to the data of a fragment that has none. */
function walkExtensions(bytes: Uint8Array, from: number, first: number, info: IpInfo): string | undefined {
  let at = from
  let next = first
  for (let seen = 0; ; seen++) {
    const fragment = next === IpProtocol.IPV6_FRAG
    if (!fragment && !isExtension(next)) break
    if (seen === MAX_EXTENSIONS) return 'too many IPv6 extension headers'
    if (at + 8 > info.end) return 'IPv6 extension header cut off'
    const length = fragment ? 8 : (bytes[at + 1]! + 1) * 8
    if (at + length > info.end) return 'IPv6 extension header cut off'
    next = bytes[at]!
    if (fragment) {
      const field = getU16(bytes, at + 2)
      info.fragmentOffset = field & 0xfff8
      info.moreFragments = (field & 1) !== 0
    }
    at += length
    // what follows in a later fragment is data, whatever Next Header says
    if (info.fragmentOffset > 0) break
  }
  info.protocol = next
  info.upperAt = at
  return fragmentProblem(info)
}

const isExtension = (protocol: number): boolean =>
  protocol === IpProtocol.HOPOPT ||
  protocol === IpProtocol.IPV6_ROUTE ||
  protocol === IpProtocol.IPV6_OPTS ||
  protocol === IpProtocol.MOBILITY ||
  protocol === IpProtocol.HIP

const fragmentProblem = (info: IpInfo): string | undefined =>
  info.fragmentOffset + (info.end - info.upperAt) > 0xffff ? 'fragment reaches beyond 65535 octets' : undefined

function readPorts(bytes: Uint8Array, info: IpInfo): void {
  info.sourcePort = -1
  info.destinationPort = -1
  if (info.fragmentOffset > 0) return
  const at = info.upperAt
  switch (info.protocol) {
    case IpProtocol.TCP:
    case IpProtocol.UDP:
    case IpProtocol.UDPLITE:
    case IpProtocol.SCTP:
    case IpProtocol.DCCP:
      if (at + 4 > info.end) return
      info.sourcePort = getU16(bytes, at)
      info.destinationPort = getU16(bytes, at + 2)
      return
    case IpProtocol.ICMP:
    case IpProtocol.ICMPV6:
      if (at + 2 > info.end) return
      info.sourcePort = getU16(bytes, at)
      info.destinationPort = info.sourcePort
  }
}

/** What a new IP header says. */
export interface IpHeader {
  /** 4 octets each for IPv4, 16 for IPv6. */
  readonly source: Uint8Array
  readonly destination: Uint8Array
  /** What follows the header. */
  readonly protocol: number
  /** TOS or Traffic Class; 0 unless told. */
  readonly tos?: number
  /** TTL or Hop Limit; 64 unless told. */
  readonly ttl?: number
  /** IPv4 only: Don't Fragment, Identification. */
  readonly df?: boolean
  readonly id?: number
  /** IPv6 only. */
  readonly flowLabel?: number
}

/**
 * Writes an IPv4 header without options, checksum included, at `at`.
 *
 * @param payloadLength - octets behind the header
 * @throws UsageError USAGE_IP_LENGTH, USAGE_ADDRESS
 */
export function writeIpv4Header(bytes: Uint8Array, at: number, header: IpHeader, payloadLength: number): void {
  check(header, 4, Ipv4.HEADER + payloadLength)
  bytes[at] = 0x45
  bytes[at + Ipv4.TOS] = header.tos ?? 0
  setU16(bytes, at + Ipv4.TOTAL_LENGTH, Ipv4.HEADER + payloadLength)
  setU16(bytes, at + Ipv4.ID, header.id ?? 0)
  setU16(bytes, at + Ipv4.FRAGMENT, header.df ? DONT_FRAGMENT : 0)
  bytes[at + Ipv4.TTL] = header.ttl ?? 64
  bytes[at + Ipv4.PROTOCOL] = header.protocol
  bytes.set(header.source, at + Ipv4.SOURCE)
  bytes.set(header.destination, at + Ipv4.DESTINATION)
  fixIpv4Checksum(bytes, at)
}

/** Writes an IPv6 header at `at`. @throws UsageError USAGE_IP_LENGTH, USAGE_ADDRESS */
export function writeIpv6Header(bytes: Uint8Array, at: number, header: IpHeader, payloadLength: number): void {
  check(header, 16, payloadLength)
  setU32(bytes, at, (0x6000_0000 | ((header.tos ?? 0) << 20) | ((header.flowLabel ?? 0) & 0xf_ffff)) >>> 0)
  setU16(bytes, at + Ipv6.PAYLOAD_LENGTH, payloadLength)
  bytes[at + Ipv6.NEXT_HEADER] = header.protocol
  bytes[at + Ipv6.HOP_LIMIT] = header.ttl ?? 64
  bytes.set(header.source, at + Ipv6.SOURCE)
  bytes.set(header.destination, at + Ipv6.DESTINATION)
}

/** Recomputes the header checksum of the IPv4 header at `at` after any edit. */
export function fixIpv4Checksum(bytes: Uint8Array, at: number): void {
  setU16(bytes, at + Ipv4.CHECKSUM, 0)
  setU16(bytes, at + Ipv4.CHECKSUM, internetChecksum(bytes, at, at + ipv4HeaderLength(bytes, at)))
}

/** A whole packet in memory of its own, its version that of the addresses. @throws UsageError USAGE_IP_LENGTH, USAGE_ADDRESS */
export function buildIp(header: IpHeader, payload: Uint8Array): Uint8Array {
  const v4 = header.source.length === 4
  const size = v4 ? Ipv4.HEADER : Ipv6.HEADER
  const packet = new Uint8Array(size + payload.length)
  if (v4) writeIpv4Header(packet, 0, header, payload.length)
  else writeIpv6Header(packet, 0, header, payload.length)
  packet.set(payload, size)
  return packet
}

function check(header: IpHeader, addressLength: number, length: number): void {
  if (length > 0xffff) throw new UsageError('USAGE_IP_LENGTH', `${length} octets do not fit an IP packet`)
  if (header.source.length !== addressLength || header.destination.length !== addressLength)
    throw new UsageError(
      'USAGE_ADDRESS',
      `addresses of ${header.source.length} and ${header.destination.length} octets`,
    )
}
