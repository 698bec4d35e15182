import { knownFact } from '../../core/contracts/facts.ts'
import { type Flow, sameFlow } from '../../core/contracts/net.ts'
import type { IkeSaRef } from '../../core/contracts/service.ts'
import type { CandidatePair } from '../../core/path/index.ts'
import type { Attempt } from './attempt.ts'

/** How often a path in use is asked whether it lives, and how it is asked again when it does not answer. */
const ALIVE_MS = 10_000
const AGAIN_MS: readonly number[] = [300, 600, 1_200]
/** A direct way is looked for so long after the last time, then less and less often. */
const LOOK_MS = { first: 5_000, most: 600_000, factor: 3 } as const
/** A dead path for which no other was found yet. */
const DEAD_MS = 5_000

/**
 * One path that IKE and ESP take between two natweave ends, watched by the end that has chosen it: when it dies, and as long
 * as it goes through a relay, another one is looked for. Only where MOBIKE can move the SA.
 */
export class PathWatch {
  sa: IkeSaRef
  attempt: Attempt
  /** The attempt that looks for another path. */
  looking: string | undefined
  #tries = 0
  #dueAt: number
  #lookAt = Infinity
  #lookMs: number = LOOK_MS.first
  #dead = false

  constructor(sa: IkeSaRef, attempt: Attempt, now: number) {
    this.sa = sa
    this.attempt = attempt
    this.#dueAt = now + ALIVE_MS
    this.#plan(now)
  }

  get deadline(): number {
    return knownFact(this.sa.facts, 'mobike') === true ? Math.min(this.#dueAt, this.#lookAt) : Infinity
  }

  /** @param looks - another path is being looked for already. @returns what is to be done */
  timeout(now: number, looks: boolean): 'probe' | 'dead' | 'relayed' | undefined {
    if (now < this.deadline) return undefined
    if (now >= this.#dueAt) {
      if (this.#tries <= AGAIN_MS.length) {
        this.#dueAt = now + (AGAIN_MS[this.#tries++] ?? DEAD_MS)
        if (this.#tries <= AGAIN_MS.length) return 'probe'
      } else this.#dueAt = now + DEAD_MS
      this.#dead = true
      return looks ? 'probe' : 'dead'
    }
    this.#lookMs = Math.min(LOOK_MS.most, this.#lookMs * LOOK_MS.factor)
    this.#lookAt = now + this.#lookMs
    return looks ? undefined : 'relayed'
  }

  /** The path has answered. */
  alive(flow: Flow, now: number): void {
    if (!sameFlow(flow, this.sa.flow)) return
    this.#tries = 0
    this.#dead = false
    this.#dueAt = now + ALIVE_MS
  }

  /** Whether IKE should take this pair instead: any other when its own is dead, else only a direct one. */
  prefers({ flow, local, remote }: CandidatePair): boolean {
    if (sameFlow(flow, this.sa.flow)) return false
    return this.#dead || (this.#relayed && local.kind !== 'relayed' && remote.kind !== 'relayed')
  }

  moved(sa: IkeSaRef, attempt: Attempt, now: number): void {
    this.sa = sa
    this.attempt = attempt
    this.looking = undefined
    this.#tries = 0
    this.#dead = false
    this.#dueAt = now + ALIVE_MS
    this.#lookMs = LOOK_MS.first
    this.#plan(now)
  }

  #plan(now: number): void {
    this.#lookAt = this.#relayed ? now + this.#lookMs : Infinity
  }

  get #relayed(): boolean {
    return this.attempt.relays(this.sa.flow)
  }
}
