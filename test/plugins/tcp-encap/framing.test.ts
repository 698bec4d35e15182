import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MAX_MESSAGE, STREAM_PREFIX, StreamReader } from '../../../plugins/tcp-encap/framing.ts'

const framed = (message: Uint8Array): Uint8Array => {
  const length = message.length + 2
  return Uint8Array.of(length >> 8, length & 0xff, ...message)
}

const stream = (messages: readonly Uint8Array[]): Uint8Array =>
  Uint8Array.from([...STREAM_PREFIX, ...messages.flatMap(m => [...framed(m)])])

/** Reads a stream cut at these places. */
function read(bytes: Uint8Array, cuts: readonly number[], prefixed = true) {
  const got: number[][] = []
  const reader = new StreamReader(prefixed, message => got.push([...message]))
  const edges = [0, ...cuts.map(c => c % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  let fault: string | undefined
  for (let i = 1; i < edges.length && fault === undefined; i++) fault = reader.push(bytes.slice(edges[i - 1], edges[i]))
  return { got, fault }
}

describe('a stream of RFC 9329', () => {
  test('is what the RFC draws: the prefix, then length and message', () => {
    expect([...stream([Uint8Array.of(0, 0, 0, 0, 7)])]).toEqual([...Buffer.from('IKETCP'), 0, 7, 0, 0, 0, 0, 7])
  })

  test('gives the same messages however TCP cuts it', () => {
    const message = fc.uint8Array({ minLength: 1, maxLength: 300 })
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 20 }), (messages, cuts) => {
        expect(read(stream(messages), cuts)).toEqual({ got: messages.map(m => [...m]), fault: undefined })
      }),
    )
  })

  test('carries the largest message', () => {
    const large = new Uint8Array(MAX_MESSAGE).fill(9)
    expect(read(stream([large]), [1, 8, 70_000]).got).toEqual([[...large]])
  })

  test.each([
    ['a length of 0', [0, 0]],
    ['a length of 1', [0, 1]],
  ])('ends with %s, which would never end', (_, bytes) => {
    for (const cuts of [[], [7]])
      expect(read(Uint8Array.from([...STREAM_PREFIX, ...bytes]), cuts)).toEqual({ got: [], fault: 'length' })
  })

  test('an empty message is none', () => {
    expect(read(Uint8Array.from([...STREAM_PREFIX, 0, 2, 0, 3, 5]), [])).toEqual({ got: [[5]], fault: undefined })
  })

  test('ends when it does not begin like one', () => {
    const http = Buffer.from('GET / HTTP/1.1\r\n\r\n')
    expect(read(http, [])).toEqual({ got: [], fault: 'prefix' })
    expect(read(Buffer.from('IKETCQ'), [5])).toEqual({ got: [], fault: 'prefix' })
  })

  test('stands anything, in any pieces', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.array(fc.nat(), { maxLength: 10 }), (bytes, cuts) => {
        const { got, fault } = read(bytes, cuts, false)
        const taken = got.reduce((sum, m) => sum + m.length, 0)
        expect(taken).toBeLessThanOrEqual(bytes.length)
        expect([undefined, 'length']).toContain(fault)
      }),
    )
  })
})
