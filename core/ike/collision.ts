/** Two rekeys of one SA at the same time, RFC 7296 §2.8.1, §2.8.2, §2.25: both SAs are made, and one is closed again. */

/** The peer's rekey of the SA that a rekey of ours is under way for. */
export class Rival<T> {
  /** The lower nonce of that exchange. */
  readonly lowest: Uint8Array
  /** The SA it has made; with additional key exchanges it comes after the last of them. */
  made: T | undefined
  /** `open` until ours is answered, which shows whose lowest nonce is lower: the SA of that exchange goes. */
  fate: 'open' | 'stays' | 'goes' = 'open'

  constructor(lowest: Uint8Array) {
    this.lowest = lowest
  }
}

/** Octet by octet; of two that are equal as far as they go, the shorter one is lower. */
export function isLower(a: Uint8Array, b: Uint8Array): boolean {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! < b[i]!
  return a.length < b.length
}

export const lowest = (a: Uint8Array, b: Uint8Array): Uint8Array => (isLower(a, b) ? a : b)
