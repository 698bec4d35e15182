import { describe, expect, test } from 'vitest'
import type { Flow } from '../../../core/contracts/net.ts'
import {
  Checklist,
  type ChecklistOut,
  candidatePriority,
  type LocalCandidate,
  Pacer,
  type PathCandidateKind,
  type RemoteCandidate,
} from '../../../core/path/index.ts'

const at = (address: string, port = 4500) => ({ address, port })
const HOST: LocalCandidate = {
  kind: 'host',
  endpoint: at('10.1.0.5'),
  base: at('10.1.0.5'),
  priority: candidatePriority('host'),
}
const REFLEXIVE: LocalCandidate = {
  kind: 'server-reflexive',
  endpoint: at('198.51.100.1'),
  base: at('10.1.0.5'),
  priority: candidatePriority('server-reflexive'),
}
const remote = (kind: PathCandidateKind, address: string, port = 4500): RemoteCandidate => ({
  kind,
  endpoint: at(address, port),
  priority: candidatePriority(kind),
})
const BOB = [remote('host', '10.2.0.5'), remote('server-reflexive', '198.51.100.2')]
const flow = (to: string, port = 4500, from = '10.1.0.5'): Flow => ({
  protocol: 17,
  local: at(from),
  remote: at(to, port),
})

/** A checklist and its own clock: what it sends, with the time. */
function run(controlling: boolean, remotes: readonly RemoteCandidate[] = BOB, pacer = new Pacer()) {
  const list = new Checklist({ controlling, locals: [HOST, REFLEXIVE], remotes, pacer })
  const sent: [at: number, pair: number][] = []
  const out: ChecklistOut[] = []
  let now = 0
  const take = (outs: readonly ChecklistOut[]): void => {
    for (const o of outs) {
      if (o.type === 'check') sent.push([Math.round(now), o.pair.number])
      else out.push(o)
    }
  }
  const until = (end: number): void => {
    while (list.deadline <= end) {
      now = Math.max(now, list.deadline)
      take(list.step({ type: 'timeout' }, now))
    }
    now = end
  }
  const give = (input: Parameters<Checklist['step']>[0]): void => take(list.step(input, now))
  give({ type: 'start' })
  return { list, sent, out, until, give }
}

describe('sending', () => {
  test('best pair first, the next after the pace, each repeated at growing intervals until it is given up', () => {
    const { sent, out, until } = run(true)
    until(60_000)
    expect(sent.slice(0, 4)).toEqual([
      [0, 1],
      [5, 2],
      [25, 1],
      [30, 2],
    ])
    const first = sent.filter(([, pair]) => pair === 1).map(([ms]) => ms)
    expect(first.slice(0, 7)).toEqual([0, 25, 50, 95, 176, 321, 583].map(ms => expect.closeTo(ms, -1.5)))
    expect(first).toHaveLength(12)
    expect(out).toEqual([{ type: 'failed', why: 'no check was answered' }])
  })

  test('one pacer keeps many lists from adding up', () => {
    const pacer = new Pacer(100, 10)
    const lists = Array.from({ length: 20 }, () => run(true, BOB, pacer))
    let total = 0
    for (let ms = 0; ms <= 1_000; ms += 5) for (const { until } of lists) until(ms)
    for (const { sent } of lists) total += sent.length
    expect(total).toBeLessThanOrEqual(10 + 100)
  })

  test('nothing to check with is told at once', () => {
    const { out } = run(true, [remote('host', '2001:db8::2')])
    expect(out).toMatchObject([{ type: 'failed', why: expect.stringContaining('no endpoint') }])
  })
})

describe('answers', () => {
  test('an answer over the pair itself makes it valid; the controlling end nominates when better pairs had their time', () => {
    const { out, until, give } = run(true)
    until(20)
    give({ type: 'response', number: 2, flow: flow('198.51.100.2'), mapped: at('198.51.100.1') })
    expect(out).toMatchObject([{ type: 'succeeded', pair: { number: 2 }, rttMs: 15 }])
    until(29)
    expect(out).toHaveLength(1)
    until(30)
    expect(out[1]).toMatchObject({ type: 'nominated', pair: { number: 2 } })
    expect(out[1]).toHaveProperty('why', expect.stringContaining('server-reflexive'))
  })

  test('the best pair is nominated in the moment it answers', () => {
    const { out, give, until } = run(true)
    until(3)
    give({ type: 'response', number: 1, flow: flow('10.2.0.5'), mapped: undefined })
    expect(out.map(o => o.type)).toEqual(['succeeded', 'nominated'])
  })

  test('the controlled end nominates nothing', () => {
    const { out, give, until } = run(false)
    until(3)
    give({ type: 'response', number: 1, flow: flow('10.2.0.5'), mapped: undefined })
    until(1_000)
    expect(out.map(o => o.type)).toEqual(['succeeded'])
  })

  test.each([
    ['from another address', 2, flow('198.51.100.3')],
    ['from another port', 2, flow('198.51.100.2', 4501)],
    ['to another local address', 2, flow('198.51.100.2', 4500, '10.1.0.6')],
    ['to a check that was never sent', 77, flow('198.51.100.2')],
  ])('an answer %s proves nothing', (_, number, from) => {
    const { out, give, until } = run(true)
    until(20)
    give({ type: 'response', number, flow: from, mapped: undefined })
    until(500)
    expect(out).toEqual([])
  })
})

test('an answer is not overlooked because the peer has checked the same pair meanwhile', () => {
  const { out, give, until } = run(true)
  until(0)
  give({ type: 'request', flow: flow('10.2.0.5'), priority: candidatePriority('peer-reflexive') })
  give({ type: 'response', number: 1, flow: flow('10.2.0.5'), mapped: undefined })
  until(2)
  expect(out.map(o => o.type)).toEqual(['succeeded', 'nominated'])
})

describe('checks of the peer', () => {
  const priority = candidatePriority('peer-reflexive')

  test('trigger a check of that pair at once', () => {
    const { sent, give, until } = run(false)
    until(10)
    give({ type: 'request', flow: flow('198.51.100.2'), priority })
    expect(sent.at(-1)).toEqual([10, 2])
  })

  test('from an unknown endpoint make a peer reflexive candidate with a number of its own', () => {
    const { list, out, give, until } = run(true)
    until(20)
    give({ type: 'request', flow: flow('198.51.100.2', 1025), priority })
    const pair = list.pairs.find(p => p.number === 3)
    expect(pair?.remote).toEqual({ kind: 'peer-reflexive', endpoint: at('198.51.100.2', 1025), priority })
    give({ type: 'response', number: 3, flow: flow('198.51.100.2', 1025), mapped: undefined })
    until(500)
    expect(out.map(o => o.type)).toEqual(['succeeded', 'nominated'])
  })

  test('replayed from ever new places fill nothing', () => {
    const { list, give, until } = run(false)
    for (let port = 1024; port < 6000; port++) give({ type: 'request', flow: flow('198.51.100.9', port), priority })
    until(10_000)
    expect(list.size.pairs).toBe(2 + 16)
  })

  test('with a forged source that no host can have are not followed', () => {
    const { list, give } = run(false)
    give({ type: 'request', flow: flow('255.255.255.255'), priority })
    give({ type: 'request', flow: flow('127.0.0.1'), priority })
    expect(list.size.pairs).toBe(2)
  })
})
