import type { Machine, Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, showEndpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import { isReachable } from '../../core/path/index.ts'
import {
  type ErrorCode,
  familyOf,
  type ParsedStun,
  parseStun,
  type StunAttribute,
  StunError,
  StunFamily,
  StunMethod,
  stunValue,
  stunValues,
} from '../../core/wire/index.ts'
import type { ClientCredentials } from './credentials.ts'
import { Peers } from './peers.ts'
import { hex, type RequestContext, TurnRequest } from './request.ts'

const UDP = 17
/** Permissions last 300 s, channels 600: both are renewed a minute before permissions end. */
const RENEW_MS = 240_000
/** How soon after a refusal the relay is asked about the same address again. */
const REFUSED_MS = 60_000
/** Refreshes come this long before the end at the latest. */
const MARGIN_MS = 60_000
/** Lifetimes from here on are as good as forever. */
const MAX_LIFETIME_S = 86_400

export interface AllocationOptions extends RequestContext {
  /** Relayed addresses that are wanted, at least one. */
  readonly families: readonly (4 | 6)[]
  /** How often the server is asked whether all is well, which also keeps a NAT's mapping, ms. */
  readonly refreshMs: number
}

export type AllocationIn =
  | { readonly type: 'start' }
  | { readonly type: 'timeout' }
  /** A STUN message from the server. */
  | { readonly type: 'message'; readonly bytes: Uint8Array }

export type AllocationOut =
  | { readonly type: 'send'; readonly bytes: Uint8Array }
  /** It stands, or stands longer. */
  | {
      readonly type: 'allocated'
      readonly relayed: readonly Endpoint[]
      /** Where the server sees this host. */
      readonly mapped: Endpoint | undefined
      /** Monotonic ms. */
      readonly until: number
    }
  /** The peer may be sent to: what was held goes now. */
  | { readonly type: 'release'; readonly flow: Flow; readonly bytes: Uint8Array }
  /** The server wants another one to be asked. */
  | { readonly type: 'alternate'; readonly server: Endpoint }
  /** There is no allocation, or no longer. */
  | { readonly type: 'lost'; readonly why: string }
  | { readonly type: 'drop'; readonly reason: string }

type Purpose =
  | { readonly type: 'allocate' }
  | { readonly type: 'refresh' }
  /** Frees what an earlier run has left behind. */
  | { readonly type: 'clear' }
  | { readonly type: 'permission'; readonly address: string }
  | { readonly type: 'channel'; readonly number: number; readonly peer: Endpoint }

/** One allocation from its request to its end, RFC 8656 §7 to §12. */
export class Allocation implements Machine<AllocationIn, AllocationOut> {
  readonly #context: RequestContext
  readonly #rng: Rng
  readonly #credentials: ClientCredentials
  readonly #families: readonly (4 | 6)[]
  readonly #refreshMs: number
  readonly #requests = new Map<string, TurnRequest<Purpose>>()
  #peers: readonly Peers[] = []
  #mapped: Endpoint | undefined
  #refreshAt = Infinity
  #cleared = false
  #over = false

  constructor(options: AllocationOptions) {
    this.#context = options
    this.#rng = options.rng
    this.#credentials = options.credentials
    this.#families = options.families
    this.#refreshMs = options.refreshMs
  }

  get deadline(): number {
    if (this.#over) return Infinity
    let due = this.#refreshAt
    for (const { deadline } of this.#requests.values()) due = Math.min(due, deadline)
    for (const { deadline } of this.#peers) due = Math.min(due, deadline)
    return due
  }

  /** Whether this is one of its relayed endpoints. */
  has(local: Endpoint): boolean {
    return this.#peersOf(local) !== undefined
  }

  /** Wraps a packet from a relayed endpoint. @returns false when it goes no further now */
  wrap(packet: Packet, { local, remote }: Flow): boolean {
    return this.#peersOf(local)?.wrap(packet, remote) ?? false
  }

  /** Unwraps what came from the server, in place. @returns undefined when it is nothing for a peer's flow */
  unwrap(packet: Packet): Flow | undefined {
    for (const peers of this.#peers) {
      const flow = peers.unwrap(packet)
      if (flow !== undefined) return flow
    }
    return undefined
  }

  /** The flow of a peer's datagram that came as an indication; undefined from where nothing may come. */
  from(remote: Endpoint): Flow | undefined {
    return this.#peers.find(({ relayed }) => familyOf(relayed.address) === familyOf(remote.address))?.from(remote)
  }

  /** The request that ends it; nobody waits for the answer. */
  farewell(): readonly AllocationOut[] {
    if (this.#peers.length === 0 || this.#over) return []
    this.#over = true
    const request = new TurnRequest({ type: 'clear' }, StunMethod.Refresh, [NO_LIFETIME], this.#context)
    return [{ type: 'send', bytes: request.octets }]
  }

  step(input: AllocationIn, now: number): readonly AllocationOut[] {
    if (this.#over) return []
    const out: AllocationOut[] = []
    switch (input.type) {
      case 'start':
        this.#ask({ type: 'allocate' }, now, out)
        break
      case 'timeout':
        this.#timeout(now, out)
        break
      case 'message':
        this.#message(input.bytes, now, out)
        break
    }
    return out
  }

  #peersOf({ address, port }: Endpoint): Peers | undefined {
    for (const peers of this.#peers) if (peers.relayed.port === port && peers.relayed.address === address) return peers
    return undefined
  }

  #timeout(now: number, out: AllocationOut[]): void {
    for (const request of [...this.#requests.values()]) {
      const due = request.due(now)
      if (due === 'send') out.push({ type: 'send', bytes: request.octets })
      if (due === 'failed') return this.#lost('no answer', out)
    }
    if (now >= this.#refreshAt) {
      this.#refreshAt = Infinity
      this.#ask({ type: 'refresh' }, now, out)
    }
    for (const peers of this.#peers) {
      for (const wish of peers.due(now)) this.#ask(wish, now, out)
      for (let dropped = peers.takeDropped(); dropped > 0; dropped--) out.push({ type: 'drop', reason: 'turn-refused' })
    }
  }

  #ask(purpose: Purpose, now: number, out: AllocationOut[]): void {
    const [method, attributes] = this.#wording(purpose)
    this.#send(new TurnRequest(purpose, method, attributes, this.#context), now, out)
  }

  #send(request: TurnRequest<Purpose>, now: number, out: AllocationOut[]): void {
    this.#requests.set(request.id, request)
    request.due(now)
    out.push({ type: 'send', bytes: request.octets })
  }

  #wording(purpose: Purpose): readonly [number, readonly StunAttribute[]] {
    switch (purpose.type) {
      case 'allocate':
        return [StunMethod.Allocate, [{ type: 'REQUESTED-TRANSPORT', value: UDP }, ...wantedFamilies(this.#families)]]
      case 'refresh':
        return [StunMethod.Refresh, []]
      case 'clear':
        return [StunMethod.Refresh, [NO_LIFETIME]]
      case 'permission':
        return [
          StunMethod.CreatePermission,
          [{ type: 'XOR-PEER-ADDRESS', value: { address: purpose.address, port: 0 } }],
        ]
      case 'channel':
        return [
          StunMethod.ChannelBind,
          [
            { type: 'CHANNEL-NUMBER', value: purpose.number },
            { type: 'XOR-PEER-ADDRESS', value: purpose.peer },
          ],
        ]
    }
  }

  // ------------------------------------------------------------------ answers

  #message(bytes: Uint8Array, now: number, out: AllocationOut[]): void {
    let message: ParsedStun
    try {
      message = parseStun(bytes)
    } catch {
      out.push({ type: 'drop', reason: 'turn-malformed' })
      return
    }
    const request = this.#requests.get(hex(message.transaction))
    if (request === undefined || (message.class !== 'success' && message.class !== 'error')) {
      out.push({ type: 'drop', reason: 'turn-unexpected' })
      return
    }
    const error = message.class === 'error' ? (stunValue(message, 'ERROR-CODE') ?? UNSAID) : undefined
    const challenge = error?.code === StunError.UNAUTHENTICATED || error?.code === StunError.STALE_NONCE
    if (!challenge && request.authenticated && !this.#credentials.verifies(bytes, message)) {
      out.push({ type: 'drop', reason: 'turn-integrity' })
      return
    }
    // only who knows the password may say that there is a relay
    if (error === undefined && !request.authenticated) {
      out.push({ type: 'drop', reason: 'turn-integrity' })
      return
    }
    this.#requests.delete(request.id)
    if (challenge) this.#challenged(request, message, error, now, out)
    else if (error === undefined) this.#succeeded(request.purpose, message, now, out)
    else this.#refused(request.purpose, error, message, now, out)
  }

  #challenged(
    request: TurnRequest<Purpose>,
    message: ParsedStun,
    { code, reason }: ErrorCode,
    now: number,
    out: AllocationOut[],
  ): void {
    if (request.authenticated && code === StunError.UNAUTHENTICATED)
      return this.#lost(`the server does not accept name and password: ${code} ${reason}`, out)
    if (!this.#credentials.accept(message)) {
      // as if it had not come (RFC 8489 §9.2.5): perhaps it was made up on the way
      this.#requests.set(request.id, request)
      out.push({ type: 'drop', reason: 'turn-challenge' })
      return
    }
    const again = request.again(this.#context)
    if (again === undefined) return this.#lost('the server finds every nonce stale', out)
    this.#send(again, now, out)
  }

  #succeeded(purpose: Purpose, message: ParsedStun, now: number, out: AllocationOut[]): void {
    switch (purpose.type) {
      case 'allocate': {
        const relayed = stunValues(message, 'XOR-RELAYED-ADDRESS').filter(isReachable)
        const fitting = relayed.filter(r => this.#families.includes(familyOf(r.address)) && isFirst(relayed, r))
        if (fitting.length === 0) return this.#lost('the server’s answer names no relayed address', out)
        this.#peers = fitting.map(endpoint => new Peers(endpoint, this.#rng, this.#context.reliable))
        this.#mapped = stunValue(message, 'XOR-MAPPED-ADDRESS')
        return this.#stands(message, now, out)
      }
      case 'refresh':
        return this.#stands(message, now, out)
      case 'clear':
        return this.#ask({ type: 'allocate' }, now, out)
      case 'permission':
        return this.#granted(purpose.address, now, out)
      case 'channel':
        for (const peers of this.#peers) peers.bound(purpose.peer, purpose.number, now + RENEW_MS)
        return this.#granted(purpose.peer.address, now, out)
    }
  }

  #stands(message: ParsedStun, now: number, out: AllocationOut[]): void {
    const lifetime = Math.min(stunValue(message, 'LIFETIME') ?? 0, MAX_LIFETIME_S) * 1000
    if (lifetime === 0) return this.#lost('the server has ended it', out)
    // of a short lifetime, half
    this.#refreshAt = now + Math.min(this.#refreshMs, Math.max(lifetime - MARGIN_MS, lifetime / 2))
    const relayed = this.#peers.map(peers => peers.relayed)
    out.push({ type: 'allocated', relayed, mapped: this.#mapped, until: now + lifetime })
  }

  #granted(address: string, now: number, out: AllocationOut[]): void {
    for (const peers of this.#peers)
      for (const [remote, bytes] of peers.granted(address, now + RENEW_MS))
        out.push({ type: 'release', flow: { protocol: UDP, local: peers.relayed, remote }, bytes })
  }

  #refused(purpose: Purpose, error: ErrorCode, message: ParsedStun, now: number, out: AllocationOut[]): void {
    const said = `${error.code} ${error.reason}`
    switch (purpose.type) {
      case 'allocate': {
        const server = stunValue(message, 'ALTERNATE-SERVER')
        if (error.code === StunError.TRY_ALTERNATE && server !== undefined) {
          this.#over = true
          out.push({ type: 'alternate', server })
          return
        }
        // a run before this one has left its allocation behind, and the port is the same
        if (error.code === StunError.ALLOCATION_MISMATCH && !this.#cleared) {
          this.#cleared = true
          return this.#ask({ type: 'clear' }, now, out)
        }
        return this.#lost(`the server refuses: ${said}`, out)
      }
      case 'clear':
        return this.#lost(`an earlier allocation cannot be removed: ${said}`, out)
      case 'refresh':
        return this.#lost(`the server does not know it any more: ${said}`, out)
      case 'permission':
      case 'channel': {
        // the allocation itself is gone, or another client's: after a new mapping of a NAT, for instance
        if (error.code === StunError.ALLOCATION_MISMATCH || error.code === StunError.WRONG_CREDENTIALS)
          return this.#lost(`the server does not know it any more: ${said}`, out)
        if (purpose.type === 'channel') for (const peers of this.#peers) peers.unbound(purpose.peer, now)
        else for (const peers of this.#peers) peers.refused(purpose.address, now + REFUSED_MS)
        return
      }
    }
  }

  #lost(why: string, out: AllocationOut[]): void {
    this.#over = true
    this.#requests.clear()
    out.push({ type: 'lost', why })
  }
}

/** In words for a log. */
export const showRelayed = (relayed: readonly Endpoint[]): string => relayed.map(showEndpoint).join(' and ')

const NO_LIFETIME = { type: 'LIFETIME', value: 0 } as const
const UNSAID: ErrorCode = { code: 0, reason: 'without an error code' }

/** RFC 8656 §7.1: nothing for IPv4 alone; both families at once by the attribute for the second. */
const wantedFamilies = (families: readonly (4 | 6)[]): readonly StunAttribute[] =>
  families.length > 1
    ? [{ type: 'ADDITIONAL-ADDRESS-FAMILY', value: StunFamily.IPv6 }]
    : families[0] === 6
      ? [{ type: 'REQUESTED-ADDRESS-FAMILY', value: StunFamily.IPv6 }]
      : []

/** Of its family. */
const isFirst = (all: readonly Endpoint[], one: Endpoint): boolean =>
  all.find(({ address }) => familyOf(address) === familyOf(one.address)) === one
