import type { Endpoint } from '../contracts/net.ts'
import { parseAddress } from '../wire/index.ts'

/** How a candidate became known (RFC 8445 §4, draft-brunner-ikev2-mediation-00). */
export type PathCandidateKind = 'host' | 'peer-reflexive' | 'server-reflexive' | 'relayed'

/** A place where the peer may be reached. */
export interface RemoteCandidate {
  readonly kind: PathCandidateKind
  readonly endpoint: Endpoint
  /** 32 bits; the larger the better. What `candidatePriority` gives has 24. */
  readonly priority: number
  /** Nobody has seen this port: it is where the next mapping of a NAT that counts is expected. */
  readonly predicted?: boolean
}

/** A place where this host may be reached. */
export interface LocalCandidate extends RemoteCandidate {
  /** The local endpoint to send from, so that packets seem to come from `endpoint`. Never told to anybody. */
  readonly base: Endpoint
}

/** Largest number of candidates of either side that are looked at. */
export const MAX_CANDIDATES = 16

const TYPE_PREFERENCE: Readonly<Record<PathCandidateKind, number>> = {
  host: 255,
  'peer-reflexive': 128,
  'server-reflexive': 64,
  relayed: 0,
}

/**
 * Type preference (255, 128, 64, 0) above the preference among those of one type.
 *
 * @param preference - 0 to 65535; a host with one address says 65535
 */
export const candidatePriority = (kind: PathCandidateKind, preference = 0xffff): number =>
  TYPE_PREFERENCE[kind] * 0x1_0000 + preference

/**
 * Priority of a pair, RFC 8445 §6.1.2.3: the same number on both sides. More than a double can hold.
 *
 * @param controlling - priority of the candidate of the end that nominates
 */
export function pairPriority(controlling: number, controlled: number): bigint {
  const [less, more] = controlling < controlled ? [controlling, controlled] : [controlled, controlling]
  return (BigInt(less) << 32n) + 2n * BigInt(more) + (controlling > controlled ? 1n : 0n)
}

/**
 * Whether a single host can have this endpoint: no port 0, and neither unspecified, loopback, link-local, multicast nor
 * broadcast. Whoever offers one of these wants somebody else to be sent packets.
 */
export function isReachable({ address, port }: Endpoint): boolean {
  const a = parseAddress(address)
  if (a === undefined || port < 1 || port > 65_535) return false
  if (a.length === 4) return a[0] !== 0 && a[0] !== 127 && a[0]! < 224 && !(a[0] === 169 && a[1] === 254)
  const mapped = a.subarray(0, 10).every(octet => octet === 0) && (a[10] === 0xff || a[10] === 0)
  return !mapped && a[0] !== 0xff && !(a[0] === 0xfe && (a[1]! & 0xc0) === 0x80)
}
