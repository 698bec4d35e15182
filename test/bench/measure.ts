/** One figure of a benchmark. */
export interface Figure {
  readonly what: string
  readonly value: number
  readonly unit: string
  /** Figures with the same comparison are shown side by side, as multiples of its slowest. */
  readonly compare?: string
  /** How it was obtained, in words. */
  readonly how: string
}

/** What the command line asks of benches. */
export interface BenchOptions {
  /** SAs that are made where their number is what is measured. */
  readonly sas: number
}

export interface Bench<F extends Figure = Figure> {
  readonly name: string
  readonly about: string
  /** Why it cannot be run here, in words; undefined, or absent: it can. */
  obstacle?(): string | undefined
  run(options: BenchOptions): Promise<readonly F[]>
  /** Figures as a table of their own; absent: a line for each. */
  show?(figures: readonly F[]): string
  /** What the figures ought to show. */
  goals?(figures: readonly F[]): readonly Goal[]
}

/** What was set out to be reached. */
export interface Goal {
  /** In words, with the number. */
  readonly goal: string
  /** What was reached, in words. */
  readonly reached: string
  readonly met: boolean
}

/** What came of a bench. */
export interface Result {
  readonly bench: string
  readonly about: string
  readonly figures: readonly Figure[]
  readonly goals?: readonly Goal[]
  /** Why it could not be run. */
  readonly notRun?: string
}

/** Real ms, monotonic. */
export const realNow = (): number => performance.now()

const SAMPLES = 5

/**
 * How often `work` can be done per second: the best of five samples after a warm-up, since others use the machine too.
 *
 * @param seconds - real time for all samples together
 */
export function rate(work: () => void, seconds = 0.5): number {
  const sample = (ms: number): number => {
    const from = realNow()
    let done = 0
    let batch = 1
    for (;;) {
      for (let i = 0; i < batch; i++) work()
      done += batch
      const took = realNow() - from
      if (took >= ms) return (done / took) * 1_000
      // looking at the clock costs: look about ten times a sample
      batch = Math.max(1, Math.floor(((done / took) * ms) / 10))
    }
  }
  const ms = (seconds * 1_000) / (SAMPLES + 1)
  sample(ms)
  return Math.max(...Array.from({ length: SAMPLES }, () => sample(ms)))
}
