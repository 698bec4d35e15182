import { describe, expect, test } from 'vitest'
import { Canvas, pen, speaksUtf8, wrap } from '../../../../core/cli/demo/canvas.ts'
import { chart } from '../../../../core/cli/demo/chart.ts'
import { count, duration, rate, size } from '../../../../core/cli/demo/numbers.ts'
import { eavesdropper, facts, ping, plans, sparkline } from '../../../../core/cli/demo/sections.ts'
import type { Crossing, Sighting, Stretch } from '../../../../core/cli/demo/sightings.ts'
import { picture } from '../../../../core/cli/demo/topology.ts'

const unicode = pen({ unicode: true, colour: false, columns: 80 })
const ascii = pen({ unicode: false, colour: false, columns: 80 })
const colours = pen({ unicode: true, colour: true, columns: 80 })

describe('canvas', () => {
  test('later text covers earlier, gaps are spaces, nothing trails', () => {
    const canvas = new Canvas()
    canvas.put(2, 0, '-----', 'dim')
    canvas.put(4, 0, 'x', 'bold')
    canvas.put(0, 2, 'end')
    expect(canvas.lines(unicode)).toEqual(['  --x--', '', 'end'])
  })

  test('neighbours of one ink are painted together', () => {
    const canvas = new Canvas()
    canvas.put(0, 0, 'ab', 'good')
    canvas.put(2, 0, 'cd', 'good')
    canvas.put(4, 0, 'e', 'plain')
    expect(canvas.lines(colours)).toEqual(['\u001b[32mabcd\u001b[39me'])
  })

  test.each([
    ['a bc def', 4, ['a bc', 'def']],
    ['unbreakable words', 5, ['unbreakable', 'words']],
    ['', 5, ['']],
  ])('wrap %j to %i', (text, width, lines) => {
    expect(wrap(text, width)).toEqual(lines)
  })

  test.each([
    [{ LANG: 'de_DE.UTF-8' }, true],
    [{ LC_ALL: 'C', LANG: 'en_US.UTF-8' }, false],
    [{ LC_CTYPE: 'C.utf8' }, true],
    [{ LANG: 'de_DE.ISO-8859-1' }, false],
    [{ TERM: 'xterm-256color' }, true],
    [{ TERM: 'linux' }, false],
    [{ LC_ALL: '', TERM: 'dumb' }, false],
  ])('UTF-8 by %j: %s', (env, expected) => {
    expect(speaksUtf8(env)).toBe(expected)
  })
})

test.each([
  [count(0), '0'],
  [count(1234567), '1 234 567'],
  [size(999), '999 B'],
  [size(2_000_000), '2.0 MB'],
  [size(1_500), '1.5 kB'],
  [size(154_321), '154 kB'],
  [rate(1_000_000, 1_000), '8.0 Mbit/s'],
  [rate(1_000, 1_000), '8 kbit/s'],
  [rate(5, 0), '0 bit/s'],
  [duration(12.34), '12.3 ms'],
  [duration(68_200), '68.2 s'],
])('%s is %s', (shown, expected) => {
  expect(shown).toBe(expected)
})

const LIFELINES = [
  { name: 'alice', address: '10.1.0.5' },
  { name: 'NAT', address: '198.51.100.1' },
  { name: 'moon', address: '203.0.113.2' },
]
const hop = (at: number, from: string, to: string): Sighting => ({
  at,
  kind: 'ike',
  from,
  to,
  octets: 300,
  title: 'IKE_SA_INIT request 0',
  key: 'k',
})

describe('sequence chart', () => {
  const request: Crossing = {
    type: 'message',
    at: 0,
    rightwards: true,
    title: 'IKE_SA_INIT request 0',
    hops: [hop(0, '10.1.0.5:500', '203.0.113.2:500'), hop(1, '198.51.100.1:4711', '203.0.113.2:500')],
  }
  const response: Crossing = {
    type: 'message',
    at: 28.5,
    rightwards: false,
    title: 'IKE_SA_INIT response 0',
    hops: [hop(30, '203.0.113.2:500', '10.1.0.5:500'), hop(28.5, '203.0.113.2:500', '198.51.100.1:4711')],
  }
  const esp: Stretch = {
    type: 'stretch',
    at: 60,
    until: 2060,
    right: { esp: 1500, espOctets: 2_100_000, keepalives: 1 },
    left: { esp: 3, espOctets: 300, keepalives: 0 },
  }

  test('messages both ways, and what flowed between them', () => {
    const inside = new Map([['IKE_SA_INIT request 0', 'SA KE Nonce']])
    expect(chart(LIFELINES, [request, response, esp], inside, unicode)).toEqual([
      '          alice                           NAT                           moon',
      '        10.1.0.5                     198.51.100.1                    203.0.113.2',
      '            │                              │                              │',
      '       0.0  │ IKE_SA_INIT request 0        │                              │',
      '            │ SA KE Nonce                  │                              │',
      '            ├─────────10.1.0.5:500─────────┼───────203.0.113.2:500───────▶│',
      '            │                              │                              │',
      '      28.5  │                              │       IKE_SA_INIT response 0 │',
      '            │◀────────10.1.0.5:500─────────┼───────203.0.113.2:500────────┤',
      '            │                              │                              │',
      '      60.0  │╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ ESP in UDP for 2.0 s ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌│',
      '            │        → 1 500 (2.1 MB)   ← 3 (300 B)   1 keepalive         │',
      '            │                              │                              │',
    ])
  })

  test('a message that a segment lost ends in a cross', () => {
    const lost = { ...request, hops: [request.hops[0], undefined] }
    const arrow = chart(LIFELINES, [lost], new Map(), unicode).find(line => line.includes('10.1.0.5:500'))
    expect(arrow).toBe('            ├─────────10.1.0.5:500─────────┼✘                             │')
  })

  test('ASCII where there is no UTF-8', () => {
    const text = chart(LIFELINES, [request, response, esp], new Map(), ascii).join('\n')
    expect(text).toMatch(/^[\n -~]*$/)
    expect(text).toContain('+---------10.1.0.5:500---------+-------203.0.113.2:500------->|')
  })
})

describe('picture', () => {
  const topology = {
    row: [
      { name: 'alice', address: '10.1.0.5', notes: [] },
      { name: 'moon', address: '203.0.113.2', notes: ['full cone'] },
    ],
    behind: { name: 'mars', address: '10.3.0.5', notes: [] },
    notes: ['a NAT'],
  }

  test('boxes in a row, the last one with another below', () => {
    expect(picture(topology, unicode)).toEqual([
      '  ╭─ alice ──╮                                                   ╭─ moon ──────╮',
      '  │ 10.1.0.5 ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤ 203.0.113.2 │',
      '  │          │                                                   │ full cone   │',
      '  ╰──────────╯                                                   ╰───────────┬─╯',
      '  · a NAT                                                           ╭─ mars ─┴─╮',
      '                                                                    │ 10.3.0.5 │',
      '                                                                    ╰──────────╯',
    ])
  })
})

describe('sections', () => {
  test('facts stand under each other, long sources go on below', () => {
    const seen = [
      { at: 0, by: 'alice', name: 'outerFamily', value: 4, source: 'the path' },
      { at: 57, by: 'moon', name: 'localBehindNat', value: true, source: `a ${'very '.repeat(8)}long source` },
    ]
    expect(facts(seen, unicode)).toEqual([
      '       0.0  alice  outerFamily = 4        — the path',
      '      57.0  moon   localBehindNat = true  — a very very very very very very very',
      '                                            very long source',
    ])
  })

  test('the chosen plan, one that was possible, one that was not', () => {
    const judged = ['udp-encap', 'other', 'none'].map((encap, index) => ({
      plan: { path: 'direct', encap, mode: 'tunnel' },
      usable: index < 2,
      reasons: [`reason ${index}`],
      cost: undefined,
      solves: [],
    }))
    expect(plans(judged, unicode)).toEqual([
      '  ● direct + udp-encap + tunnel  chosen',
      '      reason 0',
      '  ○ direct + other + tunnel  possible',
      '      reason 1',
      '  ○ direct + none + tunnel  unusable',
      '      reason 2',
    ])
  })

  test('pings that were not answered are said so', () => {
    const lines = ping({ from: '10.9.0.1', to: '10.3.0.5', sent: 3, received: 2, rtts: [50, 100] }, unicode)
    expect(lines).toEqual([
      '  10.9.0.1 → 10.3.0.5',
      `     1     50.0 ms  ${'█'.repeat(12)}`,
      `     2    100.0 ms  ${'█'.repeat(24)}`,
      '  2 of 3 answered, 50.0 / 75.0 / 100.0 ms (min / mean / max)',
    ])
  })

  test('clear packets are red', () => {
    const heard = { esp: 1, espOctets: 100, ike: 4, keepalive: 0, clear: 2 }
    expect(eavesdropper(heard, colours).at(-1)).toContain('\u001b[31m       2\u001b[39m')
  })

  test('sparkline: nothing is blank, little is not', () => {
    expect(sparkline([0, 1, 50, 100], unicode.glyphs.levels)).toBe(' ▁▄█')
  })
})
