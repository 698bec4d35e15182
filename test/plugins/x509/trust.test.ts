import { ExtendedKeyUsageExtension, Extension, KeyUsageFlags } from '@peculiar/x509'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Identity } from '../../../core/contracts/settings.ts'
import { certificateTrust, rawKeyTrust } from '../../../plugins/x509/trust.ts'
import { crl, dns, type Issued, issue, trusting, type Wish } from './authority.ts'

/** What is believed of certificates and keys, and in which words it is not. */

const NOW = Date.UTC(2026, 10, 28)
const moon: Identity = { type: 'fqdn', value: 'moon.example' }
const root = await issue({ subject: 'O=Lab, CN=Root', ca: true })
const sub = await issue({ subject: 'O=Lab, CN=Sub', ca: true, issuer: root })
const other = await issue({ subject: 'O=Other, CN=Other Root', ca: true })
const own = (wish: Wish = {}): Promise<Issued> =>
  issue({ subject: 'O=Lab, CN=moon', issuer: root, names: [dns('moon.example')], ...wish })
const end = await own()

const ask = (
  trusted: readonly Issued[],
  sent: readonly Issued[],
  { identity = moon, wall = NOW, crls = [] as Uint8Array[], strict = false } = {},
) => {
  const trust = certificateTrust(trusting(trusted, crls, strict ? 'strict' : 'relaxed'))
  const judgement = trust.judge({ certificates: sent.map(({ der }) => der), rawKeys: [] }, identity, wall)
  return judgement.ok ? 'good' : judgement.why
}

const names = (wish: Wish) => own({ names: [dns('gw.example')], ...wish })

describe('good', () => {
  test.each(['rsa', 'p256', 'p384', 'p521', 'ed25519'] as const)('a key of type %s', async kind => {
    const ca = await issue({ subject: 'CN=Other kind', kind, ca: true })
    expect(ask([ca], [await own({ kind, issuer: ca })])).toBe('good')
  })

  test('until the first certificate of the chain runs out', async () => {
    const brief = await issue({ subject: 'CN=Brief', ca: true, issuer: root, until: '2026-12-24' })
    const trust = certificateTrust(trusting([root]))
    const certificates = [await own({ issuer: brief }), brief].map(({ der }) => der)
    expect(trust.judge({ certificates, rawKeys: [] }, moon, NOW)).toMatchObject({ until: Date.UTC(2026, 11, 24) })
  })

  test('an intermediate CA, in any order, beside what has nothing to do with it', async () => {
    const below = await own({ issuer: sub })
    expect(ask([root], [below, sub])).toBe('good')
    expect(ask([root], [below, other, end, sub, root])).toBe('good')
    expect(ask([sub], [below])).toBe('good')
  })

  test("the peer's own certificate as the trusted one, sent or not", async () => {
    const self = await issue({ subject: 'CN=moon', names: [dns('moon.example')] })
    expect(ask([self], [self])).toBe('good')
    expect(ask([self], [])).toBe('good')
    expect(ask([self], [], { identity: { type: 'fqdn', value: 'sun.example' } })).toMatch(/sent no certificate/)
  })

  test.each<[Identity['type'], string]>([
    ['fqdn', 'MOON.example'],
    ['rfc822', 'moon@example.org'],
    ['ipv4', '192.0.2.1'],
    ['ipv6', '2001:db8::1'],
    ['dn', '301d310c300a060355040a0c034c6142310d300b06035504030c046d6f6f6e'],
  ])('named by %s %s', async (type, value) => {
    const certificate = await own({
      names: [
        dns('moon.example'),
        { type: 'email', value: 'moon@example.org' },
        { type: 'ip', value: '192.0.2.1' },
        { type: 'ip', value: '2001:db8::1' },
      ],
    })
    expect(ask([root], [certificate], { identity: { type, value } })).toBe('good')
  })

  test('extended key usages of IKE or TLS', async () => {
    for (const usage of ['1.3.6.1.5.5.7.3.17', '1.3.6.1.5.5.7.3.1', '2.5.29.37.0'])
      expect(ask([root], [await own({ more: [new ExtendedKeyUsageExtension([usage])] })])).toBe('good')
  })
})

describe('not good, and why', () => {
  test.each<{ name: string; certificate: () => Promise<Issued>; why: RegExp }>([
    {
      name: 'another CA',
      certificate: () => own({ issuer: other }),
      why: /leads to no trusted CA: O=Other, CN=Other Root is not trusted.*trusted: O=Lab, CN=Root$/,
    },
    {
      name: 'self-signed',
      certificate: () => issue({ subject: 'CN=moon', names: [dns('moon.example')] }),
      why: /CN=moon.* is self-signed and not trusted/,
    },
    {
      name: 'expired',
      certificate: () => own({ until: '2026-05-01' }),
      why: /O=Lab, CN=moon, issued by O=Lab, CN=Root has expired on 2026-05-01/,
    },
    {
      name: 'not yet valid',
      certificate: () => own({ from: '2026-12-24' }),
      why: /not valid before 2026-12-24; is the clock/,
    },
    {
      name: 'another name',
      certificate: () => names({}),
      why: /does not name moon.example, which the peer says it is, but gw.example, O=Lab, CN=moon: it needs that subjectAltName/,
    },
    {
      name: 'not for signatures',
      certificate: () => own({ usages: KeyUsageFlags.keyAgreement }),
      why: /keyUsage lacks digitalSignature/,
    },
    {
      name: 'for another purpose',
      certificate: () => own({ more: [new ExtendedKeyUsageExtension(['1.3.6.1.5.5.7.3.3'])] }),
      why: /is not for IKE: its extKeyUsage has only 1.3.6.1.5.5.7.3.3/,
    },
    {
      name: 'a critical extension',
      certificate: () => own({ more: [new Extension('2.5.29.30', true, new Uint8Array([0x30, 0]))] }),
      why: /critical extension 2.5.29.30/,
    },
    { name: 'a short key', certificate: () => own({ kind: 'rsa', bits: 1024 }), why: /1024 bits is too short/ },
    { name: 'SHA-1', certificate: () => own({ hash: 'SHA-1' }), why: /is signed with SHA-1/ },
  ])('$name', async ({ certificate, why }) => {
    expect(ask([root], [await certificate()])).toMatch(why)
  })

  test('the intermediate CA was not sent, has expired, is none, or may have none below it', async () => {
    const below = (issuer: Issued) => own({ issuer })
    expect(ask([root], [await below(sub)])).toMatch(/O=Lab, CN=Sub is not trusted, nor did the peer send a CA/)
    const stale = await issue({ subject: 'O=Lab, CN=Stale', ca: true, issuer: root, until: '2026-03-01' })
    expect(ask([root], [await below(stale), stale])).toMatch(/CN=Stale, .* has expired on 2026-03-01/)
    const leaf = await issue({ subject: 'CN=leaf', issuer: root })
    expect(ask([root], [await below(leaf), leaf])).toMatch(/no trusted CA: CN=leaf is not trusted/)
    const last = await issue({ subject: 'O=Lab, CN=Last', ca: true, issuer: root, pathLength: 0 })
    const beyond = await issue({ subject: 'O=Lab, CN=Beyond', ca: true, issuer: last })
    expect(ask([root], [await below(last), last])).toBe('good')
    expect(ask([root], [await below(beyond), beyond, last])).toMatch(/pathLenConstraint is 0/)
  })

  test('a name borrowed from the trusted CA', async () => {
    const false_ = await issue({ subject: 'O=Lab, CN=Root', ca: true })
    expect(ask([root], [await own({ issuer: false_ }), false_])).toMatch(/leads to no trusted CA/)
  })
})

describe('revocation', () => {
  test('a CRL of the CA counts, one of somebody else does not', async () => {
    expect(ask([root], [end], { crls: [await crl(root, [end])] })).toMatch(/is revoked by its CA/)
    expect(ask([root], [end], { crls: [await crl(root, [sub])] })).toBe('good')
    const forged = await crl({ ...other, subject: root.subject }, [end])
    expect(ask([root], [end], { crls: [forged] })).toBe('good')
  })

  test('a revoked intermediate CA', async () => {
    const below = await own({ issuer: sub })
    expect(ask([root], [below, sub], { crls: [await crl(root, [sub])] })).toMatch(
      /CN=Sub, issued by O=Lab, CN=Root is revoked/,
    )
  })

  test('strict wants one that is up to date; a stale one still revokes', async () => {
    expect(ask([root], [end], { strict: true })).toMatch(/no CRL of O=Lab, CN=Root/)
    expect(ask([root], [end], { strict: true, crls: [await crl(root, [], '2026-06-01')] })).toMatch(/out of date/)
    expect(ask([root], [end], { strict: true, crls: [await crl(root, [])] })).toBe('good')
    expect(ask([root], [end], { crls: [await crl(root, [end], '2026-06-01')] })).toMatch(/revoked/)
  })
})

describe('hostile', () => {
  test('CAs that certify each other, and many of one name: bounded work, one reason', async () => {
    const a = await issue({ subject: 'CN=A', ca: true })
    const b = await issue({ subject: 'CN=B', ca: true, issuer: a })
    const again = await issue({ subject: 'CN=A', ca: true, issuer: b, like: a })
    const loop = await own({ issuer: a })
    expect(ask([root], [loop, again, b, a])).toMatch(/leads to no trusted CA/)
    const many = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        issue({ subject: 'CN=A', ca: true, issuer: a, like: a, until: `2027-02-${10 + (i % 18)}` }),
      ),
    )
    expect(ask([root], [loop, ...many])).toMatch(/too many ways|no trusted CA/)
  })

  test('a chain longer than any', async () => {
    let last = root
    const sent: Issued[] = []
    for (let i = 0; i < 12; i++) {
      last = await issue({ subject: `CN=${i}`, ca: true, issuer: last })
      sent.unshift(last)
    }
    expect(ask([root], [await own({ issuer: last }), ...sent])).toMatch(/leads to no trusted CA/)
  })

  test('octets that are no certificate, and every truncation of one', () => {
    const trust = certificateTrust(trusting([root]))
    const judge = (der: Uint8Array) => trust.judge({ certificates: [der, der], rawKeys: [der] }, moon, NOW)
    for (let i = 0; i < end.der.length; i++) expect(judge(end.der.subarray(0, i)).ok).toBe(false)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), der => judge(der).ok === false),
      { numRuns: 300 },
    )
  })

  test('mutations: never a certificate that its CA has not signed, never an exception', () => {
    const trust = certificateTrust(trusting([root]))
    fc.assert(
      fc.property(fc.nat(end.der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const der = end.der.slice()
        der[at]! ^= flip
        return trust.judge({ certificates: [der], rawKeys: [] }, moon, NOW).ok === false
      }),
      { numRuns: 500 },
    )
  })
})

describe('raw public keys', () => {
  const trust = (...known: Issued[]) => rawKeyTrust({ type: 'raw', keys: known.map(k => k.publicKey) })
  const judge = (known: Issued[], sent: readonly Uint8Array[]) => {
    const judgement = trust(...known).judge({ certificates: [], rawKeys: sent }, moon, NOW)
    return judgement.ok ? judgement.key.keyType : judgement.why
  }

  test('the one that is configured, sent or not; no other', () => {
    expect(judge([end], [end.publicKey])).toBe('p256')
    expect(judge([end], [])).toBe('p256')
    expect(judge([end, other], [other.publicKey])).toBe('p256')
    expect(judge([end], [other.publicKey])).toMatch(/none of those configured/)
    expect(judge([end, other], [])).toMatch(/sent no public key, and several are configured/)
    expect(judge([end], [Uint8Array.of(1, 2, 3)])).toMatch(/none of those configured/)
  })
})
