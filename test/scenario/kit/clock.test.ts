import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SeededRng, VirtualClock, virtualInternet } from '../../kit/index.ts'

test('events fire by time, then in the order they were scheduled; cancelled ones never', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.boolean()), { maxLength: 200 }), plan => {
      const clock = new VirtualClock()
      const fired: number[] = []
      const cancels = plan.map(([at], index) => clock.schedule(at, () => fired.push(index)))
      for (const [index, [, cancelled]] of plan.entries()) if (cancelled) cancels[index]?.()
      while (clock.step());
      const wanted = plan.flatMap(([at, cancelled], index) => (cancelled ? [] : [{ at, index }]))
      wanted.sort((a, b) => a.at - b.at || a.index - b.index)
      expect(fired).toEqual(wanted.map(({ index }) => index))
    }),
  )
})

test('thousands of cancelled timers leave nothing behind', () => {
  const clock = new VirtualClock()
  for (let i = 0; i < 10_000; i++) clock.schedule(1_000 + i, () => {})()
  let fired = 0
  clock.schedule(5_000, () => fired++)
  expect(clock.queue.size).toBe(1)
  expect(clock.step()).toBe(true)
  expect([fired, clock.now(), clock.step()]).toEqual([1, 5_000, false])
})

test('randomness: named streams are independent of each other and of the order of drawing', () => {
  const [a, b] = [virtualInternet({ seed: 9 }), virtualInternet({ seed: 9 })]
  a.rng('bob').bytes(100)
  expect(a.rng('alice').bytes(40)).toEqual(b.rng('alice').bytes(40))
  expect(b.rng('alice').bytes(40)).not.toEqual(b.rng('bob').bytes(40))
  expect(new SeededRng(1).bytes(16)).not.toEqual(new SeededRng(2).bytes(16))
})

test('randomness is spread evenly', () => {
  const counts = new Array<number>(16).fill(0)
  const rng = new SeededRng('spread')
  for (let i = 0; i < 16_000; i++) counts[rng.below(16)]!++
  // chi-squared with 15 degrees of freedom stays below 37.7 in 999 of 1000 cases
  expect(counts.reduce((sum, count) => sum + (count - 1_000) ** 2 / 1_000, 0)).toBeLessThan(37.7)
})
