import type { Credentials, Signer } from '../../core/contracts/credentials.ts'
import type { KeySource } from '../../core/contracts/settings.ts'
import { parseCertificate } from './certificate.ts'
import { keyTypeOf, privateKey, signWith, spkiOf } from './keys.ts'
import { derOf } from './pem.ts'
import { certificateTrust, rawKeyTrust } from './trust.ts'

/** Keys and certificates as octets, which is what files are. */
export const credentials: Credentials = {
  name: 'x509',
  signer: source => (typeof source.key === 'string' ? undefined : signer(source.certificates, source.key)),
  trust: settings => (settings.type === 'raw' ? rawKeyTrust(settings) : certificateTrust(settings)),
}

function signer(certificates: KeySource['certificates'], octets: Uint8Array): Signer {
  const key = privateKey(octets)
  const keyType = keyTypeOf(key)
  const chain = certificates.flatMap(file => derOf(file, 'CERTIFICATE')).map(parseCertificate)
  const [own] = chain
  const publicKey = spkiOf(key)
  if (own !== undefined && !Buffer.from(spkiOf(own.key)).equals(publicKey))
    throw new Error(`the private key is not the one of the certificate of ${own.description}`)
  return {
    keyType,
    publicKey,
    // a root that a file brings along proves nothing to a peer
    certificates: chain.filter(({ subject, issuer }, i) => i === 0 || subject !== issuer).map(({ der }) => der),
    identities: own?.identities ?? [],
    description: own?.description ?? 'a public key without certificate',
    invalid(wall) {
      if (own === undefined || (wall >= own.from && wall <= own.until)) return undefined
      const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
      return wall < own.from ? `is not valid before ${day(own.from)}` : `has expired on ${day(own.until)}`
    },
    sign: (scheme, form, data) => signWith(key, scheme, form, data),
  }
}
