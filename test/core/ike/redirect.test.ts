import { expect, test } from 'vitest'
import { Inform } from '../../../core/ike/informational.ts'
import { notify } from '../../../core/ike/notify.ts'
import { redirection } from '../../../core/ike/redirect.ts'
import { NotifyType } from '../../../core/wire/index.ts'
import { chart, Pair } from './pair.ts'

const redirect = (...data: number[]) => notify(NotifyType.REDIRECT, Uint8Array.from(data))
const ascii = (text: string) => [...new TextEncoder().encode(text)]

test.each([
  ['an IPv4 address', [1, 4, 203, 0, 113, 60], '203.0.113.60'],
  ['an IPv6 address', [2, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], '2001:db8::1'],
  ['a name', [3, 11, ...ascii('gw2.example')], 'gw2.example'],
  ['a length beyond the end', [1, 5, 203, 0, 113, 60], undefined],
  ['an address of wrong length', [1, 3, 203, 0, 113], undefined],
  ['an unknown type', [9, 4, 203, 0, 113, 60], undefined],
  ['a name with a line break', [3, 3, ...ascii('a\nb')], undefined],
  ['octets that are no text', [3, 2, 0xff, 0xfe], undefined],
  ['nothing', [], undefined],
])('%s', (_, data, to) => expect(redirection([redirect(...data)])).toBe(to))

test('on an SA that stands: the initiator ends it and goes', () => {
  const p = new Pair().established()
  // <-- INFORMATIONAL { N(REDIRECT) }, { } -->, { D } -->, <-- { }
  p.right.start(new Inform([redirect(1, 4, 203, 0, 113, 60)]), p.now)
  p.settle()
  expect(
    chart(p.left)
      .slice(-4)
      .map(m => m.replace(/ \d+ /, ' ')),
  ).toEqual([
    expect.stringContaining('< INFORMATIONAL request'),
    expect.stringContaining('> INFORMATIONAL response'),
    expect.stringMatching(/^> INFORMATIONAL request.*D/),
    expect.stringContaining('< INFORMATIONAL response'),
  ])
  expect(p.left.of('closed').map(e => [e.why, e.sa.redirect])).toEqual([['redirected to 203.0.113.60', '203.0.113.60']])
  expect([p.left.live, p.right.live]).toEqual([[], []])
})

test('a responder is sent nowhere', () => {
  const p = new Pair().established()
  p.left.start(new Inform([redirect(1, 4, 203, 0, 113, 60)]), p.now)
  p.settle()
  expect([p.left.live.length, p.right.live.length]).toEqual([1, 1])
})
