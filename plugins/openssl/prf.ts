import { NatweaveError } from '../../core/errors.ts'
import type { Rim } from './ciphers.ts'
import { At } from './scratch.ts'

/** Octets of the scratch memory from `At.DIGEST` on, and from `At.KEY` to there. */
const ROOM = 640
const KEY_ROOM = At.DIGEST - At.KEY

/** HMAC in one call. @param digest - EVP_MD */
export function hmac(
  rim: Rim,
  digest: number,
  length: number,
  key: Uint8Array,
  parts: readonly Uint8Array[],
): Uint8Array {
  const { library, scratch } = rim
  let total = 0
  for (const part of parts) total += part.length
  // what is larger than the scratch memory is large enough not to be moved
  const text = total <= ROOM ? scratch.bytes.subarray(At.DIGEST, At.DIGEST + total) : new Uint8Array(total)
  let at = 0
  for (const part of parts) {
    text.set(part, at)
    at += part.length
  }
  const textAt = total <= ROOM ? scratch.address + At.DIGEST : library.address(text)
  const long = key.length > KEY_ROOM ? key.slice() : undefined
  const keyAt = long === undefined ? scratch.put(key, At.KEY) : library.address(long)
  const out = scratch.address + At.TAG
  const done = library.HMAC(digest, keyAt, key.length, textAt, total, out, scratch.address + At.LENGTH)
  // keys and secrets are hashed here
  text.fill(0)
  if (long === undefined) scratch.bytes.fill(0, At.KEY, At.KEY + key.length)
  else long.fill(0)
  if (done === 0) throw new NatweaveError('CRYPTO_FAILED', 'OpenSSL: HMAC failed')
  const result = scratch.bytes.slice(At.TAG, At.TAG + length)
  scratch.bytes.fill(0, At.TAG, At.TAG + length)
  return result
}
