import {
  addToSum,
  finishChecksum,
  fixIpv4Checksum,
  getU16,
  getU32,
  type IpHeader,
  IpProtocol,
  setU16,
  writeIpv4Header,
  writeIpv6Header,
} from '../../core/wire/index.ts'
import { type AddressKey, keyAt, showIp } from './address.ts'

/**
 * IP packets as plain octets, read at fixed offsets. `base` is where the IP header starts: 0 for a packet of its own,
 * more for one quoted in an ICMP error. Readers of quoted packets check lengths first (`holdsPorts`).
 */
export const isIpv6 = (p: Uint8Array, base = 0): boolean => p[base]! >> 4 === 6
export const addressLength = (p: Uint8Array, base = 0): 4 | 16 => (isIpv6(p, base) ? 16 : 4)
export const sourceAt = (p: Uint8Array, base = 0): number => base + (isIpv6(p, base) ? 8 : 12)
export const destinationAt = (p: Uint8Array, base = 0): number => base + (isIpv6(p, base) ? 24 : 16)
export const sourceKey = (p: Uint8Array, base = 0): AddressKey => keyAt(p, sourceAt(p, base), isIpv6(p, base))
export const destinationKey = (p: Uint8Array, base = 0): AddressKey => keyAt(p, destinationAt(p, base), isIpv6(p, base))

/** True for what is long enough, and as long as its header says. */
export function isWellFormed(p: Uint8Array): boolean {
  if (p.length < 20) return false
  const version = p[0]! >> 4
  if (version === 6) return p.length >= 40 && getU16(p, 4) === p.length - 40 && (p[6] !== 44 || p.length >= 48)
  const header = (p[0]! & 15) * 4
  return version === 4 && header >= 20 && header <= p.length && getU16(p, 2) === p.length
}

const hasFragmentHeader = (p: Uint8Array, base: number): boolean => isIpv6(p, base) && p[base + 6] === 44

/** Protocol behind the IP header, and behind IPv6's fragment header; other extension headers count as protocols. */
export const protocolOf = (p: Uint8Array, base = 0): number =>
  isIpv6(p, base) ? (hasFragmentHeader(p, base) ? p[base + 40]! : p[base + 6]!) : p[base + 9]!

export const payloadAt = (p: Uint8Array, base = 0): number =>
  base + (isIpv6(p, base) ? (hasFragmentHeader(p, base) ? 48 : 40) : (p[base]! & 15) * 4)

/** Offset of this fragment in the whole, in octets. */
export const fragmentOffset = (p: Uint8Array, base = 0): number =>
  isIpv6(p, base)
    ? hasFragmentHeader(p, base)
      ? getU16(p, base + 42) & 0xfff8
      : 0
    : (getU16(p, base + 6) & 0x1fff) * 8

export const moreFragments = (p: Uint8Array, base = 0): boolean =>
  isIpv6(p, base) ? hasFragmentHeader(p, base) && (p[base + 43]! & 1) === 1 : (p[base + 6]! & 0x20) !== 0

export const isFragment = (p: Uint8Array): boolean => moreFragments(p) || fragmentOffset(p) > 0
export const hasDontFragment = (p: Uint8Array): boolean => isIpv6(p) || (p[6]! & 0x40) !== 0

export const isIcmp = (protocol: number): boolean => protocol === IpProtocol.ICMP || protocol === IpProtocol.ICMPV6

/** True for ICMP messages that quote a packet, RFC 792 and RFC 4443 §2.1. */
export function isIcmpError(p: Uint8Array): boolean {
  const type = p[payloadAt(p)]!
  if (isIpv6(p)) return protocolOf(p) === 58 && type < 128
  return protocolOf(p) === 1 && (type === 3 || type === 4 || type === 5 || type === 11 || type === 12)
}

const isEcho = (p: Uint8Array, base = 0): boolean => isEchoRequest(p, base) || isEchoReply(p, base)
export const isEchoRequest = (p: Uint8Array, base = 0): boolean => p[payloadAt(p, base)] === (isIpv6(p, base) ? 128 : 8)
export const isEchoReply = (p: Uint8Array, base = 0): boolean => p[payloadAt(p, base)] === (isIpv6(p, base) ? 129 : 0)

/** Offset of the number a NAPT may rewrite at one end: UDP and TCP port, echo identifier; -1 when there is none. */
export function portAt(p: Uint8Array, atSource: boolean, base = 0): number {
  const protocol = protocolOf(p, base)
  const payload = payloadAt(p, base)
  if (protocol === 17 || protocol === 6) return p.length < payload + 4 ? -1 : atSource ? payload : payload + 2
  if (isIcmp(protocol) && p.length >= payload + 8 && isEcho(p, base)) return payload + 4
  return -1
}

/** Where the transport checksum lies; -1 when the protocol has none, or it was cut off. */
export function checksumAt(p: Uint8Array, base = 0): number {
  const protocol = protocolOf(p, base)
  const at = payloadAt(p, base) + (protocol === 17 ? 6 : protocol === 6 ? 16 : 2)
  return (protocol === 17 || protocol === 6 || isIcmp(protocol)) && at + 2 <= p.length ? at : -1
}

/** Internet checksum over transport part and pseudo-header; 0 when the checksum in it is right. RFC 1071, 8200 §8.1 */
function transportSum(p: Uint8Array): number {
  const protocol = protocolOf(p)
  const start = payloadAt(p)
  let sum = 0
  if (protocol !== IpProtocol.ICMP) {
    const from = sourceAt(p)
    sum = addToSum(protocol + (p.length - start), p, from, from + 2 * addressLength(p))
  }
  return finishChecksum(addToSum(sum, p, start, p.length))
}

/** Computes IPv4 header checksum and transport checksum anew. */
export function sealChecksums(p: Uint8Array): void {
  if (!isIpv6(p)) fixIpv4Checksum(p, 0)
  const at = checksumAt(p)
  if (at < 0 || isFragment(p)) return
  setU16(p, at, 0)
  const sum = transportSum(p)
  setU16(p, at, sum === 0 && protocolOf(p) === IpProtocol.UDP ? 0xffff : sum)
}

/** True when the IPv4 header checksum is right; IPv6 has none. */
export const headerValid = (p: Uint8Array): boolean =>
  isIpv6(p) || finishChecksum(addToSum(0, p, 0, (p[0]! & 15) * 4)) === 0

/** Recomputes every checksum of a whole packet. IPv6 forbids UDP's zero (RFC 8200 §8.1), IPv4 means "none" by it. */
export function checksumsValid(p: Uint8Array): boolean {
  if (!headerValid(p)) return false
  const at = checksumAt(p)
  if (at < 0 || isFragment(p)) return true
  if (protocolOf(p) === IpProtocol.UDP && getU16(p, at) === 0) return !isIpv6(p)
  return transportSum(p) === 0
}

/** A packet with its header and room for `length` octets of payload, transport checksum not yet sealed. */
export function newIp(header: IpHeader, length: number): Uint8Array {
  const v4 = header.source.length === 4
  const p = new Uint8Array((v4 ? 20 : 40) + length)
  if (v4) writeIpv4Header(p, 0, header, length)
  else writeIpv6Header(p, 0, header, length)
  return p
}

const NAMES: Readonly<Record<number, string>> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 50: 'ESP', 51: 'AH', 58: 'ICMPv6' }

/** One line about a packet, or the first octets of one. */
export function describe(p: Uint8Array, base = 0): string {
  if (p.length < base + 20 || (isIpv6(p, base) && p.length < base + 40)) return 'truncated'
  const v6 = isIpv6(p, base)
  const protocol = protocolOf(p, base)
  const at = payloadAt(p, base)
  const show = (address: number, port: number): string => {
    const text = showIp(p, address, v6)
    return port < 0 || isIcmp(protocol) || fragmentOffset(p, base) > 0
      ? text
      : `${v6 ? `[${text}]` : text}:${getU16(p, port)}`
  }
  const ends = `${show(sourceAt(p, base), portAt(p, true, base))} > ${show(destinationAt(p, base), portAt(p, false, base))}`
  const length = v6 ? getU16(p, base + 4) + 40 : getU16(p, base + 2)
  const fragment = moreFragments(p, base) || fragmentOffset(p, base) > 0 ? ` fragment ${fragmentOffset(p, base)}` : ''
  return `${NAMES[protocol] ?? `protocol ${protocol}`} ${ends} ${length}${detail(p, protocol, at, v6)}${fragment}`
}

function detail(p: Uint8Array, protocol: number, at: number, v6: boolean): string {
  if (p.length < at + 8) return ''
  if (protocol === 50) return ` spi ${getU32(p, at).toString(16).padStart(8, '0')} seq ${getU32(p, at + 4)}`
  if (protocol === 51)
    return ` spi ${getU32(p, at + 4)
      .toString(16)
      .padStart(8, '0')}`
  if (isIcmp(protocol)) {
    const type = p[at]!
    if (type === (v6 ? 128 : 8) || type === (v6 ? 129 : 0)) return ` echo ${getU16(p, at + 4)}/${getU16(p, at + 6)}`
    return ` type ${type} code ${p[at + 1]} (${describe(p, at + 8)})`
  }
  return ''
}
