import { UsageError } from '../errors.ts'

/** Keys of STUN's credentials, RFC 8489 §9, with the hash functions of the caller. */

/** MD5 or SHA-256 of `data`. */
export type StunHash = (data: Uint8Array) => Uint8Array

const encoder = new TextEncoder()

/**
 * Prepares a name or password by the OpaqueString profile (RFC 8265 §4.2): composed characters, plain spaces.
 *
 * @throws UsageError USAGE_CREDENTIALS when it is empty or has control characters
 */
export function opaqueString(text: string): string {
  const prepared = text.replace(/\p{Zs}/gu, ' ').normalize('NFC')
  if (prepared === '' || /\p{Cc}/u.test(prepared))
    throw new UsageError('USAGE_CREDENTIALS', 'STUN names and passwords are not empty and have no control characters')
  return prepared
}

/** Key of short-term credentials, §9.1.1. */
export const shortTermKey = (password: string): Uint8Array => encoder.encode(opaqueString(password))

/**
 * Key of long-term credentials, §9.2.2.
 *
 * @param hash - MD5; SHA-256 where PASSWORD-ALGORITHM says so
 * @param realm - as the server sent it
 */
export const longTermKey = (hash: StunHash, username: string, realm: string, password: string): Uint8Array =>
  hash(encoder.encode(`${opaqueString(username)}:${realm}:${opaqueString(password)}`))

/** USERHASH, §14.4, for servers that allow to hide the name. @param sha256 - the hash */
export const userHash = (sha256: StunHash, username: string, realm: string): Uint8Array =>
  sha256(encoder.encode(`${opaqueString(username)}:${realm}`))

/** What a server's nonce says that it can do, §9.2. */
export interface NonceFeatures {
  readonly passwordAlgorithms: boolean
  readonly usernameAnonymity: boolean
}

const NONCE_COOKIE = /^obMatJos2([A-Za-z0-9+/]{4})/

/** Features from the nonce cookie; nonces without one have none. */
export function nonceFeatures(nonce: Uint8Array): NonceFeatures {
  const [, bits = 'AAAA'] = NONCE_COOKIE.exec(String.fromCharCode(...nonce.subarray(0, 13))) ?? []
  const last = atob(bits).charCodeAt(2) // bit 0 is the rightmost, §18.1
  return { passwordAlgorithms: (last & 1) !== 0, usernameAnonymity: (last & 2) !== 0 }
}
