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

export const systemRng: Rng = {
  bytes: length => crypto.getRandomValues(new Uint8Array(length)),
}
