import type { Drop } from '../../core/contracts/drop.ts'
import type { Flow } from '../../core/contracts/net.ts'
import type { Origin } from '../../core/contracts/origin.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Mode } from '../../core/contracts/strategy.ts'
import {
  DONT_FRAGMENT,
  fixIpv4Checksum,
  getU16,
  getU32,
  type IpHeader,
  IpProtocol,
  Ipv4,
  Ipv6,
  ipv4HeaderLength,
  newIpInfo,
  readIp,
  writeIpv4Header,
  writeIpv6Header,
} from '../../core/wire/index.ts'
import { optionsLength, PseudoHeader, writePseudoHeader } from './options.ts'

/** What the application sees where the transport does not tell the outer TTL. */
const DEFAULT_TTL = 64
const FLOW_LABEL = 0xf_ffff

/** An IP header to write, reused. */
type Header = { -readonly [K in keyof Required<IpHeader>]: IpHeader[K] & {} }

/**
 * Swaps the IP header for an outer one and back. Only the addresses are of the SA; the other fields take the place of
 * their outer namesakes and return with whatever happened to them on the way (TTL, ECN).
 */
export class BeetMode implements Mode {
  readonly name = 'beet'
  readonly origin: Origin
  readonly saves: number
  readonly #local: Uint8Array
  readonly #remote: Uint8Array
  readonly #header: Header
  readonly #info = newIpInfo()

  /** @param local - this host's inner address, 4 or 16 octets as the other one */
  constructor(local: Uint8Array, remote: Uint8Array) {
    this.origin = { module: import.meta.url, name: 'beetMode', data: [local, remote] }
    this.#local = local
    this.#remote = remote
    this.saves = local.length === 4 ? Ipv4.HEADER : Ipv6.HEADER
    this.#header = { source: remote, destination: local, protocol: 0, tos: 0, ttl: 0, df: false, id: 0, flowLabel: 0 }
  }

  encode(packet: Packet): Drop | undefined {
    const { bytes, start, end } = packet
    const info = this.#info
    if (readIp(bytes, start, end, info) !== undefined) return 'inner-malformed'
    if (info.addressLength !== this.#local.length) return 'not-encodable'
    if (!same(this.#local, bytes, info.sourceAt) || !same(this.#remote, bytes, info.destinationAt))
      return 'not-encodable'
    const failure = info.version === 4 ? this.#encodeV4(packet) : this.#encodeV6(packet)
    if (failure !== undefined) return failure
    packet.tos = info.tos
    packet.ttl = info.ttl
    packet.end = info.end
    return undefined
  }

  #encodeV4(packet: Packet): Drop | undefined {
    const { bytes, start } = packet
    const protocol = bytes[start + Ipv4.PROTOCOL]!
    if (isTaken(protocol)) return 'not-encodable'
    // neither the outer header nor ESP has a place for the offset
    if (this.#info.fragmentOffset > 0 || this.#info.moreFragments) return 'fragment'
    packet.id = getU16(bytes, start + Ipv4.ID)
    packet.df = (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) !== 0
    packet.flowLabel = 0
    const options = ipv4HeaderLength(bytes, start) - Ipv4.HEADER
    packet.nextHeader = options === 0 ? protocol : IpProtocol.BEET
    const optionsAt = start + Ipv4.HEADER
    packet.start = options === 0 ? optionsAt : writePseudoHeader(bytes, optionsAt, options, protocol)
    return undefined
  }

  /** All extension headers go inside, a Fragment header with them. */
  #encodeV6(packet: Packet): Drop | undefined {
    const { bytes, start } = packet
    const protocol = bytes[start + Ipv6.NEXT_HEADER]!
    if (isTaken(protocol)) return 'not-encodable'
    packet.id = 0
    packet.df = true
    packet.flowLabel = getU32(bytes, start) & FLOW_LABEL
    packet.nextHeader = protocol
    packet.start = start + Ipv6.HEADER
    return undefined
  }

  decode(packet: Packet, flow: Flow): Drop | undefined {
    const header = this.#header
    const v4 = this.#local.length === 4
    const sameFamily = flow.remote.address.includes(':') !== v4
    // a transport that cannot tell the TTL cannot tell the rest; DF is what makes an ID of 0 harmless (RFC 6864 §4.1)
    const told = sameFamily && packet.ttl !== 0
    header.tos = packet.tos
    header.ttl = packet.ttl || DEFAULT_TTL
    header.id = told ? packet.id : 0
    header.df = told ? packet.df : true
    header.flowLabel = told ? packet.flowLabel : 0
    return v4 ? this.#decodeV4(packet) : this.#decodeV6(packet)
  }

  #decodeV4(packet: Packet): Drop | undefined {
    const { bytes, start, end } = packet
    let protocol = packet.nextHeader
    let optionsAt = start
    let options = 0
    if (protocol === IpProtocol.BEET) {
      options = optionsLength(bytes, start, end)
      if (options < 0) return 'inner-malformed'
      protocol = bytes[start + PseudoHeader.NEXT_HEADER]!
      optionsAt = start + PseudoHeader.OCTETS + bytes[start + PseudoHeader.PAD_LENGTH]!
    }
    const at = optionsAt - Ipv4.HEADER
    const length = end - optionsAt
    if (at < 0 || length > 0xffff - Ipv4.HEADER) return 'inner-malformed'
    this.#header.protocol = protocol
    writeIpv4Header(bytes, at, this.#header, length)
    if (options > 0) {
      bytes[at] = 0x45 + options / 4
      fixIpv4Checksum(bytes, at)
    }
    packet.start = at
    return undefined
  }

  #decodeV6(packet: Packet): Drop | undefined {
    const { bytes, start, end } = packet
    // options of IPv4 where there is none
    if (packet.nextHeader === IpProtocol.BEET) return 'next-header'
    const at = start - Ipv6.HEADER
    if (at < 0 || end - start > 0xffff) return 'inner-malformed'
    this.#header.protocol = packet.nextHeader
    writeIpv6Header(bytes, at, this.#header, end - start)
    packet.start = at
    return undefined
  }
}

/** @public what `origin` names: a mode of these addresses, the local one first */
export const beetMode = ([local, remote]: readonly [Uint8Array, Uint8Array]): Mode => new BeetMode(local, remote)

/** Numbers that mean something else to the other end: the pseudo header, and ESP's dummy packet (RFC 4303 §2.6). */
const isTaken = (protocol: number): boolean => protocol === IpProtocol.BEET || protocol === IpProtocol.IPV6_NO_NXT

function same(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== bytes[at + i]) return false
  return true
}
