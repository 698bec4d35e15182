import { expect, test } from 'vitest'
import { type Facts, type FactValue, knownFact } from '../../../core/contracts/facts.ts'
import { Verdicts } from '../../../core/policy/verdicts.ts'

const facts = (values: Readonly<Record<string, FactValue>>): Facts =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value, source: 'a test', at: 0 }]))

/** Decides by whether there is a NAT, and its kind only where there is one. */
function asked() {
  const verdicts = new Verdicts<string>()
  let times = 0
  const ask = (given: Facts, about = 'a peer'): string =>
    verdicts.of(about, given, watch => {
      times++
      const seen = watch({ ...given, innerPair: { value: true, source: 'the configuration', at: 0 } })
      return knownFact(seen, 'localBehindNat') === true ? `behind ${knownFact(seen, 'localNatKind')}` : 'free'
    })
  return { ask, times: () => times }
}

test('a fact that had no say changes nothing, be it there or not', () => {
  const { ask, times } = asked()
  expect(ask(facts({ localBehindNat: false }))).toBe('free')
  expect(ask(facts({ localBehindNat: false, localNatKind: 'symmetric', network: '10.0.0.0/8' }))).toBe('free')
  expect(times()).toBe(1)
})

test('another value of one that had, or one that was not known, is another case', () => {
  const { ask, times } = asked()
  expect(ask(facts({}))).toBe('free')
  expect(ask(facts({ localBehindNat: true }))).toBe('behind undefined')
  expect(ask(facts({ localBehindNat: true, localNatKind: 'symmetric' }))).toBe('behind symmetric')
  expect(ask(facts({ localBehindNat: true, localNatKind: 'full-cone' }))).toBe('behind full-cone')
  expect(ask(facts({ localBehindNat: true, localNatKind: 'symmetric' }))).toBe('behind symmetric')
  expect(times()).toBe(4)
})

test('questions are apart', () => {
  const { ask, times } = asked()
  ask(facts({ localBehindNat: false }), 'one')
  ask(facts({ localBehindNat: false }), 'another')
  expect(times()).toBe(2)
})

test('who looks at all facts is asked each time', () => {
  const verdicts = new Verdicts<number>()
  const count = (given: Facts): number => verdicts.of('', given, watch => Object.keys(watch(given)).length)
  expect(count(facts({ localBehindNat: true }))).toBe(1)
  expect(count(facts({ localBehindNat: true, localNatKind: 'symmetric' }))).toBe(2)
})

test('many cases of one question do not pile up: the oldest is decided anew', () => {
  const verdicts = new Verdicts<number>()
  let times = 0
  const ask = (n: number): number =>
    verdicts.of('', facts({ sinceSuccess: n }), watch => {
      times++
      return knownFact(watch(facts({ sinceSuccess: n })), 'sinceSuccess')!
    })
  for (let n = 0; n < 100; n++) expect(ask(n)).toBe(n)
  expect(ask(99)).toBe(99)
  expect(times).toBe(100)
  expect(ask(0)).toBe(0)
  expect(times).toBe(101)
})
