import { describe, expect, test } from 'vitest'
import { notify } from '../../../core/ike/notify.ts'
import { ExchangeType, Flag, NotifyType, type Payload, serializeIke } from '../../../core/wire/index.ts'
import { chart, type Datagram, Pair } from './pair.ts'

/** IKE_SA_INIT where it takes more than one try: COOKIE, INVALID_KE_PAYLOAD, and forged answers. */

const KE = {
  sun: { proposals: ['aes128gcm16-prfsha256-x25519-ecp256'] },
  moon: { proposals: ['aes128gcm16-prfsha256-ecp256'] },
}
const BUSY = { right: { timers: { cookieThreshold: 0 } } }

/** What somebody who saw the request could send back. */
const forge = ({ bytes, flow }: Datagram, ...payloads: Payload[]): Datagram => ({
  n: -1,
  to: 'left',
  bytes: serializeIke(
    {
      initiatorSpi: new DataView(bytes.buffer).getBigUint64(0),
      responderSpi: 0n,
      exchange: ExchangeType.IKE_SA_INIT,
      flags: Flag.RESPONSE,
      messageId: 0,
    },
    payloads,
  ),
  flow: { protocol: flow.protocol, local: flow.remote, remote: flow.local },
})

test('COOKIE: the responder keeps nothing before the peer has shown its address', () => {
  const p = new Pair(BUSY)
  // IKE_SA_INIT { SA, KE, Ni } -->
  p.connect()
  p.deliver()
  expect(p.right.sas.size).toBe(0)
  // <-- { N(COOKIE) }
  p.deliver()
  // { N(COOKIE), SA, KE, Ni } -->
  p.deliver()
  expect(p.right.sas.size).toBe(1)
  p.settle()
  expect(p.left.sa.state).toBe('established')
  expect(p.right.sa.state).toBe('established')
  expect(chart(p.left).slice(0, 4)).toEqual([
    '> IKE_SA_INIT request 0 [ SA KE Nonce ]',
    '< IKE_SA_INIT response 0 [ N(COOKIE) ]',
    '> IKE_SA_INIT request 0 [ N(COOKIE) SA KE Nonce ]',
    '< IKE_SA_INIT response 0 [ SA KE Nonce ]',
  ])
})

test('a COOKIE works from the address it was given to, and not for ever', () => {
  const p = new Pair(BUSY)
  p.connect()
  p.deliver()
  p.deliver()
  const request = p.wire.shift()!
  p.deliver({ ...request, flow: { ...request.flow, remote: { address: '203.0.113.9', port: 500 } } })
  expect(p.right.sas.size).toBe(0)
  p.wire.length = 0
  p.now += 200_000
  p.deliver(request)
  expect(p.right.sas.size).toBe(1) // the last secret is good until the next is made
  p.right.sas.clear()
  p.right.halfOpen.clear()
  p.now += 200_000
  p.deliver(request)
  expect(p.right.sas.size).toBe(0)
})

test('INVALID_KE_PAYLOAD: another group at the next try', () => {
  const p = new Pair(KE).established()
  expect(p.left.sa.state).toBe('established')
  expect(p.left.sa.channel!.suite.ke).toBe(19)
  expect(chart(p.left).slice(0, 3)).toEqual([
    '> IKE_SA_INIT request 0 [ SA KE Nonce ]',
    '< IKE_SA_INIT response 0 [ N(INVALID_KE_PAYLOAD) ]',
    '> IKE_SA_INIT request 0 [ SA KE Nonce ]',
  ])
})

test('COOKIE and INVALID_KE_PAYLOAD one after the other', () => {
  const p = new Pair({ ...KE, ...BUSY }).established()
  expect(p.left.sa.state).toBe('established')
  // RFC 7296 §2.6.1: the cookie stays in the request with the other group
  expect(chart(p.left).slice(0, 6)).toEqual([
    '> IKE_SA_INIT request 0 [ SA KE Nonce ]',
    '< IKE_SA_INIT response 0 [ N(COOKIE) ]',
    '> IKE_SA_INIT request 0 [ N(COOKIE) SA KE Nonce ]',
    '< IKE_SA_INIT response 0 [ N(INVALID_KE_PAYLOAD) ]',
    '> IKE_SA_INIT request 0 [ N(COOKIE) SA KE Nonce ]',
    '< IKE_SA_INIT response 0 [ SA KE Nonce ]',
  ])
})

describe('a forged answer that is faster than the true one does no harm', () => {
  const group = (n: number) => Uint8Array.of(n >> 8, n & 0xff)
  test.each([
    { name: 'NO_PROPOSAL_CHOSEN', payloads: [notify(NotifyType.NO_PROPOSAL_CHOSEN)] },
    { name: 'INVALID_SYNTAX', payloads: [notify(NotifyType.INVALID_SYNTAX)] },
    { name: 'INVALID_KE_PAYLOAD for a group not offered', payloads: [notify(NotifyType.INVALID_KE_PAYLOAD, group(2))] },
    { name: 'INVALID_KE_PAYLOAD for the group in use', payloads: [notify(NotifyType.INVALID_KE_PAYLOAD, group(31))] },
    { name: 'INVALID_KE_PAYLOAD without a group', payloads: [notify(NotifyType.INVALID_KE_PAYLOAD)] },
    { name: 'an empty COOKIE', payloads: [notify(NotifyType.COOKIE)] },
    { name: 'a COOKIE too long', payloads: [notify(NotifyType.COOKIE, new Uint8Array(65))] },
    { name: 'a COOKIE', payloads: [notify(NotifyType.COOKIE, new Uint8Array(8))] },
    { name: 'nothing at all', payloads: [] },
  ])('$name', ({ payloads }) => {
    const p = new Pair()
    p.connect()
    for (let i = 0; i < 20; i++) p.deliver(forge(p.sent[0]!, ...payloads))
    p.run(30_000)
    expect(p.left.sa.state).toBe('established')
    expect(p.right.sa.state).toBe('established')
    expect([...p.left.codes, ...p.right.codes]).toEqual([])
  })
})

test('a refusal counts when nothing better comes', () => {
  const p = new Pair()
  p.connect()
  p.fate = () => []
  p.deliver(forge(p.wire.shift()!, notify(NotifyType.NO_PROPOSAL_CHOSEN)))
  expect(p.left.codes).toEqual([])
  p.run(5_000)
  expect(p.left.codes).toEqual(['PEER_NO_PROPOSAL'])
})

test('no common IKE proposal', () => {
  const p = new Pair({ moon: { proposals: ['aes256-sha512-modp4096'] } }).established()
  p.run(5_000)
  expect(p.left.codes).toEqual(['PEER_NO_PROPOSAL'])
  expect(p.right.sas.size).toBe(0)
})

test('a responder that asks for another COOKIE every time is given up', () => {
  const p = new Pair()
  p.connect()
  p.fate = () => []
  const [first] = p.wire.splice(0)
  for (let i = 0; i < 20; i++) p.deliver(forge(first!, notify(NotifyType.COOKIE, Uint8Array.of(i))))
  expect(p.sent.length).toBeLessThan(10)
  p.run(120_000)
  expect(p.left.codes).toHaveLength(1)
  expect(p.left.sas.size).toBe(0)
})

test('a retransmitted request gets the same answer, a changed one with the same SPI none', () => {
  const p = new Pair()
  p.connect()
  const request = p.wire.shift()!
  p.deliver(request)
  p.deliver(request)
  const [first, again] = p.wire.splice(0)
  expect(again!.bytes).toEqual(first!.bytes)
  const other = request.bytes.slice()
  other[other.length - 1]! ^= 1
  p.deliver({ ...request, bytes: other })
  expect(p.right.drops).toEqual({ 'ike-init-changed': 1 })
  expect(p.right.sas.size).toBe(1)
})

test('half-open SAs are limited and time out', () => {
  const p = new Pair({ right: { timers: { halfOpenLimit: 3, halfOpenTimeoutMs: 10_000 } } })
  p.fate = d => (d.to === 'right' ? [d] : [])
  for (let i = 0; i < 5; i++) p.connect()
  p.settle()
  expect(p.right.halfOpen.size).toBe(3)
  expect(p.right.drops).toEqual({ 'ike-half-open-limit': 2 })
  p.left.sas.clear()
  p.run(10_000)
  expect(p.right.halfOpen.size).toBe(0)
  expect(p.right.codes).toEqual(['PEER_TIMEOUT', 'PEER_TIMEOUT', 'PEER_TIMEOUT'])
})
