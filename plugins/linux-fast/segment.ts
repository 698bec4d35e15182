import { getU16, getU32, IpProtocol, Ipv4, Ipv6, ipv4HeaderLength, setU16, setU32 } from '../../core/wire/index.ts'
import { type Arena, addSums } from './arena.ts'
import { Gso, NEEDS_CHECKSUM, Tcp, TcpFlag, Vnet } from './vnet.ts'

/** Calls back for each packet; `at` is where it must be written, `write` was told that it was. */
export interface SegmentSink {
  /** Where in the arena the next packet goes; the packets before are done with. */
  place(): number
  /** A packet stands at `start` to `end`. @param again - it was cut from the same large one as the packet before */
  packet(start: number, end: number, again: boolean): void
}

/**
 * Makes packets with checksums of what the kernel gave: a header and one packet, perhaps a large one of TCP or UDP that is
 * to be cut (TCP segmentation offload).
 *
 * @param at - of the virtio header; the packet follows, up to `end`
 * @returns false when the header is none that Linux makes; nothing was handed on then
 */
export function cut(arena: Arena, at: number, end: number, sink: SegmentSink): boolean {
  const { bytes, view } = arena
  const start = at + Vnet.OCTETS
  if (end - start < Ipv4.HEADER) return false
  const type = bytes[at + Vnet.GSO_TYPE]! & ~Gso.ECN
  const transportAt = start + view.getUint16(at + Vnet.CHECKSUM_START, true)
  const needsChecksum = (bytes[at + Vnet.FLAGS]! & NEEDS_CHECKSUM) !== 0
  if (type === Gso.NONE) {
    if (needsChecksum) {
      const field = transportAt + view.getUint16(at + Vnet.CHECKSUM_OFFSET, true)
      if (field + 2 > end || transportAt > end) return false
      // the field has the pseudo header's sum already
      const checksum = ~arena.sum(transportAt, end) & 0xffff
      setU16(bytes, field, field === transportAt + 6 && isUdp(bytes, start) ? checksum || 0xffff : checksum)
    }
    const place = sink.place()
    arena.copy(place, start, end - start)
    sink.packet(place, place + end - start, false)
    return true
  }
  const size = view.getUint16(at + Vnet.GSO_SIZE, true)
  const udp = type === Gso.UDP
  if (!needsChecksum || size === 0 || transportAt + (udp ? 8 : Tcp.HEADER) > end) return false
  const dataAt = udp ? transportAt + 8 : transportAt + (bytes[transportAt + Tcp.DATA_OFFSET]! >>> 4) * 4
  if (dataAt < transportAt + 8 || dataAt > end) return false
  cutLarge(arena, { start, transportAt, dataAt, end, size, udp }, sink)
  return true
}

interface Large {
  readonly start: number
  readonly transportAt: number
  readonly dataAt: number
  readonly end: number
  /** Octets of data in each packet. */
  readonly size: number
  readonly udp: boolean
}

function cutLarge(arena: Arena, { start, transportAt, dataAt, end, size, udp }: Large, sink: SegmentSink): void {
  const { bytes } = arena
  const v4 = bytes[start]! >>> 4 === 4
  const ipHeader = transportAt - start
  const headers = dataAt - start
  const field = ipHeader + (udp ? 6 : Tcp.CHECKSUM)
  // what is the same in all headers is summed once, what differs is taken out before
  const sequence = udp ? 0 : getU32(bytes, transportAt + Tcp.SEQUENCE)
  const flags = udp ? 0 : bytes[transportAt + Tcp.FLAGS]!
  const id = v4 ? getU16(bytes, start + Ipv4.ID) : 0
  if (v4) {
    setU16(bytes, start + Ipv4.TOTAL_LENGTH, 0)
    setU16(bytes, start + Ipv4.ID, 0)
    setU16(bytes, start + Ipv4.CHECKSUM, 0)
  }
  const ipSum = v4 ? arena.sum(start, transportAt) : 0
  const addresses = v4
    ? arena.sum(start + Ipv4.SOURCE, start + Ipv4.HEADER)
    : arena.sum(start + Ipv6.SOURCE, start + Ipv6.HEADER)
  setU16(bytes, start + field, 0)
  if (udp) setU16(bytes, transportAt + 4, 0)
  else {
    setU32(bytes, transportAt + Tcp.SEQUENCE, 0)
    bytes[transportAt + Tcp.FLAGS] = 0
  }
  const fixedSum = addSums(addSums(addresses, udp ? IpProtocol.UDP : IpProtocol.TCP), arena.sum(transportAt, dataAt))

  for (let data = dataAt, i = 0; ; i++) {
    const length = Math.min(size, end - data)
    const last = data + length >= end
    const at = sink.place()
    arena.copy(at, start, headers)
    const dataSum = arena.copySum(at + headers, data, length)
    const total = headers + length
    const upper = total - ipHeader
    if (v4) {
      const thisId = (id + i) & 0xffff
      setU16(bytes, at + Ipv4.TOTAL_LENGTH, total)
      setU16(bytes, at + Ipv4.ID, thisId)
      setU16(bytes, at + Ipv4.CHECKSUM, ~addSums(addSums(ipSum, total), thisId) & 0xffff)
    } else setU16(bytes, at + Ipv6.PAYLOAD_LENGTH, total - Ipv6.HEADER)
    let sum = addSums(addSums(fixedSum, upper), dataSum)
    if (udp) {
      setU16(bytes, at + ipHeader + 4, upper)
      sum = addSums(sum, upper)
    } else {
      const number = (sequence + data - dataAt) >>> 0
      const kept = flags & ~(last ? 0 : TcpFlag.FIN | TcpFlag.PSH) & ~(i === 0 ? 0 : TcpFlag.CWR)
      setU32(bytes, at + ipHeader + Tcp.SEQUENCE, number)
      bytes[at + ipHeader + Tcp.FLAGS] = kept
      sum = addSums(addSums(addSums(sum, number >>> 16), number & 0xffff), kept)
    }
    const checksum = ~sum & 0xffff
    setU16(bytes, at + field, udp ? checksum || 0xffff : checksum)
    sink.packet(at, at + total, i > 0)
    data += length
    if (last) return
  }
}

function isUdp(bytes: Uint8Array, start: number): boolean {
  const v4 = bytes[start]! >>> 4 === 4
  return (
    bytes[start + (v4 ? Ipv4.PROTOCOL : Ipv6.NEXT_HEADER)] === IpProtocol.UDP &&
    (!v4 || ipv4HeaderLength(bytes, start) >= Ipv4.HEADER)
  )
}
