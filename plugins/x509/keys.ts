import { constants, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import type { EcdsaForm, KeyType, SignatureScheme, Verifier } from '../../core/contracts/credentials.ts'
import { blocks } from './pem.ts'

/** Keys by the OpenSSL inside Node. */

const CURVES: Readonly<Record<string, KeyType>> = { prime256v1: 'p256', secp384r1: 'p384', secp521r1: 'p521' }
/** RFC 8247 §4. */
const MIN_RSA_BITS = 2048

/** @throws Error for a key that IKE has no use for */
export function keyTypeOf(key: KeyObject): KeyType {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'ed25519') return 'ed25519'
  const curve = CURVES[details?.namedCurve ?? '']
  if (type === 'ec' && curve !== undefined) return curve
  if (type !== 'rsa') throw new Error(`keys of type ${type} ${details?.namedCurve ?? ''} are not supported`)
  const bits = details?.modulusLength ?? 0
  if (bits < MIN_RSA_BITS) throw new Error(`an RSA key of ${bits} bits is too short, ${MIN_RSA_BITS} are wanted`)
  return 'rsa'
}

/** @param octets - PEM, or DER as PKCS#8, PKCS#1 or SEC 1. @throws Error */
export function privateKey(octets: Uint8Array): KeyObject {
  const pem = blocks(octets)
  const [block] = pem
  if (
    pem.some(({ label }) => label.includes('ENCRYPTED')) ||
    /Proc-Type: 4,ENCRYPTED/.test(Buffer.from(octets).toString('latin1'))
  )
    throw new Error('the private key is encrypted; decrypt it (openssl pkey -in KEY -out PLAIN) and chmod 600')
  if (block !== undefined && block.label === '') {
    for (const type of ['pkcs8', 'pkcs1', 'sec1'] as const)
      try {
        return createPrivateKey({ key: Buffer.from(block.der), format: 'der', type })
      } catch {
        // another form
      }
    throw new Error('no private key: PKCS#8, PKCS#1 or SEC 1 is wanted')
  }
  try {
    return createPrivateKey(Buffer.from(octets))
  } catch {
    throw new Error(`no private key, but ${block?.label}`)
  }
}

/** @throws Error when it is no SubjectPublicKeyInfo */
export const publicKey = (spki: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })

export const spkiOf = (key: KeyObject): Uint8Array => {
  const open = key.type === 'private' ? createPublicKey(key) : key
  return new Uint8Array(open.export({ format: 'der', type: 'spki' }))
}

/** What OpenSSL calls a scheme. */
function parts(scheme: SignatureScheme, form: EcdsaForm) {
  const [, kind, hash] = /^(ecdsa|rsa-pss|rsa-pkcs1)-(sha\d+)$/.exec(scheme) ?? []
  if (kind === undefined) return { hash: null, options: {} }
  if (kind === 'ecdsa') return { hash, options: { dsaEncoding: form === 'raw' ? 'ieee-p1363' : 'der' } as const }
  if (kind === 'rsa-pkcs1') return { hash, options: { padding: constants.RSA_PKCS1_PADDING } }
  return {
    hash,
    options: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
  }
}

export function signWith(key: KeyObject, scheme: SignatureScheme, form: EcdsaForm, data: Uint8Array): Uint8Array {
  const { hash, options } = parts(scheme, form)
  return new Uint8Array(sign(hash, data, { key, ...options }))
}

/** @throws Error for a key that IKE has no use for */
export const verifier = (key: KeyObject, description: string): Verifier => ({
  keyType: keyTypeOf(key),
  description,
  verify(scheme, form, data, signature) {
    const { hash, options } = parts(scheme, form)
    try {
      return verify(hash, data, { key, ...options }, signature)
    } catch {
      return false // a signature that OpenSSL cannot even read
    }
  },
})
