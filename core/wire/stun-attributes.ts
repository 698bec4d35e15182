import { WireError } from '../errors.ts'
import { addressBytes, formatAddress } from './address.ts'
import { type Codec, fixed, type Reader, reserved, rest, struct, u8, u16, u32, u64, type Writer } from './codec.ts'
import { StunFamily } from './stun-numbers.ts'

/**
 * STUN attributes and their values: RFC 8489 §14, RFC 3489 §11.2, RFC 5780 §7, RFC 8656 §18, RFC 6062 §6.2,
 * RFC 8445 §16.1, RFC 7635 §6.2. MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT are the message's own.
 */

/** IP address in canonical text and port. */
export interface TransportAddress {
  readonly address: string
  readonly port: number
}

/** @param key - octets 4 to 19 of the message, what XOR addresses are masked with */
interface AttributeCodec<T> {
  readonly number: number
  read(r: Reader, key: Uint8Array): T
  write(w: Writer, value: T, key: Uint8Array): void
}

const attribute = <T>(number: number, { read, write }: Codec<T>): AttributeCodec<T> => ({ number, read, write })

const lenient = new TextDecoder('utf-8', { ignoreBOM: true })
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

/** Text of which credentials are made: octets that are no UTF-8 would not come back as they were. */
const text: Codec<string> = {
  read: r => {
    try {
      return strict.decode(r.take(r.left))
    } catch {
      throw new WireError(`STUN: text at ${r.position} is not UTF-8`)
    }
  },
  write: (w, value) => w.put(encoder.encode(value)),
}

/** Text for people only. */
const words: Codec<string> = {
  read: r => lenient.decode(r.take(r.left)),
  write: (w, value) => w.put(encoder.encode(value)),
}

const nothing: Codec<true> = { read: () => true, write: () => {} }

/** An address that NATs which look for addresses in payloads may rewrite. */
const address: Codec<TransportAddress> = {
  read: r => {
    r.skip(1)
    const family = r.u8()
    const port = r.u16()
    if (family !== StunFamily.IPv4 && family !== StunFamily.IPv6) throw new WireError(`STUN: address family ${family}`)
    return { address: formatAddress(r.take(family === StunFamily.IPv4 ? 4 : 16)), port }
  },
  write: (w, { address: written, port }) => {
    const octets = addressBytes(written)
    w.u8(0)
    w.u8(octets.length === 4 ? StunFamily.IPv4 : StunFamily.IPv6)
    w.u16(port)
    w.put(octets)
  },
}

const mask = ({ address: plain, port }: TransportAddress, key: Uint8Array): TransportAddress => ({
  address: formatAddress(addressBytes(plain).map((octet, i) => octet ^ key[i]!)),
  port: port ^ ((key[0]! << 8) | key[1]!),
})

/** XOR with the message's own octets keeps such NATs away, RFC 8489 §14.2. */
const xorAddress = (number: number): AttributeCodec<TransportAddress> => ({
  number,
  read: (r, key) => mask(address.read(r), key),
  write: (w, value, key) => address.write(w, mask(value, key)),
})

/** What a request is refused with. */
export interface ErrorCode {
  /** StunError, 300 to 699. */
  readonly code: number
  readonly reason: string
}

/** Class and number; 13 bits of reserved ones in front. */
const errorBits: Codec<number> = {
  read: r => {
    const hundreds = r.u8() & 0x07
    const number = r.u8()
    if (hundreds < 3 || hundreds > 6 || number > 99) throw new WireError(`STUN: error class ${hundreds}, ${number}`)
    return hundreds * 100 + number
  },
  write: (w, code) => {
    w.u8(Math.floor(code / 100))
    w.u8(code % 100)
  },
}

const errorCode: Codec<ErrorCode> = {
  read: r => {
    r.skip(2)
    return { code: errorBits.read(r), reason: words.read(r) }
  },
  write: (w, { code, reason }) => {
    w.zeros(2)
    errorBits.write(w, code)
    words.write(w, reason)
  },
}

/** The same for one address family of two, RFC 8656 §18.12. */
const addressErrorCode = struct({ family: reserved(u8, 1), code: errorBits, reason: words })

/** From which address the server is to answer, RFC 5780 §7.2. */
export interface ChangeRequest {
  readonly changeIp: boolean
  readonly changePort: boolean
}

const changeRequest: Codec<ChangeRequest> = {
  read: r => {
    const flags = r.u32()
    return { changeIp: (flags & 4) !== 0, changePort: (flags & 2) !== 0 }
  },
  write: (w, { changeIp, changePort }) => w.u32((changeIp ? 4 : 0) | (changePort ? 2 : 0)),
}

/** Types of attributes. RFC 3489 repeats one of them to fill four octets. */
const numbers: Codec<readonly number[]> = {
  read: r => Array.from({ length: r.left / 2 }, () => r.u16()),
  write: (w, list) => {
    for (const number of list) w.u16(number)
  },
}

/** How the key of long-term credentials is made, RFC 8489 §14.12. */
export interface PasswordAlgorithmChoice {
  /** PasswordAlgorithm. */
  readonly algorithm: number
  readonly parameters: Uint8Array
}

const passwordAlgorithm: Codec<PasswordAlgorithmChoice> = {
  read: r => {
    const algorithm = r.u16()
    const length = r.u16()
    const parameters = r.take(length)
    r.skip(Math.min(r.left, -length & 3)) // the last one's padding is the attribute's
    return { algorithm, parameters }
  },
  write: (w, { algorithm, parameters }) => {
    w.u16(algorithm)
    w.u16(parameters.length)
    w.put(parameters)
    w.zeros(-parameters.length & 3)
  },
}

/** Far more than there are algorithms. */
const MAX_ALGORITHMS = 16

const passwordAlgorithms: Codec<readonly PasswordAlgorithmChoice[]> = {
  read: r => {
    const list: PasswordAlgorithmChoice[] = []
    while (r.left > 0) {
      if (list.length === MAX_ALGORITHMS) throw new WireError('STUN: too many password algorithms')
      list.push(passwordAlgorithm.read(r))
    }
    return list
  },
  write: (w, list) => {
    for (const choice of list) passwordAlgorithm.write(w, choice)
  },
}

/** Set: the relay also keeps the next port, RFC 8656 §18.6. */
const evenPort: Codec<boolean> = { read: r => (r.u8() & 0x80) !== 0, write: (w, next) => w.u8(next ? 0x80 : 0) }

/** An ICMP error that the relay got for a packet to the peer, RFC 8656 §18.13. */
export interface IcmpReport {
  readonly icmpType: number
  readonly icmpCode: number
  /** The MTU where the packet was too big. */
  readonly data: number
}

const icmp: Codec<IcmpReport> = {
  read: r => {
    r.skip(2)
    const bits = r.u16()
    return { icmpType: bits >>> 9, icmpCode: bits & 0x1ff, data: r.u32() }
  },
  write: (w, { icmpType, icmpCode, data }) => {
    w.zeros(2)
    w.u16(icmpType * 0x200 + icmpCode)
    w.u32(data)
  },
}

/** All attributes known here. `NONCE` is octets: a client returns it as it came. */
const stunAttributes = {
  'MAPPED-ADDRESS': attribute(0x0001, address),
  'RESPONSE-ADDRESS': attribute(0x0002, address),
  'CHANGE-REQUEST': attribute(0x0003, changeRequest),
  'SOURCE-ADDRESS': attribute(0x0004, address),
  'CHANGED-ADDRESS': attribute(0x0005, address),
  USERNAME: attribute(0x0006, text),
  PASSWORD: attribute(0x0007, rest),
  'ERROR-CODE': attribute(0x0009, errorCode),
  'UNKNOWN-ATTRIBUTES': attribute(0x000a, numbers),
  'REFLECTED-FROM': attribute(0x000b, address),
  'CHANNEL-NUMBER': attribute(0x000c, reserved(u16, 2)),
  LIFETIME: attribute(0x000d, u32),
  'XOR-PEER-ADDRESS': xorAddress(0x0012),
  DATA: attribute(0x0013, rest),
  REALM: attribute(0x0014, text),
  NONCE: attribute(0x0015, rest),
  'XOR-RELAYED-ADDRESS': xorAddress(0x0016),
  'REQUESTED-ADDRESS-FAMILY': attribute(0x0017, reserved(u8, 3)),
  'EVEN-PORT': attribute(0x0018, evenPort),
  'REQUESTED-TRANSPORT': attribute(0x0019, reserved(u8, 3)),
  'DONT-FRAGMENT': attribute(0x001a, nothing),
  'ACCESS-TOKEN': attribute(0x001b, rest),
  'PASSWORD-ALGORITHM': attribute(0x001d, passwordAlgorithm),
  USERHASH: attribute(0x001e, fixed(32)),
  'XOR-MAPPED-ADDRESS': xorAddress(0x0020),
  'RESERVATION-TOKEN': attribute(0x0022, fixed(8)),
  PRIORITY: attribute(0x0024, u32),
  'USE-CANDIDATE': attribute(0x0025, nothing),
  PADDING: attribute(0x0026, rest),
  'RESPONSE-PORT': attribute(0x0027, reserved(u16, 2)),
  'CONNECTION-ID': attribute(0x002a, u32),
  'ADDITIONAL-ADDRESS-FAMILY': attribute(0x8000, reserved(u8, 3)),
  'ADDRESS-ERROR-CODE': attribute(0x8001, addressErrorCode),
  'PASSWORD-ALGORITHMS': attribute(0x8002, passwordAlgorithms),
  'ALTERNATE-DOMAIN': attribute(0x8003, words),
  ICMP: attribute(0x8004, icmp),
  SOFTWARE: attribute(0x8022, words),
  'ALTERNATE-SERVER': attribute(0x8023, address),
  'CACHE-TIMEOUT': attribute(0x8027, u32),
  'ICE-CONTROLLED': attribute(0x8029, u64),
  'ICE-CONTROLLING': attribute(0x802a, u64),
  'RESPONSE-ORIGIN': attribute(0x802b, address),
  'OTHER-ADDRESS': attribute(0x802c, address),
} as const

type Table = typeof stunAttributes
export type StunAttributeName = keyof Table
/** What an attribute of this name holds. */
export type StunValue<K extends StunAttributeName> = Table[K] extends AttributeCodec<infer T> ? T : never

/** An attribute that is not known here, as it came. */
export interface UnknownAttribute {
  readonly type: 'unknown'
  readonly number: number
  readonly value: Uint8Array
}

export type StunAttribute =
  | { readonly [K in StunAttributeName]: { readonly type: K; readonly value: StunValue<K> } }[StunAttributeName]
  | UnknownAttribute

const names = new Map<number, StunAttributeName>(
  Object.entries(stunAttributes).map(([name, { number }]) => [number, name as StunAttributeName]),
)

/** The number of an attribute's type. */
export const stunAttributeNumber = (attribute: StunAttribute): number =>
  attribute.type === 'unknown' ? attribute.number : stunAttributes[attribute.type].number

/** @param r - sees the value only, without padding */
export function readStunValue(number: number, r: Reader, key: Uint8Array): StunAttribute {
  const type = names.get(number)
  if (type === undefined) return { type: 'unknown', number, value: r.take(r.left) }
  const value = stunAttributes[type].read(r, key)
  r.end(type)
  return { type, value } as StunAttribute
}

export function writeStunValue(w: Writer, { type, value }: StunAttribute, key: Uint8Array): void {
  if (type === 'unknown') w.put(value)
  else (stunAttributes[type] as AttributeCodec<unknown>).write(w, value, key)
}
