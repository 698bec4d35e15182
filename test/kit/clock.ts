import type { Clock } from '../../core/contracts/machine.ts'
import { type Event, EventQueue, type Fire } from './event-queue.ts'

/** Virtual time zero on the wall: 2025-01-01T00:00:00Z, so that certificates made for tests are valid. */
export const EPOCH = 1_735_689_600_000

/** Time that jumps from event to event. It starts at 0 and only moves when somebody runs it. */
export class VirtualClock implements Clock {
  readonly queue = new EventQueue()
  /** True after code from outside the simulation ran (timers, sinks); it may have left promises to settle. */
  outside = false
  #now = 0

  now(): number {
    return this.#now
  }

  wall(): number {
    return EPOCH + this.#now
  }

  schedule(at: number, fire: () => void): () => void {
    const event = this.queue.push(Math.max(at, this.#now), () => {
      this.outside = true
      fire()
    })
    return () => this.#cancel(event)
  }

  /** Like `schedule`, for the simulation itself: `delay` ms from now, the packet as argument. */
  after(delay: number, fire: Fire, frame?: Uint8Array): Event {
    return this.queue.push(this.#now + delay, fire, frame)
  }

  cancel(event: Event): void {
    this.#cancel(event)
  }

  /** Runs the next event if it is due by `limit`. @returns false when there is none */
  step(limit = Number.POSITIVE_INFINITY): boolean {
    if (this.queue.next > limit) return false
    const event = this.queue.pop()
    const fire = event?.fire
    if (event === undefined || fire === undefined) return false
    this.#now = Math.max(this.#now, event.at)
    event.fire = undefined
    fire(event.frame)
    return true
  }

  /** Moves time to `at` without running anything; for the end of a run. */
  moveTo(at: number): void {
    this.#now = Math.max(this.#now, at)
  }

  #cancel(event: Event): void {
    this.queue.cancel(event)
  }
}
