import { type Endpoint, type Flow, sameEndpoint, showEndpoint } from '../../core/contracts/net.ts'
import type { Candidate, IkeSaRef, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import type { Identity } from '../../core/contracts/settings.ts'
import { fromIdentification, sameIdentity, showIdentity, toIdentification } from '../../core/index.ts'
import { type LocalCandidate, Pacer } from '../../core/path/index.ts'
import { ExchangeType, NotifyType, type Payload } from '../../core/wire/index.ts'
import { Attempt, type AttemptOut } from './attempt.ts'
import type { Check } from './check.ts'
import { type Connect, connectPayloads, offerOf, readConnect, reflexiveOf, reflexiveRequest } from './connect.ts'
import { disclosed } from './disclose.ts'
import { hexOf, type Links, type Met } from './links.ts'
import { Mediation } from './mediation.ts'
import { COUNTERS, NatProbe } from './nat-probe.ts'
import { type HardNat, makeOffer } from './offers.ts'
import type { Settings } from './options.ts'
import { type Find, LOOKS, lateness, type Mediated, progress, respond, shown, transmit, via, yields } from './search.ts'
import { ID_OCTETS } from './tasks.ts'
import { udpOnly } from './udp-only.ts'
import { PathWatch } from './watch.ts'

type In<T extends ServiceIn['type']> = Extract<ServiceIn, { readonly type: T }>

const FIND_MS = 30_000
/** Attempts of one peer that may be under way: the newest opening is the one that counts, an older one may still be used. */
const MAX_ATTEMPTS = 4

/** The requesting and the answering peer. */
export class MediationClient {
  readonly #context: ServiceContext
  readonly #links: Links
  readonly #settings: Settings
  readonly #interfaces: () => ReadonlyMap<string, string>
  readonly #pacer = new Pacer()
  readonly #servers = new Map<string, Mediation>()
  readonly #finds = new Map<string, Find>()
  /** Offers that wait for the NAT to be counted, by server. */
  readonly #counting = new Map<
    string,
    { sockets: Endpoint[]; missing: number; readonly next: ((now: number) => ServiceOut[])[] }
  >()
  /** Paths in use that this host has chosen, by IKE SA. */
  readonly #watches = new Map<string, PathWatch>()
  #candidates: readonly Candidate[] = []

  constructor(
    context: ServiceContext,
    links: Links,
    settings: Settings,
    interfaces: () => ReadonlyMap<string, string>,
  ) {
    this.#context = context
    this.#links = links
    this.#settings = settings
    this.#interfaces = interfaces
    for (const role of links.roles.values())
      if (role.type === 'mediated' && !this.#servers.has(role.by)) this.#servers.set(role.by, new Mediation(role.by))
  }

  get deadline(): number {
    let due = Infinity
    for (const { retryAt, probe } of this.#servers.values()) due = Math.min(due, retryAt, probe?.deadline ?? Infinity)
    for (const { until } of this.#finds.values()) due = Math.min(due, until)
    for (const attempt of this.#links.attempts.values()) due = Math.min(due, attempt.deadline)
    for (const { deadline } of this.#watches.values()) due = Math.min(due, deadline)
    return due
  }

  // ------------------------------------------------------------------ the engine's inputs

  /** Whoever may be asked for has to be registered, so all servers are connected at once. */
  start(now: number): ServiceOut[] {
    const facts = this.#context.peers.map(({ name: peer }): ServiceOut => {
      const fact = { value: this.#role(peer)?.by ?? false, source: `peers.${peer}.options.ike-me.by`, at: now }
      return { type: 'fact', peer, name: 'mediatedBy', fact }
    })
    return [...facts, ...[...this.#servers.keys()].map((peer): ServiceOut => ({ type: 'connect', peer }))]
  }

  candidates(candidates: readonly Candidate[]): void {
    this.#candidates = candidates
  }

  find({ peer }: In<'find'>, now: number): ServiceOut[] {
    const role = this.#role(peer)
    if (role === undefined) {
      const why = `nothing says who mediates: peers.${peer}.options.ike-me.by`
      return [{ type: 'failed', peer, code: 'PATH_NO_MEDIATION', why }]
    }
    const find: Find = { peer, since: now, until: now + FIND_MS, waits: 'server', attempt: undefined }
    this.#finds.set(peer, find)
    const server = this.#servers.get(role.by)!
    if (server.sa !== undefined) return this.#open(find, now)
    return [
      progress(peer, 'registering', `connecting to the mediation server ${role.by}`),
      { type: 'connect', peer: role.by },
    ]
  }

  forget(peer: string): ServiceOut[] {
    const find = this.#finds.get(peer)
    this.#finds.delete(peer)
    return find?.attempt === undefined ? [] : this.#drop(find.attempt)
  }

  up(sa: IkeSaRef, met: Met | undefined, now: number): ServiceOut[] {
    const server = this.#servers.get(sa.peer)
    if (met?.role === 'client' && server !== undefined) return this.#registered(server, sa, met, now)
    return this.#connected(sa, met, now)
  }

  #registered(server: Mediation, sa: IkeSaRef, met: Extract<Met, { role: 'client' }>, now: number): ServiceOut[] {
    server.up(sa)
    const out: ServiceOut[] = this.#gone(server)
    const { seen, probe } = met
    server.keys = probe
    if (seen !== undefined) out.push(...this.#seen(server, seen, now))
    const where = seen === undefined ? '' : `, seen as ${showEndpoint(seen.endpoint)}`
    for (const find of this.#finds.values())
      if (this.#role(find.peer)?.by === server.name && find.waits === 'server')
        out.push(progress(find.peer, 'registered', `registered with ${server.name}${where}`), ...this.#open(find, now))
    return out
  }

  /** Where the server sees this host, and what that tells of the NAT in between. */
  #seen(server: Mediation, seen: { readonly endpoint: Endpoint; readonly base: Endpoint }, now: number): ServiceOut[] {
    const source = `mediation server ${server.name}`
    server.reflexive = { kind: 'server-reflexive', ...seen, source, until: Infinity }
    const { keys, sa } = server
    server.probe = keys && sa && new NatProbe(this.#context.crypto, keys, seen, sa.flow.remote)
    return [{ type: 'candidate', candidate: server.reflexive }, ...(server.probe?.start(now) ?? []).map(transmit)]
  }

  /** An IKE SA with a peer that may have been looked for, whoever has started it. */
  #connected(sa: IkeSaRef, met: Met | undefined, now: number): ServiceOut[] {
    const out: ServiceOut[] = []
    const attempt = met?.role === 'mediated' ? this.#links.attempts.get(met.attempt) : undefined
    if (attempt !== undefined) {
      out.push(...this.#attach(attempt, sa), via(sa, attempt, now))
      // others know no checks after IKE has begun
      if (met?.role === 'mediated' && met.echoes) {
        attempt.until = Infinity
        if (attempt.controlling) this.#watches.set(sa.id, new PathWatch(sa, attempt, now))
      }
    }
    const find = this.#finds.get(sa.peer)
    if (find === undefined) return out
    this.#finds.delete(sa.peer)
    if (find.attempt !== undefined && find.attempt !== attempt) out.push(...this.#drop(find.attempt))
    // the peer was faster: what was looked for is there
    return [...out, { type: 'ready', peer: sa.peer, flow: sa.flow, why: 'the peer has connected' }]
  }

  down(sa: IkeSaRef, now: number): ServiceOut[] {
    const server = this.#servers.get(sa.peer)
    if (server?.sa?.id === sa.id) {
      server.down(now)
      for (const find of this.#finds.values())
        if (this.#role(find.peer)?.by === server.name && find.attempt?.checking !== true) find.waits = 'server'
      return this.#gone(server)
    }
    this.#watches.delete(sa.id)
    const out: ServiceOut[] = []
    for (const attempt of this.#links.attempts.values()) if (attempt.sa === sa.id) out.push(...this.#drop(attempt))
    return out
  }

  /** IKE goes another way: what has found that way belongs to the SA now, and what it used before goes. */
  moved(sa: IkeSaRef, now: number): ServiceOut[] {
    const server = this.#servers.get(sa.peer)
    if (server?.sa?.id === sa.id) server.sa = sa
    const found = [...this.#links.attempts.values()].find(a => a.peer === sa.peer && a.sa !== sa.id && a.has(sa.flow))
    const watch = this.#watches.get(sa.id)
    if (found === undefined) {
      watch?.moved(sa, watch.attempt, now)
      return []
    }
    const before = [...this.#links.attempts.values()].filter(a => a.sa === sa.id)
    const out = this.#attach(found, sa)
    found.until = Infinity
    watch?.moved(sa, found, now)
    return [...out, via(sa, found, now), ...before.flatMap(old => this.#drop(old))]
  }

  #attach(attempt: Attempt, sa: IkeSaRef): ServiceOut[] {
    attempt.sa = sa.id
    attempt.stop()
    attempt.use(sa.flow.local)
    return this.#close(attempt)
  }

  /** Looks for another way while the SA stands: the one it has is dead, or goes through a relay. */
  #lookAgain(watch: PathWatch, direct: boolean, now: number): ServiceOut[] {
    const { peer } = watch.sa
    const { by } = this.#role(peer)!
    const server = this.#servers.get(by)!
    if (server.sa === undefined || this.#finds.has(peer)) return []
    const attempt = this.#attempt(peer, by, this.#context.rng.bytes(ID_OCTETS), true, now)!
    attempt.direct = direct
    watch.looking = attempt.name
    return this.#ask(attempt, server, now)
  }

  connectFailed({ peer, why }: In<'connect-failed'>, now: number): ServiceOut[] {
    const server = this.#servers.get(peer)
    if (server === undefined) {
      // IKE over the pair came to nothing; whoever tries again starts anew
      const out: ServiceOut[] = []
      for (const attempt of this.#links.attempts.values())
        if (attempt.peer === peer && attempt.controlling && attempt.sa === undefined) out.push(...this.#drop(attempt))
      return out
    }
    server.failed(now)
    const waiting = [...this.#finds.values()].filter(f => f.waits === 'server' && this.#role(f.peer)?.by === peer)
    return waiting.flatMap(f => this.#fail(f, 'PATH_MEDIATION_SERVER', `the mediation server ${peer}: ${why}`))
  }

  /** An ME_CONNECT request of a server. */
  request(sa: IkeSaRef, payloads: readonly Payload[], now: number): ServiceOut[] {
    const server = this.#servers.get(sa.peer)
    if (server?.sa?.id !== sa.id)
      return [respond(NotifyType.ME_CONNECT_FAILED), { type: 'drop', reason: 'me-not-registered' }]
    const connect = readConnect(payloads)
    const who = connect.who && fromIdentification(connect.who)
    if (who === undefined) return [respond(NotifyType.INVALID_SYNTAX)]
    const peer = this.#peerOf(server, who)
    if (connect.callback) return [respond(), ...(peer === undefined ? [] : this.#calledBack(peer, now))]
    if (peer === undefined) return [respond(NotifyType.ME_CONNECT_FAILED), { type: 'drop', reason: 'me-unknown-peer' }]
    if (connect.failed) return [respond(), ...this.#refused(peer)]
    if (offerOf(connect) === undefined) return [respond(NotifyType.INVALID_SYNTAX)]
    return [
      respond(),
      ...(connect.response ? this.#answered(peer, connect, now) : this.#asked(server, peer, connect, now)),
    ]
  }

  response(tag: string, payloads: readonly Payload[], now: number): ServiceOut[] {
    const [kind, name = ''] = tag.split(' ')
    const server = this.#servers.get(name)
    if (kind === 'refresh') return server === undefined ? [] : this.#relearned(server, payloads, now)
    const attempt = this.#links.attempts.get(name)
    if (attempt === undefined) return []
    const error = payloads.find(p => p.type === 'N' && p.notify < 16_384)
    const failed = error?.type === 'N' ? error.notify : undefined
    if (kind === 'answer') {
      if (failed !== undefined) return this.#drop(attempt)
      return this.#begin(attempt, now)
    }
    const find = this.#finds.get(attempt.peer)
    if (failed === undefined) return []
    if (find?.attempt !== attempt) return this.#drop(attempt)
    find.attempt = undefined
    const dropped = this.#drop(attempt)
    const { id } = this.#role(attempt.peer)!
    if (failed !== NotifyType.ME_CONNECT_FAILED)
      return [
        ...dropped,
        ...this.#fail(find, 'PATH_REFUSED', `${attempt.server} refuses the request with notify ${failed}`),
      ]
    find.waits = 'online'
    const text = `${showIdentity(id)} is not registered with ${attempt.server}, or may not be asked for; waiting for it`
    return [...dropped, progress(attempt.peer, 'offline', text)]
  }

  timeout(now: number): ServiceOut[] {
    const out: ServiceOut[] = []
    for (const server of this.#servers.values()) {
      if (now >= server.retryAt) {
        server.retryAt = Infinity
        out.push({ type: 'connect', peer: server.name })
      }
      if (server.probe !== undefined) out.push(...server.probe.timeout(now).map(transmit))
      out.push(...this.#counted(server, now))
    }
    for (const find of this.#finds.values())
      if (now >= find.until) out.push(...this.#fail(find, ...lateness(find, this.#role(find.peer)!)))
    for (const watch of this.#watches.values()) {
      const looks = watch.looking !== undefined && this.#links.attempts.has(watch.looking)
      const due = watch.timeout(now, looks)
      if (due === 'probe') out.push(...this.#did(watch.attempt, [watch.attempt.probe(watch.sa.flow)], now))
      else if (due !== undefined)
        out.push(progress(watch.sa.peer, due, LOOKS[due]), ...this.#lookAgain(watch, due === 'relayed', now))
    }
    for (const attempt of this.#links.attempts.values()) {
      if (now >= attempt.until) out.push(...this.#drop(attempt))
      else if (now >= attempt.deadline) out.push(...this.#did(attempt, attempt.timeout(now), now))
    }
    return out
  }

  /** @returns undefined when it belongs to no attempt, or does not verify */
  check(check: Check, flow: Flow, now: number): ServiceOut[] | undefined {
    const name = hexOf(check.id)
    const attempt = this.#links.attempts.get(name)
    if (attempt !== undefined) {
      const did = attempt.check(check, flow, now)
      return did && this.#did(attempt, did, now)
    }
    for (const server of this.#servers.values()) {
      const answer = server.probe?.answer(check, flow)
      if (answer === true) return this.#counted(server, now)
      if (answer === 'moved') return this.#relearn(server)
    }
    return undefined
  }

  /** The server is asked anew where it sees this host, over IKE: so it learns where its own messages have to go. */
  #relearn({ name, sa }: Mediation): ServiceOut[] {
    if (sa === undefined) return []
    const tag = `refresh ${name}`
    return [{ type: 'request', sa: sa.id, exchange: ExchangeType.ME_CONNECT, payloads: [reflexiveRequest()], tag }]
  }

  #relearned(server: Mediation, payloads: readonly Payload[], now: number): ServiceOut[] {
    const seen = reflexiveOf(payloads)?.endpoint
    if (seen === undefined || server.sa === undefined) return []
    return [...this.#gone(server), ...this.#seen(server, { endpoint: seen, base: server.sa.flow.local }, now)]
  }

  bound({ tag, local }: In<'bound'>, now: number): ServiceOut[] {
    const [kind, name = ''] = tag.split(' ')
    if (kind === 'count') return this.#counter(name, local, now)
    const attempt = this.#links.attempts.get(name)
    if (local === undefined) return []
    const endpoint = { address: local.address, port: local.port }
    if (attempt === undefined) return [{ type: 'unbind', local: endpoint }]
    attempt.bound(endpoint, now)
    return []
  }

  // ------------------------------------------------------------------ asking

  #open(find: Find, now: number): ServiceOut[] {
    const { by } = this.#role(find.peer)!
    const server = this.#servers.get(by)!
    const attempt = this.#attempt(find.peer, by, this.#context.rng.bytes(ID_OCTETS), true, now)
    if (attempt === undefined) return []
    find.attempt = attempt
    find.waits = 'answer'
    return this.#ask(attempt, server, now)
  }

  #ask(attempt: Attempt, server: Mediation, now: number): ServiceOut[] {
    const { peer } = attempt
    return this.#prepared(server, now, () => {
      // meanwhile the peer may have been faster, or nobody wants it any more
      if (!this.#links.attempts.has(attempt.name) || server.sa === undefined) return []
      const offered = this.#offer(attempt, server)
      if (offered === undefined) {
        const why = 'the options disclose no endpoint of this host, so nobody could reach it'
        const find = this.#finds.get(peer)
        return find?.attempt === attempt ? this.#fail(find, 'PATH_NOTHING_DISCLOSED', why) : this.#drop(attempt)
      }
      const { id } = this.#role(peer)!
      // nobody waits for a peer with whom an SA stands
      const payloads = connectPayloads(toIdentification(id), offered, this.#finds.has(peer) ? 'callback' : undefined)
      return [
        progress(peer, 'offering', `told ${server.name}: ${offered.endpoints.map(shown).join(', ')}`),
        { type: 'request', sa: server.sa.id, exchange: ExchangeType.ME_CONNECT, payloads, tag: `open ${attempt.name}` },
      ]
    })
  }

  /** The peer's answer has come. */
  #answered(peer: string, connect: Connect, now: number): ServiceOut[] {
    const attempt = this.#links.attempts.get(hexOf(connect.id!))
    const fits = attempt?.controlling === true && attempt.peer === peer && attempt.own !== undefined
    if (!fits || attempt.theirs !== undefined) return [{ type: 'drop', reason: 'me-unasked' }]
    attempt.theirs = offerOf(connect)!
    const find = this.#finds.get(peer)
    if (find?.attempt === attempt) find.waits = 'checks'
    return this.#begin(attempt, now)
  }

  #refused(peer: string): ServiceOut[] {
    const find = this.#finds.get(peer)
    return find?.attempt === undefined ? [] : this.#fail(find, 'PATH_REFUSED', `${peer} does not know this host`)
  }

  #calledBack(peer: string, now: number): ServiceOut[] {
    const find = this.#finds.get(peer)
    if (find?.waits === 'online') return [progress(peer, 'online', 'the peer is there now'), ...this.#open(find, now)]
    // an earlier attempt has asked for it; it is tried again by itself, only not so soon
    const settings = this.#context.peers.find(p => p.name === peer)
    return find === undefined && settings?.start === 'connect' ? [{ type: 'connect', peer }] : []
  }

  // ------------------------------------------------------------------ being asked

  #asked(server: Mediation, peer: string, connect: Connect, now: number): ServiceOut[] {
    const offer = offerOf(connect)!
    const find = this.#finds.get(peer)
    const own = find?.attempt
    const out: ServiceOut[] = []
    if (own?.controlling === true && own.sa === undefined) {
      // both ask at once: one of the two attempts is enough, and both ends know which
      if (!yields(own.id, offer.id)) return [{ type: 'drop', reason: 'me-both-ask' }]
      out.push(...this.#drop(own))
      find!.attempt = undefined
      find!.waits = 'ike'
    }
    const attempt = this.#attempt(peer, server.name, offer.id, false, now)
    if (attempt === undefined) return [...out, { type: 'drop', reason: 'me-repeated' }]
    attempt.theirs = offer
    return [
      ...out,
      progress(peer, 'asked', `${peer} asks for a connection: ${offer.endpoints.map(shown).join(', ')}`),
      ...this.#prepared(server, now, () => {
        const answer = this.#links.attempts.has(attempt.name) ? this.#offer(attempt, server) : undefined
        if (answer === undefined || server.sa === undefined) return this.#drop(attempt)
        const payloads = connectPayloads(connect.who!, answer, 'response')
        return [
          progress(peer, 'offering', `told ${server.name}: ${answer.endpoints.map(shown).join(', ')}`),
          {
            type: 'request',
            sa: server.sa.id,
            exchange: ExchangeType.ME_CONNECT,
            payloads,
            tag: `answer ${attempt.name}`,
          },
        ]
      }),
    ]
  }

  // ------------------------------------------------------------------ attempts

  /** @returns undefined when the connect ID is known already */
  #attempt(peer: string, server: string, id: Uint8Array, controlling: boolean, now: number): Attempt | undefined {
    const { crypto, rng } = this.#context
    const { hardNats } = this.#settings
    const attempt = new Attempt({ crypto, rng, pacer: this.#pacer, peer, server, id, controlling, hardNats, now })
    if (this.#links.attempts.has(attempt.name)) return undefined
    const before = [...this.#links.attempts.values()].filter(a => a.peer === peer && a.sa === undefined)
    for (const old of before.slice(0, Math.max(0, before.length - MAX_ATTEMPTS + 1)))
      this.#links.attempts.delete(old.name)
    this.#links.attempts.set(attempt.name, attempt)
    return attempt
  }

  #begin(attempt: Attempt, now: number): ServiceOut[] {
    const { own, theirs, peer } = attempt
    if (own === undefined || theirs === undefined || attempt.checking) return []
    const text = `${theirs.endpoints.length} endpoints of ${peer}: ${theirs.endpoints.map(shown).join(', ')}`
    return [progress(peer, 'checking', text), ...this.#did(attempt, attempt.start(own, theirs, now), now)]
  }

  #did(attempt: Attempt, outs: readonly AttemptOut[], now: number): ServiceOut[] {
    return outs.flatMap(o => this.#do(attempt, o, now))
  }

  #do(attempt: Attempt, o: AttemptOut, now: number): ServiceOut[] {
    const { peer } = attempt
    switch (o.type) {
      case 'transmit':
        return [o]
      case 'succeeded': {
        const { local, remote } = o.pair.flow
        const text = `${showEndpoint(local)} to ${showEndpoint(remote)} works, round trip ${Math.round(o.rttMs)} ms`
        return [progress(peer, 'pair', text)]
      }
      case 'punching':
        return [progress(peer, 'punching', o.text)]
      case 'nominated': {
        const { flow } = o.pair
        const text = `${showEndpoint(flow.remote)} after ${o.checks} checks and ${Math.round(now - attempt.startedAt)} ms: ${o.why}`
        const watch = [...this.#watches.values()].find(w => w.looking === attempt.name)
        if (watch !== undefined)
          return watch.prefers(o.pair)
            ? [progress(peer, 'moving', text), { type: 'move', sa: watch.sa.id, flow }]
            : this.#drop(attempt)
        const find = this.#finds.get(peer)
        if (find?.attempt === attempt) find.waits = 'ike'
        return [progress(peer, 'chosen', text), udpOnly(peer, now), { type: 'ready', peer, flow, why: o.why }]
      }
      case 'alive':
        for (const watch of this.#watches.values()) if (watch.attempt === attempt) watch.alive(o.flow, now)
        return []
      case 'bind':
        return Array.from({ length: o.count }, (_, i) => ({
          type: 'bind',
          address: o.base.address,
          tag: `punch ${attempt.name} ${i}`,
        }))
      case 'failed': {
        const find = this.#finds.get(peer)
        const dropped = this.#drop(attempt)
        return find?.attempt === attempt ? [...dropped, ...this.#fail(find, 'PATH_NO_PAIR', o.why)] : dropped
      }
    }
  }

  #fail(find: Find, code: string, why: string): ServiceOut[] {
    this.#finds.delete(find.peer)
    const dropped = find.attempt === undefined ? [] : this.#drop(find.attempt)
    return [...dropped, { type: 'failed', peer: find.peer, code, why }]
  }

  #drop(attempt: Attempt): ServiceOut[] {
    this.#links.attempts.delete(attempt.name)
    const { used } = attempt
    return [...this.#close(attempt), ...(used === undefined ? [] : [{ type: 'unbind', local: used } as const])]
  }

  /** Sockets that nothing uses. */
  #close(attempt: Attempt): ServiceOut[] {
    const { sockets } = attempt
    for (const local of sockets) attempt.forget(local)
    return sockets.map(local => ({ type: 'unbind', local }))
  }

  // ------------------------------------------------------------------ what is told

  #offer(attempt: Attempt, server: Mediation): Attempt['own'] {
    const locals = this.#told(server).filter(({ kind }) => !attempt.direct || kind !== 'relayed')
    const { probe } = server
    // where the reflexive endpoint is not told, its neighbours are not either
    const told = locals.some(c => c.kind === 'server-reflexive' && c.endpoint.address === probe?.address)
    const hard = probe?.hard === true && told ? this.#hardNat(probe) : undefined
    const own = makeOffer(this.#context.rng, attempt.id, locals, hard)
    if (own.endpoints.length > 0) attempt.own = own
    return attempt.own
  }

  #hardNat(probe: NatProbe): HardNat {
    const { address, base } = probe
    return { address, base, forecast: probe.forecast(), anyPort: this.#settings.hardNats.sockets > 0 }
  }

  /** What may be told of this host; the registry learns of the server's answer only after this step. */
  #told({ reflexive }: Mediation): LocalCandidate[] {
    const own = reflexive === undefined ? [] : [reflexive]
    const others = this.#candidates.filter(c => !own.some(o => sameEndpoint(o.endpoint, c.endpoint)))
    return disclosed(
      [...others.filter(c => c.kind === 'host'), ...own, ...others.filter(c => c.kind !== 'host')],
      this.#settings,
      this.#interfaces(),
    )
  }

  /** Behind a NAT that maps every destination anew, its next ports are found out first. */
  #prepared(server: Mediation, now: number, next: (now: number) => ServiceOut[]): ServiceOut[] {
    const { probe, name } = server
    if (probe?.hard !== true) return next(now)
    const already = this.#counting.get(name)
    if (already !== undefined) {
      already.next.push(next)
      return []
    }
    this.#counting.set(name, { sockets: [], missing: COUNTERS, next: [next] })
    return Array.from({ length: COUNTERS }, (_, i) => ({
      type: 'bind',
      address: probe.base.address,
      tag: `count ${name} ${i}`,
    }))
  }

  #counter(name: string, local: Endpoint | undefined, now: number): ServiceOut[] {
    const counting = this.#counting.get(name)
    if (counting === undefined) return local === undefined ? [] : [{ type: 'unbind', local }]
    if (local !== undefined) counting.sockets.push({ address: local.address, port: local.port })
    if (--counting.missing > 0) return []
    const server = this.#servers.get(name)
    if (server?.probe === undefined || counting.sockets.length < 2) return this.#finishCount(name, now)
    return server.probe.count(counting.sockets, now).map(transmit)
  }

  #counted(server: Mediation, now: number): ServiceOut[] {
    if (server.probe?.counting === undefined || !server.probe.counted(now)) return []
    return this.#finishCount(server.name, now)
  }

  #finishCount(name: string, now: number): ServiceOut[] {
    const counting = this.#counting.get(name)
    this.#counting.delete(name)
    if (counting === undefined) return []
    const closed = counting.sockets.map((local): ServiceOut => ({ type: 'unbind', local }))
    return [...closed, ...counting.next.flatMap(next => next(now))]
  }

  // ------------------------------------------------------------------ names

  #role(peer: string): Mediated | undefined {
    const role = this.#links.roles.get(peer)
    return role?.type === 'mediated' ? role : undefined
  }

  #peerOf(server: Mediation, who: Identity): string | undefined {
    for (const [peer, role] of this.#links.roles)
      if (role.type === 'mediated' && role.by === server.name && sameIdentity(role.id, who)) return peer
    return undefined
  }

  #gone(server: Mediation): ServiceOut[] {
    const { reflexive } = server
    server.reflexive = undefined
    return reflexive === undefined ? [] : [{ type: 'candidate-gone', candidate: reflexive }]
  }
}
