import { WireError } from '../errors.ts'
import { Reader, Writer } from './codec.ts'

/**
 * Distinguished names as ID_DER_ASN1_DN has them: `Name` of X.501 in DER. Only that; certificates are a library's concern.
 */

/** One attribute; several of one relative distinguished name stand side by side. */
export interface DnAttribute {
  /** Object identifier in dots. */
  readonly oid: string
  readonly value: string
  /** False where it belongs to the relative distinguished name of the attribute before it. */
  readonly first: boolean
}

const TAG = {
  SEQUENCE: 0x30,
  SET: 0x31,
  OID: 0x06,
  UTF8: 0x0c,
  PRINTABLE: 0x13,
  T61: 0x14,
  IA5: 0x16,
  BMP: 0x1e,
} as const

/** By the names of RFC 4514 §3, and some that are usual beside them. */
const OIDS: Readonly<Record<string, string>> = {
  CN: '2.5.4.3',
  SN: '2.5.4.4',
  serialNumber: '2.5.4.5',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  STREET: '2.5.4.9',
  O: '2.5.4.10',
  OU: '2.5.4.11',
  T: '2.5.4.12',
  GN: '2.5.4.42',
  DC: '0.9.2342.19200300.100.1.25',
  UID: '0.9.2342.19200300.100.1.1',
  E: '1.2.840.113549.1.9.1',
}
const ALIASES: Readonly<Record<string, string>> = { S: 'ST', G: 'GN', EMAIL: 'E', EMAILADDRESS: 'E' }
const NAMES = new Map(Object.entries(OIDS).map(([name, oid]) => [oid, name]))

/** More attributes than any name has. */
const MAX_ATTRIBUTES = 64

/** @throws WireError for what is no name, or holds other than text */
export function readDn(der: Uint8Array): DnAttribute[] {
  const outer = new Reader(der)
  const names = element(outer, TAG.SEQUENCE)
  outer.end('name')
  const found: DnAttribute[] = []
  while (names.left > 0) {
    const set = element(names, TAG.SET)
    for (let first = true; first || set.left > 0; first = false) {
      if (found.length === MAX_ATTRIBUTES) throw new WireError(`a name of more than ${MAX_ATTRIBUTES} attributes`)
      const pair = element(set, TAG.SEQUENCE)
      const oid = readOid(element(pair, TAG.OID))
      const tag = pair.u8()
      const value = readText(tag, content(pair))
      pair.end('attribute')
      found.push({ oid, value, first })
    }
  }
  return found
}

export function writeDn(attributes: readonly DnAttribute[]): Uint8Array {
  const sets: Uint8Array[][] = []
  for (const { oid, value, first } of attributes) {
    const pair = wrap(TAG.SEQUENCE, [wrap(TAG.OID, [writeOid(oid)]), writeText(oid, value)])
    if (first || sets.length === 0) sets.push([pair])
    else sets.at(-1)!.push(pair)
  }
  return wrap(
    TAG.SEQUENCE,
    sets.map(set => wrap(TAG.SET, set)),
  )
}

/**
 * `C=CH, O=Example, CN=alice`; `+` joins attributes of one relative distinguished name, a backslash takes the next
 * character as it is. The order is that of the DER, as gateways write it.
 *
 * @returns undefined when it is none
 */
export function parseDn(text: string): DnAttribute[] | undefined {
  const parts = text.match(/(?:\\.|[^,+\\])+|[,+]/g)
  if (parts === null || parts.join('') !== text || parts.length % 2 === 0) return undefined
  const attributes: DnAttribute[] = []
  for (let i = 0; i < parts.length; i += 2) {
    const [, type = '', value = ''] = /^\s*([A-Za-z][A-Za-z0-9]*|\d+(?:\.\d+)+)\s*=\s*(.+?)\s*$/.exec(parts[i]!) ?? []
    const upper = type.toUpperCase()
    const name = Object.keys(OIDS).find(key => key.toUpperCase() === (ALIASES[upper] ?? upper).toUpperCase())
    const oid = /^\d/.test(type) ? type : name === undefined ? undefined : OIDS[name]
    const separator = parts[i - 1]
    if (oid === undefined || value === '' || (separator !== undefined && !/^[,+]$/.test(separator))) return undefined
    attributes.push({ oid, value: value.replace(/\\(.)/g, '$1'), first: separator !== '+' })
  }
  return attributes
}

export const formatDn = (attributes: readonly DnAttribute[]): string =>
  attributes
    .map(({ oid, value, first }, i) => {
      const separator = i === 0 ? '' : first ? ', ' : '+'
      return `${separator}${NAMES.get(oid) ?? oid}=${value.replace(/[,+\\]/g, '\\$&')}`
    })
    .join('')

/**
 * Names are compared as certificates' are: how a text is encoded, case and inner spaces do not count (RFC 5280 §7.1).
 *
 * @param wildcards - whether a value `*` of `wanted` stands for any
 */
export function equalDn(name: readonly DnAttribute[], wanted: readonly DnAttribute[], wildcards = false): boolean {
  const plain = (text: string): string => text.trim().replace(/\s+/g, ' ').toLowerCase()
  return (
    name.length === wanted.length &&
    wanted.every(({ oid, first, value }, i) => {
      const own = name[i]!
      const equal = (wildcards && value === '*') || plain(own.value) === plain(value)
      return own.oid === oid && own.first === first && equal
    })
  )
}

function element(r: Reader, tag: number): Reader {
  const found = r.u8()
  if (found !== tag) throw new WireError(`name: tag ${found} at ${r.position - 1}, wanted ${tag}`)
  return content(r)
}

function content(r: Reader): Reader {
  const first = r.u8()
  if (first < 0x80) return r.sub(first)
  if (first === 0x81) return r.sub(r.u8())
  if (first === 0x82) return r.sub(r.u16())
  throw new WireError(`name: length ${first} at ${r.position - 1}`)
}

function readOid(r: Reader): string {
  const arcs: number[] = []
  let arc = 0
  for (const octet of r.take(r.left)) {
    arc = arc * 128 + (octet & 0x7f)
    if (arc > 0xffff_ffff) throw new WireError('name: an arc beyond 32 bits')
    if (octet < 0x80) {
      arcs.push(arc)
      arc = 0
    }
  }
  const [start] = arcs
  if (start === undefined) throw new WireError('name: empty object identifier')
  const top = Math.min(2, Math.floor(start / 40))
  return [top, start - 40 * top, ...arcs.slice(1)].join('.')
}

function writeOid(oid: string): Uint8Array {
  const [top = 0, second = 0, ...rest] = oid.split('.').map(Number)
  const octets = [40 * top + second, ...rest].flatMap(arc => {
    const digits = [arc % 128]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) digits.unshift(0x80 | (left % 128))
    return digits
  })
  return Uint8Array.from(octets)
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function readText(tag: number, r: Reader): string {
  const octets = r.take(r.left)
  if (tag === TAG.BMP && octets.length % 2 === 0)
    return Array.from({ length: octets.length / 2 }, (_, i) =>
      String.fromCharCode((octets[2 * i]! << 8) | octets[2 * i + 1]!),
    ).join('')
  if (tag === TAG.PRINTABLE || tag === TAG.IA5 || tag === TAG.T61)
    return Array.from(octets, octet => String.fromCharCode(octet)).join('')
  if (tag !== TAG.UTF8) throw new WireError(`name: value of type ${tag}`)
  try {
    return utf8.decode(octets)
  } catch {
    throw new WireError('name: a text that is not UTF-8')
  }
}

/** As certificates usually have it: what must be IA5 or PrintableString is, RFC 5280 A.1; the rest is UTF-8. */
function writeText(oid: string, value: string): Uint8Array {
  const tag = [OIDS['DC'], OIDS['E']].includes(oid)
    ? TAG.IA5
    : [OIDS['C'], OIDS['serialNumber']].includes(oid) && !value.includes('*')
      ? TAG.PRINTABLE
      : TAG.UTF8
  return wrap(tag, [new TextEncoder().encode(value)])
}

function wrap(tag: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const w = new Writer(4 + length)
  w.u8(tag)
  if (length < 0x80) w.u8(length)
  else if (length < 0x100) w.put(Uint8Array.of(0x81, length))
  else {
    w.u8(0x82)
    w.u16(length)
  }
  for (const part of parts) w.put(part)
  return w.finish()
}
