import type { Signer, Trust } from '../contracts/credentials.ts'
import type { EapMethod } from '../contracts/eap.ts'
import type { PeerSettings } from '../contracts/settings.ts'
import { CertEncoding, NotifyType, type Payload } from '../wire/index.ts'
import { findNotify, notify } from './notify.ts'
import { hashNotifyData, readHashes } from './signature.ts'

/** What peers tell each other of certificates and signatures before one is made: RFC 7296 §3.6, §3.7, RFC 7427 §4. */

/** Key and trust for one configured peer, where its `auth` needs them. */
export interface PeerCredentials {
  readonly signer?: Signer
  readonly trust?: Trust
  readonly eap?: EapMethod
  /** For certificates inside EAP. */
  readonly eapTrust?: Trust
}

/** What a peer has said of what it accepts. */
export interface PeerWishes {
  /** Undefined: it knows nothing of RFC 7427. */
  readonly hashes: ReadonlySet<number> | undefined
  /** SHA-1 over the SubjectPublicKeyInfo of CAs that it believes, from its CERTREQ. */
  readonly authorities: readonly Uint8Array[]
  /** It asks for raw public keys. */
  readonly rawKeys: boolean
}

export const NO_WISHES: PeerWishes = { hashes: undefined, authorities: [], rawKeys: false }

const HASH = 20
/** More than any gateway asks for; its CERTREQ is the peer's, and only compared with. */
const MAX_AUTHORITIES = 256

/** SIGNATURE_HASH_ALGORITHMS, where a signature of some peer may have to be verified. */
export function offerHashes(peers: readonly PeerSettings[]): Payload[] {
  const signing = peers.filter(({ auth }) => auth?.remote.type === 'certificate' || auth?.remote.type === 'raw')
  if (signing.length === 0) return []
  return [notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, hashNotifyData(signing.map(p => p.auth?.signatures)))]
}

/** CERTREQ for what these peers may be measured by; one payload for each encoding. */
export function requestCertificates(credentials: readonly PeerCredentials[]): Payload[] {
  const hashes = new Map<string, Uint8Array>()
  let raw = false
  for (const { trust } of credentials) {
    for (const hash of trust?.authorities ?? []) hashes.set(String(hash), hash)
    raw ||= trust?.authorities.length === 0
  }
  const data = new Uint8Array(hashes.size * HASH)
  for (const [i, hash] of [...hashes.values()].entries()) data.set(hash, i * HASH)
  return [
    ...(hashes.size === 0 ? [] : [{ type: 'CERTREQ', encoding: CertEncoding.X509_SIGNATURE, data } as const]),
    ...(raw ? [{ type: 'CERTREQ', encoding: CertEncoding.RAW_PUBLIC_KEY, data: new Uint8Array(0) } as const] : []),
  ]
}

/** From an IKE_SA_INIT message, or IKE_AUTH for what that adds. */
export function readWishes(payloads: readonly Payload[], before: PeerWishes = NO_WISHES): PeerWishes {
  const hashes = findNotify(payloads, NotifyType.SIGNATURE_HASH_ALGORITHMS)
  const request = payloads.find(p => p.type === 'CERTREQ' && p.encoding === CertEncoding.X509_SIGNATURE)
  const rawKeys = payloads.some(p => p.type === 'CERTREQ' && p.encoding === CertEncoding.RAW_PUBLIC_KEY)
  if (hashes === undefined && request === undefined && !rawKeys) return before
  const data = request?.type === 'CERTREQ' ? request.data : new Uint8Array(0)
  const count = Math.min(MAX_AUTHORITIES, Math.floor(data.length / HASH))
  const authorities = Array.from({ length: count }, (_, i) => data.slice(i * HASH, (i + 1) * HASH))
  return {
    hashes: hashes === undefined ? before.hashes : readHashes(hashes.data),
    authorities: [...before.authorities, ...authorities],
    rawKeys: before.rawKeys || rawKeys,
  }
}

/** CERT payloads of an own key; a raw one only for who asked: to others the payload is a certificate that is none. */
export const certificatePayloads = ({ certificates, publicKey }: Signer, wishes: PeerWishes): Payload[] =>
  certificates.length === 0
    ? !wishes.rawKeys
      ? []
      : [{ type: 'CERT', encoding: CertEncoding.RAW_PUBLIC_KEY, data: publicKey }]
    : certificates.map(data => ({ type: 'CERT', encoding: CertEncoding.X509_SIGNATURE, data }) as const)

/** What a peer presented, see `Presented`; a few of each kind at most. */
export function presentedBy(payloads: readonly Payload[]) {
  const of = (encoding: number): Uint8Array[] =>
    payloads.flatMap(p => (p.type === 'CERT' && p.encoding === encoding ? [p.data] : [])).slice(0, MAX_PRESENTED)
  return { certificates: of(CertEncoding.X509_SIGNATURE), rawKeys: of(CertEncoding.RAW_PUBLIC_KEY) }
}

/** More than any chain needs. */
const MAX_PRESENTED = 10
