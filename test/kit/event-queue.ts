/** What happens at an event; packets travel as the argument, so that no closure is made per packet. */
export type Fire = (frame: Uint8Array) => void

export interface Event {
  readonly at: number
  readonly order: number
  /** Undefined once cancelled. */
  fire: Fire | undefined
  readonly frame: Uint8Array
}

/** Events without a packet carry this. */
const NO_FRAME = new Uint8Array(0)

/** Binary heap of events, earliest first; events of the same time come out in the order they went in. */
export class EventQueue {
  readonly #heap: Event[] = []
  #order = 0
  #cancelled = 0

  /** Events that will still fire. */
  get size(): number {
    return this.#heap.length - this.#cancelled
  }

  /** Time of the next event; Infinity when there is none. */
  get next(): number {
    this.#dropCancelled()
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY
  }

  push(at: number, fire: Fire, frame: Uint8Array = NO_FRAME): Event {
    const event: Event = { at, order: this.#order++, fire, frame }
    const heap = this.#heap
    let index = heap.length
    heap.push(event)
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent]!
      if (!before(event, above)) break
      heap[index] = above
      index = parent
    }
    heap[index] = event
    return event
  }

  pop(): Event | undefined {
    this.#dropCancelled()
    return this.#take()
  }

  /** Harmless for events that fired already. */
  cancel(event: Event): void {
    if (event.fire === undefined) return
    event.fire = undefined
    this.#cancelled++
    // Timers are mostly cancelled before they fire; without this the heap would be mostly corpses.
    if (this.#cancelled > 1024 && this.#cancelled > this.#heap.length / 2) this.#compact()
  }

  #dropCancelled(): void {
    while (this.#heap.length > 0 && this.#heap[0]!.fire === undefined) {
      this.#take()
      this.#cancelled--
    }
  }

  #take(): Event | undefined {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (last !== undefined && heap.length > 0) this.#sink(last, 0)
    return top
  }

  #sink(event: Event, from: number): void {
    const heap = this.#heap
    let index = from
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, event)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = event
  }

  #compact(): void {
    const live = this.#heap.filter(event => event.fire !== undefined)
    this.#heap.length = live.length
    for (let index = 0; index < live.length; index++) this.#heap[index] = live[index]!
    for (let index = (live.length >> 1) - 1; index >= 0; index--) this.#sink(this.#heap[index]!, index)
    this.#cancelled = 0
  }
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
