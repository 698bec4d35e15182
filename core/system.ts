import type { Clock, Rng } from './contracts/machine.ts'

/** The real clock and real randomness: what a build has that brings no other. */

/** Timers in JavaScript cannot be set further ahead than this; waking early is harmless. */
const LONGEST_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  schedule: (at, fire) => {
    if (at === Infinity) return () => {}
    const delay = Math.min(LONGEST_MS, Math.max(0, Math.ceil(at - performance.now())))
    const timer = setTimeout(fire, delay)
    return () => clearTimeout(timer)
  },
}

/** Octets drawn at once: the call costs far more than they do. */
const POOL = 1_024
const pool = new Uint8Array(POOL)
let used = POOL

/** What was given out is not kept. */
export const systemRng: Rng = {
  bytes: length => {
    if (length > POOL) return crypto.getRandomValues(new Uint8Array(length))
    if (used + length > POOL) {
      crypto.getRandomValues(pool)
      used = 0
    }
    const bytes = pool.slice(used, used + length)
    pool.fill(0, used, used + length)
    used += length
    return bytes
  },
}
