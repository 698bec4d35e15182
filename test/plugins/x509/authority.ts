import { generateKeyPairSync, type KeyObject, webcrypto } from 'node:crypto'
import 'reflect-metadata'
import {
  BasicConstraintsExtension,
  type Extension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  X509CrlGenerator,
} from '@peculiar/x509'
import type { KeyType } from '../../../core/contracts/credentials.ts'
import type { CertificateTrust } from '../../../core/contracts/settings.ts'

/** Certificates by the library, good and bad, for tests of what natweave makes of them. */

const crypto = webcrypto as Crypto
type Crypto = NonNullable<Parameters<typeof X509CertificateGenerator.create>[1]>

const SIGNING: Readonly<
  Record<KeyType, { readonly name: string; readonly hash?: string; readonly namedCurve?: string }>
> = {
  rsa: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  p256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  p384: { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  p521: { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' },
  ed25519: { name: 'Ed25519' },
}

function pair(kind: KeyType, bits: number): { publicKey: KeyObject; privateKey: KeyObject } {
  if (kind === 'rsa') return generateKeyPairSync('rsa', { modulusLength: bits })
  if (kind === 'ed25519') return generateKeyPairSync('ed25519')
  return generateKeyPairSync('ec', { namedCurve: SIGNING[kind].namedCurve! })
}

export interface Issued {
  readonly der: Uint8Array
  /** PKCS#8, DER. */
  readonly key: Uint8Array
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  readonly subject: string
  readonly kind: KeyType
  readonly signing: webcrypto.CryptoKey
  readonly serial: string
}

export interface Wish {
  readonly subject?: string
  readonly kind?: KeyType
  readonly bits?: number
  /** Absent: signed by itself. */
  readonly issuer?: Issued
  readonly ca?: boolean
  readonly pathLength?: number
  readonly names?: JsonGeneralNames
  /** Absent: what fits `ca`. */
  readonly usages?: number
  readonly more?: readonly Extension[]
  readonly from?: string
  readonly until?: string
  readonly hash?: string
  /** The key of another certificate, so that two certify each other. */
  readonly like?: Issued
}

let serials = 0x1000

export async function issue(wish: Wish = {}): Promise<Issued> {
  const { subject = 'C=CH, O=Lab, CN=end', kind = 'p256', issuer, ca = false, like } = wish
  const { publicKey, privateKey } = pair(kind, wish.bits ?? 2048)
  const pkcs8 = like?.key ?? new Uint8Array(privateKey.export({ format: 'der', type: 'pkcs8' }))
  const spki = like?.publicKey ?? new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
  const algorithm = { ...SIGNING[kind], ...(wish.hash !== undefined && { hash: wish.hash }) }
  const signing = await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, true, ['sign'])
  const open = await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify'])
  const serial = (++serials).toString(16)
  const usages =
    wish.usages ?? (ca ? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign : KeyUsageFlags.digitalSignature)
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: serial,
      subject,
      issuer: issuer?.subject ?? subject,
      notBefore: new Date(wish.from ?? '2026-01-01'),
      notAfter: new Date(wish.until ?? '2027-01-01'),
      publicKey: open as never,
      signingKey: (issuer?.signing ?? signing) as never,
      signingAlgorithm: {
        ...SIGNING[issuer?.kind ?? kind],
        ...(wish.hash !== undefined && { hash: wish.hash }),
      } as never,
      extensions: [
        new BasicConstraintsExtension(ca, wish.pathLength, true),
        new KeyUsagesExtension(usages, true),
        ...(wish.names === undefined ? [] : [new SubjectAlternativeNameExtension(wish.names)]),
        ...(wish.more ?? []),
      ],
    },
    crypto,
  )
  return { der: new Uint8Array(certificate.rawData), key: pkcs8, publicKey: spki, subject, kind, signing, serial }
}

export async function crl(ca: Issued, revoked: readonly Issued[], until = '2027-01-01'): Promise<Uint8Array> {
  const list = await X509CrlGenerator.create(
    {
      issuer: ca.subject,
      thisUpdate: new Date('2026-01-01'),
      nextUpdate: new Date(until),
      entries: revoked.map(({ serial }) => ({ serialNumber: serial, revocationDate: new Date('2026-02-01') })),
      signingKey: ca.signing as never,
      signingAlgorithm: SIGNING[ca.kind] as never,
    },
    crypto,
  )
  return new Uint8Array(list.rawData)
}

export const dns = (value: string) => ({ type: 'dns', value }) as const

/** What a peer is measured by. */
export const trusting = (
  ca: readonly Issued[],
  crls: readonly Uint8Array[] = [],
  revocation: CertificateTrust['revocation'] = 'relaxed',
): CertificateTrust => ({ type: 'certificate', ca: ca.map(({ der }) => der), crls, revocation })
