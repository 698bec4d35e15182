import { UsageError, WireError } from '../errors.ts'
import { Reader, Writer } from './codec.ts'
import { crc32 } from './crc32.ts'
import { getU16, getU32 } from './fields.ts'
import {
  readStunValue,
  type StunAttribute,
  type StunAttributeName,
  type StunValue,
  stunAttributeNumber,
  writeStunValue,
} from './stun-attributes.ts'
import { STUN_COOKIE, STUN_HEADER } from './stun-numbers.ts'

/** STUN messages, RFC 8489 §5 and §14.5 to §14.7, and those of RFC 3489, which have no cookie. */

const CLASSES = ['request', 'indication', 'success', 'error'] as const
export type StunClass = (typeof CLASSES)[number]

export interface StunMessage {
  readonly class: StunClass
  /** StunMethod. */
  readonly method: number
  /** 12 octets behind the cookie; 16 in place of it where the sender speaks RFC 3489. */
  readonly transaction: Uint8Array
  /** Without MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT. */
  readonly attributes: readonly StunAttribute[]
}

/** A MAC inside a message: only `verifyStun` can say what it is worth. */
export interface StunSeal {
  /** Offset of its attribute. */
  readonly at: number
  readonly mac: Uint8Array
}

export interface ParsedStun extends StunMessage {
  /** It ended in a FINGERPRINT, which was right. */
  readonly fingerprint: boolean
  readonly integrity: StunSeal | undefined
  readonly integritySha256: StunSeal | undefined
}

/** HMAC over `data` with the key that the two ends share, all octets of it. */
export type StunHmac = (data: Uint8Array) => Uint8Array

/** How a message is secured, in this order. */
export interface StunProtection {
  /** HMAC-SHA1 for MESSAGE-INTEGRITY. */
  readonly integrity?: StunHmac | undefined
  /** HMAC-SHA256 for MESSAGE-INTEGRITY-SHA256. */
  readonly integritySha256?: StunHmac | undefined
  readonly fingerprint?: boolean | undefined
}

const INTEGRITY = 0x0008
const INTEGRITY_SHA256 = 0x001c
const FINGERPRINT = 0x8028
const FINGERPRINT_XOR = 0x5354554e
/** More than any honest message has. */
const MAX_ATTRIBUTES = 100

/**
 * Whether a datagram may be a STUN message with a cookie. ESP may look the same by chance: on a port that both use, ask
 * this only of datagrams from where one is waited for.
 */
export const isStun = (bytes: Uint8Array, start: number, end: number): boolean =>
  end - start >= STUN_HEADER &&
  bytes[start]! < 0x40 &&
  getU32(bytes, start + 4) === STUN_COOKIE &&
  getU16(bytes, start + 2) === end - start - STUN_HEADER

/**
 * A whole message. Attributes behind MESSAGE-INTEGRITY that it does not cover are left out (RFC 8489 §14.5). All octets
 * in the result are views of `message`.
 *
 * @throws WireError for anything but exactly one well-formed message, and for a wrong FINGERPRINT
 */
export function parseStun(message: Uint8Array): ParsedStun {
  const r = new Reader(message)
  const type = r.u16()
  const length = r.u16()
  if (type > 0x3fff) throw new WireError(`STUN: message type ${type}`)
  if (length % 4 !== 0 || length !== message.length - STUN_HEADER)
    throw new WireError(`STUN: length ${length} in a datagram of ${message.length} octets`)
  const key = r.take(16)
  const attributes: StunAttribute[] = []
  let fingerprint = false
  let integrity: StunSeal | undefined
  let integritySha256: StunSeal | undefined
  for (let count = 0; r.left > 0; count++) {
    if (count === MAX_ATTRIBUTES) throw new WireError('STUN: too many attributes')
    if (fingerprint) throw new WireError('STUN: attributes behind FINGERPRINT')
    const at = r.position
    const number = r.u16()
    const size = r.u16()
    const value = r.sub(size)
    r.skip(-size & 3)
    if (number === FINGERPRINT) {
      if (value.u32() !== fingerprintOf(message.subarray(0, at), length)) throw new WireError('STUN: wrong FINGERPRINT')
      value.end('FINGERPRINT')
      fingerprint = true
    } else if (integritySha256 !== undefined) {
      // not covered
    } else if (number === INTEGRITY_SHA256) {
      if (size < 16 || size > 32 || size % 4 !== 0)
        throw new WireError(`STUN: MESSAGE-INTEGRITY-SHA256 of ${size} octets`)
      integritySha256 = { at, mac: value.take(size) }
    } else if (integrity !== undefined) {
      // not covered
    } else if (number === INTEGRITY) {
      integrity = { at, mac: value.take(20) }
      value.end('MESSAGE-INTEGRITY')
    } else attributes.push(readStunValue(number, value, key))
  }
  const cookie = getU32(message, 4) === STUN_COOKIE
  return {
    class: CLASSES[((type >>> 7) & 2) | ((type >>> 4) & 1)]!,
    method: (type & 0x0f) | ((type >>> 1) & 0x70) | ((type >>> 2) & 0xf80),
    transaction: cookie ? key.subarray(4) : key,
    attributes,
    fingerprint,
    integrity,
    integritySha256,
  }
}

/** A whole message. @throws UsageError USAGE_FIELD_RANGE, USAGE_ADDRESS, USAGE_TRANSACTION */
export function serializeStun(message: StunMessage, protection: StunProtection = {}): Uint8Array {
  const { method, transaction } = message
  const kind = CLASSES.indexOf(message.class)
  if (method > 0xfff || (transaction.length !== 12 && transaction.length !== 16))
    throw new UsageError('USAGE_TRANSACTION', `STUN method ${method}, transaction ID of ${transaction.length} octets`)
  const w = new Writer()
  w.u16((method & 0x0f) | ((method & 0x70) << 1) | ((method & 0xf80) << 2) | ((kind & 1) << 4) | ((kind & 2) << 7))
  w.u16(0)
  if (transaction.length === 12) w.u32(STUN_COOKIE)
  w.put(transaction)
  const key = w.finish().subarray(4)
  for (const attribute of message.attributes) {
    w.u16(stunAttributeNumber(attribute))
    w.u16(0)
    const at = w.length
    writeStunValue(w, attribute, key)
    const size = w.length - at
    w.patchU16(at - 2, size)
    w.zeros(-size & 3)
  }
  w.patchU16(2, w.length - STUN_HEADER)
  if (protection.integrity !== undefined) seal(w, INTEGRITY, 20, protection.integrity)
  if (protection.integritySha256 !== undefined) seal(w, INTEGRITY_SHA256, 32, protection.integritySha256)
  if (protection.fingerprint === true) {
    const body = w.finish()
    const length = body.length + 8 - STUN_HEADER
    w.patchU16(2, length)
    w.u16(FINGERPRINT)
    w.u16(4)
    w.u32(fingerprintOf(body, length))
  }
  return w.finish()
}

/** The first attribute of this name, the only one that counts unless its RFC says otherwise (RFC 8489 §14). */
export function stunValue<K extends StunAttributeName>(message: StunMessage, name: K): StunValue<K> | undefined {
  return stunValues(message, name)[0]
}

/** All attributes of this name, in order. */
export function stunValues<K extends StunAttributeName>(message: StunMessage, name: K): readonly StunValue<K>[] {
  return message.attributes.flatMap(({ type, value }) => (type === name ? [value as StunValue<K>] : []))
}

/**
 * Types that the receiver has to understand and does not, for UNKNOWN-ATTRIBUTES; each once.
 *
 * @param understood - what the receiver acts on
 */
export const notUnderstood = (message: StunMessage, understood: readonly StunAttributeName[]): readonly number[] => [
  ...new Set(
    message.attributes.flatMap(attribute => {
      const number = stunAttributeNumber(attribute)
      const known = attribute.type !== 'unknown' && understood.includes(attribute.type)
      return number >= 0x8000 || known ? [] : [number]
    }),
  ),
]

/**
 * Whether a MAC holds, compared in constant time.
 *
 * @param message - what `seal` was parsed from
 * @param hmac - of SHA-1 for `integrity`, of SHA-256 for `integritySha256`, where the sender may have cut it
 */
export function verifyStun(message: Uint8Array, { at, mac }: StunSeal, hmac: StunHmac): boolean {
  const right = hmac(covered(message.subarray(0, at), mac.length))
  let difference = 0
  for (let i = 0; i < mac.length; i++) difference |= mac[i]! ^ right[i]!
  return difference === 0
}

function seal(w: Writer, number: number, size: number, hmac: StunHmac): void {
  const octets = covered(w.finish(), size)
  w.patchU16(2, octets.length + 4 + size - STUN_HEADER)
  w.u16(number)
  w.u16(size)
  w.put(hmac(octets))
}

/** A copy whose length field says that the message ends right behind the MAC, RFC 8489 §14.5. */
function covered(before: Uint8Array, macLength: number): Uint8Array {
  const octets = before.slice()
  new DataView(octets.buffer).setUint16(2, before.length + 4 + macLength - STUN_HEADER)
  return octets
}

/** @param length - of the message, as its header has it with the FINGERPRINT counted in */
function fingerprintOf(before: Uint8Array, length: number): number {
  const head = Uint8Array.of(before[0]!, before[1]!, length >>> 8, length & 0xff)
  return (crc32(before.subarray(4), crc32(head)) ^ FINGERPRINT_XOR) >>> 0
}
