import type { CertificateTrust, Identity, KeySource, RawKeyTrust } from './settings.ts'

/** Kind of a public key; elliptic ones by their curve. */
export type KeyType = 'rsa' | 'p256' | 'p384' | 'p521' | 'ed25519'

/** How a signature is made. ECDSA on the curve of the key; RSASSA-PSS with MGF1 of the same hash and a salt as long as it. */
export const SIGNATURE_SCHEMES = [
  'ed25519',
  'ecdsa-sha256',
  'ecdsa-sha384',
  'ecdsa-sha512',
  'rsa-pss-sha256',
  'rsa-pss-sha384',
  'rsa-pss-sha512',
  'rsa-pkcs1-sha256',
  'rsa-pkcs1-sha384',
  'rsa-pkcs1-sha512',
  'rsa-pkcs1-sha1',
] as const
export type SignatureScheme = (typeof SIGNATURE_SCHEMES)[number]

/** Octets of an ECDSA signature: DER `Ecdsa-Sig-Value`, or r and s one after the other, each as long as the field. */
export type EcdsaForm = 'der' | 'raw'

/** This host's own key, wherever it is kept, with what goes with it. */
export interface Signer {
  readonly keyType: KeyType
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array
  /** DER; first the key's own certificate, then those of intermediate CAs. Empty: the key goes without (RFC 7670). */
  readonly certificates: readonly Uint8Array[]
  /** Whom the certificate names: its subjectAltNames, then its subject. Empty without a certificate. */
  readonly identities: readonly Identity[]
  /** Which certificate it is, in words: `CN=alice, issued by CN=Example CA`. */
  readonly description: string
  /** What speaks against the own certificate at that moment (`has expired on 2026-11-28`); ms since 1970. */
  invalid(wall: number): string | undefined
  /** Synchronous: a handshake waits for it. Only called with schemes that fit the type of the key. */
  sign(scheme: SignatureScheme, form: EcdsaForm, data: Uint8Array): Uint8Array
}

/** A public key of the peer that was found good. */
export interface Verifier {
  readonly keyType: KeyType
  /** Which key it is, in words. */
  readonly description: string
  /** @returns false for whatever is no signature; never throws */
  verify(scheme: SignatureScheme, form: EcdsaForm, data: Uint8Array, signature: Uint8Array): boolean
}

/** What a peer sent of itself in CERT payloads. */
export interface Presented {
  /** DER, encoding 4, as sent: the first is said to be the peer's own. */
  readonly certificates: readonly Uint8Array[]
  /** SubjectPublicKeyInfo, DER, encoding 15 (RFC 7670). */
  readonly rawKeys: readonly Uint8Array[]
}

export type Judgement =
  /** `until`: wall clock, ms, after which that will not be so any more (certificates run out); absent: always. */
  | { readonly ok: true; readonly key: Verifier; readonly until?: number }
  /** `why` in words for the log of this host, with what would mend it. */
  | { readonly ok: false; readonly why: string }

/** Which keys of a peer are believed. */
export interface Trust {
  /** What a CERTREQ asks for: SHA-1 over the SubjectPublicKeyInfo of each CA, 20 octets; empty for raw keys. */
  readonly authorities: readonly Uint8Array[]
  /** The CAs, or keys, in words. */
  readonly description: string
  /**
   * Whether something presented is a key of `identity` that an authority vouches for at that moment. What is presented may
   * be any octets: never throws, in time that is bounded whatever they are.
   *
   * @param wall - ms since 1970
   */
  judge(presented: Presented, identity: Identity, wall: number): Judgement
}

/**
 * Certificates and keys: parses them, builds chains, signs and verifies. Several may be loaded; for each setting the first
 * that does not answer undefined serves it, so that one for keys in a token stands in front of the usual one.
 */
export interface Credentials {
  readonly name: string
  /** @throws Error saying what is wrong with the octets; undefined when another provider has to serve this */
  signer(source: KeySource): Signer | undefined
  /** The same for what a peer is measured by. */
  trust(settings: CertificateTrust | RawKeyTrust): Trust | undefined
}
