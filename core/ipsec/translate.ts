import type { Drop } from '../contracts/drop.ts'
import type { Flow } from '../contracts/net.ts'
import type { Packet } from '../contracts/packet.ts'
import type { Mode } from '../contracts/strategy.ts'
import {
  type AddressRange,
  fixChecksum,
  fixIpv4Checksum,
  getU32,
  type IpInfo,
  newIpInfo,
  rangeContains,
  readIp,
  setU32,
} from '../wire/index.ts'

/** Addresses of the peer's side and what this side sees in their place, octet for octet the same distance from the first. */
export interface Translation {
  readonly theirs: AddressRange
  /** First address this side sees. */
  readonly ours: Uint8Array
}

/**
 * A mode behind which the peer's inner addresses look like others (a NETMAP), so that two peers with equal addresses are
 * two peers here. Checksums follow. Addresses in the payload, those in ICMP errors included, stay as they are.
 */
export class TranslatedMode implements Mode {
  readonly name: string
  readonly saves?: number
  readonly #mode: Mode
  readonly #out: readonly Rewrite[]
  readonly #in: readonly Rewrite[]
  readonly #info = newIpInfo()

  constructor(mode: Mode, translations: readonly Translation[]) {
    this.name = mode.name
    if (mode.saves !== undefined) this.saves = mode.saves
    this.#mode = mode
    this.#in = translations.map(({ theirs, ours }) => ({ from: theirs, to: ours }))
    this.#out = translations.map(({ theirs, ours }) => ({ from: shifted(theirs, ours), to: theirs.start }))
  }

  encode(packet: Packet): Drop | undefined {
    return this.#rewrite(packet, this.#out, 'destinationAt') ?? this.#mode.encode(packet)
  }

  decode(packet: Packet, flow: Flow): Drop | undefined {
    return this.#mode.decode(packet, flow) ?? this.#rewrite(packet, this.#in, 'sourceAt')
  }

  /** An address outside all ranges is none of the peer's. */
  #rewrite(packet: Packet, rewrites: readonly Rewrite[], which: 'sourceAt' | 'destinationAt'): Drop | undefined {
    const { bytes, start, end } = packet
    const info = this.#info
    if (readIp(bytes, start, end, info) !== undefined) return 'inner-malformed'
    const at = info[which]
    const before = bytes.slice(at, at + info.addressLength)
    const rewrite = rewrites.find(({ from }) => rangeContains(from, before))
    if (rewrite === undefined) return 'selector'
    for (let i = 0; i < before.length; i += 4)
      setU32(bytes, at + i, (getU32(bytes, at + i) - getU32(rewrite.from.start, i) + getU32(rewrite.to, i)) >>> 0)
    return this.#fix(packet, info, before, bytes.subarray(at, at + info.addressLength))
  }

  #fix({ bytes, start }: Packet, info: IpInfo, before: Uint8Array, after: Uint8Array): Drop | undefined {
    if (info.version === 4) fixIpv4Checksum(bytes, start)
    if (info.fragmentOffset > 0) return undefined
    return fixChecksum(bytes, info.upperAt, info.end, info.protocol, before, after) ? undefined : 'inner-malformed'
  }
}

interface Rewrite {
  readonly from: AddressRange
  readonly to: Uint8Array
}

/** The range as this side sees it. Both begin on a block of their size, so words carry nothing into each other. */
function shifted({ start, end }: AddressRange, ours: Uint8Array): AddressRange {
  const last = ours.map((octet, i) => octet | (start[i]! ^ end[i]!))
  return { start: ours, end: last }
}
