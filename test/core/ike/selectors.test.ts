import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Selector } from '../../../core/contracts/strategy.ts'
import {
  everything,
  fromSettings,
  fromWire,
  host,
  narrow,
  sameSelector,
  showSelector,
  toWire,
  within,
} from '../../../core/ike/selectors.ts'

const range = (start: string, end: string, limits: Partial<Selector> = {}): Selector => ({
  ...everything(start.includes(':') ? 6 : 4),
  start,
  end,
  ...limits,
})
const net = (prefix: string, limits: Partial<Selector> = {}): Selector => {
  const [address, bits] = prefix.split('/') as [string, string]
  const whole = { range: { address, bits: Number(bits) }, protocol: 0, startPort: 0, endPort: 65_535 }
  return { ...fromSettings([whole], [])[0]!, ...limits }
}
const tcp = (port: number): Partial<Selector> => ({ protocol: 6, startPort: port, endPort: port })

test.each([
  { given: net('10.3.0.0/24'), want: '10.3.0.0/24' },
  { given: host('10.3.0.5'), want: '10.3.0.5' },
  { given: range('10.3.0.5', '10.3.0.9'), want: '10.3.0.5-10.3.0.9' },
  { given: range('10.3.0.1', '10.3.0.2'), want: '10.3.0.1-10.3.0.2' },
  { given: everything(4), want: '0.0.0.0/0' },
  { given: everything(6), want: '::/0' },
  { given: net('2001:db8::/32'), want: '2001:db8::/32' },
  { given: net('10.3.0.77/24'), want: '10.3.0.0/24' },
  { given: net('10.3.0.0/24', tcp(80)), want: '10.3.0.0/24[6/80]' },
  { given: net('10.3.0.0/24', { protocol: 17 }), want: '10.3.0.0/24[17]' },
  { given: host('10.3.0.5'), want: '10.3.0.5' },
  { given: { ...host('::1'), startPort: 1000, endPort: 2000 }, want: '::1[any/1000-2000]' },
])('$want', ({ given, want }) => {
  expect(showSelector(given)).toBe(want)
})

describe('narrowing', () => {
  test.each<{ name: string; proposed: Selector[]; allowed: Selector[]; want: string[] }>([
    { name: 'equal', proposed: [net('10.0.0.0/8')], allowed: [net('10.0.0.0/8')], want: ['10.0.0.0/8'] },
    { name: 'wider', proposed: [everything(4)], allowed: [net('10.1.0.0/16')], want: ['10.1.0.0/16'] },
    { name: 'smaller', proposed: [host('10.1.2.3')], allowed: [net('10.1.0.0/16')], want: ['10.1.2.3'] },
    {
      name: 'overlapping',
      proposed: [range('10.0.0.5', '10.0.0.20')],
      allowed: [range('10.0.0.10', '10.0.0.99')],
      want: ['10.0.0.10-10.0.0.20'],
    },
    {
      name: 'touching',
      proposed: [range('10.0.0.1', '10.0.0.5')],
      allowed: [range('10.0.0.5', '10.0.0.9')],
      want: ['10.0.0.5'],
    },
    { name: 'disjoint', proposed: [net('10.1.0.0/16')], allowed: [net('10.2.0.0/16')], want: [] },
    { name: 'families', proposed: [everything(6)], allowed: [everything(4)], want: [] },
    {
      name: 'protocols',
      proposed: [net('10.0.0.0/8', tcp(80))],
      allowed: [net('10.0.0.0/8', { protocol: 17 })],
      want: [],
    },
    {
      name: 'a protocol',
      proposed: [net('10.0.0.0/8')],
      allowed: [net('10.1.0.0/16', tcp(80))],
      want: ['10.1.0.0/16[6/80]'],
    },
    {
      name: 'ports',
      proposed: [net('10.0.0.0/8', { startPort: 10, endPort: 20 })],
      allowed: [net('10.0.0.0/8', { startPort: 15, endPort: 30 })],
      want: ['10.0.0.0/8[any/15-20]'],
    },
    {
      name: 'OPAQUE ports',
      proposed: [net('10.0.0.0/8', { startPort: 65_535, endPort: 0 })],
      allowed: [everything(4)],
      want: [],
    },
    { name: 'a range upside down', proposed: [range('10.0.0.9', '10.0.0.1')], allowed: [everything(4)], want: [] },
    {
      name: 'the packet that caused it and what contains it',
      proposed: [host('10.1.0.5'), net('10.1.0.0/16')],
      allowed: [net('10.0.0.0/8')],
      want: ['10.1.0.0/16'],
    },
    {
      name: 'several of both',
      proposed: [net('10.1.0.0/16'), net('fd01::/16')],
      allowed: [net('10.1.4.0/24'), net('fd01:4::/32'), net('10.9.0.0/24')],
      want: ['10.1.4.0/24', 'fd01:4::/32'],
    },
    { name: 'doubles', proposed: [host('::1'), host('::1')], allowed: [everything(6)], want: ['::1'] },
    { name: 'nothing', proposed: [], allowed: [everything(4)], want: [] },
  ])('$name', ({ proposed, allowed, want }) => {
    const result = narrow(proposed, allowed)
    expect(result.map(showSelector)).toEqual(want)
    if (result.length > 0) expect(within(result, proposed) && within(result, allowed)).toBe(true)
  })

  test('never more than an answer has room for', () => {
    const many = Array.from({ length: 255 }, (_, i) => range(`10.0.${i}.0`, `10.2.${i}.255`))
    const result = narrow(many, [net('10.0.0.0/16'), net('10.1.0.0/16'), net('10.2.0.0/16')])
    expect(result.length).toBeGreaterThan(0)
    expect(result.length).toBeLessThanOrEqual(255)
  })
})

test.each([
  { answered: [host('10.0.0.1')], proposed: [net('10.0.0.0/24')], want: true },
  { answered: [net('10.0.0.0/23')], proposed: [net('10.0.0.0/24')], want: false },
  { answered: [host('10.0.0.1'), host('11.0.0.1')], proposed: [net('10.0.0.0/24')], want: false },
  { answered: [host('10.0.0.1')], proposed: [net('10.0.0.0/24', tcp(80))], want: false },
  { answered: [], proposed: [everything(4)], want: false },
])('an answer may narrow, never widen: $want', ({ answered, proposed, want }) => {
  expect(within(answered, proposed)).toBe(want)
})

test('to the wire and back; types unknown are left out', () => {
  const selectors = [net('10.0.0.0/8', tcp(443)), everything(6)]
  const wire = toWire(selectors)
  expect(fromWire([...wire, { family: 'unknown', kind: 9, protocol: 0, body: new Uint8Array(4) }])).toEqual(selectors)
})

test('dynamic stands for each address of that side', () => {
  const settings = [{ range: 'dynamic' as const, protocol: 6, startPort: 22, endPort: 22 }]
  const result = fromSettings(settings, [host('10.9.0.1'), host('fd09::1')])
  expect(result.map(showSelector)).toEqual(['10.9.0.1[6/22]', 'fd09::1[6/22]'])
  expect(fromSettings(settings, [])).toEqual([])
})

test('what is narrowed lies in both, whatever they are', () => {
  const octet = fc.integer({ min: 0, max: 20 })
  const any = fc
    .tuple(octet, octet, fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 30 }))
    .map(([a, b, p, q]): Selector => ({ ...range(`10.0.0.${a}`, `10.0.0.${b}`), startPort: p, endPort: q }))
  fc.assert(
    fc.property(fc.array(any, { maxLength: 6 }), fc.array(any, { maxLength: 6 }), (proposed, allowed) => {
      const result = narrow(proposed, allowed)
      for (const [i, s] of result.entries()) {
        expect(within([s], proposed) && within([s], allowed)).toBe(true)
        expect(result.some((other, j) => j !== i && sameSelector(other, s))).toBe(false)
      }
    }),
    { seed: 1 },
  )
})
