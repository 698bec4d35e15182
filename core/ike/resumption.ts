import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Address } from '../contracts/net.ts'
import type { Identity, PeerSettings } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, type Identification, NotifyType, type Payload } from '../wire/index.ts'
import type { InitOctets } from './channel.ts'
import { equalBytes } from './equal.ts'
import type { Exchange } from './exchange.ts'
import { showIdentity } from './identity.ts'
import type { IkeSa } from './ike-sa.ts'
import { findNotify, notify } from './notify.ts'
import { disproof } from './proof.ts'
import type { IkeSuite } from './suite.ts'
import type { OpenTicket } from './tickets.ts'

/**
 * Session resumption, RFC 5723: with a ticket of the responder the initiator takes up an IKE SA that was lost, without a
 * key exchange and without proving anew who it is. Here is what both roles say of tickets in protected messages; the
 * exchange that uses one is in resume.ts and responder.ts, what stands in one in tickets.ts.
 */

/** A ticket at the initiator, and what belongs to it. `d` is its owner's to wipe. */
export interface Ticket {
  readonly opaque: Uint8Array
  /** SK_d of the IKE SA that it is for. */
  readonly d: Uint8Array
  readonly suite: IkeSuite
  readonly identity: Identity
  readonly ppk: string | undefined
  readonly authenticatedAt: number
  /** Inner addresses that this end had from the peer. */
  readonly virtual: readonly Address[]
  /** As in `Session`, of the responder. */
  readonly provedUntil: number | undefined
  /** Monotonic ms. */
  readonly until: number
  /** `line` of the IKE SA. */
  readonly line: string
}

/** What a resumed IKE SA has from the one before. */
export interface Resumption {
  /** Whom the peer has proved to be. */
  readonly identity: Identity
  /** Monotonic ms when both ends last proved who they are. */
  readonly authenticatedAt: number
  /** At the initiator: inner addresses it had, and asks for again. */
  readonly virtual?: readonly Address[]
  /** At the responder. */
  readonly ticket?: Pick<OpenTicket, 'id' | 'until' | 'idi' | 'settings'>
}

/** No responder has a reason for more, and the request with it in goes in one datagram. */
const MAX_OPAQUE = 2_048
const LIFETIME = 4

/** Id of the PPK that is in the keys. */
function ppkOf({ facts }: IkeSa): string | undefined {
  const id = facts['ppk']?.value
  return typeof id === 'string' ? id : undefined
}

/** For the initiator's IKE_AUTH. */
export const requestTicket = ({ settings }: IkeSa): Payload[] =>
  settings?.resumption === false ? [] : [notify(NotifyType.TICKET_REQUEST)]

/** The initiator was given a ticket, in an answer or, after TICKET_ACK, in a request of the responder. */
export function receiveTicket(sa: IkeSa, payloads: readonly Payload[], now: number): void {
  const data = findNotify(payloads, NotifyType.TICKET_LT_OPAQUE)?.data
  if (data === undefined || !sa.initiated || sa.settings?.resumption === false) return
  const seconds = data.length > LIFETIME ? new DataView(data.buffer, data.byteOffset).getUint32(0) : 0
  if (seconds === 0 || data.length - LIFETIME > MAX_OPAQUE) return
  const { suite, keys } = sa.channel!
  const provedUntil = sa.proof.until
  const ticket: Ticket = {
    opaque: data.slice(LIFETIME),
    d: keys.d.slice(),
    suite,
    identity: sa.remoteId!,
    ppk: ppkOf(sa),
    authenticatedAt: sa.authenticatedAt,
    virtual: sa.virtual,
    until: now + Math.min(seconds * 1_000, (provedUntil ?? Infinity) - sa.host.wall(now)),
    provedUntil,
    line: sa.line,
  }
  sa.effect({ type: 'ticket', ticket })
}

/** The responder's answer to a request that asks for a ticket. */
export function grantTicket(sa: IkeSa, payloads: readonly Payload[], now: number): Payload[] {
  if (sa.initiated || findNotify(payloads, NotifyType.TICKET_REQUEST) === undefined) return []
  const settings = sa.settings!
  const { suite, keys } = sa.channel!
  const { reauthMs = 0 } = settings
  const authenticatedAt = sa.host.wall(sa.authenticatedAt)
  const session = {
    idi: sa.peerId!,
    identity: sa.remoteId!,
    suite,
    d: keys.d,
    authenticatedAt,
    until: reauthMs === 0 ? Infinity : authenticatedAt + reauthMs,
    provedUntil: sa.proof.until,
    ppk: ppkOf(sa),
  }
  const granted = settings.resumption === false ? undefined : sa.host.tickets.grant(settings, session, now)
  if (granted === undefined) return [notify(NotifyType.TICKET_NACK)]
  const data = new Uint8Array(LIFETIME + granted.opaque.length)
  new DataView(data.buffer).setUint32(0, granted.seconds)
  data.set(granted.opaque, LIFETIME)
  return [notify(NotifyType.TICKET_LT_OPAQUE, data)]
}

/** A ticket goes with the keys it was made for: after a rekey there is another one, RFC 5723 §6.2. */
export class TicketExchange implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL

  request(sa: IkeSa): Payload[] {
    return requestTicket(sa)
  }

  response(sa: IkeSa, { payloads }: IncomingMessage, now: number): void {
    receiveTicket(sa, payloads, now)
  }
}

/**
 * The responder's IKE_AUTH of a session that is resumed: the peer must be the one in the ticket, and have its keys.
 * @throws PeerError with AUTHENTICATION_FAILED
 */
export function authenticateResumed(
  sa: IkeSa,
  { identity, ticket }: Resumption,
  idi: Identification,
  octets: readonly InitOctets[],
  payloads: readonly Payload[],
  now: number,
): PeerSettings {
  const failed = (why: string): never => {
    throw new PeerError('PEER_AUTH_FAILED', `${showIdentity(identity)}: ${why}`, NotifyType.AUTHENTICATION_FAILED)
  }
  const { settings, idi: before } = ticket!
  if (idi.idType !== before.idType || !equalBytes(idi.data, before.data)) return failed('the ticket is of another peer')
  const why = disproof(sa, settings, octets, idi, payloads, now)
  if (why !== undefined) return failed(why)
  if (!sa.host.tickets.use(ticket!, now)) return failed('the ticket was used meanwhile')
  return settings
}
