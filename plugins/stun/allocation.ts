/** How a NAT picks outer ports, RFC 4787 §4.2: seen from a few samples. */

/** One mapping: the port inside and the one outside. */
export interface PortSample {
  readonly local: number
  readonly mapped: number
}

/** Lowest port that NATs give out. */
const FIRST_PORT = 1024
const RANGE = 65_536 - FIRST_PORT
/** Ports this far apart per sample still count as neighbours: other hosts' flows come between. */
const SLACK = 64

export interface PortRun {
  /** Distance from one new mapping to the next. */
  readonly step: number
  /** How probable it is that this is no accident, 0 to 1. */
  readonly confidence: number
}

/**
 * Whether ports follow one another, in whatever order they were learned: packets that were lost or overtaken change the
 * order and not the distances.
 *
 * @returns undefined for fewer than three different ports, or when they are scattered
 */
export function portRun(ports: readonly number[]): PortRun | undefined {
  const sorted = [...new Set(ports)].sort((a, b) => a - b)
  const count = sorted.length
  if (count < 3) return undefined
  // around the ring of ports: the run begins behind the widest gap
  const gaps = sorted.map((port, i) => (sorted[(i + 1) % count]! - port + RANGE) % RANGE)
  const widest = gaps.indexOf(Math.max(...gaps))
  const steps = gaps.filter((_, i) => i !== widest)
  const spread = steps.reduce((sum, gap) => sum + gap, 0)
  const limit = SLACK * count
  if (spread > limit) return undefined
  return { step: steps.reduce(gcd), confidence: 1 - count * (limit / RANGE) ** (count - 1) }
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

/** Names of RFC 4787 where it has them; `sequential` is what makes ports guessable. */
export type PortAllocation = 'preserving' | 'sequential' | 'random'

export interface AllocationVerdict {
  readonly allocation: PortAllocation
  readonly confidence: number
  readonly step: number | undefined
  /** Odd ports stay odd and even ones even (RFC 4787 §4.2.2), where the allocation does not say so itself. */
  readonly parity: { readonly preserved: boolean; readonly confidence: number } | undefined
  /** The rule that led here, with its numbers. */
  readonly rule: string
}

/** What the first mappings of several sockets tell; undefined below three. */
export function judgeAllocation(samples: readonly PortSample[]): AllocationVerdict | undefined {
  if (samples.length < 3) return undefined
  const shown = samples.map(({ local, mapped }) => `${local}→${mapped}`).join(' ')
  const kept = samples.filter(({ local, mapped }) => local === mapped).length
  // a port that was taken already gets another one, so some may differ
  if (kept * 2 > samples.length)
    return {
      allocation: 'preserving',
      confidence: 1,
      step: undefined,
      parity: undefined,
      rule: `${kept} of ${samples.length} sockets kept their port: ${shown}`,
    }
  const run = portRun(samples.map(({ mapped }) => mapped))
  if (run !== undefined)
    return {
      allocation: 'sequential',
      confidence: run.confidence,
      step: run.step,
      parity: undefined,
      rule: `outer ports follow one another in steps of ${run.step}: ${shown}`,
    }
  const odd = samples.filter(({ local, mapped }) => (local + mapped) % 2 !== 0).length
  return {
    allocation: 'random',
    confidence: 1,
    step: undefined,
    parity: { preserved: odd === 0, confidence: odd === 0 ? 1 - 0.5 ** samples.length : 1 },
    rule: `outer ports are neither the inner ones nor neighbours: ${shown}`,
  }
}
