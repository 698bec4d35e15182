import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint, sameFlow } from '../../core/contracts/net.ts'
import type { Candidate, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import {
  candidatePriority,
  type LocalCandidate,
  MAX_CANDIDATES,
  Pacer,
  type RemoteCandidate,
} from '../../core/path/index.ts'
import { familyOf, type ParsedStun, Prf, StunError, type StunHmac, stunValue } from '../../core/wire/index.ts'
import { type Content, Method, read, write } from './messages.ts'
import type { HolePunchSettings } from './options.ts'
import { KEY_LENGTH } from './server.ts'
import { Session } from './session.ts'

/** A NAT's mapping towards the server lives as long as something is sent every 20 s. */
const REGISTER_MS = 20_000
/** Waits for answers, ms: the first is short because most servers are near. */
const RETRANSMIT_MS = [200, 400, 800, 1_600, 3_200] as const
/** How long after a failure the server is looked for again. */
const RETRY_MS = 5_000
/** Connections that others have asked for, at once. */
const MAX_SESSIONS = 256

interface Request {
  readonly method: number
  readonly transaction: Uint8Array
  readonly content: Content
  /** For Connect: the peer's name in the configuration. */
  readonly peer: string | undefined
  /** Another nonce was wanted already. */
  readonly renewed: boolean
  tries: number
  dueAt: number
}

/** A member: registers, asks for peers, and is asked for. */
export class RendezvousClient {
  readonly #crypto: CryptoProvider
  readonly #rng: Rng
  readonly #settings: HolePunchSettings
  readonly #hmac: StunHmac
  readonly #names: ReadonlyMap<string, string>
  readonly #pacer = new Pacer()
  #locals: readonly LocalEndpoint[] = []
  #candidates: readonly Candidate[] = []
  #flow: Flow | undefined
  #registered = false
  #mapped: Endpoint | undefined
  #nonce: Uint8Array | undefined
  /** Of this registration and the one before: an invitation may be on its way while there is a new one. */
  #tokens: readonly Uint8Array[] = []
  #nextAt = Infinity
  readonly #requests = new Map<string, Request>()
  readonly #sessions = new Map<string, Session>()
  /** Peers that are wanted before this host is registered. */
  readonly #waiting = new Set<string>()

  constructor(
    { crypto, rng }: ServiceContext,
    settings: HolePunchSettings,
    hmac: StunHmac,
    names: ReadonlyMap<string, string>,
  ) {
    this.#crypto = crypto
    this.#rng = rng
    this.#settings = settings
    this.#hmac = hmac
    this.#names = names
  }

  get deadline(): number {
    let due = this.#nextAt
    for (const { dueAt } of this.#requests.values()) due = Math.min(due, dueAt)
    for (const { deadline } of this.#sessions.values()) due = Math.min(due, deadline)
    return due
  }

  /** Whether a Binding message names one of the sessions. */
  sessionOf(message: ParsedStun): Session | undefined {
    const name = stunValue(message, 'USERNAME')
    return name === undefined ? undefined : this.#sessions.get(name)
  }

  get idle(): boolean {
    return this.#sessions.size === 0
  }

  start(): ServiceOut {
    return this.#resolve()
  }

  setLocals(locals: readonly LocalEndpoint[], now: number): void {
    this.#locals = locals
    if (this.#flow === undefined || locals.some(l => sameEndpoint(l, this.#flow!.local))) return
    this.#flow = undefined
    this.#registered = false
    this.#requests.clear()
    this.#nextAt = now
  }

  setCandidates(candidates: readonly Candidate[]): void {
    this.#candidates = candidates
  }

  resolved(addresses: readonly string[], source: string | undefined, now: number): readonly ServiceOut[] {
    const { server } = this.#settings
    const [address] = addresses
    const local = this.#locals.find(
      l =>
        l.protocol === 17 &&
        l.role === 'natt' &&
        address !== undefined &&
        (source === undefined ? familyOf(l.address) === familyOf(address) : l.address === source),
    )
    if (address === undefined || local === undefined || server === undefined) {
      this.#nextAt = now + RETRY_MS
      return this.#giveUp(`${server?.host} cannot be reached`)
    }
    this.#flow = {
      protocol: 17,
      local: { address: local.address, port: local.port },
      remote: { address, port: server.port },
    }
    return this.#register(now)
  }

  find({ peer }: ServiceIn & { type: 'find' }, now: number): readonly ServiceOut[] {
    const name = this.#names.get(peer)
    if (name === undefined)
      return [failed(peer, `nothing says under which name ${peer} is registered (options.hole-punch.name of the peer)`)]
    if (!this.#registered) {
      this.#waiting.add(peer)
      return [
        {
          type: 'progress',
          peer,
          step: 'registering',
          text: `waiting for the rendezvous ${this.#settings.server?.host}`,
        },
      ]
    }
    return this.#connect(peer, name, now)
  }

  forget(peer: string): void {
    this.#waiting.delete(peer)
    for (const [id, request] of this.#requests) if (request.peer === peer) this.#requests.delete(id)
    for (const [id, session] of this.#sessions) if (session.peer === peer) this.#sessions.delete(id)
  }

  timeout(now: number): readonly ServiceOut[] {
    const out: ServiceOut[] = []
    for (const [id, session] of this.#sessions) {
      if (session.isOver(now)) this.#sessions.delete(id)
      else if (now >= session.deadline) out.push(...session.timeout(now))
    }
    for (const [id, request] of this.#requests) {
      if (now < request.dueAt) continue
      if (request.tries < RETRANSMIT_MS.length) out.push(...this.#send(request, now))
      else {
        this.#requests.delete(id)
        if (request.peer !== undefined)
          out.push(failed(request.peer, 'no answer: is the peer there, and the rendezvous?'))
        else out.push(...this.#unreachable(now))
      }
    }
    if (now >= this.#nextAt) {
      this.#nextAt = Infinity
      out.push(...(this.#flow === undefined ? [this.#resolve()] : this.#register(now)))
    }
    return out
  }

  /** Whether a flow leads to the rendezvous. */
  asks(flow: Flow): boolean {
    return this.#flow !== undefined && sameFlow(this.#flow, flow)
  }

  /** A message of the rendezvous. */
  message(octets: Uint8Array, message: ParsedStun, now: number): readonly ServiceOut[] {
    const content = read(octets, message, this.#hmac)
    if (content === undefined) return drop('integrity')
    if (message.class === 'request')
      return message.method === Method.Invite ? this.#invited(message, content, now) : drop('unexpected')
    const id = message.transaction.join('.')
    const request = this.#requests.get(id)
    if (request === undefined || request.method !== message.method) return drop('unexpected')
    this.#requests.delete(id)
    if (message.class === 'success')
      return request.peer === undefined
        ? this.#nowRegistered(content, now)
        : this.#found(request, request.peer, content, now)
    const { error, nonce } = content
    if (error?.code === StunError.STALE_NONCE && nonce !== undefined && !request.renewed) {
      this.#nonce = nonce
      return this.#ask(request.method, request.content, request.peer, now, true)
    }
    if (request.peer === undefined) return this.#unreachable(now)
    return [failed(request.peer, `the rendezvous: ${this.#names.get(request.peer)} is ${error?.reason ?? 'refused'}`)]
  }

  // ------------------------------------------------------------------ requests

  #resolve(): ServiceOut {
    return { type: 'resolve', host: this.#settings.server!.host, tag: 'server' }
  }

  #register(now: number): readonly ServiceOut[] {
    const token = this.#rng.bytes(KEY_LENGTH)
    this.#tokens = [token, ...this.#tokens.slice(0, 1)]
    return this.#ask(Method.Register, { name: this.#settings.name, token }, undefined, now)
  }

  #connect(peer: string, theirs: string, now: number): readonly ServiceOut[] {
    const key = this.#rng.bytes(KEY_LENGTH)
    const content = { name: this.#settings.name, peer: theirs, candidates: this.#locally(), key }
    const text = `asking the rendezvous for ${theirs}, with ${content.candidates.length} candidates`
    return [{ type: 'progress', peer, step: 'asking', text }, ...this.#ask(Method.Connect, content, peer, now)]
  }

  #ask(
    method: number,
    content: Content,
    peer: string | undefined,
    now: number,
    renewed = false,
  ): readonly ServiceOut[] {
    const transaction = this.#rng.bytes(12)
    const request: Request = { method, transaction, content, peer, renewed, tries: 0, dueAt: now }
    this.#requests.set(transaction.join('.'), request)
    return this.#send(request, now)
  }

  #send(request: Request, now: number): readonly ServiceOut[] {
    request.dueAt = now + RETRANSMIT_MS[request.tries++]!
    const { method, transaction, content } = request
    const bytes = write('request', method, transaction, { ...content, nonce: this.#nonce }, this.#hmac)
    return this.#flow === undefined ? [] : [{ type: 'transmit', bytes, flow: this.#flow }]
  }

  #unreachable(now: number): readonly ServiceOut[] {
    this.#registered = false
    this.#flow = undefined
    this.#nextAt = now + RETRY_MS
    return this.#giveUp(`the rendezvous ${this.#settings.server!.host} does not answer`)
  }

  #giveUp(why: string): readonly ServiceOut[] {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    return waiting.map(peer => failed(peer, why))
  }

  #nowRegistered({ mapped }: Content, now: number): readonly ServiceOut[] {
    this.#registered = true
    this.#mapped = mapped
    this.#nextAt = now + REGISTER_MS
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    return waiting.flatMap(peer => this.#connect(peer, this.#names.get(peer)!, now))
  }

  // ------------------------------------------------------------------ sessions

  /** Host and relayed candidates of this host, and where the rendezvous sees it. */
  #locally(): readonly LocalCandidate[] {
    const count = new Map<string, number>()
    const seen: Candidate[] = [...this.#candidates]
    const flow = this.#flow
    if (this.#mapped !== undefined && flow !== undefined && !seen.some(c => sameEndpoint(c.endpoint, this.#mapped!)))
      seen.push({
        kind: 'server-reflexive',
        endpoint: this.#mapped,
        base: flow.local,
        source: 'rendezvous',
        until: Infinity,
      })
    return seen.slice(0, MAX_CANDIDATES).map(({ kind, endpoint, base }) => {
      const nth = count.get(kind) ?? 0
      count.set(kind, nth + 1)
      return { kind, endpoint, base, priority: candidatePriority(kind, 0xffff - nth) }
    })
  }

  #found(
    { content, transaction }: Request,
    peer: string,
    { candidates, key }: Content,
    now: number,
  ): readonly ServiceOut[] {
    if (candidates === undefined || key?.length !== KEY_LENGTH) return [failed(peer, 'the rendezvous makes no sense')]
    const locals = content.candidates as readonly LocalCandidate[]
    const session = this.#session(transaction, peer, locals, candidates, content.key!, key, now)
    const text = `${candidates.length} candidates of ${this.#names.get(peer)}: ${session.pairs} pairs to check`
    return [{ type: 'progress', peer, step: 'checking', text }, ...session.start(now)]
  }

  #invited(message: ParsedStun, { candidates, key, token }: Content, now: number): readonly ServiceOut[] {
    const current = token !== undefined && this.#tokens.some(own => same(own, token))
    if (!current || candidates === undefined || key?.length !== KEY_LENGTH) return drop('invitation')
    const transaction = message.transaction.slice()
    const known = this.#invitations.get(hexOf(transaction))
    // the same again: its answer was lost
    if (known !== undefined) return [{ type: 'transmit', bytes: known, flow: this.#flow! }]
    if (this.#sessions.size >= MAX_SESSIONS || this.#flow === undefined) return drop('full')
    const locals = this.#locally()
    const own = this.#rng.bytes(KEY_LENGTH)
    const session = this.#session(transaction, undefined, locals, candidates, key, own, now)
    const answer = write('success', Method.Invite, transaction, { candidates: locals, key: own }, this.#hmac)
    this.#invitations.set(hexOf(transaction), answer)
    if (this.#invitations.size > MAX_SESSIONS) this.#invitations.delete(this.#invitations.keys().next().value!)
    return [{ type: 'transmit', bytes: answer, flow: this.#flow }, ...session.start(now)]
  }

  /** Answers to the last invitations. */
  readonly #invitations = new Map<string, Uint8Array>()

  #session(
    transaction: Uint8Array,
    peer: string | undefined,
    locals: readonly LocalCandidate[],
    remotes: readonly RemoteCandidate[],
    asker: Uint8Array,
    asked: Uint8Array,
    now: number,
  ): Session {
    const id = hexOf(transaction)
    // an eavesdropper sees both halves, but has not the secret
    const key = this.#hmac(Uint8Array.of(...encoder.encode('checks'), ...asker, ...asked))
    const hmac: StunHmac = data => this.#crypto.prf(Prf.PRF_HMAC_SHA2_256, key, data)
    const controlling = peer !== undefined
    const common = { hmac, pacer: this.#pacer, rng: this.#rng, now }
    const session = new Session({ id, peer, controlling, locals, remotes, ...common })
    this.#sessions.set(id, session)
    return session
  }
}

const encoder = new TextEncoder()
const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((octet, i) => octet === b[i])
const hexOf = (octets: Uint8Array): string => Array.from(octets, o => o.toString(16).padStart(2, '0')).join('')
const failed = (peer: string, why: string): ServiceOut => ({ type: 'failed', peer, code: 'PATH_FAILED', why })
const drop = (reason: string): readonly ServiceOut[] => [{ type: 'drop', reason: `rendezvous-${reason}` }]
