import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isIpsecConf, parseIpsecConf } from '../../../../core/config/strongswan/ipsec-conf.ts'
import { parseSettings } from '../../../../core/config/strongswan/settings-file.ts'
import type { Reader, Section } from '../../../../core/config/strongswan/tree.ts'

import { ConfigError } from '../../../../core/errors.ts'

/** The syntax of swanctl.conf. */

const FILES: Readonly<Record<string, string>> = {
  'conf.d/*.conf': 'a { x = 1 }\n# nothing\nb { y = 2 }',
  loop: 'include loop',
}
const read: Reader = pattern => (pattern in FILES ? [{ path: pattern, text: FILES[pattern]! }] : [])
const parse = (text: string): Section => parseSettings(text, 'test.conf', read)

type Plain = { [key: string]: string | Plain }
const plain = (section: Section): Plain => ({
  ...Object.fromEntries([...section.values].map(([key, { text }]) => [key, text])),
  ...Object.fromEntries([...section.sections].map(([key, each]) => [key, plain(each)])),
})

test.each<[string, string, Plain]>([
  ['values to the end of the line', 'a = one two  # three\nb=4', { a: 'one two', b: '4' }],
  ['sections on one line', 'a { b = 1 }', { a: { b: '1' } }],
  ['a section of many lines, and a brace of its own', 'a\n{\n  b {\n    c = d\n  }\n}', { a: { b: { c: 'd' } } }],
  ['quotes keep what ends a value', 'a = "x # y } z"\nb = " s "', { a: 'x # y } z', b: ' s ' }],
  ['escapes', 'a = "x\\"y\\\\z\\n"', { a: 'x"y\\z\n' }],
  ['quotes over two lines', 'a = "x \\\n y"', { a: 'x  y' }],
  ['text around quotes', 'a = C=CH, CN="moon x"', { a: 'C=CH, CN=moon x' }],
  [
    'a name twice: the last value, sections become one',
    'a = 1\na = 2\ns { b = 1 }\ns { c = 2 }',
    { a: '2', s: { b: '1', c: '2' } },
  ],
  ['comments everywhere', '# x { \na { # y\n  # b = 1\n  c = 1 # z\n} # end', { a: { c: '1' } }],
  ['Windows ends of lines', 'a = 1\r\nb {\r\n  c = 2\r\n}\r\n', { a: '1', b: { c: '2' } }],
  ['names with dashes and dots', 'ike-1 {\n id-a.b = x }', { 'ike-1': { 'id-a.b': 'x' } }],
  [
    'includes, in order, here',
    's {\n include conf.d/*.conf\n c = 3 }',
    { s: { a: { x: '1' }, b: { y: '2' }, c: '3' } },
  ],
  ['an include that finds nothing', 'include nowhere/*\na = 1', { a: '1' }],
  [
    'inheritance: own values first, sections too',
    'base { v = 1\n w = 1\n sub { x = 1\n y = 1 } }\nc : base { w = 2\n sub { y = 2 } }',
    { base: { v: '1', w: '1', sub: { x: '1', y: '1' } }, c: { v: '1', w: '2', sub: { x: '1', y: '2' } } },
  ],
  [
    'several references: the first wins',
    'a { x = 1 }\nb { x = 2\n y = 2 }\nc : a, b { }',
    {
      a: { x: '1' },
      b: { x: '2', y: '2' },
      c: { x: '1', y: '2' },
    },
  ],
  [
    'a reference by its whole name, before it stands there',
    'c { d : p.q { } }\np { q { x = 1 } }',
    {
      c: { d: { x: '1' } },
      p: { q: { x: '1' } },
    },
  ],
  [
    'an empty value takes back what is inherited',
    'a { x = 1 }\nb : a { x =\n y = 2 }',
    { a: { x: '1' }, b: { y: '2' } },
  ],
])('%s', (_, text, want) => {
  expect(plain(parse(text))).toEqual(want)
})

test('values know where they stand', () => {
  const section = parse('# one\na {\n  b = "x\ny"\n  c = 1\n}')
  expect(section.section('a')!.take('c')).toEqual({ text: '1', at: { file: 'test.conf', line: 5 }, name: 'a.c' })
})

describe('what is wrong is said with file and line', () => {
  test.each([
    ['a {\n b = 1', /test\.conf:1: the section a has no end/],
    ['a = 1\n}', /test\.conf:2: a } too many/],
    ['a = "x', /test\.conf:1: a closing " is missing/],
    ['a { b }', /test\.conf:1: = or { is wanted after b/],
    ['a : { }', /test\.conf:1: the name of a section is wanted/],
    ['a : b c { }', /test\.conf:1: , or { is wanted after b/],
    ['a : b { }', /test\.conf:1: a inherits from b, which does not exist/],
    ['a : b { }\nb : a { }', /inherits from itself/],
    ['= 1', /test\.conf:1: a name is wanted, found "="/],
    ['include loop', /includes more than 20 deep/],
    ['a {'.repeat(30), /more than 20 deep/],
  ])('%s', (text, why) => {
    expect(() => parse(text)).toThrow(why)
  })
})

test('inheritance that doubles at each step has an end', () => {
  const text = Array.from({ length: 40 }, (_, i) => `s${i} { a : s${i + 1} { }\n b : s${i + 1} { } }`).join('\n')
  expect(() => parse(`${text}\ns40 { }`)).toThrow(/too much is inherited/)
})

test('whatever is in a file, it is read or refused with its place', () => {
  const piece = fc.constantFrom(
    'a',
    'b ',
    '= ',
    '{',
    '}',
    ':',
    ',',
    '"',
    '\\',
    '#',
    '\n',
    ' ',
    'include x',
    'conn c\n',
    ' k=v\n',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), pieces => {
      const text = pieces.join('')
      for (const read of [() => parse(text), () => parseIpsecConf(text, 'test.conf', () => [], [])])
        try {
          read()
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError)
          expect((error as ConfigError).path).toMatch(/^test\.conf:\d+$/)
        }
    }),
    { numRuns: 2_000 },
  )
})

test.each([
  ['conn %default\n  left=%any', true],
  ['# x\nconfig setup\n', true],
  ['connections {\n conn = x }', false],
  ['include conf.d/*.conf', false],
])('%j is an ipsec.conf: %s', (text, want) => {
  expect(isIpsecConf(text)).toBe(want)
})
