import type { CryptoProvider } from '../contracts/crypto.ts'
import { type Facts, withFacts } from '../contracts/facts.ts'
import type { IkeSaView, IkeTask, IncomingMessage, OutgoingMessage } from '../contracts/ike-task.ts'
import type { Rng } from '../contracts/machine.ts'
import { type Address, type Flow, sameFlow } from '../contracts/net.ts'
import type { ChildSettings, Identity, PeerSettings } from '../contracts/settings.ts'
import type { Plan } from '../contracts/strategy.ts'
import { PeerError, WireError } from '../errors.ts'
import {
  ExchangeType,
  Flag,
  type Identification,
  type IkeHead,
  type IkeMessage,
  NotifyType,
  opensIkeSa,
  type Payload,
  parsePayloads,
  payloadOf,
  serializePayloads,
} from '../wire/index.ts'
import { Backlog } from './backlog.ts'
import { createBudget } from './budget.ts'
import { type Channel, destroyChannel, type InitOctets, settleChannel } from './channel.ts'
import { NO_WISHES, type PeerWishes } from './credentials.ts'
import { DatagramSize } from './datagram-size.ts'
import type { EapResponder } from './eap-auth.ts'
import type { Behaviour, Exchange } from './exchange.ts'
import type { ChildSa, IkeEffect, IkeHost } from './host.ts'
import { Transcript } from './intermediate.ts'
import { Keepalive } from './keepalive.ts'
import { reportIkeKeys } from './keylog.ts'
import { livenessDue } from './liveness.ts'
import { Mobility } from './mobike.ts'
import { notify } from './notify.ts'
import { PendingFollowUps } from './pending-follow-ups.ts'
import type { Chain } from './protect.ts'
import { ProtectedMessage } from './protected-message.ts'
import { Reassembly } from './reassembly.ts'
import { startReauth } from './reauth.ts'
import type { Resumption } from './resumption.ts'
import { Session } from './session.ts'
import { silence } from './silence.ts'
import type { AdditionalKe } from './suite.ts'
import { trace } from './trace.ts'

export interface IkeSaOptions {
  readonly host: IkeHost
  readonly behaviour: Behaviour
  /** True when this host sent the first message that made this SA (IKE_SA_INIT, or the rekey of an IKE SA). */
  readonly initiator: boolean
  readonly initiatorSpi: bigint
  readonly responderSpi: bigint
  readonly flow: Flow
  readonly now: number
  readonly first: { readonly own: number; readonly peer: number }
}

/** Pause before a request is tried again that the peer had no time for. */
const RETRY_MS = 2_000
/** Retransmissions after which a peer counts as silent: until then lost datagrams explain it. */
const SILENT_TRIES = 2
/** How long an ended SA repeats its last answer to retransmissions. */
const LINGER_MS = 30_000

/**
 * One IKE SA: protects, numbers and dispatches its messages, holds what was negotiated, and knows when it is time for
 * something. What single exchanges say is in files of their own. Sans-IO: every call gives back the effects it caused.
 */
export class IkeSa implements IkeSaView {
  readonly host: IkeHost
  readonly behaviour: Behaviour
  readonly initiator: boolean
  readonly initiatorSpi: bigint
  responderSpi: bigint
  readonly createdAt: number
  flow: Flow
  state: 'connecting' | 'established' | 'closing' | 'dead' = 'connecting'
  facts: Facts = {}
  plan: Plan | undefined
  settings: PeerSettings | undefined
  remoteId: Identity | undefined
  /** Responder: IDi as the peer sent it. */
  peerId: Identification | undefined
  /** What it goes on from, where it was made by a ticket (RFC 5723). */
  resumption: Resumption | undefined
  /** What the peer accepts of us. */
  wishes: PeerWishes = NO_WISHES
  /** By what each end has proved itself, in words, and how long the peer's is good (wall clock, ms). */
  readonly proof: { own?: string; peer?: string; until?: number } = {}
  /** Initiator: what goes on when the host was woken. */
  resumed: ((now: number) => void) | undefined
  /** Responder: the rest of IKE_AUTH, once the peer's address is there. */
  admit: ((now: number) => Payload[]) | undefined
  /** A request whose answer takes time. */
  #postponed: IncomingMessage | undefined
  /** Responder: EAP is under way in IKE_AUTH. */
  eap: EapResponder | undefined
  channel: Channel | undefined
  tasks: readonly IkeTask[]
  readonly children = new Map<string, ChildSa>()
  /** Names this SA and all that replace it by rekeying. */
  line: string
  /** Whether this host initiated the first SA of the line. */
  initiated: boolean
  /** Shared with the SAs that replace this one. */
  mobility = new Mobility()
  size: DatagramSize
  /** Additional key exchanges that are still to come before IKE_AUTH, and what was said in them. */
  additional: readonly AdditionalKe[] = []
  readonly transcript = new Transcript()
  /** Takes the place of `channel` once the answer at hand has gone out. */
  replacement: Channel | undefined
  /** How much work its CREATE_CHILD_SA requests may make; shared with the SAs that replace it. */
  budget = createBudget()
  /** What the peer has begun in CREATE_CHILD_SA and not finished yet. */
  readonly followUps = new PendingFollowUps()
  /** Both ends have said USE_PPK, RFC 8784. */
  ppkAgreed = false
  /** Inner addresses: the peer's, when this host assigned them, or own ones that the peer assigned. */
  assigned: readonly Address[] = []
  /** Why there is none for the peer, where somebody has said so. */
  unassigned: string | undefined
  virtual: readonly Address[] = []
  dns: readonly Address[] = []
  /** Monotonic ms when a packet of the peer last authenticated, and when this host last sent IKE. */
  lastIn: number
  lastOut = 0
  rekeyAt = Infinity
  /** When an initiator authenticates anew, and when a responder waits no longer for that. */
  reauthAt = Infinity
  establishedAt = Infinity
  /** When both ends have proved who they are; of a resumed SA that was in another one. */
  authenticatedAt = Infinity
  /** Child SAs to negotiate as soon as it stands; undefined: those of the settings. */
  wanted: readonly ChildSettings[] | undefined
  /** The gateway that this one redirects to, and the one that redirected here. */
  redirect: string | undefined
  redirectedFrom: string | undefined
  /** The peer does without a Child SA in IKE_AUTH, RFC 6023. */
  childlessPossible = false
  /** The SA that goes when this one stands with all its children. */
  renews: IkeSa | undefined
  /** The path it was made on, where this host looked for one. */
  path: string | undefined
  /** Responder: the IKE_SA_INIT messages, until IKE_AUTH has used them. */
  initOctets: InitOctets | undefined
  /** The peer has ended this SA, by DELETE or for a failed authentication: it goes once that is answered. */
  endedByPeer: { readonly code: string; readonly why: string } | undefined
  /** Both ends have rekeyed at once: this may not be the SA that stays, and has no children meanwhile. */
  provisional = false
  /** The SA this one's children moved to. */
  successor: IkeSa | undefined
  /** Called with a message that is not protected by this SA: of the exchange that opens it. */
  unprotected: ((raw: Uint8Array, message: IkeMessage, flow: Flow, now: number) => void) | undefined
  /** When `unprotected`'s exchange wants to be called back for good or ill. */
  giveUpAt = Infinity
  giveUp: (now: number) => void = () => {}
  readonly session: Session
  readonly #reassembly: Reassembly
  readonly #backlog = new Backlog()
  #current: Exchange | undefined
  #effects: IkeEffect[] = []
  readonly #keepalive = new Keepalive()
  #lingerUntil = Infinity

  constructor({ host, behaviour, initiator, initiatorSpi, responderSpi, flow, now, first }: IkeSaOptions) {
    this.host = host
    this.behaviour = behaviour
    this.initiator = initiator
    this.initiatorSpi = initiatorSpi
    this.responderSpi = responderSpi
    this.flow = flow
    this.createdAt = now
    this.lastIn = now
    this.line = (initiator ? initiatorSpi : responderSpi).toString(16).padStart(16, '0')
    this.initiated = initiator
    this.session = new Session(host.timers, first)
    this.size = new DatagramSize(host.timers)
    this.#reassembly = new Reassembly(host.reassembly)
    this.tasks = host.tasks()
  }

  get peer(): string | undefined {
    return this.settings?.name
  }

  get crypto(): CryptoProvider {
    return this.host.crypto
  }

  get rng(): Rng {
    return this.host.rng
  }

  /** The SPI this host chose, unique among its SAs. */
  get ownSpi(): bigint {
    return this.initiator ? this.initiatorSpi : this.responderSpi
  }

  /** When `timeout` has something to do. */
  get deadline(): number {
    if (this.state === 'dead') return this.#lingerUntil
    const { session, giveUpAt, followUps } = this
    let due = Math.min(
      session.deadline,
      giveUpAt,
      followUps.deadline,
      this.#backlog.deadline,
      this.#reassembly.deadline,
    )
    if (this.state === 'connecting' && !this.initiator)
      due = Math.min(due, this.createdAt + this.host.timers.halfOpenTimeoutMs)
    if (this.state === 'established')
      due = Math.min(
        due,
        this.rekeyAt,
        this.reauthAt,
        this.#keepalive.deadline,
        session.busy ? Infinity : livenessDue(this),
      )
    return due
  }

  /** What the calls since the last `take` have caused, in order. */
  take(): readonly IkeEffect[] {
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  effect(effect: IkeEffect): void {
    this.#effects.push(effect)
  }

  learn(name: string, value: string | number | boolean, source: string, now = this.lastIn): void {
    if (this.facts[name]?.value === value) return
    this.facts = withFacts(this.facts, { [name]: { value, source, at: now } })
    this.effect({ type: 'fact', name, value, source })
  }

  /** Where ESP goes: with IKE, except while MOBIKE has not moved it yet. */
  get carrying(): Flow {
    return this.mobility.carried ?? this.flow
  }

  /** Queues an exchange; it starts at once when no other is under way. */
  enqueue(exchange: Exchange, now: number): void {
    this.defer(exchange)
    this.pump(now)
  }

  /** Queues an exchange to start after the message at hand was answered. */
  defer(exchange: Exchange): void {
    this.#backlog.push(exchange)
  }

  /** The next exchange of all: it goes on with what the one before has begun. */
  proceed(exchange: Exchange): void {
    this.#backlog.putFirst(exchange)
  }

  /** Tries an exchange again a little later (TEMPORARY_FAILURE, RFC 7296 §2.25), at a random moment so that two do not collide for ever. */
  later(exchange: Exchange, now: number): void {
    const jitter = (this.rng.bytes(1)[0]! / 256) * RETRY_MS
    this.#backlog.wait(exchange, now + RETRY_MS + jitter)
  }

  /** Takes over what another SA still has to do: it is being replaced by this one. */
  inherit(from: IkeSa, unless: (exchange: Exchange) => boolean, now: number): void {
    // not before the peer has been told of the new SA: the timeout that is due at once comes after that message
    from.#backlog.moveTo(this.#backlog, unless, now)
    from.rekeyAt = Infinity
  }

  /** True while an exchange of this kind is queued or under way. */
  pending(kind: new (...args: never[]) => Exchange): boolean {
    return this.#current instanceof kind || this.#backlog.some(exchange => exchange instanceof kind)
  }

  /** The exchange under way. */
  get current(): Exchange | undefined {
    return this.#current
  }

  pump(now: number): void {
    while (!this.session.busy && this.channel !== undefined && this.state !== 'dead') {
      const exchange = this.#backlog.next()
      if (exchange === undefined) return
      const payloads = this.#asked(exchange, now)
      if (payloads === undefined) continue
      this.#current = exchange
      const message: OutgoingMessage = {
        exchange: exchange.type,
        response: false,
        messageId: this.session.nextId,
        flow: this.flow,
        payloads,
      }
      const sealed = this.#seal(message, now)
      this.session.requested(sealed, now)
      this.transmit(sealed.datagrams(0), this.flow, now)
    }
  }

  #asked(exchange: Exchange, now: number): Payload[] | undefined {
    try {
      return exchange.request(this, now)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      this.close(error.code, error.message, now)
      return undefined
    }
  }

  transmit(datagrams: readonly Uint8Array[], flow: Flow, now: number): void {
    this.lastOut = now
    for (const bytes of datagrams) this.effect({ type: 'transmit', bytes, flow })
  }

  /** A message with this SA's SPIs. `message` may not have authenticated: nothing changes before it has. */
  receive(raw: Uint8Array, message: IkeMessage, flow: Flow, now: number): void {
    if (this.channel === undefined && this.state === 'dead') return this.drop('dead-sa')
    const { header } = message
    const response = (header.flags & Flag.RESPONSE) !== 0
    if (((header.flags & Flag.INITIATOR) !== 0) === this.initiator) return this.drop('wrong-role')
    if (opensIkeSa(header.exchange)) {
      if (this.unprotected === undefined) return this.drop('late-init')
      return this.unprotected(raw, message, flow, now)
    }
    // nobody has proved who they are yet: the peer says it again when its IKE_AUTH response has come
    if (!response && this.initiator && this.state === 'connecting') return this.drop('early')
    const fragment = payloadOf(message.payloads, 'SKF')
    const protectedPart = fragment ?? payloadOf(message.payloads, 'SK')
    if (this.channel === undefined || protectedPart === undefined) return this.drop('unprotected')
    if (fragment !== undefined && !this.size.enabled) return this.drop('fragment-unwanted')
    const known = response ? undefined : this.session.classify(header.messageId)
    if (response ? !this.session.expects(header.messageId) : known === 'stray') return this.drop('message-id')
    const { before } = this.channel
    const opener = known === 'again' && before?.messageId === header.messageId ? before.channel : this.channel
    let chain = opener.inbound.open(raw, protectedPart.bodyAt)
    if (chain === undefined) return this.drop('integrity')
    // a copy may come from anybody who listens: it proves neither life nor place of the peer (RFC 7296 §2.4); of one in
    // fragments the first alone counts, RFC 7383 §2.6.1
    if (known === 'again') {
      if (fragment === undefined || fragment.number === 1) this.transmit(this.session.repeat(), flow, now)
      return
    }
    if (this.state === 'dead') return this.drop('dead-sa')
    let { inner } = protectedPart
    if (fragment !== undefined) {
      const { exchange, messageId } = header
      const about = { exchange, response, messageId, length: raw.length, known: this.state !== 'connecting' }
      const whole = this.#reassembly.add({ ...about, skf: fragment, part: chain }, now)
      if (whole === undefined) return
      if (typeof whole === 'string') return this.drop(whole)
      ;({ inner, chain } = whole)
      this.size.heard(whole.largest)
    } else this.size.heard(undefined)
    this.#record(!this.initiator, header, { first: inner, bytes: chain })
    if (response) this.#response(header.exchange, header.messageId, inner, chain, flow, now)
    else this.#request(header.exchange, header.messageId, inner, chain, flow, now)
  }

  #record(byInitiator: boolean, head: IkeHead, chain: Chain): void {
    if (head.exchange === ExchangeType.IKE_INTERMEDIATE)
      this.transcript.add(this.crypto, this.channel!, byInitiator, head, chain)
  }

  /** Goes on with other keys. @param before - what a repeated answer is still protected with */
  openNext(channel: Channel, before?: Channel['before']): void {
    this.channel = before === undefined ? channel : { ...channel, before }
    reportIkeKeys(this)
  }

  /** The peer has the answer that these keys protected, or it would not ask for more. */
  #forgetBefore(): void {
    if (this.channel?.before === undefined) return
    const { before, ...channel } = this.channel
    destroyChannel(before.channel)
    this.channel = channel
  }

  #response(exchange: number, messageId: number, inner: number, chain: Uint8Array, flow: Flow, now: number): void {
    const current = this.#current
    if (current === undefined || exchange !== current.type) return this.drop('wrong-exchange')
    const payloads = this.#parse(inner, chain)
    this.lastIn = now
    this.session.acknowledge()
    this.#current = undefined
    if (payloads === undefined) return this.close('PEER_SYNTAX', 'the peer sent a malformed response', now)
    this.#follow(flow)
    const message: IncomingMessage = { exchange, response: true, messageId, flow, payloads }
    trace(this, 'in', message)
    try {
      for (const task of this.tasks) task.process?.(message, this, now)
      current.response(this, message, now)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      this.close(error.code, error.message, now)
    }
    this.mobility.answered(this, flow, now)
    this.pump(now)
  }

  #request(exchange: number, messageId: number, inner: number, chain: Uint8Array, flow: Flow, now: number): void {
    if (this.#postponed !== undefined) return this.drop('busy')
    this.#forgetBefore()
    this.lastIn = now
    const payloads = this.#parse(inner, chain)
    const request: IncomingMessage = { exchange, response: false, messageId, flow, payloads: payloads ?? [] }
    trace(this, 'in', request)
    this.#follow(flow, this.state === 'connecting')
    this.#answer(request, now, () => {
      if (payloads === undefined)
        throw new PeerError('PEER_SYNTAX', 'the peer sent a malformed request', NotifyType.INVALID_SYNTAX)
      const critical = payloads.find(p => p.type === 'unknown' && p.critical)
      if (critical?.type === 'unknown')
        return [notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(critical.number))]
      for (const task of this.tasks) task.process?.(request, this, now)
      return this.behaviour.respond(this, request, now)
    })
  }

  /** What was waited for is there. */
  resume(now: number): void {
    if (this.state === 'dead') return
    const [request, resumed] = [this.#postponed, this.resumed]
    this.#postponed = undefined
    this.resumed = undefined
    if (request !== undefined) return this.#answer(request, now, () => this.behaviour.resume(this, now))
    try {
      resumed?.(now)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      this.close(error.code, error.message, now)
    }
    this.pump(now)
  }

  #answer(request: IncomingMessage, now: number, respond: () => Payload[] | 'later'): void {
    const { exchange, messageId, flow } = request
    let answer: Payload[]
    let fatal: PeerError | undefined
    try {
      const found = respond()
      if (found === 'later') {
        this.#postponed = request
        return
      }
      answer = found
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      fatal = error
      answer = error.notify === undefined ? [] : [notify(error.notify, error.data)]
    }
    const message: OutgoingMessage = { exchange, response: true, messageId, flow, payloads: answer, request }
    const sealed = this.#seal(message, now)
    this.session.responded(messageId, sealed)
    const { replacement, channel } = this
    this.replacement = undefined
    if (replacement !== undefined) this.openNext(replacement, { channel: channel!, messageId })
    this.transmit(sealed.datagrams(0), flow, now)
    if (fatal !== undefined) this.close(fatal.code, fatal.message, now, true)
    else if (this.endedByPeer !== undefined) this.close(this.endedByPeer.code, this.endedByPeer.why, now, true)
    this.pump(now)
  }

  #parse(inner: number, chain: Uint8Array): readonly Payload[] | undefined {
    try {
      return parsePayloads(inner, chain)
    } catch (error) {
      if (error instanceof WireError) return undefined
      throw error
    }
  }

  #seal(message: OutgoingMessage, now: number): ProtectedMessage {
    for (const task of this.tasks) task.build?.(message, this, now)
    trace(this, 'out', message)
    const flags = (this.initiator ? Flag.INITIATOR : 0) | (message.response ? Flag.RESPONSE : 0)
    const { initiatorSpi, responderSpi } = this
    const head = { initiatorSpi, responderSpi, exchange: message.exchange, flags, messageId: message.messageId }
    const family = message.flow.remote.address.includes(':') ? 6 : 4
    const chain = serializePayloads(message.payloads)
    this.#record(this.initiator, head, chain)
    return new ProtectedMessage(this.channel!.outbound, head, chain, this.size, family)
  }

  /** Follows the peer to where an authenticated message came from, where that is allowed (RFC 7296 §2.23). */
  #follow(flow: Flow, floating = false): void {
    if (sameFlow(flow, this.flow) || this.mobility.enabled) return
    const follows = this.plan !== undefined && this.host.encap(this.plan.encap).follows?.(this.facts) === true
    if (floating || follows) this.move(flow)
  }

  move(flow: Flow): void {
    if (sameFlow(flow, this.flow)) return
    this.flow = flow
    this.effect({ type: 'moved', flow })
  }

  /** Unless the peer has deleted it by then. */
  endLater(at: number, why: string): void {
    this.giveUpAt = at
    this.giveUp = now => {
      this.giveUpAt = Infinity
      this.enqueue(this.behaviour.deletion(why), now)
    }
  }

  /** Everything negotiated: timers start. */
  establish(contact: boolean, now: number): void {
    this.unprotected = undefined
    this.authenticatedAt = this.resumption?.authenticatedAt ?? now
    this.startTimers(now)
    startReauth(this)
    this.effect({ type: 'established', contact })
  }

  startTimers(now: number): void {
    this.state = 'established'
    settleChannel(this)
    this.establishedAt = now
    const rekey = this.settings!.rekeyMs
    // both ends rekeying at the same moment is the common collision: spread them
    const spread = 0.85 + (this.rng.bytes(1)[0]! / 256) * 0.1
    this.rekeyAt = rekey === 0 ? Infinity : now + rekey * spread
    this.armKeepalive(now)
  }

  armKeepalive(now: number): void {
    this.#keepalive.arm(this, now)
  }

  timeout(now: number): void {
    if (this.state === 'dead') return now >= this.#lingerUntil ? this.#forget() : undefined
    const again = this.session.timeout(now)
    if (again === 'dead' && !this.mobility.fallBack(this, now))
      return this.close('PEER_UNREACHABLE', silence(this), now)
    if (Array.isArray(again)) for (const flow of this.mobility.ways(this)) this.transmit(again, flow, now)
    if (Array.isArray(again) && this.state === 'established' && this.session.retries === SILENT_TRIES)
      this.effect({ type: 'silent' })
    for (let i = this.#reassembly.timeout(now); i > 0; i--) this.drop('fragment-timeout')
    this.followUps.timeout(now)
    if (now >= this.giveUpAt) this.giveUp(now)
    if (this.#backlog.wake(now)) this.pump(now)
    if (this.state === 'connecting' && !this.initiator && now >= this.createdAt + this.host.timers.halfOpenTimeoutMs)
      return this.close('PEER_TIMEOUT', 'the peer did not finish IKE_AUTH', now)
    if (this.state !== 'established') return
    if (now >= this.reauthAt) {
      this.reauthAt = Infinity
      this.effect({ type: 'reauth' })
    }
    if (now >= this.rekeyAt) {
      this.rekeyAt = Infinity
      this.enqueue(this.behaviour.rekey(), now)
    }
    if (!this.session.busy && now >= livenessDue(this)) this.enqueue(this.behaviour.liveness(), now)
    this.#keepalive.timeout(this, now)
  }

  drop(reason: string): void {
    this.effect({ type: 'drop', reason: `ike-${reason}` })
  }

  /**
   * The SA is no more: its children go. Idempotent.
   * @param linger - its last answer may have been lost: keep what is needed to repeat it for a while
   */
  close(code: string, why: string, now: number, linger = false): void {
    if (this.state === 'dead') return
    this.#current?.ended?.(this, this.endedByPeer?.code === 'OK', now)
    this.state = 'dead'
    for (const child of this.children.values()) this.effect({ type: 'child-down', child, why })
    this.children.clear()
    this.#reassembly.clear()
    this.followUps.clear()
    if (this.successor === undefined && this.settings !== undefined)
      for (const address of this.assigned) this.host.release(this.settings, address, now)
    this.effect({ type: 'closed', code, why })
    if (linger) this.#lingerUntil = now + LINGER_MS
    else this.#forget()
  }

  #forget(): void {
    this.#lingerUntil = Infinity
    if (this.channel !== undefined) {
      destroyChannel(this.channel)
      this.channel = undefined
    }
    this.effect({ type: 'forgotten' })
  }
}
