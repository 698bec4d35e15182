import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ConditionSettings } from '../../../core/contracts/settings.ts'
import { holds, implies, impossible, showCondition } from '../../../core/policy/condition.ts'

const value = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom('home', 'office', 'office-2'), fc.boolean())
const part = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
const condition: fc.Arbitrary<ConditionSettings> = fc.record({
  in: part(fc.array(fc.oneof(value, fc.constant('off*')), { minLength: 1, maxLength: 3 })),
  not: part(fc.array(fc.oneof(value, fc.constant('*2')), { minLength: 1, maxLength: 2 })),
  above: part(fc.integer({ min: 0, max: 9 })),
  atLeast: part(fc.integer({ min: 0, max: 9 })),
  below: part(fc.integer({ min: 0, max: 9 })),
  atMost: part(fc.integer({ min: 0, max: 9 })),
})

describe('what can be told of conditions without knowing the fact', () => {
  test('what is called impossible is met by nothing', () => {
    fc.assert(
      fc.property(condition, value, (wanted, found) => {
        if (impossible(wanted) !== undefined) expect(holds(wanted, found)).toBe(false)
      }),
      { numRuns: 2_000 },
    )
  })

  test('what implies another is met by nothing that the other is not met by', () => {
    fc.assert(
      fc.property(condition, condition, value, (narrow, wide, found) => {
        if (implies(narrow, wide) && holds(narrow, found)) expect(holds(wide, found)).toBe(true)
      }),
      { numRuns: 5_000 },
    )
  })

  for (const [narrow, wide, want] of [
    [true, true, true],
    [true, false, false],
    ['home', { in: ['home', 'office'] }, true],
    [{ in: ['home', 'office'] }, 'home', false],
    ['office-2', { in: ['off*'] }, true],
    [{ above: 5 }, { above: 3 }, true],
    [{ above: 5 }, { atLeast: 5 }, true],
    [{ atLeast: 5 }, { above: 5 }, false],
    [{ above: 3, below: 4 }, { above: 2 }, true],
    [{ not: ['a', 'b'] }, { not: ['a'] }, true],
    [{ not: ['a'] }, { not: ['a', 'b'] }, false],
    [{ not: ['a'] }, { above: 1 }, false],
    [7, { above: 5 }, true],
  ] as const)
    test(`${JSON.stringify(narrow)} ${want ? 'implies' : 'does not imply'} ${JSON.stringify(wide)}`, () => {
      expect(implies(narrow, wide)).toBe(want)
    })

  test.each([
    [{ above: 5, below: 5 }, /no number/],
    [{ above: 5, atMost: 5 }, /no number/],
    [{ in: ['home'], not: ['h*'] }, /rule out each value/],
    [{ in: ['home'], above: 3 }, /rule out each value/],
  ])('%j is impossible', (wanted, why) => {
    expect(impossible(wanted)).toMatch(why)
  })
})

test('a condition in words', () => {
  expect(showCondition(true)).toBe('is true')
  expect(showCondition({ in: ['a', 'b'], not: [3] })).toBe('is a or b and is not 3')
  expect(showCondition({ above: 1, atLeast: 2, below: 9, atMost: 8 })).toBe(
    'is above 1 and is at least 2 and is below 9 and is at most 8',
  )
})
