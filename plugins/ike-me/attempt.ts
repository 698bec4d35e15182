import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint, sameFlow } from '../../core/contracts/net.ts'
import {
  type CandidatePair,
  Checklist,
  type ChecklistOut,
  type LocalCandidate,
  type Pacer,
  type RemoteCandidate,
} from '../../core/path/index.ts'
import { type Check, type CheckKeys, checkRequest, checkResponse, isAuthentic } from './check.ts'
import type { Offer } from './connect.ts'
import { isAnyPort, type MeEndpoint } from './endpoint.ts'
import { hexOf } from './links.ts'
import type { HardNatOptions } from './options.ts'
import { Opener, PUNCH_NUMBER, Sprayer } from './punch.ts'

/** How long ordinary checks have for themselves before chance is tried: the end with many sockets is the first. */
const OPEN_AFTER_MS = 250
const SPRAY_AFTER_MS = 400
/** Where no pair works by then none will: ten times what the slowest way takes. */
const CHECKS_MS = 15_000
/** An attempt that nobody has brought to an end: the peer has died, or the server on the way. */
const LIFE_MS = 45_000
/** Message ID of checks of a path in use. */
const ALIVE_NUMBER = 0xffff_fffe
/** Checks that came before the answer that brings the key to verify them. */
const MAX_HELD = 8
/** A run of ports at one address is no list of sightings but a forecast. */
const FORECAST = 3

export interface AttemptOptions {
  readonly crypto: CryptoProvider
  readonly rng: Rng
  readonly pacer: Pacer
  readonly peer: string
  /** Name of the mediation server in the configuration. */
  readonly server: string
  readonly id: Uint8Array
  /** This host asked for the connection, so it chooses the pair and starts IKE. */
  readonly controlling: boolean
  readonly hardNats: Required<HardNatOptions>
  readonly now: number
}

export type AttemptOut =
  | { readonly type: 'transmit'; readonly bytes: Uint8Array; readonly flow: Flow }
  | { readonly type: 'nominated'; readonly pair: CandidatePair; readonly why: string; readonly checks: number }
  | { readonly type: 'succeeded'; readonly pair: CandidatePair; readonly rttMs: number }
  | { readonly type: 'failed'; readonly why: string }
  /** So many further sockets are wanted beside this endpoint; `bound` brings them. */
  | { readonly type: 'bind'; readonly base: Endpoint; readonly count: number }
  | { readonly type: 'punching'; readonly text: string }
  /** The path that is used has answered `probe`. */
  | { readonly type: 'alive'; readonly flow: Flow }

/** What this host tells of itself. */
export interface OwnOffer extends Offer {
  readonly locals: readonly LocalCandidate[]
  /** The NAT in front of this host maps every destination anew. */
  readonly hard: boolean
}

/** One connect ID: both offers, the checklist made of them, and the answers to the peer's checks. */
export class Attempt {
  readonly peer: string
  readonly server: string
  readonly id: Uint8Array
  readonly name: string
  readonly controlling: boolean
  readonly startedAt: number
  /** When it is forgotten; moved on while an IKE SA uses it. */
  until: number
  /** The IKE SA that came of it. */
  sa: string | undefined
  /** Of use is only what goes through no relay: what does is neither told nor checked, nor answered. */
  direct = false
  own: OwnOffer | undefined
  theirs: Offer | undefined
  readonly #options: AttemptOptions
  #list: Checklist | undefined
  #chosen: CandidatePair | undefined
  #checksUntil = Infinity
  #openAt = Infinity
  #sprayAt = Infinity
  #works = false
  #stopped = false
  #opener: Opener | undefined
  /** A socket of its own that IKE uses now. */
  #used: Endpoint | undefined
  #sprayer: Sprayer | undefined
  readonly #held: { readonly check: Check; readonly flow: Flow }[] = []

  constructor(options: AttemptOptions) {
    this.#options = options
    this.peer = options.peer
    this.server = options.server
    this.id = options.id
    this.name = hexOf(options.id)
    this.controlling = options.controlling
    this.startedAt = options.now
    this.until = options.now + LIFE_MS
  }

  get checking(): boolean {
    return this.#list !== undefined
  }

  /** The pair IKE goes over, once it was chosen. */
  chose(flow: Flow): boolean {
    return this.#chosen !== undefined && sameFlow(this.#chosen.flow, flow)
  }

  /** Sockets that are bound for this attempt alone and unused, and the one that IKE uses. */
  get sockets(): readonly Endpoint[] {
    return this.#opener?.sockets ?? []
  }

  get used(): Endpoint | undefined {
    return this.#used
  }

  /** Whether this flow is one of its pairs. */
  has(flow: Flow): boolean {
    return this.#list?.pairs.some(pair => sameFlow(pair.flow, flow)) === true
  }

  /** A relay's address is among what either end has told, and one end of this flow. */
  relays({ local, remote }: Flow): boolean {
    return [...(this.own?.endpoints ?? []), ...(this.theirs?.endpoints ?? [])].some(
      ({ kind, endpoint }) =>
        kind === 'relayed' &&
        endpoint !== undefined &&
        (sameEndpoint(endpoint, local) || sameEndpoint(endpoint, remote)),
    )
  }

  get deadline(): number {
    const list = this.#list
    if (list === undefined || this.#stopped) return this.until
    return Math.min(
      this.until,
      this.#checksUntil,
      this.#openAt,
      this.#sprayAt,
      list.deadline,
      this.#opener?.deadline ?? Infinity,
      this.#sprayer?.deadline ?? Infinity,
    )
  }

  /** Both offers are known: checks begin. What the peer offers was read from the wire, so it may be anything. */
  start(own: OwnOffer, theirs: Offer, now: number): AttemptOut[] {
    this.own = own
    this.theirs = theirs
    const { pacer, hardNats } = this.#options
    const remotes = remotesOf(theirs.endpoints).filter(({ kind }) => !this.direct || kind !== 'relayed')
    const list = new Checklist({
      controlling: this.controlling,
      locals: own.locals,
      remotes,
      pacer,
      // a NAT that counts gives the next port to the next destination: the forecast ones must be these
      first: pair => own.hard && pair.remote.predicted === true,
    })
    this.#list = list
    this.#checksUntil = now + CHECKS_MS
    const peerIsHard = theirs.endpoints.some(isAnyPort)
    if (own.hard && !peerIsHard && hardNats.sockets > 0) this.#openAt = now + OPEN_AFTER_MS
    if (!own.hard && peerIsHard && hardNats.probes > 0) this.#sprayAt = now + SPRAY_AFTER_MS
    const out = this.#told(list.step({ type: 'start' }, now), now)
    for (const { check, flow } of this.#held.splice(0)) out.push(...(this.check(check, flow, now) ?? []))
    return out
  }

  /** A check with this attempt's connect ID. @returns undefined when it does not verify */
  check(check: Check, flow: Flow, now: number): AttemptOut[] | undefined {
    const { crypto } = this.#options
    if (this.theirs === undefined || this.own === undefined || this.#list === undefined) {
      if (this.#held.length < MAX_HELD) this.#held.push({ check: copy(check), flow })
      return []
    }
    if (!isAuthentic(crypto, check, this.theirs.key)) return undefined
    // an answer would have the peer stop looking
    if (this.direct && this.relays(flow)) return []
    const out: AttemptOut[] = []
    if (!check.response) out.push({ type: 'transmit', bytes: checkResponse(crypto, flow, check, this.#keys), flow })
    if (check.response && check.number === ALIVE_NUMBER) return [{ type: 'alive', flow }]
    if (this.#stopped) return out
    if (!check.response) {
      out.push(...this.#told(this.#list.step({ type: 'request', flow, priority: check.priority }, now), now))
    } else if (check.number === PUNCH_NUMBER) {
      // chance has found a way: it becomes a pair like any other
      const priority = this.#list.pairs.at(-1)?.remote.priority ?? 0
      out.push(...this.#told(this.#list.step({ type: 'request', flow, priority }, now), now))
    } else {
      const { number, seen } = check
      out.push(...this.#told(this.#list.step({ type: 'response', number, flow, mapped: seen }, now), now))
    }
    return out
  }

  timeout(now: number): AttemptOut[] {
    const list = this.#list
    if (list === undefined || this.#stopped) return []
    const out = this.#told(list.step({ type: 'timeout' }, now), now)
    if (now >= this.#openAt) out.push(...this.#open())
    if (now >= this.#sprayAt) out.push(...this.#spray(now))
    for (const flow of [...(this.#opener?.due(now) ?? []), ...(this.#sprayer?.due(now) ?? [])])
      out.push({ type: 'transmit', bytes: checkRequest(this.#options.crypto, flow, PUNCH_NUMBER, this.#keys), flow })
    if (now >= this.#checksUntil) {
      this.#checksUntil = Infinity
      if (this.#chosen === undefined && !this.#works) out.push({ type: 'failed', why: this.#why() })
    }
    return out
  }

  /** One of the sockets that were asked for. */
  bound(local: Endpoint, now: number): void {
    this.#opener?.add(local, now)
  }

  /** IKE uses this endpoint: where it is a socket of the attempt, it lives as long as the attempt. */
  use(local: Endpoint): void {
    if (this.sockets.some(socket => sameEndpoint(socket, local))) this.#used = local
    this.#opener?.release(local)
  }

  /** Sockets that are closed now. */
  forget(local: Endpoint): void {
    this.#opener?.release(local)
    if (this.#used !== undefined && sameEndpoint(this.#used, local)) this.#used = undefined
  }

  /** Asks whether the path that IKE uses still works; comes back as `alive`. */
  probe(flow: Flow): AttemptOut {
    return { type: 'transmit', bytes: checkRequest(this.#options.crypto, flow, ALIVE_NUMBER, this.#keys), flow }
  }

  /** Ends all checks; what the peer still asks is answered. */
  stop(): void {
    this.#stopped = true
  }

  get #keys(): CheckKeys {
    return { id: this.id, key: this.own!.key }
  }

  #told(outs: readonly ChecklistOut[], now: number): AttemptOut[] {
    return outs.flatMap(o => this.#tell(o, now))
  }

  #tell(o: ChecklistOut, now: number): AttemptOut[] {
    switch (o.type) {
      case 'check': {
        const { flow, number } = o.pair
        return [{ type: 'transmit', bytes: checkRequest(this.#options.crypto, flow, number, this.#keys), flow }]
      }
      case 'succeeded':
        this.#works = true
        this.#openAt = Infinity
        this.#sprayAt = Infinity
        this.#sprayer = undefined
        return [o]
      case 'nominated':
        this.#chosen = o.pair
        return [{ ...o, checks: this.#list?.size.checks ?? 0 }]
      case 'failed':
        this.#checksUntil = Math.min(this.#checksUntil, now)
        return []
    }
  }

  #open(): AttemptOut[] {
    this.#openAt = Infinity
    const target = this.theirs!.endpoints.find(e => e.kind === 'server-reflexive' && !isAnyPort(e))?.endpoint
    const base = this.own!.locals.find(l => l.kind === 'server-reflexive')?.base
    if (target === undefined || base === undefined) return []
    const { sockets, perSecond } = this.#options.hardNats
    this.#opener = new Opener(target, perSecond)
    const text = `the NAT here takes random ports: opening ${sockets} of them`
    return [
      { type: 'punching', text },
      { type: 'bind', base, count: sockets },
    ]
  }

  #spray(now: number): AttemptOut[] {
    this.#sprayAt = Infinity
    const address = this.theirs!.endpoints.find(isAnyPort)?.endpoint?.address
    const base = this.own!.locals.find(l => l.kind === 'server-reflexive')?.base ?? this.own!.locals[0]?.base
    if (address === undefined || base === undefined) return []
    const { probes, perSecond } = this.#options.hardNats
    this.#sprayer = new Sprayer(base, address, this.#options.rng, { probes, perSecond, now })
    return [{ type: 'punching', text: `the peer’s NAT takes random ports: trying up to ${probes} of ${address}` }]
  }

  #why(): string {
    const { pairs, checks } = this.#list!.size
    const peerIsHard = this.theirs!.endpoints.some(isAnyPort)
    const both =
      this.own!.hard && peerIsHard ? '; both NATs map every destination anew, so a relay is needed (plugin turn)' : ''
    return `no check was answered: ${pairs} pairs, ${checks} checks${both}`
  }
}

const copy = (check: Check): Check => ({
  ...check,
  id: check.id.slice(),
  endpoint: check.endpoint.slice(),
  auth: check.auth.slice(),
})

/** What can be checked of an offer. Of a run of ports at one address the first was seen, the others are a forecast. */
function remotesOf(endpoints: readonly MeEndpoint[]): RemoteCandidate[] {
  const runs = new Map<string, number>()
  const reflexive = endpoints.filter(e => e.kind === 'server-reflexive' && e.endpoint !== undefined && !isAnyPort(e))
  for (const { endpoint } of reflexive) runs.set(endpoint!.address, (runs.get(endpoint!.address) ?? 0) + 1)
  const taken: Endpoint[] = []
  return endpoints.flatMap(({ kind, priority, endpoint }): RemoteCandidate[] => {
    if (endpoint === undefined || endpoint.port === 0 || taken.some(other => sameEndpoint(other, endpoint))) return []
    const seen = !taken.some(other => other.address === endpoint.address)
    taken.push(endpoint)
    const predicted = kind === 'server-reflexive' && !seen && (runs.get(endpoint.address) ?? 0) >= FORECAST
    return [{ kind, endpoint, priority, ...(predicted && { predicted }) }]
  })
}
