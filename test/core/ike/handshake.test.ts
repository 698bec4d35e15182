import { expect, test } from 'vitest'
import { chart, Pair } from './pair.ts'

test('up', () => {
  const p = new Pair()
  p.connect()
  p.settle()
  console.log(chart(p.left), p.right.drops, p.left.codes, p.right.codes, p.left.children)
  expect(p.left.sa.state).toBe('established')
})
