import type { Address } from '../../core/contracts/net.ts'
import { UsageError } from '../../core/errors.ts'
import { addressBytes, addressOfBytes, parsePrefix } from '../../core/wire/index.ts'

/** An address as a Map key: the 32-bit number for IPv4, eight UTF-16 units for IPv6; cheap to read off a packet. */
export type AddressKey = number | string

/** One address in the forms the simulation needs. */
export interface Ip {
  readonly text: Address
  readonly bytes: Uint8Array
  readonly key: AddressKey
}

/** @throws UsageError USAGE_ADDRESS when `text` is no IP literal */
export function parseIp(text: string): Ip {
  const bytes = addressBytes(text)
  const v6 = bytes.length === 16
  return { text: showIp(bytes, 0, v6), bytes, key: keyAt(bytes, 0, v6) }
}

export interface Cidr {
  readonly ip: Ip
  readonly bits: number
}

/** `10.1.0.5/24`; without the slash, all bits. @throws UsageError USAGE_ADDRESS */
export function parseCidr(text: string): Cidr {
  const prefix = parsePrefix(text)
  if (prefix === undefined) throw new UsageError('USAGE_ADDRESS', `"${text}" is no address prefix`)
  return { ip: parseIp(prefix.address), bits: prefix.bits }
}

/** Canonical text of the address at `offset`. */
export const showIp = (bytes: Uint8Array, offset: number, v6: boolean): Address =>
  addressOfBytes(bytes, offset, v6 ? 6 : 4)

export const isV6 = (key: AddressKey): boolean => typeof key === 'string'

export function keyAt(bytes: Uint8Array, offset: number, v6: boolean): AddressKey {
  if (!v6)
    return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0
  return String.fromCharCode(
    (bytes[offset]! << 8) | bytes[offset + 1]!,
    (bytes[offset + 2]! << 8) | bytes[offset + 3]!,
    (bytes[offset + 4]! << 8) | bytes[offset + 5]!,
    (bytes[offset + 6]! << 8) | bytes[offset + 7]!,
    (bytes[offset + 8]! << 8) | bytes[offset + 9]!,
    (bytes[offset + 10]! << 8) | bytes[offset + 11]!,
    (bytes[offset + 12]! << 8) | bytes[offset + 13]!,
    (bytes[offset + 14]! << 8) | bytes[offset + 15]!,
  )
}

/** The key of the network `key` lies in: host bits cleared. */
export function maskKey(key: AddressKey, bits: number): AddressKey {
  if (typeof key === 'number') return bits === 0 ? 0 : (key & (-1 << (32 - bits))) >>> 0
  if (bits === 128) return key
  const whole = bits >> 4
  const partial = key.charCodeAt(whole) & (0xffff << (16 - (bits & 15)))
  return key.slice(0, whole) + String.fromCharCode(partial & 0xffff).padEnd(8 - whole, '\0')
}

/** Address and port as one Map key. */
export const endKey = (address: AddressKey, port: number): AddressKey =>
  typeof address === 'number' ? address * 65_536 + port : address + String.fromCharCode(port)
