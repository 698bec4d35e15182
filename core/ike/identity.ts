import type { Identity, IdentityPattern } from '../contracts/settings.ts'
import { WireError } from '../errors.ts'
import { matchesWildcard } from '../wildcard.ts'
import {
  type DnAttribute,
  equalDn,
  formatAddress,
  formatDn,
  type Identification,
  IdType,
  parseAddress,
  readDn,
} from '../wire/index.ts'

/** Identities between configuration text and ID payloads, RFC 7296 §3.5. */

const TYPES = {
  fqdn: IdType.ID_FQDN,
  rfc822: IdType.ID_RFC822_ADDR,
  ipv4: IdType.ID_IPV4_ADDR,
  ipv6: IdType.ID_IPV6_ADDR,
  dn: IdType.ID_DER_ASN1_DN,
  keyid: IdType.ID_KEY_ID,
} as const

const encoder = new TextEncoder()
/** Strict: two identities that differ in octets never become the same text. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function utf8(type: 'fqdn' | 'rfc822', data: Uint8Array): Identity | undefined {
  try {
    return { type, value: decoder.decode(data) }
  } catch {
    return undefined
  }
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('')
const unhex = (text: string): Uint8Array => Uint8Array.from(text.match(/../g) ?? [], pair => Number.parseInt(pair, 16))

export function toIdentification({ type, value }: Identity): Identification {
  const data =
    type === 'ipv4' || type === 'ipv6'
      ? parseAddress(value)!
      : type === 'keyid' || type === 'dn'
        ? unhex(value)
        : encoder.encode(value)
  return { idType: TYPES[type], data }
}

/** @returns undefined for types natweave has no text for, and for octets that are no text */
export function fromIdentification({ idType, data }: Identification): Identity | undefined {
  switch (idType) {
    case IdType.ID_FQDN:
      return utf8('fqdn', data)
    case IdType.ID_RFC822_ADDR:
      return utf8('rfc822', data)
    case IdType.ID_IPV4_ADDR:
      return data.length === 4 ? { type: 'ipv4', value: formatAddress(data) } : undefined
    case IdType.ID_IPV6_ADDR:
      return data.length === 16 ? { type: 'ipv6', value: formatAddress(data) } : undefined
    case IdType.ID_DER_ASN1_DN:
      return attributesOf(hex(data)) === undefined ? undefined : { type: 'dn', value: hex(data) }
    case IdType.ID_KEY_ID:
      return { type: 'keyid', value: hex(data) }
    default:
      return undefined
  }
}

/** Attributes of a `dn`, undefined for what is none. */
function attributesOf(value: string): readonly DnAttribute[] | undefined {
  try {
    return readDn(unhex(value))
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

const words = (id: Identity): string =>
  id.type === 'dn' ? formatDn(attributesOf(id.value) ?? []) : id.type === 'keyid' ? `keyid:${id.value}` : id.value

/** Printable whatever a peer sent: control characters never reach a terminal. */
export const showIdentity = (id: Identity | IdentityPattern | undefined): string =>
  id === undefined ? '(unknown type)' : id.type === 'any' ? '%any' : words(id).replace(/[^\x20-\x7e]/g, '?')

export const sameIdentity = (a: Identity, b: Identity): boolean =>
  a.type === b.type && (a.value.toLowerCase() === b.value.toLowerCase() || (a.type === 'dn' && fitsDn(a, b, false)))

/** True for a pattern that only one identity fits, so that it can be asked for in IDr. */
export const isExact = (pattern: IdentityPattern): pattern is Identity =>
  pattern.type === 'dn'
    ? !(attributesOf(pattern.value) ?? []).some(({ value }) => value === '*')
    : pattern.type !== 'any' && !pattern.value.includes('*')

/**
 * How well an identity fits a pattern: 0 not at all, then any < wildcard < exact. FQDN and mail compare without case; in a
 * distinguished name `*` stands for the whole value of an attribute.
 */
export function fit(id: Identity, pattern: IdentityPattern): 0 | 1 | 2 | 3 {
  if (pattern.type === 'any') return 1
  if (sameIdentity(id, pattern)) return 3
  if (id.type !== pattern.type) return 0
  if (id.type === 'dn') return fitsDn(id, pattern, true) ? 2 : 0
  return matchesWildcard(id.value.toLowerCase(), pattern.value.toLowerCase()) ? 2 : 0
}

function fitsDn(id: Identity, pattern: Identity, wildcards: boolean): boolean {
  const [there, wanted] = [attributesOf(id.value), attributesOf(pattern.value)]
  return there !== undefined && wanted !== undefined && equalDn(there, wanted, wildcards)
}
