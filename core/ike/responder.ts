import type { KeyExchangeAnswer } from '../contracts/crypto.ts'
import type { Flow } from '../contracts/net.ts'
import { PeerError } from '../errors.ts'
import {
  ExchangeType,
  Flag,
  type IkeHead,
  type IkeMessage,
  NotifyType,
  type Payload,
  parseAddress,
  parseIke,
  payloadOf,
  serializeIke,
} from '../wire/index.ts'
import { Budget } from './budget.ts'
import { Cookies, glance } from './challenge.ts'
import { openChannel, resumeChannel } from './channel.ts'
import { offerHashes, readWishes, requestCertificates } from './credentials.ts'
import { agreeFragmentation, offerFragmentation } from './datagram-size.ts'
import { equalBytes, wipe } from './equal.ts'
import type { Behaviour } from './exchange.ts'
import type { IkeHost } from './host.ts'
import { IkeSa } from './ike-sa.ts'
import { findNotify, notify } from './notify.ts'
import { usePpk } from './ppk.ts'
import { type ProposalSpec, parseProposals, usableProposals } from './proposal.ts'
import { freshSpi } from './rekey-ike.ts'
import { ikeSuite, selectProposal, suiteFits } from './selection.ts'
import { answerKeyExchange } from './suite.ts'
import { traceOpen } from './trace.ts'

/**
 * The responder's front door, RFC 7296 §2.6: answers IKE_SA_INIT and IKE_SESSION_RESUME requests. It keeps no state before the peer has shown
 * that it receives at its address once there are many half-open SAs.
 */

const NONCE = 32
/** Retries of one request with other cookies that are remembered: as many as this host makes itself. */
const MAX_VARIANTS = 5
/** Requests that are looked into without a cookie, however few SAs come of them: each costs more than a cookie does. */
const UNPROVEN_BURST = 200
const UNPROVEN_PER_SECOND = 200
const DEFAULT_PER_SOURCE = 250

/** SAs that wait for IKE_AUTH. */
export interface HalfOpen {
  readonly all: number
  /** Of those, from the address (IPv6: the /64) that the request is from. */
  readonly fromThere: number
}

/** What became of a request: an answer, a new half-open SA, or the reason it was dropped. */
export interface Answered {
  readonly reply?: Uint8Array
  readonly sa?: IkeSa
  readonly drop?: string
  /** In words for the log where a request was refused. */
  readonly why?: string
}

/** One that opens an IKE SA. */
interface Request {
  /** From SPIi on. */
  readonly raw: Uint8Array
  readonly message: IkeMessage
  readonly flow: Flow
  readonly now: number
  readonly ni: Uint8Array
}

export class Responder {
  readonly #host: IkeHost
  readonly #behaviour: Behaviour
  readonly #cookies: Cookies
  #own: readonly ProposalSpec[] | undefined
  readonly #unproven = new Budget(UNPROVEN_BURST, UNPROVEN_PER_SECOND)

  constructor(host: IkeHost, behaviour: Behaviour) {
    this.#host = host
    this.#behaviour = behaviour
    this.#cookies = new Cookies(host)
  }

  /**
   * Under load asks for a cookie before anything is looked at.
   * @param raw - a request that opens an IKE SA and belongs to none, with its header checked
   * @returns the answer; undefined: `receive` it
   */
  challenge(raw: Uint8Array, flow: Flow, halfOpen: HalfOpen, now: number): Uint8Array | undefined {
    const seen = glance(raw)
    if (seen === undefined || this.#host.peers().length === 0 || this.#cookies.fit(raw, seen, flow, now))
      return undefined
    if (halfOpen.all < this.#host.timers.cookieThreshold && this.#unproven.take(now)) return undefined
    return this.#cookies.ask(raw, seen, flow, now)
  }

  /**
   * @param raw - the request from SPIi on
   * @param halfOpen - how many SAs wait for IKE_AUTH now
   */
  receive(raw: Uint8Array, message: IkeMessage, flow: Flow, halfOpen: HalfOpen, now: number): Answered {
    const { header, payloads } = message
    if ((header.flags & Flag.RESPONSE) !== 0 || (header.flags & Flag.INITIATOR) === 0) return { drop: 'ike-wrong-role' }
    if (header.initiatorSpi === 0n || header.responderSpi !== 0n || header.messageId !== 0)
      return { drop: 'ike-unknown-spi' }
    if (this.#host.peers().length === 0) return { drop: 'ike-no-peers' }
    const { halfOpenLimit, halfOpenPerSource = DEFAULT_PER_SOURCE } = this.#host.timers
    const nonce = payloadOf(payloads, 'Nonce')
    if (nonce === undefined) return { drop: 'ike-init-incomplete' }
    if (halfOpen.all >= halfOpenLimit) return { drop: 'ike-half-open-limit' }
    if (halfOpen.fromThere >= halfOpenPerSource) return { drop: 'ike-half-open-source' }
    const critical = payloads.find(p => p.type === 'unknown' && p.critical)
    if (critical?.type === 'unknown')
      return this.#refuse(message, notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(critical.number)))
    const request = { raw, message, flow, now, ni: nonce.data.slice() }
    return header.exchange === ExchangeType.IKE_SESSION_RESUME ? this.#resume(request) : this.#init(request)
  }

  #init(request: Request): Answered {
    const { message, ni } = request
    const { payloads } = message
    const ke = payloadOf(payloads, 'KE')
    const offered = payloadOf(payloads, 'SA')
    if (ke === undefined || offered === undefined) return { drop: 'ike-init-incomplete' }
    const selection = selectProposal(offered.proposals, this.#proposals(), { preferKe: ke.group })
    const suite = selection.ok ? ikeSuite(selection.chosen) : undefined
    if (!selection.ok || suite === undefined)
      return {
        ...this.#refuse(message, notify(NotifyType.NO_PROPOSAL_CHOSEN)),
        why: selection.ok ? 'an incomplete IKE proposal' : `no common IKE proposal: ${selection.why.join('; ')}`,
      }
    if (suite.ke !== ke.group)
      return this.#refuse(message, notify(NotifyType.INVALID_KE_PAYLOAD, Uint8Array.of(suite.ke >> 8, suite.ke & 0xff)))
    const intermediate = findNotify(payloads, NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) !== undefined
    if (suite.additional !== undefined && !intermediate)
      return {
        ...this.#refuse(message, notify(NotifyType.NO_PROPOSAL_CHOSEN)),
        why: 'additional key exchanges without INTERMEDIATE_EXCHANGE_SUPPORTED',
      }
    let own: KeyExchangeAnswer
    try {
      own = answerKeyExchange(this.#host.crypto, suite.ke, ke.data, this.#host.rng)
    } catch (error) {
      if (error instanceof PeerError) return { drop: 'ike-ke' }
      throw error
    }
    const nr = this.#host.rng.bytes(NONCE)
    const sa = this.#open(request)
    const answer: Payload[] = [
      { type: 'SA', proposals: [selection.chosen] },
      { type: 'KE', group: suite.ke, data: own.publicValue },
      { type: 'Nonce', data: nr },
      ...this.#certificateWishes(),
      ...this.#childless(),
      ...(suite.additional === undefined ? [] : [notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED)]),
    ]
    sa.wishes = readWishes(payloads)
    sa.additional = suite.additional ?? []
    if (findNotify(payloads, NotifyType.USE_PPK) !== undefined) {
      const use = usePpk(this.#host.peers())
      sa.ppkAgreed = use.length > 0
      answer.push(...use)
    }
    return this.#accept(sa, request, answer, () => openChannel(sa, suite, own.shared, ni, nr))
  }

  /** IKE_SESSION_RESUME, RFC 5723 §4.3: a ticket that is not good leads to IKE_SA_INIT, whatever is wrong with it. */
  #resume(request: Request): Answered {
    const { message, ni, now } = request
    const { crypto, rng, tickets } = this.#host
    const opaque = findNotify(message.payloads, NotifyType.TICKET_OPAQUE)?.data
    if (opaque === undefined) return { drop: 'ike-init-incomplete' }
    const opened = tickets.open(opaque, now)
    const refuse = (drop: string): Answered => ({ ...this.#refuse(message, notify(NotifyType.TICKET_NACK)), drop })
    if (typeof opened === 'string') return refuse(`ike-ticket-${opened}`)
    const { suite, d, ppk } = opened
    if (!suiteFits(suite, usableProposals(parseProposals(opened.settings.proposals, 'ike'), crypto))) {
      wipe(d)
      return refuse('ike-ticket-unwanted')
    }
    const nr = rng.bytes(NONCE)
    const sa = this.#open(request)
    const { id, until, identity, idi, settings } = opened
    const authenticatedAt = now - (this.#host.wall(now) - opened.authenticatedAt)
    if (opened.provedUntil !== undefined) sa.proof.until = opened.provedUntil
    sa.resumption = { identity, authenticatedAt, ticket: { id, until, idi, settings } }
    if (ppk !== undefined) sa.learn('ppk', ppk, 'the session that is resumed')
    const answer: Payload[] = [{ type: 'Nonce', data: nr }, ...this.#childless()]
    const answered = this.#accept(sa, request, answer, () => resumeChannel(sa, suite, d, ni, nr))
    wipe(d)
    return answered
  }

  #open({ message, flow, now }: Request): IkeSa {
    return new IkeSa({
      host: this.#host,
      behaviour: this.#behaviour,
      initiator: false,
      initiatorSpi: message.header.initiatorSpi,
      responderSpi: freshSpi(this.#host),
      flow,
      now,
      first: { own: 0, peer: 1 },
    })
  }

  /** @param open - makes the keys */
  #accept(sa: IkeSa, { raw, message, flow, now }: Request, payloads: Payload[], open: () => void): Answered {
    const { exchange } = message.header
    const request = { exchange, response: false, messageId: 0, flow, payloads: message.payloads }
    traceOpen(sa, 'in', message, flow)
    const forced = this.#host.peers().some(p => p.encapsulation === 'force' && matchesAddress(p.remote, flow))
    if (forced) sa.learn('forceEncapsulation', true, 'encapsulation: force', now)
    this.#host.observe(sa)
    try {
      for (const task of sa.tasks) task.process?.(request, sa, now)
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      const refusal =
        error.notify === undefined ? { drop: 'ike-refused' } : this.#refuse(message, notify(error.notify, error.data))
      return { ...refusal, why: error.message }
    }
    if (agreeFragmentation(sa, message.payloads)) payloads.push(...offerFragmentation(this.#host.timers))
    for (const task of sa.tasks)
      task.build?.({ exchange, response: true, messageId: 0, flow, payloads, request }, sa, now)
    const header = this.#head(message, sa.responderSpi)
    const reply = serializeIke(header, payloads)
    open()
    const ownRequest = raw.slice()
    sa.initOctets = { own: reply, peer: ownRequest }
    traceOpen(sa, 'out', { header, payloads }, flow)
    // a retransmitted request gets the same answer; another one with the same SPI is somebody else's or a forgery
    sa.unprotected = (again, other, from, at) => {
      const { own, peer, variants = [] } = sa.initOctets ?? { own: reply, peer: ownRequest }
      if (![peer, ...variants].some(known => equalBytes(again, known))) {
        if (variants.length === MAX_VARIANTS || !equalBytes(withoutCookie(other), withoutCookie(parseIke(peer))))
          return sa.drop('init-changed')
        sa.initOctets = { own, peer, variants: [...variants, again.slice()] }
      }
      sa.transmit([reply], from, at)
    }
    return { reply, sa }
  }

  #refuse(message: IkeMessage, payload: Payload): Answered {
    return { reply: serializeIke(this.#head(message, 0n), [payload]) }
  }

  #head({ header }: IkeMessage, responderSpi: bigint): IkeHead {
    const { initiatorSpi, exchange } = header
    return { initiatorSpi, responderSpi, exchange, flags: Flag.RESPONSE, messageId: 0 }
  }

  #childless(): readonly Payload[] {
    return this.#host.peers().some(p => p.childless !== 'never') ? [notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED)] : []
  }

  /** What any peer may use: which one this is shows only in IKE_AUTH, where its own list is checked again. */
  #proposals(): readonly ProposalSpec[] {
    if (this.#own === undefined) {
      const texts = new Map(this.#host.peers().map(p => [p.proposals.join(' '), p.proposals]))
      this.#own = usableProposals(
        [...texts.values()].flatMap(list => parseProposals(list, 'ike')),
        this.#host.crypto,
      )
    }
    return this.#own
  }

  /** Of all peers, since it does not show yet which one this is. */
  #certificateWishes(): readonly Payload[] {
    const peers = this.#host.peers()
    return [...requestCertificates(peers.map(p => this.#host.credentials(p))), ...offerHashes(peers)]
  }
}

const matchesAddress = (remote: string | undefined, flow: Flow): boolean =>
  remote === undefined || remote === flow.remote.address || parseAddress(remote) === undefined

/** What must be equal in a request that is tried again with a cookie, be it a forged one (RFC 7296 §2.6). */
const withoutCookie = ({ header, payloads }: IkeMessage): Uint8Array =>
  serializeIke(
    header,
    payloads.filter(p => !(p.type === 'N' && p.notify === NotifyType.COOKIE)),
  )
