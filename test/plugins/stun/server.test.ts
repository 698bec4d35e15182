import { describe, expect, test } from 'vitest'
import {
  type ParsedStun,
  parseStun,
  type StunAttribute,
  StunMethod,
  serializeStun,
  stunValue,
} from '../../../core/wire/index.ts'
import { type ServerOut, StunServer } from '../../../plugins/stun/index.ts'

const CLIENT = { address: '198.51.100.9', port: 40_000 }
const AT = { address: '203.0.113.30', port: 3478 }
const OTHER = { address: '203.0.113.31', port: 3479 }
const ALL = [AT.address, OTHER.address].flatMap(address => [AT.port, OTHER.port].map(port => ({ address, port })))
const ID = Uint8Array.from({ length: 12 }, (_, i) => i)
const CLASSIC = Uint8Array.from({ length: 16 }, (_, i) => i)

const full = () => new StunServer({ endpoints: ALL, ratePerSource: 10, rate: 100 })
const single = () => new StunServer({ endpoints: [AT], ratePerSource: 10, rate: 100 })
const ask = (attributes: readonly StunAttribute[] = [], transaction = ID, fingerprint = false): Uint8Array =>
  serializeStun({ class: 'request', method: StunMethod.Binding, transaction, attributes }, { fingerprint })
const step = (server: StunServer, data: Uint8Array, from = CLIENT, now = 0): ServerOut =>
  server.step({ type: 'datagram', local: AT, from, data }, now)[0]!

function answer(out: ServerOut): ParsedStun & { readonly local: object; readonly to: object; readonly size: number } {
  if (out.type !== 'transmit') throw new Error(`dropped: ${out.reason}`)
  return { ...parseStun(out.data), local: out.local, to: out.to, size: out.data.length }
}

test('RFC 8489: the mapped address, the same transaction, FINGERPRINT where the request has one', () => {
  const plain = answer(step(single(), ask()))
  expect(plain).toMatchObject({ class: 'success', transaction: ID, fingerprint: false, local: AT, to: CLIENT })
  expect(stunValue(plain, 'XOR-MAPPED-ADDRESS')).toEqual(CLIENT)
  expect(stunValue(plain, 'OTHER-ADDRESS')).toBeUndefined()
  expect(answer(step(single(), ask([], ID, true))).fingerprint).toBe(true)
})

test('RFC 3489: plain addresses, and no attribute that its clients would have to know', () => {
  const response = answer(step(full(), ask([], CLASSIC)))
  expect(response.transaction).toEqual(CLASSIC)
  expect(response.attributes).toEqual([
    { type: 'MAPPED-ADDRESS', value: CLIENT },
    { type: 'SOURCE-ADDRESS', value: AT },
    { type: 'CHANGED-ADDRESS', value: OTHER },
  ])
})

describe('RFC 5780', () => {
  test.each([
    [false, false, AT],
    [true, false, { ...AT, address: OTHER.address }],
    [false, true, { ...AT, port: OTHER.port }],
    [true, true, OTHER],
  ])('CHANGE-REQUEST address %s port %s', (changeIp, changePort, from) => {
    const response = answer(step(full(), ask([{ type: 'CHANGE-REQUEST', value: { changeIp, changePort } }])))
    expect(response.local).toEqual(from)
    expect(stunValue(response, 'RESPONSE-ORIGIN')).toEqual(from)
    expect(stunValue(response, 'OTHER-ADDRESS')).toEqual(OTHER)
    expect(stunValue(response, 'MAPPED-ADDRESS')).toEqual(CLIENT)
  })

  test('without a second address CHANGE-REQUEST is an attribute that is not understood', () => {
    const response = answer(
      step(single(), ask([{ type: 'CHANGE-REQUEST', value: { changeIp: true, changePort: true } }])),
    )
    expect(response.class).toBe('error')
    expect(stunValue(response, 'ERROR-CODE')?.code).toBe(420)
    expect(stunValue(response, 'UNKNOWN-ATTRIBUTES')).toEqual([3])
  })

  test('RESPONSE-PORT answers to that port, of the same address', () => {
    const response = answer(step(full(), ask([{ type: 'RESPONSE-PORT', value: 5000 }])))
    expect(response.to).toEqual({ address: CLIENT.address, port: 5000 })
    expect(stunValue(response, 'XOR-MAPPED-ADDRESS')).toEqual(CLIENT)
  })

  test.each<readonly StunAttribute[]>([
    [{ type: 'RESPONSE-PORT', value: 0 }],
    [
      { type: 'RESPONSE-PORT', value: 5000 },
      { type: 'PADDING', value: new Uint8Array(1000) },
    ],
  ])('%o is a bad request', (...attributes) => {
    expect(stunValue(answer(step(full(), ask(attributes))), 'ERROR-CODE')?.code).toBe(400)
  })

  test('PADDING comes back in the same size', () => {
    const response = answer(step(full(), ask([{ type: 'PADDING', value: new Uint8Array(1500) }])))
    expect(stunValue(response, 'PADDING')).toHaveLength(1500)
  })
})

describe('hostile requests', () => {
  test('RESPONSE-ADDRESS of RFC 3489 makes nobody a target', () => {
    const victim = { address: '192.0.2.66', port: 53 }
    const response = answer(step(full(), ask([{ type: 'RESPONSE-ADDRESS', value: victim }], CLASSIC)))
    expect(response).toMatchObject({ class: 'error', to: CLIENT })
    expect(stunValue(response, 'UNKNOWN-ATTRIBUTES')).toEqual([2])
  })

  test('no answer is more than 56 octets longer than its request', () => {
    const many = Array.from({ length: 90 }, (_, i) => ({ type: 'unknown', number: 0x7000 + i, value: ID }) as const)
    for (const attributes of [
      [],
      many,
      [{ type: 'PADDING', value: new Uint8Array(1500) }] as const,
      [{ type: 'CHANGE-REQUEST', value: { changeIp: true, changePort: true } }] as const,
    ]) {
      const request = ask(attributes)
      expect(answer(step(full(), request)).size).toBeLessThanOrEqual(request.length + 56)
    }
  })

  test.each([
    ['stun-malformed', Uint8Array.of(1, 2, 3), CLIENT],
    ['stun-not-a-request', serializeStun({ class: 'success', method: 1, transaction: ID, attributes: [] }), CLIENT],
    ['stun-not-a-request', serializeStun({ class: 'indication', method: 1, transaction: ID, attributes: [] }), CLIENT],
    ['stun-not-a-request', serializeStun({ class: 'request', method: 3, transaction: ID, attributes: [] }), CLIENT],
    ['stun-own-address', ask(), OTHER],
    ['stun-own-address', ask(), { ...CLIENT, port: 0 }],
  ] as const)('%s', (reason, data, from) => {
    expect(step(full(), data, from)).toEqual({ type: 'drop', reason })
  })

  test('a flood from one address is answered at its rate, and hinders no other', () => {
    const server = full()
    const answered = (from: typeof CLIENT, now: number) => step(server, ask(), from, now).type === 'transmit'
    let count = 0
    for (let i = 0; i < 1000; i++) if (answered({ ...CLIENT, port: i + 1 }, i / 10)) count++
    expect(count).toBe(20) // twice the rate at once, and a tenth of a second's worth
    expect(answered({ address: '198.51.100.10', port: 1 }, 100)).toBe(true)
    expect(answered(CLIENT, 400)).toBe(true)
  })

  test('one IPv6 network is one source', () => {
    const server = full()
    const answered = Array.from({ length: 100 }, (_, i) =>
      step(server, ask(), { address: `2001:db8::${i + 1}`, port: 9 }),
    )
    expect(answered.filter(({ type }) => type === 'transmit')).toHaveLength(20)
    expect(step(server, ask(), { address: '2001:db8:0:1::1', port: 9 }).type).toBe('transmit')
  })

  test('a flood from many addresses meets the limit for all', () => {
    const server = full()
    let count = 0
    for (let i = 0; i < 10_000; i++)
      if (step(server, ask(), { address: `10.${i >> 8}.${i & 255}.1`, port: 9 }).type === 'transmit') count++
    expect(count).toBe(200)
  })
})
