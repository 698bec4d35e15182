import { describe, expect, test } from 'vitest'
import type { IkeTask } from '../../../core/contracts/ike-task.ts'
import type { PeerSettings } from '../../../core/contracts/settings.ts'
import { PeerError } from '../../../core/errors.ts'
import { NotifyType } from '../../../core/wire/index.ts'
import { anything, chart, child, moon, Pair, type PairOptions, sun } from './pair.ts'

/** Every way IKE_AUTH can end badly, each with its code on both sides. */

const psk = new TextEncoder().encode('another')
const fqdn = (value: string) => ({ type: 'fqdn', value }) as const
const esp = ({ children: { lan } }: PeerSettings, proposals: string[]) => ({ lan: { ...lan!, proposals } })

test.each<{ name: string; given: PairOptions; left: string[]; right: string[] }>([
  { name: 'another key', given: { moon: { psk } }, left: ['PEER_AUTH_FAILED'], right: ['PEER_AUTH_FAILED'] },
  {
    name: 'an identity nobody knows',
    given: { sun: { localId: fqdn('mars.example') } },
    left: ['PEER_AUTH_FAILED'],
    right: ['PEER_AUTH_FAILED'],
  },
  {
    name: 'another identity of the responder than asked for',
    given: { sun: { remoteId: fqdn('venus.example') } },
    left: ['PEER_AUTH_FAILED'],
    right: ['PEER_AUTH_FAILED'],
  },
  {
    name: 'a responder that does not fit the wildcard',
    given: { sun: { remoteId: fqdn('*.example.org') } },
    left: ['PEER_AUTH_FAILED'],
    right: ['PEER_AUTH_FAILED'],
  },
  {
    name: 'the policy of the initiator',
    given: { left: { planless: true } },
    left: ['PLAN_NONE'],
    right: ['PEER_TIMEOUT'],
  },
  {
    name: 'the policy of the responder',
    given: { right: { planless: true } },
    left: ['PEER_NO_PROPOSAL'],
    right: ['PLAN_NONE'],
  },
])('$name', ({ given, left, right }) => {
  const p = new Pair(given).established()
  p.run(70_000)
  expect(p.left.codes).toEqual(left)
  expect(p.right.codes).toEqual(right)
  expect([p.left.sas.size, p.right.sas.size]).toEqual([0, 0])
})

test.each<{ name: string; given: PairOptions; left: string; right: string }>([
  {
    name: 'no common ESP proposal',
    given: { moon: { children: esp(moon(), ['chacha20poly1305']) }, sun: { children: esp(sun(), ['aes128gcm16']) } },
    left: 'PEER_NO_PROPOSAL',
    right: 'PEER_NO_PROPOSAL',
  },
  {
    name: 'no common selectors',
    given: { moon: { children: { lan: child({ localTs: [anything('10.7.0.0', 16)] }) } } },
    left: 'PEER_TS_UNACCEPTABLE',
    right: 'PEER_TS_UNACCEPTABLE',
  },
])('the IKE SA lives on without a Child SA: $name', ({ given, left, right }) => {
  const p = new Pair(given).established()
  expect(p.left.codes).toEqual([left])
  expect(p.right.codes).toEqual([right])
  expect(p.left.sa.state).toBe('established')
  expect(p.right.sa.state).toBe('established')
  expect([...p.left.children, ...p.right.children]).toEqual([])
})

test('the answer to a failed IKE_AUTH is given again', () => {
  const p = new Pair({ moon: { psk } })
  p.connect()
  p.deliver()
  p.deliver()
  const request = p.wire.shift()!
  p.deliver(request)
  expect(p.right.codes).toEqual(['PEER_AUTH_FAILED'])
  const lost = p.wire.shift()!
  p.run(1_500)
  // IKE_AUTH { … } (again) -->, <-- { N(AUTHENTICATION_FAILED) } (again)
  expect(p.sent.at(-1)!.bytes).toEqual(lost.bytes)
  expect(p.left.codes).toEqual(['PEER_AUTH_FAILED'])
  p.run(60_000)
  expect(p.right.sas.size).toBe(0)
})

test('the initiator tells a responder it does not believe', () => {
  const p = new Pair({ sun: { remoteId: fqdn('*.example.org') } })
  p.connect()
  for (let i = 0; i < 3; i++) p.deliver()
  expect(p.right.sa.state).toBe('established')
  // <-- IKE_AUTH { IDr, AUTH, … }
  p.deliver()
  // INFORMATIONAL { N(AUTHENTICATION_FAILED) } -->
  p.deliver()
  expect(chart(p.right).at(-2)).toBe('< INFORMATIONAL request 2 [ N(AUTHENTICATION_FAILED) ]')
  expect(p.right.of('child-down')).toHaveLength(1)
  expect(p.right.live).toEqual([])
})

describe('which peer is it', () => {
  const any = moon({ name: 'anybody', remoteId: { type: 'any' }, psk })
  const wild = moon({ name: 'wild', remoteId: fqdn('*.example') })
  const exact = moon({ name: 'exact' })

  test.each([
    { peers: [any, wild, exact], id: 'moon.example', want: 'exact' },
    { peers: [any, exact, wild], id: 'MOON.example', want: 'exact' },
    { peers: [any, wild], id: 'moon.example', want: 'wild' },
    { peers: [any, exact, wild], id: 'mars.example', want: 'wild' },
  ])('$id is $want', ({ peers, id, want }) => {
    const p = new Pair({ sun: { localId: fqdn(id) }, right: { peers } }).established()
    expect(p.right.sa.peer).toBe(want)
  })

  test('a key that verifies beats a better fit that does not', () => {
    const p = new Pair({ sun: { psk }, right: { peers: [exact, any] } }).established()
    expect(p.right.sa.peer).toBe('anybody')
  })
})

test('a peer may not use the suite another one brought in', () => {
  const weak = moon({ name: 'weak', remoteId: fqdn('weak.example'), proposals: ['aes128-sha1-modp2048'] })
  const p = new Pair({ sun: { proposals: ['aes128-sha1-modp2048'] }, right: { peers: [moon(), weak] } }).established()
  expect(p.left.codes).toEqual(['PEER_NO_PROPOSAL'])
  expect(p.right.codes).toEqual(['PEER_NO_PROPOSAL'])
})

describe('a task refuses', () => {
  const refusing = (exchange: number, response: boolean): IkeTask => ({
    name: 'refusing',
    process: message => {
      if (message.exchange === exchange && message.response === response)
        throw new PeerError('PEER_TASK', 'not like this', NotifyType.INVALID_SYNTAX)
    },
  })
  test.each([
    { side: 'left', exchange: 34, codes: ['PEER_TASK'] },
    { side: 'right', exchange: 34, codes: ['PEER_REFUSED'] },
    { side: 'left', exchange: 35, codes: ['PEER_TASK'] },
    { side: 'right', exchange: 35, codes: ['PEER_REFUSED'] },
  ] as const)('exchange $exchange on the $side', ({ side, exchange, codes }) => {
    const p = new Pair({ [side]: { tasks: () => [refusing(exchange, side === 'left')] } }).established()
    p.run(5_000)
    expect(p.left.codes).toEqual(codes)
    expect(p.left.live).toEqual([])
  })
})
