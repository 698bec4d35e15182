import type { IncomingMessage } from '../contracts/ike-task.ts'
import { PeerError } from '../errors.ts'
import { ExchangeType, NotifyType, type Payload } from '../wire/index.ts'
import { respondAuth } from './auth.ts'
import { respondCreateChild } from './create-child.ts'
import type { Behaviour } from './exchange.ts'
import type { IkeSa } from './ike-sa.ts'
import { DeleteIke, Liveness, respondInformational } from './informational.ts'
import { respondIntermediate } from './intermediate.ts'
import { RekeyIke } from './rekey-ike.ts'

/**
 * Answers an authenticated request of the peer.
 * @throws PeerError when the IKE SA has to end; its notify goes into the answer
 */
function respond(sa: IkeSa, request: IncomingMessage, now: number): Payload[] | 'later' {
  if (sa.state === 'connecting') {
    if (request.exchange === ExchangeType.IKE_INTERMEDIATE && !sa.initiator) return respondIntermediate(sa, request)
    if (request.exchange === ExchangeType.IKE_AUTH && !sa.initiator && sa.additional.length === 0)
      return respondAuth(sa, request, now)
    if (request.exchange === ExchangeType.INFORMATIONAL && sa.eap !== undefined) return sa.eap.abandoned(sa)
  } else {
    if (request.exchange === ExchangeType.CREATE_CHILD_SA) return respondCreateChild(sa, request, now)
    if (request.exchange === ExchangeType.IKE_FOLLOWUP_KE) return sa.followUps.respond(sa, request, now)
    if (request.exchange === ExchangeType.INFORMATIONAL) return respondInformational(sa, request, now)
    const answer = sa.host.extension(sa, request, now)
    if (answer !== undefined) return answer
  }
  throw new PeerError('PEER_SYNTAX', `exchange ${request.exchange} is out of place`, NotifyType.INVALID_SYNTAX)
}

/** IKEv2, RFC 7296. */
export const ikev2: Behaviour = {
  respond,
  resume: (sa, now) => {
    const { admit } = sa
    sa.admit = undefined
    return admit?.(now) ?? sa.eap?.resume(sa) ?? []
  },
  rekey: () => new RekeyIke(),
  liveness: () => new Liveness(),
  deletion: why => new DeleteIke(why),
}
