import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import {
  longTermKey,
  nonceFeatures,
  type ParsedStun,
  PasswordAlgorithm,
  type PasswordAlgorithmChoice,
  Prf,
  type StunAttribute,
  type StunHmac,
  type StunProtection,
  stunValue,
  verifyStun,
} from '../../core/wire/index.ts'

/** Long-term credentials, RFC 8489 §9.2: what both ends compute, and the client's memory of what its server demands. */

/** A name and its password. */
export interface Account {
  readonly username: string
  readonly password: string
}

const EMPTY = new Uint8Array(0)

export const MD5: PasswordAlgorithmChoice = { algorithm: PasswordAlgorithm.MD5, parameters: EMPTY }
export const SHA256: PasswordAlgorithmChoice = { algorithm: PasswordAlgorithm.SHA256, parameters: EMPTY }

/** HMACs with one account's key in one realm. */
export interface AccountKey {
  readonly sha1: StunHmac
  readonly sha256: StunHmac
}

/** @throws UsageError USAGE_CREDENTIALS when name or password is none */
export function accountKey(
  crypto: CryptoProvider,
  { username, password }: Account,
  realm: string,
  algorithm: number,
): AccountKey {
  const hash = algorithm === PasswordAlgorithm.SHA256 ? 'sha256' : 'md5'
  const key = longTermKey(data => crypto.hash(hash, data), username, realm, password)
  return {
    sha1: data => crypto.prf(Prf.PRF_HMAC_SHA1, key, data),
    sha256: data => crypto.prf(Prf.PRF_HMAC_SHA2_256, key, data),
  }
}

interface Challenge {
  readonly realm: string
  readonly nonce: Uint8Array
  /** What the server offered; undefined where it knows MD5 only. */
  readonly offered: readonly PasswordAlgorithmChoice[] | undefined
  readonly chosen: number
  readonly key: AccountKey
}

/** One account at one server. */
export class ClientCredentials {
  readonly #crypto: CryptoProvider
  readonly #account: Account
  #challenge: Challenge | undefined

  constructor(crypto: CryptoProvider, account: Account) {
    this.#crypto = crypto
    this.#account = account
  }

  /** Whether requests are authenticated from now on. */
  get ready(): boolean {
    return this.#challenge !== undefined
  }

  /**
   * Takes the demands of a 401 or 438.
   *
   * @returns false for one to be ignored: without realm or nonce, or with the better algorithms taken out on the way (the
   * nonce says that they were offered)
   */
  accept(message: ParsedStun): boolean {
    const realm = stunValue(message, 'REALM') ?? this.#challenge?.realm
    const nonce = stunValue(message, 'NONCE')
    if (realm === undefined || nonce === undefined) return false
    const offered = stunValue(message, 'PASSWORD-ALGORITHMS')
    if (nonceFeatures(nonce).passwordAlgorithms !== (offered !== undefined)) return false
    const chosen = offered === undefined ? MD5.algorithm : choose(offered)
    if (chosen === undefined) return false
    const key = accountKey(this.#crypto, this.#account, realm, chosen)
    const copy = offered?.map(({ algorithm, parameters }) => ({ algorithm, parameters: parameters.slice() }))
    this.#challenge = { realm, nonce: nonce.slice(), offered: copy, chosen, key }
    return true
  }

  /** What goes behind a request's own attributes, and how it is secured. */
  get sealing(): { readonly attributes: readonly StunAttribute[]; readonly protection: StunProtection } {
    if (this.#challenge === undefined) return { attributes: [], protection: {} }
    const { realm, nonce, offered, chosen, key } = this.#challenge
    const attributes: StunAttribute[] = [
      { type: 'USERNAME', value: this.#account.username },
      { type: 'REALM', value: realm },
      { type: 'NONCE', value: nonce },
    ]
    if (offered === undefined) return { attributes, protection: { integrity: key.sha1 } }
    attributes.push(
      { type: 'PASSWORD-ALGORITHMS', value: offered },
      { type: 'PASSWORD-ALGORITHM', value: { algorithm: chosen, parameters: EMPTY } },
    )
    return { attributes, protection: { integritySha256: key.sha256 } }
  }

  /** Whether a response comes from somebody who knows the password, secured as the request was. */
  verifies(octets: Uint8Array, { integrity, integritySha256 }: ParsedStun): boolean {
    if (this.#challenge === undefined) return false
    const { key, offered } = this.#challenge
    if (offered !== undefined) return integritySha256 !== undefined && verifyStun(octets, integritySha256, key.sha256)
    return integrity !== undefined && verifyStun(octets, integrity, key.sha1)
  }
}

/** The strongest of those known here. */
const choose = (offered: readonly PasswordAlgorithmChoice[]): number | undefined =>
  [SHA256, MD5].find(own => offered.some(({ algorithm }) => algorithm === own.algorithm))?.algorithm
