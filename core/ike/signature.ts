import { type EcdsaForm, type KeyType, SIGNATURE_SCHEMES, type SignatureScheme } from '../contracts/credentials.ts'
import { AuthMethod, HashAlgorithm } from '../wire/index.ts'
import { equalBytes } from './equal.ts'

/** Which signature goes into AUTH, and how it is written there: RFC 7427, and the older methods of RFC 7296 and 4754. */

interface Scheme {
  readonly keys: readonly KeyType[]
  /** HashAlgorithm, as SIGNATURE_HASH_ALGORITHMS lists it. */
  readonly hash: number
  /** AlgorithmIdentifiers by which it is known, DER (RFC 7427 A, RFC 8420); the first is sent. */
  readonly identifiers: readonly Uint8Array[]
}

const octets = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, pair => Number.parseInt(pair, 16))

const EC: readonly KeyType[] = ['p256', 'p384', 'p521']
const ecdsa = (hash: number, last: string): Scheme => ({
  keys: EC,
  hash,
  identifiers: [octets(`300a06082a8648ce3d0403${last}`)],
})

const pkcs1 = (hash: number, last: string): Scheme => ({
  keys: ['rsa'],
  hash,
  identifiers: [octets(`300d06092a864886f70d0101${last}0500`)],
})

/** The parameters of the two hashes inside may be NULL or absent, RFC 4055 §2.1. */
function pss(hash: number, last: string, salt: string): Scheme {
  const sha2 = `06096086480165030402${last}`
  const identifiers = [
    `3041 06092a864886f70d01010a 3034 a00f 300d${sha2}0500 a11c 301a 06092a864886f70d010108 300d${sha2}0500 a203 0201${salt}`,
    `303d 06092a864886f70d01010a 3030 a00d 300b${sha2} a11a 3018 06092a864886f70d010108 300b${sha2} a203 0201${salt}`,
  ]
  return { keys: ['rsa'], hash, identifiers: identifiers.map(text => octets(text.replaceAll(' ', ''))) }
}

const { SHA1, SHA2_256, SHA2_384, SHA2_512, IDENTITY } = HashAlgorithm

const SCHEMES: Readonly<Record<SignatureScheme, Scheme>> = {
  ed25519: { keys: ['ed25519'], hash: IDENTITY, identifiers: [octets('300506032b6570')] },
  'ecdsa-sha256': ecdsa(SHA2_256, '02'),
  'ecdsa-sha384': ecdsa(SHA2_384, '03'),
  'ecdsa-sha512': ecdsa(SHA2_512, '04'),
  'rsa-pss-sha256': pss(SHA2_256, '01', '20'),
  'rsa-pss-sha384': pss(SHA2_384, '02', '30'),
  'rsa-pss-sha512': pss(SHA2_512, '03', '40'),
  'rsa-pkcs1-sha256': pkcs1(SHA2_256, '0b'),
  'rsa-pkcs1-sha384': pkcs1(SHA2_384, '0c'),
  'rsa-pkcs1-sha512': pkcs1(SHA2_512, '0d'),
  'rsa-pkcs1-sha1': pkcs1(SHA1, '05'),
}

/** The methods that came before RFC 7427, one for each curve; RSA's means SHA-1 to most peers. */
const OLDER: Readonly<Partial<Record<KeyType, { readonly method: number; readonly scheme: SignatureScheme }>>> = {
  p256: { method: AuthMethod.ECDSA_SHA256_P256, scheme: 'ecdsa-sha256' },
  p384: { method: AuthMethod.ECDSA_SHA384_P384, scheme: 'ecdsa-sha384' },
  p521: { method: AuthMethod.ECDSA_SHA512_P521, scheme: 'ecdsa-sha512' },
  rsa: { method: AuthMethod.RSA_DIGITAL_SIGNATURE, scheme: 'rsa-pkcs1-sha1' },
}

/** SHA-1 has to be asked for, RFC 8247 §3.2. */
const DEFAULT: readonly SignatureScheme[] = SIGNATURE_SCHEMES.filter(scheme => scheme !== 'rsa-pkcs1-sha1')
/** A hash as strong as the curve first. */
const DEFAULT_OF: Readonly<Partial<Record<KeyType, SignatureScheme>>> = { p384: 'ecdsa-sha384', p521: 'ecdsa-sha512' }

type Allowed = readonly SignatureScheme[] | undefined

/** Content of SIGNATURE_HASH_ALGORITHMS: the hashes of the schemes that this host would accept, RFC 7427 §4. */
export function hashNotifyData(allowed: readonly Allowed[]): Uint8Array {
  const hashes = new Set(allowed.flatMap(list => (list ?? DEFAULT).map(scheme => SCHEMES[scheme].hash)))
  return Uint8Array.from([...hashes].sort().flatMap(hash => [0, hash]))
}

export function readHashes(data: Uint8Array): ReadonlySet<number> {
  const hashes = new Set<number>()
  for (let i = 0; i + 1 < data.length; i += 2) hashes.add((data[i]! << 8) | data[i + 1]!)
  return hashes
}

export interface Chosen {
  /** AuthMethod. */
  readonly method: number
  readonly scheme: SignatureScheme
  readonly form: EcdsaForm
}

/**
 * How to sign for a peer.
 *
 * @param hashes - what its SIGNATURE_HASH_ALGORITHMS lists; undefined: it sent none and knows the older methods only
 * @returns in words why there is no way
 */
export function chooseSignature(
  keyType: KeyType,
  allowed: Allowed,
  hashes: ReadonlySet<number> | undefined,
): Chosen | string {
  const usual = DEFAULT_OF[keyType]
  const list = allowed ?? (usual === undefined ? DEFAULT : [usual, ...DEFAULT])
  const fitting = list.filter(scheme => SCHEMES[scheme].keys.includes(keyType))
  if (hashes !== undefined) {
    const scheme = fitting.find(each => hashes.has(SCHEMES[each].hash))
    if (scheme !== undefined) return { method: AuthMethod.DIGITAL_SIGNATURE, scheme, form: 'der' }
    return `no common signature: this host could use ${fitting.join(', ') || 'none'}, the peer takes the hashes ${[...hashes].map(hashName).join(', ')}`
  }
  const older = OLDER[keyType]
  if (older !== undefined && fitting.includes(older.scheme)) return { ...older, form: 'raw' }
  return keyType === 'rsa'
    ? 'the peer knows RSA signatures with SHA-1 only (no SIGNATURE_HASH_ALGORITHMS); where that must be, allow rsa-pkcs1-sha1 in `signatures`'
    : `the peer does not know ${keyType} signatures: it sent no SIGNATURE_HASH_ALGORITHMS (RFC 7427)`
}

const hashName = (hash: number): string =>
  Object.entries(HashAlgorithm).find(([, number]) => number === hash)?.[0] ?? String(hash)

/** AUTH data of a signature made as chosen. */
export function writeSignature({ method, scheme }: Chosen, signature: Uint8Array): Uint8Array {
  if (method !== AuthMethod.DIGITAL_SIGNATURE) return signature
  const identifier = SCHEMES[scheme].identifiers[0]!
  const data = new Uint8Array(1 + identifier.length + signature.length)
  data[0] = identifier.length
  data.set(identifier, 1)
  data.set(signature, 1 + identifier.length)
  return data
}

export interface Signed {
  readonly scheme: SignatureScheme
  readonly form: EcdsaForm
  readonly signature: Uint8Array
}

/**
 * What the AUTH payload of a peer says it is.
 *
 * @param keyType - of the key that is to verify it
 * @returns in words why it cannot be accepted
 */
export function readSignature(
  { method, data }: { readonly method: number; readonly data: Uint8Array },
  keyType: KeyType,
  allowed: Allowed,
): Signed | string {
  const found = method === AuthMethod.DIGITAL_SIGNATURE ? readIdentified(data) : readOlder(method, data, keyType)
  if (typeof found === 'string') return found
  if (!SCHEMES[found.scheme].keys.includes(keyType)) return `a signature ${found.scheme} with a key of type ${keyType}`
  if (!(allowed ?? DEFAULT).includes(found.scheme))
    return `the peer signs with ${found.scheme}, which \`signatures\` does not allow`
  return found
}

function readIdentified(data: Uint8Array): Signed | string {
  const end = 1 + (data[0] ?? 0)
  const identifier = data.subarray(1, end)
  for (const scheme of SIGNATURE_SCHEMES)
    if (SCHEMES[scheme].identifiers.some(known => equalBytes(known, identifier)))
      return { scheme, form: 'der', signature: data.subarray(end) }
  return 'the peer signs with an algorithm that is not known here'
}

function readOlder(method: number, data: Uint8Array, keyType: KeyType): Signed | string {
  const older = OLDER[keyType]
  if (older?.method !== method)
    return `the peer authenticates with method ${method}, which its ${keyType} key cannot do`
  return { scheme: older.scheme, form: 'raw', signature: data }
}
