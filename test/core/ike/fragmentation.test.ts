import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { IkeTask } from '../../../core/contracts/ike-task.ts'
import { Liveness } from '../../../core/ike/informational.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { ExchangeType, parseIke, payloadOf } from '../../../core/wire/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { type Datagram, type End, Pair, type PairOptions } from './pair.ts'

/** IKE fragmentation, RFC 7383, between two ends. */

const FILL = new Uint8Array(3_000).map((_, i) => i)
/** Makes IKE_AUTH and INFORMATIONAL of an end large, and remembers what the peer's had inside. */
const large = (seen: Uint8Array[] = [], fill = FILL): (() => IkeTask[]) => {
  const big = (exchange: number) => exchange === ExchangeType.IKE_AUTH || exchange === ExchangeType.INFORMATIONAL
  const task: IkeTask = {
    name: 'large',
    build: m => void (big(m.exchange) && m.payloads.push({ type: 'V', data: fill })),
    process: m => {
      const data = payloadOf(m.payloads, 'V')?.data
      if (data !== undefined) seen.push(data.slice())
    },
  }
  return () => [task]
}

const IPV4_AND_UDP = 28
/** Without tickets, so that all that is large is what the tests make so. */
const sizes = (size = 1_280, other = size, more: PairOptions = {}): PairOptions => ({
  ...more,
  left: { tasks: large(), ...more.left, timers: { fragmentSize: size } },
  right: { tasks: large(), ...more.right, timers: { fragmentSize: other } },
  sun: { ...more.sun, resumption: false },
})

const skf = ({ bytes }: Datagram) => payloadOf(parseIke(bytes).payloads, 'SKF')
const octets = (p: Pair): number[] => p.sent.map(({ bytes }) => bytes.length + IPV4_AND_UDP)
const both = (p: Pair): End[] => [p.left, p.right]

describe.each(['aes128gcm16-prfsha256-x25519', 'aes256-sha512-x25519', 'chacha20poly1305-prfsha256-x25519'])(
  '%s',
  suite => {
    const peer = { sun: { proposals: [suite] }, moon: { proposals: [suite] } }
    test.each([256, 576, 1_280, 1_500])('messages arrive whole in datagrams of at most %i octets', size => {
      const seen: Uint8Array[] = []
      const p = new Pair(sizes(size, size, { ...peer, left: { tasks: large(seen) }, right: { tasks: large(seen) } }))
      p.established()
      expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
      expect(seen).toEqual([FILL, FILL])
      expect(Math.max(...octets(p))).toBeLessThanOrEqual(size)
      for (const to of ['left', 'right'] as const) {
        const fragments = p.sent.filter(d => d.to === to).flatMap(d => skf(d) ?? [])
        const numbers = fragments.map(({ number }) => number)
        expect(numbers).toEqual(Array.from({ length: fragments[0]!.total }, (_, i) => i + 1))
      }
      expect(both(p).map(end => end.drops)).toEqual([{}, {}])
      expect(both(p).map(end => end.reassembly.held)).toEqual([0, 0])
    })
  },
)

test.each([
  ['neither end', 0, 0],
  ['the responder not', 1_280, 0],
  ['the initiator not', 0, 1_280],
])('without fragments where it is not agreed on: %s', (_, left, right) => {
  const p = new Pair(sizes(left, right)).established()
  expect(p.left.sa.state).toBe('established')
  expect(p.sent.filter(d => skf(d) !== undefined)).toEqual([])
  expect(Math.max(...octets(p))).toBeGreaterThan(3_000)
})

test('a small message goes in one datagram, with SK', () => {
  const p = new Pair({ left: { timers: { fragmentSize: 1_280 } }, right: { timers: { fragmentSize: 1_280 } } })
  p.established()
  expect(p.sent).toHaveLength(4)
  expect(p.sent.map(skf)).toEqual([undefined, undefined, undefined, undefined])
})

test('the SA that replaces another goes on in fragments', () => {
  const p = new Pair(sizes()).established()
  p.left.start(new RekeyIke(), p.now)
  p.settle()
  const before = p.sent.length
  p.left.start(new Liveness(), p.now)
  p.settle()
  expect(p.sent.slice(before).filter(d => skf(d) !== undefined)).toHaveLength(6)
})

describe('datagrams that do not get through', () => {
  test.each([
    ['IPv4', 4, 576],
    ['IPv6', 6, 1_280],
  ] as const)('%s: after two tries a message goes in smaller ones, and those after it too', (_, family, least) => {
    const p = new Pair({ ...sizes(1_500), family })
    p.fate = d => (d.bytes.length + IPV4_AND_UDP > least ? [] : [d])
    p.connect()
    p.run(20_000)
    expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
    // IKE_AUTH whole twice in vain, then small
    const before = p.sent.length
    p.left.start(new Liveness(), p.now)
    p.settle()
    expect(Math.max(...octets(p).slice(before))).toBeLessThanOrEqual(least)
    expect(p.left.sa.session.busy).toBe(false)
  })

  test('a message that needs no fragments in large datagrams is tried in small ones', () => {
    const medium: IkeTask = {
      name: 'medium',
      build: m => void m.payloads.push({ type: 'V', data: FILL.slice(0, 600) }),
    }
    const p = new Pair(sizes(1_280, 1_280, { left: { tasks: () => [medium] }, right: { tasks: () => [] } }))
    p.fate = d => (d.bytes.length + IPV4_AND_UDP > 576 && d.bytes[18] === ExchangeType.IKE_AUTH ? [] : [d])
    p.connect()
    p.run(20_000)
    expect(p.left.sa.state).toBe('established')
  })

  test('answers that are lost for their size become smaller when they are asked for again', () => {
    const p = new Pair(sizes(1_280, 1_280, { left: { tasks: () => [] } }))
    p.fate = d => (d.to === 'left' && d.bytes.length + IPV4_AND_UDP > 576 ? [] : [d])
    p.connect()
    p.run(20_000)
    expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
  })

  test('each fragment lost once', () => {
    for (let lost = 2; lost < 8; lost++) {
      const p = new Pair(sizes())
      p.fate = d => (d.n === lost ? [] : [d])
      p.connect()
      p.run(20_000)
      expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
      expect(both(p).map(end => end.reassembly.held)).toEqual([0, 0])
    }
  })

  test('a message cut anew has more pieces than before, so that the two are never mixed', () => {
    const fill = new Uint8Array(3_500)
    const p = new Pair({ ...sizes(1_500, 1_500, { left: { tasks: large([], fill) } }), family: 6 })
    // the last piece of the first cut would get through, were it not as long as the others
    p.fate = d => (d.bytes.length > 1_232 ? [] : [d])
    p.connect()
    p.run(20_000)
    expect(p.left.sa.state).toBe('established')
    const totals = p.sent.flatMap(d => (d.to === 'right' ? (skf(d)?.total ?? []) : []))
    expect([...new Set(totals)]).toEqual([3, 4])
  })

  test('losses, duplicates and disorder', () => {
    fc.assert(
      fc.property(fc.integer(), seed => {
        const rng = new SeededRng(seed)
        const p = new Pair(sizes(576))
        p.fate = d => (rng.chance(0.1) ? [] : rng.chance(0.2) ? [d, d] : [d])
        p.connect()
        for (let i = 0; i < 60 && p.left.sa.state === 'connecting'; i++) {
          for (let n = 0; p.wire.length > 0 && n < 500; n++) p.deliver(p.wire.splice(rng.below(p.wire.length), 1)[0])
          p.run(500)
        }
        expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
        expect(both(p).flatMap(end => end.live.map(sa => sa.children.size))).toEqual([1, 1])
      }),
      { numRuns: 60, seed: 7 },
    )
  })
})

test('a request that comes again in fragments is answered once, for the first of them', () => {
  const p = new Pair(sizes()).established()
  const request = p.sent.filter(d => d.to === 'right' && skf(d) !== undefined)
  const before = p.sent.length
  for (const d of request) p.right.receive(d.bytes, d.flow, p.now)
  expect(request.length).toBe(3)
  expect(p.sent.length - before).toBe(3)
  expect(p.right.sa.lastIn).toBe(p.now)
})

describe('hostile', () => {
  /** Up to the fragments of the IKE_AUTH request, none of them delivered. */
  const begun = () => {
    const p = new Pair(sizes())
    p.connect()
    p.deliver()
    p.deliver()
    return { p, fragments: p.wire.splice(0) }
  }

  test('fragments that do not authenticate leave no trace, and the message is not spoilt', () => {
    const rng = new SeededRng('fragments')
    const { p, fragments } = begun()
    for (const d of fragments) {
      for (let i = 0; i < 100; i++) {
        const bytes = d.bytes.slice()
        bytes[rng.below(bytes.length)]! ^= 1 + rng.below(255)
        p.right.receive(bytes, d.flow, p.now)
      }
      p.deliver(d)
    }
    p.settle()
    expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
  })

  test('copies of a fragment are dropped and counted', () => {
    const { p, fragments } = begun()
    for (let i = 0; i < 5; i++) p.deliver(fragments[0])
    expect(p.right.drops).toEqual({ 'ike-fragment-again': 4 })
  })

  test('an incomplete message is given up after a while, and with the SA', () => {
    const { p, fragments } = begun()
    p.left.sas.clear()
    p.deliver(fragments[0])
    expect(p.right.reassembly.held).toBeGreaterThan(0)
    p.run(31_000)
    expect(p.right.reassembly.held).toBe(0)
    expect(p.right.drops).toEqual({ 'ike-fragment-timeout': 1 })
    p.deliver(fragments[1])
    expect(p.right.reassembly.held).toBeGreaterThan(0)
    p.run(60_000)
    expect([p.right.sas.size, p.right.reassembly.held]).toEqual([0, 0])
  })

  test('SKF from a peer that did not agree to it', () => {
    const p = new Pair(sizes()).established()
    p.right.sa.size.enabled = false
    const before = p.right.drops
    p.left.start(new Liveness(), p.now)
    p.settle()
    expect(before).toEqual({ 'ike-fragment-unwanted': 3 })
  })
})
