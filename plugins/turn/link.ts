import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint, sameFlow, showEndpoint } from '../../core/contracts/net.ts'
import { octets, type Packet } from '../../core/contracts/packet.ts'
import type { Candidate, ServiceOut } from '../../core/contracts/service.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { isReachable } from '../../core/path/index.ts'
import { familyOf, isStun, parseStun, StunMethod, stunValue } from '../../core/wire/index.ts'
import { Allocation, type AllocationOut, showRelayed } from './allocation.ts'
import { ClientCredentials } from './credentials.ts'
import { RELAY_AVAILABLE } from './facts.ts'
import type { ServerSettings } from './options.ts'

/** How long after a failure the server is asked again: doubled each time. */
const RETRY_MS = { first: 1_000, most: 60_000 } as const
/** Servers that send a client to one another would do so forever. */
const MAX_REDIRECTS = 3
/** A stream needs no keepalive against NATs that forget within seconds. */
const STREAM_REFRESH_MS = 240_000
/** TURN's methods; Binding is others' business on the same port. */
const METHODS: readonly number[] = [
  StunMethod.Allocate,
  StunMethod.Refresh,
  StunMethod.CreatePermission,
  StunMethod.ChannelBind,
]
const DATA_INDICATION = 0x0017

export interface LinkOptions {
  readonly crypto: CryptoProvider
  readonly rng: Rng
  readonly server: ServerSettings
  /** Of the server among the configured ones; also the local port of its stream, which has no other name. */
  readonly number: number
  readonly refreshMs: number
}

/** One configured server: finds its address, keeps an allocation there, and tells when there is none. */
export class Link {
  readonly #crypto: CryptoProvider
  readonly #rng: Rng
  readonly #server: ServerSettings
  readonly #number: number
  readonly #refreshMs: number
  #credentials: ClientCredentials
  #locals: readonly LocalEndpoint[] = []
  /** Towards the server. */
  #flow: Flow | undefined
  #allocation: Allocation | undefined
  #candidates: readonly Candidate[] = []
  /** A stream was listed as connected. */
  #connected = false
  #asking = false
  #redirects = 0
  #retryAt = Infinity
  #retryMs: number = RETRY_MS.first

  constructor({ crypto, rng, server, number, refreshMs }: LinkOptions) {
    this.#crypto = crypto
    this.#rng = rng
    this.#server = server
    this.#number = number
    this.#refreshMs = server.transport === 'udp' ? refreshMs : STREAM_REFRESH_MS
    this.#credentials = new ClientCredentials(crypto, server.account)
  }

  get deadline(): number {
    return Math.min(this.#retryAt, this.#allocation?.deadline ?? Infinity)
  }

  // ------------------------------------------------------------------ on the way of packets

  /** Whether a flow begins at a relayed endpoint of this server. */
  relays({ local }: Flow): boolean {
    return this.#allocation?.has(local) === true
  }

  /** Wraps a packet of such a flow. @returns the flow to the server; undefined when the packet goes no further now */
  wrap(packet: Packet, flow: Flow): Flow | undefined {
    return this.#allocation?.wrap(packet, flow) === true ? this.#flow : undefined
  }

  /** @returns as `Service.claims` */
  claims(packet: Packet, flow: Flow): 'mine' | Flow | undefined {
    if (this.#flow === undefined || this.#allocation === undefined || !sameFlow(flow, this.#flow)) return undefined
    const { bytes, start, end } = packet
    const first = bytes[start]!
    if (first >= 0x40 && first < 0x50) return this.#allocation.unwrap(packet) ?? 'mine'
    if (!isStun(bytes, start, end)) return this.#flow.protocol === 6 ? 'mine' : undefined
    const type = (first << 8) | bytes[start + 1]!
    if (type === DATA_INDICATION) return this.#indication(packet) ?? 'mine'
    return METHODS.includes(type & 0x0f) || this.#flow.protocol === 6 ? 'mine' : undefined
  }

  #indication(packet: Packet): Flow | undefined {
    try {
      const message = parseStun(octets(packet))
      const peer = stunValue(message, 'XOR-PEER-ADDRESS')
      const data = stunValue(message, 'DATA')
      const flow = peer === undefined || data === undefined ? undefined : this.#allocation?.from(peer)
      if (flow === undefined) return undefined
      packet.start = data!.byteOffset - packet.bytes.byteOffset
      packet.end = packet.start + data!.length
      return flow
    } catch {
      return undefined
    }
  }

  // ------------------------------------------------------------------ its life

  start(out: ServiceOut[]): void {
    this.#resolve(out)
  }

  setLocals(locals: readonly LocalEndpoint[], now: number, out: ServiceOut[]): void {
    this.#locals = locals
    if (this.#flow === undefined) return
    const listed = locals.some(l => l.protocol === this.#flow!.protocol && sameEndpoint(l, this.#flow!.local))
    const gone = this.#flow.protocol === 6 ? this.#connected && !listed : !listed
    this.#connected = listed
    if (gone) this.#lost(this.#flow.protocol === 6 ? 'the connection is closed' : 'the local address is gone', now, out)
  }

  resolved(addresses: readonly string[], source: string | undefined, now: number, out: ServiceOut[]): void {
    if (!this.#asking) return
    this.#asking = false
    const [address] = addresses
    if (address === undefined) return this.#lost(`${this.#server.host} has no address`, now, out)
    this.#open({ address, port: this.#server.port }, source, now, out)
  }

  datagram(bytes: Uint8Array, flow: Flow, now: number): readonly ServiceOut[] {
    if (this.#allocation === undefined || this.#flow === undefined || !sameFlow(flow, this.#flow)) return []
    const data = bytes[0]! >= 0x40 || (bytes[0] === 0 && bytes[1] === DATA_INDICATION)
    if (data) return [{ type: 'drop', reason: 'turn-data' }]
    return this.#carryOut(this.#allocation.step({ type: 'message', bytes }, now), now)
  }

  timeout(now: number): readonly ServiceOut[] {
    const out: ServiceOut[] = []
    if (now >= this.#retryAt) {
      this.#retryAt = Infinity
      this.#resolve(out)
    }
    if (this.#allocation !== undefined && now >= this.#allocation.deadline)
      out.push(...this.#carryOut(this.#allocation.step({ type: 'timeout' }, now), now))
    return out
  }

  stop(now: number): readonly ServiceOut[] {
    return this.#allocation === undefined ? [] : this.#carryOut(this.#allocation.farewell(), now)
  }

  #resolve(out: ServiceOut[]): void {
    this.#asking = true
    out.push({ type: 'resolve', host: this.#server.host, tag: String(this.#number) })
  }

  #open(remote: Endpoint, source: string | undefined, now: number, out: ServiceOut[]): void {
    const local = this.#server.transport === 'udp' ? this.#socket(remote, source) : this.#stream(remote)
    if (local === undefined)
      return this.#lost(`no local UDP endpoint with an IPv${familyOf(remote.address)} address`, now, out)
    this.#flow = { protocol: this.#server.transport === 'udp' ? 17 : 6, local, remote }
    this.#connected = false
    this.#allocation = new Allocation({
      credentials: this.#credentials,
      rng: this.#rng,
      reliable: this.#flow.protocol === 6,
      families: this.#server.families,
      refreshMs: this.#refreshMs,
    })
    out.push(...this.#carryOut(this.#allocation.step({ type: 'start' }, now), now))
  }

  #socket({ address }: Endpoint, source: string | undefined): Endpoint | undefined {
    const fitting = this.#locals.filter(
      l => l.protocol === 17 && l.role === 'natt' && familyOf(l.address) === familyOf(address),
    )
    const found = fitting.find(l => l.address === source) ?? fitting[0]
    return found && { address: found.address, port: found.port }
  }

  #stream({ address }: Endpoint): Endpoint {
    return { address: familyOf(address) === 4 ? '0.0.0.0' : '::', port: this.#number }
  }

  #carryOut(outs: readonly AllocationOut[], now: number): readonly ServiceOut[] {
    const out: ServiceOut[] = []
    for (const each of outs)
      switch (each.type) {
        case 'send':
          out.push({ type: 'transmit', bytes: each.bytes, flow: this.#flow! })
          break
        case 'release':
          out.push({ type: 'transmit', bytes: each.bytes, flow: each.flow })
          break
        case 'drop':
          out.push(each)
          break
        case 'allocated':
          this.#allocated(each, now, out)
          break
        case 'alternate':
          this.#alternate(each.server, now, out)
          break
        case 'lost':
          this.#lost(each.why, now, out)
          break
      }
    return out
  }

  #allocated({ relayed, mapped, until }: AllocationOut & { type: 'allocated' }, now: number, out: ServiceOut[]): void {
    // a packet from a socket of this host must not be taken for one from the relay
    if (relayed.some(endpoint => this.#locals.some(l => sameEndpoint(l, endpoint))))
      return this.#lost(`the server claims to relay at this host’s own ${showRelayed(relayed)}`, now, out)
    const source = `TURN server ${showEndpoint(this.#flow!.remote)}`
    const fresh = this.#candidates.length === 0
    const base = this.#flow!.local
    this.#candidates = relayed.map(endpoint => ({ kind: 'relayed', endpoint, base: endpoint, source, until }))
    if (this.#flow!.protocol === 17 && mapped !== undefined && isReachable(mapped) && !sameEndpoint(mapped, base))
      this.#candidates = [{ kind: 'server-reflexive', endpoint: mapped, base, source, until }, ...this.#candidates]
    for (const candidate of this.#candidates) out.push({ type: 'candidate', candidate })
    this.#retryMs = RETRY_MS.first
    this.#redirects = 0
    if (fresh) this.#tell(true, `${source} relays for this host at ${showRelayed(relayed)}`, now, out)
  }

  #alternate(server: Endpoint, now: number, out: ServiceOut[]): void {
    const { remote } = this.#flow!
    const sound = isReachable(server) && familyOf(server.address) === familyOf(remote.address)
    if (!sound || ++this.#redirects > MAX_REDIRECTS)
      return this.#lost(`the server points to ${showEndpoint(server)}, where this host does not go`, now, out)
    this.#credentials = new ClientCredentials(this.#crypto, this.#server.account)
    this.#open(server, this.#flow!.local.address, now, out)
  }

  #lost(why: string, now: number, out: ServiceOut[]): void {
    if (this.#flow?.protocol === 6) out.push({ type: 'unbind', local: this.#flow.local })
    this.#allocation = undefined
    this.#flow = undefined
    this.#redirects = 0
    for (const candidate of this.#candidates) out.push({ type: 'candidate-gone', candidate })
    this.#candidates = []
    this.#retryAt = now + this.#retryMs
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS.most)
    this.#tell(false, `${this.#server.url}: ${why}`, now, out)
  }

  #tell(value: boolean, source: string, now: number, out: ServiceOut[]): void {
    out.push({ type: 'fact', name: RELAY_AVAILABLE, fact: { value, source, at: now } })
  }
}
