import { addressBytes, getU16, getU32, IpProtocol, setU16, setU32, Tcp, TcpFlag } from '../../core/wire/index.ts'
import type { VirtualClock } from './clock.ts'
import type { Event } from './event-queue.ts'
import { isIpv6, newIp, payloadAt, sealChecksums } from './packet.ts'

/** Where a flow runs and how its packets get out. */
export interface FlowPath {
  readonly clock: VirtualClock
  readonly local: { readonly address: string; readonly port: number }
  readonly remote: { readonly address: string; readonly port: number }
  output(packet: Uint8Array): void
  /** Largest IP packet to the remote end now. */
  mtu(): number
}

/** What a flow carries. The side that speaks first has its data at once; the other may get it at the end of input. */
export interface FlowData {
  /** Octets to send; undefined while that is not known yet. */
  total(): number | undefined
  read(offset: number, length: number): Uint8Array
  /** In order, each octet once. */
  received(data: Uint8Array): void
  /** The remote end has sent everything. */
  ended(): void
  finished(failure: string | undefined): void
}

const MAX_TIMEOUTS = 12

/**
 * One direction-agnostic TCP connection in the least form that survives loss: fixed window, cumulative acknowledgments,
 * retransmission by timer and after three duplicates (RFC 6298, RFC 6582). Test equipment: no congestion control.
 */
export class TcpFlow {
  retransmissions = 0
  readonly #path: FlowPath
  readonly #data: FlowData
  readonly #window: number
  readonly #initial: number
  readonly #source: Uint8Array
  readonly #destination: Uint8Array
  /** Relative sequence numbers: 0 is the SYN, 1 the first octet of data. */
  #acked = 0
  #next = 0
  #expected = 0
  #peerInitial = 0
  #peerMss = 536
  readonly #early = new Map<number, { readonly data: Uint8Array; readonly fin: boolean }>()
  #duplicates = 0
  #recoverTo = -1
  #timer: Event | undefined
  #rto = 1000
  #srtt = 0
  #rttvar = 0
  #timed: { readonly end: number; readonly at: number } | undefined
  #timeouts = 0
  #ended = false
  #finished = false

  constructor(path: FlowPath, data: FlowData, initial: number, windowSegments: number) {
    this.#path = path
    this.#data = data
    this.#initial = initial
    this.#window = windowSegments
    this.#source = addressBytes(path.local.address)
    this.#destination = addressBytes(path.remote.address)
  }

  connect(): void {
    this.#pump()
  }

  /** The path MTU shrank: what was too big is lost, so send it again at once. */
  pathChanged(): void {
    if (this.#acked < this.#next && !this.#finished) this.#retransmit()
  }

  /** @param packet - a checked TCP packet of this flow */
  receive(packet: Uint8Array): void {
    const at = payloadAt(packet)
    const flags = packet[at + Tcp.FLAGS]!
    if (flags & TcpFlag.RST) {
      this.#finish('reset')
      return
    }
    if (flags & TcpFlag.SYN && this.#expected === 0) {
      this.#peerInitial = getU32(packet, at + Tcp.SEQUENCE)
      this.#peerMss = mssOption(packet, at)
      this.#expected = 1
    }
    if (this.#expected === 0) return
    if (flags & TcpFlag.ACK)
      this.#acknowledged((getU32(packet, at + Tcp.ACKNOWLEDGMENT) - this.#initial) >>> 0, packet, at)
    const data = packet.subarray(at + (packet[at + Tcp.DATA_OFFSET]! >> 4) * 4)
    const fin = (flags & TcpFlag.FIN) !== 0
    const heard = data.length > 0 || fin || (flags & TcpFlag.SYN) !== 0
    if (data.length > 0 || fin) this.#take((getU32(packet, at + Tcp.SEQUENCE) - this.#peerInitial) >>> 0, data, fin)
    const sent = this.#pump()
    if (heard && !sent) this.#acknowledge()
    if (this.#ended && this.#acked > (this.#data.total() ?? Number.POSITIVE_INFINITY) + 1) this.#finish(undefined)
  }

  #acknowledged(ack: number, packet: Uint8Array, at: number): void {
    if (ack > this.#next) return
    if (ack > this.#acked) {
      this.#acked = ack
      this.#duplicates = 0
      this.#timeouts = 0
      if (this.#timed !== undefined && ack >= this.#timed.end) this.#measure(this.#path.clock.now() - this.#timed.at)
      this.#arm()
      if (ack < this.#recoverTo)
        this.#retransmit() // partial acknowledgment: the next hole, RFC 6582 §3.2
      else this.#recoverTo = -1
    } else if (ack === this.#acked && this.#next > ack && isBareAck(packet, at)) {
      this.#duplicates++
      if (this.#duplicates === 3 && this.#recoverTo < 0) {
        this.#recoverTo = this.#next
        this.#retransmit()
      }
    }
  }

  #measure(rtt: number): void {
    this.#timed = undefined
    if (this.#srtt === 0) {
      this.#srtt = rtt
      this.#rttvar = rtt / 2
    } else {
      this.#rttvar = 0.75 * this.#rttvar + 0.25 * Math.abs(this.#srtt - rtt)
      this.#srtt = 0.875 * this.#srtt + 0.125 * rtt
    }
    this.#rto = Math.max(200, this.#srtt + 4 * this.#rttvar)
  }

  #take(sequence: number, data: Uint8Array, fin: boolean): void {
    if (sequence > this.#expected) {
      if (this.#early.size < 4096) this.#early.set(sequence, { data, fin })
      return
    }
    this.#accept(sequence, data, fin)
    for (;;) {
      // Retransmissions may be cut differently, so an early segment can begin below what is expected by now.
      const found = [...this.#early].find(([start]) => start <= this.#expected)
      if (found === undefined) return
      this.#early.delete(found[0])
      this.#accept(found[0], found[1].data, found[1].fin)
    }
  }

  #accept(sequence: number, data: Uint8Array, fin: boolean): void {
    const fresh = data.subarray(Math.min(data.length, this.#expected - sequence))
    if (fresh.length > 0) this.#data.received(fresh)
    this.#expected += fresh.length
    if (!fin || this.#ended || sequence + data.length !== this.#expected) return
    this.#expected++
    this.#ended = true
    this.#data.ended()
  }

  /** Sends what the window allows. @returns true when anything went out */
  #pump(): boolean {
    let sent = false
    const total = this.#data.total()
    while (this.#next - this.#acked < this.#window * this.#mss()) {
      if (this.#next > 0 && (this.#acked === 0 || total === undefined || this.#next > total + 1)) break
      if (this.#next === 0 && total === undefined && this.#expected === 0) break
      this.#next += this.#segment(this.#next)
      this.#timed ??= { end: this.#next, at: this.#path.clock.now() }
      sent = true
    }
    if (sent && this.#timer === undefined) this.#arm()
    return sent
  }

  #retransmit(): void {
    this.retransmissions++
    this.#timed = undefined // Karn: retransmitted segments measure nothing
    this.#segment(this.#acked)
  }

  #arm(): void {
    if (this.#timer !== undefined) this.#path.clock.cancel(this.#timer)
    this.#timer = undefined
    if (this.#acked === this.#next || this.#finished) return
    this.#timer = this.#path.clock.after(this.#rto, () => {
      this.#timer = undefined
      this.#timeouts++
      if (this.#timeouts > MAX_TIMEOUTS) return this.#finish('timeout')
      this.#rto = Math.min(2 * this.#rto, 10_000)
      this.#duplicates = 0
      this.#recoverTo = this.#next
      this.#retransmit()
      this.#arm()
    })
  }

  #mss(): number {
    const headers = this.#source.length === 4 ? 40 : 60
    return Math.min(this.#peerMss, this.#path.mtu() - headers)
  }

  /** Sends the segment at a relative sequence number. @returns how much sequence space it takes */
  #segment(sequence: number): number {
    const ack = this.#expected > 0 ? TcpFlag.ACK : 0
    if (sequence === 0) {
      this.#emit(0, TcpFlag.SYN | ack, new Uint8Array(0), true)
      return 1
    }
    const total = this.#data.total() ?? 0
    const data = this.#data.read(sequence - 1, Math.max(0, Math.min(this.#mss(), total - (sequence - 1))))
    const last = sequence - 1 + data.length === total
    this.#emit(sequence, ack | (last ? TcpFlag.FIN : TcpFlag.PSH), data)
    return data.length + (last ? 1 : 0)
  }

  #acknowledge(): void {
    this.#emit(this.#next, TcpFlag.ACK, new Uint8Array(0))
  }

  #emit(sequence: number, flags: number, data: Uint8Array, withMss = false): void {
    const { local, remote } = this.#path
    const header = withMss ? 24 : 20
    const packet = newIp(
      { source: this.#source, destination: this.#destination, protocol: IpProtocol.TCP, df: true },
      header + data.length,
    )
    const at = packet.length - header - data.length
    setU16(packet, at + Tcp.SOURCE_PORT, local.port)
    setU16(packet, at + Tcp.DESTINATION_PORT, remote.port)
    setU32(packet, at + Tcp.SEQUENCE, (this.#initial + sequence) >>> 0)
    if (flags & TcpFlag.ACK) setU32(packet, at + Tcp.ACKNOWLEDGMENT, (this.#peerInitial + this.#expected) >>> 0)
    packet[at + Tcp.DATA_OFFSET] = (header / 4) << 4
    packet[at + Tcp.FLAGS] = flags
    setU16(packet, at + Tcp.WINDOW, 0xffff)
    if (withMss) {
      packet.set([2, 4], at + 20)
      setU16(packet, at + 22, this.#path.mtu() - (isIpv6(packet) ? 60 : 40))
    }
    packet.set(data, at + header)
    sealChecksums(packet)
    this.#path.output(packet)
  }

  #finish(failure: string | undefined): void {
    if (this.#finished) return
    this.#finished = true
    if (this.#timer !== undefined) this.#path.clock.cancel(this.#timer)
    this.#timer = undefined
    this.#data.finished(failure)
  }
}

const isBareAck = (packet: Uint8Array, at: number): boolean =>
  (packet[at + Tcp.FLAGS]! & (TcpFlag.SYN | TcpFlag.FIN)) === 0 &&
  packet.length === at + (packet[at + Tcp.DATA_OFFSET]! >> 4) * 4

/** Only what our own SYNs look like: the MSS option comes first. */
const mssOption = (packet: Uint8Array, at: number): number =>
  packet.length >= at + 24 && packet[at + 20] === 2 && packet[at + 21] === 4 ? getU16(packet, at + 22) : 536
