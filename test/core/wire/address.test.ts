import { isIP } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UsageError } from '../../../core/errors.ts'
import {
  addressBytes,
  addressOfBytes,
  addressPlus,
  canonicalAddress,
  compareAddresses,
  familyOf,
  formatAddress,
  formatPrefix,
  parseAddress,
  parsePrefix,
  prefixContains,
  prefixRange,
  rangeContains,
  rangePrefixes,
} from '../../../core/wire/index.ts'
import { hex, toHex } from './octets.ts'

const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 })
const v6 = fc.uint8Array({ minLength: 16, maxLength: 16 })

describe('text', () => {
  test.each([
    ['192.0.2.1', 'c0000201'],
    ['::', '00'.repeat(16)],
    ['::1', `${'00'.repeat(15)}01`],
    ['2001:db8::5', '20010db8000000000000000000000005'],
    ['2001:db8:0:1:1:1:1:1', '20010db8000000010001000100010001'], // RFC 5952 §4.2.2: one group is not shortened
    ['2001:0:0:1::1', '20010000000000010000000000000001'], // §4.2.3: the longest run
    ['2001:db8::1:0:0:1', '20010db8000000000001000000000001'], // §4.2.3: the first of equals
    ['::ffff:192.0.2.1', '00000000000000000000ffffc0000201'], // §5
    ['fe80::', `fe80${'00'.repeat(14)}`],
  ])('%s', (text, digits) => {
    expect(toHex(parseAddress(text)!)).toBe(digits)
    expect(formatAddress(hex(digits))).toBe(text)
  })

  test.each([
    ['2001:DB8::0:5', '2001:db8::5'],
    ['2001:0db8:0000:0000:0000:0000:0000:0005', '2001:db8::5'],
    ['::FFFF:c000:0201', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ])('%s is %s', (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical)
  })

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4 ',
    '0x1.2.3.4',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    ':1::',
    '1:',
    '::1%eth0',
    '[::1]',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '::1.2.3',
    'localhost',
  ])('"%s" is no address', text => {
    expect(parseAddress(text)).toBeUndefined()
    expect(() => addressBytes(text)).toThrow(UsageError)
  })

  test('reads what it wrote, and the system agrees that it is an address', () => {
    fc.assert(
      fc.property(fc.oneof(v4, v6), octets => {
        const text = formatAddress(octets)
        expect(parseAddress(text)).toEqual(octets)
        expect(isIP(text)).toBe(familyOf(text))
      }),
    )
  })

  test('accepts no more than the system does', () => {
    const digits = fc.string({ unit: fc.constantFrom(...'0123456789abcf:.'), maxLength: 20 })
    fc.assert(
      fc.property(digits, text => (parseAddress(text) === undefined) === (isIP(text) === 0)),
      { numRuns: 2000 },
    )
  })

  test('reads from the middle of a packet, and refuses other lengths', () => {
    expect(addressOfBytes(hex('ff0a01000aff'), 1, 4)).toBe('10.1.0.10')
    expect(() => formatAddress(new Uint8Array(5))).toThrow(UsageError)
  })
})

describe('prefixes and ranges', () => {
  test.each([
    ['10.9.0.0/24', '10.9.0.0', '10.9.0.255'],
    ['10.9.0.77/24', '10.9.0.0', '10.9.0.255'],
    ['10.9.0.0/17', '10.9.0.0', '10.9.127.255'],
    ['0.0.0.0/0', '0.0.0.0', '255.255.255.255'],
    ['192.0.2.1', '192.0.2.1', '192.0.2.1'],
    ['2001:db8::/33', '2001:db8::', '2001:db8:7fff:ffff:ffff:ffff:ffff:ffff'],
  ])('%s is %s to %s', (text, start, end) => {
    const range = prefixRange(parsePrefix(text)!)
    expect([formatAddress(range.start), formatAddress(range.end)]).toEqual([start, end])
  })

  test.each(['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '/8', '10.0.0.0/8/8', ''])(
    '"%s" is no prefix',
    text => {
      expect(parsePrefix(text)).toBeUndefined()
    },
  )

  test.each([
    ['10.0.0.0', '10.0.0.255', ['10.0.0.0/24']],
    ['10.0.0.1', '10.0.0.6', ['10.0.0.1/32', '10.0.0.2/31', '10.0.0.4/31', '10.0.0.6/32']],
    ['0.0.0.0', '255.255.255.255', ['0.0.0.0/0']],
    ['255.255.255.254', '255.255.255.255', ['255.255.255.254/31']],
    ['10.0.0.2', '10.0.0.1', []],
    ['::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', ['::/0']],
  ])('%s to %s is %j', (start, end, prefixes) => {
    expect(rangePrefixes({ start: addressBytes(start), end: addressBytes(end) }).map(formatPrefix)).toEqual(prefixes)
  })

  test('the prefixes of a range follow each other from its start to its end', () => {
    fc.assert(
      fc.property(fc.oneof(fc.tuple(v4, v4), fc.tuple(v6, v6)), pair => {
        const [start, end] = pair.sort(compareAddresses)
        let next: Uint8Array | undefined = start
        for (const prefix of rangePrefixes({ start, end })) {
          const part = prefixRange(prefix)
          expect(part.start).toEqual(next)
          expect(rangeContains({ start, end }, part.end)).toBe(true)
          next = addressPlus(part.end, 1)
        }
        expect(next).toEqual(addressPlus(end, 1))
      }),
    )
  })

  test('containment, order, addition', () => {
    const office = parsePrefix('10.9.0.0/24')!
    expect(prefixContains(office, '10.9.0.255')).toBe(true)
    expect(prefixContains(office, '10.9.1.0')).toBe(false)
    expect(prefixContains(office, '::ffff:10.9.0.1')).toBe(false)
    expect(compareAddresses(addressBytes('9.255.255.255'), addressBytes('10.0.0.0'))).toBeLessThan(0)
    expect(compareAddresses(addressBytes('255.255.255.255'), addressBytes('::'))).toBeLessThan(0)
    expect(formatAddress(addressPlus(addressBytes('10.0.255.255'), 1)!)).toBe('10.1.0.0')
    expect(addressPlus(addressBytes('255.255.255.255'), 1)).toBeUndefined()
    expect(addressPlus(addressBytes('0.0.0.0'), -1)).toBeUndefined()
  })
})
