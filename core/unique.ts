import { sameEndpoint } from './contracts/net.ts'
import type { ChildSa } from './ike/host.ts'
import { sameIdentity } from './ike/identity.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { crossed, superfluous } from './ike/reauth.ts'
import { sameSelector } from './ike/selectors.ts'
import type { Peer } from './peer.ts'

/** Several IKE SAs with one identity: which of them are to go, and which Child SAs stand in for each other. */

/** Whether both SAs stand for the same identity of the peer. */
export const alike = (a: IkeSa, b: IkeSa): boolean =>
  a !== b && a.remoteId !== undefined && b.remoteId !== undefined && sameIdentity(a.remoteId, b.remoteId)

/** Whether two IKE SAs come from one place: the second may well authenticate anew what the first has. */
export const sameEnd = (a: IkeSa, b: IkeSa): boolean => sameEndpoint(a.flow.remote, b.flow.remote)

/**
 * What a new IKE SA means for others of its identity.
 *
 * `forget`: the peer has lost it, telling it would be talking to nobody; `end`: now, by us; `later`: by the peer, or by us
 * when it does not, as it may authenticate anew and bring its Child SAs over first
 */
export type Verdict = { readonly sa: IkeSa; readonly fate: 'forget' | 'end' | 'later'; readonly why: string }

/** @param contact - the peer said INITIAL_CONTACT */
export function verdicts(peer: Peer, sa: IkeSa, contact: boolean): Verdict[] {
  const { unique } = peer.settings
  if (unique === 'never') return []
  return peer.alike(sa).flatMap((other): Verdict[] => {
    if (other === sa.renews || other.successor) return []
    if (crossed(other, sa)) {
      // INITIAL_CONTACT says nothing of an SA that the peer was making at that time
      if (unique === 'no') return []
      const loser = superfluous(other, sa)
      return [{ sa: loser, fate: loser.initiated ? 'end' : 'later', why: 'both ends have connected at once' }]
    }
    if (contact) return [{ sa: other, fate: 'forget', why: 'the peer has started anew' }]
    if (unique !== 'replace' || other.createdAt > sa.createdAt) return []
    return [{ sa: other, fate: sameEnd(other, sa) && !sa.initiated ? 'later' : 'end', why: 'replaced' }]
  })
}

/** The newest Child SA of another IKE SA with this peer that carries the same traffic. */
export function standIn(peer: Peer, sa: IkeSa, child: ChildSa): ChildSa | undefined {
  return peer
    .alike(sa)
    .flatMap(other => [...other.children.values()])
    .findLast(other => sameTraffic(other, child))
}

const sameTraffic = (a: ChildSa, b: ChildSa): boolean =>
  a.state === 'installed' &&
  a.settings.name === b.settings.name &&
  sameSet(a.local, b.local) &&
  sameSet(a.remote, b.remote)

const sameSet = (a: ChildSa['local'], b: ChildSa['local']): boolean =>
  a.length === b.length && a.every(one => b.some(other => sameSelector(one, other)))
