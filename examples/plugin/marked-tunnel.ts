import {
  type Assessment,
  type Drop,
  type Facts,
  type IkeTask,
  knownFact,
  type Mode,
  type ModeStrategy,
  type Packet,
  type Problem,
} from '../../core/index.ts'
import { DONT_FRAGMENT, getU16, getU32, IpProtocol, Ipv4, newIpInfo, readIp, setU32 } from '../../core/wire/index.ts'
import { announceTask } from './announce.ts'

/** Notify type that asks for the mode in IKE_AUTH or CREATE_CHILD_SA, and accepts it. */
export const USE_MARKED_TUNNEL = 60_002
/** IP protocol "use for experimentation and testing", RFC 4727: what is behind the mark is told by its own version. */
const EXPERIMENT = 253
const MARK = 4
const OUTER_TTL = 64
/** The ECN bits are not carried over, RFC 6040's compatibility mode. */
const ECN = 3

/** Tunnel mode with the tenant's number, 4 octets, before each inner packet; packets of another tenant are dropped. */
export class MarkedTunnel implements ModeStrategy {
  readonly slot = 'mode'
  readonly name = 'marked-tunnel'
  readonly notify = USE_MARKED_TUNNEL
  /** Where a rule only prefers it … */
  readonly fallback = 'tunnel'
  /** … but a child with `mode: marked-tunnel` fails rather than go without. */
  readonly strict = true
  readonly solves: readonly Problem[] = ['checksums', 'address-identities']
  readonly #tenant: number

  constructor(tenant: number) {
    this.#tenant = tenant
  }

  assess(facts: Facts): Assessment {
    const peer = knownFact(facts, 'peerTenant')
    if (peer === 0) return { usable: false, why: 'the peer told no tenant, so it knows no marks' }
    if (peer !== undefined && peer !== this.#tenant)
      return { usable: false, why: `the peer is of tenant ${peer}, this host of ${this.#tenant}` }
    const header = knownFact(facts, 'outerFamily') === 6 ? 40 : 20
    return {
      usable: true,
      cost: { octets: header + MARK, roundTrips: 0, trusts: [] },
      why: 'every packet tells its tenant',
    }
  }

  tasks(): readonly IkeTask[] {
    return [announceTask(this.#tenant)]
  }

  create(): Mode {
    return new MarkedTunnelMode(this.#tenant)
  }
}

class MarkedTunnelMode implements Mode {
  readonly name = 'marked-tunnel'
  /** It costs instead. */
  readonly saves = -MARK
  readonly #tenant: number
  readonly #info = newIpInfo()

  constructor(tenant: number) {
    this.#tenant = tenant
  }

  encode(packet: Packet): Drop | undefined {
    const info = this.#info
    const { bytes, start } = packet
    if (readIp(bytes, start, packet.end, info) !== undefined) return 'inner-malformed'
    packet.df = info.version === 6 || (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) !== 0
    packet.tos = info.tos & ~ECN
    packet.ttl = OUTER_TTL
    packet.id = 0
    packet.flowLabel = 0
    packet.nextHeader = EXPERIMENT
    packet.end = info.end
    // HEADROOM in front of every packet is for this
    packet.start = start - MARK
    setU32(bytes, packet.start, this.#tenant)
    return undefined
  }

  decode(packet: Packet): Drop | undefined {
    const { bytes, start, end } = packet
    if (packet.nextHeader !== EXPERIMENT) return 'next-header'
    if (end - start < MARK) return 'inner-malformed'
    if (getU32(bytes, start) !== this.#tenant) return 'selector'
    const info = this.#info
    if (readIp(bytes, start + MARK, end, info) !== undefined) return 'inner-malformed'
    packet.start = start + MARK
    packet.end = info.end
    packet.nextHeader = info.version === 4 ? IpProtocol.IPV4 : IpProtocol.IPV6
    return undefined
  }
}
