import { describe, expect, test } from 'vitest'
import type { Identity, IdentityPattern } from '../../../core/contracts/settings.ts'
import {
  fit,
  fromIdentification,
  isExact,
  sameIdentity,
  showIdentity,
  toIdentification,
} from '../../../core/ike/identity.ts'
import { IdType, parseDn, writeDn } from '../../../core/wire/index.ts'

const fqdn = (value: string): Identity => ({ type: 'fqdn', value })
const dn = (text: string): Identity => ({ type: 'dn', value: Buffer.from(writeDn(parseDn(text)!)).toString('hex') })
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

test.each<{ identity: Identity; idType: number; data: Uint8Array }>([
  { identity: fqdn('moon.example'), idType: IdType.ID_FQDN, data: bytes('moon.example') },
  {
    identity: { type: 'rfc822', value: 'a@moon.example' },
    idType: IdType.ID_RFC822_ADDR,
    data: bytes('a@moon.example'),
  },
  { identity: { type: 'ipv4', value: '192.0.2.1' }, idType: IdType.ID_IPV4_ADDR, data: Uint8Array.of(192, 0, 2, 1) },
  {
    identity: { type: 'ipv6', value: '2001:db8::1' },
    idType: IdType.ID_IPV6_ADDR,
    data: Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
  },
  { identity: dn('C=CH, CN=moon'), idType: IdType.ID_DER_ASN1_DN, data: writeDn(parseDn('C=CH, CN=moon')!) },
  { identity: { type: 'keyid', value: '00ff10' }, idType: IdType.ID_KEY_ID, data: Uint8Array.of(0, 255, 16) },
])('$identity.type to the wire and back', ({ identity, idType, data }) => {
  expect(toIdentification(identity)).toEqual({ idType, data })
  expect(fromIdentification({ idType, data })).toEqual(identity)
})

test.each([
  { name: 'an unknown type', idType: 99, data: bytes('x') },
  { name: 'a distinguished name that is none', idType: IdType.ID_DER_ASN1_DN, data: bytes('x') },
  { name: 'an IPv4 address of 5 octets', idType: IdType.ID_IPV4_ADDR, data: new Uint8Array(5) },
  { name: 'an IPv6 address of 4 octets', idType: IdType.ID_IPV6_ADDR, data: new Uint8Array(4) },
  { name: 'octets that are no UTF-8', idType: IdType.ID_FQDN, data: Uint8Array.of(0x6d, 0xff) },
])('$name is no identity natweave knows', ({ idType, data }) => {
  expect(fromIdentification({ idType, data })).toBeUndefined()
})

test('different octets are different identities', () => {
  const marked = fromIdentification({ idType: IdType.ID_FQDN, data: Uint8Array.of(0xef, 0xbb, 0xbf, 0x6d) })
  expect(marked).toBeDefined()
  expect(sameIdentity(marked!, fqdn('m'))).toBe(false)
})

describe('how well an identity fits', () => {
  test.each<{ id: string; pattern: IdentityPattern; want: number }>([
    { id: 'moon.example', pattern: fqdn('moon.example'), want: 3 },
    { id: 'MOON.example', pattern: fqdn('moon.EXAMPLE'), want: 3 },
    { id: 'moon.example', pattern: fqdn('*.example'), want: 2 },
    { id: 'moon.example', pattern: fqdn('*'), want: 2 },
    { id: 'moon.example', pattern: fqdn('m*n.*le'), want: 2 },
    { id: 'moon.example', pattern: { type: 'any' }, want: 1 },
    { id: 'moon.example', pattern: fqdn('sun.example'), want: 0 },
    { id: 'moon.example', pattern: fqdn('*.example.org'), want: 0 },
    { id: 'example', pattern: fqdn('*.example'), want: 0 },
    { id: 'ab', pattern: fqdn('ab*b'), want: 0 },
    { id: 'abcb', pattern: fqdn('a*c*cb'), want: 0 },
    { id: 'moon.example', pattern: { type: 'rfc822', value: '*' }, want: 0 },
    { id: '*.example', pattern: fqdn('moon.example'), want: 0 },
  ])('$id in $pattern.value: $want', ({ id, pattern, want }) => {
    expect(fit(fqdn(id), pattern)).toBe(want)
  })

  test('many wildcards against a long name that almost fits', () => {
    expect(fit(fqdn('a'.repeat(50_000)), fqdn(`${'*a'.repeat(30)}*b`))).toBe(0)
    expect(fit(fqdn('a'.repeat(50_000)), fqdn(`${'*a'.repeat(30)}*b*`))).toBe(0)
  })
})

test('what a peer sends never reaches a terminal unfiltered', () => {
  expect(showIdentity(fqdn('a\u001b[31mb\n'))).toBe('a?[31mb?')
  expect(showIdentity(undefined)).toBe('(unknown type)')
  expect(showIdentity({ type: 'any' })).toBe('%any')
})

describe('distinguished names', () => {
  test.each<{ id: string; pattern: string; want: number }>([
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'C=CH, O=Lab, CN=moon', want: 3 },
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'c=ch, o=lab, cn=MOON', want: 3 },
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'C=CH, O=Lab, CN=*', want: 2 },
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'C=*, O=*, CN=*', want: 2 },
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'C=CH, CN=*', want: 0 },
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'O=Lab, C=CH, CN=*', want: 0 },
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'C=CH, O=Lab, CN=m*', want: 0 },
    { id: 'C=CH, O=Lab, CN=moon', pattern: 'C=CH, O=Lab, OU=*, CN=moon', want: 0 },
  ])('$id as $pattern', ({ id, pattern, want }) => {
    expect(fit(dn(id), dn(pattern))).toBe(want)
  })

  test('shown as text, with what a terminal can bear', () => {
    expect(showIdentity(dn('C=CH, CN=moon'))).toBe('C=CH, CN=moon')
    expect(showIdentity(dn('CN=\u001b[31mred'))).toBe('CN=?[31mred')
  })

  test('only one without * is asked for by name', () => {
    expect(isExact(dn('C=CH, CN=moon'))).toBe(true)
    expect(isExact(dn('C=CH, CN=*'))).toBe(false)
    expect(isExact(fqdn('*.example'))).toBe(false)
    expect(isExact({ type: 'any' })).toBe(false)
  })
})
