import type { OutgoingMessage } from '../contracts/ike-task.ts'
import type { Flow } from '../contracts/net.ts'
import { PeerError } from '../errors.ts'
import {
  ExchangeType,
  Flag,
  type IkeMessage,
  NotifyType,
  nameOf,
  type Payload,
  parseIke,
  payloadOf,
  serializeIke,
} from '../wire/index.ts'
import { AuthExchange } from './auth.ts'
import { resumeChannel } from './channel.ts'
import { agreeFragmentation, offerFragmentation } from './datagram-size.ts'
import type { IkeSa } from './ike-sa.ts'
import { floated } from './mobike.ts'
import { findError, findNotify, notify } from './notify.ts'
import { choosePlan } from './plan.ts'
import { offerRedirect, redirection } from './redirect.ts'
import type { Ticket } from './resumption.ts'
import { traceOpen } from './trace.ts'

/** IKE_SESSION_RESUME of the initiator, RFC 5723 §4.3, with COOKIE; it takes the place of IKE_SA_INIT. */

/** A peer that knows nothing of the exchange may drop it: it is tried less often than IKE_SA_INIT, which comes next. */
const TRIES = 1
const MAX_COOKIES = 5
const NONCE = 32

export class Resume {
  readonly #sa: IkeSa
  readonly #ticket: Ticket
  readonly #nonce: Uint8Array
  readonly #extras: readonly Payload[]
  #cookie: Uint8Array | undefined
  #cookies = 0
  #message: Uint8Array = new Uint8Array(0)

  /** @param ticket - stays the caller's; it is not looked at any more once the exchange is over */
  constructor(sa: IkeSa, ticket: Ticket, now: number) {
    const { identity, authenticatedAt, virtual } = ticket
    this.#sa = sa
    this.#ticket = ticket
    this.#nonce = sa.rng.bytes(NONCE)
    if (ticket.provedUntil !== undefined) sa.proof.until = ticket.provedUntil
    sa.resumption = { identity, authenticatedAt, virtual }
    sa.session.hasten(TRIES)
    sa.unprotected = (raw, message, flow, at) => this.#receive(raw, message, flow, at)
    this.#extras = this.#build(now)
    this.#send(now)
  }

  #build(now: number): readonly Payload[] {
    const { flow, tasks } = this.#sa
    const payloads: Payload[] = []
    const message: OutgoingMessage = {
      exchange: ExchangeType.IKE_SESSION_RESUME,
      response: false,
      messageId: 0,
      flow,
      payloads,
    }
    for (const task of tasks) task.build?.(message, this.#sa, now)
    return payloads
  }

  #send(now: number): void {
    const sa = this.#sa
    const payloads: Payload[] = [
      ...(this.#cookie === undefined ? [] : [notify(NotifyType.COOKIE, this.#cookie)]),
      { type: 'Nonce', data: this.#nonce },
      notify(NotifyType.TICKET_OPAQUE, this.#ticket.opaque),
      ...offerFragmentation(sa.host.timers),
      ...offerRedirect(sa),
      ...this.#extras,
    ]
    const { initiatorSpi } = sa
    const exchange = ExchangeType.IKE_SESSION_RESUME
    const head = { initiatorSpi, responderSpi: 0n, exchange, flags: Flag.INITIATOR, messageId: 0 }
    this.#message = serializeIke(head, payloads)
    traceOpen(sa, 'out', parseIke(this.#message), sa.flow)
    const datagrams = [this.#message]
    sa.session.requested({ datagrams: () => datagrams }, now)
    sa.transmit(datagrams, sa.flow, now)
  }

  #receive(raw: Uint8Array, message: IkeMessage, flow: Flow, now: number): void {
    const sa = this.#sa
    const { header, payloads } = message
    if ((header.flags & Flag.RESPONSE) === 0 || !sa.session.expects(header.messageId)) return sa.drop('message-id')
    if (header.exchange !== ExchangeType.IKE_SESSION_RESUME) return sa.drop('wrong-exchange')
    traceOpen(sa, 'in', message, flow)
    const nonce = payloadOf(payloads, 'Nonce')
    const cookie = findNotify(payloads, NotifyType.COOKIE)
    if (cookie !== undefined && nonce === undefined) return this.#again(cookie.data, now)
    const to = sa.settings?.redirect === false ? undefined : redirection(payloads, this.#nonce)
    if (to !== undefined) {
      sa.redirect = to
      return sa.close('PEER_REDIRECTED', `the peer redirects to ${to}`, now)
    }
    // a refusal that was forged costs a key exchange and nothing more
    const refusal = findNotify(payloads, NotifyType.TICKET_NACK) ?? findError(payloads)
    if (refusal !== undefined) {
      const why = `the peer refused IKE_SESSION_RESUME with ${nameOf(NotifyType, refusal.notify)}`
      return sa.close('PEER_NOT_RESUMED', why, now)
    }
    if (nonce === undefined || header.responderSpi === 0n) return sa.drop('resume-incomplete')
    this.#agree(raw, message, flow, nonce.data.slice(), now)
  }

  #again(cookie: Uint8Array, now: number): void {
    const sa = this.#sa
    if (cookie.length === 0 || cookie.length > 64) return sa.drop('init-cookie')
    if (++this.#cookies > MAX_COOKIES)
      return sa.close('PEER_NOT_RESUMED', 'the peer asked for IKE_SESSION_RESUME to be sent again and again', now)
    this.#cookie = cookie.slice()
    sa.session.withdraw()
    this.#send(now)
  }

  #agree(raw: Uint8Array, { header, payloads }: IkeMessage, flow: Flow, nr: Uint8Array, now: number): void {
    const sa = this.#sa
    const { suite, d, ppk } = this.#ticket
    sa.session.acknowledge()
    sa.unprotected = undefined
    sa.responderSpi = header.responderSpi
    sa.lastIn = now
    agreeFragmentation(sa, payloads)
    sa.childlessPossible = findNotify(payloads, NotifyType.CHILDLESS_IKEV2_SUPPORTED) !== undefined
    resumeChannel(sa, suite, d, this.#nonce, nr)
    if (ppk !== undefined) sa.learn('ppk', ppk, 'the session that is resumed')
    const { exchange, messageId } = header
    try {
      for (const task of sa.tasks) task.process?.({ exchange, response: true, messageId, flow, payloads }, sa, now)
      choosePlan(sa, sa.path === undefined ? {} : { path: sa.path })
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      return sa.close(error.code, error.message, now)
    }
    sa.move(floated(sa))
    sa.enqueue(new AuthExchange({ own: this.#message, peer: raw.slice() }), now)
  }
}
