import type { Drop } from '../../contracts/drop.ts'
import { type Facts, knownFact } from '../../contracts/facts.ts'
import type { Packet } from '../../contracts/packet.ts'
import type { Assessment, Mode, ModeStrategy, Problem } from '../../contracts/strategy.ts'
import { DONT_FRAGMENT, fixIpv4Checksum, getU16, getU32, IpProtocol, Ipv4, Ipv6, ipVersion } from '../../wire/index.ts'

const OUTER_TTL = 64
/** The two ECN bits of TOS and Traffic Class, RFC 3168 §5. */
const Ecn = { MASK: 3, NOT_ECT: 0, ECT_1: 1, ECT_0: 2, CE: 3 } as const

/** Whole IP packets inside ESP, RFC 4303 §3.1.2: no address inside is ever touched by a NAT. */
export class Tunnel implements ModeStrategy {
  readonly slot = 'mode'
  readonly name = 'tunnel'
  readonly solves: readonly Problem[] = ['checksums', 'address-identities']

  assess(facts: Facts): Assessment {
    return {
      usable: true,
      cost: { octets: knownFact(facts, 'outerFamily') === 6 ? 40 : 20, roundTrips: 0, trusts: [] },
      why: 'the inner IP header travels inside ESP, out of reach of any NAT',
    }
  }

  create(): Mode {
    return new TunnelMode()
  }
}

/** @public what `origin` names */
export const tunnelMode = (): Mode => new TunnelMode()

class TunnelMode implements Mode {
  readonly name = 'tunnel'
  readonly origin = { module: import.meta.url, name: 'tunnelMode' }

  /** TOS with ECN is copied (RFC 6040 "normal mode"; Linux sends ECT(0) for CE, RFC 3168's way), so are DF and label. */
  encode(packet: Packet): Drop | undefined {
    const { bytes, start } = packet
    const length = ipLength(packet)
    if (length === 0) return 'inner-malformed'
    const v4 = ipVersion(bytes, start) === 4
    packet.end = start + length
    packet.nextHeader = v4 ? IpProtocol.IPV4 : IpProtocol.IPV6
    packet.tos = tosOf(bytes, start, v4)
    packet.ttl = OUTER_TTL
    // routers fragment no IPv6 packet, so neither the one that carries it
    packet.df = v4 ? (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) !== 0 : true
    packet.id = 0
    packet.flowLabel = v4 ? 0 : getU32(bytes, start) & 0xf_ffff
    return undefined
  }

  decode(packet: Packet): Drop | undefined {
    const { bytes, start, nextHeader } = packet
    if (nextHeader !== IpProtocol.IPV4 && nextHeader !== IpProtocol.IPV6) return 'next-header'
    const length = ipLength(packet)
    const v4 = nextHeader === IpProtocol.IPV4
    if (length === 0 || ipVersion(bytes, start) !== (v4 ? 4 : 6)) return 'inner-malformed'
    // what is behind the inner packet is traffic flow confidentiality padding, RFC 4303 §2.7
    packet.end = start + length
    const inner = tosOf(bytes, start, v4) & Ecn.MASK
    const ecn = decapsulated(packet.tos & Ecn.MASK, inner)
    if (ecn !== inner) setEcn(bytes, start, ecn)
    return undefined
  }
}

/** Octets of the IP packet; 0 where it is cut off. All else about it is looked at by whoever takes or hands it on. */
function ipLength({ bytes, start, end }: Packet): number {
  const version = end - start < Ipv4.HEADER ? 0 : ipVersion(bytes, start)
  let length = 0
  if (version === 4) length = getU16(bytes, start + Ipv4.TOTAL_LENGTH)
  else if (version === 6) length = Ipv6.HEADER + getU16(bytes, start + Ipv6.PAYLOAD_LENGTH)
  return length < Ipv4.HEADER || length > end - start ? 0 : length
}

const tosOf = (bytes: Uint8Array, start: number, v4: boolean): number =>
  v4 ? bytes[start + Ipv4.TOS]! : (getU16(bytes, start) >>> 4) & 0xff

/**
 * Inner ECN field after decapsulation, RFC 6040 figure 4, but for CE around Not-ECT: the RFC would drop the packet, Linux
 * delivers it unchanged, and so does this. The sender did not ask for ECN; a loss it cannot attribute helps nobody.
 */
function decapsulated(outer: number, inner: number): number {
  if (inner === Ecn.NOT_ECT) return inner
  if (outer === Ecn.CE) return Ecn.CE
  return outer === Ecn.ECT_1 && inner === Ecn.ECT_0 ? Ecn.ECT_1 : inner
}

function setEcn(bytes: Uint8Array, at: number, ecn: number): void {
  if (ipVersion(bytes, at) === 4) {
    bytes[at + Ipv4.TOS] = (bytes[at + Ipv4.TOS]! & ~Ecn.MASK) | ecn
    fixIpv4Checksum(bytes, at)
  } else bytes[at + 1] = (bytes[at + 1]! & 0xcf) | (ecn << 4)
}
