import { type Endpoint, sameEndpoint } from './contracts/net.ts'
import type { Candidate } from './contracts/service.ts'
import type { LocalEndpoint } from './contracts/transport.ts'

type Key = Pick<Candidate, 'kind' | 'endpoint' | 'base'>

/** What one build may announce at most: a service gone mad must not fill messages and memory. */
const MAX_CANDIDATES = 64

const UDP = 17

/** The registry of places at which this host may be reached: its own addresses, and what services have found. */
export class Candidates {
  #hosts: readonly Candidate[] = []
  #found: readonly Candidate[] = []

  /** Best kind first, then in the order they were found. */
  get all(): readonly Candidate[] {
    return [...this.#hosts, ...this.#found]
  }

  /** Relayed ones are places to send from, too. */
  get relayed(): readonly Endpoint[] {
    return this.#found.filter(c => c.kind === 'relayed').map(c => c.endpoint)
  }

  /** @returns whether anything has changed */
  setLocals(locals: readonly LocalEndpoint[]): boolean {
    const natt = locals.filter(l => l.protocol === UDP && l.role === 'natt')
    const before = this.all.length
    const same = natt.length === this.#hosts.length && natt.every((l, i) => sameEndpoint(l, this.#hosts[i]!.endpoint))
    if (!same)
      this.#hosts = natt.map(({ address, port }): Candidate => {
        const endpoint = { address, port }
        return { kind: 'host', endpoint, base: endpoint, source: 'a local address', until: Infinity }
      })
    // what was learned from a socket that is gone went with it
    this.#found = this.#found.filter(c => c.kind === 'relayed' || locals.some(l => sameEndpoint(l, c.base)))
    return !same || this.all.length !== before
  }

  add(candidate: Candidate): boolean {
    const known = this.#found.findIndex(c => same(c, candidate))
    if (known < 0 && this.#found.length >= MAX_CANDIDATES) return false
    this.#found = known < 0 ? [...this.#found, candidate] : this.#found.map((c, i) => (i === known ? candidate : c))
    return known < 0
  }

  remove(key: Key): boolean {
    const before = this.#found.length
    this.#found = this.#found.filter(c => !same(c, key))
    return this.#found.length !== before
  }

  get deadline(): number {
    return this.#found.reduce((due, { until }) => Math.min(due, until), Infinity)
  }

  /** Forgets what is over. */
  timeout(now: number): boolean {
    const before = this.#found.length
    this.#found = this.#found.filter(({ until }) => until > now)
    return this.#found.length !== before
  }
}

const same = (a: Key, b: Key): boolean =>
  a.kind === b.kind && sameEndpoint(a.endpoint, b.endpoint) && sameEndpoint(a.base, b.base)
