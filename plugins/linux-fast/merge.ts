import { DONT_FRAGMENT, getU16, getU32, IpProtocol, Ipv4, Ipv6, setU16, Udp } from '../../core/wire/index.ts'
import { type Arena, addSums } from './arena.ts'
import { Gso, NEEDS_CHECKSUM, Tcp, TcpFlag, Vnet } from './vnet.ts'

/** Packets in one write, and octets: IP's own limit. */
const MAX_PACKETS = 64
const MAX_OCTETS = 65_535

/** Takes a virtio header and parts of the arena that follow each other: together one packet. */
export interface MergeSink {
  write(headerAt: number, parts: Uint32Array, count: number): void
}

/**
 * Puts packets of one flow that follow each other together again, as the kernel's own GRO would have: one write instead of
 * many, and one walk through the stack. TCP leaves it to the receiver how segments arrive (RFC 9293); of UDP the kernel
 * makes the datagrams again for whoever has not asked for them together. Only what segmentation would make of the whole is
 * put together: same headers, right checksums, full packets up to the last.
 */
export class Merge {
  /** Whether datagrams of UDP are put together: the kernel has to know how to cut them, which Linux 6.2 and newer do. */
  udp = false
  readonly #arena: Arena
  readonly #sink: MergeSink
  readonly #header: number
  /** Offset and length of each part. */
  readonly #parts = new Uint32Array(2 * MAX_PACKETS)
  #count = 0
  /** Of the first packet. */
  #start = 0
  #protocol = 0
  #ipHeader = 0
  #headers = 0
  #size = 0
  #total = 0
  /** Of TCP. */
  #nextSequence = 0
  #nextId = 0
  /** Whether the first packet's checksum was looked at, and is right. */
  #sound = false
  #closed = false

  constructor(arena: Arena, sink: MergeSink) {
    this.#arena = arena
    this.#sink = sink
    this.#header = arena.take(Vnet.OCTETS)
  }

  /** @param start - of a well-formed IP packet in the arena, whose octets stay until `flush` */
  add(start: number, end: number): void {
    const { bytes } = this.#arena
    const ipHeader = ipHeaderOf(bytes, start)
    const protocol = ipHeader === 0 ? 0 : protocolOf(bytes, start)
    const upper = start + ipHeader
    const headers =
      protocol === IpProtocol.TCP
        ? ipHeader + tcpHeader(bytes, upper, end)
        : protocol === IpProtocol.UDP && this.udp
          ? ipHeader + udpHeader(bytes, upper, end)
          : ipHeader
    if (headers === ipHeader) return this.#alone(start, end)
    const data = end - start - headers
    const pushed = protocol === IpProtocol.TCP && (bytes[upper + Tcp.FLAGS]! & TcpFlag.PSH) !== 0
    if (this.#count > 0 && this.#follows(start, end, protocol, ipHeader, headers)) {
      this.#parts[2 * this.#count] = start + headers
      this.#parts[2 * this.#count + 1] = data
      this.#count++
      this.#total += data
      this.#nextSequence = (this.#nextSequence + data) >>> 0
      this.#nextId = (this.#nextId + 1) & 0xffff
      if (pushed) bytes[this.#start + ipHeader + Tcp.FLAGS]! |= TcpFlag.PSH
      if (data < this.#size || pushed) this.#closed = true
      return
    }
    this.flush()
    this.#count = 1
    this.#parts[0] = start
    this.#parts[1] = this.#total = end - start
    this.#start = start
    this.#protocol = protocol
    this.#ipHeader = ipHeader
    this.#headers = headers
    this.#size = data
    this.#nextSequence = (getU32(bytes, upper + Tcp.SEQUENCE) + data) >>> 0
    this.#nextId = (getU16(bytes, start + Ipv4.ID) + 1) & 0xffff
    this.#sound = false
    this.#closed = pushed
  }

  flush(): void {
    const count = this.#count
    if (count === 0) return
    this.#count = 0
    const { bytes, view } = this.#arena
    const header = this.#header
    for (let i = 0; i < Vnet.OCTETS; i++) bytes[header + i] = 0
    if (count > 1) {
      const start = this.#start
      const ipHeader = this.#ipHeader
      const v4 = ipHeader === Ipv4.HEADER
      const tcp = this.#protocol === IpProtocol.TCP
      const checksum = tcp ? Tcp.CHECKSUM : Udp.CHECKSUM
      bytes[header + Vnet.FLAGS] = NEEDS_CHECKSUM
      bytes[header + Vnet.GSO_TYPE] = tcp ? (v4 ? Gso.TCP4 : Gso.TCP6) : Gso.UDP
      view.setUint16(header + Vnet.HEADER_LENGTH, this.#headers, true)
      view.setUint16(header + Vnet.GSO_SIZE, this.#size, true)
      view.setUint16(header + Vnet.CHECKSUM_START, ipHeader, true)
      view.setUint16(header + Vnet.CHECKSUM_OFFSET, checksum, true)
      const upper = this.#total - ipHeader
      if (v4) {
        setU16(bytes, start + Ipv4.TOTAL_LENGTH, this.#total)
        setU16(bytes, start + Ipv4.CHECKSUM, 0)
        setU16(bytes, start + Ipv4.CHECKSUM, ~this.#arena.sum(start, start + ipHeader) & 0xffff)
      } else setU16(bytes, start + Ipv6.PAYLOAD_LENGTH, upper)
      if (!tcp) setU16(bytes, start + ipHeader + Udp.LENGTH, upper)
      setU16(bytes, start + ipHeader + checksum, this.#pseudo(start, upper))
    }
    this.#sink.write(header, this.#parts, count)
  }

  /** A packet that nothing can be put behind or before. */
  #alone(start: number, end: number): void {
    this.flush()
    this.#count = 1
    this.#parts[0] = start
    this.#parts[1] = end - start
    this.flush()
  }

  #follows(start: number, end: number, protocol: number, ipHeader: number, headers: number): boolean {
    const { bytes } = this.#arena
    const first = this.#start
    const data = end - start - headers
    if (
      this.#closed ||
      protocol !== this.#protocol ||
      ipHeader !== this.#ipHeader ||
      headers !== this.#headers ||
      data > this.#size ||
      this.#count === MAX_PACKETS ||
      this.#total + data > MAX_OCTETS
    )
      return false
    if (ipHeader === Ipv4.HEADER) {
      // TOS; the ID goes up by one as it will again when the kernel cuts the whole; flags to destination
      if (bytes[first + Ipv4.TOS]! !== bytes[start + Ipv4.TOS]!) return false
      const df = (getU16(bytes, start + Ipv4.FRAGMENT) & DONT_FRAGMENT) !== 0
      if (!df && getU16(bytes, start + Ipv4.ID) !== this.#nextId) return false
      if (
        !alike(bytes, first, start, Ipv4.FRAGMENT, Ipv4.CHECKSUM) ||
        !alike(bytes, first, start, Ipv4.SOURCE, Ipv4.HEADER)
      )
        return false
    } else if (
      !alike(bytes, first, start, 0, Ipv6.PAYLOAD_LENGTH) ||
      !alike(bytes, first, start, Ipv6.NEXT_HEADER, Ipv6.HEADER)
    )
      return false
    // ports
    if (!alike(bytes, first, start, ipHeader, ipHeader + 4)) return false
    if (
      protocol === IpProtocol.TCP &&
      // acknowledgement and data offset; window; urgent pointer and options
      (getU32(bytes, start + ipHeader + Tcp.SEQUENCE) !== this.#nextSequence ||
        !alike(bytes, first, start, ipHeader + 8, ipHeader + Tcp.FLAGS) ||
        !alike(bytes, first, start, ipHeader + 14, ipHeader + Tcp.CHECKSUM) ||
        !alike(bytes, first, start, ipHeader + 18, headers))
    )
      return false
    if (!this.#sound) {
      this.#sound = this.#checksumRight(first, first + this.#parts[1]!, ipHeader)
      if (!this.#sound) {
        this.#closed = true
        return false
      }
    }
    return this.#checksumRight(start, end, ipHeader)
  }

  /** A wrong one must stay wrong: the kernel would be told that it is right. */
  #checksumRight(start: number, end: number, ipHeader: number): boolean {
    if (ipHeader === Ipv4.HEADER && this.#arena.sum(start, start + ipHeader) !== 0xffff) return false
    const sum = this.#arena.sum(start + ipHeader, end)
    return addSums(this.#pseudo(start, end - start - ipHeader), sum) === 0xffff
  }

  /** The pseudo header's sum, for `upper` octets behind the IP header. */
  #pseudo(start: number, upper: number): number {
    const v4 = this.#arena.bytes[start]! >>> 4 === 4
    const addresses = v4
      ? this.#arena.sum(start + Ipv4.SOURCE, start + Ipv4.HEADER)
      : this.#arena.sum(start + Ipv6.SOURCE, start + Ipv6.HEADER)
    return addSums(addSums(addresses, protocolOf(this.#arena.bytes, start)), upper)
  }
}

/** Octets of the IP header of a whole packet without options or extension headers; 0 for any other. */
function ipHeaderOf(bytes: Uint8Array, start: number): number {
  const first = bytes[start]!
  if (first === 0x45) return (getU16(bytes, start + Ipv4.FRAGMENT) & ~DONT_FRAGMENT) === 0 ? Ipv4.HEADER : 0
  return first >>> 4 === 6 ? Ipv6.HEADER : 0
}

const protocolOf = (bytes: Uint8Array, start: number): number =>
  bytes[start + (bytes[start] === 0x45 ? Ipv4.PROTOCOL : Ipv6.NEXT_HEADER)]!

/** Octets of a TCP header in front of data that go on with the connection and nothing else; 0 for any other. */
function tcpHeader(bytes: Uint8Array, at: number, end: number): number {
  if (at + Tcp.HEADER > end || (bytes[at + Tcp.FLAGS]! & ~TcpFlag.PSH) !== TcpFlag.ACK) return 0
  const header = (bytes[at + Tcp.DATA_OFFSET]! >>> 4) * 4
  return header >= Tcp.HEADER && at + header < end ? header : 0
}

/** Octets of a UDP header with a checksum in front of data; 0 for any other. */
function udpHeader(bytes: Uint8Array, at: number, end: number): number {
  if (at + Udp.HEADER >= end || getU16(bytes, at + Udp.LENGTH) !== end - at) return 0
  return getU16(bytes, at + Udp.CHECKSUM) === 0 ? 0 : Udp.HEADER
}

function alike(bytes: Uint8Array, a: number, b: number, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[a + i] !== bytes[b + i]) return false
  return true
}
