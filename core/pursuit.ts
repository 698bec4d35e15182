import { type Endpoint, type Flow, sameFlow, showEndpoint } from './contracts/net.ts'
import type { Plan } from './contracts/strategy.ts'
import type { Host } from './host.ts'
import type { PlanHistory } from './ike/host.ts'
import type { IkeSa } from './ike/ike-sa.ts'
import { planFor } from './ike/plan.ts'
import type { LiveSas } from './live-sas.ts'
import type { Peer } from './peer.ts'
import { showPlan } from './policy/choose.ts'
import type { Rim } from './rim.ts'
import type { Services } from './services.ts'

/** Where a peer is, and from where the system would go there. */
export interface Whereabouts {
  /** undefined when only a path strategy can find it */
  readonly remote: Endpoint | undefined
  readonly source: string | undefined
}

/** What reached a peer on this network before. */
export interface Memory {
  readonly path: string
  /** The encapsulation where IKE began, when that was not where the path begins. */
  readonly encap?: string | undefined
  readonly ageMs: number
}

/** One round of attempts: each thing is tried once. */
export class Round {
  readonly where: Whereabouts
  readonly memory: Memory | undefined
  /** The SA that the one to be made takes over from. */
  readonly renews: IkeSa | undefined
  /** Paths on which nothing is left to try, and why. */
  readonly tried = new Map<string, string>()
  path = ''
  /** The encapsulation of the plan that is tried. */
  planned = ''
  /** The encapsulation where IKE has begun, when that is not where the path begins. */
  encap: string | undefined
  /** For a plan that is only better than the one that stands: the round to go back to when it fails. */
  before: Round | undefined
  /** What the path has found. */
  found: Flow | undefined
  /** Where IKE_SA_INIT was sent. */
  readonly #begun: Flow[] = []
  readonly #whys: string[] = []

  constructor(where: Whereabouts, memory: Memory | undefined, renews: IkeSa | undefined) {
    this.where = where
    this.memory = memory
    this.renews = renews
  }

  begin(flow: Flow): void {
    this.#begun.push(flow)
  }

  begunAt(flow: Flow): boolean {
    return this.#begun.some(other => sameFlow(other, flow))
  }

  /** The attempt that stands or is under way. */
  get outcome(): Omit<Memory, 'ageMs'> {
    return { path: this.path, ...(this.encap !== undefined && { encap: this.encap }) }
  }

  failed(why: string): void {
    this.#whys.push(`${this.path}: ${why}`)
  }

  /** What all attempts failed for; the reason alone where there was one. */
  get why(): string {
    const [only, ...more] = this.#whys
    return more.length === 0 ? (only ?? '').replace(`${this.path}: `, '') : this.#whys.join('; ')
  }
}

export interface PursuitParts {
  readonly rim: Rim
  readonly host: Host
  readonly live: LiveSas
  readonly services: Services
}

/** Tries of an IKE_SA_INIT when something else is left to try: a network that drops it does so again. */
const HASTY_TRIES = 2
/** Failures that another way to the peer may cure. */
const ABOUT_THE_WAY = /^(PEER_UNREACHABLE|PATH_|PLAN_ENDPOINT)/

/**
 * Looks for a peer by one plan after the other: what has failed is not tried again in the same round, and the next plan at
 * once. Each path is tried where it begins (for IKE over UDP port 500) and then where an encapsulation has IKE (4500).
 */
export class Pursuit {
  readonly #parts: PursuitParts

  constructor(parts: PursuitParts) {
    this.#parts = parts
  }

  /** @returns why there is no plan at all; undefined when one is tried */
  start(peer: Peer, round: Round, now: number): string | undefined {
    peer.round = round
    return this.#next(peer, now)
  }

  /**
   * An SA that stands is to be replaced by one made another way, and goes on meanwhile.
   * @param where - new whereabouts: everything is tried anew; absent: what the SA goes by is silent, and left out
   */
  replace(peer: Peer, sa: IkeSa, where: Whereabouts | undefined, why: string, now: number): void {
    const before = peer.round
    if (before === undefined || !sa.initiated || sa.state !== 'established') return
    // one replacement at a time; another one that is still looking has the same reason
    if (before.renews?.state === 'established' && peer.sas.some(other => other.renews === before.renews)) return
    const round = new Round(where ?? before.where, undefined, sa)
    peer.round = round
    if (where !== undefined) peer.review.forget()
    else if (sa.plan !== undefined) peer.review.failed(sa.plan.path, sa.plan.encap, now)
    if (where === undefined) {
      round.path = before.path
      round.planned = before.planned
      round.found = before.found
      round.begin(sa.flow)
      // where IKE began, the same datagrams are as silent
      if (before.found !== undefined) round.begin(before.found)
      if (this.failed(peer, 'PEER_UNREACHABLE', why, now)) return
    } else if (this.#next(peer, now, why) === undefined) return
    peer.round = before
  }

  /** Facts or candidates have changed: where another plan is better now, an SA made by it takes over. */
  review(peer: Peer, now: number): void {
    const { review, current: sa, round: before } = peer
    if (review.at > now) return
    review.at = Infinity
    if (before === undefined || sa?.state !== 'established' || !sa.initiated || sa.plan === undefined) return
    if (peer.path !== undefined || peer.sas.some(other => other.state !== 'established')) {
      review.moves(now)
      return review.want(now)
    }
    const plan = this.#better(peer, sa, sa.plan, now)
    if (plan === undefined) return
    review.moves(now)
    const round = new Round(before.where, undefined, sa)
    round.before = before
    before.before = undefined
    peer.round = round
    this.#say(peer, `what is known has changed; moving to ${showPlan(plan)}`, now)
    this.#find(peer, plan, now)
  }

  /** The best plan that has not failed lately, where it is another way than that of the SA. */
  #better(peer: Peer, sa: IkeSa, { path, encap }: Plan, now: number): Plan | undefined {
    // what IKE goes in follows from the plan; the path in use worked here, so cost alone is no reason to leave it
    const { outerProtocol: _, ...facts } = sa.facts
    const history = { tried: new Map<string, string>(), memory: { path } }
    const missed = peer.round?.before === undefined ? '' : `${peer.round.path}+${peer.round.planned}`
    const best = this.#usable(peer, facts, history).find(
      plan =>
        (plan.path === path && plan.encap === encap) ||
        (!peer.review.hasFailed(plan.path, plan.encap, now) && `${plan.path}+${plan.encap}` !== missed),
    )
    return best?.path === path && best.encap === encap ? undefined : best
  }

  /** The path has found a way: IKE begins on it, or where it worked before. */
  ready(peer: Peer, flow: Flow, now: number): void {
    const { round } = peer
    if (round === undefined) return
    round.found = flow
    const { memory, path, planned } = round
    if (memory?.path === path && memory.encap !== undefined && this.#usable(peer).some(p => p.encap === memory.encap)) {
      round.encap = memory.encap
      return this.#initiate(peer, this.#place(memory.encap, flow), now)
    }
    if (round.before !== undefined) {
      round.encap = planned
      return this.#initiate(peer, this.#place(planned, flow), now)
    }
    round.encap = undefined
    this.#initiate(peer, this.#parts.host.encap(planned).firstFlow?.(flow) ?? flow, now)
  }

  /** An attempt has failed. @returns whether something else is tried */
  failed(peer: Peer, code: string, why: string, now: number): boolean {
    const { round } = peer
    if (round === undefined) return false
    round.failed(why)
    if (round.before !== undefined) {
      peer.review.failed(round.path, round.planned, now)
      peer.round = round.before
      return round.renews?.state === 'established'
    }
    if (!ABOUT_THE_WAY.test(code)) return false
    peer.review.failed(round.path, round.encap ?? round.planned, now)
    const other = code === 'PEER_UNREACHABLE' ? this.#elsewhere(peer) : undefined
    if (other !== undefined) {
      const { encap, flow } = other
      this.#say(peer, `${why}; trying ${round.path} with ${encap} at ${showEndpoint(flow.remote)}`, now)
      round.encap = encap
      this.#initiate(peer, flow, now)
      return true
    }
    round.tried.set(round.path, why)
    return this.#next(peer, now, why) === undefined
  }

  #next(peer: Peer, now: number, after?: string): string | undefined {
    const { rim, host } = this.#parts
    const round = peer.round!
    const { plan, why } = planFor(host, peer.settings, peer.facts, {}, round)
    if (plan === undefined) return why
    if (after !== undefined) this.#say(peer, `${after}; trying ${showPlan(plan)}`, now)
    if (round.renews === undefined) rim.event(peer.settings.name, { type: 'connecting', plan }, now)
    this.#find(peer, plan, now)
    return undefined
  }

  #find(peer: Peer, { path, encap }: Plan, now: number): void {
    const round = peer.round!
    round.path = path
    round.planned = encap
    round.found = undefined
    peer.path = path
    this.#parts.services.ask(path, { type: 'find', peer: peer.settings.name, ...round.where }, now)
  }

  #initiate(peer: Peer, flow: Flow, now: number): void {
    const round = peer.round!
    round.begin(flow)
    const more =
      round.before !== undefined || this.#elsewhere(peer) !== undefined || this.#otherPath(peer) !== undefined
    const { renews, path } = round
    const wanted = renews && [...renews.children.values()].map(child => child.settings)
    this.#parts.live.initiate(peer, flow, now, {
      path,
      // one that stands and is only to be left for a better way may yet be lost: its ticket is for that
      resume: round.before === undefined,
      ...(more && { tries: HASTY_TRIES }),
      ...(wanted !== undefined && wanted.length > 0 && { wanted }),
      ...(renews !== undefined && { renews }),
    })
  }

  /** Another place to begin on the same path that was not tried: where an encapsulation that is possible has IKE. */
  #elsewhere(peer: Peer): { readonly encap: string; readonly flow: Flow } | undefined {
    const { round } = peer
    if (round?.found === undefined) return undefined
    for (const { path, encap } of this.#usable(peer)) {
      if (path !== round.path) continue
      const flow = this.#place(encap, round.found)
      if (!round.begunAt(flow)) return { encap, flow }
    }
    return undefined
  }

  #place(encap: string, found: Flow): Flow {
    const { host } = this.#parts
    const strategy = host.encap(encap)
    return strategy.firstFlow?.(found) ?? strategy.ikeFlow(found, host.locals())
  }

  #otherPath(peer: Peer): Plan | undefined {
    const { tried, path } = peer.round!
    return this.#usable(peer).find(plan => plan.path !== path && !tried.has(plan.path))
  }

  #usable(peer: Peer, facts = peer.facts, history?: PlanHistory): Plan[] {
    const { host } = this.#parts
    return Object.values(peer.settings.children)
      .slice(0, 1)
      .flatMap(child => host.judge(peer.settings, child, facts, {}, history))
      .filter(judged => judged.usable)
      .map(judged => judged.plan)
  }

  #say(peer: Peer, text: string, now: number): void {
    this.#parts.rim.event(peer.settings.name, { type: 'progress', step: 'next-plan', text }, now)
  }
}
