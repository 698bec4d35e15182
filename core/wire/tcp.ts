import { internetChecksum, pseudoHeaderSum } from './checksum.ts'
import { setU16, setU32 } from './fields.ts'
import { IpProtocol } from './ip-numbers.ts'

/** TCP, RFC 9293 §3.1. */
export const Tcp = {
  SOURCE_PORT: 0,
  DESTINATION_PORT: 2,
  SEQUENCE: 4,
  ACKNOWLEDGMENT: 8,
  DATA_OFFSET: 12,
  FLAGS: 13,
  WINDOW: 14,
  CHECKSUM: 16,
  URGENT: 18,
  HEADER: 20,
} as const

export const TcpFlag = { FIN: 0x01, SYN: 0x02, RST: 0x04, PSH: 0x08, ACK: 0x10, URG: 0x20 } as const

/** Octets of the header with options. @param at - offset of a TCP header, 20 octets of which must be there */
export const tcpHeaderLength = (bytes: Uint8Array, at: number): number => (bytes[at + Tcp.DATA_OFFSET]! >>> 4) * 4

export interface TcpSegment {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly sequence: number
  readonly acknowledgment: number
  /** OR of TcpFlag. */
  readonly flags: number
  readonly window: number
  readonly payload: Uint8Array
}

/** A segment without options, with its checksum; the addresses are those of the IP header to come. */
export function buildTcp(source: Uint8Array, destination: Uint8Array, segment: TcpSegment): Uint8Array {
  const bytes = new Uint8Array(Tcp.HEADER + segment.payload.length)
  setU16(bytes, Tcp.SOURCE_PORT, segment.sourcePort)
  setU16(bytes, Tcp.DESTINATION_PORT, segment.destinationPort)
  setU32(bytes, Tcp.SEQUENCE, segment.sequence)
  setU32(bytes, Tcp.ACKNOWLEDGMENT, segment.acknowledgment)
  bytes[Tcp.DATA_OFFSET] = (Tcp.HEADER / 4) << 4
  bytes[Tcp.FLAGS] = segment.flags
  setU16(bytes, Tcp.WINDOW, segment.window)
  bytes.set(segment.payload, Tcp.HEADER)
  const sum = pseudoHeaderSum(source, destination, IpProtocol.TCP, bytes.length)
  setU16(bytes, Tcp.CHECKSUM, internetChecksum(bytes, 0, bytes.length, sum))
  return bytes
}
