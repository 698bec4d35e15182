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

  /** The SA carries nothing more, whoever works on it. */
  expire(): void {
    this.numbers[Word.EXPIRED] = 1
  }
}

/**
 * The counters among the numbers, as the contract has them.
 *
 * @param memories - of one SA: more than one where each direction has a thread and a memory of its own
 */
export function countersOf(memories: readonly SaMemory[]): ChildCounters {
  const sum = (word: number): number => memories.reduce((total, { numbers }) => total + numbers[word]!, 0)
  const drops: Partial<Record<Drop, number>> = {}
  for (const reason of DROPS) {
    const dropped = sum(index[reason])
    if (dropped > 0) drops[reason] = dropped
  }
  return {
    packetsIn: sum(Word.PACKETS_IN),
    octetsIn: sum(Word.OCTETS_IN),
    packetsOut: sum(Word.PACKETS_OUT),
    octetsOut: sum(Word.OCTETS_OUT),
    drops,
    lastIn: sum(Word.LAST_IN),
    lastOut: sum(Word.LAST_OUT),
  }
}
