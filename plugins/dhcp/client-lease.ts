import type { Rng } from '../../core/contracts/machine.ts'
import type { Address } from '../../core/contracts/net.ts'
import type { LeasedPoolSettings } from '../../core/contracts/settings.ts'
import { getU32, parseAddress } from '../../core/wire/index.ts'
import { type ClientMessage, MessageType, type ServerMessage } from './message.ts'

/** Who a client is to its servers: stays the same for one host of one identity, RFC 4361. */
export interface ClientName {
  readonly clientId: Uint8Array
  readonly chaddr: Uint8Array
}

export type LeaseOut =
  | { readonly type: 'send'; readonly message: ClientMessage; readonly to: readonly Address[] }
  | { readonly type: 'leased'; readonly address: Address; readonly dns: readonly Address[] }
  /** It is over. */
  | { readonly type: 'unleased'; readonly why: string }
  | { readonly type: 'drop'; readonly reason: string }

/** A peer waits in IKE_AUTH meanwhile: no lease by then is none. */
const GIVE_UP_MS = 20_000
/** Retransmission of DISCOVER and REQUEST, doubled each time; RFC 2131's 4 s would leave a peer but one. */
const RETRY_MS = 1_000
/** Leases shorter than that are refused: their renewals would be a flood. */
const MIN_LEASE_S = 30
const INFINITE = 0xffff_ffff
const MIN_RENEW_MS = 60_000
/** Longer leases are renewed as often: the server may have forgotten them. */
const MAX_RENEW_MS = 86_400_000
const MAX_DNS = 4

type State = 'selecting' | 'requesting' | 'bound' | 'renewing' | 'rebinding' | 'over'

/** One address from the first DISCOVER to RELEASE, RFC 2131 §4.4. Sans-IO. */
export class ClientLease {
  readonly #pool: LeasedPoolSettings
  readonly #name: ClientName
  readonly #rng: Rng
  readonly #begun: number
  #state: State = 'selecting'
  /** Of the exchange under way. */
  xid: number
  #requested: Address | undefined
  #server: { readonly id: Address; readonly address: Address } | undefined
  #address: Address | undefined
  #tries = 0
  #nextAt = Infinity
  #renewAt = Infinity
  #rebindAt = Infinity
  #expireAt = Infinity

  constructor(pool: LeasedPoolSettings, name: ClientName, wanted: Address | undefined, rng: Rng, now: number) {
    this.#pool = pool
    this.#name = name
    this.#rng = rng
    this.#begun = now
    this.#requested = wanted
    this.xid = getU32(rng.bytes(4), 0)
  }

  get deadline(): number {
    return this.#state === 'bound' ? Math.min(this.#renewAt, this.#expireAt) : this.#nextAt
  }

  /** The leased address. */
  get address(): Address | undefined {
    return this.#address
  }

  start(now: number): LeaseOut[] {
    return [this.#ask(now)]
  }

  timeout(now: number): LeaseOut[] {
    if (now < this.deadline) return []
    switch (this.#state) {
      case 'selecting':
      case 'requesting':
        if (now - this.#begun < GIVE_UP_MS) return [this.#ask(now)]
        return this.#end(
          `no DHCP server (${this.#pool.servers.join(', ')}) ${this.#state === 'selecting' ? 'has offered an address' : 'has confirmed its offer'} in time`,
        )
      case 'over':
        return []
      default:
        if (now >= this.#expireAt) return this.#end(`the DHCP lease of ${this.#address} has expired`)
        if (this.#state === 'bound') this.xid = getU32(this.#rng.bytes(4), 0)
        this.#state = now >= this.#rebindAt ? 'rebinding' : 'renewing'
        return [this.#ask(now)]
    }
  }

  /** @param from - one of the pool's servers */
  receive(message: ServerMessage, from: Address, taken: (address: Address) => boolean, now: number): LeaseOut[] {
    const drop = (reason: string): LeaseOut[] => [{ type: 'drop', reason }]
    const { type, serverId, yiaddr } = message
    if (!same(message.chaddr, this.#name.chaddr) || message.giaddr !== this.#pool.relay) return drop('dhcp-not-ours')
    // a server that echoes it has to echo this one, RFC 6842 §3
    if (message.clientId !== undefined && !same(message.clientId, this.#name.clientId)) return drop('dhcp-not-ours')
    const expected = this.#state === 'selecting' ? type === MessageType.OFFER : answersRequest(type)
    if (this.#state === 'bound' || this.#state === 'over' || !expected) return drop('dhcp-unexpected')
    if (
      serverId === undefined ||
      (this.#state !== 'rebinding' && this.#server !== undefined && !this.#chosen(serverId, from))
    )
      return drop('dhcp-foreign-server')
    if (type === MessageType.NAK) return this.#refused(message, now)
    if (!this.#assignable(yiaddr) || taken(yiaddr)) return drop('dhcp-address')
    if (message.lease === undefined || message.lease < MIN_LEASE_S) return drop('dhcp-times')
    if (type === MessageType.OFFER) {
      this.#state = 'requesting'
      this.#server = { id: serverId, address: from }
      this.#requested = yiaddr
      this.#tries = 0
      return [this.#ask(now)]
    }
    if (yiaddr !== (this.#address ?? this.#requested)) return drop('dhcp-address')
    const first = this.#address === undefined
    this.#server = { id: serverId, address: from }
    this.#address = yiaddr
    this.#bind(message, message.lease, now)
    const dns = message.dns.filter(a => this.#assignable(a, true)).slice(0, MAX_DNS)
    return first ? [{ type: 'leased', address: yiaddr, dns }] : []
  }

  /** Nobody uses it any more. */
  release(now: number): LeaseOut[] {
    const [address, server] = [this.#address, this.#server]
    this.#state = 'over'
    this.#nextAt = Infinity
    if (address === undefined || server === undefined) return []
    this.xid = getU32(this.#rng.bytes(4), 0)
    const message = { ...this.#message(MessageType.RELEASE, now), secs: 0, ciaddr: address, serverId: server.id }
    return [{ type: 'send', message, to: [server.address] }]
  }

  #chosen(id: Address, from: Address): boolean {
    return this.#server?.id === id && this.#server.address === from
  }

  #refused({ message }: ServerMessage, now: number): LeaseOut[] {
    const why = `the DHCP server ${this.#server?.address} refuses ${this.#address ?? this.#requested}${message === '' ? '' : `: ${message}`}`
    if (this.#address !== undefined) return this.#end(why)
    // it may have another one; not at once, since it may refuse that as well
    this.#state = 'selecting'
    this.#server = undefined
    this.#requested = undefined
    this.xid = getU32(this.#rng.bytes(4), 0)
    this.#nextAt = now + RETRY_MS
    return []
  }

  #end(why: string): LeaseOut[] {
    this.#state = 'over'
    this.#nextAt = Infinity
    return [{ type: 'unleased', why }]
  }

  /** Times that make no sense are those of RFC 2131 §4.4.5. */
  #bind({ renewal, rebinding }: ServerMessage, lease: number, now: number): void {
    const t2 = rebinding !== undefined && rebinding > 0 && rebinding < lease ? rebinding : lease * 0.875
    const t1 = renewal !== undefined && renewal > 0 && renewal < t2 ? renewal : Math.min(lease * 0.5, t2)
    this.#state = 'bound'
    this.#expireAt = lease === INFINITE ? Infinity : now + lease * 1_000
    this.#rebindAt = lease === INFINITE ? Infinity : now + t2 * 1_000
    // a first renewal that comes too soon is one of many
    this.#renewAt = now + Math.min(Math.max(t1, MIN_LEASE_S / 2) * 1_000, MAX_RENEW_MS)
  }

  /** What its state has it say, and when it says it again. */
  #ask(now: number): LeaseOut {
    const { servers } = this.#pool
    if (this.#address !== undefined) {
      const phaseEnd = now >= this.#rebindAt ? this.#expireAt : this.#rebindAt
      const pause = Math.min(Math.max((phaseEnd - now) / 2, MIN_RENEW_MS), MAX_RENEW_MS)
      this.#nextAt = Math.min(now + pause, phaseEnd)
      const message = { ...this.#message(MessageType.REQUEST, now), secs: 0, ciaddr: this.#address }
      return { type: 'send', message, to: this.#state === 'rebinding' ? servers : [this.#server!.address] }
    }
    const jitter = 0.9 + (this.#rng.bytes(1)[0]! / 256) * 0.2
    this.#nextAt = Math.min(now + RETRY_MS * 2 ** this.#tries++ * jitter, this.#begun + GIVE_UP_MS)
    const type = this.#state === 'selecting' ? MessageType.DISCOVER : MessageType.REQUEST
    const message = { ...this.#message(type, now), requested: this.#requested, serverId: this.#server?.id }
    // the servers that were not chosen learn it from the same message
    return { type: 'send', message, to: servers }
  }

  #message(type: number, now: number): ClientMessage {
    const secs = Math.floor((now - this.#begun) / 1_000)
    return { type, xid: this.xid, secs, giaddr: this.#pool.relay, ...this.#name }
  }

  /** Neither nowhere, nor many, nor this host or a server; those may be DNS servers. */
  #assignable(address: Address, serves = false): boolean {
    const [first = 0] = parseAddress(address) ?? []
    if (first === 0 || first === 127 || first >= 224) return false
    return serves || (address !== this.#pool.relay && !this.#pool.servers.includes(address))
  }
}

const answersRequest = (type: number): boolean => type === MessageType.ACK || type === MessageType.NAK

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((octet, i) => octet === b[i])
