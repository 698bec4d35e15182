import { readFileSync } from 'node:fs'
import { addressOfBytes } from '../../core/wire/index.ts'

/** An IP packet of a capture file. Bytes are views of the file's; `data` may be cut short by the snap length. */
export interface Captured {
  /** Seconds since the epoch. */
  readonly at: number
  readonly src: string
  readonly dst: string
  readonly protocol: number
  /** UDP ports, 0 for anything else. */
  readonly srcPort: number
  readonly dstPort: number
  /** What is in the UDP datagram, or in the IP packet if it is another protocol. */
  readonly data: Buffer
}

/** Reads an Ethernet capture file in the classic format. @returns its IP packets, and the count of other frames but ARP; IPv6's way of it is left out too */
export function readCapture(file: string): { packets: Captured[]; others: number } {
  const b = readFileSync(file)
  if (b.readUInt32LE(0) !== 0xa1b2c3d4 || b.readUInt32LE(20) !== 1) throw new Error(`${file}: not an Ethernet capture`)
  const packets: Captured[] = []
  let others = 0
  for (let o = 24; o + 16 <= b.length; ) {
    const length = b.readUInt32LE(o + 8)
    const frame = b.subarray(o + 16, o + 16 + length)
    const at = b.readUInt32LE(o) + b.readUInt32LE(o + 4) / 1e6
    o += 16 + length
    const type = frame.readUInt16BE(12)
    if (type === 0x0800) packets.push(ipv4(frame.subarray(14), at))
    else if (type === 0x86dd) packets.push(...ipv6(frame.subarray(14), at))
    else if (type !== 0x0806) others++
  }
  return { packets, others }
}

function ipv4(p: Buffer, at: number): Captured {
  const header = ((p[0] ?? 0) & 15) * 4
  const address = (o: number) => p.subarray(o, o + 4).join('.')
  const protocol = p[9] ?? 0
  // a later fragment has no UDP header; it counts as not UDP, because nothing in the lab should fragment
  const udp = protocol === 17 && (p.readUInt16BE(6) & 0x1fff) === 0
  return {
    at,
    src: address(12),
    dst: address(16),
    protocol,
    srcPort: udp ? p.readUInt16BE(header) : 0,
    dstPort: udp ? p.readUInt16BE(header + 2) : 0,
    data: p.subarray(udp ? header + 8 : header),
  }
}

/** No packet where it is about the link: neighbours, routers, and who listens to whom (MLD, behind a Hop-by-Hop header). */
function ipv6(p: Buffer, at: number): Captured[] {
  const protocol = p[6] ?? 0
  const type = p[protocol === 0 ? 48 : 40] ?? 0
  const link = (protocol === 58 && type >= 133 && type <= 137) || (protocol === 0 && type >= 130 && type <= 143)
  if (link) return []
  const address = (o: number) => addressOfBytes(p, o, 6)
  const udp = protocol === 17
  const ports = udp ? { srcPort: p.readUInt16BE(40), dstPort: p.readUInt16BE(42) } : { srcPort: 0, dstPort: 0 }
  return [{ at, src: address(8), dst: address(24), protocol, ...ports, data: p.subarray(udp ? 48 : 40) }]
}

/** What a capture on the public segment shows. */
export interface Seen {
  /** ESP, or AH where that is wanted: SPI in hex → sequence numbers in order of appearance. */
  readonly esp: ReadonlyMap<string, readonly number[]>
  readonly ike: number
  /** IKE messages that are fragments (RFC 7383), by the address they came from. */
  readonly fragments: ReadonlyMap<string, number>
  readonly keepalives: number
  /** Everything that is none of the above, in words; the first few. */
  readonly clear: readonly string[]
  readonly clearCount: number
}

/** 16 octets in the payload of every ping and probe: must not be seen outside the tunnel, whatever is around it. */
export const MARKER = 'natweave-inside!'

/**
 * Sorts a capture of the public segment. Only IKE, ESP in UDP and NAT-keepalives may be there, or else IKE and plain ESP,
 * or IKE and AH: anything else counts as clear, and so does a packet of any kind with the marker of our own traffic in
 * it. AH hides nothing, so there the marker may be seen behind its header, and nowhere else.
 */
export function inspect(file: string, encap: Outside = 'udp'): Seen {
  const esp = new Map<string, number[]>()
  const fragments = new Map<string, number>()
  const { packets, others } = readCapture(file)
  const clear: string[] = others > 0 ? [`${others} frames that are not IP`] : []
  let [ike, keepalives, clearCount] = [0, 0, others]
  for (const packet of packets) {
    const authentic = encap === 'ah' && packet.protocol === AH
    const kind = packet.data.includes(MARKER) && !authentic ? 'clear' : classify(packet, encap)
    if (kind === 'ike') {
      ike++
      if (isSkf(packet)) fragments.set(packet.src, (fragments.get(packet.src) ?? 0) + 1)
    } else if (kind === 'keepalive') keepalives++
    else if (kind === 'esp') {
      // in AH, RFC 4302 §2, next header, length and a reserved field come before them
      const at = authentic ? 4 : 0
      const spi = packet.data.toString('hex', at, at + 4)
      const number = packet.data.readUInt32BE(at + 4)
      const numbers = esp.get(spi)
      if (numbers === undefined) esp.set(spi, [number])
      else numbers.push(number)
    } else if (clearCount++ < 3) clear.push(describe(packet))
  }
  return { esp, ike, fragments, keepalives, clear, clearCount }
}

const NON_ESP_MARKER = 0
const SKF = 53

const ESP = 50
const AH = 51

/** What may be on the public segment beside IKE. */
export type Outside = 'udp' | 'plain' | 'ah'

/** RFC 3948 §2: what a datagram on port 4500 is. On port 500 it can only be IKE. */
function classify(packet: Captured, encap: Outside): 'ike' | 'esp' | 'keepalive' | 'clear' {
  const { protocol, srcPort, dstPort, data } = packet
  const ports = [srcPort, dstPort]
  if (encap === 'plain' && protocol === ESP && data.length >= 8) return 'esp'
  if (encap === 'ah' && protocol === AH && data.length >= 12) return 'esp'
  if (protocol !== 17) return 'clear'
  // without a marker wherever 500 is one of the two, RFC 7296 §2.23
  if (ports.includes(500)) return isIke(data) ? 'ike' : 'clear'
  if (ports.includes(4500)) {
    if (data[0] === 0xff && data.length <= 18) return 'keepalive' // Ethernet pads the frame to 60 octets
    if (data.length < 8) return 'clear'
    if (data.readUInt32BE(0) !== NON_ESP_MARKER) return encap === 'udp' ? 'esp' : 'clear'
    return isIke(data.subarray(4)) ? 'ike' : 'clear'
  }
  return 'clear'
}

/** Major version 2 and an exchange type of IKEv2, RFC 7296 §3.1. */
const isIke = (data: Buffer): boolean => data.length >= 28 && (data[17] ?? 0) >> 4 === 2 && (data[18] ?? 0) >= 34

/** The first payload of an IKE message, behind its two SPIs, is a fragment. */
const isSkf = ({ srcPort, dstPort, data }: Captured): boolean =>
  data[srcPort === 500 || dstPort === 500 ? 16 : 20] === SKF

const describe = ({ src, srcPort, dst, dstPort, protocol }: Captured): string =>
  `${protocol === 17 ? `UDP ${src}:${srcPort} → ${dst}:${dstPort}` : `protocol ${protocol} ${src} → ${dst}`}`
