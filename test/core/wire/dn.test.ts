import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { WireError } from '../../../core/errors.ts'
import { equalDn, formatDn, parseDn, readDn, writeDn } from '../../../core/wire/index.ts'

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))

/** `openssl req -subj /C=CH/O=Lab/CN=alice` (OpenSSL 3.0): PrintableString for C, UTF8String for the rest. */
const OPENSSL = hex(
  '302b 310b 3009 0603550406 13024348 310c 300a 060355040a 0c034c6162 310e 300c 0603550403 0c05616c696365',
)

test('as OpenSSL writes it, there and back', () => {
  expect(formatDn(readDn(OPENSSL))).toBe('C=CH, O=Lab, CN=alice')
  expect(writeDn(parseDn('C=CH, O=Lab, CN=alice')!)).toEqual(OPENSSL)
})

test.each([
  ['CN=alice', 'CN=alice'],
  [' cn = Alice Smith , o=Lab ', 'CN=Alice Smith, O=Lab'],
  ['CN=a\\, b, emailAddress=a@b.c', 'CN=a\\, b, E=a@b.c'],
  ['CN=alice+UID=7, DC=example, DC=org', 'CN=alice+UID=7, DC=example, DC=org'],
  ['1.2.3.4=x', '1.2.3.4=x'],
])('%s', (text, shown) => {
  const attributes = parseDn(text)!
  expect(formatDn(attributes)).toBe(shown)
  expect(readDn(writeDn(attributes))).toEqual(attributes)
})

test.each(['', 'CN', 'CN=', 'XX=1', 'CN=a,,O=b', 'CN=a, O', ',CN=a', 'CN=a\\'])('no name: "%s"', text => {
  expect(parseDn(text)).toBeUndefined()
})

test('how a text is encoded does not count, its place does', () => {
  const printable = hex('3010 310e 300c 0603550403 1305414c494345')
  const [alice, other] = [parseDn('CN=alice')!, parseDn('CN=alice, O=Lab')!]
  expect(equalDn(readDn(printable), alice)).toBe(true)
  expect(equalDn(alice, other)).toBe(false)
  expect(equalDn(parseDn('O=Lab, CN=alice')!, other)).toBe(false)
  expect(equalDn(alice, parseDn('CN=*')!)).toBe(false)
  expect(equalDn(alice, parseDn('CN=*')!, true)).toBe(true)
})

describe('hostile', () => {
  test('every truncation, mutation and random octets: a name or a WireError', () => {
    const read = (der: Uint8Array): void => {
      try {
        readDn(der)
      } catch (error) {
        expect(error).toBeInstanceOf(WireError)
      }
    }
    for (let i = 0; i < OPENSSL.length; i++) expect(() => readDn(OPENSSL.subarray(0, i))).toThrow(WireError)
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), read))
    fc.assert(
      fc.property(fc.nat(OPENSSL.length - 1), fc.nat(255), (at, octet) => {
        const der = OPENSSL.slice()
        der[at] = octet
        read(der)
      }),
    )
  })

  test('a name of thousands of attributes', () => {
    const many = Array.from({ length: 1_000 }, () => ({ oid: '2.5.4.3', value: 'x', first: true }))
    expect(() => readDn(writeDn(many))).toThrow(/more than 64/)
  })
})
