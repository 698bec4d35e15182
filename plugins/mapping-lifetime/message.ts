import { getU32, setU32 } from '../../core/wire/index.ts'

/** The two datagrams that measure a mapping: "answer me after so long", and the answer. */

/** SPIs up to 255 are reserved (RFC 4303 §2.1), so that no ESP packet begins like this and who does not know it drops it. */
const SPI = 0x000000f7
/** "nwml" */
const MAGIC = 0x6e77_6d6c
const LENGTH = 24
const NONCE_AT = 16

export interface Message {
  readonly kind: 'ask' | 'answer'
  /** How long the answer waits, ms. */
  readonly delayMs: number
  /** 8 octets. */
  readonly nonce: Uint8Array
}

export function writeMessage({ kind, delayMs, nonce }: Message): Uint8Array {
  const bytes = new Uint8Array(LENGTH)
  setU32(bytes, 0, SPI)
  setU32(bytes, 4, MAGIC)
  setU32(bytes, 8, kind === 'ask' ? 1 : 2)
  setU32(bytes, 12, delayMs)
  bytes.set(nonce, NONCE_AT)
  return bytes
}

/** @returns undefined for anything else; the nonce is a view */
export function readMessage(bytes: Uint8Array, start = 0, end = bytes.length): Message | undefined {
  if (end - start !== LENGTH || getU32(bytes, start) !== SPI || getU32(bytes, start + 4) !== MAGIC) return undefined
  const kind = getU32(bytes, start + 8)
  if (kind !== 1 && kind !== 2) return undefined
  const nonce = bytes.subarray(start + NONCE_AT, start + LENGTH)
  return { kind: kind === 1 ? 'ask' : 'answer', delayMs: getU32(bytes, start + 12), nonce }
}
