import type { Address } from '../../core/contracts/net.ts'
import { addressBytes } from '../../core/wire/index.ts'

/** Sources remembered at once; a flood from more of them meets the limit for all. */
const MAX_SOURCES = 4096

/** Token buckets, one for each source and one for all: `rate` a second, twice that at once. */
export class RateLimit {
  readonly #perSource: number
  readonly #all: Bucket
  readonly #overall: number
  readonly #sources = new Map<string, Bucket>()

  constructor(perSource: number, overall: number) {
    this.#perSource = perSource
    this.#overall = overall
    this.#all = { tokens: 2 * overall, at: 0 }
  }

  /** @returns false when this one is too much */
  admits(address: Address, now: number): boolean {
    const source = sourceOf(address)
    const bucket = this.#sources.get(source) ?? { tokens: 2 * this.#perSource, at: now }
    // the one that was heard of longest ago goes first
    this.#sources.delete(source)
    this.#sources.set(source, bucket)
    if (this.#sources.size > MAX_SOURCES) this.#sources.delete(this.#sources.keys().next().value!)
    return take(bucket, this.#perSource, now) && take(this.#all, this.#overall, now)
  }
}

interface Bucket {
  tokens: number
  at: number
}

function take(bucket: Bucket, rate: number, now: number): boolean {
  bucket.tokens = Math.min(2 * rate, bucket.tokens + (Math.max(0, now - bucket.at) * rate) / 1000)
  bucket.at = now
  if (bucket.tokens < 1) return false
  bucket.tokens--
  return true
}

/** One IPv6 customer has at least 2^64 addresses. */
const sourceOf = (address: Address): string => addressBytes(address).subarray(0, 8).join('.')
