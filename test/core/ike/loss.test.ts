import { describe, expect, test } from 'vitest'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { DeleteIke, Liveness } from '../../../core/ike/informational.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { SeededRng } from '../../kit/rng.ts'
import { type Datagram, Pair, type PairOptions } from './pair.ts'

/** A network that loses, doubles and reorders, and the timers that answer it. */

/** Handshake, rekey of the Child SA, rekey of the IKE SA, a liveness check from the other side. */
function play(p: Pair): void {
  p.connect()
  p.run(40_000)
  const old = p.left.children[0]!
  p.left.start(new ChildExchange(old.settings, old), p.now)
  p.run(40_000)
  p.left.start(new RekeyIke(), p.now)
  p.run(40_000)
  p.right.start(new Liveness(), p.now)
  p.run(40_000)
}

/** A late copy of the first request opens a half-open SA that ends with PEER_TIMEOUT: nothing tells it from a new one. */
function standing(p: Pair): void {
  expect([...p.left.codes, ...p.right.codes].filter(code => code !== 'OK' && code !== 'PEER_TIMEOUT')).toEqual([])
  expect([p.left.children.length, p.right.children.length]).toEqual([1, 1])
  expect(p.left.children[0]!.inbound).toEqual(p.right.children[0]!.outbound)
  expect(p.left.children[0]!.outbound).toEqual(p.right.children[0]!.inbound)
  for (const end of [p.left, p.right]) {
    const up = end.live.filter(sa => sa.state === 'established')
    expect(up.map(sa => sa.session.busy)).toEqual([false])
  }
  expect(p.left.of('rekeyed')).toHaveLength(1)
}

const patience = { timers: { retransmitTries: 12, retransmitBase: 1.3 } }
const PATIENT: PairOptions = { left: patience, right: patience }

const whole = new Pair()
play(whole)
const COUNT = whole.sent.length

test('nothing is lost', () => {
  standing(whole)
  expect(COUNT).toBe(14)
})

describe('one datagram', () => {
  test.each(Array.from({ length: COUNT }, (_, n) => n))('%i is lost', n => {
    const p = new Pair()
    p.fate = d => (d.n === n ? [] : [d])
    play(p)
    standing(p)
  })

  test.each(Array.from({ length: COUNT }, (_, n) => n))('%i comes three times and again at the end', n => {
    const p = new Pair()
    p.fate = d => (d.n === n ? [d, d, d] : [d])
    play(p)
    p.deliver(p.sent[n]!)
    p.settle()
    standing(p)
  })

  const PROTECTED = Array.from({ length: COUNT - 2 }, (_, n) => n + 2)
  const damage = (n: number) => (d: Datagram) => [
    d.n === n ? { ...d, bytes: d.bytes.map((b, i) => (i === d.bytes.length - 1 ? b ^ 1 : b)) } : d,
  ]
  test.each(PROTECTED)('%i is damaged', n => {
    const p = new Pair()
    p.fate = damage(n)
    play(p)
    standing(p)
  })

  test.each([0, 1])('%i, which nothing protects, is damaged: IKE_AUTH notices', n => {
    const p = new Pair()
    p.fate = damage(n)
    p.connect()
    p.run(100_000)
    expect(p.left.codes).toHaveLength(1)
    expect([p.left.sas.size, p.right.sas.size]).toEqual([0, 0])
  })
})

test.each(Array.from({ length: 30 }, (_, seed) => seed))(
  'a third is lost, some is doubled, all is shuffled: seed %i',
  seed => {
    const p = new Pair({ seed, ...PATIENT })
    const rng = new SeededRng(`network ${seed}`)
    p.fate = (d: Datagram) => {
      if (rng.chance(0.33)) return []
      // somewhere in the queue, not at its end
      p.wire.splice(rng.below(p.wire.length + 1), 0, d)
      return rng.chance(0.2) ? [d] : []
    }
    play(p)
    p.run(400_000)
    standing(p)
  },
)

test('retransmissions wait longer each time, all the same octets', () => {
  const p = new Pair()
  p.fate = () => []
  const start = p.now
  p.connect()
  p.run(300_000)
  const sent = p.left.of('transmit')
  // 1 s, then × 2 each, RFC 7296 §2.4
  expect(sent.map(e => e.at - start)).toEqual([0, 1_000, 3_000, 7_000, 15_000])
  expect(sent.every(e => e.bytes.join() === sent[0]!.bytes.join())).toBe(true)
  expect(p.left.of('closed')).toMatchObject([{ code: 'PEER_UNREACHABLE', at: start + 31_000 }])
  expect(p.left.sas.size).toBe(0)
})

test('a request that is answered with the same octets as often as it comes is carried out once', () => {
  const p = new Pair().established()
  const old = p.left.children[0]!
  p.left.start(new ChildExchange(old.settings, old), p.now)
  const request = p.wire.shift()!
  for (let i = 0; i < 3; i++) p.deliver(request)
  const answers = p.wire.splice(0)
  expect(answers).toHaveLength(3)
  expect(new Set(answers.map(d => d.bytes.join())).size).toBe(1)
  expect(p.right.of('child-up')).toHaveLength(2)
  p.deliver(answers[1])
  p.deliver(answers[0])
  expect(p.left.of('child-up')).toHaveLength(2)
  expect(p.left.drops).toEqual({ 'ike-message-id': 1 })
})

describe('liveness', () => {
  test('is checked after silence, not while something is heard', () => {
    const p = new Pair({ sun: { dpdMs: 10_000 } }).established()
    p.run(25_000)
    expect(p.left.of('message').filter(m => m.summary.startsWith('INFORMATIONAL request'))).toHaveLength(2)
    p.left.traffic.lastIn = p.now + 20_000
    const before = p.sent.length
    p.run(25_000)
    expect(p.sent.length).toBe(before)
  })

  test('a peer that is gone is noticed', () => {
    const p = new Pair({ sun: { dpdMs: 10_000 } }).established()
    p.fate = () => []
    p.run(10_000 + 31_000)
    expect(p.left.codes).toEqual(['PEER_UNREACHABLE'])
    expect(p.left.of('child-down')).toHaveLength(1)
    expect(p.left.sas.size).toBe(0)
  })

  test('copies of old messages are no sign of life', () => {
    const p = new Pair({ moon: { dpdMs: 10_000 } }).established()
    p.left.start(new Liveness(), p.now)
    const request = p.sent.at(-1)!
    p.settle()
    p.fate = () => []
    for (let i = 0; i < 60; i++) {
      p.deliver(request)
      p.run(1_000)
    }
    expect(p.right.codes).toEqual(['PEER_UNREACHABLE'])
  })
})

test('a NAT keepalive goes out when nothing else did', () => {
  const learn = (name: string) => ({
    tasks: () => [
      {
        name: 'nat',
        process: (_m: unknown, sa: { learn(n: string, v: boolean, s: string): void }) => sa.learn(name, true, 'test'),
      },
    ],
  })
  const p = new Pair({
    left: { encap: 'floating', ...learn('localBehindNat') },
    sun: { keepaliveMs: 20_000 },
    moon: { keepaliveMs: 20_000 },
  })
  const start = p.now
  p.established()
  p.run(50_000)
  expect(p.left.of('keepalive').map(e => e.at - start)).toEqual([20_000, 40_000])
  p.left.traffic.lastOut = p.now
  p.run(19_000)
  expect(p.left.of('keepalive')).toHaveLength(2)
  p.run(2_000)
  expect(p.left.of('keepalive')).toHaveLength(3)
  expect(p.left.of('keepalive')[0]).toMatchObject({ bytes: Uint8Array.of(0xff), flow: { remote: { port: 4500 } } })
  expect(p.right.of('keepalive')).toEqual([])
})

test('requests that overtake the IKE_AUTH response wait for it', () => {
  const p = new Pair()
  p.connect()
  for (let i = 0; i < 3; i++) p.deliver()
  p.right.start(new Liveness(), p.now)
  const [response, request] = p.wire.splice(0)
  p.deliver(request)
  expect(p.left.drops).toEqual({ 'ike-early': 1 })
  p.deliver(response)
  p.run(2_000)
  expect(p.right.sa.session.busy).toBe(false)
  expect(p.left.sa.state).toBe('established')
})

test('DELETE is repeated, then the SA goes without an answer', () => {
  const p = new Pair().established()
  p.fate = () => []
  p.left.start(new DeleteIke('test'), p.now)
  p.run(40_000)
  expect(p.left.codes).toEqual(['PEER_UNREACHABLE'])
  expect(p.left.sas.size).toBe(0)
})
