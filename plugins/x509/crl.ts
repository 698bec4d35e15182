import { verify } from 'node:crypto'
import 'reflect-metadata'
import { X509Crl } from '@peculiar/x509'
import type { Certificate } from './certificate.ts'
import { derOf } from './pem.ts'

/** A list of revoked certificates, RFC 5280 §5. */
export interface Crl {
  readonly issuer: string
  readonly until: number
  readonly revoked: ReadonlySet<string>
  signedBy(issuer: Certificate): boolean
}

/** @throws Error for what is none, or says more than is understood here */
export function parseCrls(octets: Uint8Array): Crl[] {
  return derOf(octets, 'X509 CRL').map(der => {
    const parsed = new X509Crl(new Uint8Array(der))
    const strange = parsed.extensions.find(({ critical }) => critical)
    if (strange !== undefined) throw new Error(`a CRL with the critical extension ${strange.type} (a partial one?)`)
    const { name, hash }: { readonly name?: string; readonly hash?: { readonly name?: string } } =
      parsed.signatureAlgorithm
    // the library keeps to itself what was signed; taken apart and put together again it would have to be the same
    const signed = new Uint8Array(parsed['tbs'])
    return {
      issuer: Buffer.from(parsed.issuerName.toArrayBuffer()).toString('hex'),
      until: parsed.nextUpdate?.getTime() ?? Infinity,
      revoked: new Set(parsed.entries.map(({ serialNumber }) => serialNumber.toLowerCase())),
      signedBy: ({ key, signsCrls }) =>
        signsCrls &&
        /^(ECDSA|RSASSA-PKCS1-v1_5|Ed25519|EdDSA)$/.test(name ?? '') &&
        verify(hash?.name ?? null, signed, key, new Uint8Array(parsed.signature)),
    }
  })
}

/** Why a certificate of this issuer is not good by the CRLs; undefined when it is. */
export function revocation(
  certificate: Certificate,
  issuer: Certificate,
  crls: readonly Crl[],
  strict: boolean,
  wall: number,
): string | undefined {
  const own = crls.filter(crl => crl.issuer === certificate.issuer && crl.signedBy(issuer))
  if (own.some(({ revoked }) => revoked.has(certificate.serial))) return 'is revoked by its CA'
  if (!strict || own.some(({ until }) => wall <= until)) return undefined
  return own.length === 0
    ? `cannot be checked: there is no CRL of ${certificate.issuerName}`
    : `cannot be checked: the CRL of ${certificate.issuerName} is out of date`
}
