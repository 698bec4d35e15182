import { describe, expect, test } from 'vitest'
import { Pool } from '../../core/pools.ts'
import { parsePrefix } from '../../core/wire/index.ts'

/** Addresses that are asked for by name. */

const pool = (prefix: string) => new Pool({ name: 'rw', prefix: parsePrefix(prefix)!, dns: [] })

describe('an address that nobody has had', () => {
  test.each(['10.9.0.1', '10.9.0.5', '10.9.0.6'])('%s is given, and to nobody else', wanted => {
    const p = pool('10.9.0.0/29')
    expect(p.lease('alice', true, wanted)).toBe(wanted)
    const others = Array.from({ length: 6 }, (_, i) => p.lease(`${i}`, true))
    expect(others.at(-1)).toBeUndefined()
    expect(new Set([wanted, ...others.slice(0, -1)]).size).toBe(6)
    expect(others).not.toContain(wanted)
  })

  test('in version 6 as well', () =>
    expect(pool('2001:db8::/64').lease('a', true, '2001:db8::77')).toBe('2001:db8::77'))
})

test.each([
  ['of another pool', '10.8.0.3'],
  ['of the network', '10.9.0.0'],
  ['of all hosts', '10.9.0.7'],
  ['of another family', '2001:db8::1'],
])('one %s is not', (_, wanted) => expect(pool('10.9.0.0/29').lease('alice', true, wanted)).toBe('10.9.0.1'))

test('one that somebody else has, or had, is not', () => {
  const p = pool('10.9.0.0/29')
  const first = p.lease('alice', true)!
  expect(p.lease('bob', true, first)).toBe('10.9.0.2')
  p.release(first)
  expect(p.lease('carol', true, first)).toBe('10.9.0.3')
  expect(p.lease('alice', true, '10.9.0.6')).toBe(first)
})
