import 'reflect-metadata'
import { createHash, X509Certificate as NodeCertificate } from 'node:crypto'
import {
  BasicConstraintsExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509Crl,
} from '@peculiar/x509'
import { formatDn, readDn } from '../../wire/index.ts'
import type { Output } from '../output.ts'

/** What is in a file of certificates, CRLs or keys, for people and for scripts. */

export type Shown =
  | {
      readonly kind: 'certificate'
      readonly subject: string
      readonly issuer: string
      readonly serial: string
      /** ISO 8601. */
      readonly from: string
      readonly until: string
      /** Whether it is good at the moment of looking. */
      readonly state: 'valid' | 'expired' | 'not yet valid'
      readonly ca: boolean
      readonly names: readonly string[]
      readonly key: string
      /** SHA-256 of the certificate, hex. */
      readonly fingerprint: string
    }
  | {
      readonly kind: 'crl'
      readonly issuer: string
      readonly from: string
      readonly until: string | undefined
      readonly revoked: readonly { readonly serial: string; readonly at: string }[]
    }
  | { readonly kind: 'other'; readonly label: string }

/** @throws Error for what is neither PEM nor a certificate in DER */
export function describe(octets: Uint8Array, now: number): Shown[] {
  const text = new TextDecoder('latin1').decode(octets)
  if (!text.includes('-----BEGIN')) return [certificate(octets, now)]
  return PemConverter.decodeWithHeaders(text).map(({ type, rawData }): Shown => {
    const der = new Uint8Array(rawData)
    if (type === 'CERTIFICATE') return certificate(der, now)
    if (type === 'X509 CRL') return crl(der)
    return { kind: 'other', label: type }
  })
}

function certificate(der: Uint8Array, now: number): Shown {
  const parsed = new X509Certificate(new Uint8Array(der))
  const { asymmetricKeyType, asymmetricKeyDetails } = new NodeCertificate(der).publicKey
  const detail = asymmetricKeyDetails?.namedCurve ?? asymmetricKeyDetails?.modulusLength ?? ''
  const [from, until] = [parsed.notBefore, parsed.notAfter]
  return {
    kind: 'certificate',
    subject: dn(parsed.subjectName.toArrayBuffer()),
    issuer: dn(parsed.issuerName.toArrayBuffer()),
    serial: parsed.serialNumber,
    from: from.toISOString(),
    until: until.toISOString(),
    state: now > until.getTime() ? 'expired' : now < from.getTime() ? 'not yet valid' : 'valid',
    ca: parsed.getExtension(BasicConstraintsExtension)?.ca === true,
    names: (parsed.getExtension(SubjectAlternativeNameExtension)?.names.items ?? []).map(
      ({ type, value }) => `${type}:${value}`,
    ),
    key: `${asymmetricKeyType} ${detail}`.trim(),
    fingerprint: createHash('sha256').update(der).digest('hex'),
  }
}

function crl(der: Uint8Array): Shown {
  const parsed = new X509Crl(new Uint8Array(der))
  return {
    kind: 'crl',
    issuer: dn(parsed.issuerName.toArrayBuffer()),
    from: parsed.thisUpdate.toISOString(),
    until: parsed.nextUpdate?.toISOString(),
    revoked: parsed.entries.map(({ serialNumber, revocationDate }) => ({
      serial: serialNumber,
      at: revocationDate.toISOString(),
    })),
  }
}

const dn = (der: ArrayBuffer): string => formatDn(readDn(new Uint8Array(der)))

export function print(out: Output, file: string, shown: readonly Shown[]): void {
  const { bold, red, green } = out.colours
  for (const each of shown) {
    if (each.kind === 'certificate') {
      out.line(`${bold(each.subject)}${each.ca ? ' (CA)' : ''}  ${file}`)
      out.line(`  names   ${each.names.join(', ') || 'none but the subject'}`)
      out.line(`  issuer  ${each.issuer === each.subject ? 'itself' : each.issuer}`)
      const state = each.state === 'valid' ? green(each.state) : red(each.state)
      out.line(`  valid   ${each.from.slice(0, 10)} to ${each.until.slice(0, 10)}: ${state}`)
      out.line(`  key     ${each.key}`)
      out.line(`  serial  ${each.serial}`)
      out.line(`  sha256  ${each.fingerprint}`)
    } else if (each.kind === 'crl') {
      out.line(`${bold(`CRL of ${each.issuer}`)}  ${file}`)
      out.line(`  valid   ${each.from.slice(0, 10)} to ${each.until?.slice(0, 10) ?? 'whenever the next comes'}`)
      out.line(
        `  revoked ${each.revoked.map(({ serial, at }) => `${serial} on ${at.slice(0, 10)}`).join(', ') || 'none'}`,
      )
    } else out.line(`${each.label.toLowerCase()}  ${file}`)
  }
}
