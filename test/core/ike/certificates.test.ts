import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { SignatureScheme } from '../../../core/contracts/credentials.ts'
import type { AuthSettings, PeerSettings } from '../../../core/contracts/settings.ts'
import { resolveCredentials } from '../../../core/credentials.ts'
import type { PeerCredentials } from '../../../core/ike/credentials.ts'
import { signedOctets } from '../../../core/ike/keys.ts'
import { chooseSignature, hashNotifyData, readHashes, readSignature } from '../../../core/ike/signature.ts'
import { AuthMethod, Prf, parsePayloads, payloadOf } from '../../../core/wire/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { credentials } from '../../../plugins/x509/credentials.ts'
import { dns, type Issued, issue, trusting } from '../../plugins/x509/authority.ts'
import { chart, moon, Pair, type PairOptions, sun } from './pair.ts'
import { hex, strongswan } from './vectors.ts'

/** IKE_AUTH by signatures. */

const root = await issue({ subject: 'CN=Root', ca: true })
const sub = await issue({ subject: 'CN=Sub', ca: true, issuer: root })
const foreign = await issue({ subject: 'CN=Foreign', ca: true })
const forHost = (name: string, issuer = root, kind: Issued['kind'] = 'p256') =>
  issue({ subject: `CN=${name}`, issuer, kind, names: [dns(`${name}.example`)] })

interface Side {
  readonly own: readonly Issued[]
  readonly trusted: readonly Issued[]
  readonly signatures?: readonly SignatureScheme[]
}

const auth = ({ own, trusted, signatures }: Side): AuthSettings => ({
  local: { type: 'signature', certificates: own.map(({ der }) => der), key: own[0]!.key },
  remote: trusting(trusted),
  ...(signatures !== undefined && { signatures }),
})

const opened = (peer: PeerSettings): Record<string, PeerCredentials> =>
  Object.fromEntries(
    resolveCredentials({ peers: { [peer.name]: peer }, pools: {}, policy: { rules: [] } } as never, [credentials]),
  )

/** A pair whose left end (moon) and right end (sun) authenticate like this. */
function pair(left: AuthSettings, right: AuthSettings, options: PairOptions = {}): Pair {
  const [theSun, theMoon] = [sun({ auth: left, ...options.sun }), moon({ auth: right, ...options.moon })]
  return new Pair({
    ...options,
    sun: { auth: left, ...options.sun },
    moon: { auth: right, ...options.moon },
    left: { credentials: opened(theSun), ...options.left },
    right: { credentials: opened(theMoon), ...options.right },
  })
}

const ends = async (kind: Issued['kind'], signatures?: readonly SignatureScheme[]) => {
  const more = signatures === undefined ? {} : { signatures }
  const [left, right] = [await forHost('moon', root, kind), await forHost('sun', root, kind)]
  return [auth({ own: [left], trusted: [root], ...more }), auth({ own: [right], trusted: [root], ...more })] as const
}

describe('both ends by certificates', () => {
  test.each(['rsa', 'p256', 'p384', 'p521', 'ed25519'] as const)('%s', async kind => {
    const p = pair(...(await ends(kind))).established()
    expect(p.left.of('established')).toHaveLength(1)
    expect(p.right.of('established')).toHaveLength(1)
    const by = {
      rsa: 'rsa-pss-sha256',
      p256: 'ecdsa-sha256',
      p384: 'ecdsa-sha384',
      p521: 'ecdsa-sha512',
      ed25519: 'ed25519',
    }
    expect([...p.left.sas.values()].map(sa => sa.proof.peer)).toEqual([`${by[kind]}, CN=sun, issued by CN=Root`])
  })

  test('a ticket lasts no longer than the certificate, on either side and after it was used', async () => {
    const brief = (name: string, until: string) =>
      issue({ subject: `CN=${name}`, issuer: root, names: [dns(`${name}.example`)], until })
    // the pair's clock begins on 28 November 2026 at midnight
    const [left, right] = [await brief('moon', '2026-11-28T03:00Z'), await brief('sun', '2026-11-28T02:00Z')]
    const p = pair(auth({ own: [left], trusted: [root] }), auth({ own: [right], trusted: [root] })).established()
    const [first] = p.left.of('ticket').map(e => e.ticket)
    expect(first!.until).toBe(2 * 3_600_000)
    expect(p.right.sa.proof.until).toBe(Date.UTC(2026, 10, 28, 3))
    for (const end of [p.left, p.right]) end.sas.clear()
    p.resume(first!)
    p.settle()
    expect(p.left.of('ticket').at(-1)!.ticket.until).toBe(2 * 3_600_000)
    expect(p.right.sa.proof.until).toBe(Date.UTC(2026, 10, 28, 3))
  })

  test('what goes over the wire', async () => {
    const p = pair(...(await ends('p256'))).established()
    const [asked, answered, ...authentication] = chart(p.left)
    expect(asked).toContain('N(SIGNATURE_HASH_ALGORITHMS)')
    expect(answered).toMatch(/ CERTREQ .*N\(SIGNATURE_HASH_ALGORITHMS\)/)
    expect(authentication).toEqual([
      '> IKE_AUTH request 1 [ IDi CERT N(INITIAL_CONTACT) CERTREQ IDr AUTH SA TSi TSr ]',
      '< IKE_AUTH response 1 [ IDr CERT AUTH SA TSi TSr ]',
    ])
  })

  test('an intermediate CA goes along', async () => {
    const left = auth({ own: [await forHost('moon', sub), sub], trusted: [root] })
    const [, right] = await ends('p256')
    const p = pair(left, right).established()
    expect(p.right.of('established')).toHaveLength(1)
    expect(chart(p.left)[2]).toContain('[ IDi CERT CERT N(')
  })

  test('one side by a certificate, the other by the pre-shared key', async () => {
    const [left, right] = await ends('p256')
    const p = pair({ ...left, remote: { type: 'psk' } }, { ...right, local: { type: 'psk' } }).established()
    expect([p.left, p.right].map(end => end.of('established').length)).toEqual([1, 1])
  })

  test('raw public keys', async () => {
    const [left, right] = [await forHost('moon'), await forHost('sun')]
    const raw = (own: Issued, peer: Issued): AuthSettings => ({
      local: { type: 'signature', certificates: [], key: own.key },
      remote: { type: 'raw', keys: [peer.publicKey] },
    })
    const p = pair(raw(left, right), raw(right, left)).established()
    expect([p.left, p.right].map(end => end.of('established').length)).toEqual([1, 1])
    const wrong = pair(raw(left, right), raw(right, right)).established()
    expect(wrong.right.of('closed')[0]?.why).toMatch(/public key that the peer sent is none of those configured/)
  })
})

describe('refused, each side in its own words', () => {
  const refused = async (left: AuthSettings, right: AuthSettings, options?: PairOptions) => {
    const p = pair(left, right, options).established()
    p.run(70_000)
    expect([p.left.of('established').length + p.right.of('established').length]).not.toEqual([2])
    expect([p.left.sas.size, p.right.sas.size]).toEqual([0, 0])
    return { left: p.left.of('closed')[0]!.why, right: p.right.of('closed')[0]!.why, chart: chart(p.left) }
  }

  test('the responder does not trust the CA: nothing but AUTHENTICATION_FAILED tells the initiator', async () => {
    const [, right] = await ends('p256')
    const left = auth({ own: [await forHost('moon', foreign)], trusted: [root] })
    const why = await refused(left, right)
    expect(why.right).toMatch(/moon.example: .* leads to no trusted CA: CN=Foreign is not trusted/)
    expect(why.left).toMatch(
      /trust the CA of our certificate CN=moon, issued by CN=Foreign, see that it is not revoked, and accept the identity moon.example/,
    )
    expect(why.chart.at(-1)).toBe('< IKE_AUTH response 1 [ N(AUTHENTICATION_FAILED) ]')
  })

  test('the initiator does not trust the CA, and tells so', async () => {
    const [left] = await ends('p256')
    const right = auth({ own: [await forHost('sun', foreign)], trusted: [root] })
    const why = await refused(left, right)
    expect(why.left).toMatch(/CN=Foreign is not trusted.*\(peers.sun.trust\)/)
    expect(why.right).toMatch(/does not accept our identity or key/)
  })

  test('the certificate names somebody else', async () => {
    const [left, right] = await ends('p256')
    const fqdn = (value: string) => ({ type: 'fqdn', value }) as const
    const p = pair(left, right, { right: {} })
    const other = new Pair({
      ...{ sun: { auth: left, remoteId: fqdn('*.example') }, moon: { auth: right, localId: fqdn('venus.example') } },
      left: { credentials: p.left.options.credentials! },
      right: { credentials: p.right.options.credentials! },
    }).established()
    expect(other.left.of('closed')[0]?.why).toMatch(/CN=sun, issued by CN=Root does not name venus.example/)
  })

  test('our own certificate has expired', async () => {
    const stale = await issue({ subject: 'CN=moon', issuer: root, names: [dns('moon.example')], until: '2026-06-01' })
    const [, right] = await ends('p256')
    const why = await refused(auth({ own: [stale], trusted: [root] }), right)
    expect(why.left).toMatch(/our certificate CN=moon, issued by CN=Root has expired on 2026-06-01; renew it/)
    expect(why.right).toMatch(/has expired on 2026-06-01/)
  })

  test('no common hash', async () => {
    const [left] = await ends('rsa', ['rsa-pss-sha512'])
    const [, right] = await ends('rsa', ['rsa-pss-sha256'])
    const why = await refused(left, right)
    expect(why.left).toMatch(
      /no common signature: this host could use rsa-pss-sha512, the peer takes the hashes SHA2_256/,
    )
  })

  test('a scheme that the other side does not allow, with a hash that it does', async () => {
    const [left] = await ends('rsa', ['rsa-pkcs1-sha256'])
    const [, right] = await ends('rsa', ['rsa-pss-sha256'])
    const why = await refused(left, right)
    expect(why.right).toMatch(/signs with rsa-pkcs1-sha256, which `signatures` does not allow/)
  })

  test('a pre-shared key where a certificate is wanted, and the other way round', async () => {
    const [left, right] = await ends('p256')
    const psk: AuthSettings = { local: { type: 'psk' }, remote: { type: 'psk' } }
    expect((await refused(psk, right)).right).toMatch(/with a pre-shared key, not with a certificate/)
    expect((await refused(left, psk)).right).toMatch(/signature \(method 9\), not with a pre-shared key/)
  })
})

describe('which signature', () => {
  const all = readHashes(hashNotifyData([undefined]))

  test('hashes on the wire', () => {
    expect([...hashNotifyData([undefined])]).toEqual([0, 2, 0, 3, 0, 4, 0, 5])
    expect([...hashNotifyData([['rsa-pkcs1-sha1'], ['ed25519']])]).toEqual([0, 1, 0, 5])
    expect([...readHashes(Uint8Array.of(0, 2, 0))]).toEqual([2])
  })

  test.each<{ given: Parameters<typeof chooseSignature>; want: object | RegExp }>([
    { given: ['rsa', undefined, all], want: { method: 14, scheme: 'rsa-pss-sha256' } },
    { given: ['rsa', undefined, new Set([3])], want: { method: 14, scheme: 'rsa-pss-sha384' } },
    { given: ['rsa', ['rsa-pkcs1-sha512'], all], want: { method: 14, scheme: 'rsa-pkcs1-sha512' } },
    { given: ['p384', undefined, all], want: { method: 14, scheme: 'ecdsa-sha384' } },
    { given: ['p256', undefined, undefined], want: { method: 9, scheme: 'ecdsa-sha256', form: 'raw' } },
    { given: ['p384', undefined, undefined], want: { method: 10, scheme: 'ecdsa-sha384', form: 'raw' } },
    { given: ['p521', undefined, undefined], want: { method: 11, scheme: 'ecdsa-sha512', form: 'raw' } },
    { given: ['rsa', undefined, undefined], want: /SHA-1 only.*allow rsa-pkcs1-sha1/ },
    { given: ['rsa', ['rsa-pkcs1-sha1'], undefined], want: { method: 1, scheme: 'rsa-pkcs1-sha1' } },
    { given: ['ed25519', undefined, undefined], want: /does not know ed25519/ },
    { given: ['ed25519', undefined, new Set([2])], want: /no common signature.*ed25519.*SHA2_256/ },
  ])('$given.0 $given.1', ({ given, want }) => {
    const chosen = chooseSignature(...given)
    if (want instanceof RegExp) expect(chosen).toMatch(want)
    else expect(chosen).toMatchObject(want)
  })

  test.each<{ name: string; method: number; data: string; key: Issued['kind'] }>([
    { name: 'nothing', method: 14, data: '', key: 'p256' },
    { name: 'a length and no more', method: 14, data: 'ff', key: 'p256' },
    { name: 'an algorithm nobody knows', method: 14, data: '0c300a06082a8648ce3d0403090000', key: 'p256' },
    { name: 'ECDSA with an RSA key', method: 14, data: '0c300a06082a8648ce3d0403020000', key: 'rsa' },
    { name: 'a method of another curve', method: 10, data: '0000', key: 'p256' },
    { name: 'SHA-1 unasked', method: 1, data: '0000', key: 'rsa' },
  ])('not accepted: $name', ({ method, data, key }) => {
    expect(readSignature({ method, data: hex(data) }, key, undefined)).toBeTypeOf('string')
  })
})

const lab = readFileSync(new URL('../../vectors/strongswan/rw-cert.certs.pem', import.meta.url))

test.each(['initiator', 'responder'] as const)('the AUTH of a recorded strongSwan: %s', who => {
  const { messages, ikeSas } = strongswan('rw-cert').hosts.alice
  const [init, answer, request, response] = messages
  const initiator = who === 'initiator'
  const message = initiator ? request! : response!
  const payloads = parsePayloads(initiator ? 35 : 36, hex(message.plaintext!))
  const id = payloadOf(payloads, initiator ? 'IDi' : 'IDr')!
  const certificates = payloads.flatMap(p => (p.type === 'CERT' ? [p.data] : []))
  const nonce = (initiator ? answer! : init!).payloads.find(p => p.name === 'Nonce')!.body
  const body = message.payloads.find(p => p.name === (initiator ? 'IDi' : 'IDr'))!.body
  const skp = hex(initiator ? ikeSas[0]!.SK_pi : ikeSas[0]!.SK_pr)
  const own = hex((initiator ? init! : answer!).raw)
  const octets = signedOctets(nodeCryptoProvider, Prf.PRF_HMAC_SHA2_256, own, hex(nonce), skp, hex(body))

  const trust = credentials.trust({ type: 'certificate', ca: [lab], crls: [], revocation: 'relaxed' })!
  const identity = { type: 'fqdn', value: new TextDecoder().decode(id.data) } as const
  const judgement = trust.judge({ certificates, rawKeys: [] }, identity, RECORDED)
  if (!judgement.ok) throw new Error(judgement.why)
  const auth = payloadOf(payloads, 'AUTH')!
  expect(auth.method).toBe(AuthMethod.DIGITAL_SIGNATURE)
  const signed = readSignature(auth, judgement.key.keyType, undefined)
  if (typeof signed === 'string') throw new Error(signed)
  expect(judgement.key.verify(signed.scheme, signed.form, octets, signed.signature)).toBe(true)
  octets[0]! ^= 1
  expect(judgement.key.verify(signed.scheme, signed.form, octets, signed.signature)).toBe(false)
})

/** The certificates of the recording were made for 30 days. */
const RECORDED = Date.UTC(2026, 10, 28)
