import { createCipheriv, createHash } from 'node:crypto'
import md4 from 'js-md4'

/** MS-CHAPv2, RFC 2759, and its session keys, RFC 3079. Passwords are UTF-8 octets. */

const text = new TextEncoder()
const sha1 = (...parts: readonly (Uint8Array | string)[]): Uint8Array => {
  const hash = createHash('sha1')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/** RFC 2759 §8.3: of the password in UTF-16, little-endian. */
export function ntPasswordHash(password: Uint8Array): Uint8Array {
  const utf16 = Buffer.from(new TextDecoder().decode(password), 'utf16le')
  const hash = Uint8Array.from(md4.create().update(utf16).array())
  utf16.fill(0)
  return hash
}

/** What both ends know of one exchange. */
export interface Exchange {
  readonly passwordHash: Uint8Array
  readonly authenticatorChallenge: Uint8Array
  readonly peerChallenge: Uint8Array
  /** Without a domain in front (`DOMAIN\`), RFC 2759 §4. */
  readonly user: string
}

const challengeHash = ({ peerChallenge, authenticatorChallenge, user }: Exchange): Uint8Array =>
  sha1(peerChallenge, authenticatorChallenge, text.encode(user)).subarray(0, 8)

/** The peer's NT-Response, 24 octets, RFC 2759 §8.1. */
export function ntResponse(exchange: Exchange): Uint8Array {
  const key = new Uint8Array(21)
  key.set(exchange.passwordHash)
  const challenge = challengeHash(exchange)
  const response = new Uint8Array(24)
  for (let i = 0; i < 3; i++) response.set(des(challenge, key.subarray(7 * i, 7 * i + 7)), 8 * i)
  key.fill(0)
  return response
}

/** DES with 56 bits of key, spread over 8 octets, RFC 2759 §8.6; OpenSSL has it as 3DES with three equal keys. */
function des(block: Uint8Array, bits: Uint8Array): Uint8Array {
  const key = new Uint8Array(8)
  for (let i = 0; i < 8; i++) key[i] = ((((bits[i - 1] ?? 0) << 8) | (bits[i] ?? 0)) >> i) & 0xfe
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null).setAutoPadding(false)
  return new Uint8Array(Buffer.concat([cipher.update(block), cipher.final()]))
}

/** `S=` and 40 hex digits by which the server proves that it knows the password too, RFC 2759 §8.7. */
export function authenticatorResponse(exchange: Exchange, response: Uint8Array): string {
  const twice = hashTwice(exchange.passwordHash)
  const digest = sha1(twice, response, 'Magic server to client signing constant')
  const signed = sha1(digest, challengeHash(exchange), 'Pad to make it do more than one iteration')
  return `S=${Buffer.from(signed).toString('hex').toUpperCase()}`
}

const hashTwice = (passwordHash: Uint8Array): Uint8Array => Uint8Array.from(md4.create().update(passwordHash).array())

const PAD1 = new Uint8Array(40)
const PAD2 = new Uint8Array(40).fill(0xf2)
const CLIENT_SENDS = 'On the client side, this is the send key; on the server side, it is the receive key.'
const SERVER_SENDS = 'On the client side, this is the receive key; on the server side, it is the send key.'

/** The two session keys of RFC 3079 §3.4, client's first, and zeros up to 64 octets. */
export function masterSessionKey({ passwordHash }: Exchange, response: Uint8Array): Uint8Array {
  const master = sha1(hashTwice(passwordHash), response, 'This is the MPPE Master Key').subarray(0, 16)
  const msk = new Uint8Array(64)
  for (const [i, magic] of [CLIENT_SENDS, SERVER_SENDS].entries())
    msk.set(sha1(master, PAD1, magic, PAD2).subarray(0, 16), 16 * i)
  master.fill(0)
  return msk
}
