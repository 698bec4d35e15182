import { UsageError } from '../errors.ts'

/** IP addresses: text (dotted quad, RFC 4291 §2.2) to 4 or 16 octets and back in canonical form (RFC 5952). */

export type Family = 4 | 6

/** An address prefix; host bits may be set. */
export interface AddressPrefix {
  /** Canonical text. */
  readonly address: string
  readonly bits: number
}

const LONGEST_V4 = 15
const [ZERO, DOT] = [48, 46]

/** @returns 4 or 16 octets; undefined when `text` is no address (zones, brackets and leading zeros in IPv4 are none) */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text)
}

/** As `parseAddress`. @throws UsageError USAGE_ADDRESS */
export function addressBytes(text: string): Uint8Array {
  const octets = parseAddress(text)
  if (octets === undefined) throw new UsageError('USAGE_ADDRESS', `"${text}" is no IP address`)
  return octets
}

/** Canonical text of 4 or 16 octets. @throws UsageError USAGE_ADDRESS for any other length */
export function formatAddress(octets: Uint8Array): string {
  if (octets.length !== 4 && octets.length !== 16)
    throw new UsageError('USAGE_ADDRESS', `an address has 4 or 16 octets, not ${octets.length}`)
  return addressOfBytes(octets, 0, octets.length === 4 ? 4 : 6)
}

/** Canonical text of the address at `offset`, whose octets must be there. */
export function addressOfBytes(bytes: Uint8Array, offset: number, family: Family): string {
  if (family === 4) return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`
  return formatV6(bytes, offset)
}

/** Canonical form of any spelling; undefined when it is no address. */
export function canonicalAddress(text: string): string | undefined {
  const octets = parseAddress(text)
  return octets && formatAddress(octets)
}

/** Family of an address known to be one. */
export const familyOf = (address: string): Family => (address.includes(':') ? 6 : 4)

/** `10.9.0.0/24`; without a length the whole address. Undefined when it is no prefix. */
export function parsePrefix(text: string): AddressPrefix | undefined {
  const [, address = '', length] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const octets = parseAddress(address)
  if (octets === undefined) return undefined
  const bits = length === undefined ? octets.length * 8 : Number(length)
  return bits <= octets.length * 8 ? { address: formatAddress(octets), bits } : undefined
}

export const formatPrefix = ({ address, bits }: AddressPrefix): string => `${address}/${bits}`

/** First and last address, both included. */
export interface AddressRange {
  readonly start: Uint8Array
  readonly end: Uint8Array
}

/** What a prefix covers. @throws UsageError USAGE_ADDRESS */
export function prefixRange({ address, bits }: AddressPrefix): AddressRange {
  const start = addressBytes(address)
  const end = start.slice()
  for (let i = 0; i < start.length; i++) {
    const host = 0xff >>> Math.min(8, Math.max(0, bits - 8 * i))
    start[i]! &= ~host
    end[i]! |= host
  }
  return { start, end }
}

/** The fewest prefixes that cover a range exactly, lowest first; at most twice as many as the address has bits. */
export function rangePrefixes({ start, end }: AddressRange): AddressPrefix[] {
  const width = start.length * 8
  const last = toBigInt(end)
  const prefixes: AddressPrefix[] = []
  for (let at = toBigInt(start); at <= last; ) {
    let host = 0
    // grow the block while it stays aligned and inside the range
    while (host < width && (at & ((2n << BigInt(host)) - 1n)) === 0n && at + (2n << BigInt(host)) - 1n <= last) host++
    prefixes.push({ address: formatAddress(fromBigInt(at, start.length)), bits: width - host })
    at += 1n << BigInt(host)
  }
  return prefixes
}

/** An address of the other family is never inside. */
export const rangeContains = ({ start, end }: AddressRange, address: Uint8Array): boolean =>
  address.length === start.length && compareAddresses(address, start) >= 0 && compareAddresses(address, end) <= 0

/** True when the prefix covers the address; an address of the other family is never covered. */
export const prefixContains = (prefix: AddressPrefix, address: string): boolean =>
  rangeContains(prefixRange(prefix), addressBytes(address))

/** Numerical order, negative when `a` is lower; IPv4 before IPv6. */
export function compareAddresses(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return 0
}

/** The address `offset` further on; undefined beyond the end of the address space. */
export function addressPlus(address: Uint8Array, offset: number | bigint): Uint8Array | undefined {
  const sum = toBigInt(address) + BigInt(offset)
  return sum < 0n || sum >> BigInt(address.length * 8) !== 0n ? undefined : fromBigInt(sum, address.length)
}

function parseV4(text: string): Uint8Array | undefined {
  const { length } = text
  if (length > LONGEST_V4) return undefined
  const octets = new Uint8Array(4)
  let at = 0
  for (let i = 0; i < 4; i++) {
    const from = at
    let octet = 0
    for (; at < length && at < from + 3; at++) {
      const digit = text.charCodeAt(at) - ZERO
      if (digit < 0 || digit > 9) break
      octet = octet * 10 + digit
    }
    // "010" is 8 to some parsers and 10 to others: neither here
    const leadingZero = at > from + 1 && text.charCodeAt(from) === ZERO
    if (at === from || octet > 255 || leadingZero) return undefined
    if (i < 3 && text.charCodeAt(at++) !== DOT) return undefined
    octets[i] = octet
  }
  return at === length ? octets : undefined
}

function parseV6(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const compressed = halves.length === 2
  const head = parseGroups(halves[0] ?? '', !compressed)
  const tail = parseGroups(halves[1] ?? '', compressed)
  if (head === undefined || tail === undefined) return undefined
  const length = head.length + tail.length
  if (compressed ? length > 14 : length !== 16) return undefined
  const octets = new Uint8Array(16)
  octets.set(head)
  octets.set(tail, 16 - tail.length)
  return octets
}

/** @param last - true when these groups end the address, where a dotted quad may stand */
function parseGroups(text: string, last: boolean): number[] | undefined {
  if (text === '') return []
  const octets: number[] = []
  const groups = text.split(':')
  for (const [i, group] of groups.entries()) {
    if (last && i === groups.length - 1 && group.includes('.')) {
      const quad = parseV4(group)
      if (quad === undefined) return undefined
      octets.push(...quad)
    } else if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      const value = Number.parseInt(group, 16)
      octets.push(value >>> 8, value & 0xff)
    } else return undefined
  }
  return octets
}

function formatV6(bytes: Uint8Array, offset: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[offset + 2 * i]! << 8) | bytes[offset + 2 * i + 1]!)
  // RFC 5952 §5: IPv4-mapped addresses show the IPv4 address
  if (groups[5] === 0xffff && groups.slice(0, 5).every(group => group === 0))
    return `::ffff:${addressOfBytes(bytes, offset + 12, 4)}`
  const [at, length] = longestZeros(groups)
  const hex = (part: number[]): string => part.map(group => group.toString(16)).join(':')
  return length < 2 ? hex(groups) : `${hex(groups.slice(0, at))}::${hex(groups.slice(at + length))}`
}

/** Start and length of the longest run of zero groups, the first of equals (RFC 5952 §4.2.3). */
function longestZeros(groups: readonly number[]): readonly [at: number, length: number] {
  let best: readonly [number, number] = [0, 0]
  let run = 0
  for (const [i, group] of groups.entries()) {
    run = group === 0 ? run + 1 : 0
    if (run > best[1]) best = [i - run + 1, run]
  }
  return best
}

function toBigInt(octets: Uint8Array): bigint {
  let value = 0n
  for (const octet of octets) value = (value << 8n) | BigInt(octet)
  return value
}

function fromBigInt(value: bigint, length: number): Uint8Array {
  const octets = new Uint8Array(length)
  for (let i = length - 1, left = value; i >= 0; i--, left >>= 8n) octets[i] = Number(left & 0xffn)
  return octets
}
