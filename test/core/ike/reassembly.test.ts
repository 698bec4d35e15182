import { describe, expect, test } from 'vitest'
import { type Fragment, Reassembly, ReassemblyBudget } from '../../../core/ike/reassembly.ts'

/** What an authenticated peer may do with fragments, RFC 7383 §2.6. */

const INNER = 35

const fragment = (number: number, total: number, more: Partial<Fragment> & { octets?: number } = {}): Fragment => ({
  exchange: 35,
  response: false,
  messageId: 1,
  skf: { inner: number === 1 ? INNER : 0, number, total },
  part: new Uint8Array(more.octets ?? 10).fill(number),
  length: 100 + number,
  known: true,
  ...more,
})

const fresh = () => {
  const budget = new ReassemblyBudget()
  return { budget, reassembly: new Reassembly(budget) }
}

test('any order gives the message', () => {
  for (const order of [
    [1, 2, 3],
    [3, 2, 1],
    [2, 3, 1],
  ]) {
    const { budget, reassembly } = fresh()
    const [a, b, c] = order.map(n => reassembly.add(fragment(n, 3), 0))
    expect([a, b]).toEqual([undefined, undefined])
    const chain = Uint8Array.from([...Array(10).fill(1), ...Array(10).fill(2), ...Array(10).fill(3)])
    expect(c).toEqual({ inner: INNER, chain, largest: 103 })
    expect(budget.held).toBe(0)
  }
})

test('a request and a response are put together side by side', () => {
  const { reassembly } = fresh()
  reassembly.add(fragment(1, 2), 0)
  reassembly.add(fragment(1, 2, { response: true }), 0)
  expect(reassembly.add(fragment(2, 2), 0)).toMatchObject({ inner: INNER })
  expect(reassembly.add(fragment(2, 2, { response: true }), 0)).toMatchObject({ inner: INNER })
})

describe('another total for the same message', () => {
  test('larger: the peer cuts smaller pieces now, the old ones go', () => {
    const { reassembly } = fresh()
    reassembly.add(fragment(1, 2), 0)
    expect(reassembly.add(fragment(2, 3), 0)).toBeUndefined()
    expect(reassembly.add(fragment(3, 3), 0)).toBeUndefined()
    expect(reassembly.add(fragment(1, 3), 0)).toMatchObject({ inner: INNER })
  })

  test('smaller: a late one of before, dropped', () => {
    const { reassembly } = fresh()
    reassembly.add(fragment(1, 3), 0)
    expect(reassembly.add(fragment(2, 2), 0)).toBe('fragment-total')
    reassembly.add(fragment(2, 3), 0)
    expect(reassembly.add(fragment(3, 3), 0)).toMatchObject({ inner: INNER })
  })
})

test('the next message takes the place of one that was never finished', () => {
  const { reassembly } = fresh()
  reassembly.add(fragment(1, 2), 0)
  expect(reassembly.add(fragment(2, 2, { messageId: 2 }), 0)).toBeUndefined()
  expect(reassembly.add(fragment(1, 2, { messageId: 2 }), 0)).toMatchObject({ inner: INNER })
})

test.each([
  ['first payload named by a later fragment', fragment(2, 2, { skf: { inner: INNER, number: 2, total: 2 } })],
  ['first payload not named by the first', fragment(1, 2, { skf: { inner: 0, number: 1, total: 2 } })],
])('malformed: %s', (_, bad) => {
  const { budget, reassembly } = fresh()
  expect(reassembly.add(bad, 0)).toBe('fragment-malformed')
  expect(budget.held).toBe(0)
})

test('another exchange in the middle of a message', () => {
  const { reassembly } = fresh()
  reassembly.add(fragment(1, 2), 0)
  expect(reassembly.add(fragment(2, 2, { exchange: 37 }), 0)).toBe('fragment-malformed')
})

describe('limits', () => {
  test('fragments of a message', () => {
    const { reassembly } = fresh()
    expect(reassembly.add(fragment(1, 129), 0)).toBe('fragment-count')
    expect(reassembly.add(fragment(1, 128), 0)).toBeUndefined()
  })

  test('octets of a message', () => {
    const { budget, reassembly } = fresh()
    reassembly.add(fragment(1, 3, { octets: 40_000 }), 0)
    expect(reassembly.add(fragment(2, 3, { octets: 30_000 }), 0)).toBe('fragment-size')
    expect(budget.held).toBe(0)
  })

  test('octets of all messages: strangers cannot take the room of peers', () => {
    const budget = new ReassemblyBudget()
    const fill = (known: boolean): number => {
      for (let n = 0; ; n++) {
        const answer = new Reassembly(budget).add(fragment(1, 2, { octets: 60_000, known }), 0)
        if (answer !== undefined) {
          expect(answer).toBe('fragment-memory')
          return n
        }
      }
    }
    expect(fill(false)).toBe(69)
    expect(fill(true)).toBe(70)
    expect(budget.held).toBeLessThanOrEqual(8 * 2 ** 20)
  })

  test('fragments without content cost something too', () => {
    const { budget, reassembly } = fresh()
    for (let n = 1; n < 128; n++) reassembly.add(fragment(n, 128, { octets: 0 }), 0)
    expect(budget.held).toBe(127 * 64)
  })

  test('time, counted from the first fragment', () => {
    const { budget, reassembly } = fresh()
    reassembly.add(fragment(1, 3), 1_000)
    reassembly.add(fragment(2, 3), 20_000)
    expect(reassembly.deadline).toBe(31_000)
    expect(reassembly.timeout(30_999)).toBe(0)
    expect(reassembly.timeout(31_000)).toBe(1)
    expect([budget.held, reassembly.deadline]).toEqual([0, Infinity])
  })
})
