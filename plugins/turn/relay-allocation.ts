import { type Address, type Endpoint, type Flow, sameEndpoint, showEndpoint } from '../../core/contracts/net.ts'
import { ChannelData, StunMethod, serializeStun, writeChannelHeader } from '../../core/wire/index.ts'
import { hex } from './request.ts'

/** What one client may have in all. */
const MAX_PERMISSIONS = 256
const MAX_CHANNELS = 256
const PERMISSION_MS = 300_000
const CHANNEL_MS = 600_000

interface Channel {
  readonly number: number
  readonly peer: Endpoint
  until: number
}

/** What the relay keeps for one client. */
export class RelayAllocation {
  /** From the relay to the client. */
  readonly client: Flow
  readonly user: string
  /** The socket that peers send to. */
  readonly socket: Endpoint
  /** What peers see of it. */
  readonly relayed: Endpoint
  /** Of the request that made it: repeated, it is answered the same. */
  readonly transaction: string
  until: number
  readonly #permissions = new Map<Address, number>()
  readonly #byNumber = new Map<number, Channel>()
  readonly #byPeer = new Map<string, Channel>()

  constructor(parts: Pick<RelayAllocation, 'client' | 'user' | 'socket' | 'relayed' | 'transaction' | 'until'>) {
    this.client = parts.client
    this.user = parts.user
    this.socket = parts.socket
    this.relayed = parts.relayed
    this.transaction = parts.transaction
    this.until = parts.until
  }

  permits(address: Address, now: number): boolean {
    return (this.#permissions.get(address) ?? 0) > now
  }

  /** @returns false when there are too many */
  permit(addresses: readonly Address[], now: number): boolean {
    for (const [address, until] of this.#permissions) if (until <= now) this.#permissions.delete(address)
    const fresh = new Set(addresses.filter(address => !this.#permissions.has(address)))
    if (this.#permissions.size + fresh.size > MAX_PERMISSIONS) return false
    for (const address of addresses) this.#permissions.set(address, now + PERMISSION_MS)
    return true
  }

  /** Binds a channel, or renews it. @returns false when number or peer belong to another channel, or there are too many */
  bind(number: number, peer: Endpoint, now: number): boolean {
    for (const channel of this.#byNumber.values())
      if (channel.until <= now) {
        this.#byNumber.delete(channel.number)
        this.#byPeer.delete(showEndpoint(channel.peer))
      }
    const known = this.#byNumber.get(number)
    const theirs = this.#byPeer.get(showEndpoint(peer))
    if (known !== theirs || (known === undefined && this.#byNumber.size === MAX_CHANNELS)) return false
    if (!this.permit([peer.address], now)) return false
    const channel = known ?? { number, peer, until: 0 }
    channel.until = now + CHANNEL_MS
    this.#byNumber.set(number, channel)
    this.#byPeer.set(showEndpoint(peer), channel)
    return true
  }

  /** Whom a channel is bound to now. */
  peerOf(number: number, now: number): Endpoint | undefined {
    const channel = this.#byNumber.get(number)
    return channel !== undefined && channel.until > now ? channel.peer : undefined
  }

  /** What the client gets for a peer's datagram. @param transaction - 12 octets, used where there is no channel */
  wrap(peer: Endpoint, data: Uint8Array, transaction: () => Uint8Array, now: number): Uint8Array {
    const channel = this.#byPeer.get(showEndpoint(peer))
    if (channel !== undefined && channel.until > now && sameEndpoint(channel.peer, peer)) {
      const bytes = new Uint8Array(ChannelData.HEADER + data.length)
      writeChannelHeader(bytes, 0, channel.number, data.length)
      bytes.set(data, ChannelData.HEADER)
      return bytes
    }
    return serializeStun({
      class: 'indication',
      method: StunMethod.Data,
      transaction: transaction(),
      attributes: [
        { type: 'XOR-PEER-ADDRESS', value: peer },
        { type: 'DATA', value: data },
      ],
    })
  }

  /** Whether this is the request that made it, once more. */
  madeBy(transaction: Uint8Array): boolean {
    return hex(transaction) === this.transaction
  }
}
