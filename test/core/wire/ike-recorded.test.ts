import { describe, expect, test } from 'vitest'
import {
  ExchangeType,
  nameOf,
  PayloadType,
  parseIke,
  parsePayloads,
  payloadNumber,
  peekIkeHeader,
  serializeIke,
  serializePayloads,
} from '../../../core/wire/index.ts'
import { hex, RECORDINGS, type RecordedMessage, recording, toHex } from './octets.ts'

describe.each(RECORDINGS)('strongSwan, %s', name => {
  const messages = Object.entries(recording(name).hosts).flatMap(([host, { messages }]) =>
    messages.map(message => [`${host} ${message.n}: ${nameOf(ExchangeType, message.exchangeType)}`, message] as const),
  )

  test.each(messages)('%s', (_, message) => {
    const raw = hex(message.raw)
    const { header, payloads } = parseIke(raw)
    expect(header).toEqual({
      initiatorSpi: BigInt(`0x${message.spiI}`),
      responderSpi: BigInt(`0x${message.spiR}`),
      nextPayload: raw[16],
      version: 0x20,
      exchange: message.exchangeType,
      flags: message.flags,
      messageId: message.messageId,
      length: raw.length,
    })
    expect(peekIkeHeader(raw)).toEqual(header)
    expect(toHex(serializeIke(header, payloads))).toBe(message.raw)
    if (!message.encrypted) return expectPayloads(payloads, message)

    const sk = payloads[0]
    if (sk?.type !== 'SK') throw new Error('SK expected')
    expect(sk.inner).toBe(message.firstInner)
    expect(message.raw.slice(sk.bodyAt * 2)).toBe(toHex(sk.body))
    expect(toHex(sk.body).startsWith(message.iv!)).toBe(true)
    const inner = parsePayloads(sk.inner, hex(message.plaintext!))
    expectPayloads(inner, message)
    const again = serializePayloads(inner)
    expect(again.first).toBe(message.firstInner)
    expect(toHex(again.bytes)).toBe(message.plaintext)
  })
})

function expectPayloads(payloads: ReturnType<typeof parseIke>['payloads'], message: RecordedMessage): void {
  expect(payloads.map(({ type }) => type)).toEqual(message.payloads.map(({ name }) => name))
  for (const [i, payload] of payloads.entries()) {
    const want = message.payloads[i]!
    expect(payloadNumber(payload)).toBe(want.type)
    expect(nameOf(PayloadType, want.type)).toBe(payload.type)
    expect(toHex(serializePayloads([payload]).bytes.subarray(4))).toBe(want.body)
    if (payload.type === 'N') {
      expect(payload.notify).toBe(want.notify)
      expect(toHex(payload.data)).toBe(want.data)
    }
    if (payload.type === 'IDi' || payload.type === 'IDr' || payload.type === 'IDp')
      expect(payload.idType).toBe(want.idType)
  }
}
