interface Entry<T> {
  readonly item: T
  readonly at: number
}

/** Items by the time they are next due: a binary heap whose outdated entries are dropped when they surface. */
export class Deadlines<T> {
  readonly #heap: Entry<T>[] = []
  readonly #due = new Map<T, number>()

  /** When the first item is due; Infinity when none is. */
  get next(): number {
    this.#skipOutdated()
    return this.#heap[0]?.at ?? Infinity
  }

  /** Infinity takes the item out. */
  set(item: T, at: number): void {
    if (this.#due.get(item) === at) return
    if (at === Infinity) {
      this.#due.delete(item)
      return
    }
    this.#due.set(item, at)
    this.#push({ item, at })
  }

  /** Takes out and returns an item due by `now`. */
  take(now: number): T | undefined {
    this.#skipOutdated()
    const first = this.#heap[0]
    if (first === undefined || first.at > now) return undefined
    this.#pop()
    this.#due.delete(first.item)
    return first.item
  }

  #skipOutdated(): void {
    for (
      let first = this.#heap[0];
      first !== undefined && this.#due.get(first.item) !== first.at;
      first = this.#heap[0]
    )
      this.#pop()
  }

  #push(entry: Entry<T>): void {
    const heap = this.#heap
    let i = heap.push(entry) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (heap[parent]!.at <= entry.at) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++
      if (heap[child]!.at >= last.at) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
  }
}
