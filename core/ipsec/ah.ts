import type { Mac, PacketCrypto } from '../contracts/crypto.ts'
import type { EspKeys, EspSuite } from '../contracts/data-plane.ts'
import type { Drop } from '../contracts/drop.ts'
import type { Flow } from '../contracts/net.ts'
import { MAX_PACKET, type Packet } from '../contracts/packet.ts'
import { UsageError } from '../errors.ts'
import { Ah, addressBytes, ahLength, IpProtocol, Ipv4, Ipv6, setU16, setU32 } from '../wire/index.ts'
import { equalAt } from './equal.ts'
import { zeroMutable } from './mutable.ts'
import { icvLength, refusesSuite } from './transforms.ts'

/**
 * AH packets of one SA, RFC 4302, in the caller's buffer. The ICV covers the outer IP header, which transports write: what
 * they will write, or have read, is put in front of the AH header as it counts for the ICV, mutable fields as zero.
 */

const HALF = 0x1_0000_0000

/** What both directions share. */
class Integrity {
  readonly mac: Mac
  readonly icv: number
  readonly esn: boolean
  /** The ESN octets that the MAC covers behind the packet, RFC 4302 §3.3.3.2.2. */
  readonly high = new Uint8Array(4)
  #flow: Flow | undefined
  #local: Uint8Array = this.high
  #remote: Uint8Array = this.high

  constructor(crypto: PacketCrypto, suite: EspSuite, keys: EspKeys) {
    const refusal = refusesSuite(crypto, suite, keys)
    if (refusal !== undefined) throw new UsageError('USAGE_UNSUPPORTED_TRANSFORM', refusal)
    this.mac = crypto.mac(suite.integ!, keys.integ)
    this.icv = icvLength(suite)!
    this.esn = suite.esn
  }

  /** Octets of the outer header for this flow. */
  outer(flow: Flow): number {
    if (flow !== this.#flow) {
      this.#flow = flow
      this.#local = addressBytes(flow.local.address)
      this.#remote = addressBytes(flow.remote.address)
    }
    return this.#local.length === 4 ? Ipv4.HEADER : Ipv6.HEADER
  }

  /** Writes the outer header as the ICV covers it, without options, in front of `ahAt`. */
  writeOuter(packet: Packet, ahAt: number, end: number, sending: boolean): void {
    const { bytes } = packet
    const [source, destination] = sending ? [this.#local, this.#remote] : [this.#remote, this.#local]
    const v4 = source.length === 4
    const at = ahAt - (v4 ? Ipv4.HEADER : Ipv6.HEADER)
    bytes.fill(0, at, ahAt)
    if (v4) {
      bytes[at] = 0x45
      setU16(bytes, at + Ipv4.TOTAL_LENGTH, end - at)
      setU16(bytes, at + Ipv4.ID, packet.id)
      bytes[at + Ipv4.PROTOCOL] = IpProtocol.AH
    } else {
      bytes[at] = 0x60
      setU16(bytes, at + Ipv6.PAYLOAD_LENGTH, end - ahAt)
      bytes[at + Ipv6.NEXT_HEADER] = IpProtocol.AH
    }
    bytes.set(source, at + (v4 ? Ipv4.SOURCE : Ipv6.SOURCE))
    bytes.set(destination, at + (v4 ? Ipv4.DESTINATION : Ipv6.DESTINATION))
  }

  /** @param out - where the ICV goes; zero meanwhile where it lies in the packet */
  sign(bytes: Uint8Array, from: number, end: number, sequence: number, out: Uint8Array): void {
    setU32(this.high, 0, (sequence - (sequence % HALF)) / HALF)
    this.mac.sign(bytes.subarray(from, end), this.esn ? this.high : undefined, out)
  }
}

/** Octets of an AH header. IPv6 wants a multiple of 8, IPv4 of 4, where Linux makes 8 unless told (`align4`). */
export const ahHeaderLength = (icv: number, align: 4 | 8): number => Math.ceil((Ah.HEADER + icv) / align) * align

/** Outbound half of a Child SA. Counts its sequence numbers itself, from 1. */
export class AhSealer {
  readonly #integrity: Integrity
  readonly #spi: number
  readonly #align: 4 | 8
  readonly #last: number
  #next: number

  /**
   * @param align - to which multiple of octets the header is padded over IPv4
   * @param first - number of the first packet; anything but 1 is for known answers
   * @throws UsageError USAGE_UNSUPPORTED_TRANSFORM
   */
  constructor(crypto: PacketCrypto, suite: EspSuite, keys: EspKeys, align: 4 | 8 = 4, first = 1) {
    this.#integrity = new Integrity(crypto, suite, keys)
    this.#spi = keys.spi
    this.#align = align
    this.#last = suite.esn ? Number.MAX_SAFE_INTEGER : HALF - 1
    this.#next = first
  }

  /**
   * Payload → AH packet, in place. `nextHeader`, `id` and the flow's addresses are covered, so that whoever sends it must
   * not change them; an `id` of 0, which systems fill in as they like, becomes another. A failure uses up no sequence
   * number.
   */
  seal(packet: Packet, flow: Flow): Drop | undefined {
    const outer = this.#integrity.outer(flow)
    if (outer === Ipv4.HEADER && packet.id === 0) packet.id = 1 + (this.#next % 0xffff)
    const align = outer === Ipv4.HEADER ? this.#align : 8
    const length = ahHeaderLength(this.#integrity.icv, align)
    const refusal = this.#write(packet, length, outer)
    if (refusal !== undefined) return refusal
    const at = packet.start - length
    this.#integrity.writeOuter(packet, at, packet.end, true)
    this.#sign(packet, at, at - outer)
    return undefined
  }

  /**
   * As `seal`, under this outer header with options or extension headers, and with this padding: for known answers.
   *
   * @param header - all that stands before AH; lengths final
   */
  sealUnder(packet: Packet, header: Uint8Array, padding: Uint8Array): Drop | undefined {
    const length = Ah.HEADER + this.#integrity.icv + padding.length
    const refusal = this.#write(packet, length, header.length)
    if (refusal !== undefined) return refusal
    const at = packet.start - length
    packet.bytes.set(padding, packet.start - padding.length)
    packet.bytes.set(header, at - header.length)
    if (!zeroMutable(packet.bytes, at - header.length, at)) return 'not-encodable'
    this.#sign(packet, at, at - header.length)
    return undefined
  }

  destroy(): void {
    this.#integrity.mac.destroy()
  }

  #write({ bytes, start, end, nextHeader }: Packet, length: number, outer: number): Drop | undefined {
    const at = start - length
    if (this.#next > this.#last) return 'sequence-exhausted'
    if (at - outer < 0 || end - at + outer > MAX_PACKET) return 'too-big'
    bytes.fill(0, at, start)
    bytes[at + Ah.NEXT_HEADER] = nextHeader
    bytes[at + Ah.LENGTH] = length / 4 - 2
    setU32(bytes, at + Ah.SPI, this.#spi)
    setU32(bytes, at + Ah.SEQUENCE, this.#next % HALF)
    return undefined
  }

  #sign(packet: Packet, at: number, from: number): void {
    const { bytes, end } = packet
    const icvAt = at + Ah.ICV
    this.#integrity.sign(bytes, from, end, this.#next, bytes.subarray(icvAt, icvAt + this.#integrity.icv))
    this.#next++
    packet.start = at
  }
}

/** Inbound half of a Child SA, without the replay window: its caller checks before and commits after `open`. */
export class AhOpener {
  readonly #integrity: Integrity
  readonly #icv: Uint8Array
  readonly #received: Uint8Array

  /** @throws UsageError USAGE_UNSUPPORTED_TRANSFORM */
  constructor(crypto: PacketCrypto, suite: EspSuite, keys: EspKeys) {
    this.#integrity = new Integrity(crypto, suite, keys)
    this.#icv = new Uint8Array(this.#integrity.icv)
    this.#received = new Uint8Array(this.#integrity.icv)
  }

  /**
   * Verifies an AH packet in place; afterwards the packet is what AH protected, and `nextHeader` says what that is. The
   * octets in front of `start` are overwritten.
   *
   * @param packet - from the AH header on, at least 40 octets free before; `outer` of it where the transport has handed over
   *   the header it came under, else that header had no options and `id` and `flow` tell what was in it
   * @param sequence - the whole number, as the replay window inferred it
   */
  open(packet: Packet, sequence: number, flow: Flow): Drop | undefined {
    const { bytes, start, end } = packet
    const { icv } = this.#integrity
    const outer = this.#integrity.outer(flow)
    if (end - start < Ah.HEADER + icv) return 'malformed'
    const length = ahLength(bytes, start)
    // padding is covered, so its octets may be any; both alignments are met over IPv4
    const fits = length === ahHeaderLength(icv, 8) || (outer === Ipv4.HEADER && length === ahHeaderLength(icv, 4))
    if (!fits || start + length > end || start < outer) return 'malformed'

    const icvAt = start + Ah.ICV
    this.#received.set(bytes.subarray(icvAt, icvAt + icv))
    bytes.fill(0, icvAt, icvAt + icv)
    const from = start - (packet.outer ?? outer)
    if (packet.outer === undefined) this.#integrity.writeOuter(packet, start, end, false)
    else if (from < 0 || !zeroMutable(bytes, from, start)) return 'malformed'
    this.#integrity.sign(bytes, from, end, sequence, this.#icv)
    if (!equalAt(this.#icv, this.#received, 0)) return 'integrity'
    packet.nextHeader = bytes[start + Ah.NEXT_HEADER]!
    packet.start = start + length
    return undefined
  }

  destroy(): void {
    this.#integrity.mac.destroy()
    this.#icv.fill(0)
  }
}
