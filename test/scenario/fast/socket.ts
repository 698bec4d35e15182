import { IpProtocol } from '../../../core/wire/index.ts'
import { Sys } from '../../../plugins/linux-fast/libc.ts'
import { parseIp, showIp } from '../../kit/address.ts'
import type { Host, SeededRng } from '../../kit/index.ts'
import { destinationKey, isIpv6, newIp, payloadAt, sealChecksums, sourceAt } from '../../kit/packet.ts'

interface Endpoint {
  readonly address: string
  readonly port: number
}

export interface Datagram {
  readonly from: Endpoint
  readonly tos: number
  readonly ttl: number
  /** Of one size, the last perhaps shorter: as many as the kernel has put together. */
  readonly parts: readonly Uint8Array[]
}

/** Of the IP header. */
export interface Fields {
  readonly tos: number
  readonly ttl: number
}

/** What all kernels with UDP_SEGMENT cut and put together at most. */
const MAX_SEGMENTS = 64
const MAX_OCTETS = 65_507
/** IP_MTU_DISCOVER's value that refuses what is too big. */
const DO = 2
const EINVAL = Sys.EINVAL
const ENETUNREACH = 101

/** A socket of the virtual kernel, of UDP or a raw one, bound to one address of its host. */
export class Socket {
  /** IP protocol. */
  readonly protocol: number
  local: Endpoint = { address: '', port: 0 }
  /** Options, by level and name. */
  readonly options = new Map<string, number>()
  /** MTUs of paths that datagrams were too big for, while the socket asks for them. */
  readonly errors: number[] = []
  readonly v6: boolean
  readonly #host: Host
  readonly #rng: SeededRng
  #waiting: (Omit<Datagram, 'parts'> & { readonly bytes: Uint8Array })[] = []
  #octets = 0

  constructor(host: Host, rng: SeededRng, v6: boolean, protocol: number) {
    this.#host = host
    this.#rng = rng
    this.v6 = v6
    this.protocol = protocol
  }

  get raw(): boolean {
    return this.protocol !== IpProtocol.UDP
  }

  get readable(): boolean {
    return this.#waiting.length > 0
  }

  option(level: number, name: number): number {
    return this.options.get(`${level} ${name}`) ?? 0
  }

  /** @param packet - a checked IP packet. @returns false when there is no room */
  take(packet: Uint8Array): boolean {
    const at = payloadAt(packet)
    const view = new DataView(packet.buffer, packet.byteOffset, packet.length)
    const v6 = isIpv6(packet)
    // raw sockets of IPv4 give the header too
    const bytes = this.raw ? packet.slice(v6 ? at : 0) : packet.slice(at + 8, at + view.getUint16(at + 4))
    const room = this.option(Sys.SOL_SOCKET, Sys.SO_RCVBUFFORCE) || this.option(Sys.SOL_SOCKET, Sys.SO_RCVBUF)
    if (this.#octets + bytes.length > room) return false
    this.#octets += bytes.length
    this.#waiting.push({
      from: { address: showIp(packet, sourceAt(packet), v6), port: this.raw ? 0 : view.getUint16(at) },
      tos: v6 ? ((packet[0]! << 4) | (packet[1]! >> 4)) & 0xff : packet[1]!,
      ttl: packet[v6 ? 7 : 8]!,
      bytes,
    })
    return true
  }

  /** The next datagram, with those behind it that the kernel has put into one with it: sometimes more, sometimes fewer. */
  receive(): Datagram | undefined {
    const first = this.#waiting.shift()
    if (first === undefined) return undefined
    const { from, tos, ttl, bytes } = first
    const parts = [bytes]
    let octets = bytes.length
    while (!this.raw && this.option(Sys.SOL_UDP, Sys.UDP_GRO) !== 0) {
      const next = this.#waiting[0]
      if (next === undefined || next.from.address !== from.address || next.from.port !== from.port) break
      const { length } = next.bytes
      const full = parts.length === MAX_SEGMENTS || octets + length > MAX_OCTETS
      if (full || next.tos !== tos || parts.at(-1)!.length < bytes.length || length > bytes.length || length === 0)
        break
      if (this.#rng.chance(0.1)) break
      this.#waiting.shift()
      parts.push(next.bytes)
      octets += length
    }
    this.#octets -= octets
    return { from, tos, ttl, parts }
  }

  /**
   * Sends, cut into segments where `segment` is not 0.
   * @returns 0, or the number of the error
   */
  send(data: Uint8Array, to: Endpoint, fields: Fields, segment = 0): number {
    if (!this.#host.addresses.some(({ text }) => text === this.local.address)) return EINVAL
    const destination = parseIp(to.address)
    if (this.#host.routeTo(destination.key, true) === undefined) return ENETUNREACH
    const headers = (this.v6 ? 40 : 20) + (this.raw ? 0 : 8)
    const mtu = this.#host.mtuTo(destination.key, true)
    const discover = this.v6
      ? this.option(Sys.SOL_IPV6, Sys.IPV6_MTU_DISCOVER)
      : this.option(Sys.SOL_IP, Sys.IP_MTU_DISCOVER)
    const cut = segment > 0 && data.length > segment
    if (cut && (headers + segment > mtu || data.length > segment * MAX_SEGMENTS)) return EINVAL
    if (!cut && discover === DO && headers + data.length > mtu) {
      if ((this.v6 ? this.option(Sys.SOL_IPV6, Sys.IPV6_RECVERR) : this.option(Sys.SOL_IP, Sys.IP_RECVERR)) !== 0)
        this.errors.push(mtu)
      return Sys.EMSGSIZE
    }
    for (let at = 0; at < data.length || at === 0; at += cut ? segment : Math.max(1, data.length))
      this.#transmit(
        data.subarray(at, cut ? at + segment : data.length),
        to,
        destination.bytes,
        fields,
        cut || headers + data.length <= mtu,
      )
    return 0
  }

  #transmit(data: Uint8Array, to: Endpoint, destination: Uint8Array, { tos, ttl }: Fields, df: boolean): void {
    const source = parseIp(this.local.address).bytes
    const id = df ? 0 : this.#host.nextId()
    const front = this.raw ? 0 : 8
    const packet = newIp({ source, destination, protocol: this.protocol, tos, ttl, df, id }, data.length + front)
    const at = payloadAt(packet)
    packet.set(data, at + front)
    if (!this.raw) {
      const view = new DataView(packet.buffer)
      view.setUint16(at, this.local.port)
      view.setUint16(at + 2, to.port)
      view.setUint16(at + 4, data.length + 8)
    }
    sealChecksums(packet)
    this.#host.output(packet, true)
  }
}

/** Whether a packet is to this address. */
export const isTo = (packet: Uint8Array, address: string): boolean => destinationKey(packet) === parseIp(address).key
