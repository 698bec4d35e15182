import { Gso, NEEDS_CHECKSUM, Vnet } from '../../../plugins/linux-fast/vnet.ts'
import {
  addressLength,
  checksumsValid,
  isFragment,
  isIpv6,
  protocolOf,
  sealChecksums,
  sourceAt,
} from '../../kit/packet.ts'

/**
 * What Linux does with packets of a TUN device that was opened with IFF_VNET_HDR and offloads: large TCP packets and
 * unfinished checksums on the way out of its stack, large packets cut on the way in. Written by Linux's documentation,
 * without the code under test.
 */

const TCP = 6
const UDP = 17
const [ACK, PSH, FIN] = [0x10, 0x08, 0x01]
const MAX_OCTETS = 65_535

const viewOf = (p: Uint8Array): DataView => new DataView(p.buffer, p.byteOffset, p.length)

interface Parts {
  readonly v6: boolean
  /** Where the transport header and the data begin. */
  readonly upper: number
  readonly data: number
  readonly checksum: number
}

/** Of TCP and UDP without IP options and fragments; undefined for all else. */
function partsOf(p: Uint8Array): Parts | undefined {
  const v6 = isIpv6(p)
  const protocol = protocolOf(p)
  const upper = v6 ? 40 : 20
  if ((!v6 && p[0] !== 0x45) || (v6 && p[6] !== protocol) || isFragment(p)) return undefined
  if (protocol === UDP) return { v6, upper, data: upper + 8, checksum: upper + 6 }
  if (protocol === TCP && p.length >= upper + 20)
    return { v6, upper, data: upper + (p[upper + 12]! >> 4) * 4, checksum: upper + 16 }
  return undefined
}

/** The pseudo header's sum, folded and not inverted. */
function pseudoSum(p: Uint8Array, upper: number): number {
  const view = viewOf(p)
  let sum = protocolOf(p) + (p.length - upper)
  for (let at = sourceAt(p); at < sourceAt(p) + 2 * addressLength(p); at += 2) sum += view.getUint16(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return sum
}

function setLengths(p: Uint8Array, { v6, upper }: Parts): void {
  if (v6) viewOf(p).setUint16(4, p.length - 40)
  else viewOf(p).setUint16(2, p.length)
  if (protocolOf(p) === UDP) viewOf(p).setUint16(upper + 4, p.length - upper)
}

function withHeader(p: Uint8Array, fields: (header: DataView) => void = () => {}): Uint8Array {
  const out = new Uint8Array(Vnet.OCTETS + p.length)
  out.set(p, Vnet.OCTETS)
  fields(new DataView(out.buffer))
  return out
}

/** How many packets from the first on make one large one: a stretch of one TCP connection, nothing lost between. */
export function runLength(packets: readonly Uint8Array[]): number {
  const first = packets[0]!
  const parts = partsOf(first)
  if (parts === undefined || protocolOf(first) !== TCP || !plain(first, parts)) return 1
  const size = first.length - parts.data
  const sequence = viewOf(first).getUint32(parts.upper + 4)
  let total = first.length
  let count = 1
  for (const next of packets.slice(1)) {
    const previous = packets[count - 1]!
    const whole = previous.length - parts.data === size && (previous[parts.upper + 13]! & FIN) === 0
    const follows = sameConnection(first, next, parts) && next.length - parts.data <= size
    total += next.length - parts.data
    if (!whole || !follows || total > MAX_OCTETS) break
    if (viewOf(next).getUint32(parts.upper + 4) !== (sequence + count * size) >>> 0) break
    count++
  }
  return count
}

const plain = (p: Uint8Array, { upper, data }: Parts): boolean =>
  p.length > data && (p[upper + 13]! & ~(PSH | FIN)) === ACK && checksumsValid(p)

function sameConnection(a: Uint8Array, b: Uint8Array, parts: Parts): boolean {
  const theirs = partsOf(b)
  if (theirs?.data !== parts.data || theirs.v6 !== parts.v6 || protocolOf(b) !== TCP || !plain(b, theirs)) return false
  const { upper } = parts
  // addresses and ports; acknowledgment; window
  return [
    [sourceAt(a), upper + 4],
    [upper + 8, upper + 12],
    [upper + 14, upper + 16],
  ].every(([from, to]) => a.subarray(from, to).every((octet, i) => octet === b[from! + i]))
}

/** One large packet, with its header. @param packets - a run */
export function large(packets: readonly Uint8Array[]): Uint8Array {
  const first = packets[0]!
  const parts = partsOf(first)!
  const { v6, upper, data } = parts
  const whole = new Uint8Array(packets.reduce((sum, p) => sum + p.length - data, data))
  whole.set(first.subarray(0, data))
  let at = data
  for (const packet of packets) {
    whole.set(packet.subarray(data), at)
    at += packet.length - data
  }
  whole[upper + 13] = packets.at(-1)![upper + 13]!
  setLengths(whole, parts)
  sealChecksums(whole)
  viewOf(whole).setUint16(parts.checksum, pseudoSum(whole, upper))
  return withHeader(whole, header => {
    header.setUint8(Vnet.FLAGS, NEEDS_CHECKSUM)
    header.setUint8(Vnet.GSO_TYPE, v6 ? Gso.TCP6 : Gso.TCP4)
    header.setUint16(Vnet.HEADER_LENGTH, data, true)
    header.setUint16(Vnet.GSO_SIZE, first.length - data, true)
    header.setUint16(Vnet.CHECKSUM_START, upper, true)
    header.setUint16(Vnet.CHECKSUM_OFFSET, parts.checksum - upper, true)
  })
}

/** One packet, with its header. @param finished - false: the checksum is left to the device, as Linux does with its own */
export function single(packet: Uint8Array, finished: boolean): Uint8Array {
  const parts = partsOf(packet)
  if (finished || parts === undefined || !checksumsValid(packet)) return withHeader(packet)
  const { upper, checksum } = parts
  if (packet[checksum] === 0 && packet[checksum + 1] === 0) return withHeader(packet)
  const open = packet.slice()
  viewOf(open).setUint16(checksum, pseudoSum(open, upper))
  return withHeader(open, header => {
    header.setUint8(Vnet.FLAGS, NEEDS_CHECKSUM)
    header.setUint16(Vnet.CHECKSUM_START, upper, true)
    header.setUint16(Vnet.CHECKSUM_OFFSET, checksum - upper, true)
  })
}

/**
 * The packets that the stack gets.
 * @param written - with its header
 * @returns undefined for what Linux refuses with EINVAL
 */
export function received(written: Uint8Array): Uint8Array[] | undefined {
  if (written.length < Vnet.OCTETS + 20) return undefined
  const header = viewOf(written)
  const packet = written.slice(Vnet.OCTETS)
  const parts = partsOf(packet)
  const type = header.getUint8(Vnet.GSO_TYPE) & ~Gso.ECN
  const open = (header.getUint8(Vnet.FLAGS) & NEEDS_CHECKSUM) !== 0
  if (type === Gso.NONE && !open) return [packet]
  if (parts === undefined) return undefined
  const { v6, upper, data, checksum } = parts
  const tcp = protocolOf(packet) === TCP
  const start = header.getUint16(Vnet.CHECKSUM_START, true)
  if (!open || start !== upper || start + header.getUint16(Vnet.CHECKSUM_OFFSET, true) !== checksum) return undefined
  // Linux goes on from what stands there: a wrong sum would make wrong checksums of right ones
  if (viewOf(packet).getUint16(checksum) !== pseudoSum(packet, upper)) return undefined
  if (type === Gso.NONE) {
    sealChecksums(packet)
    return [packet]
  }
  if (type !== (tcp ? (v6 ? Gso.TCP6 : Gso.TCP4) : Gso.UDP)) return undefined
  const size = header.getUint16(Vnet.GSO_SIZE, true)
  if (size === 0 || header.getUint16(Vnet.HEADER_LENGTH, true) !== data) return undefined
  return cut(packet, parts, size)
}

function cut(packet: Uint8Array, parts: Parts, size: number): Uint8Array[] {
  const { v6, upper, data } = parts
  const tcp = protocolOf(packet) === TCP
  const sequence = tcp ? viewOf(packet).getUint32(upper + 4) : 0
  const pieces: Uint8Array[] = []
  for (let at = data; at < packet.length; at += size) {
    const end = Math.min(at + size, packet.length)
    const piece = new Uint8Array(data + end - at)
    piece.set(packet.subarray(0, data))
    piece.set(packet.subarray(at, end), data)
    if (!v6) viewOf(piece).setUint16(4, (viewOf(packet).getUint16(4) + pieces.length) & 0xffff)
    if (tcp) {
      viewOf(piece).setUint32(upper + 4, (sequence + at - data) >>> 0)
      if (end < packet.length) piece[upper + 13]! &= ~(PSH | FIN)
    }
    setLengths(piece, parts)
    sealChecksums(piece)
    pieces.push(piece)
  }
  return pieces
}
