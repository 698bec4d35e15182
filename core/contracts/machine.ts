/**
 * Protocol logic without I/O: takes inputs and a time, gives back outputs and the next time it wants to be called.
 * Times are monotonic milliseconds of one clock. Early and late timeouts are harmless.
 */
export interface Machine<In, Out> {
  /** Feed one input. Everything it caused comes back, in order; nothing stays inside to drain. */
  step(input: In, now: number): readonly Out[]
  /** When `{ type: 'timeout' }` is next due; Infinity when idle. */
  readonly deadline: number
}

/** Source of random octets: the operating system's in production, seeded in a simulation. */
export interface Rng {
  /** @returns `length` fresh octets, owned by the caller */
  bytes(length: number): Uint8Array
}

/** Monotonic time and one-shot timers. Only the runtime holds one; protocol code is handed numbers. */
export interface Clock {
  /** Monotonic milliseconds. */
  now(): number
  /** Wall clock, milliseconds since 1970, for logs and certificate validity only. */
  wall(): number
  /** Calls `fire` once at or after `at` (of `now()`'s scale). @returns cancels it */
  schedule(at: number, fire: () => void): () => void
}
