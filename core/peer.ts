import type { Facts } from './contracts/facts.ts'
import type { Address } from './contracts/net.ts'
import type { Identity, PeerSettings } from './contracts/settings.ts'
import { wipe } from './ike/equal.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import type { Ticket } from './ike/resumption.ts'
import type { Round } from './pursuit.ts'
import { Review } from './review.ts'
import { alike } from './unique.ts'

const FIRST_RETRY_MS = 1_000
const MAX_RETRY_MS = 60_000
const MAX_REDIRECTS = 5
const REDIRECT_LOOP_DETECT_MS = 300_000

/** What the engine keeps of one configured peer between and during IKE SAs: a record with its few rules, no I/O. */
export class Peer {
  readonly settings: PeerSettings
  /** All live SAs with it, newest last: several while one replaces another, or when `unique` is `keep`. */
  readonly sas: IkeSa[] = []
  /** Those that stand, by `bucket` of the peer's identity. */
  readonly #standing = new Map<string, IkeSa[]>()
  /** The path strategy that is looking for a way to it. */
  path: string | undefined
  /** The attempts under way, or the last ones. */
  round: Round | undefined
  readonly review = new Review()
  /** Somebody wants it connected: reconnect when it is lost. */
  wanted = false
  /** Facts that outlive an SA; what its IKE SAs learn is theirs. */
  facts: Facts
  lastError: string | undefined
  retryAt = Infinity
  /** Children that traffic has asked for and that have no IKE SA yet. */
  readonly acquired = new Set<string>()
  /** The gateway to go to in place of the configured one, and who sent us there. */
  redirected: { readonly to: string; readonly from: string } | undefined
  /** When it was redirected lately, monotonic ms. */
  #redirects: number[] = []
  #failures = 0
  #ticket: Ticket | undefined

  constructor(settings: PeerSettings) {
    this.settings = settings
    const at = `peers.${settings.name}.remote`
    this.facts = { remoteKnown: { value: settings.remote !== undefined, source: at, at: 0 } }
  }

  /** The SA that counts: established before connecting, newest first. */
  get current(): IkeSa | undefined {
    return this.sas.findLast(sa => sa.state === 'established') ?? this.sas.at(-1)
  }

  get state(): 'idle' | 'connecting' | 'established' | 'closing' {
    const sa = this.current
    if (sa === undefined) return this.path === undefined ? 'idle' : 'connecting'
    return sa.state === 'established' ? 'established' : sa.state === 'closing' ? 'closing' : 'connecting'
  }

  /** Its addresses that an SA, or one that takes over from it, may go to from another local address. */
  get destinations(): readonly Address[] {
    const movable = this.sas.filter(sa => sa.mobility.enabled || sa.initiated)
    return [...new Set(movable.flatMap(sa => [sa.flow.remote.address, ...sa.mobility.peerAddresses]))]
  }

  succeeded(): void {
    this.#failures = 0
    this.retryAt = Infinity
    this.lastError = undefined
    // what took over has proved itself: its end, some day, is one like any other
    if (this.round !== undefined) this.round.before = undefined
  }

  /** Where it is looked for: undefined where it only calls. */
  get remote(): string | undefined {
    return this.redirected?.to ?? this.settings.remote
  }

  /** A gateway has sent us on. @returns false where that goes in circles (RFC 5685 §8) */
  redirect(to: string, now: number): boolean {
    this.#redirects = [...this.#redirects.filter(at => now - at < REDIRECT_LOOP_DETECT_MS), now]
    const from = this.remote ?? ''
    this.redirected = this.#redirects.length > MAX_REDIRECTS ? undefined : { to, from }
    return this.redirected !== undefined
  }

  /** Plans the next attempt, later each time; a wrong key or an unsuitable proposal does not get better by hurry. */
  failed(why: string, now: number): void {
    this.lastError = why
    // the next attempt starts from the configured gateway again
    this.redirected = undefined
    this.path = undefined
    if (!this.wanted || !this.settings.reconnect) return
    this.retryAt = now + Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++)
  }

  /** By what a session with it is resumed, RFC 5723; undefined: by nothing. */
  ticket(now: number): Ticket | undefined {
    if (this.#ticket !== undefined && now >= this.#ticket.until) this.keepTicket(undefined)
    return this.#ticket
  }

  /** Takes the place of the one before, whose secret is wiped. */
  keepTicket(ticket: Ticket | undefined): void {
    if (this.#ticket !== undefined) wipe(this.#ticket.d)
    this.#ticket = ticket
  }

  /** It is established; its peer's identity is known, and stays. */
  stands(sa: IkeSa): void {
    if (!this.sas.includes(sa)) this.sas.push(sa)
    const key = bucket(sa.remoteId)
    const there = this.#standing.get(key)
    if (there === undefined) this.#standing.set(key, [sa])
    else if (!there.includes(sa)) there.push(sa)
  }

  /** Other SAs that stand with the identity of this one, newest last. */
  alike(sa: IkeSa): readonly IkeSa[] {
    const there = this.#standing.get(bucket(sa.remoteId)) ?? []
    return there.filter(other => alike(other, sa) && other.state === 'established')
  }

  remove(sa: IkeSa): void {
    take(this.sas, sa)
    const key = bucket(sa.remoteId)
    const there = this.#standing.get(key)
    if (there === undefined) return
    take(there, sa)
    if (there.length === 0) this.#standing.delete(key)
  }
}

/** Identities that are the same are in one; distinguished names, which may be the same in other words, are in one all together. */
const bucket = (id: Identity | undefined): string =>
  id === undefined ? '' : id.type === 'dn' ? 'dn' : `${id.type}:${id.value.toLowerCase()}`

function take(list: IkeSa[], sa: IkeSa): void {
  const at = list.lastIndexOf(sa)
  if (at >= 0) list.splice(at, 1)
}
