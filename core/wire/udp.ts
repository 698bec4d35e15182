import { UsageError } from '../errors.ts'
import { internetChecksum, pseudoHeaderSum, pseudoHeaderSumAt } from './checksum.ts'
import { setU16 } from './fields.ts'
import { IpProtocol } from './ip-numbers.ts'

/** UDP, RFC 768. */
export const Udp = { SOURCE_PORT: 0, DESTINATION_PORT: 2, LENGTH: 4, CHECKSUM: 6, HEADER: 8 } as const

/**
 * Writes a UDP header with no checksum (0), as ESP in UDP over IPv4 has it (RFC 3948 §2.1).
 *
 * @param payloadLength - octets behind the header
 * @throws UsageError USAGE_IP_LENGTH
 */
export function writeUdpHeader(
  bytes: Uint8Array,
  at: number,
  sourcePort: number,
  destinationPort: number,
  payloadLength: number,
): void {
  const length = Udp.HEADER + payloadLength
  if (length > 0xffff) throw new UsageError('USAGE_IP_LENGTH', `${length} octets do not fit a UDP datagram`)
  setU16(bytes, at + Udp.SOURCE_PORT, sourcePort)
  setU16(bytes, at + Udp.DESTINATION_PORT, destinationPort)
  setU16(bytes, at + Udp.LENGTH, length)
  setU16(bytes, at + Udp.CHECKSUM, 0)
}

/** Computes the checksum of the datagram in `bytes[at..end)` under the IP header at `ipAt`, and writes it. */
export function fixUdpChecksum(bytes: Uint8Array, ipAt: number, at: number, end: number): void {
  setU16(bytes, at + Udp.CHECKSUM, 0)
  const sum = pseudoHeaderSumAt(bytes, ipAt, IpProtocol.UDP, end - at)
  setU16(bytes, at + Udp.CHECKSUM, internetChecksum(bytes, at, end, sum) || 0xffff)
}

/** A datagram with its checksum, in memory of its own; the addresses are those of the IP header to come. */
export function buildUdp(
  source: Uint8Array,
  sourcePort: number,
  destination: Uint8Array,
  destinationPort: number,
  payload: Uint8Array,
): Uint8Array {
  const datagram = new Uint8Array(Udp.HEADER + payload.length)
  writeUdpHeader(datagram, 0, sourcePort, destinationPort, payload.length)
  datagram.set(payload, Udp.HEADER)
  const sum = pseudoHeaderSum(source, destination, IpProtocol.UDP, datagram.length)
  setU16(datagram, Udp.CHECKSUM, internetChecksum(datagram, 0, datagram.length, sum) || 0xffff)
  return datagram
}
