import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Payload } from '../wire/index.ts'
import type { IkeSa } from './ike-sa.ts'

/** What an IKE SA does of itself, in terms of exchanges; kept apart so that the SA knows none of them by name. */
export interface Behaviour {
  /**
   * Answers an authenticated request; 'later': `resume` has the answer once the host was woken.
   * @throws PeerError when the IKE SA has to end; its notify goes into the answer
   */
  respond(sa: IkeSa, request: IncomingMessage, now: number): Payload[] | 'later'
  resume(sa: IkeSa, now: number): Payload[] | 'later'
  rekey(): Exchange
  liveness(): Exchange
  deletion(why: string): Exchange
}

/** One exchange this host initiates: what it says and what it makes of the answer. */
export interface Exchange {
  /** ExchangeType. */
  readonly type: number
  /** Payloads of the request, made when its turn comes; undefined when it is no longer needed. */
  request(sa: IkeSa, now: number): Payload[] | undefined
  /** The peer's authenticated answer. @throws PeerError when it cannot be accepted: the IKE SA ends */
  response(sa: IkeSa, message: IncomingMessage, now: number): void
  /** The IKE SA ends before the answer came. @param byPeer - the peer has deleted it */
  ended?(sa: IkeSa, byPeer: boolean, now: number): void
}
