import type { CryptoProvider } from '../contracts/crypto.ts'
import type { Rng } from '../contracts/machine.ts'
import type { Flow } from '../contracts/net.ts'
import { Flag, NotifyType, parseAddress } from '../wire/index.ts'
import { equalBytes } from './equal.ts'

/**
 * Stateless cookies, RFC 7296 §2.6. Under a flood this is done for every datagram, so it reads and writes at fixed offsets
 * and leaves the rest of the message alone.
 */

const HEADER = 28
const COOKIE = 32
const NOTIFY_HEADER = 8
const [NONCE_PAYLOAD, NOTIFY_PAYLOAD] = [40, 41]
/** How long a secret is used; a cookie of the one before is still good. */
const SECRET_LIFE_MS = 60_000
/** Payloads of a request that are looked at. */
const MAX_PAYLOADS = 32

export interface InitGlance {
  readonly nonce: Uint8Array
  readonly cookie: Uint8Array | undefined
}

/** What a cookie depends on, and the cookie. @returns undefined for what is no request that opens an IKE SA */
export function glance(raw: Uint8Array): InitGlance | undefined {
  let type = raw[16]!
  let nonce: Uint8Array | undefined
  let cookie: Uint8Array | undefined
  for (let at = HEADER, i = 0; type !== 0 && i < MAX_PAYLOADS; i++) {
    const length = at + 4 <= raw.length ? (raw[at + 2]! << 8) | raw[at + 3]! : 0
    if (length < 4 || at + length > raw.length) return undefined
    if (type === NONCE_PAYLOAD) nonce ??= raw.subarray(at + 4, at + length)
    else if (type === NOTIFY_PAYLOAD && length >= NOTIFY_HEADER) {
      const spi = raw[at + 5]!
      const notify = (raw[at + 6]! << 8) | raw[at + 7]!
      if (notify === NotifyType.COOKIE) cookie ??= raw.subarray(at + NOTIFY_HEADER + spi, at + length)
    }
    type = raw[at]!
    at += length
  }
  return nonce && { nonce, cookie }
}

/** Makes cookies and knows them again: a hash over nonce, address, port and SPI, with a secret that changes. */
export class Cookies {
  readonly #crypto: CryptoProvider
  readonly #rng: Rng
  #secret: Uint8Array = new Uint8Array(0)
  #previous: Uint8Array = new Uint8Array(0)
  #until = 0

  constructor({ crypto, rng }: { readonly crypto: CryptoProvider; readonly rng: Rng }) {
    this.#crypto = crypto
    this.#rng = rng
  }

  /** Whether the request shows that its sender receives at its address. */
  fit(raw: Uint8Array, { nonce, cookie }: InitGlance, flow: Flow, now: number): boolean {
    if (cookie?.length !== COOKIE) return false
    this.#renew(now)
    if (equalBytes(cookie, this.#hash(this.#secret, raw, nonce, flow))) return true
    return this.#previous.length > 0 && equalBytes(cookie, this.#hash(this.#previous, raw, nonce, flow))
  }

  /** The answer that asks for the request to be sent again with a cookie: header and N(COOKIE). */
  ask(raw: Uint8Array, { nonce }: InitGlance, flow: Flow, now: number): Uint8Array {
    this.#renew(now)
    const length = HEADER + NOTIFY_HEADER + COOKIE
    const reply = new Uint8Array(length)
    reply.set(raw.subarray(0, 8))
    reply[16] = NOTIFY_PAYLOAD
    reply[17] = 0x20
    reply[18] = raw[18]!
    reply[19] = Flag.RESPONSE
    reply[27] = length
    reply[HEADER + 3] = NOTIFY_HEADER + COOKIE
    reply[HEADER + 6] = NotifyType.COOKIE >> 8
    reply[HEADER + 7] = NotifyType.COOKIE & 0xff
    reply.set(this.#hash(this.#secret, raw, nonce, flow), HEADER + NOTIFY_HEADER)
    return reply
  }

  #renew(now: number): void {
    if (now < this.#until) return
    this.#previous = this.#secret
    this.#secret = this.#rng.bytes(32)
    this.#until = now + SECRET_LIFE_MS
  }

  #hash(secret: Uint8Array, raw: Uint8Array, nonce: Uint8Array, { remote }: Flow): Uint8Array {
    const port = Uint8Array.of(remote.port >> 8, remote.port & 0xff)
    return this.#crypto.hash('sha256', secret, nonce, parseAddress(remote.address)!, raw.subarray(0, 8), port)
  }
}
