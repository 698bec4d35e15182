import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { IkeSaRef, ServiceOut } from '../../../core/contracts/service.ts'
import { toIdentification } from '../../../core/index.ts'
import { NotifyType, type Payload } from '../../../core/wire/index.ts'
import { connectPayloads, meNotify, type Offer, readConnect } from '../../../plugins/ike-me/connect.ts'
import { parseOptions } from '../../../plugins/ike-me/options.ts'
import { MediationServer } from '../../../plugins/ike-me/server.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/provider.ts'

const identity = (name: string) => ({ type: 'rfc822', value: `${name}@m` }) as const
const who = (name: string) => toIdentification(identity(name))
const sa = (name: string, id = name): IkeSaRef => ({
  id,
  peer: 'clients',
  remoteId: identity(name),
  initiator: false,
  flow: {
    protocol: 17,
    local: { address: '203.0.113.10', port: 4500 },
    remote: { address: '198.51.100.1', port: 4500 },
  },
  facts: {},
})
const offer = (octet: number): Offer => ({
  id: new Uint8Array(8).fill(octet),
  key: new Uint8Array(16).fill(octet),
  endpoints: [{ kind: 'host', priority: 0xffffff, endpoint: { address: '10.1.0.5', port: 4500 } }],
})
const server = (...clients: string[]): MediationServer => {
  const made = new MediationServer(nodeCryptoProvider, parseOptions({}))
  for (const name of clients) made.up(sa(name), undefined)
  return made
}
const answers = (outs: readonly ServiceOut[]) =>
  outs.flatMap(o => (o.type === 'respond' ? [o.payloads.map(p => (p.type === 'N' ? p.notify : p.type))] : []))
const relayed = (outs: readonly ServiceOut[]) => outs.filter(o => o.type === 'request')
const { ME_CONNECT_FAILED, INVALID_SYNTAX } = NotifyType

describe('passing on', () => {
  test('an opening to the one it names, and the answer back, each with who sent it', () => {
    const med = server('alice', 'bob')
    const opened = med.request(sa('alice'), connectPayloads(who('bob'), offer(1), 'callback'), 0)
    expect(answers(opened)).toEqual([[]])
    expect(relayed(opened)).toMatchObject([{ sa: 'bob', exchange: 240 }])
    const [to] = relayed(opened)
    expect(readConnect(to!.type === 'request' ? to!.payloads : [])).toMatchObject({
      who: who('alice'),
      ...offer(1),
      callback: false,
      response: false,
    })
    const answered = med.request(
      sa('bob'),
      connectPayloads(who('alice'), { ...offer(2), id: offer(1).id }, 'response'),
      5,
    )
    expect(answers(answered)).toEqual([[]])
    expect(relayed(answered)).toMatchObject([{ sa: 'alice' }])
  })

  test('a refusal of the one who is asked is told to the one who asks', () => {
    const med = server('alice', 'bob')
    const [to] = relayed(med.request(sa('alice'), connectPayloads(who('bob'), offer(1), 'callback'), 0))
    const told = med.response(to!.type === 'request' ? to!.tag : '', [meNotify(ME_CONNECT_FAILED)])
    expect(told).toMatchObject([{ type: 'request', sa: 'alice' }])
    expect(readConnect(told[0]!.type === 'request' ? told[0]!.payloads : [])).toMatchObject({
      failed: true,
      who: who('bob'),
    })
  })

  test('who was asked for in vain is announced to all who wait, the last one first, once', () => {
    const med = server('alice', 'carol')
    for (const name of ['alice', 'carol'])
      expect(answers(med.request(sa(name), connectPayloads(who('bob'), offer(1), 'callback'), 0))).toEqual([
        [ME_CONNECT_FAILED],
      ])
    expect(relayed(med.up(sa('bob'), undefined))).toMatchObject([{ sa: 'carol' }, { sa: 'alice' }])
    med.down(sa('bob'))
    expect(relayed(med.up(sa('bob', 'bob again'), undefined))).toEqual([])
  })

  test('without the callback flag nobody waits', () => {
    const med = server('alice')
    med.request(sa('alice'), connectPayloads(who('bob'), offer(1)), 0)
    expect(relayed(med.up(sa('bob'), undefined))).toEqual([])
  })

  test('who goes is forgotten with all that he waits for', () => {
    const med = server('alice')
    med.request(sa('alice'), connectPayloads(who('bob'), offer(1), 'callback'), 0)
    med.down(sa('alice'))
    expect(relayed(med.up(sa('bob'), undefined))).toEqual([])
    expect(med.clients).toEqual([identity('bob')])
  })

  test('a client that registers again takes the place of its former self, whose end changes nothing', () => {
    const med = server('alice', 'bob')
    med.up(sa('bob', 'new bob'), undefined)
    med.down(sa('bob'))
    expect(relayed(med.request(sa('alice'), connectPayloads(who('bob'), offer(1)), 0))).toMatchObject([
      { sa: 'new bob' },
    ])
  })
})

describe('what it does not do', () => {
  test.each<[string, Payload[]]>([
    ['nothing', []],
    ['no IDp', connectPayloads(who('bob'), offer(1)).slice(0, -1)],
    ['no connect ID', connectPayloads(who('bob'), offer(1)).slice(1)],
    ['no endpoint', connectPayloads(who('bob'), { ...offer(1), endpoints: [] })],
    ['an ID of 3 octets', connectPayloads(who('bob'), { ...offer(1), id: new Uint8Array(3) })],
    ['a key of 33 octets', connectPayloads(who('bob'), { ...offer(1), key: new Uint8Array(33) })],
  ])('pass on a request with %s', (_, payloads) => {
    const outs = server('alice', 'bob').request(sa('alice'), payloads, 0)
    expect(answers(outs)).toEqual([[INVALID_SYNTAX]])
    expect(relayed(outs)).toEqual([])
  })

  test('take an answer from anybody but the one who was asked, or with another ID', () => {
    const med = server('alice', 'bob', 'mallory')
    med.request(sa('alice'), connectPayloads(who('bob'), offer(1), 'callback'), 0)
    const forged = connectPayloads(who('alice'), { ...offer(9), id: offer(1).id }, 'response')
    for (const outs of [
      med.request(sa('mallory'), forged, 1),
      med.request(sa('bob'), connectPayloads(who('alice'), offer(2), 'response'), 1),
      med.request(sa('bob'), connectPayloads(who('mallory'), { ...offer(9), id: offer(1).id }, 'response'), 1),
    ]) {
      expect(answers(outs)).toEqual([[ME_CONNECT_FAILED]])
      expect(relayed(outs)).toEqual([])
    }
    expect(relayed(med.request(sa('bob'), forged, 1))).toHaveLength(1)
    // once is enough
    expect(relayed(med.request(sa('bob'), forged, 1))).toEqual([])
  })

  test('let clients ask for whom they may not, and nobody learns whether that one is there', () => {
    const med = new MediationServer(nodeCryptoProvider, parseOptions({ allow: [{ from: 'alice@*', to: 'bob@*' }] }))
    for (const name of ['alice', 'bob', 'carol']) med.up(sa(name), undefined)
    const asks = (from: string, to: string) => med.request(sa(from), connectPayloads(who(to), offer(1), 'callback'), 0)
    expect(relayed(asks('alice', 'bob'))).toHaveLength(1)
    expect(answers(asks('carol', 'bob'))).toEqual(answers(asks('carol', 'nobody')))
    expect(relayed(asks('carol', 'bob'))).toEqual([])
    // nor is anybody called back
    expect(relayed(med.up(sa('nobody'), undefined))).toEqual([])
  })

  test('let one client flood another: openings have a rate, and unanswered ones a limit', () => {
    const med = server('alice', 'bob')
    let passed = 0
    for (let i = 0; i < 1_000; i++)
      passed += relayed(
        med.request(sa('alice'), connectPayloads(who('bob'), { ...offer(0), id: Uint8Array.of(i >> 8, i, 0, 1) }), i),
      ).length
    expect(passed).toBeLessThanOrEqual(32)
  })

  test('pass on more than 16 endpoints', () => {
    const endpoints = Array.from({ length: 90 }, (_, i) => ({
      kind: 'host' as const,
      priority: 1,
      endpoint: { address: `10.1.0.${i}`, port: 4500 },
    }))
    const outs = server('alice', 'bob').request(sa('alice'), connectPayloads(who('bob'), { ...offer(1), endpoints }), 0)
    const [to] = relayed(outs)
    expect(readConnect(to!.type === 'request' ? to!.payloads : []).endpoints).toHaveLength(16)
  })

  test('throw, whatever payloads of whatever content come from a client', () => {
    const med = server('alice', 'bob')
    const notify = fc.constantFrom(...Object.values(NotifyType).filter(n => n >= 40_960 || n === ME_CONNECT_FAILED))
    const payload = fc.oneof(
      fc.tuple(notify, fc.uint8Array({ maxLength: 40 })).map(([n, data]): Payload => meNotify(n, data)),
      fc
        .tuple(fc.nat(255), fc.uint8Array({ maxLength: 40 }))
        .map(([idType, data]): Payload => ({ type: 'IDp', idType, data })),
    )
    fc.assert(
      fc.property(fc.array(payload, { maxLength: 40 }), payloads => {
        expect(answers(med.request(sa('alice'), payloads, 0))).toHaveLength(1)
      }),
    )
  })
})
