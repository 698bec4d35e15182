import { showEndpoint } from '../contracts/net.ts'
import { ExchangeType, nameOf } from '../wire/index.ts'
import type { IkeSa } from './ike-sa.ts'

/** What a peer that does not answer may mean, by the exchange that gets no answer. */
export function silence({ flow, session, current, state, resumption }: IkeSa): string {
  const opening = resumption === undefined ? 'IKE_SA_INIT' : 'IKE_SESSION_RESUME'
  const exchange = current === undefined ? opening : nameOf(ExchangeType, current.type)
  const why = `no answer to ${exchange} after ${session.retries + 1} tries`
  const there = showEndpoint(flow.remote)
  if (current === undefined) return `${why}: is ${there} right, and does UDP get through?`
  if (state !== 'connecting') return `${why}: ${there} is gone, or the way there is`
  return `${why}, though ${opening} was answered: UDP to ${there} must get through, large messages too, and the peer must not drop us silently; its log says whether it has got the request`
}
