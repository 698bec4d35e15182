import type { Drop } from '../../contracts/drop.ts'
import { type Facts, knownFact } from '../../contracts/facts.ts'
import type { Flow } from '../../contracts/net.ts'
import type { Origin } from '../../contracts/origin.ts'
import type { Packet } from '../../contracts/packet.ts'
import type { Assessment, Mode, ModeContext, ModeStrategy, Problem, Selector } from '../../contracts/strategy.ts'
import {
  addressBytes,
  checksumOffset,
  concat,
  DONT_FRAGMENT,
  fixChecksum,
  getU16,
  getU32,
  type IpHeader,
  IpProtocol,
  Ipv4,
  Ipv6,
  internetChecksum,
  ipv4HeaderLength,
  NotifyType,
  newIpInfo,
  pseudoHeaderSumAt,
  readIp,
  setU16,
  Udp,
  writeIpv4Header,
  writeIpv6Header,
} from '../../wire/index.ts'

const DEFAULT_TTL = 64

/** The upper layer alone inside ESP, under the outer IP header, RFC 4303 §3.1.1; through NATs as RFC 7296 §2.23.1 says. */
export class Transport implements ModeStrategy {
  readonly slot = 'mode'
  readonly name = 'transport'
  readonly notify = NotifyType.USE_TRANSPORT_MODE
  readonly substitutes = true
  readonly fallback = 'tunnel'
  readonly solves: readonly Problem[] = ['checksums']

  assess(facts: Facts): Assessment {
    const nat = knownFact(facts, 'localBehindNat') || knownFact(facts, 'remoteBehindNat')
    const why = nat
      ? 'no inner header; checksums are repaired behind the NAT, and two peers behind one NAT must differ in ports'
      : 'no inner header'
    return { usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] }, why }
  }

  refuses(context: ModeContext): string | undefined {
    const local = soleAddress(context.local)
    const remote = soleAddress(context.remote)
    if (local === undefined || remote === undefined) return 'transport mode carries one address on each side only'
    const flow = context.flow()
    const family = flow.remote.address.includes(':')
    if (local.includes(':') !== family || remote.includes(':') !== family)
      return 'transport mode has inner and outer addresses of one family'
    // behind a NAT selectors name addresses as the ends see them, which the outer ones need not be
    const { localBehindNat, remoteBehindNat } = nats(context.facts)
    if (!localBehindNat && local !== flow.local.address)
      return `local selector ${local} is not the outer address ${flow.local.address}`
    if (!remoteBehindNat && remote !== flow.remote.address)
      return `remote selector ${remote} is not the outer address ${flow.remote.address}`
    return undefined
  }

  create(context: ModeContext): Mode {
    const { local, remote, facts } = context
    return transportMode({ local, remote, flow: context.flow(), ...nats(facts) })
  }
}

/** How the upper layer's checksum is mended, whose pseudo header the NAT has made wrong. */
type Repair = 'none' | 'update' | 'recompute'

/** An IP header without options, reused. */
type Header = { -readonly [K in keyof Required<IpHeader>]: IpHeader[K] & {} }

/** What the mode has to know, as it was when the SA was made. */
interface Situation {
  readonly local: readonly Selector[]
  readonly remote: readonly Selector[]
  readonly flow: Flow
  readonly localBehindNat: boolean
  readonly remoteBehindNat: boolean
}

/** @public what `origin` names */
export const transportMode = (situation: Situation): Mode => new TransportMode(situation)

/**
 * Hands up packets under the outer addresses as they were when the SA was made. A NAT that maps the peer anew later does
 * not show inside: connections live on, and selectors hold.
 */
class TransportMode implements Mode {
  readonly name = 'transport'
  readonly origin: Origin
  readonly #local: Uint8Array
  readonly #remote: Uint8Array
  readonly #header: Header
  readonly #repair: Repair
  /** Source and destination that the peer's checksums cover, and those handed up. */
  readonly #from: Uint8Array
  readonly #to: Uint8Array
  readonly #info = newIpInfo()

  constructor(context: Situation) {
    this.origin = { module: import.meta.url, name: 'transportMode', data: context }
    const { local, remote } = context.flow
    this.#local = addressBytes(local.address)
    this.#remote = addressBytes(remote.address)
    this.#header = {
      source: this.#remote,
      destination: this.#local,
      protocol: 0,
      tos: 0,
      ttl: DEFAULT_TTL,
      df: false,
      id: 0,
      flowLabel: 0,
    }
    const peerSource = soleAddress(context.remote) ?? remote.address
    const peerDestination = soleAddress(context.local) ?? local.address
    this.#from = concat(addressBytes(peerSource), addressBytes(peerDestination))
    this.#to = concat(this.#remote, this.#local)
    const { localBehindNat, remoteBehindNat } = context
    // an address that a NAT changed and that the selectors do not tell in its original form
    const unknown =
      (remoteBehindNat && peerSource === remote.address) || (localBehindNat && peerDestination === local.address)
    const changed = peerSource !== remote.address || peerDestination !== local.address
    this.#repair = unknown ? 'recompute' : changed ? 'update' : 'none'
  }

  encode(packet: Packet): Drop | undefined {
    const { bytes, start, end } = packet
    const info = this.#info
    if (readIp(bytes, start, end, info) !== undefined) return 'inner-malformed'
    if (info.fragmentOffset > 0 || info.moreFragments) return 'fragment'
    // the header is not sent: what it says must be what the other end will write
    if (info.addressLength !== this.#local.length) return 'not-encodable'
    if (!same(this.#local, bytes, info.sourceAt) || !same(this.#remote, bytes, info.destinationAt))
      return 'not-encodable'
    return info.version === 4 ? this.#encodeV4(packet) : this.#encodeV6(packet)
  }

  #encodeV4(packet: Packet): Drop | undefined {
    const { bytes, start } = packet
    // options stay outside ESP, and no transport here can send any
    if (ipv4HeaderLength(bytes, start) !== Ipv4.HEADER) return 'not-encodable'
    packet.df = (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) !== 0
    packet.id = getU16(bytes, start + Ipv4.ID)
    packet.flowLabel = 0
    return this.#strip(packet, bytes[start + Ipv4.PROTOCOL]!, Ipv4.HEADER)
  }

  #encodeV6(packet: Packet): Drop | undefined {
    const { bytes, start } = packet
    // headers for routers on the way stay outside; destination options may be inside, RFC 4303 §3.1.1
    let next = bytes[start + Ipv6.NEXT_HEADER]!
    const first = next
    for (let at = start + Ipv6.HEADER; at < this.#info.upperAt; at += (bytes[at + 1]! + 1) * 8) {
      if (next !== IpProtocol.IPV6_OPTS) return next === IpProtocol.IPV6_FRAG ? 'fragment' : 'not-encodable'
      next = bytes[at]!
    }
    packet.df = true
    packet.id = 0
    packet.flowLabel = getU32(bytes, start) & 0xf_ffff
    return this.#strip(packet, first, Ipv6.HEADER)
  }

  #strip(packet: Packet, protocol: number, header: number): undefined {
    packet.tos = this.#info.tos
    packet.ttl = this.#info.ttl
    packet.nextHeader = protocol
    packet.start += header
    packet.end = this.#info.end
  }

  decode(packet: Packet): Drop | undefined {
    const { bytes } = packet
    const v4 = this.#local.length === 4
    const length = packet.end - packet.start
    const at = packet.start - (v4 ? Ipv4.HEADER : Ipv6.HEADER)
    if (at < 0 || length > 0xffff - (v4 ? Ipv4.HEADER : 0)) return 'inner-malformed'
    const header = this.#header
    header.protocol = packet.nextHeader
    header.tos = packet.tos
    header.ttl = packet.ttl || DEFAULT_TTL
    header.df = packet.df
    header.id = packet.id
    header.flowLabel = packet.flowLabel
    if (v4) writeIpv4Header(bytes, at, header, length)
    else writeIpv6Header(bytes, at, header, length)
    packet.start = at

    const info = this.#info
    if (readIp(bytes, at, packet.end, info) !== undefined) return 'inner-malformed'
    if (info.fragmentOffset > 0 || info.moreFragments) return 'fragment'
    if (this.#repair === 'update') {
      if (!fixChecksum(bytes, info.upperAt, info.end, info.protocol, this.#from, this.#to)) return 'inner-malformed'
    } else if (this.#repair === 'recompute') recompute(bytes, at, info.upperAt, info.end, info.protocol)
    return undefined
  }
}

/**
 * Makes the checksum anew, RFC 3948 §3.1.2: the ICV has vouched for the octets. A UDP checksum of zero stays, and so does
 * what is cut off or covers only a part (UDP-Lite, DCCP): the upper layer drops that itself.
 */
function recompute(bytes: Uint8Array, ipAt: number, at: number, end: number, protocol: number): void {
  const offset = checksumOffset(protocol)
  if (offset === undefined || at + offset + 2 > end) return
  if (protocol === IpProtocol.UDPLITE || protocol === IpProtocol.DCCP) return
  let last = end
  if (protocol === IpProtocol.UDP) {
    if (getU16(bytes, at + Udp.CHECKSUM) === 0) return
    // padding may follow the datagram
    last = at + getU16(bytes, at + Udp.LENGTH)
    if (last > end || last < at + Udp.HEADER) return
  }
  setU16(bytes, at + offset, 0)
  const checksum = internetChecksum(bytes, at, last, pseudoHeaderSumAt(bytes, ipAt, protocol, last - at))
  setU16(bytes, at + offset, protocol === IpProtocol.UDP ? checksum || 0xffff : checksum)
}

/** The address all selectors of a side are limited to. */
function soleAddress(side: readonly Selector[]): string | undefined {
  const address = side[0]?.start
  return side.every(({ start, end }) => start === address && end === address) ? address : undefined
}

const nats = (facts: Facts): { localBehindNat: boolean; remoteBehindNat: boolean } => ({
  localBehindNat: knownFact(facts, 'localBehindNat') === true,
  remoteBehindNat: knownFact(facts, 'remoteBehindNat') === true,
})

function same(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== bytes[at + i]) return false
  return true
}
