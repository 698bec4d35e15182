import type { ChildCounters } from '../contracts/data-plane.ts'
import { DROPS, type Drop } from '../contracts/drop.ts'

/** Words of `SaMemory.numbers`; drops follow, one word for each reason. */
export const Word = {
  /** Number of the next packet out; 0 before the first use. */
  NEXT: 0,
  /** Highest number in. */
  TOP: 1,
  PACKETS_IN: 2,
  OCTETS_IN: 3,
  PACKETS_OUT: 4,
  OCTETS_OUT: 5,
  LAST_IN: 6,
  LAST_OUT: 7,
  SOFT_SAID: 8,
  EXPIRED: 9,
  DROPS: 10,
} as const

const RING_BITS = 32
const WORDS = Word.DROPS + DROPS.length
const index = Object.fromEntries(DROPS.map((reason, i) => [reason, Word.DROPS + i])) as Record<Drop, number>

/**
 * What an installed SA must not lose while it is used: sequence numbers, replay window, counters. In memory that threads
 * share it outlives the thread that works on it, and others can read the counters; one thread writes.
 */
export class SaMemory {
  readonly numbers: Float64Array
  /** Words of the replay window, a power of two of them. */
  readonly ring: Uint32Array

  /** @param memory - `SaMemory.octets(replayWindow)` octets, zero or as another thread left them */
  constructor(replayWindow: number, memory: ArrayBufferLike = new ArrayBuffer(SaMemory.octets(replayWindow))) {
    this.numbers = new Float64Array(memory, 0, WORDS)
    this.ring = new Uint32Array(memory, 8 * WORDS)
  }

  static octets(replayWindow: number): number {
    // one word more than the window needs: the word of the newest number is in use only up to its bit
    let words = 2
    while ((words - 1) * RING_BITS < replayWindow) words *= 2
    return 8 * WORDS + 4 * words
  }

  drop(reason: Drop): void {
    this.numbers[index[reason]]!++
  }

  dropped(reason: Drop): number {
    return this.numbers[index[reason]]!
  }

  /** Of the reasons that happened. */
  drops(): Partial<Record<Drop, number>> {
    const drops: Partial<Record<Drop, number>> = {}
    for (const reason of DROPS) if (this.dropped(reason) > 0) drops[reason] = this.dropped(reason)
    return drops
  }
}

/** The counters among the numbers, as the contract has them. */
export function countersOf(memory: SaMemory): ChildCounters {
  const { numbers } = memory
  return {
    packetsIn: numbers[Word.PACKETS_IN]!,
    octetsIn: numbers[Word.OCTETS_IN]!,
    packetsOut: numbers[Word.PACKETS_OUT]!,
    octetsOut: numbers[Word.OCTETS_OUT]!,
    drops: memory.drops(),
    lastIn: numbers[Word.LAST_IN]!,
    lastOut: numbers[Word.LAST_OUT]!,
  }
}
