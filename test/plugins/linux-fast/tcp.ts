import {
  addressBytes,
  addToSum,
  buildIp,
  finishChecksum,
  fixIpv4Checksum,
  internetChecksum,
  pseudoHeaderSum,
  setU16,
  setU32,
} from '../../../core/wire/index.ts'
import { Vnet } from '../../../plugins/linux-fast/vnet.ts'

const TCP = 6

export interface Segment {
  readonly v6: boolean
  readonly sequence: number
  readonly flags: number
  readonly options: Uint8Array
  readonly data: Uint8Array
  readonly id: number
}

/** A TCP packet with a right checksum. */
export function tcpPacket({ v6, sequence, flags, options, data, id }: Segment): Uint8Array {
  const [source, destination] = (v6 ? ['2001:db8::1', '2001:db8::2'] : ['10.1.0.1', '10.2.0.1']).map(addressBytes)
  const tcp = new Uint8Array(20 + options.length + data.length)
  setU16(tcp, 0, 5201)
  setU16(tcp, 2, 40_000)
  setU32(tcp, 4, sequence)
  setU32(tcp, 8, 77)
  tcp[12] = (5 + options.length / 4) << 4
  tcp[13] = flags
  setU16(tcp, 14, 502)
  tcp.set(options, 20)
  tcp.set(data, 20 + options.length)
  setU16(tcp, 16, internetChecksum(tcp, 0, tcp.length, pseudoHeaderSum(source!, destination!, TCP, tcp.length)))
  return buildIp({ source: source!, destination: destination!, protocol: TCP, df: true, id, tos: 2, flowLabel: 9 }, tcp)
}

/** IPv4 packets that must not be fragmented need no ID (RFC 6864 §4.1), and lose theirs when they are put together: 0 in all. */
export function withoutIds(packets: readonly Uint8Array[]): Uint8Array[] {
  return packets.map(packet => {
    if (packet[0]! >>> 4 !== 4 || (packet[6]! & 0x40) === 0) return packet
    const copy = packet.slice()
    setU16(copy, 4, 0)
    fixIpv4Checksum(copy, 0)
    return copy
  })
}

/** The large packet as the kernel hands it to a TUN device with offload: lengths of the whole, pseudo header sum only. */
export function large(packet: Uint8Array, v6: boolean, options: number, size: number): Uint8Array {
  const ip = v6 ? 40 : 20
  const out = new Uint8Array(Vnet.OCTETS + packet.length)
  out.set(packet, Vnet.OCTETS)
  const view = new DataView(out.buffer)
  out[Vnet.FLAGS] = 1
  out[Vnet.GSO_TYPE] = v6 ? 4 : 1
  view.setUint16(Vnet.HEADER_LENGTH, ip + 20 + options, true)
  view.setUint16(Vnet.GSO_SIZE, size, true)
  view.setUint16(Vnet.CHECKSUM_START, ip, true)
  view.setUint16(Vnet.CHECKSUM_OFFSET, 16, true)
  const from = Vnet.OCTETS + (v6 ? 8 : 12)
  const pseudo = addToSum(0, out, from, from + (v6 ? 32 : 8)) + TCP + packet.length - ip
  view.setUint16(Vnet.OCTETS + ip + 16, ~finishChecksum(pseudo) & 0xffff)
  return out
}

/** A large packet of the kernel between 10.1.0.1 and 10.2.0.1, and what it is to be cut into. */
export function largeTcp(octets: number, size: number): { packet: Uint8Array; pieces: Uint8Array[] } {
  const whole: Segment = {
    v6: false,
    sequence: 4_294_960_000,
    flags: 0x10,
    options: new Uint8Array(12).fill(1),
    data: new Uint8Array(octets).map((_, i) => i * 31),
    id: 65_530,
  }
  const pieces = Array.from({ length: Math.ceil(octets / size) }, (_, i) =>
    tcpPacket({
      ...whole,
      data: whole.data.subarray(i * size, (i + 1) * size),
      id: (whole.id + i) & 0xffff,
      sequence: (whole.sequence + i * size) >>> 0,
    }),
  )
  return { packet: large(tcpPacket(whole), false, 12, size), pieces }
}
