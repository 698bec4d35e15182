import { expect, test } from 'vitest'
import { SendPool } from '../../../plugins/udp/send-pool.ts'

test('copies the octets, gives out no more than the limit, takes slots back', () => {
  const failures: Error[] = []
  const pool = new SendPool(2, error => failures.push(error))
  const source = Uint8Array.of(9, 1, 2, 3, 9)
  const first = pool.take(source, 1, 4)!
  source.fill(0)
  expect([...first.bytes.subarray(0, 3)]).toEqual([1, 2, 3])
  const second = pool.take(source, 0, 5)!
  expect(second.bytes).not.toBe(first.bytes)
  expect(pool.take(source, 0, 1)).toBeUndefined()
  expect(pool.pending).toBe(2)

  first.done(null)
  second.done(new Error('no route'))
  expect(failures).toHaveLength(1)
  expect(pool.pending).toBe(0)
  expect([first.bytes, second.bytes]).toContain(pool.take(source, 0, 1)!.bytes)
})

test('a datagram larger than a slot gets a buffer of its own that is not kept', () => {
  const pool = new SendPool(1, () => {})
  const large = new Uint8Array(65_507).fill(7)
  const slot = pool.take(large, 0, large.length)!
  expect(slot.bytes).toEqual(large)
  slot.done(null)
  expect(pool.take(large, 0, 10)!.bytes).not.toBe(slot.bytes)
})
