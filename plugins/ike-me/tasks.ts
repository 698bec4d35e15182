import type { IkeSaView, IkeTask, IncomingMessage, OutgoingMessage } from '../../core/contracts/ike-task.ts'
import { PeerError } from '../../core/errors.ts'
import { ExchangeType, NotifyType, notifyOf, opensIkeSa, type Payload } from '../../core/wire/index.ts'
import type { Attempt } from './attempt.ts'
import { meNotify, reflexiveAnswer, reflexiveOf, reflexiveRequest } from './connect.ts'
import { ECHO_NOTIFY, echoOf } from './echo.ts'
import { hexOf, type Links, type ProbeKeys } from './links.ts'

/** Octets of connect IDs and keys made here; strongSwan sends 4 and 16, and takes up to 16 and 32. */
export const ID_OCTETS = 8
export const KEY_OCTETS = 16

/** The first exchange after IKE_SA_INIT: what strongSwan's mediation looks at, however many rounds follow. */
const FIRST_AUTH = 1

/**
 * What mediation adds to the messages of one IKE SA: ME_MEDIATION and ME_ENDPOINT on a mediation connection, ME_CONNECTID
 * on a mediated one, and the echo by which natweave's ends find out what the server has changed.
 */
export class MediationTask implements IkeTask {
  readonly name = 'ike-me'
  readonly #links: Links
  /** The peer has asked for mediation, or has agreed to it. */
  #mediation = false
  #attempt: Attempt | undefined
  #probe: { readonly id: Uint8Array; readonly own: Uint8Array } | undefined

  constructor(links: Links) {
    this.#links = links
  }

  build(message: OutgoingMessage, sa: IkeSaView): void {
    if (opensIkeSa(message.exchange)) this.#buildInit(message, sa)
    else if (message.exchange === ExchangeType.IKE_AUTH && message.messageId === FIRST_AUTH) {
      if (this.#mediation) this.#buildMediation(message, sa)
      else if (this.#attempt !== undefined) this.#buildMediated(message, sa, this.#attempt)
    }
  }

  process(message: IncomingMessage, sa: IkeSaView): void {
    if (opensIkeSa(message.exchange)) this.#processInit(message, sa)
    else if (message.exchange === ExchangeType.IKE_AUTH && message.messageId === FIRST_AUTH && message.response) {
      if (this.#mediation) this.#registered(message, sa)
      else if (this.#attempt !== undefined) this.#mediated(message.payloads, sa, this.#attempt)
    }
  }

  #buildInit({ response, flow, payloads }: OutgoingMessage, sa: IkeSaView): void {
    if (response) {
      if (this.#mediation)
        payloads.push(meNotify(NotifyType.CHILDLESS_IKEV2_SUPPORTED), meNotify(NotifyType.ME_MEDIATION))
      return
    }
    if (this.#links.roles.get(sa.peer ?? '')?.type === 'mediation') payloads.push(meNotify(NotifyType.ME_MEDIATION))
    this.#attempt = this.#links.nominated(sa.peer ?? '', flow)
    if (this.#attempt !== undefined) payloads.push(meNotify(NotifyType.ME_CONNECTID, this.#attempt.id))
  }

  #processInit({ response, payloads }: IncomingMessage, sa: IkeSaView): void {
    const offered = notifyOf(payloads, NotifyType.ME_MEDIATION) !== undefined
    if (!response) {
      this.#mediation = offered && [...this.#links.roles.values()].some(role => role.type === 'mediation')
      const id = notifyOf(payloads, NotifyType.ME_CONNECTID)?.data
      const attempt = id && this.#links.attempts.get(hexOf(id))
      // the requester starts IKE; the ID is nobody's proof of anything
      if (attempt !== undefined && !attempt.controlling) this.#attempt = attempt
      return
    }
    if (this.#links.roles.get(sa.peer ?? '')?.type !== 'mediation') return
    if (!offered)
      throw new PeerError(
        'PEER_NO_MEDIATION',
        `${sa.peer} does not mediate (peers.${sa.peer}.options.ike-me.mediation): it sent no ME_MEDIATION`,
      )
    this.#mediation = true
    // the socket of 4500 is the one that checks are sent from: its mapping must be what the server sees
    sa.learn('forceEncapsulation', true, 'a mediation connection goes over port 4500')
  }

  #buildMediation(message: OutgoingMessage, sa: IkeSaView): void {
    const { response, payloads, request } = message
    if (!response) {
      // in the first round only, and before anybody has authenticated: nothing here is secret
      this.#probe = { id: sa.rng.bytes(ID_OCTETS), own: sa.rng.bytes(KEY_OCTETS) }
      payloads.push(reflexiveRequest(), ...probePayloads(this.#probe.id, this.#probe.own))
      return
    }
    // an answer without AUTH refuses; and not everybody who asks for mediation is to be served
    if (!payloads.some(p => p.type === 'AUTH')) return
    if (this.#links.roles.get(sa.peer ?? '')?.type !== 'mediation') return
    const asked = request && reflexiveOf(request.payloads)
    if (asked !== undefined) payloads.push(reflexiveAnswer(message.flow.remote))
    const theirs = probeOf(request?.payloads ?? [])
    let probe: ProbeKeys | undefined
    if (theirs !== undefined) {
      probe = { id: theirs.id, peer: theirs.key, own: sa.rng.bytes(KEY_OCTETS) }
      payloads.push(...probePayloads(probe.id, probe.own))
    }
    this.#links.meet(sa.line, { role: 'server', probe })
  }

  /** The server's answer. */
  #registered({ payloads, flow }: IncomingMessage, sa: IkeSaView): void {
    const endpoint = reflexiveOf(payloads)?.endpoint
    const theirs = probeOf(payloads)
    const own = this.#probe
    const agreed = own !== undefined && theirs !== undefined && hexOf(theirs.id) === hexOf(own.id)
    this.#links.meet(sa.line, {
      role: 'client',
      seen: endpoint && { endpoint, base: flow.local },
      probe: agreed ? { ...own, peer: theirs.key } : undefined,
    })
  }

  #buildMediated({ response, payloads, request }: OutgoingMessage, sa: IkeSaView, attempt: Attempt): void {
    const echo = echoFor(attempt, sa)
    if (response) {
      // an answer without AUTH refuses: nothing is said to nobody
      if (!payloads.some(p => p.type === 'AUTH')) return
      this.#mediated(request?.payloads ?? [], sa, attempt)
    }
    if (echo !== undefined) payloads.push(meNotify(ECHO_NOTIFY, echo))
  }

  /** The other end's echo, inside what it has authenticated. */
  #mediated(payloads: readonly Payload[], sa: IkeSaView, attempt: Attempt): void {
    const theirs = notifyOf(payloads, ECHO_NOTIFY)?.data
    const own = echoFor(attempt, sa)
    this.#links.meet(sa.line, { role: 'mediated', attempt: attempt.name, echoes: theirs !== undefined })
    if (theirs === undefined || own === undefined) return
    const same = hexOf(theirs) === hexOf(own)
    sa.learn('mediationAltered', !same, 'the echo of keys and endpoints in IKE_AUTH')
  }
}

function echoFor({ id, own, theirs, controlling }: Attempt, { crypto }: IkeSaView): Uint8Array | undefined {
  if (own === undefined || theirs === undefined) return undefined
  return controlling ? echoOf(crypto, id, own, theirs) : echoOf(crypto, id, theirs, own)
}

/** Between natweave's ends: the keys of checks that the server answers. Other servers and clients read past them. */
const probePayloads = (id: Uint8Array, key: Uint8Array): Payload[] => [
  meNotify(NotifyType.ME_CONNECTID, id),
  meNotify(NotifyType.ME_CONNECTKEY, key),
]

function probeOf(payloads: readonly Payload[]): { readonly id: Uint8Array; readonly key: Uint8Array } | undefined {
  const id = notifyOf(payloads, NotifyType.ME_CONNECTID)?.data
  const key = notifyOf(payloads, NotifyType.ME_CONNECTKEY)?.data
  if (id?.length !== ID_OCTETS || key?.length !== KEY_OCTETS) return undefined
  return { id: id.slice(), key: key.slice() }
}
