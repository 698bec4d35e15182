import type { Case } from '../case.ts'
import type { Lab, NatType } from '../lab.ts'
import type { PartyAuth, Product } from '../party.ts'
import { CA, END, issue, type KeyKind, revoke } from '../pki.ts'
import { until } from '../process.ts'
import { ping } from '../traffic.ts'
import { Tunnel, type TunnelOptions } from '../tunnel.ts'

/** How both ends prove who they are, with strongSwan in both roles behind NATs. */

type Auth = NonNullable<TunnelOptions['auth']>
type Pair = readonly [Product, Product]

const PAIRS: readonly Pair[] = [
  ['natweave', 'strongSwan'],
  ['strongSwan', 'natweave'],
]
const NAT: NatType = 'port-restricted'
const NAMES = { initiator: 'alice.lab.test', responder: 'moon.lab.test' } as const

/** Ping both ways, and all that `expectProtected` checks. */
async function use(tunnel: Tunnel, lab: Lab): Promise<readonly string[]> {
  const inner = await tunnel.inner()
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const back = await ping(lab, 'mars', inner.address)
  return [`ping ${there} ${back}`, ...(await tunnel.expectProtected())]
}

async function works(lab: Lab, [initiator, responder]: Pair, auth: Auth): Promise<readonly string[]> {
  return use(await Tunnel.up(lab, { initiator, responder, nat: NAT, auth }), lab)
}

interface CertificateWish {
  readonly kind?: KeyKind
  /** What natweave is told to sign with and to accept. */
  readonly signatures?: readonly string[]
  /** strongSwan's constraints: `pubkey`, `rsa/pss-sha384` … */
  readonly constraint?: string
  readonly charon?: string
  /** One more CA between the root and both ends. */
  readonly intermediate?: boolean
  /** What is wrong with alice's certificate, as moon sees it. */
  readonly flaw?: 'revoked' | 'foreign' | 'expired'
  /** Who alice says she is and what her certificate says of it; what moon takes, and so for moon itself. */
  readonly identities?: Readonly<Record<keyof typeof NAMES, Claim>>
}

interface Claim {
  readonly identity: string
  /** As OpenSSL writes subjectAltNames. */
  readonly san: string
  /** What the other end takes. */
  readonly pattern: string
}

const byName = (name: string): Claim => ({ identity: name, san: `DNS:${name}`, pattern: name })

/** Every type of identity that a certificate can name, at alice; moon takes it by a pattern where there is one. */
const IDENTITIES: readonly (readonly [string, Claim])[] = [
  ['RFC 822, wildcard', { identity: 'alice@lab.test', san: 'email:alice@lab.test', pattern: '*@lab.test' }],
  ['FQDN, wildcard', { identity: NAMES.initiator, san: `DNS:${NAMES.initiator}`, pattern: '*.lab.test' }],
  ['IPv4', { identity: '10.1.0.5', san: 'IP:10.1.0.5', pattern: '10.1.0.5' }],
  ['IPv6', { identity: '2001:db8::5', san: 'IP:2001:db8::5', pattern: '2001:db8::5' }],
  ['DN, wildcard', { identity: `O=Lab, CN=${NAMES.initiator}`, san: `DNS:${NAMES.initiator}`, pattern: 'O=Lab, CN=*' }],
]

/** Public keys and nothing else: each end has the other's (RFC 7670; charon sends none and asks for none). */
async function rawKeys(kind: KeyKind): Promise<Auth> {
  const keys = {
    initiator: await issue({ subject: '/CN=alice', kind, extensions: [] }),
    responder: await issue({ subject: '/CN=moon', kind, extensions: [] }),
  }
  const end = (role: keyof typeof NAMES, peer: keyof typeof NAMES): PartyAuth => ({
    identity: NAMES[role],
    peer: NAMES[peer],
    natweave: {
      auth: 'raw',
      key: { file: 'swanctl/private/own.key' },
      trust: { keys: { file: 'swanctl/pubkey/peer.pem' } },
    },
    swanctl: { local: 'auth = pubkey\n      pubkeys = own.pem', remote: 'auth = pubkey\n      pubkeys = peer.pem' },
    files: {
      'private/own.key': keys[role].key,
      'pubkey/own.pem': keys[role].publicKey,
      'pubkey/peer.pem': keys[peer].publicKey,
    },
  })
  return { initiator: end('initiator', 'responder'), responder: end('responder', 'initiator') }
}

/** A pre-shared key under names that are octets. */
function keyIds(): Auth {
  const end = (identity: string, peer: string): PartyAuth => ({
    identity,
    peer,
    natweave: { psk: 'a secret of octets' },
    swanctl: { local: 'auth = psk', remote: 'auth = psk', secrets: 'ike { secret = "a secret of octets" }' },
    files: {},
  })
  return { initiator: end('keyid:0a1b2c', 'keyid:ff00'), responder: end('keyid:ff00', 'keyid:0a1b2c') }
}

/** Name and password for alice, a certificate for moon. */
async function passwords(password = 'correct horse'): Promise<Auth> {
  const { responder } = await certificates()
  const { certificate, key } = responder.natweave
  return {
    initiator: {
      identity: 'alice@lab.test',
      peer: NAMES.responder,
      natweave: {
        auth: { local: 'eap-mschapv2', remote: 'certificate' },
        eap: { user: 'alice@lab.test', password },
        trust: { ca: { file: 'swanctl/x509ca/ca.pem' } },
      },
      swanctl: {
        local: 'auth = eap-mschapv2\n      eap_id = alice@lab.test',
        remote: 'auth = pubkey\n      cacerts = ca.pem',
        secrets: `eap-alice { id = alice@lab.test\n    secret = "${password}" }`,
      },
      files: { 'x509ca/ca.pem': responder.files['x509ca/ca.pem']! },
    },
    responder: {
      identity: NAMES.responder,
      peer: '*@lab.test',
      natweave: {
        auth: { local: 'certificate', remote: 'eap-mschapv2' },
        eap: { users: { 'alice@lab.test': 'correct horse' } },
        ...(certificate !== undefined && { certificate }),
        ...(key !== undefined && { key }),
      },
      swanctl: {
        local: responder.swanctl.local,
        remote: 'auth = eap-mschapv2\n      eap_id = %any',
        secrets: 'eap-alice { id = alice@lab.test\n    secret = "correct horse" }',
      },
      files: responder.files,
    },
  }
}

/** Certificates inside EAP; `only`: the gateway proves itself there too, and nowhere else (RFC 5998). */
async function eapTls(only: boolean): Promise<Auth> {
  const { initiator, responder } = await certificates()
  const sides = only ? 'eap-tls' : undefined
  return {
    initiator: {
      ...initiator,
      natweave: { ...initiator.natweave, auth: sides ?? { local: 'eap-tls', remote: 'certificate' } },
      swanctl: {
        local: 'auth = eap-tls\n      certs = own.pem',
        remote: only ? 'auth = eap-tls' : initiator.swanctl.remote,
      },
    },
    responder: {
      ...responder,
      natweave: { ...responder.natweave, auth: sides ?? { local: 'certificate', remote: 'eap-tls' } },
      swanctl: {
        local: only ? 'auth = eap-tls\n      certs = own.pem' : responder.swanctl.local,
        remote: 'auth = eap-tls',
      },
    },
  }
}

/** One CA, a certificate for each end, identities by subjectAltName. */
async function certificates(wish: CertificateWish = {}): Promise<Auth> {
  const { kind = 'p256', intermediate = false, constraint = 'pubkey', signatures, charon } = wish
  const root = await issue({ subject: '/O=Lab/CN=Lab CA', kind, extensions: CA })
  const middle = intermediate
    ? await issue({ subject: '/O=Lab/CN=Lab Sub CA', kind, issuer: root, extensions: CA })
    : undefined
  const claims = wish.identities ?? { initiator: byName(NAMES.initiator), responder: byName(NAMES.responder) }
  let crl: string | undefined
  const end = async (role: keyof typeof NAMES): Promise<PartyAuth> => {
    const name = NAMES[role]
    const { identity, san } = claims[role]
    const issuer = middle ?? root
    const flaw = role === 'initiator' ? wish.flaw : undefined
    const own = await issue({
      subject: `/O=Lab/CN=${name}`,
      kind,
      issuer: flaw === 'foreign' ? await issue({ subject: '/O=Lab/CN=Foreign CA', extensions: CA }) : issuer,
      extensions: END(san),
      days: flaw === 'expired' ? 0 : 30,
    })
    if (flaw === 'revoked') crl = await revoke(root, own)
    return {
      identity,
      peer: claims[role === 'initiator' ? 'responder' : 'initiator'].pattern,
      natweave: {
        certificate: [
          { file: 'swanctl/x509/own.pem' },
          ...(middle === undefined ? [] : [{ file: 'swanctl/x509ca/middle.pem' }]),
        ],
        key: { file: 'swanctl/private/own.key' },
        trust: {
          ca: { file: 'swanctl/x509ca/ca.pem' },
          ...(crl === undefined ? {} : { crl: { file: 'swanctl/x509crl/ca.pem' } }),
        },
        ...(signatures === undefined ? {} : { signatures: signatures as never }),
      },
      swanctl: {
        local: `auth = ${constraint}\n      certs = own.pem`,
        remote: `auth = ${constraint}\n      cacerts = ca.pem`,
      },
      ...(charon === undefined ? {} : { charon }),
      files: {
        'x509/own.pem': own.certificate,
        'private/own.key': own.key,
        'x509ca/ca.pem': root.certificate,
        ...(crl === undefined ? {} : { 'x509crl/ca.pem': crl }),
        ...(middle === undefined ? {} : { 'x509ca/middle.pem': middle.certificate }),
      },
    }
  }
  const initiator = await end('initiator')
  return { initiator, responder: await end('responder') }
}

/** moon refuses alice: nothing comes up, and each end says what it has to. */
async function refused(
  lab: Lab,
  [initiator, responder]: Pair,
  auth: Auth,
  words: { readonly alice: RegExp; readonly moon: RegExp },
): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, { initiator, responder, nat: NAT, auth })
  const why = await tunnel.alice.connect().then(
    () => 'it has connected',
    (error: unknown) => (error as Error).message,
  )
  const said = words.alice.exec(why)?.[0]
  if (said === undefined) throw new Error(`alice: not the refusal that is wanted: ${why}`)
  const logged = await until(`moon says ${words.moon}`, 5_000, async () => words.moon.exec(tunnel.moon.log())?.[0])
  return [`alice: ${said}`, `moon: ${logged}`, ...(await tunnel.expectNothing())]
}

const row = (what: string, pair: Pair, run: (lab: Lab) => Promise<readonly string[]>): Case => ({
  name: `auth ${pair.join('→')} ${what}`,
  needs: 'natweave',
  run,
})

const both = (what: string, auth: () => Promise<Auth>): Case[] =>
  PAIRS.map(pair => row(what, pair, async lab => works(lab, pair, await auth())))

/** What natweave's log says of them. */
const REFUSALS = [
  { flaw: 'foreign', natweave: /leads to no trusted CA: O=Lab, CN=Foreign CA is not trusted/ },
  { flaw: 'expired', natweave: /has expired on \d{4}-\d\d-\d\d/ },
  { flaw: 'revoked', natweave: /is revoked by its CA/ },
] as const

/** charon without RFC 7427: RSA with SHA-1 (method 1), ECDSA by methods 9 to 11. */
const CLASSIC = 'signature_authentication = no\n  signature_authentication_constraints = no'

export const cases: readonly Case[] = [
  ...(['rsa', 'p256', 'p384', 'p521', 'ed25519'] as const).flatMap(kind =>
    both(`certificates ${kind}`, () => certificates({ kind })),
  ),
  ...both('certificates rsa-pss-sha384', () =>
    certificates({ kind: 'rsa', signatures: ['rsa-pss-sha384'], constraint: 'ike:rsa/pss-sha384' }),
  ),
  ...both('certificates rsa-pkcs1-sha512', () =>
    certificates({ kind: 'rsa', signatures: ['rsa-pkcs1-sha512'], constraint: 'ike:rsa-sha512' }),
  ),
  ...both('certificates rsa, method 1', () =>
    certificates({ kind: 'rsa', signatures: ['rsa-pkcs1-sha1'], charon: CLASSIC }),
  ),
  ...(['p256', 'p384', 'p521'] as const).flatMap(kind =>
    both(`certificates ${kind}, methods 9 to 11`, () => certificates({ kind, charon: CLASSIC })),
  ),
  ...both('certificates of an intermediate CA', () => certificates({ intermediate: true })),
  ...both('raw public keys p256', () => rawKeys('p256')),
  ...both('raw public keys rsa', () => rawKeys('rsa')),
  ...IDENTITIES.flatMap(([type, claim]) =>
    both(`identity ${type}`, () =>
      certificates({ identities: { initiator: claim, responder: byName(NAMES.responder) } }),
    ),
  ),
  ...both('identity key id', async () => keyIds()),
  ...both('EAP-MSCHAPv2', () => passwords()),
  ...both('EAP-TLS', () => eapTls(false)),
  ...both('EAP-TLS alone', () => eapTls(true)),
  row('EAP-MSCHAPv2 refused: another password', ['natweave', 'strongSwan'], async lab =>
    refused(lab, ['natweave', 'strongSwan'], await passwords('wrong horse'), {
      alice: /status 6: .*user name or password is wrong.*/,
      moon: /EAP method EAP_MSCHAPV2 failed for peer.*/,
    }),
  ),
  row('EAP-MSCHAPv2 refused: another password', ['strongSwan', 'natweave'], async lab =>
    refused(lab, ['strongSwan', 'natweave'], await passwords('wrong horse'), {
      alice: /establishing CHILD_SA 'lan' failed/,
      moon: /alice@lab.test: user name or password is wrong/,
    }),
  ),
  ...REFUSALS.flatMap(({ flaw, natweave }) => [
    row(`refused: ${flaw}`, ['strongSwan', 'natweave'], async lab =>
      refused(lab, ['strongSwan', 'natweave'], await certificates({ flaw }), {
        alice: /establishing CHILD_SA 'lan' failed|AUTHENTICATION_FAILED/,
        moon: natweave,
      }),
    ),
    row(`refused: ${flaw}`, ['natweave', 'strongSwan'], async lab =>
      refused(lab, ['natweave', 'strongSwan'], await certificates({ flaw }), {
        alice: /status 6: .*(trust the CA of our certificate|has expired on).*/,
        moon: /(no trusted .* public key found|subject certificate invalid|certificate was revoked).*/,
      }),
    ),
  ]),
]
