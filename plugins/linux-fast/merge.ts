import { DONT_FRAGMENT, getU16, getU32, IpProtocol, Ipv4, Ipv6, setU16 } from '../../core/wire/index.ts'
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
 * Puts TCP packets of one connection that follow each other together again, as the kernel's own GRO would have (RFC 9293
 * leaves it to the receiver how segments arrive): one write instead of many, and one walk through the stack. Only what
 * segmentation would make of the whole is put together: same headers, right checksums, full packets up to the last.
 */
export class Merge {
  readonly #arena: Arena
  readonly #sink: MergeSink
  readonly #header: number
  /** Offset and length of each part. */
  readonly #parts = new Uint32Array(2 * MAX_PACKETS)
  #count = 0
  /** Of the first packet. */
  #start = 0
  #ipHeader = 0
  #headers = 0
  #size = 0
  #total = 0
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
    const ipHeader = headerOfTcp(bytes, start, end)
    if (ipHeader === 0) return this.#alone(start, end)
    const tcp = start + ipHeader
    const headers = ipHeader + (bytes[tcp + Tcp.DATA_OFFSET]! >>> 4) * 4
    const data = end - start - headers
    const flags = bytes[tcp + Tcp.FLAGS]!
    if (data <= 0 || (flags & ~TcpFlag.PSH) !== TcpFlag.ACK) return this.#alone(start, end)
    if (this.#count > 0 && this.#follows(start, end, ipHeader, headers, data)) {
      this.#parts[2 * this.#count] = start + headers
      this.#parts[2 * this.#count + 1] = data
      this.#count++
      this.#total += data
      this.#nextSequence = (this.#nextSequence + data) >>> 0
      this.#nextId = (this.#nextId + 1) & 0xffff
      if ((flags & TcpFlag.PSH) !== 0) bytes[this.#start + ipHeader + Tcp.FLAGS]! |= TcpFlag.PSH
      if (data < this.#size || (flags & TcpFlag.PSH) !== 0) this.#closed = true
      return
    }
    this.flush()
    this.#count = 1
    this.#parts[0] = start
    this.#parts[1] = this.#total = end - start
    this.#start = start
    this.#ipHeader = ipHeader
    this.#headers = headers
    this.#size = data
    this.#nextSequence = (getU32(bytes, tcp + Tcp.SEQUENCE) + data) >>> 0
    this.#nextId = (getU16(bytes, start + Ipv4.ID) + 1) & 0xffff
    this.#sound = false
    this.#closed = (flags & TcpFlag.PSH) !== 0
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
      const v4 = bytes[start]! >>> 4 === 4
      bytes[header + Vnet.FLAGS] = NEEDS_CHECKSUM
      bytes[header + Vnet.GSO_TYPE] = v4 ? Gso.TCP4 : Gso.TCP6
      view.setUint16(header + Vnet.HEADER_LENGTH, this.#headers, true)
      view.setUint16(header + Vnet.GSO_SIZE, this.#size, true)
      view.setUint16(header + Vnet.CHECKSUM_START, ipHeader, true)
      view.setUint16(header + Vnet.CHECKSUM_OFFSET, Tcp.CHECKSUM, true)
      const upper = this.#total - ipHeader
      if (v4) {
        setU16(bytes, start + Ipv4.TOTAL_LENGTH, this.#total)
        setU16(bytes, start + Ipv4.CHECKSUM, 0)
        setU16(bytes, start + Ipv4.CHECKSUM, ~this.#arena.sum(start, start + ipHeader) & 0xffff)
      } else setU16(bytes, start + Ipv6.PAYLOAD_LENGTH, upper)
      setU16(bytes, start + ipHeader + Tcp.CHECKSUM, this.#pseudo(start, upper))
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

  #follows(start: number, end: number, ipHeader: number, headers: number, data: number): boolean {
    const { bytes } = this.#arena
    const first = this.#start
    if (
      this.#closed ||
      ipHeader !== this.#ipHeader ||
      headers !== this.#headers ||
      data > this.#size ||
      this.#count === MAX_PACKETS ||
      this.#total + data > MAX_OCTETS ||
      getU32(bytes, start + ipHeader + Tcp.SEQUENCE) !== this.#nextSequence
    )
      return false
    const v4 = bytes[start]! >>> 4 === 4
    // IPv4: TOS; the ID goes up by one as it will again when the kernel cuts the whole; flags to destination
    if (v4) {
      if (bytes[first]! !== bytes[start]! || bytes[first + 1]! !== bytes[start + 1]!) return false
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
    // TCP: ports; acknowledgement and data offset; window; urgent pointer and options
    if (
      !alike(bytes, first, start, ipHeader, ipHeader + Tcp.SEQUENCE) ||
      !alike(bytes, first, start, ipHeader + 8, ipHeader + Tcp.FLAGS) ||
      !alike(bytes, first, start, ipHeader + 14, ipHeader + Tcp.CHECKSUM) ||
      !alike(bytes, first, start, ipHeader + 18, headers)
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

  #pseudo(start: number, upper: number): number {
    const v4 = this.#arena.bytes[start]! >>> 4 === 4
    const addresses = v4
      ? this.#arena.sum(start + Ipv4.SOURCE, start + Ipv4.HEADER)
      : this.#arena.sum(start + Ipv6.SOURCE, start + Ipv6.HEADER)
    return addSums(addSums(addresses, IpProtocol.TCP), upper)
  }
}

/** Octets of the IP header in front of a TCP header; 0 where the packet is no whole TCP packet without IP options. */
function headerOfTcp(bytes: Uint8Array, start: number, end: number): number {
  const first = bytes[start]!
  let header = 0
  if (first === 0x45) {
    if (
      bytes[start + Ipv4.PROTOCOL] !== IpProtocol.TCP ||
      (getU16(bytes, start + Ipv4.FRAGMENT) & ~DONT_FRAGMENT) !== 0
    )
      return 0
    header = Ipv4.HEADER
  } else if (first >>> 4 === 6 && bytes[start + Ipv6.NEXT_HEADER] === IpProtocol.TCP) header = Ipv6.HEADER
  else return 0
  if (start + header + Tcp.HEADER > end) return 0
  const tcpHeader = (bytes[start + header + Tcp.DATA_OFFSET]! >>> 4) * 4
  return tcpHeader >= Tcp.HEADER && start + header + tcpHeader <= end ? header : 0
}

function alike(bytes: Uint8Array, a: number, b: number, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[a + i] !== bytes[b + i]) return false
  return true
}
