import fc from 'fast-check'
import { expect, test } from 'vitest'
import { meetingChance, Pacer, portStep, predictPorts, RandomPorts } from '../../../core/path/index.ts'
import { SeededRng } from '../../kit/rng.ts'

test.each([
  ['counting by one', [2000, 2001, 2002], 1],
  ['keeping parity', [2000, 2002, 2004], 2],
  ['somebody else took one', [2000, 2001, 2004], 1],
  ['over the end', [65_535, 0], 1],
  ['random', [2000, 61_234, 17], undefined],
  ['always the same', [4500, 4500], undefined],
  ['backwards', [2001, 2000], undefined],
  ['a single one', [2000], undefined],
])('the step of a NAT: %s', (_, ports, want) => {
  expect(portStep(ports)).toBe(want)
})

test('predicted ports go on with the step, and start anew behind the last port', () => {
  expect(predictPorts(2002, 1, 3)).toEqual([2003, 2004, 2005])
  expect(predictPorts(2002, 2, 3)).toEqual([2004, 2006, 2008])
  expect(predictPorts(65_534, 1, 3)).toEqual([65_535, 1024, 1025])
})

// an exact computation published for 64512 ports
test.each([
  [256, 128, 0.399],
  [256, 256, 0.639],
  [256, 1024, 0.984],
  [256, 1750, 0.999],
])('%i mappings and %i probes meet with probability %f', (mappings, probes, want) => {
  expect(meetingChance(mappings, probes)).toBeCloseTo(want, 2)
})

test('random ports: each once, none below 1024', () => {
  const ports = new RandomPorts(new SeededRng(1))
  const all = Array.from({ length: 64_512 }, () => ports.next()!)
  expect(new Set(all).size).toBe(64_512)
  expect(Math.min(...all)).toBe(1024)
  expect(Math.max(...all)).toBe(65_535)
  expect(ports.next()).toBeUndefined()
})

test('a pacer never lets more through than burst and rate allow', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { maxLength: 200 }), gaps => {
      const pacer = new Pacer(100, 5)
      let now = 0
      let taken = 0
      for (const gap of gaps) {
        now += gap
        if (pacer.take(now)) taken++
        else expect(pacer.freeAt(now)).toBeGreaterThan(now)
      }
      expect(taken).toBeLessThanOrEqual(5 + now / 10 + 1e-6)
    }),
  )
})
