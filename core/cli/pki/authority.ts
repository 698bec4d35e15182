import 'reflect-metadata'
import { generateKeyPairSync, type KeyObject, randomBytes, webcrypto } from 'node:crypto'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
  type X509Crl,
  type X509CrlEntryParams,
  X509CrlGenerator,
} from '@peculiar/x509'
import { UsageError } from '../../errors.ts'
import { canonicalAddress, parseDn } from '../../wire/index.ts'

/** A small certification authority: one root, certificates for nodes, a CRL. All in PEM. */

export const KEY_TYPES = ['p256', 'p384', 'p521', 'ed25519', 'rsa'] as const
export type PkiKeyType = (typeof KEY_TYPES)[number]

const DAY_MS = 86_400_000
const RSA_BITS = 3_072
/** id-kp-ipsecIKE (RFC 4945), and TLS's, which some gateways insist on. */
const NODE_USAGES = ['1.3.6.1.5.5.7.3.17', '1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']

export interface Pem {
  readonly certificate: string
  /** PKCS#8. */
  readonly key: string
}

export interface Validity {
  /** Wall clock, ms since 1970. */
  readonly from: number
  readonly days: number
}

/** What the library takes as CryptoKey and Algorithm; Node's types have other names for them. */
type Crypto = NonNullable<Parameters<typeof X509CertificateGenerator.create>[1]>
type CertificateParameters = Parameters<typeof X509CertificateGenerator.create>[0]
const crypto = webcrypto as unknown as Crypto

export async function createAuthority(name: string, type: PkiKeyType, validity: Validity): Promise<Pem> {
  const { privateKey, publicKey } = keyPair(type)
  const open = await imported(publicKey, 'verify')
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(),
      name: subject(name),
      ...dates(validity),
      keys: { publicKey: open, privateKey: await imported(privateKey, 'sign') } as never,
      signingAlgorithm: algorithm(privateKey) as never,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(open as never, false, crypto),
      ],
    },
    crypto,
  )
  return { certificate: `${certificate.toString('pem')}\n`, key: pem(privateKey) }
}

/**
 * A certificate for the identities of one node, the first also as its common name.
 *
 * @throws UsageError for an identity that no certificate can name
 */
export async function issueCertificate(
  authority: { readonly certificate: X509Certificate; readonly key: KeyObject },
  identities: readonly string[],
  type: PkiKeyType,
  validity: Validity,
): Promise<Pem> {
  const { privateKey, publicKey } = keyPair(type)
  const open = await imported(publicKey, 'verify')
  const parameters: CertificateParameters = {
    serialNumber: serial(),
    subject: subject(identities[0]!),
    issuer: authority.certificate.subjectName as never,
    ...dates(validity),
    publicKey: open as never,
    signingKey: (await imported(authority.key, 'sign')) as never,
    signingAlgorithm: algorithm(authority.key) as never,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([...NODE_USAGES]),
      ...(alternativeNames(identities).length > 0
        ? [new SubjectAlternativeNameExtension(alternativeNames(identities))]
        : []),
      await SubjectKeyIdentifierExtension.create(open as never, false, crypto),
      await AuthorityKeyIdentifierExtension.create(authority.certificate.publicKey as never, false, crypto),
    ],
  }
  const certificate = await X509CertificateGenerator.create(parameters, crypto)
  return { certificate: `${certificate.toString('pem')}\n`, key: pem(privateKey) }
}

/** A CRL of what an older one has, and `revoked` on top. */
export async function createCrl(
  authority: { readonly certificate: X509Certificate; readonly key: KeyObject },
  older: X509Crl | undefined,
  revoked: readonly X509Certificate[],
  { from, days }: Validity,
): Promise<string> {
  const entries = new Map<string, X509CrlEntryParams>()
  for (const { serialNumber, revocationDate } of older?.entries ?? [])
    entries.set(serialNumber, { serialNumber, revocationDate })
  for (const { serialNumber } of revoked)
    if (!entries.has(serialNumber)) entries.set(serialNumber, { serialNumber, revocationDate: new Date(from) })
  const crl = await X509CrlGenerator.create(
    {
      issuer: authority.certificate.subjectName as never,
      thisUpdate: new Date(from),
      nextUpdate: new Date(from + days * DAY_MS),
      entries: [...entries.values()],
      signingKey: (await imported(authority.key, 'sign')) as never,
      signingAlgorithm: algorithm(authority.key) as never,
    },
    crypto,
  )
  // the label that RFC 7468 §6 gives it; the library has another
  return `${PemConverter.encode(crl.rawData, 'X509 CRL')}\n`
}

/** `gw.example.org`, `alice@example.org`, `192.0.2.1`; a distinguished name is the subject, and no alternative name. */
function alternativeNames(identities: readonly string[]): JsonGeneralNames {
  return identities.flatMap((identity, i): JsonGeneralNames => {
    const address = canonicalAddress(identity)
    if (address !== undefined) return [{ type: 'ip', value: address }]
    if (identity.includes('=')) {
      if (i === 0 && parseDn(identity) !== undefined) return []
      throw new UsageError(
        'USAGE_IDENTITY',
        `${identity}: a distinguished name is wanted first, as C=CH, O=Example, CN=alice`,
      )
    }
    if (/^[^@\s]+@[^@\s]+$/.test(identity)) return [{ type: 'email', value: identity }]
    if (/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/i.test(identity)) return [{ type: 'dns', value: identity }]
    throw new UsageError(
      'USAGE_IDENTITY',
      `${identity}: a domain name, user@host, an address or a distinguished name is wanted`,
    )
  })
}

/** A distinguished name as it is, everything else as common name. */
const subject = (name: string): string =>
  parseDn(name) === undefined ? `CN=${name.replace(/[,+"\\<>;=#]/g, '\\$&')}` : name

const serial = (): string => {
  const octets = randomBytes(16)
  octets[0]! &= 0x7f
  octets[0]! |= 0x40
  return octets.toString('hex')
}

const dates = ({ from, days }: Validity) => ({ notBefore: new Date(from), notAfter: new Date(from + days * DAY_MS) })

const CURVES = { p256: 'P-256', p384: 'P-384', p521: 'P-521' } as const

function keyPair(type: PkiKeyType): { publicKey: KeyObject; privateKey: KeyObject } {
  if (type === 'rsa') return generateKeyPairSync('rsa', { modulusLength: RSA_BITS })
  if (type === 'ed25519') return generateKeyPairSync('ed25519')
  return generateKeyPairSync('ec', { namedCurve: CURVES[type] })
}

const pem = (key: KeyObject): string => key.export({ format: 'pem', type: 'pkcs8' }).toString()

/** How a key signs certificates. */
function algorithm({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject) {
  if (asymmetricKeyType === 'ed25519') return { name: 'Ed25519' }
  if (asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  const curve = { prime256v1: ['P-256', 'SHA-256'], secp384r1: ['P-384', 'SHA-384'], secp521r1: ['P-521', 'SHA-512'] }[
    asymmetricKeyDetails?.namedCurve ?? ''
  ]
  if (curve === undefined) throw new UsageError('USAGE_KEY', `keys of type ${asymmetricKeyType} cannot sign here`)
  return { name: 'ECDSA', namedCurve: curve[0]!, hash: curve[1]! }
}

function imported(key: KeyObject, usage: 'sign' | 'verify'): Promise<webcrypto.CryptoKey> {
  const [format, type] = usage === 'sign' ? (['pkcs8', 'pkcs8'] as const) : (['spki', 'spki'] as const)
  return webcrypto.subtle.importKey(format, key.export({ format: 'der', type }), algorithm(key), true, [usage])
}
