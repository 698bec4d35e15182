import type { KeyExchange } from '../contracts/crypto.ts'
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
  type PayloadOf,
  type Proposal,
  parseIke,
  payloadOf,
  serializeIke,
} from '../wire/index.ts'
import { AuthExchange } from './auth.ts'
import { openChannel } from './channel.ts'
import { offerHashes, readWishes } from './credentials.ts'
import { agreeFragmentation, offerFragmentation } from './datagram-size.ts'
import type { IkeSa } from './ike-sa.ts'
import { IntermediateExchange } from './intermediate.ts'
import { floated } from './mobike.ts'
import { findError, findNotify, notify } from './notify.ts'
import { choosePlan } from './plan.ts'
import { agreePpk, usePpk } from './ppk.ts'
import { hasAdditional, keGroupsOf, offerProposals, parseProposals, usableProposals } from './proposal.ts'
import { offerRedirect, redirection } from './redirect.ts'
import { checkIkeChoice } from './selection.ts'
import type { IkeSuite } from './suite.ts'
import { traceOpen } from './trace.ts'

/** IKE_SA_INIT of the initiator, RFC 7296 §1.2, with COOKIE (§2.6) and INVALID_KE_PAYLOAD (§1.3). */

/** Answers that ask for another try before the attempt is given up. */
const MAX_RETRIES = 5
/** How long a refusal, which nothing authenticates, waits for a better answer to come. */
const GRACE_MS = 1_000
const NONCE = 32

export class Init {
  readonly #sa: IkeSa
  readonly #proposals: readonly Proposal[]
  readonly #nonce: Uint8Array
  #keyExchange: KeyExchange | undefined
  #group = 0
  #cookie: Uint8Array | undefined
  #retries = 0
  /** What the tasks added, made once: a retry changes only what it was asked to change. */
  #extras: readonly Payload[] = []
  #message: Uint8Array = new Uint8Array(0)
  #refusal: PeerError | undefined

  constructor(sa: IkeSa, now: number) {
    const { host, settings } = sa
    this.#sa = sa
    const own = usableProposals(parseProposals(settings!.proposals, 'ike'), host.crypto)
    this.#proposals = offerProposals(own, new Uint8Array(0))
    this.#nonce = host.rng.bytes(NONCE)
    const group = keGroupsOf(this.#proposals)[0]
    if (group === undefined) {
      const why = `no crypto provider here can do any of the IKE proposals (peers.${settings!.name}.proposals)`
      sa.close('USAGE_UNSUPPORTED_TRANSFORM', why, now)
      return
    }
    this.#group = group
    this.#keyExchange = host.crypto.keyExchange(this.#group, host.rng)
    sa.unprotected = (raw, message, flow, at) => this.#receive(raw, message, flow, at)
    this.#extras = this.#build(now)
    this.#send(now)
  }

  #build(now: number): readonly Payload[] {
    const { flow, settings } = this.#sa
    const payloads: Payload[] = offerHashes([settings!])
    const message: OutgoingMessage = {
      exchange: ExchangeType.IKE_SA_INIT,
      response: false,
      messageId: 0,
      flow,
      payloads,
    }
    for (const task of this.#sa.tasks) task.build?.(message, this.#sa, now)
    return payloads
  }

  #send(now: number): void {
    const sa = this.#sa
    const payloads: Payload[] = [
      ...(this.#cookie === undefined ? [] : [notify(NotifyType.COOKIE, this.#cookie)]),
      { type: 'SA', proposals: this.#proposals },
      { type: 'KE', group: this.#group, data: this.#keyExchange!.publicValue },
      { type: 'Nonce', data: this.#nonce },
      ...offerFragmentation(sa.host.timers),
      ...offerRedirect(sa),
      ...usePpk([sa.settings!]),
      ...(this.#proposals.some(hasAdditional) ? [notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED)] : []),
      ...this.#extras,
    ]
    this.#message = serializeIke(
      {
        initiatorSpi: sa.initiatorSpi,
        responderSpi: 0n,
        exchange: ExchangeType.IKE_SA_INIT,
        flags: Flag.INITIATOR,
        messageId: 0,
      },
      payloads,
    )
    traceOpen(sa, 'out', parseIke(this.#message), sa.flow)
    const datagrams = [this.#message]
    sa.session.requested({ datagrams: () => datagrams }, now)
    sa.transmit(datagrams, sa.flow, now)
  }

  #receive(raw: Uint8Array, message: IkeMessage, flow: Flow, now: number): void {
    const sa = this.#sa
    const { header, payloads } = message
    if ((header.flags & Flag.RESPONSE) === 0 || !sa.session.expects(header.messageId)) return sa.drop('message-id')
    traceOpen(sa, 'in', message, flow)
    const cookie = findNotify(payloads, NotifyType.COOKIE)
    if (cookie !== undefined && payloadOf(payloads, 'SA') === undefined) return this.#retry(cookie, now)
    const invalidKe = findNotify(payloads, NotifyType.INVALID_KE_PAYLOAD)
    if (invalidKe !== undefined) return this.#otherGroup(invalidKe, now)
    const to = sa.settings?.redirect === false ? undefined : redirection(payloads, this.#nonce)
    if (to !== undefined) return this.#redirected(to, now)
    const error = findError(payloads)
    if (error !== undefined) return this.#refused(initRefusal(error.notify), now)
    // whatever does not hold together may be forged: the true answer may still come, so nothing changes
    const answer = payloadOf(payloads, 'SA')
    const ke = payloadOf(payloads, 'KE')
    const nonce = payloadOf(payloads, 'Nonce')
    if (answer === undefined || ke === undefined || nonce === undefined || header.responderSpi === 0n)
      return sa.drop('init-incomplete')
    const check = checkIkeChoice(answer.proposals, this.#proposals)
    if (!check.ok || ke.group !== this.#group || check.suite.ke !== this.#group) return sa.drop('init-proposal')
    if (check.suite.additional && findNotify(payloads, NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) === undefined)
      return sa.drop('init-proposal')
    const refusal = agreePpk(sa, payloads)
    if (refusal !== undefined) return this.#refused(refusal, now)
    this.#agree(raw, message, flow, check.suite, ke, nonce.data, now)
  }

  #retry({ data }: PayloadOf<'N'>, now: number): void {
    if (data.length === 0 || data.length > 64) return this.#sa.drop('init-cookie')
    if (++this.#retries > MAX_RETRIES) return this.#refused(initRefusal(NotifyType.COOKIE), now)
    this.#cookie = data.slice()
    this.#sa.session.withdraw()
    this.#send(now)
  }

  #otherGroup({ data }: PayloadOf<'N'>, now: number): void {
    const group = data.length === 2 ? (data[0]! << 8) | data[1]! : 0
    // only a group that was offered, else an attacker could pick the weakest there is
    if (!keGroupsOf(this.#proposals).includes(group) || group === this.#group) return this.#sa.drop('init-group')
    if (++this.#retries > MAX_RETRIES) return this.#refused(initRefusal(NotifyType.INVALID_KE_PAYLOAD), now)
    this.#group = group
    this.#keyExchange = this.#sa.crypto.keyExchange(group, this.#sa.rng)
    this.#sa.session.withdraw()
    this.#send(now)
  }

  #redirected(to: string, now: number): void {
    this.#sa.redirect = to
    this.#sa.close('PEER_REDIRECTED', `the peer redirects to ${to}`, now)
  }

  #refused(refusal: PeerError, now: number): void {
    if (this.#refusal !== undefined) return
    this.#refusal = refusal
    this.#sa.giveUpAt = now + GRACE_MS
    this.#sa.giveUp = at => this.#sa.close(refusal.code, refusal.message, at)
  }

  #agree(
    raw: Uint8Array,
    message: IkeMessage,
    flow: Flow,
    suite: IkeSuite,
    ke: PayloadOf<'KE'>,
    nr: Uint8Array,
    now: number,
  ): void {
    const sa = this.#sa
    let shared: Uint8Array
    try {
      shared = this.#keyExchange!.shared(ke.data)
    } catch (error) {
      if (error instanceof PeerError) return sa.drop('init-ke')
      throw error
    }
    this.#keyExchange!.destroy?.()
    sa.session.acknowledge()
    sa.unprotected = undefined
    sa.giveUpAt = Infinity
    sa.responderSpi = message.header.responderSpi
    sa.lastIn = now
    agreeFragmentation(sa, message.payloads)
    sa.childlessPossible = findNotify(message.payloads, NotifyType.CHILDLESS_IKEV2_SUPPORTED) !== undefined
    openChannel(sa, suite, shared, this.#nonce, nr.slice())
    sa.wishes = readWishes(message.payloads)
    const { messageId } = message.header
    const incoming = { exchange: ExchangeType.IKE_SA_INIT, response: true, messageId, flow, payloads: message.payloads }
    try {
      for (const task of sa.tasks) task.process?.(incoming, sa, now)
      choosePlan(sa, sa.path === undefined ? {} : { path: sa.path })
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      return sa.close(error.code, error.message, now)
    }
    sa.move(floated(sa))
    const octets = { own: this.#message, peer: raw.slice() }
    sa.enqueue(IntermediateExchange.before(new AuthExchange(octets), suite.additional ?? []), now)
  }
}

function initRefusal(type: number): PeerError {
  switch (type) {
    case NotifyType.NO_PROPOSAL_CHOSEN:
      return new PeerError(
        'PEER_NO_PROPOSAL',
        'the peer refused IKE_SA_INIT with NO_PROPOSAL_CHOSEN: it accepts none of the IKE proposals, or knows no connection from this address; compare `proposals` with its configuration',
        type,
      )
    case NotifyType.INVALID_MAJOR_VERSION:
      return new PeerError(
        'PEER_VERSION',
        'the peer refused IKE_SA_INIT with INVALID_MAJOR_VERSION: it does not speak IKEv2, which must be enabled there',
        type,
      )
    case NotifyType.COOKIE:
    case NotifyType.INVALID_KE_PAYLOAD:
      return new PeerError('PEER_REFUSED', 'the peer asked for IKE_SA_INIT to be sent again and again', type)
    default:
      return new PeerError(
        'PEER_REFUSED',
        `the peer refused IKE_SA_INIT with ${nameOf(NotifyType, type)}; its log says why`,
        type,
      )
  }
}
