import type { Machine } from '../contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint, sameFlow } from '../contracts/net.ts'
import { candidatePriority, isReachable, type LocalCandidate, type RemoteCandidate } from './candidate.ts'
import type { Pacer } from './pacer.ts'
import { type CandidatePair, formPairs, MAX_PAIRS, makePair } from './pairs.ts'

/**
 * Connectivity checks over the pairs of two ends, RFC 8445 §6 and §7 with IKE-ME's timers. What a check looks like and how
 * it is authenticated is the user's business: only what authenticated comes in here.
 */

/** RFC 8445 §14.2: never faster than this between two checks of one checklist. */
const LEAST_PACE_MS = 5
/** A few at the least pace, since nearly all lists are short; the others slower. */
const FAST_CHECKS = 10
const PACE_MS = 25
/** Retransmissions of a check: the first two after this each, further ones later and later. */
const RETRANSMIT_MS = 25
const RETRANSMIT_BASE = 1.8
const RETRANSMIT_TRIES = 11
/** How long a better pair has had its chance when one has succeeded: twice that one's round trip, within these. */
const GRACE_MS = { least: 30, most: 300 } as const
/** Candidates that only packets told of: a replayed check from elsewhere makes one each. */
const MAX_PEER_REFLEXIVE = 16

export interface ChecklistOptions {
  /** This end nominates: it is the one that asked for the connection. */
  readonly controlling: boolean
  readonly locals: readonly LocalCandidate[]
  readonly remotes: readonly RemoteCandidate[]
  /** Shared with all other checklists. */
  readonly pacer: Pacer
  /** Pairs that are checked before all others, whatever their priority. */
  readonly first?: (pair: CandidatePair) => boolean
}

export type ChecklistIn =
  | { readonly type: 'start' }
  | { readonly type: 'timeout' }
  /** A check of the peer; the answer is the user's to send. `priority`: what a candidate learned from it shall have. */
  | { readonly type: 'request'; readonly flow: Flow; readonly priority: number }
  /** An answer to check `number`. `mapped`: where the peer has seen this host. */
  | { readonly type: 'response'; readonly number: number; readonly flow: Flow; readonly mapped: Endpoint | undefined }

export type ChecklistOut =
  /** Send a check of this pair, the first or again. */
  | { readonly type: 'check'; readonly pair: CandidatePair }
  | { readonly type: 'succeeded'; readonly pair: CandidatePair; readonly rttMs: number }
  /** The controlling end's choice, once. */
  | { readonly type: 'nominated'; readonly pair: CandidatePair; readonly why: string }
  | { readonly type: 'failed'; readonly why: string }

interface Entry {
  readonly pair: CandidatePair
  state: 'waiting' | 'in-progress' | 'succeeded' | 'failed'
  /** Transmissions since it last became waiting. */
  sent: number
  firstAt: number
  lastAt: number
  /** When to send again, or to give up. */
  dueAt: number
  rttMs: number
}

export class Checklist implements Machine<ChecklistIn, ChecklistOut> {
  readonly #controlling: boolean
  readonly #pacer: Pacer
  readonly #locals: LocalCandidate[]
  /** In the order they are checked. */
  readonly #entries: Entry[]
  readonly #triggered: Entry[] = []
  #peerReflexive = 0
  #checks = 0
  #nextAt = Infinity
  #nominateAt = Infinity
  #over = false

  constructor({ controlling, locals, remotes, pacer, first = () => false }: ChecklistOptions) {
    this.#controlling = controlling
    this.#pacer = pacer
    this.#locals = [...locals]
    const pairs = formPairs(controlling, locals, remotes)
    this.#entries = [...pairs.filter(first), ...pairs.filter(pair => !first(pair))].map(entryOf)
  }

  /** Number of pairs, and of check requests sent so far. */
  get size(): { readonly pairs: number; readonly checks: number } {
    return { pairs: this.#entries.length, checks: this.#checks }
  }

  get pairs(): readonly CandidatePair[] {
    return this.#entries.map(({ pair }) => pair)
  }

  /** The best pair that works. */
  get best(): CandidatePair | undefined {
    return this.#best?.pair
  }

  get deadline(): number {
    if (this.#over) return Infinity
    let due = this.#nominateAt
    if (this.#triggered.length > 0 || this.#entries.some(e => e.state === 'waiting')) due = Math.min(due, this.#nextAt)
    else
      for (const e of this.#entries) if (e.state === 'in-progress') due = Math.min(due, Math.max(e.dueAt, this.#nextAt))
    return due
  }

  step(input: ChecklistIn, now: number): readonly ChecklistOut[] {
    if (this.#over) return []
    const out: ChecklistOut[] = []
    switch (input.type) {
      case 'start':
        this.#nextAt = now
        break
      case 'timeout':
        break
      case 'request':
        this.#request(input.flow, input.priority)
        break
      case 'response':
        this.#response(input, now, out)
        break
    }
    this.#send(now, out)
    this.#conclude(now, out)
    return out
  }

  #send(now: number, out: ChecklistOut[]): void {
    while (now >= this.#nextAt) {
      const entry = this.#next(now)
      if (entry === undefined) return
      if (!this.#pacer.take(now)) {
        this.#nextAt = this.#pacer.freeAt(now)
        return
      }
      this.#nextAt = now + (++this.#checks < FAST_CHECKS ? LEAST_PACE_MS : PACE_MS)
      if (entry.firstAt === Infinity) entry.firstAt = now
      entry.state = 'in-progress'
      entry.lastAt = now
      entry.dueAt = now + RETRANSMIT_MS * RETRANSMIT_BASE ** Math.max(0, entry.sent++ - 1)
      out.push({ type: 'check', pair: entry.pair })
    }
  }

  /** Triggered checks first, then what was never tried, then what is due again. */
  #next(now: number): Entry | undefined {
    const triggered = this.#triggered.shift()
    if (triggered !== undefined) return triggered
    const waiting = this.#entries.find(e => e.state === 'waiting')
    if (waiting !== undefined) return waiting
    let due: Entry | undefined
    for (const e of this.#entries) {
      if (e.state !== 'in-progress' || now < e.dueAt) continue
      if (e.sent > RETRANSMIT_TRIES) e.state = 'failed'
      else if (due === undefined || e.dueAt < due.dueAt) due = e
    }
    return due
  }

  #request(flow: Flow, priority: number): void {
    const known = this.#entries.find(e => sameFlow(e.pair.flow, flow))
    if (known?.state === 'succeeded') return
    const entry = known ?? this.#discovered(flow, priority)
    if (entry === undefined || this.#triggered.includes(entry)) return
    entry.state = 'waiting'
    entry.sent = 0
    this.#triggered.push(entry)
  }

  /** The peer is reachable at an endpoint that it did not know of, or over a socket that was not in the list. */
  #discovered({ local, remote }: Flow, priority: number): Entry | undefined {
    const own = this.#locals.find(l => sameEndpoint(l.base, local))
    const theirs = this.#entries.find(e => sameEndpoint(e.pair.remote.endpoint, remote))?.pair.remote
    if (this.#entries.length >= MAX_PAIRS || this.#peerReflexive >= MAX_PEER_REFLEXIVE || !isReachable(remote)) return
    this.#peerReflexive++
    const host: LocalCandidate = { kind: 'host', endpoint: local, base: local, priority: candidatePriority('host') }
    const pair = makePair(
      this.#entries.length + 1,
      this.#controlling,
      own ?? host,
      theirs ?? { kind: 'peer-reflexive', endpoint: remote, priority },
    )
    const entry = entryOf(pair)
    const at = this.#entries.findIndex(e => e.pair.priority < pair.priority)
    this.#entries.splice(at < 0 ? this.#entries.length : at, 0, entry)
    return entry
  }

  #response({ number, flow, mapped }: ChecklistIn & { type: 'response' }, now: number, out: ChecklistOut[]): void {
    const entry = this.#entries.find(e => e.pair.number === number)
    // both ways between the same two endpoints, or it is no path (RFC 8445 §7.2.5.2.1)
    if (entry === undefined || entry.firstAt === Infinity || !sameFlow(entry.pair.flow, flow)) return
    const { base } = entry.pair.local
    if (mapped !== undefined && !this.#locals.some(l => sameEndpoint(l.endpoint, mapped)))
      if (this.#locals.length < MAX_PAIRS)
        this.#locals.push({
          kind: 'peer-reflexive',
          endpoint: mapped,
          base,
          priority: candidatePriority('peer-reflexive'),
        })
    if (entry.state === 'succeeded') return
    const queued = this.#triggered.indexOf(entry)
    if (queued >= 0) this.#triggered.splice(queued, 1)
    entry.state = 'succeeded'
    entry.rttMs = now - entry.lastAt
    out.push({ type: 'succeeded', pair: entry.pair, rttMs: entry.rttMs })
  }

  get #best(): Entry | undefined {
    let best: Entry | undefined
    for (const e of this.#entries)
      if (e.state === 'succeeded' && (best === undefined || e.pair.priority > best.pair.priority)) best = e
    return best
  }

  /** Nominates as soon as nothing better can be expected to come; gives up when nothing is left to try. */
  #conclude(now: number, out: ChecklistOut[]): void {
    const best = this.#best
    if (best === undefined) {
      if (this.#entries.some(e => e.state !== 'failed')) return
      this.#over = true
      const why = this.#entries.length === 0 ? 'no endpoint here fits one of the peer’s' : 'no check was answered'
      out.push({ type: 'failed', why })
      return
    }
    if (!this.#controlling) return
    const grace = Math.min(GRACE_MS.most, Math.max(GRACE_MS.least, 2 * best.rttMs))
    let until = now
    for (const e of this.#entries) {
      if (e.pair.priority <= best.pair.priority || e.state === 'failed') continue
      until = Math.max(until, Math.min(e.firstAt, now) + grace)
    }
    this.#nominateAt = until
    if (until > now) return
    this.#over = true
    out.push({ type: 'nominated', pair: best.pair, why: reason(best, this.#entries, now) })
  }
}

const entryOf = (pair: CandidatePair): Entry => ({
  pair,
  state: 'waiting',
  sent: 0,
  firstAt: Infinity,
  lastAt: Infinity,
  dueAt: Infinity,
  rttMs: 0,
})

/** In words for whoever watches: what it is, and what became of the better ones. */
function reason(best: Entry, entries: readonly Entry[], now: number): string {
  const better = entries.filter(e => e.pair.priority > best.pair.priority)
  const { local, remote } = best.pair
  const what = `${local.kind} to ${remote.kind}, round trip ${Math.round(best.rttMs)} ms`
  if (better.length === 0) return `${what}; none is better`
  const longest = Math.max(...better.map(e => Math.round(now - Math.min(e.firstAt, now))))
  return `${what}; ${better.length} better did not answer within ${longest} ms`
}
