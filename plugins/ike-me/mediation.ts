import type { Candidate, IkeSaRef } from '../../core/contracts/service.ts'
import type { ProbeKeys } from './links.ts'
import type { NatProbe } from './nat-probe.ts'

const FIRST_RETRY_MS = 1_000
const MAX_RETRY_MS = 60_000

/** This host's connection to one mediation server: registered while an IKE SA stands. */
export class Mediation {
  /** Name of the server in the configuration. */
  readonly name: string
  sa: IkeSaRef | undefined
  keys: ProbeKeys | undefined
  probe: NatProbe | undefined
  reflexive: Candidate | undefined
  /** When to try to reach the server again. */
  retryAt = Infinity
  #failures = 0

  constructor(name: string) {
    this.name = name
  }

  up(sa: IkeSaRef): void {
    this.sa = sa
    this.#failures = 0
    this.retryAt = Infinity
  }

  down(now: number): void {
    this.sa = undefined
    this.probe = undefined
    this.failed(now)
  }

  failed(now: number): void {
    this.retryAt = now + Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++)
  }
}
