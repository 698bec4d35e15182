import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import { type Endpoint, type Flow, sameEndpoint } from '../../core/contracts/net.ts'
import { portStep, predictPorts } from '../../core/path/index.ts'
import { IKE_PORT } from '../../core/wire/index.ts'
import { type Check, checkRequest, isAuthentic } from './check.ts'
import type { ProbeKeys } from './links.ts'

/** Number of the check that goes to the server's other port; those of the counting sockets follow. */
const OTHER_PORT = 1
/** Number of the check that tells whether the mapping of the main socket is still the same; it keeps it, too. */
const REFRESH = 0x100
const REFRESH_MS = 20_000
const AGAIN_MS = 200
const TRIES = 4
/** Fresh sockets whose mappings show whether the NAT counts. */
export const COUNTERS = 3
/** How long their answers are waited for: a lost one is one less. */
const COUNT_MS = 300
/** Ports told to the peer: what else goes through the NAT meanwhile moves the next one on. */
const FORECAST = 7

type Sent = { readonly bytes: Uint8Array; readonly flow: Flow }

/**
 * How the NAT in front of this host maps, found out from checks that the mediation server answers: the same socket to another
 * port of it, and, right before endpoints are told, fresh sockets one after the other.
 */
export class NatProbe {
  readonly #crypto: CryptoProvider
  readonly #keys: ProbeKeys
  readonly #seen: { readonly endpoint: Endpoint; readonly base: Endpoint }
  readonly #server: Endpoint
  #hard: boolean | undefined
  #tries = 0
  #againAt = Infinity
  #refreshAt = Infinity
  #counting: { readonly locals: Endpoint[]; readonly ports: (number | undefined)[]; until: number } | undefined

  constructor(
    crypto: CryptoProvider,
    keys: ProbeKeys,
    seen: { readonly endpoint: Endpoint; readonly base: Endpoint },
    server: Endpoint,
  ) {
    this.#crypto = crypto
    this.#keys = keys
    this.#seen = seen
    this.#server = server
  }

  /** Whether every destination gets another port; undefined while nothing is known. */
  get hard(): boolean | undefined {
    return this.#hard
  }

  get base(): Endpoint {
    return this.#seen.base
  }

  get address(): string {
    return this.#seen.endpoint.address
  }

  get deadline(): number {
    return Math.min(this.#againAt, this.#refreshAt, this.#counting?.until ?? Infinity)
  }

  start(now: number): Sent[] {
    this.#refreshAt = now + REFRESH_MS
    // nothing translates the port: then nothing maps anew
    if (sameEndpoint(this.#seen.endpoint, this.#seen.base)) {
      this.#hard = false
      return []
    }
    this.#againAt = now
    return this.timeout(now)
  }

  timeout(now: number): Sent[] {
    if (now >= this.#refreshAt) {
      this.#refreshAt = now + REFRESH_MS
      return [this.#check({ protocol: 17, local: this.#seen.base, remote: this.#server }, REFRESH)]
    }
    if (now < this.#againAt) return []
    this.#againAt = ++this.#tries < TRIES ? now + AGAIN_MS : Infinity
    const other = { address: this.#server.address, port: IKE_PORT }
    return [this.#check({ protocol: 17, local: this.#seen.base, remote: other }, OTHER_PORT)]
  }

  /** Counts with these sockets now. */
  count(locals: readonly Endpoint[], now: number): Sent[] {
    this.#counting = { locals: [...locals], ports: locals.map(() => undefined), until: now + COUNT_MS }
    return locals.map((local, i) => this.#check({ protocol: 17, local, remote: this.#server }, OTHER_PORT + 1 + i))
  }

  get counting(): readonly Endpoint[] | undefined {
    return this.#counting?.locals
  }

  /** True when there is nothing more to wait for. */
  counted(now: number): boolean {
    const { ports, until } = this.#counting ?? { ports: [], until: now }
    return now >= until || ports.every(port => port !== undefined)
  }

  /** The ports of the next mappings, and the end of the counting; none where the NAT does not count. */
  forecast(): readonly number[] {
    const ports = (this.#counting?.ports ?? []).filter(port => port !== undefined)
    this.#counting = undefined
    const step = portStep(ports)
    return step === undefined ? [] : predictPorts(ports.at(-1)!, step, FORECAST)
  }

  /** @returns whether it was a true answer of the server; `moved`: the NAT maps the main socket otherwise now */
  answer(check: Check, flow: Flow): boolean | 'moved' {
    if (!check.response || !isAuthentic(this.#crypto, check, this.#keys.peer) || check.seen === undefined) return false
    if (check.number === REFRESH && sameEndpoint(flow.local, this.#seen.base))
      return sameEndpoint(check.seen, this.#seen.endpoint) || 'moved'
    if (check.number === OTHER_PORT && sameEndpoint(flow.local, this.#seen.base)) {
      this.#againAt = Infinity
      this.#hard = !sameEndpoint(check.seen, this.#seen.endpoint)
    }
    const i = check.number - OTHER_PORT - 1
    const local = this.#counting?.locals[i]
    if (local !== undefined && sameEndpoint(local, flow.local)) this.#counting!.ports[i] = check.seen.port
    return true
  }

  #check(flow: Flow, number: number): Sent {
    return { bytes: checkRequest(this.#crypto, flow, number, { id: this.#keys.id, key: this.#keys.own }), flow }
  }
}
