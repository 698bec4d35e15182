import { type Endpoint, type Flow, sameEndpoint, showEndpoint } from '../contracts/net.ts'
import { familyOf } from '../wire/index.ts'
import { isReachable, type LocalCandidate, MAX_CANDIDATES, pairPriority, type RemoteCandidate } from './candidate.ts'

/** A way that may work: one of this host's candidates, one of the peer's. */
export interface CandidatePair {
  /** Unique in its checklist, from 1; the message ID of its checks in IKE-ME. */
  readonly number: number
  readonly local: LocalCandidate
  readonly remote: RemoteCandidate
  /** From the base of `local` to `remote`. */
  readonly flow: Flow
  readonly priority: bigint
}

/** Most pairs of one checklist: the product of two lists that a stranger may fill. */
export const MAX_PAIRS = 100

/**
 * All pairs of one family, best first and numbered in that order; of several between the same two endpoints the best.
 *
 * @param controlling - this host nominates
 */
export function formPairs(
  controlling: boolean,
  locals: readonly LocalCandidate[],
  remotes: readonly RemoteCandidate[],
): CandidatePair[] {
  const ours = locals.slice(0, MAX_CANDIDATES)
  const theirs = remotes.filter(r => isReachable(r.endpoint)).slice(0, MAX_CANDIDATES)
  const made = controlling
    ? ours.flatMap(local => theirs.map(remote => ({ local, remote })))
    : theirs.flatMap(remote => ours.map(local => ({ local, remote })))
  const pairs = made
    .filter(({ local, remote }) => canReach(local.base, remote.endpoint))
    .map(({ local, remote }) => makePair(0, controlling, local, remote))
    // stable: pairs of equal priority stay in the order of the lists
    .sort((a, b) => (a.priority === b.priority ? 0 : a.priority < b.priority ? 1 : -1))
  const seen = new Set<string>()
  const distinct = pairs.filter(({ flow }) => {
    const key = flowKey(flow)
    return !seen.has(key) && seen.add(key)
  })
  return distinct.slice(0, MAX_PAIRS).map((pair, i) => ({ ...pair, number: i + 1 }))
}

export function makePair(
  number: number,
  controlling: boolean,
  local: LocalCandidate,
  remote: RemoteCandidate,
): CandidatePair {
  const flow: Flow = { protocol: 17, local: local.base, remote: remote.endpoint }
  const priority = controlling
    ? pairPriority(local.priority, remote.priority)
    : pairPriority(remote.priority, local.priority)
  return { number, local, remote, flow, priority }
}

/** Of one family, and not this host itself: two homes may use the same addresses. */
const canReach = (base: Endpoint, remote: Endpoint): boolean =>
  familyOf(base.address) === familyOf(remote.address) && !sameEndpoint(base, remote)

export const flowKey = ({ local, remote }: Pick<Flow, 'local' | 'remote'>): string =>
  `${showEndpoint(local)} ${showEndpoint(remote)}`
