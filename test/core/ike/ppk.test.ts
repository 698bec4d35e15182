import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { PpkSettings } from '../../../core/contracts/settings.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { chart, Pair } from './pair.ts'

/** Post-quantum preshared keys, RFC 8784, between two ends. */

const text = new TextEncoder()
const key = (id: string, secret = 'a secret that no quantum computer finds') => ({ id, secret: text.encode(secret) })
const ppk = (required: boolean, ...keys: PpkSettings['keys']): PpkSettings => ({ required, keys })
const OPTIONAL = ppk(false, key('office'))
const REQUIRED = ppk(true, key('office'))

const pair = (left: PpkSettings | undefined, right: PpkSettings | undefined): Pair => {
  const p = new Pair({ sun: left && { ppk: left }, moon: right && { ppk: right } } as ConstructorParameters<
    typeof Pair
  >[0])
  p.connect()
  p.run(5_000)
  return p
}

const fact = (p: Pair) => [p.left, p.right].map(end => end.live[0]?.facts['ppk']?.value)

describe('who has one, and who needs one', () => {
  test.each([
    ['optional, optional', OPTIONAL, OPTIONAL],
    ['required, optional', REQUIRED, OPTIONAL],
    ['optional, required', OPTIONAL, REQUIRED],
    ['required, required', REQUIRED, REQUIRED],
    ['one of several at the responder', REQUIRED, ppk(true, key('home', 'another'), key('office'))],
  ])('used: %s', (_, left, right) => {
    const p = pair(left, right)
    expect(fact(p)).toEqual(['office', 'office'])
    expect(p.right.children.map(c => c.inbound.encr)).toEqual(p.left.children.map(c => c.outbound.encr))
  })

  test.each([
    ['none, none', undefined, undefined],
    ['none, optional', undefined, OPTIONAL],
    ['optional, none', OPTIONAL, undefined],
    ['optional, another id', OPTIONAL, ppk(false, key('home'))],
  ])('not used: %s', (_, left, right) => {
    const p = pair(left, right)
    expect([p.left, p.right].map(end => end.sa.state)).toEqual(['established', 'established'])
    expect(fact(p)).toEqual([undefined, undefined])
    expect(p.right.children.map(c => c.inbound.encr)).toEqual(p.left.children.map(c => c.outbound.encr))
  })

  test.each([
    ['required, none', REQUIRED, undefined, 'PEER_PPK', /ppk\.required/],
    ['none, required', undefined, REQUIRED, 'PEER_AUTH_FAILED', /rejects/],
    ['required, another id', REQUIRED, ppk(false, key('home')), 'PEER_AUTH_FAILED', /\.ppk/],
    ['optional, another id required', OPTIONAL, ppk(true, key('home')), 'PEER_AUTH_FAILED', /\.ppk/],
    ['another secret', REQUIRED, ppk(true, key('office', 'wrong')), 'PEER_AUTH_FAILED', /\.ppk/],
    ['another secret, optional', OPTIONAL, ppk(false, key('office', 'wrong')), 'PEER_AUTH_FAILED', /\.ppk/],
  ])('refused: %s', (_, left, right, code, why) => {
    const p = pair(left, right)
    // what has not finished IKE_AUTH is given up
    p.run(60_000)
    expect([p.left.live.length, p.right.live.length]).toEqual([0, 0])
    const closed = p.left.of('closed').at(-1)
    expect([closed?.code, closed?.why]).toEqual([code, expect.stringMatching(why)])
  })
})

test('messages', () => {
  expect(chart(pair(OPTIONAL, OPTIONAL).left)).toEqual([
    '> IKE_SA_INIT request 0 [ SA KE Nonce N(USE_PPK) ]',
    '< IKE_SA_INIT response 0 [ SA KE Nonce N(USE_PPK) ]',
    '> IKE_AUTH request 1 [ IDi N(INITIAL_CONTACT) IDr AUTH SA TSi TSr N(PPK_IDENTITY) N(NO_PPK_AUTH) ]',
    '< IKE_AUTH response 1 [ IDr AUTH N(PPK_IDENTITY) SA TSi TSr ]',
  ])
  expect(chart(pair(REQUIRED, OPTIONAL).left)[2]).toMatch(/N\(PPK_IDENTITY\) \]$/)
})

test('a forged answer without USE_PPK does no harm when the true one comes', () => {
  const p = new Pair({ sun: { ppk: REQUIRED }, moon: { ppk: REQUIRED } })
  const without = new Pair({ sun: {}, moon: {} })
  p.connect()
  p.deliver()
  // what a man on the side answers: his own IKE_SA_INIT
  without.connect()
  without.deliver()
  const forged = without.wire[0]!.bytes.slice()
  forged.set(p.sent[0]!.bytes.subarray(0, 8))
  p.left.receive(forged, p.wire[0]!.flow, p.now)
  expect(p.left.sa.state).toBe('connecting')
  p.settle()
  expect(fact(p)).toEqual(['office', 'office'])
})

test('the PPK goes into SK_d by prf+ with it as the key, into nothing of the messages, and stays there after a rekey', () => {
  const without = pair(undefined, undefined)
  const plain = without.left.sa.channel!.keys
  const p = pair(REQUIRED, REQUIRED)
  const mixed = p.left.sa.channel!.keys
  const hmac = (data: Uint8Array) =>
    Uint8Array.from(createHmac('sha256', REQUIRED.keys[0]!.secret).update(data).update(Uint8Array.of(1)).digest())
  // same randomness: what differs is the PPK
  expect(mixed.d).toEqual(hmac(plain.d))
  const told = ({ left }: Pair) => left.of('keys').find(({ line }) => line.type === 'ike')!.line
  expect(told(p)).toEqual(told(without))
  expect(p.left.sa.channel!.plain).toBeUndefined()
  p.left.start(new RekeyIke(), p.now)
  p.settle()
  expect(p.left.sa.channel!.keys).toEqual(p.right.sa.channel!.keys)
})
