import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint, showEndpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Service, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { Pacer } from '../../core/path/index.ts'
import {
  CHANNELS,
  channelDataLength,
  channelNumber,
  familyOf,
  isStun,
  notUnderstood,
  type ParsedStun,
  parseStun,
  type StunAttribute,
  type StunAttributeName,
  StunError,
  StunFamily,
  StunMethod,
  type StunProtection,
  serializeStun,
  stunValue,
  stunValues,
} from '../../core/wire/index.ts'
import type { ServeSettings } from './options.ts'
import { RelayAllocation } from './relay-allocation.ts'
import { RelayAuth } from './relay-auth.ts'
import { mayRelayTo } from './relay-targets.ts'
import { hex } from './request.ts'

const UDP = 17
const LIFETIME_S = { default: 600, most: 3_600 } as const
/** Requests looked at per second: a flood of them costs no more than that, in work and in answers. */
const REQUESTS_PER_SECOND = 1_000
const REQUESTS_BURST = 500
const MAX_PENDING = 256
/** Sockets tried for a port that fits: every other one is even. */
const MAX_BINDS = 12
/** Requests and the Send indication, as their first two octets. */
const FROM_CLIENTS: readonly number[] = [0x0003, 0x0004, 0x0008, 0x0009, 0x0016]
const SEND_INDICATION = 0x0016

const UNDERSTOOD: readonly StunAttributeName[] = [
  'USERNAME',
  'REALM',
  'NONCE',
  'PASSWORD-ALGORITHM',
  'CHANNEL-NUMBER',
  'LIFETIME',
  'XOR-PEER-ADDRESS',
  'REQUESTED-ADDRESS-FAMILY',
  'EVEN-PORT',
  'REQUESTED-TRANSPORT',
  'RESERVATION-TOKEN',
]

/** An authenticated request, and whom the answer goes to. */
interface Asked {
  readonly message: ParsedStun
  readonly flow: Flow
  readonly user: string
  readonly protection: StunProtection
}

interface Pending {
  readonly asked: Asked
  readonly user: string
  /** EVEN-PORT. */
  readonly even: boolean
  tries: number
}

/** A TURN server over UDP on the sockets of port 4500, RFC 8656: this host as a relay for those who have an account. */
export class TurnRelay implements Service {
  readonly #rng: Rng
  readonly #settings: ServeSettings
  readonly #auth: RelayAuth
  readonly #requests = new Pacer(REQUESTS_PER_SECOND, REQUESTS_BURST)
  #locals: readonly LocalEndpoint[] = []
  /** By the client's address and port, and the endpoint here that it uses. */
  readonly #clients = new Map<string, RelayAllocation>()
  /** By the port of the socket that peers send to. */
  readonly #sockets = new Map<number, RelayAllocation>()
  /** Allocate requests that wait for a socket. */
  readonly #pending = new Map<string, Pending>()

  constructor({ crypto, rng }: ServiceContext, settings: ServeSettings) {
    this.#rng = rng
    this.#settings = settings
    this.#auth = new RelayAuth(crypto, rng, settings.realm, settings.users)
  }

  get deadline(): number {
    let due = Infinity
    for (const { until } of this.#clients.values()) due = Math.min(due, until)
    return due
  }

  claims({ bytes, start, end }: Packet, flow: Flow): 'mine' | undefined {
    if (flow.protocol !== UDP) return undefined
    if (this.#atSocket(flow.local) !== undefined) return 'mine'
    const first = bytes[start]!
    if (first < 0x40) {
      if (!isStun(bytes, start, end) || !FROM_CLIENTS.includes((first << 8) | bytes[start + 1]!)) return undefined
      return this.#locals.some(l => l.role === 'natt' && sameEndpoint(l, flow.local)) ? 'mine' : undefined
    }
    return first < 0x50 && this.#clients.has(clientKey(flow)) ? 'mine' : undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    switch (input.type) {
      case 'locals':
        return this.#setLocals(input.locals)
      case 'timeout':
        return [...this.#clients.values()].filter(({ until }) => until <= now).flatMap(a => this.#end(a))
      case 'bound':
        return this.#bound(input.tag, input.local, now)
      case 'datagram':
        return this.#datagram(input.bytes, input.flow, now)
      default:
        return []
    }
  }

  #atSocket({ address, port }: Endpoint): RelayAllocation | undefined {
    const allocation = this.#sockets.get(port)
    return allocation?.socket.address === address ? allocation : undefined
  }

  #setLocals(locals: readonly LocalEndpoint[]): ServiceOut[] {
    this.#locals = locals
    const gone = [...this.#clients.values()].filter(({ socket }) => !locals.some(l => sameEndpoint(l, socket)))
    return gone.flatMap(allocation => this.#end(allocation))
  }

  #end(allocation: RelayAllocation): ServiceOut[] {
    this.#clients.delete(clientKey(allocation.client))
    this.#sockets.delete(allocation.socket.port)
    return [{ type: 'unbind', local: allocation.socket }]
  }

  #datagram(bytes: Uint8Array, flow: Flow, now: number): readonly ServiceOut[] {
    const allocation = this.#atSocket(flow.local)
    if (allocation !== undefined) return this.#toClient(allocation, flow.remote, bytes, now)
    if (bytes[0]! >= 0x40) return this.#channelData(bytes, flow, now)
    if (((bytes[0]! << 8) | bytes[1]!) !== SEND_INDICATION && !this.#requests.take(now)) return drop('flood')
    let message: ParsedStun
    try {
      message = parseStun(bytes)
    } catch {
      return drop('malformed')
    }
    return message.class === 'indication' ? this.#send(message, flow, now) : this.#request(bytes, message, flow, now)
  }

  // ------------------------------------------------------------------ data

  #channelData(bytes: Uint8Array, flow: Flow, now: number): readonly ServiceOut[] {
    const allocation = this.#clients.get(clientKey(flow))
    const length = channelDataLength(bytes, 0, bytes.length)
    const peer = length === undefined ? undefined : allocation?.peerOf(channelNumber(bytes, 0), now)
    if (peer === undefined) return drop('channel')
    return this.#toPeer(allocation!, peer, bytes.subarray(4, 4 + length!), now)
  }

  #send(message: ParsedStun, flow: Flow, now: number): readonly ServiceOut[] {
    const allocation = this.#clients.get(clientKey(flow))
    const peer = stunValue(message, 'XOR-PEER-ADDRESS')
    const data = stunValue(message, 'DATA')
    const strange = notUnderstood(message, ['XOR-PEER-ADDRESS', 'DATA']).length > 0
    if (allocation === undefined || peer === undefined || data === undefined || strange) return drop('indication')
    return this.#toPeer(allocation, peer, data, now)
  }

  #toPeer(from: RelayAllocation, peer: Endpoint, data: Uint8Array, now: number): readonly ServiceOut[] {
    if (!from.permits(peer.address, now) || peer.port === 0) return drop('permission')
    const other = this.#sockets.get(peer.port)
    if (other !== undefined && sameEndpoint(other.relayed, peer)) return this.#toClient(other, from.relayed, data, now)
    // the services of this very host would see a neighbour where a stranger is
    if (this.#isOwn(peer.address)) return drop('own-address')
    const flow: Flow = { protocol: UDP, local: from.socket, remote: peer }
    return [{ type: 'transmit', bytes: data.slice(), flow }]
  }

  #toClient(allocation: RelayAllocation, peer: Endpoint, data: Uint8Array, now: number): readonly ServiceOut[] {
    if (!allocation.permits(peer.address, now)) return drop('permission')
    const bytes = allocation.wrap(peer, data, () => this.#rng.bytes(12), now)
    return [{ type: 'transmit', bytes, flow: allocation.client }]
  }

  #isOwn(address: string): boolean {
    return address === this.#settings.external || this.#locals.some(l => l.address === address)
  }

  // ------------------------------------------------------------------ requests

  #request(bytes: Uint8Array, message: ParsedStun, flow: Flow, now: number): readonly ServiceOut[] {
    const verdict = this.#auth.judge(bytes, message, flow.remote, now)
    if (verdict.type === 'refused') {
      const { code, reason, more } = verdict
      return [
        respond({ message, flow, protection: {} }, 'error', [{ type: 'ERROR-CODE', value: { code, reason } }, ...more]),
      ]
    }
    const asked: Asked = { message, flow, user: verdict.user, protection: verdict.protection }
    const unknown = notUnderstood(message, UNDERSTOOD)
    if (unknown.length > 0) return refuse(asked, 'UNKNOWN_ATTRIBUTE', { type: 'UNKNOWN-ATTRIBUTES', value: unknown })
    if (message.method === StunMethod.Allocate) return this.#allocate(asked)
    const allocation = this.#clients.get(clientKey(flow))
    if (allocation === undefined) return refuse(asked, 'ALLOCATION_MISMATCH')
    if (allocation.user !== asked.user) return refuse(asked, 'WRONG_CREDENTIALS')
    switch (message.method) {
      case StunMethod.Refresh:
        return this.#refresh(asked, allocation, now)
      case StunMethod.CreatePermission:
        return this.#permission(asked, allocation, now)
      default:
        return this.#channelBind(asked, allocation, now)
    }
  }

  #allocate(asked: Asked): readonly ServiceOut[] {
    const { message, flow, user } = asked
    const key = clientKey(flow)
    const existing = this.#clients.get(key)
    if (existing !== undefined) {
      if (existing.user === user && existing.madeBy(message.transaction))
        return [allocated(asked, existing, LIFETIME_S.default)]
      return refuse(asked, 'ALLOCATION_MISMATCH')
    }
    if (this.#pending.has(key)) return [] // the answer is on its way
    const transport = stunValue(message, 'REQUESTED-TRANSPORT')
    if (transport === undefined) return refuse(asked, 'BAD_REQUEST')
    if (transport !== UDP) return refuse(asked, 'UNSUPPORTED_TRANSPORT_PROTOCOL')
    // no pairs of ports here: whoever needs one asks elsewhere
    if (stunValue(message, 'EVEN-PORT') === true || stunValue(message, 'RESERVATION-TOKEN') !== undefined)
      return refuse(asked, 'INSUFFICIENT_CAPACITY')
    const family = stunValue(message, 'REQUESTED-ADDRESS-FAMILY') === StunFamily.IPv6 ? 6 : 4
    const address = [flow.local, ...this.#locals].find(l => familyOf(l.address) === family)?.address
    if (address === undefined) return refuse(asked, 'ADDRESS_FAMILY_NOT_SUPPORTED')
    const all = [...this.#clients.values(), ...this.#pending.values()]
    if (all.filter(a => a.user === user).length >= this.#settings.perUser)
      return refuse(asked, 'ALLOCATION_QUOTA_REACHED')
    if (all.length >= this.#settings.total || this.#pending.size >= MAX_PENDING)
      return refuse(asked, 'INSUFFICIENT_CAPACITY')
    // the views of the message end with this call
    const copy = { ...message, transaction: message.transaction.slice(), attributes: lifetimeOf(message) }
    this.#pending.set(key, {
      asked: { ...asked, message: copy },
      user,
      even: stunValue(message, 'EVEN-PORT') !== undefined,
      tries: 1,
    })
    return [{ type: 'bind', address, tag: key }]
  }

  #bound(tag: string, local: LocalEndpoint | undefined, now: number): readonly ServiceOut[] {
    const pending = this.#pending.get(tag)
    if (pending === undefined) return []
    const { asked } = pending
    const unfit = local !== undefined && (this.#sockets.has(local.port) || (pending.even && local.port % 2 === 1))
    if (unfit && pending.tries < MAX_BINDS) {
      pending.tries++
      // the next one first, or the system may give the same again
      return [
        { type: 'bind', address: local.address, tag },
        { type: 'unbind', local },
      ]
    }
    this.#pending.delete(tag)
    if (local === undefined) return refuse(asked, 'INSUFFICIENT_CAPACITY')
    if (unfit) return [{ type: 'unbind', local }, ...refuse(asked, 'INSUFFICIENT_CAPACITY')]
    const { message, flow, user } = asked
    const { external } = this.#settings
    const socket = { address: local.address, port: local.port }
    const seen = external !== undefined && familyOf(external) === familyOf(local.address) ? external : local.address
    const seconds = lifetime(message)
    const allocation = new RelayAllocation({
      client: flow,
      user,
      socket,
      relayed: { address: seen, port: local.port },
      transaction: hex(message.transaction),
      until: now + seconds * 1000,
    })
    this.#clients.set(tag, allocation)
    this.#sockets.set(local.port, allocation)
    return [allocated(asked, allocation, seconds)]
  }

  #refresh(asked: Asked, allocation: RelayAllocation, now: number): readonly ServiceOut[] {
    const family = stunValue(asked.message, 'REQUESTED-ADDRESS-FAMILY')
    if (family !== undefined && (family === StunFamily.IPv6) !== (familyOf(allocation.relayed.address) === 6))
      return refuse(asked, 'PEER_ADDRESS_FAMILY_MISMATCH')
    const seconds = stunValue(asked.message, 'LIFETIME') === 0 ? 0 : lifetime(asked.message)
    allocation.until = now + seconds * 1000
    const answer = respond(asked, 'success', [{ type: 'LIFETIME', value: seconds }])
    return seconds === 0 ? [answer, ...this.#end(allocation)] : [answer]
  }

  #permission(asked: Asked, allocation: RelayAllocation, now: number): readonly ServiceOut[] {
    const peers = stunValues(asked.message, 'XOR-PEER-ADDRESS')
    if (peers.length === 0) return refuse(asked, 'BAD_REQUEST')
    const problem = peers.map(peer => this.#problem(allocation, peer.address)).find(p => p !== undefined)
    if (problem !== undefined) return refuse(asked, problem)
    const addresses = peers.map(({ address }) => address)
    if (!allocation.permit(addresses, now)) return refuse(asked, 'INSUFFICIENT_CAPACITY')
    return [respond(asked, 'success', [])]
  }

  #channelBind(asked: Asked, allocation: RelayAllocation, now: number): readonly ServiceOut[] {
    const number = stunValue(asked.message, 'CHANNEL-NUMBER')
    const peer = stunValue(asked.message, 'XOR-PEER-ADDRESS')
    if (number === undefined || peer === undefined || number < CHANNELS.first || number > CHANNELS.last)
      return refuse(asked, 'BAD_REQUEST')
    const problem = this.#problem(allocation, peer.address)
    if (problem !== undefined) return refuse(asked, problem)
    if (!allocation.bind(number, peer, now)) return refuse(asked, 'BAD_REQUEST')
    return [respond(asked, 'success', [])]
  }

  #problem({ relayed }: RelayAllocation, address: string): keyof typeof StunError | undefined {
    if (familyOf(relayed.address) !== familyOf(address)) return 'PEER_ADDRESS_FAMILY_MISMATCH'
    return address === relayed.address || mayRelayTo(address, this.#settings) ? undefined : 'FORBIDDEN'
  }
}

const clientKey = ({ local, remote }: Flow): string => `${showEndpoint(local)} ${showEndpoint(remote)}`

const drop = (reason: string): readonly ServiceOut[] => [{ type: 'drop', reason: `turn-relay-${reason}` }]

const lifetimeOf = (message: ParsedStun): readonly StunAttribute[] =>
  message.attributes.filter(({ type }) => type === 'LIFETIME')

const lifetime = (message: ParsedStun): number =>
  Math.min(Math.max(stunValue(message, 'LIFETIME') ?? 0, LIFETIME_S.default), LIFETIME_S.most)

const allocated = (asked: Asked, { relayed }: RelayAllocation, seconds: number): ServiceOut =>
  respond(asked, 'success', [
    { type: 'XOR-RELAYED-ADDRESS', value: relayed },
    { type: 'LIFETIME', value: seconds },
    { type: 'XOR-MAPPED-ADDRESS', value: asked.flow.remote },
  ])

const refuse = (asked: Asked, name: keyof typeof StunError, ...more: StunAttribute[]): readonly ServiceOut[] => [
  respond(asked, 'error', [
    { type: 'ERROR-CODE', value: { code: StunError[name], reason: name.toLowerCase().replaceAll('_', ' ') } },
    ...more,
  ]),
]

function respond(
  { message, flow, protection }: Pick<Asked, 'message' | 'flow' | 'protection'>,
  kind: 'success' | 'error',
  attributes: readonly StunAttribute[],
): ServiceOut {
  const { method, transaction } = message
  return { type: 'transmit', bytes: serializeStun({ class: kind, method, transaction, attributes }, protection), flow }
}
