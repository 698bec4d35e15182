import { Control } from './messages.ts'

/** Why a packet went no further that no SA's counters tell of. */
const REASONS = [
  /** For the engine, which had too much to do already. */
  'main-thread-busy',
  /** Larger than the path takes, and not to be fragmented. */
  'too-big',
  /** The kernel did not send it: no route, no room. */
  'not-sent',
  /** The TUN device did not take it, or gave what is no packet. */
  'device-refused',
] as const
export type Loss = (typeof REASONS)[number]

/** Words that they take, behind those of `Control`. */
export const LOSS_WORDS = REASONS.length

/** Counted in memory that both threads see and that outlives the one that counts. */
export class Losses {
  readonly #control: Int32Array

  /** @param control - `Control.WORDS` words and `LOSS_WORDS` */
  constructor(control: Int32Array) {
    this.#control = control
  }

  count(reason: Loss, packets = 1): void {
    Atomics.add(this.#control, Control.WORDS + REASONS.indexOf(reason), packets)
  }

  /** Those that happened. */
  all(): Partial<Record<Loss, number>> {
    const counts = REASONS.map((reason, i) => [reason, Atomics.load(this.#control, Control.WORDS + i) >>> 0] as const)
    return Object.fromEntries(counts.filter(([, count]) => count > 0))
  }
}
