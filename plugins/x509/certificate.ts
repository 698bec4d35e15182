import { createHash, type KeyObject, X509Certificate as NodeCertificate } from 'node:crypto'
import 'reflect-metadata'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
} from '@peculiar/x509'
import type { Identity } from '../../core/contracts/settings.ts'
import { canonicalAddress, formatDn, readDn } from '../../core/wire/index.ts'
import { spkiOf } from './keys.ts'

/** What this host reads of one certificate, RFC 5280, RFC 4945. */
export interface Certificate {
  readonly der: Uint8Array
  readonly key: KeyObject
  /** `CN=alice, issued by CN=Example CA` */
  readonly description: string
  /** Names as hex of their DER. */
  readonly subject: string
  readonly issuer: string
  /** Subject and issuer in words. */
  readonly name: string
  readonly issuerName: string
  readonly serial: string
  readonly from: number
  readonly until: number
  /** May certify others. */
  readonly authority: boolean
  /** How many intermediate CAs may follow it. */
  readonly pathLength: number
  /** May sign CRLs. */
  readonly signsCrls: boolean
  /** Why it is not for signatures in IKE, or not at all. */
  readonly unfit: string | undefined
  /** Whom it names: subjectAltNames, the subject, the key identifier. */
  readonly identities: readonly Identity[]
  /** SHA-1 over SubjectPublicKeyInfo, as CERTREQ has it. */
  readonly keyHash: Uint8Array
  /** Whether `issuer` has issued and signed it. */
  issuedBy(issuer: Certificate): boolean
}

/** Extensions that are looked at; an unknown critical one makes a certificate useless (RFC 5280 §4.2). */
const UNDERSTOOD = [
  '2.5.29.14', // subjectKeyIdentifier
  '2.5.29.15', // keyUsage
  '2.5.29.17', // subjectAltName
  '2.5.29.19', // basicConstraints
  '2.5.29.31', // cRLDistributionPoints
  '2.5.29.32', // certificatePolicies: any will do
  '2.5.29.35', // authorityKeyIdentifier
  '2.5.29.37', // extKeyUsage
]

/** What IKE may be used with, RFC 4945 §5.1.3.12; TLS's are what many gateways have. */
const FOR_IKE = [
  '2.5.29.37.0', // anyExtendedKeyUsage
  '1.3.6.1.5.5.7.3.17', // id-kp-ipsecIKE
  '1.3.6.1.5.5.8.2.2', // iKEIntermediate
  '1.3.6.1.5.5.7.3.1', // serverAuth
  '1.3.6.1.5.5.7.3.2', // clientAuth
  '1.3.6.1.5.5.7.3.5', // ipsecEndSystem
  '1.3.6.1.5.5.7.3.6', // ipsecTunnel
  '1.3.6.1.5.5.7.3.7', // ipsecUser
]

const WEAK_HASHES = ['SHA-1', 'MD5']

/** @throws Error for what is no certificate, or has a key that this host cannot use */
export function parseCertificate(der: Uint8Array): Certificate {
  const node = new NodeCertificate(der)
  const parsed = new X509Certificate(new Uint8Array(der))
  const subject = new Uint8Array(parsed.subjectName.toArrayBuffer())
  const issuer = new Uint8Array(parsed.issuerName.toArrayBuffer())
  const key = node.publicKey
  const usages = parsed.getExtension(KeyUsagesExtension)?.usages
  const basic = parsed.getExtension(BasicConstraintsExtension)
  const may = (flag: number): boolean => usages === undefined || (usages & flag) !== 0
  return {
    der,
    key,
    description: `${words(subject)}, issued by ${words(issuer)}`,
    subject: hex(subject),
    issuer: hex(issuer),
    name: words(subject),
    issuerName: words(issuer),
    serial: parsed.serialNumber.toLowerCase(),
    from: parsed.notBefore.getTime(),
    until: parsed.notAfter.getTime(),
    authority: basic?.ca === true && may(KeyUsageFlags.keyCertSign),
    pathLength: basic?.pathLength ?? Infinity,
    signsCrls: may(KeyUsageFlags.cRLSign),
    unfit: unfit(parsed, may(KeyUsageFlags.digitalSignature | KeyUsageFlags.nonRepudiation)),
    identities: identities(parsed, subject),
    keyHash: new Uint8Array(createHash('sha1').update(spkiOf(key)).digest()),
    issuedBy: other => node.checkIssued(new NodeCertificate(other.der)) && node.verify(other.key),
  }
}

function unfit(parsed: X509Certificate, signs: boolean): string | undefined {
  const strange = parsed.extensions.find(({ critical, type }) => critical && !UNDERSTOOD.includes(type))
  if (strange !== undefined) return `has the critical extension ${strange.type}, which is not understood here`
  if (!signs) return 'is not for signatures: its keyUsage lacks digitalSignature'
  const extended = parsed.getExtension(ExtendedKeyUsageExtension)?.usages.map(String)
  if (extended !== undefined && !extended.some(usage => FOR_IKE.includes(usage)))
    return `is not for IKE: its extKeyUsage has only ${extended.join(', ')}`
  const { hash } = parsed.signatureAlgorithm
  if (hash !== undefined && WEAK_HASHES.includes(hash.name.toUpperCase())) return `is signed with ${hash.name}`
  return undefined
}

function identities(parsed: X509Certificate, subject: Uint8Array): Identity[] {
  const names = parsed.getExtension(SubjectAlternativeNameExtension)?.names.items ?? []
  const found = names.flatMap(({ type, value }): Identity[] => {
    const address = type === 'ip' ? canonicalAddress(value) : undefined
    if (address !== undefined) return [{ type: address.includes(':') ? 'ipv6' : 'ipv4', value: address }]
    return type === 'dns' ? [{ type: 'fqdn', value }] : type === 'email' ? [{ type: 'rfc822', value }] : []
  })
  if (dnWords(subject) !== undefined) found.push({ type: 'dn', value: hex(subject) })
  const keyId = parsed.getExtension(SubjectKeyIdentifierExtension)?.keyId
  if (keyId !== undefined) found.push({ type: 'keyid', value: keyId.toLowerCase() })
  return found
}

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex')

const words = (name: Uint8Array): string => dnWords(name) ?? '(a name that cannot be read)'

/** Printable, whoever wrote it. */
function dnWords(name: Uint8Array): string | undefined {
  try {
    const text = formatDn(readDn(name)).replace(/[^\x20-\x7e]/g, '?')
    return text === '' ? undefined : text
  } catch {
    return undefined
  }
}
