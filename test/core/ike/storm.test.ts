import { expect, test } from 'vitest'
import { Budget } from '../../../core/ike/budget.ts'
import { glance } from '../../../core/ike/challenge.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { SaTable } from '../../../core/sa-table.ts'
import { NotifyType, parseIke, payloadOf } from '../../../core/wire/index.ts'
import { chart, Pair } from './pair.ts'

/** Peers and strangers that ask for more than anybody needs. */

/** An IKE_SA_INIT request as it goes over the wire, and the flow it arrives on. */
function request() {
  const p = new Pair()
  p.connect()
  return { p, ...p.wire.shift()! }
}

test('a bucket gives what it holds, then what comes back in time', () => {
  const budget = new Budget(3, 2)
  expect(Array.from({ length: 5 }, () => budget.take(0))).toEqual([true, true, true, false, false])
  expect([budget.take(499), budget.take(500), budget.take(501)]).toEqual([false, true, false])
  expect(Array.from({ length: 5 }, () => budget.take(60_000))).toEqual([true, true, true, false, false])
})

test('requests with ever new SPIs: a few are answered, all others with a cookie, and nothing is kept of them', () => {
  const { p, bytes, flow } = request()
  for (let i = 0; i < 10_000; i++) {
    const forged = bytes.slice()
    new DataView(forged.buffer).setUint32(0, i + 1)
    const remote = { address: `198.51.${i >> 8}.${i & 255}`, port: 500 }
    p.right.receive(forged, { ...flow, remote }, p.now + i / 10)
  }
  expect(p.right.sas.size).toBeLessThanOrEqual(100)
  const cookies = p.wire.filter(({ bytes: answer }) => answer.length === 68)
  expect(cookies.length).toBeGreaterThan(9_800)
  expect(cookies.every(({ bytes: answer }) => answer.length < bytes.length)).toBe(true)
  // a peer that is there proves it and comes in
  p.wire.length = 0
  p.now += 1_000
  p.left.sas.clear()
  p.connect()
  p.settle()
  expect(p.left.live.map(sa => sa.state)).toEqual(['established'])
})

test('refusals make no SA, but a flood of what is refused meets cookies as well', () => {
  const { p, bytes, flow } = request()
  // an unknown group in the KE payload would cost a selection each
  const strange = new Pair({ sun: { proposals: ['aes128-sha256-modp2048'] } })
  strange.connect()
  const { bytes: other } = strange.wire.shift()!
  for (let i = 0; i < 1_000; i++) {
    const forged = other.slice()
    new DataView(forged.buffer).setUint32(0, i + 1)
    p.right.receive(forged, flow, p.now)
  }
  const answers = p.wire.map(({ bytes: answer }) => parseIke(answer).payloads[0])
  const of = (type: number) => answers.filter(a => a?.type === 'N' && a.notify === type).length
  expect([of(NotifyType.NO_PROPOSAL_CHOSEN), of(NotifyType.COOKIE)]).toEqual([200, 800])
  expect(bytes.length).toBeGreaterThan(0)
})

test('a glance finds what a cookie depends on, and nothing in what is broken', () => {
  const { bytes } = request()
  const nonce = payloadOf(parseIke(bytes).payloads, 'Nonce')!.data
  expect(glance(bytes)).toEqual({ nonce, cookie: undefined })
  for (let length = 28; length < bytes.length; length++) {
    const seen = glance(bytes.subarray(0, length))
    if (seen !== undefined) expect(seen.nonce).toEqual(nonce)
  }
  const endless = bytes.slice()
  endless.fill(0, 28)
  expect(glance(endless)).toBeUndefined()
})

test('half-open SAs are counted by source: an IPv4 address, a /64 of IPv6', () => {
  const table = new SaTable()
  const from = (address: string) => ({ ...request().flow, remote: { address, port: 500 } })
  const add = (address: string) => {
    const { p, bytes } = request()
    const message = parseIke(bytes)
    p.right.receive(bytes, from(address), p.now)
    table.addHalfOpen([...p.right.sas.values()][0]!, { ...message.header, initiatorSpi: BigInt(++spi) }, from(address))
    return [...p.right.sas.values()][0]!
  }
  let spi = 0
  const first = add('192.0.2.1')
  for (const address of ['192.0.2.1', '192.0.2.9', '2001:db8::1', '2001:db8::2', '2001:db8:0:1::1']) add(address)
  const here = (address: string) => table.halfOpen(from(address)).fromThere
  expect(['192.0.2.1', '192.0.2.9', '192.0.2.10'].map(here)).toEqual([2, 1, 0])
  expect(['2001:db8::ffff', '2001:db8:0:1::5', '2001:db8:0:2::1'].map(here)).toEqual([2, 1, 0])
  table.delete(first)
  expect([here('192.0.2.1'), table.halfOpen(from('::1')).all]).toEqual([1, 5])
})

test('CREATE_CHILD_SA without end: put off, and other traffic goes on', () => {
  const p = new Pair().established()
  for (let i = 0; i < 200; i++) {
    const old = p.left.children.find(c => c.state === 'installed')!
    p.left.start(new ChildExchange(old.settings, old), p.now)
    p.settle()
  }
  const said = chart(p.right).filter(m => m.startsWith('> CREATE_CHILD_SA'))
  expect(said.filter(m => !m.includes('TEMPORARY_FAILURE')).length).toBe(64)
  expect(p.right.drops['ike-create-storm']).toBeGreaterThan(0)
  expect(p.right.sa.state).toBe('established')
})

test('a new IKE SA is no new budget', () => {
  const p = new Pair().established()
  for (let i = 0; i < 200; i++) {
    p.left.start(new RekeyIke(), p.now, p.left.live.at(-1))
    p.settle()
  }
  expect(p.left.of('rekeyed').length).toBe(64)
})
