import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ReplayWindow } from '../../../core/ipsec/index.ts'

const HALF = 2 ** 32

/** Everything remembered, nothing clever. */
class NaiveWindow {
  readonly #size: number
  readonly #seen = new Set<number>()
  top = 0

  constructor(size: number) {
    this.#size = size
  }

  accepts(sequence: number): boolean {
    if (sequence === 0 || sequence <= this.top - this.#size || this.#seen.has(sequence)) return false
    this.#seen.add(sequence)
    this.top = Math.max(this.top, sequence)
    return true
  }
}

function receive(window: ReplayWindow, low: number): number {
  const sequence = window.check(low)
  if (sequence > 0) window.update(sequence)
  return sequence
}

test.each([
  { name: 'zero is never sent', size: 32, given: [0], want: [false] },
  { name: 'in order', size: 32, given: [1, 2, 3], want: [true, true, true] },
  { name: 'replay of the newest', size: 32, given: [5, 5], want: [true, false] },
  { name: 'replay of an older one', size: 32, given: [5, 6, 5], want: [true, true, false] },
  { name: 'reordered inside', size: 32, given: [40, 20], want: [true, true] },
  { name: '31 behind the newest, window 32', size: 32, given: [33, 2], want: [true, true] },
  { name: '32 behind the newest, window 32', size: 32, given: [33, 1], want: [true, false] },
  {
    name: 'a jump of many words forgets nothing it should keep',
    size: 64,
    given: [1, 1000, 950, 950, 936],
    want: [true, true, true, false, false],
  },
  { name: 'a jump of exactly one ring', size: 32, given: [7, 7 + 64, 7 + 64 - 31], want: [true, true, true] },
  { name: 'the last number', size: 32, given: [HALF - 1, HALF - 1, 1], want: [true, false, false] },
])('$name', ({ size, given, want }) => {
  const window = new ReplayWindow(size, false)
  expect(given.map(low => receive(window, low) > 0)).toEqual(want)
})

test('looking does not move the window', () => {
  const window = new ReplayWindow(32, false)
  expect(window.check(1000)).toBe(1000)
  expect(window.top).toBe(0)
  expect(window.check(1)).toBe(1)
})

test('agrees with a naive window', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 32, max: 300 }),
      fc.array(fc.oneof(fc.integer({ min: -400, max: 400 }), fc.integer({ min: 0, max: 5000 })), { maxLength: 200 }),
      (size, steps) => {
        const window = new ReplayWindow(size, false)
        const naive = new NaiveWindow(size)
        for (const step of steps) {
          const sequence = Math.max(0, window.top + step)
          expect(receive(window, sequence) > 0).toBe(naive.accepts(sequence))
          expect(window.top).toBe(naive.top)
        }
      },
    ),
  )
})

describe('extended sequence numbers', () => {
  test.each([
    { name: 'first packet', top: 0, low: 1, want: 1 },
    { name: 'first packet claims the half before the first', top: 0, low: HALF - 1, want: -1 },
    { name: 'ahead in the same half', top: 1000, low: 5000, want: 5000 },
    { name: 'far behind is the next half', top: 1000, low: 10, want: HALF + 10 },
    { name: 'across the wrap', top: HALF - 1, low: 0, want: HALF },
    { name: 'late from before the wrap', top: HALF + 5, low: HALF - 3, want: HALF - 3 },
    { name: 'too far before the wrap is a jump ahead', top: HALF + 5, low: HALF - 100, want: 2 * HALF - 100 },
    { name: 'bottom of the window', top: 5 * HALF + 1000, low: 1000 - 63, want: 5 * HALF + 937 },
    { name: 'one below it', top: 5 * HALF + 1000, low: 1000 - 64, want: 6 * HALF + 936 },
  ])('$name', ({ top, low, want }) => {
    const window = new ReplayWindow(64, true)
    if (top > 0) window.update(top)
    expect(window.check(low)).toBe(want)
  })

  test('every number inside the window, or less than 2^31 ahead, is inferred', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 100 * HALF }),
        fc.integer({ min: 32, max: 1024 }),
        fc.integer({ min: -1023, max: 2 ** 31 }),
        (top, size, distance) => {
          fc.pre(distance !== 0 && distance > -size && top + distance > 0)
          const window = new ReplayWindow(size, true)
          window.update(top)
          expect(window.check((top + distance) % HALF)).toBe(top + distance)
        },
      ),
    )
  })

  test('refuses to count beyond 2^53', () => {
    const window = new ReplayWindow(64, true)
    window.update(Number.MAX_SAFE_INTEGER)
    expect(window.check(5)).toBe(-1)
  })
})
