import type { Rng } from '../../core/contracts/machine.ts'
import type { Endpoint, Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import {
  addressBytes,
  CHANNELS,
  ChannelData,
  channelDataLength,
  channelNumber,
  familyOf,
  StunMethod,
  serializeStun,
  setU16,
  setU32,
  writeChannelHeader,
} from '../../core/wire/index.ts'

/** Remote ends of one allocation: what it may send to, how it is wrapped, and what came from whom. */

/** A host that checks many peers at once has a few hundred candidates; more is somebody's flood. */
const MAX_PEERS = 256
/** First datagrams to a peer that wait for the relay's permission. */
const MAX_HELD = 4
/** Datagrams through Send indications before a channel is worth its round trip: checks alone make none. */
const CHANNEL_AFTER = 8
/** Header, DATA's type and length. */
const HEADER = 20
const DATA_HEADER = 4

/** What the relay lets in and out, per address, RFC 8656 §9. */
export interface Permission {
  readonly address: string
  state: 'wanted' | 'asked' | 'granted' | 'refused'
  /** When it is to be renewed, or forgotten where nobody uses it; of a refused one, when it may be asked again. */
  dueAt: number
  used: boolean
}

export interface Peer {
  /** From the relayed endpoint to the peer, as everybody else sees it. */
  readonly flow: Flow
  readonly permission: Permission
  /** Number of its channel; 0 while it has none. */
  channel: number
  /** The relay is asked for a channel. */
  binding: boolean
  datagrams: number
  /** A Send indication up to its data. */
  readonly indication: Uint8Array
  held: Uint8Array[]
}

export class Peers {
  readonly #relayed: Endpoint
  readonly #rng: Rng
  readonly #reliable: boolean
  readonly #permissions = new Map<string, Permission>()
  readonly #peers = new Map<string, Map<number, Peer>>()
  readonly #channels = new Map<number, Peer>()
  /** Until when a number belongs to whom it was bound last, RFC 8656 §12. */
  readonly #spent = new Map<number, number>()
  #next: number = CHANNELS.first
  #count = 0
  /** Something for `due` to find at once. */
  #wanting = false
  /** Datagrams that went nowhere since it was last read. */
  #dropped = 0

  /** @param reliable - the server is reached over a stream, where ChannelData is padded */
  constructor(relayed: Endpoint, rng: Rng, reliable: boolean) {
    this.#relayed = relayed
    this.#rng = rng
    this.#reliable = reliable
  }

  get relayed(): Endpoint {
    return this.#relayed
  }

  get deadline(): number {
    if (this.#wanting || this.#dropped > 0) return 0
    let due = Infinity
    for (const { dueAt } of this.#permissions.values()) due = Math.min(due, dueAt)
    return due
  }

  takeDropped(): number {
    const dropped = this.#dropped
    this.#dropped = 0
    return dropped
  }

  /** Wraps a packet to this remote end. @returns false when the packet was held, or dropped */
  wrap(packet: Packet, remote: Endpoint): boolean {
    const peer = this.#peers.get(remote.address)?.get(remote.port) ?? this.#add(remote)
    if (peer === undefined) {
      this.#dropped++
      return false
    }
    const { permission } = peer
    permission.used = true
    if (permission.state === 'granted') {
      this.#wrap(packet, peer)
      return true
    }
    if (permission.state === 'refused') this.#dropped++
    else {
      if (peer.held.length === MAX_HELD) peer.held.shift()
      peer.held.push(packet.bytes.slice(packet.start, packet.end))
    }
    return false
  }

  #wrap(packet: Packet, peer: Peer): void {
    const { bytes, end } = packet
    const length = end - packet.start
    if (peer.channel !== 0) {
      packet.start -= ChannelData.HEADER
      writeChannelHeader(bytes, packet.start, peer.channel, length)
      if (this.#reliable) pad(packet)
      return
    }
    if (!peer.binding && ++peer.datagrams >= CHANNEL_AFTER) this.#wanting = true
    const { indication } = peer
    packet.start -= indication.length
    bytes.set(indication, packet.start)
    pad(packet)
    setU16(bytes, packet.start + 2, packet.end - packet.start - HEADER)
    setU16(bytes, packet.start + indication.length - 2, length)
    // nobody answers an indication, but its transaction ID is to be one of its own
    setU32(bytes, packet.start + 16, peer.datagrams)
  }

  /**
   * Unwraps ChannelData.
   *
   * @returns undefined when it is of no channel of this allocation, the packet as it was
   */
  unwrap(packet: Packet): Flow | undefined {
    const { bytes, start, end } = packet
    const length = channelDataLength(bytes, start, end)
    if (length === undefined) return undefined
    const peer = this.#channels.get(channelNumber(bytes, start))
    if (peer === undefined) return undefined
    peer.permission.used = true
    packet.start = start + ChannelData.HEADER
    packet.end = packet.start + length
    return peer.flow
  }

  /** The flow of what a Data indication says to come from there; undefined from where nothing may come. */
  from(remote: Endpoint): Flow | undefined {
    const permission = this.#permissions.get(remote.address)
    if (permission?.state !== 'granted') return undefined
    const peer = this.#peers.get(remote.address)?.get(remote.port)
    if (peer === undefined) return { protocol: 17, local: this.#relayed, remote }
    permission.used = true
    if (peer.channel === 0 && !peer.binding && ++peer.datagrams >= CHANNEL_AFTER) this.#wanting = true
    return peer.flow
  }

  /** What the relay is to be asked for now. */
  *due(now: number): Iterable<{ readonly type: 'permission'; readonly address: string } | ChannelWish> {
    this.#wanting = false
    for (const permission of [...this.#permissions.values()]) {
      const { address } = permission
      if (permission.state === 'asked') continue
      const overdue = now >= permission.dueAt
      if (overdue && (!permission.used || permission.state === 'refused')) {
        this.#forget(permission, now)
        continue
      }
      const bound = [...(this.#peers.get(address)?.values() ?? [])].filter(peer => peer.channel !== 0)
      if (permission.state === 'wanted' || overdue) {
        permission.used = false
        permission.dueAt = Infinity
        if (permission.state === 'wanted') permission.state = 'asked'
        if (bound.length === 0) yield { type: 'permission', address }
        // a renewed channel renews the permission, too
        else for (const peer of bound) yield channelWish(peer)
      }
      if (permission.state !== 'granted') continue
      for (const peer of this.#peers.get(address)?.values() ?? [])
        if (peer.datagrams >= CHANNEL_AFTER && peer.channel === 0 && !peer.binding) {
          const number = this.#freeNumber(now)
          if (number === undefined) continue
          peer.binding = true
          yield { type: 'channel', number, peer: peer.flow.remote }
        }
    }
  }

  /** @returns what waited for it, each with its remote end */
  granted(address: string, renewAt: number): readonly (readonly [Endpoint, Uint8Array])[] {
    const permission = this.#permissions.get(address)
    if (permission === undefined) return []
    permission.state = 'granted'
    permission.dueAt = renewAt
    return [...(this.#peers.get(address)?.values() ?? [])].flatMap(peer =>
      peer.held.splice(0).map(bytes => [peer.flow.remote, bytes] as const),
    )
  }

  refused(address: string, until: number): void {
    const permission = this.#permissions.get(address)
    if (permission === undefined) return
    permission.state = 'refused'
    permission.dueAt = until
    for (const peer of this.#peers.get(address)?.values() ?? []) {
      this.#dropped += peer.held.splice(0).length
      this.#unbind(peer, until)
    }
  }

  bound({ address, port }: Endpoint, number: number, renewAt: number): void {
    const peer = this.#peers.get(address)?.get(port)
    if (peer === undefined) return
    peer.channel = number
    peer.binding = false
    peer.permission.dueAt = renewAt
    this.#channels.set(number, peer)
  }

  /** The relay gave no channel: indications go on, and `binding` stays set, so that it is not asked for each of them. */
  unbound({ address, port }: Endpoint, now: number): void {
    const peer = this.#peers.get(address)?.get(port)
    if (peer === undefined || peer.channel === 0) return
    this.#unbind(peer, now)
    peer.permission.used = true
    peer.permission.dueAt = now
  }

  #add(remote: Endpoint): Peer | undefined {
    const { address, port } = remote
    if (this.#count === MAX_PEERS || familyOf(address) !== familyOf(this.#relayed.address)) return undefined
    let permission = this.#permissions.get(address)
    if (permission === undefined) {
      permission = { address, state: 'wanted', dueAt: Infinity, used: true }
      this.#permissions.set(address, permission)
      this.#wanting = true
    }
    const indication = sendIndication(this.#rng, { address, port })
    const flow: Flow = { protocol: 17, local: this.#relayed, remote: { address, port } }
    const peer: Peer = { flow, permission, channel: 0, binding: false, datagrams: 0, indication, held: [] }
    const ports = this.#peers.get(address) ?? new Map<number, Peer>()
    this.#peers.set(address, ports.set(port, peer))
    this.#count++
    return peer
  }

  #forget({ address }: Permission, now: number): void {
    for (const peer of this.#peers.get(address)?.values() ?? []) {
      this.#unbind(peer, now)
      this.#count--
    }
    this.#peers.delete(address)
    this.#permissions.delete(address)
  }

  #unbind(peer: Peer, now: number): void {
    if (peer.channel === 0) return
    this.#channels.delete(peer.channel)
    this.#spent.set(peer.channel, now + CHANNEL_LIFE_MS + CHANNEL_REST_MS)
    peer.channel = 0
  }

  #freeNumber(now: number): number | undefined {
    for (let tries = CHANNELS.first; tries <= CHANNELS.last; tries++) {
      const number = this.#next
      this.#next = number === CHANNELS.last ? CHANNELS.first : number + 1
      if (this.#channels.has(number) || (this.#spent.get(number) ?? 0) > now) continue
      this.#spent.delete(number)
      return number
    }
    return undefined
  }
}

/** How long a channel lasts that nobody renews, and how long its number then rests, RFC 8656 §12. */
const CHANNEL_LIFE_MS = 600_000
const CHANNEL_REST_MS = 300_000

export interface ChannelWish {
  readonly type: 'channel'
  readonly number: number
  readonly peer: Endpoint
}

const channelWish = ({ channel, flow }: Peer): ChannelWish => ({ type: 'channel', number: channel, peer: flow.remote })

/** Up to the data, whose length and the message's are filled in per datagram. */
function sendIndication(rng: Rng, peer: Endpoint): Uint8Array {
  const transaction = rng.bytes(12)
  const attributes = [
    { type: 'XOR-PEER-ADDRESS', value: peer },
    { type: 'DATA', value: new Uint8Array(0) },
  ] as const
  const whole = serializeStun({ class: 'indication', method: StunMethod.Send, transaction, attributes })
  const room = HEADER + 4 + 4 + addressBytes(peer.address).length + DATA_HEADER
  return whole.subarray(0, room)
}

/** To four octets, with zeros. */
function pad(packet: Packet): void {
  const short = -(packet.end - packet.start) & 3
  packet.bytes.fill(0, packet.end, packet.end + short)
  packet.end += short
}
