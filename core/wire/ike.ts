import { UsageError, WireError } from '../errors.ts'
import { Reader, Writer } from './codec.ts'
import { PayloadType } from './ike-numbers.ts'
import { type InnerPayload, type Payload, payloadNumber, readBody, writeBody } from './ike-payloads.ts'

/** IKEv2 messages, RFC 7296 §3.1 and §3.2: header, payload chain, and the frame around an encrypted payload. */

/** Flags of the IKE header. */
export const Flag = {
  /** Sent by the original initiator of the IKE SA. */
  INITIATOR: 0x08,
  /** The sender could speak a higher major version. */
  VERSION: 0x10,
  RESPONSE: 0x20,
} as const

export const IKE_VERSION = 0x20
/** Octets of the IKE header. */
export const IKE_HEADER = 28
/** Octets of the generic payload header. */
export const GENERIC_HEADER = 4
/** Octets between the generic header of SKF and its IV: fragment number and total. */
export const FRAGMENT_HEADER = 4

/** What the sender of a message chooses; the rest of the header is computed. */
export interface IkeHead {
  readonly initiatorSpi: bigint
  readonly responderSpi: bigint
  /** ExchangeType. */
  readonly exchange: number
  /** OR of Flag. */
  readonly flags: number
  readonly messageId: number
  /** Major version in the upper, minor in the lower four bits; 0x20 unless told. */
  readonly version?: number
}

export interface IkeHeader extends IkeHead {
  readonly version: number
  /** PayloadType of the first payload. */
  readonly nextPayload: number
  /** Octets of the whole message. */
  readonly length: number
}

export interface IkeMessage {
  readonly header: IkeHeader
  readonly payloads: readonly Payload[]
}

/** More than any honest message has. */
const MAX_PAYLOADS = 100

/**
 * The header of what may be an IKE message of any version, without a look at the payloads.
 *
 * @param message - from the initiator's SPI on, no non-ESP marker
 * @returns undefined when it is shorter than a header or its Length is not that of the datagram
 */
export function peekIkeHeader(message: Uint8Array): IkeHeader | undefined {
  if (message.length < IKE_HEADER) return undefined
  const header = readHeader(new Reader(message))
  return header.length === message.length ? header : undefined
}

/**
 * A whole IKEv2 message; SK and SKF stay opaque. All octets in the result are views of `message`.
 *
 * @throws WireError for anything but exactly one well-formed message of major version 2
 */
export function parseIke(message: Uint8Array): IkeMessage {
  const r = new Reader(message)
  const header = readHeader(r)
  if (header.length !== message.length)
    throw new WireError(`IKE length ${header.length} in a datagram of ${message.length} octets`)
  if (header.version >>> 4 !== 2) throw new WireError(`IKE major version ${header.version >>> 4}`)
  return { header, payloads: readChain(header.nextPayload, r, true) }
}

/**
 * A chain of payloads that was inside SK, padding removed. All octets in the result are views of `chain`.
 *
 * @param first - PayloadType of the first one, SK's `inner`
 * @throws WireError also for SK within SK
 */
export function parsePayloads(first: number, chain: Uint8Array): readonly InnerPayload[] {
  return readChain(first, new Reader(chain), false) as readonly InnerPayload[]
}

/** A whole message. @throws UsageError USAGE_FIELD_RANGE, USAGE_PAYLOAD_ORDER */
export function serializeIke(head: IkeHead, payloads: readonly Payload[]): Uint8Array {
  const w = new Writer(512)
  writeHeader(w, head, numberOr(payloads[0], PayloadType.NONE))
  writeChain(w, payloads, PayloadType.NONE)
  w.patchU32(24, w.length)
  return w.finish()
}

/** A chain to encrypt, padding not included, and the type of its first payload. */
export function serializePayloads(payloads: readonly Payload[]): {
  readonly first: number
  readonly bytes: Uint8Array
} {
  const w = new Writer(512)
  writeChain(w, payloads, PayloadType.NONE)
  return { first: numberOr(payloads[0], PayloadType.NONE), bytes: w.finish() }
}

/** A message whose encrypted part is still zeros. */
export interface ProtectedFrame {
  /** Complete but for `bodyLength` octets from `bodyAt` on; lengths are final. Owned by the caller. */
  readonly message: Uint8Array
  /** Offset of the generic header of SK or SKF. */
  readonly at: number
  /** Where the IV goes; an AEAD's additional data is everything before. */
  readonly bodyAt: number
}

/**
 * Everything of a message up to the IV.
 *
 * @param innerFirst - `first` of the serialized inner payloads
 * @param bodyLength - octets of IV, ciphertext with padding and Pad Length, ICV
 * @param before - unprotected payloads in front of SK, seldom any
 */
export function beginProtected(
  head: IkeHead,
  innerFirst: number,
  bodyLength: number,
  before: readonly Payload[] = [],
): ProtectedFrame {
  return frame(head, innerFirst, bodyLength, before)
}

/**
 * The same for one fragment, RFC 7383.
 *
 * @param innerFirst - `first` of the serialized inner payloads in fragment 1, 0 in the others
 * @param number - from 1 to `total`
 */
export function beginFragment(
  head: IkeHead,
  innerFirst: number,
  number: number,
  total: number,
  bodyLength: number,
  before: readonly Payload[] = [],
): ProtectedFrame {
  return frame(head, innerFirst, bodyLength, before, { number, total })
}

function frame(
  head: IkeHead,
  innerFirst: number,
  bodyLength: number,
  before: readonly Payload[],
  fragment?: { readonly number: number; readonly total: number },
): ProtectedFrame {
  const type = fragment === undefined ? PayloadType.SK : PayloadType.SKF
  const w = new Writer(IKE_HEADER + 64 + bodyLength)
  writeHeader(w, head, numberOr(before[0], type))
  writeChain(w, before, type)
  const at = w.length
  w.u8(innerFirst)
  w.u8(0)
  w.u16(GENERIC_HEADER + (fragment === undefined ? 0 : FRAGMENT_HEADER) + bodyLength)
  if (fragment !== undefined) {
    w.u16(fragment.number)
    w.u16(fragment.total)
  }
  const bodyAt = w.length
  w.zeros(bodyLength)
  w.patchU32(24, w.length)
  return { message: w.finish(), at, bodyAt }
}

function readHeader(r: Reader): IkeHeader {
  const initiatorSpi = r.u64()
  const responderSpi = r.u64()
  const nextPayload = r.u8()
  const version = r.u8()
  const exchange = r.u8()
  const flags = r.u8()
  const messageId = r.u32()
  const length = r.u32()
  return { initiatorSpi, responderSpi, nextPayload, version, exchange, flags, messageId, length }
}

function writeHeader(w: Writer, head: IkeHead, nextPayload: number): void {
  w.u64(head.initiatorSpi)
  w.u64(head.responderSpi)
  w.u8(nextPayload)
  w.u8(head.version ?? IKE_VERSION)
  w.u8(head.exchange)
  w.u8(head.flags)
  w.u32(head.messageId)
  w.u32(0)
}

function readChain(first: number, r: Reader, whole: boolean): readonly Payload[] {
  const payloads: Payload[] = []
  for (let number = first; number !== PayloadType.NONE; ) {
    if (payloads.length === MAX_PAYLOADS) throw new WireError(`more than ${MAX_PAYLOADS} payloads`)
    const at = r.position
    const next = r.u8()
    const critical = (r.u8() & 0x80) !== 0
    const body = r.sub(r.u16() - GENERIC_HEADER)
    if (number === PayloadType.SK || number === PayloadType.SKF) {
      if (!whole) throw new WireError('encrypted payload inside an encrypted payload')
      // its Next Payload is what is inside, so nothing can follow it
      payloads.push(number === PayloadType.SK ? readProtected(next, at, body) : readFragment(next, at, body))
      break
    }
    payloads.push(readBody(number, critical, body))
    number = next
  }
  r.end('payloads')
  return payloads
}

function readProtected(inner: number, at: number, r: Reader): Payload {
  return { type: 'SK', inner, at, bodyAt: r.position, body: r.take(r.left) }
}

function readFragment(inner: number, at: number, r: Reader): Payload {
  const number = r.u16()
  const total = r.u16()
  if (number === 0 || number > total) throw new WireError(`SKF: fragment ${number} of ${total}`)
  return { type: 'SKF', inner, number, total, at, bodyAt: r.position, body: r.take(r.left) }
}

/** @param after - type that the last payload announces */
function writeChain(w: Writer, payloads: readonly Payload[], after: number): void {
  for (const [i, payload] of payloads.entries()) {
    const at = w.length
    const encrypted = payload.type === 'SK' || payload.type === 'SKF'
    if (encrypted && (i < payloads.length - 1 || after !== PayloadType.NONE))
      throw new UsageError('USAGE_PAYLOAD_ORDER', `${payload.type} must be the last payload`)
    w.u8(encrypted ? payload.inner : numberOr(payloads[i + 1], after))
    w.u8(payload.type === 'unknown' && payload.critical ? 0x80 : 0)
    w.u16(0)
    writeBody(w, payload)
    w.patchU16(at + 2, w.length - at)
  }
}

const numberOr = (payload: Payload | undefined, otherwise: number): number =>
  payload === undefined ? otherwise : payloadNumber(payload)
