import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import type { Flow } from '../../core/contracts/net.ts'
import type { IkeSaRef, ServiceOut } from '../../core/contracts/service.ts'
import type { Identity } from '../../core/contracts/settings.ts'
import { fromIdentification, showIdentity, toIdentification } from '../../core/index.ts'
import { Pacer } from '../../core/path/index.ts'
import { ExchangeType, NotifyType, notifyOf, type Payload } from '../../core/wire/index.ts'
import { type Check, checkResponse, isAuthentic } from './check.ts'
import {
  type Connect,
  callbackPayloads,
  connectPayloads,
  meNotify,
  offerOf,
  readConnect,
  reflexiveAnswer,
  reflexiveOf,
  refusedPayloads,
} from './connect.ts'
import { hexOf, type ProbeKeys } from './links.ts'
import { isAllowed, type Settings } from './options.ts'

/** What one client may have under way at once: openings, requests on the way to it, peers it waits for. */
const MAX_OPENINGS = 32
const MAX_RELAYED = 32
const MAX_WAITING = 32
const OPENINGS_PER_SECOND = 10
/** An opening that was not answered by then never is. */
const OPENING_MS = 60_000

interface Client {
  readonly sa: IkeSaRef
  readonly id: Identity
  readonly key: string
  readonly probe: ProbeKeys | undefined
  readonly pacer: Pacer
  /** Requests to it that it has not answered yet. */
  relayed: number
  openings: number
}

interface Opening {
  readonly from: string
  readonly to: string
  readonly until: number
}

/** Brings clients together: passes on what they tell each other, and remembers who waits for whom. */
export class MediationServer {
  readonly #crypto: CryptoProvider
  readonly #settings: Settings
  /** By identity: a client that registers again takes the place of its former self. */
  readonly #clients = new Map<string, Client>()
  readonly #bySa = new Map<string, Client>()
  readonly #byProbe = new Map<string, Client>()
  /** Who asked for a client that is not there, with a callback: target, then requesters, the last one first. */
  readonly #waiting = new Map<string, Map<string, Identity>>()
  /** By connect ID and requester. */
  readonly #openings = new Map<string, Opening>()
  readonly #relays = new Map<
    string,
    { readonly client: Client; readonly opening: string | undefined; readonly id: Uint8Array }
  >()
  #serial = 0

  constructor(crypto: CryptoProvider, settings: Settings) {
    this.#crypto = crypto
    this.#settings = settings
  }

  /** Registered clients. */
  get clients(): readonly Identity[] {
    return [...this.#clients.values()].map(({ id }) => id)
  }

  get deadline(): number {
    let due = Infinity
    for (const { until } of this.#openings.values()) due = Math.min(due, until)
    return due
  }

  timeout(now: number): void {
    for (const [key, { from, until }] of this.#openings) if (until <= now) this.#close(key, from)
  }

  /** A mediation connection stands: the client is registered, and whoever waits for it is called back. */
  up(sa: IkeSaRef, probe: ProbeKeys | undefined): ServiceOut[] {
    const key = keyOf(sa.remoteId)
    const before = this.#clients.get(key)
    if (before !== undefined) this.#forget(before)
    const pacer = new Pacer(OPENINGS_PER_SECOND, MAX_OPENINGS)
    const client: Client = { sa, id: sa.remoteId, key, probe, pacer, relayed: 0, openings: 0 }
    this.#clients.set(key, client)
    this.#bySa.set(sa.id, client)
    if (probe !== undefined) this.#byProbe.set(hexOf(probe.id), client)
    const waiting = [...(this.#waiting.get(key)?.keys() ?? [])].reverse()
    this.#waiting.delete(key)
    return [
      { type: 'progress', peer: sa.peer, step: 'registered', text: `${showIdentity(client.id)} is registered` },
      ...waiting.flatMap(requester => {
        const other = this.#clients.get(requester)
        return other === undefined ? [] : this.#send(other, callbackPayloads(toIdentification(client.id)))
      }),
    ]
  }

  down(sa: IkeSaRef): void {
    const client = this.#bySa.get(sa.id)
    if (client !== undefined) this.#forget(client)
  }

  #forget(client: Client): void {
    this.#bySa.delete(client.sa.id)
    if (client.probe !== undefined) this.#byProbe.delete(hexOf(client.probe.id))
    if (this.#clients.get(client.key) === client) this.#clients.delete(client.key)
    for (const [target, requesters] of this.#waiting)
      if (requesters.delete(client.key) && requesters.size === 0) this.#waiting.delete(target)
    for (const [key, { from }] of this.#openings) if (from === client.key) this.#openings.delete(key)
    for (const [tag, relay] of this.#relays) if (relay.client === client) this.#relays.delete(tag)
  }

  serves(sa: IkeSaRef): boolean {
    return this.#bySa.has(sa.id)
  }

  /** An ME_CONNECT request of a client. */
  request(sa: IkeSaRef, payloads: readonly Payload[], now: number): ServiceOut[] {
    const client = this.#bySa.get(sa.id)!
    const connect = readConnect(payloads)
    const asked = reflexiveOf(payloads)
    if (connect.who === undefined && asked !== undefined && asked.endpoint === undefined)
      return [{ type: 'respond', payloads: [reflexiveAnswer(sa.flow.remote)] }]
    const offer = offerOf(connect)
    const target = connect.who && fromIdentification(connect.who)
    if (offer === undefined || target === undefined) return answer(NotifyType.INVALID_SYNTAX)
    return connect.response ? this.#answered(client, target, connect) : this.#opened(client, target, connect, now)
  }

  #opened(client: Client, target: Identity, connect: Connect, now: number): ServiceOut[] {
    const { id, callback } = connect
    const to = this.#clients.get(keyOf(target))
    if (!isAllowed(this.#settings, client.id, target)) return refuse('me-not-allowed')
    if (!client.pacer.take(now) || client.openings >= MAX_OPENINGS) return refuse('me-too-many')
    if (to === undefined) {
      if (callback) this.#wait(client, keyOf(target))
      return refuse('me-offline')
    }
    if (to === client || to.relayed >= MAX_RELAYED) return refuse('me-too-many')
    const key = openingKey(client.key, id!)
    if (!this.#openings.has(key)) client.openings++
    this.#openings.set(key, { from: client.key, to: to.key, until: now + OPENING_MS })
    return [
      ...answer(),
      {
        type: 'progress',
        peer: client.sa.peer,
        step: 'asks',
        text: `${showIdentity(client.id)} asks for ${showIdentity(to.id)}`,
      },
      ...this.#relay(to, client, connect, key),
    ]
  }

  /** Only whoever was asked may answer, and only with the ID he was given. */
  #answered(client: Client, requester: Identity, connect: Connect): ServiceOut[] {
    const key = openingKey(keyOf(requester), connect.id!)
    const opening = this.#openings.get(key)
    const to = this.#clients.get(keyOf(requester))
    if (opening?.to !== client.key || to === undefined) return refuse('me-unasked')
    this.#close(key, opening.from)
    return [...answer(), ...this.#relay(to, client, connect, undefined)]
  }

  #relay(to: Client, from: Client, connect: Connect, opening: string | undefined): ServiceOut[] {
    const offer = offerOf(connect)!
    const payloads = connectPayloads(toIdentification(from.id), offer, connect.response ? 'response' : undefined)
    return this.#send(to, payloads, opening, offer.id)
  }

  #send(
    client: Client,
    payloads: readonly Payload[],
    opening?: string,
    id: Uint8Array = new Uint8Array(0),
  ): ServiceOut[] {
    const tag = `relay ${++this.#serial}`
    this.#relays.set(tag, { client, opening, id })
    client.relayed++
    return [{ type: 'request', sa: client.sa.id, exchange: ExchangeType.ME_CONNECT, payloads, tag }]
  }

  /** A client has answered what it was sent: where it does not want, the requester is told. */
  response(tag: string, payloads: readonly Payload[]): ServiceOut[] {
    const relay = this.#relays.get(tag)
    this.#relays.delete(tag)
    if (relay === undefined) return []
    relay.client.relayed--
    const opening = relay.opening === undefined ? undefined : this.#openings.get(relay.opening)
    if (opening === undefined || notifyOf(payloads, NotifyType.ME_CONNECT_FAILED) === undefined) return []
    this.#close(relay.opening!, opening.from)
    const requester = this.#clients.get(opening.from)
    return requester === undefined
      ? []
      : this.#send(requester, refusedPayloads(toIdentification(relay.client.id), relay.id))
  }

  #close(key: string, from: string): void {
    const client = this.#clients.get(from)
    if (this.#openings.delete(key) && client !== undefined) client.openings--
  }

  #wait(client: Client, target: string): void {
    let already = 0
    for (const requesters of this.#waiting.values()) if (requesters.has(client.key)) already++
    const requesters = this.#waiting.get(target) ?? new Map<string, Identity>()
    if (already >= MAX_WAITING && !requesters.has(client.key)) return
    this.#waiting.set(target, requesters)
    requesters.set(client.key, client.id)
  }

  /** A check that a client sends to look at its NAT. @returns undefined when it is none of those */
  check(check: Check, flow: Flow): ServiceOut[] | undefined {
    const probe = this.#byProbe.get(hexOf(check.id))?.probe
    if (probe === undefined || check.response || !isAuthentic(this.#crypto, check, probe.peer)) return undefined
    return [
      { type: 'transmit', bytes: checkResponse(this.#crypto, flow, check, { id: probe.id, key: probe.own }), flow },
    ]
  }
}

const keyOf = ({ type, value }: Identity): string => `${type}:${value.toLowerCase()}`

const openingKey = (from: string, id: Uint8Array): string => `${hexOf(id)} ${from}`

const answer = (notify?: number): ServiceOut[] => [
  { type: 'respond', payloads: notify === undefined ? [] : [meNotify(notify)] },
]

const refuse = (reason: string): ServiceOut[] => [...answer(NotifyType.ME_CONNECT_FAILED), { type: 'drop', reason }]
