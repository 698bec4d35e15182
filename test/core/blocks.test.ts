import { expect, test } from 'vitest'
import { Blocks } from '../../core/blocks.ts'
import { parsePrefix } from '../../core/wire/index.ts'

const blocks = (prefix: string) => new Blocks({ name: 'p', prefix: parsePrefix(prefix)!, dns: [] })
const never = () => false
const text = (found: { address: string; bits: number } | undefined) => found && `${found.address}/${found.bits}`

test('each owner gets a block of its size, and the same one again', () => {
  const pool = blocks('10.99.0.0/22')
  expect(text(pool.take('a', 24, never))).toBe('10.99.0.0/24')
  expect(text(pool.take('b', 32, never))).toBe('10.99.1.0/32')
  expect(text(pool.take('c', 24, never))).toBe('10.99.2.0/24')
  expect(text(pool.take('a', 24, never))).toBe('10.99.0.0/24')
})

test('a full pool gives away the block of who is not there, and no other', () => {
  const pool = blocks('10.99.0.0/31')
  pool.take('a', 32, never)
  pool.take('b', 32, never)
  expect(pool.take('c', 32, () => true)).toBeUndefined()
  expect(text(pool.take('c', 32, key => key !== 'b'))).toBe('10.99.0.1/32')
  expect(text(pool.take('a', 32, () => true))).toBe('10.99.0.0/32')
})

test('what is larger than the pool does not fit; IPv6', () => {
  expect(blocks('10.99.0.0/24').take('a', 16, never)).toBeUndefined()
  expect(text(blocks('fd00::/48').take('a', 64, never))).toBe('fd00::/64')
})
