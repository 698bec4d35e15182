import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, showEndpoint } from '../../core/contracts/net.ts'
import { UsageError } from '../../core/errors.ts'
import {
  nonceFeatures,
  type ParsedStun,
  PasswordAlgorithm,
  Prf,
  type StunAttribute,
  StunError,
  type StunProtection,
  stunValue,
  verifyStun,
} from '../../core/wire/index.ts'
import { type AccountKey, accountKey, MD5, SHA256 } from './credentials.ts'
import { hex } from './request.ts'

/** Who may use the relay: the server's side of long-term credentials, RFC 8489 §9.2.4. */

/** The nonce cookie with the bit for password algorithms, RFC 8489 §9.2 and §18.1. */
const COOKIE = 'obMatJos2AAAB'
const NONCE_LIFE_S = 600
const OFFERED = [SHA256, MD5]

export type Verdict =
  | { readonly type: 'known'; readonly user: string; readonly protection: StunProtection }
  | {
      readonly type: 'refused'
      readonly code: number
      readonly reason: string
      readonly more: readonly StunAttribute[]
    }

export class RelayAuth {
  readonly #crypto: CryptoProvider
  readonly #realm: string
  readonly #users: ReadonlyMap<string, string>
  readonly #secret: Uint8Array
  readonly #keys = new Map<string, AccountKey>()
  /** Stands for the password of users there are none of, so that both take the same time. */
  readonly #nobody: string

  constructor(crypto: CryptoProvider, rng: Rng, realm: string, users: ReadonlyMap<string, string>) {
    this.#crypto = crypto
    this.#realm = realm
    this.#users = users
    this.#secret = rng.bytes(32)
    this.#nobody = hex(rng.bytes(16))
  }

  /** @param octets - the message as it came */
  judge(octets: Uint8Array, request: ParsedStun, from: Endpoint, now: number): Verdict {
    const { integrity, integritySha256 } = request
    if (integrity === undefined && integritySha256 === undefined) return this.#challenge(UNAUTHENTICATED, from, now)
    const username = stunValue(request, 'USERNAME')
    const nonce = stunValue(request, 'NONCE')
    const algorithm = algorithmOf(request, nonce)
    if (username === undefined || nonce === undefined || algorithm === undefined) return BAD_REQUEST
    if (stunValue(request, 'REALM') === undefined) return BAD_REQUEST
    if (!this.#fresh(nonce, from, now)) return this.#challenge(STALE, from, now)
    const key = this.#key(username, algorithm)
    const sealed =
      integritySha256 !== undefined
        ? verifyStun(octets, integritySha256, key.sha256)
        : verifyStun(octets, integrity!, key.sha1)
    if (!sealed || !this.#users.has(username)) return this.#challenge(UNAUTHENTICATED, from, now)
    const protection = integritySha256 !== undefined ? { integritySha256: key.sha256 } : { integrity: key.sha1 }
    return { type: 'known', user: username, protection }
  }

  #key(username: string, algorithm: number): AccountKey {
    const password = this.#users.get(username)
    const id = `${algorithm} ${username}`
    const known = password === undefined ? undefined : this.#keys.get(id)
    if (known !== undefined) return known
    try {
      const account = { username, password: password ?? this.#nobody }
      const key = accountKey(this.#crypto, account, this.#realm, algorithm)
      if (password !== undefined) this.#keys.set(id, key)
      return key
    } catch (error) {
      // a name that can be nobody's
      if (!(error instanceof UsageError)) throw error
      return accountKey(this.#crypto, { username: 'nobody', password: this.#nobody }, this.#realm, algorithm)
    }
  }

  #challenge({ code, reason }: { code: number; reason: string }, from: Endpoint, now: number): Verdict {
    const more: StunAttribute[] = [
      { type: 'REALM', value: this.#realm },
      { type: 'NONCE', value: this.#nonce(Math.floor(now / 1000), from) },
      { type: 'PASSWORD-ALGORITHMS', value: OFFERED },
    ]
    return { type: 'refused', code, reason, more }
  }

  /** Nothing is kept for it: it carries its time, and a MAC that says whose it is. */
  #nonce(seconds: number, from: Endpoint): Uint8Array {
    const time = seconds.toString(16).padStart(8, '0')
    const data = encoder.encode(`${time} ${showEndpoint(from)}`)
    const mac = this.#crypto.prf(Prf.PRF_HMAC_SHA2_256, this.#secret, data).subarray(0, 16)
    return encoder.encode(`${COOKIE}${time}${hex(mac)}`)
  }

  #fresh(nonce: Uint8Array, from: Endpoint, now: number): boolean {
    const time = Number.parseInt(String.fromCharCode(...nonce.subarray(COOKIE.length, COOKIE.length + 8)), 16)
    const age = Math.floor(now / 1000) - time
    if (!(age >= 0 && age < NONCE_LIFE_S)) return false
    const right = this.#nonce(time, from)
    let difference = right.length ^ nonce.length
    for (const [i, octet] of right.entries()) difference |= octet ^ (nonce[i] ?? 0)
    return difference === 0
  }
}

const encoder = new TextEncoder()
const UNAUTHENTICATED = { code: StunError.UNAUTHENTICATED, reason: 'Unauthenticated' }
const STALE = { code: StunError.STALE_NONCE, reason: 'Stale Nonce' }
const BAD_REQUEST: Verdict = { type: 'refused', code: StunError.BAD_REQUEST, reason: 'Bad Request', more: [] }

/**
 * How the client has made its key. The list of algorithms must come back as it was offered: one who took the better ones
 * out on the way would be seen here.
 */
function algorithmOf(request: ParsedStun, nonce: Uint8Array | undefined): number | undefined {
  const listed = stunValue(request, 'PASSWORD-ALGORITHMS')
  const chosen = stunValue(request, 'PASSWORD-ALGORITHM')
  if (listed === undefined && chosen === undefined) return PasswordAlgorithm.MD5
  if (listed === undefined || chosen === undefined || nonce === undefined) return undefined
  const same = listed.length === OFFERED.length && OFFERED.every((own, i) => listed[i]!.algorithm === own.algorithm)
  const known = OFFERED.some(own => own.algorithm === chosen.algorithm)
  return same && known && nonceFeatures(nonce).passwordAlgorithms ? chosen.algorithm : undefined
}
