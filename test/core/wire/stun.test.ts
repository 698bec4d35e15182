import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UsageError, WireError } from '../../../core/errors.ts'
import {
  isStun,
  longTermKey,
  nonceFeatures,
  notUnderstood,
  opaqueString,
  PasswordAlgorithm,
  Prf,
  parseStun,
  type StunAttribute,
  type StunHmac,
  StunMethod,
  type StunProtection,
  serializeStun,
  shortTermKey,
  stunValue,
  stunValues,
  userHash,
  verifyStun,
} from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { hex, onlyWireError, toHex } from './octets.ts'

const hmac =
  (id: number, key: Uint8Array): StunHmac =>
  data =>
    nobleProvider.prf(id, key, data)
const sha1 = (key: Uint8Array): StunHmac => hmac(Prf.PRF_HMAC_SHA1, key)
const sha256 = (key: Uint8Array): StunHmac => hmac(Prf.PRF_HMAC_SHA2_256, key)
const hash = (name: 'md5' | 'sha256') => (data: Uint8Array) => nobleProvider.hash(name, data)

describe('published messages', () => {
  interface Vector {
    readonly source: string
    readonly message: string
    readonly username?: string
    readonly realm?: string
    readonly password: string
  }
  const { messages } = JSON.parse(
    readFileSync(new URL('../../vectors/stun/messages.json', import.meta.url), 'utf8'),
  ) as { readonly messages: readonly Vector[] }
  const message = (source: string): Uint8Array => hex(messages.find(vector => vector.source === source)!.message)

  test.each(messages)('$source: integrity and fingerprint hold, until an octet changes', vector => {
    const octets = hex(vector.message)
    const parsed = parseStun(octets)
    const long = (name: 'md5' | 'sha256') =>
      longTermKey(hash(name), vector.username ?? '', vector.realm ?? '', vector.password)
    const short = vector.username === undefined
    const seal = (parsed.integrity ?? parsed.integritySha256)!
    const mac =
      parsed.integrity === undefined
        ? sha256(long('sha256'))
        : sha1(short ? shortTermKey(vector.password) : long('md5'))
    expect(parsed.fingerprint).toBe(short)
    expect(verifyStun(octets, seal, mac)).toBe(true)
    for (let at = 0; at < seal.at + 4 + seal.mac.length; at++) {
      if (at === 2 || at === 3) continue // the length: computed, RFC 8489 §14.5
      const changed = octets.slice()
      changed[at]! ^= 1
      expect(() => {
        const reparsed = parseStun(changed)
        const found = reparsed.integrity ?? reparsed.integritySha256
        if (found === undefined || !verifyStun(changed, found, mac)) throw new WireError('refused')
      }).toThrow(WireError)
    }
  })

  test('RFC 5769 §2.1: what the request says', () => {
    const request = parseStun(message('RFC 5769 §2.1'))
    expect(request).toMatchObject({ class: 'request', method: StunMethod.Binding })
    expect(toHex(request.transaction)).toBe('b7e7a701bc34d686fa87dfae')
    expect(request.attributes).toEqual([
      { type: 'SOFTWARE', value: 'STUN test client' },
      { type: 'PRIORITY', value: 0x6e0001ff },
      { type: 'ICE-CONTROLLED', value: 0x932ff9b151263b36n },
      { type: 'USERNAME', value: 'evtj:h6vY' },
    ])
  })

  test('RFC 5769 §2.2 and §2.3: the mapped address', () => {
    expect(stunValue(parseStun(message('RFC 5769 §2.2')), 'XOR-MAPPED-ADDRESS')).toEqual({
      address: '192.0.2.1',
      port: 32853,
    })
    expect(stunValue(parseStun(message('RFC 5769 §2.3')), 'XOR-MAPPED-ADDRESS')).toEqual({
      address: '2001:db8:1234:5678:11:2233:4455:6677',
      port: 32853,
    })
  })

  test('messages whose padding is zeros are written as published', () => {
    const octets = message('RFC 5769 §2.4')
    const key = longTermKey(hash('md5'), 'マトリックス', 'example.org', 'TheMatrIX')
    expect(toHex(key)).toBe('e8ca7ad59d5eb0518e312911d2dab2a9')
    expect(serializeStun(parseStun(octets), { integrity: sha1(key) })).toEqual(octets)
    const second = message('RFC 8489 Appendix B.1 with erratum 6268')
    const parsed = parseStun(second)
    expect(stunValue(parsed, 'USERHASH')).toEqual(userHash(hash('sha256'), 'マトリックス', 'example.org'))
    expect(stunValue(parsed, 'PASSWORD-ALGORITHM')?.algorithm).toBe(PasswordAlgorithm.SHA256)
    expect(nonceFeatures(stunValue(parsed, 'NONCE')!)).toEqual({ passwordAlgorithms: false, usernameAnonymity: true })
    const longKey = longTermKey(hash('sha256'), 'マトリックス', 'example.org', 'TheMatrIX')
    expect(serializeStun(parsed, { integritySha256: sha256(longKey) })).toEqual(second)
  })
})

const octets = (minLength = 0, maxLength = 40) => fc.uint8Array({ minLength, maxLength })
const word = fc.nat(0xffff)
const long = fc.nat(0xffff_ffff)
const text = fc.string({ unit: 'binary', maxLength: 20 }).filter(value => !/\p{Cs}/u.test(value))
const v4 = fc.ipV4()
const v6 = fc.array(
  word.filter(group => group !== 0),
  { minLength: 8, maxLength: 8 },
)
const endpoint = fc.record({
  address: fc.oneof(
    v4,
    v6.map(groups => groups.map(group => group.toString(16)).join(':')),
  ),
  port: word,
})
const code = fc.integer({ min: 300, max: 699 })
const algorithm = fc.record({ algorithm: word, parameters: octets(0, 9) })
const of = (type: StunAttribute['type'], value: fc.Arbitrary<unknown>) =>
  fc.record({ type: fc.constant(type), value }) as fc.Arbitrary<StunAttribute>

const attribute: fc.Arbitrary<StunAttribute> = fc.oneof(
  ...(
    [
      'MAPPED-ADDRESS',
      'RESPONSE-ADDRESS',
      'SOURCE-ADDRESS',
      'CHANGED-ADDRESS',
      'REFLECTED-FROM',
      'XOR-PEER-ADDRESS',
      'XOR-RELAYED-ADDRESS',
      'XOR-MAPPED-ADDRESS',
      'ALTERNATE-SERVER',
      'RESPONSE-ORIGIN',
      'OTHER-ADDRESS',
    ] as const
  ).map(name => of(name, endpoint)),
  ...(['USERNAME', 'REALM', 'SOFTWARE', 'ALTERNATE-DOMAIN'] as const).map(name => of(name, text)),
  ...(['PASSWORD', 'DATA', 'NONCE', 'ACCESS-TOKEN', 'PADDING'] as const).map(name => of(name, octets())),
  ...(['LIFETIME', 'PRIORITY', 'CONNECTION-ID', 'CACHE-TIMEOUT'] as const).map(name => of(name, long)),
  ...(['CHANNEL-NUMBER', 'RESPONSE-PORT'] as const).map(name => of(name, word)),
  ...(['REQUESTED-ADDRESS-FAMILY', 'REQUESTED-TRANSPORT', 'ADDITIONAL-ADDRESS-FAMILY'] as const).map(name =>
    of(name, fc.nat(0xff)),
  ),
  ...(['DONT-FRAGMENT', 'USE-CANDIDATE'] as const).map(name => of(name, fc.constant(true))),
  ...(['ICE-CONTROLLED', 'ICE-CONTROLLING'] as const).map(name => of(name, fc.bigInt(0n, 0xffff_ffff_ffff_ffffn))),
  of('EVEN-PORT', fc.boolean()),
  of('CHANGE-REQUEST', fc.record({ changeIp: fc.boolean(), changePort: fc.boolean() })),
  of('ERROR-CODE', fc.record({ code, reason: text })),
  of('ADDRESS-ERROR-CODE', fc.record({ family: fc.nat(0xff), code, reason: text })),
  of('UNKNOWN-ATTRIBUTES', fc.array(word, { maxLength: 6 })),
  of('PASSWORD-ALGORITHM', algorithm),
  of('PASSWORD-ALGORITHMS', fc.array(algorithm, { maxLength: 3 })),
  of('USERHASH', octets(32, 32)),
  of('RESERVATION-TOKEN', octets(8, 8)),
  of('ICMP', fc.record({ icmpType: fc.nat(0x7f), icmpCode: fc.nat(0x1ff), data: long })),
  fc.record({
    type: fc.constant('unknown' as const),
    number: fc.constantFrom(0x0000, 0x7fff, 0x8020, 0xffff),
    value: octets(),
  }),
)

const COOKIE = 0x2112a442
const message = fc.record({
  class: fc.constantFrom('request', 'indication', 'success', 'error'),
  method: fc.nat(0xfff),
  transaction: fc.oneof(
    octets(12, 12),
    octets(16, 16).filter(id => new DataView(id.buffer).getUint32(0) !== COOKIE),
  ),
  attributes: fc.array(attribute, { maxLength: 6 }),
})
const KEY = Uint8Array.of(1, 2, 3)
const protection: fc.Arbitrary<StunProtection> = fc.record({
  integrity: fc.constantFrom(undefined, sha1(KEY)),
  integritySha256: fc.constantFrom(undefined, sha256(KEY)),
  fingerprint: fc.boolean(),
})

/** A message cut short whose length field has been made to agree. */
function cut(whole: Uint8Array, length: number): Uint8Array {
  const short = whole.slice(0, length)
  new DataView(short.buffer).setUint16(2, length - 20)
  return short
}

describe('properties', () => {
  test('a message reads as it was written, and its seals hold', () => {
    fc.assert(
      fc.property(message, protection, (message, protection) => {
        const whole = serializeStun(message, protection)
        const parsed = parseStun(whole)
        expect(parsed).toMatchObject(message)
        expect(parsed.attributes).toEqual(message.attributes)
        expect(parsed.fingerprint).toBe(protection.fingerprint)
        expect(isStun(whole, 0, whole.length)).toBe(message.transaction.length === 12)
        for (const [seal, mac, wrong] of [
          [parsed.integrity, protection.integrity, sha1(Uint8Array.of(9))],
          [parsed.integritySha256, protection.integritySha256, sha256(Uint8Array.of(9))],
        ] as const) {
          expect(seal === undefined).toBe(mac === undefined)
          if (seal === undefined || mac === undefined) continue
          expect(verifyStun(whole, seal, mac)).toBe(true)
          expect(verifyStun(whole, seal, wrong)).toBe(false)
        }
      }),
    )
  })

  test('every truncation throws WireError; where the length agrees, at most whole attributes are missing', () => {
    fc.assert(
      fc.property(message, protection, (message, protection) => {
        const whole = serializeStun(message, protection)
        for (let length = 0; length < whole.length; length++) {
          expect(() => parseStun(whole.subarray(0, length))).toThrow(WireError)
          if (length < 20) continue
          onlyWireError(() => {
            const { attributes } = parseStun(cut(whole, length))
            expect(length % 4).toBe(0)
            expect(attributes).toEqual(message.attributes.slice(0, attributes.length))
          })
        }
      }),
      { numRuns: 30 },
    )
  })

  test('changed and random octets throw WireError or nothing', () => {
    fc.assert(
      fc.property(
        message,
        protection,
        fc.array(fc.tuple(fc.nat(), fc.nat(0xff)), { maxLength: 4 }),
        (m, p, changes) => {
          const whole = serializeStun(m, p)
          for (const [at, value] of changes) whole[at % whole.length] = value
          onlyWireError(() => parseStun(whole))
        },
      ),
    )
    fc.assert(
      fc.property(octets(0, 120), random => {
        onlyWireError(() => parseStun(random))
        const framed = Uint8Array.of(0, 1, 0, random.length & ~3, ...random.subarray(0, 16), ...random)
        onlyWireError(() => parseStun(framed.subarray(0, 20 + (random.length & ~3))))
      }),
    )
  })
})

const ID = hex('000102030405060708090a0b')
const request = (...attributes: StunAttribute[]) =>
  ({ class: 'request', method: StunMethod.Binding, transaction: ID, attributes }) as const

describe('messages', () => {
  // RFC 8489 §5 and the numbers of IANA's methods
  test.each([
    ['request', StunMethod.Binding, 0x0001],
    ['indication', StunMethod.Binding, 0x0011],
    ['success', StunMethod.Binding, 0x0101],
    ['error', StunMethod.Binding, 0x0111],
    ['error', StunMethod.Allocate, 0x0113],
    ['indication', StunMethod.Data, 0x0017],
    ['success', StunMethod.ChannelBind, 0x0109],
    ['request', 0xfff, 0x3eef],
  ] as const)('a %s of method %i has type %i', (kind, method, type) => {
    const whole = serializeStun({ class: kind, method, transaction: ID, attributes: [] })
    expect((whole[0]! << 8) | whole[1]!).toBe(type)
  })

  test('an RFC 3489 message has sixteen octets of ID and plain addresses', () => {
    const id = hex('0f0e0d0c0b0a09080706050403020100')
    const whole = serializeStun({
      class: 'success',
      method: StunMethod.Binding,
      transaction: id,
      attributes: [{ type: 'MAPPED-ADDRESS', value: { address: '192.0.2.1', port: 4500 } }],
    })
    expect(toHex(whole)).toBe('0101000c0f0e0d0c0b0a090807060504030201000001000800011194c0000201')
    expect(parseStun(whole).transaction).toEqual(id)
    expect(isStun(whole, 0, whole.length)).toBe(false)
  })

  test('what integrity does not cover is left out', () => {
    const sealed = serializeStun(request({ type: 'PRIORITY', value: 1 }), { integrity: sha1(KEY) })
    const extra = serializeStun(request({ type: 'PRIORITY', value: 2 })).subarray(20)
    const longer = Uint8Array.of(...sealed, ...extra)
    longer[3]! += extra.length
    const parsed = parseStun(longer)
    expect(stunValues(parsed, 'PRIORITY')).toEqual([1])
    expect(verifyStun(longer, parsed.integrity!, sha1(KEY))).toBe(true)
  })

  test('MESSAGE-INTEGRITY-SHA256 may be cut to 16 octets, no further', () => {
    const whole = serializeStun(request(), { integritySha256: data => sha256(KEY)(data) })
    for (const [size, fine] of [
      [16, true],
      [28, true],
      [12, false],
      [18, false],
    ] as const) {
      // the sender computes over a length that counts the shorter attribute
      const head = whole.slice(0, 20)
      head[3] = 4 + size
      const mac = nobleProvider.prf(Prf.PRF_HMAC_SHA2_256, KEY, head).subarray(0, size)
      const padded = new Uint8Array(20 + 4 + ((size + 3) & ~3))
      padded.set([...head, 0, 0x1c, 0, size, ...mac])
      padded[3] = padded.length - 20
      if (!fine) expect(() => parseStun(padded)).toThrow(WireError)
      else expect(verifyStun(padded, parseStun(padded).integritySha256!, sha256(KEY))).toBe(true)
    }
  })

  test('FINGERPRINT comes last and is right', () => {
    const whole = serializeStun(request(), { fingerprint: true })
    const wrong = whole.slice()
    wrong[27]! ^= 1
    expect(() => parseStun(wrong)).toThrow(/FINGERPRINT/)
    const twice = Uint8Array.of(...whole, ...whole.subarray(20))
    twice[3] = 16
    expect(() => parseStun(twice)).toThrow(WireError)
  })

  test('a thousand attributes are too many', () => {
    const many = serializeStun(
      request(...Array.from({ length: 1000 }, () => ({ type: 'USE-CANDIDATE', value: true }) as const)),
    )
    expect(() => parseStun(many)).toThrow(/too many/)
  })

  test('names what the receiver would have to understand', () => {
    const asked = request(
      { type: 'CHANGE-REQUEST', value: { changeIp: true, changePort: false } },
      { type: 'LIFETIME', value: 1 },
      { type: 'unknown', number: 0x7ff0, value: ID },
      { type: 'unknown', number: 0x7ff0, value: ID },
      { type: 'unknown', number: 0x8fff, value: ID },
      { type: 'SOFTWARE', value: 'x' },
    )
    expect(notUnderstood(parseStun(serializeStun(asked)), ['CHANGE-REQUEST'])).toEqual([0x000d, 0x7ff0])
  })

  test.each([
    ['a method of 13 bits', { ...request(), method: 0x1000 }],
    ['a short transaction ID', { ...request(), transaction: ID.subarray(1) }],
    ['a name for an address', request({ type: 'MAPPED-ADDRESS', value: { address: 'localhost', port: 1 } })],
    ['a USERHASH of 31 octets', request({ type: 'USERHASH', value: new Uint8Array(31) })],
    ['a LIFETIME beyond 32 bits', request({ type: 'LIFETIME', value: 2 ** 32 })],
  ])('%s is not written', (_, message) => {
    expect(() => serializeStun(message)).toThrow(UsageError)
  })
})

describe('credentials', () => {
  test('names are composed and have plain spaces', () => {
    expect(opaqueString('Ame\u0301lie\u00a0P')).toBe('Am\u00e9lie P')
    for (const bad of ['', 'a\u0000b', 'a\nb']) expect(() => opaqueString(bad)).toThrow(UsageError)
  })

  test.each([
    ['obMatJos2AAAB', true, false],
    ['obMatJos2AAADrest', true, true],
    ['obMatJos2AAAA', false, false],
    ['obMatJos2AA', false, false],
    ['f//499k954d6OL34oL9FSTvy64sA', false, false],
  ])('nonce %s', (nonce, passwordAlgorithms, usernameAnonymity) => {
    expect(nonceFeatures(new TextEncoder().encode(nonce))).toEqual({ passwordAlgorithms, usernameAnonymity })
  })
})
