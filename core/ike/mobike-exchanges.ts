import type { IncomingMessage } from '../contracts/ike-task.ts'
import { type Flow, sameFlow } from '../contracts/net.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, NotifyType, type Payload } from '../wire/index.ts'
import { prohibition } from './addresses.ts'
import { equalBytes } from './equal.ts'
import type { Exchange } from './exchange.ts'
import type { IkeSa } from './ike-sa.ts'
import { findNotify, notify } from './notify.ts'

/** INFORMATIONAL exchanges of MOBIKE, RFC 4555. */

const COOKIE = 32

/** "Use the addresses this message came with", RFC 4555 §3.5. The NAT detection adds what it needs. */
export class UpdateAddresses implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL
  #flow: Flow | undefined
  #cookie: Uint8Array | undefined

  request(sa: IkeSa): Payload[] {
    this.#flow = sa.flow
    // the peer has another address too: the answer proves that it is there
    this.#cookie = sa.mobility.carried === undefined ? undefined : sa.rng.bytes(COOKIE)
    return [
      notify(NotifyType.UPDATE_SA_ADDRESSES),
      ...sa.mobility.announce(sa),
      ...prohibition(sa),
      ...(this.#cookie === undefined ? [] : [notify(NotifyType.COOKIE2, this.#cookie)]),
    ]
  }

  /** @throws PeerError PEER_COOKIE2: the SA must be closed */
  response(sa: IkeSa, { payloads, flow }: IncomingMessage, now: number): void {
    const { mobility } = sa
    // addresses have changed since, so this answer speaks of others
    if (!sameFlow(this.#flow!, sa.flow)) return mobility.update(sa, now)
    if (findNotify(payloads, NotifyType.UNEXPECTED_NAT_DETECTED) !== undefined) return mobility.refused(sa, 'nat', now)
    if (findNotify(payloads, NotifyType.UNACCEPTABLE_ADDRESSES) !== undefined)
      return mobility.refused(sa, 'unacceptable', now)
    if (this.#cookie !== undefined) checkCookie(payloads, this.#cookie)
    if (!mobility.probed(sa, flow)) mobility.updated(sa, now)
  }
}

/** The other addresses of this host, RFC 4555 §3.6. */
export class AnnounceAddresses implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL

  request(sa: IkeSa): Payload[] {
    return [...sa.mobility.announce(sa), ...prohibition(sa)]
  }

  response(): void {}
}

/** Asks the peer, at the address it claims, for something only who receives there can know, RFC 4555 §3.7. */
export class ReturnRoutability implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL
  #cookie: Uint8Array | undefined
  #flow: Flow | undefined

  request(sa: IkeSa): Payload[] | undefined {
    if (sa.mobility.carried === undefined) return undefined
    this.#flow = sa.flow
    this.#cookie = sa.rng.bytes(COOKIE)
    return [notify(NotifyType.COOKIE2, this.#cookie)]
  }

  /** @throws PeerError PEER_COOKIE2: the SA must be closed */
  response(sa: IkeSa, { payloads }: IncomingMessage, now: number): void {
    const { mobility } = sa
    checkCookie(payloads, this.#cookie!)
    if (mobility.carried === undefined) return
    if (sameFlow(this.#flow!, sa.flow)) mobility.verified(sa, now)
    else sa.enqueue(new ReturnRoutability(), now)
  }
}

function checkCookie(payloads: readonly Payload[], sent: Uint8Array): void {
  const cookie = findNotify(payloads, NotifyType.COOKIE2)?.data
  if (cookie === undefined || !equalBytes(cookie, sent))
    throw new PeerError('PEER_COOKIE2', 'the peer answered the return routability check with a wrong cookie')
}
