import { WireError } from '../errors.ts'
import { type Codec, fixed, type Reader, reserved, rest, struct, u8, u16, type Value, type Writer } from './codec.ts'
import { PayloadType, TrafficSelectorType } from './ike-numbers.ts'
import { proposals } from './ike-proposal.ts'

/** Bodies of IKEv2 payloads, RFC 7296 §3.3 to §3.16, without the generic header. Reserved fields are sent zero. */

/** Key Exchange, §3.4. */
const keyExchange = struct({ group: reserved(u16, 2), data: rest })

/** Identification, §3.5. */
export interface Identification {
  /** IdType. */
  readonly idType: number
  readonly data: Uint8Array
  /** The three reserved octets when a peer did not send zeros: AUTH covers them as received. */
  readonly reserved?: number
}

/** Body of IDi, IDr, IDp; also what AUTH signs ("RestOfInitIDPayload", RFC 7296 §2.15). */
export const identification: Codec<Identification> = {
  read: r => {
    const idType = r.u8()
    const unused = r.u24()
    const data = r.take(r.left)
    return unused === 0 ? { idType, data } : { idType, data, reserved: unused }
  },
  write: (w, id) => {
    w.u8(id.idType)
    w.u24(id.reserved ?? 0)
    w.put(id.data)
  },
}

/** Certificate §3.6 and Certificate Request §3.7 (there: SHA-1 hashes of CA keys, 20 octets each). */
const certificate = struct({ encoding: u8, data: rest })

/** Authentication, §3.8. */
const authentication = struct({ method: reserved(u8, 3), data: rest })

/** Nonce, §3.9: 16 to 256 octets. */
const nonce: Codec<{ readonly data: Uint8Array }> = {
  read: r => {
    if (r.left < 16 || r.left > 256) throw new WireError(`nonce of ${r.left} octets`)
    return { data: r.take(r.left) }
  },
  write: (w, { data }) => w.put(data),
}

/** Notify, §3.10. */
export interface Notify {
  /** ProtocolId of the SA that `spi` names; NONE without one. */
  readonly protocol: number
  readonly spi: Uint8Array
  /** NotifyType. */
  readonly notify: number
  readonly data: Uint8Array
}

const notify: Codec<Notify> = {
  read: r => {
    const protocol = r.u8()
    const spiSize = r.u8()
    const type = r.u16()
    return { protocol, spi: r.take(spiSize), notify: type, data: r.take(r.left) }
  },
  write: (w, value) => {
    w.u8(value.protocol)
    w.u8(value.spi.length)
    w.u16(value.notify)
    w.put(value.spi)
    w.put(value.data)
  },
}

/** Delete, §3.11; no SPIs for the IKE SA itself. */
export interface Delete {
  readonly protocol: number
  /** All of one size. */
  readonly spis: readonly Uint8Array[]
}

/** Far more Child SAs than one IKE SA ever has. */
const MAX_SPIS = 1024

const deletion: Codec<Delete> = {
  read: r => {
    const protocol = r.u8()
    const spiSize = r.u8()
    const count = r.u16()
    if (count > MAX_SPIS || (count > 0 && spiSize === 0)) throw new WireError(`D: ${count} SPIs of ${spiSize} octets`)
    const spis = Array.from({ length: count }, () => r.take(spiSize))
    return { protocol, spis }
  },
  write: (w, { protocol, spis }) => {
    w.u8(protocol)
    const size = spis[0]?.length ?? 0
    w.u8(size)
    w.u16(spis.length)
    for (const spi of spis) fixed(size).write(w, spi)
  },
}

/** Vendor ID §3.12 and EAP §3.16 (there: a whole EAP packet). */
const opaque = struct({ data: rest })

/** A range of addresses, ports and one protocol, §3.13.1. */
export interface AddressSelector {
  readonly family: 4 | 6
  /** IP protocol, 0 for any. */
  readonly protocol: number
  /** 0 to 65535 for any; 65535 to 0 for OPAQUE; ICMP type and code in the upper and lower octet. */
  readonly startPort: number
  readonly endPort: number
  /** 4 or 16 octets; the range includes both ends. */
  readonly startAddress: Uint8Array
  readonly endAddress: Uint8Array
}

/** A selector of a type not known here. */
export interface UnknownSelector {
  readonly family: 'unknown'
  /** TrafficSelectorType. */
  readonly kind: number
  readonly protocol: number
  readonly body: Uint8Array
}

export type TrafficSelector = AddressSelector | UnknownSelector

/** Content of TSi and TSr, §3.13. */
const selectors: Codec<{ readonly selectors: readonly TrafficSelector[] }> = {
  read: r => {
    const count = r.u8()
    r.skip(3)
    const list: TrafficSelector[] = []
    for (let i = 0; i < count; i++) list.push(readSelector(r))
    return { selectors: list }
  },
  write: (w, value) => {
    w.u8(value.selectors.length)
    w.zeros(3)
    for (const selector of value.selectors) writeSelector(w, selector)
  },
}

function readSelector(outer: Reader): TrafficSelector {
  const kind = outer.u8()
  const protocol = outer.u8()
  const r = outer.sub(outer.u16() - 4)
  const family =
    kind === TrafficSelectorType.TS_IPV4_ADDR_RANGE ? 4 : kind === TrafficSelectorType.TS_IPV6_ADDR_RANGE ? 6 : 0
  if (family === 0) return { family: 'unknown', kind, protocol, body: r.take(r.left) }
  const size = family === 4 ? 4 : 16
  const startPort = r.u16()
  const endPort = r.u16()
  const selector = {
    family,
    protocol,
    startPort,
    endPort,
    startAddress: r.take(size),
    endAddress: r.take(size),
  } as const
  r.end('traffic selector')
  return selector
}

const [OCTETS_4, OCTETS_16] = [fixed(4), fixed(16)]

function writeSelector(w: Writer, selector: TrafficSelector): void {
  if (selector.family === 'unknown') {
    w.u8(selector.kind)
    w.u8(selector.protocol)
    w.u16(4 + selector.body.length)
    w.put(selector.body)
    return
  }
  const size = selector.family === 4 ? 4 : 16
  const address = selector.family === 4 ? OCTETS_4 : OCTETS_16
  w.u8(selector.family === 4 ? TrafficSelectorType.TS_IPV4_ADDR_RANGE : TrafficSelectorType.TS_IPV6_ADDR_RANGE)
  w.u8(selector.protocol)
  w.u16(8 + 2 * size)
  w.u16(selector.startPort)
  w.u16(selector.endPort)
  address.write(w, selector.startAddress)
  address.write(w, selector.endAddress)
}

/** Configuration attribute, §3.15.1. */
export interface ConfigurationAttribute {
  /** ConfigAttribute, 15 bits. */
  readonly type: number
  readonly value: Uint8Array
}

/** Configuration, §3.15. */
export interface Configuration {
  /** ConfigType. */
  readonly configType: number
  readonly attributes: readonly ConfigurationAttribute[]
}

const MAX_CONFIG_ATTRIBUTES = 256

const configuration: Codec<Configuration> = {
  read: r => {
    const configType = r.u8()
    r.skip(3)
    const attributes: ConfigurationAttribute[] = []
    while (r.left > 0) {
      if (attributes.length === MAX_CONFIG_ATTRIBUTES) throw new WireError(`CP: more than ${MAX_CONFIG_ATTRIBUTES}`)
      const type = r.u16() & 0x7fff
      attributes.push({ type, value: r.take(r.u16()) })
    }
    return { configType, attributes }
  },
  write: (w, { configType, attributes }) => {
    w.u8(configType)
    w.zeros(3)
    for (const { type, value } of attributes) {
      w.u15(type)
      w.u16(value.length)
      w.put(value)
    }
  },
}

const id = identification
const ts = selectors

/** Payloads that are one codec each, by their name in the RFC. */
const BODIES = {
  SA: struct({ proposals }),
  KE: keyExchange,
  IDi: id,
  IDr: id,
  IDp: id,
  CERT: certificate,
  CERTREQ: certificate,
  AUTH: authentication,
  Nonce: nonce,
  N: notify,
  D: deletion,
  V: opaque,
  TSi: ts,
  TSr: ts,
  CP: configuration,
  EAP: opaque,
} as const

type Bodies = typeof BODIES
type BodyName = keyof Bodies

/** A payload of a type not known here; the layer above answers the critical bit, RFC 7296 §2.5. */
export interface UnknownPayload {
  readonly type: 'unknown'
  readonly number: number
  readonly critical: boolean
  readonly body: Uint8Array
}

/** Encrypted and Authenticated, RFC 7296 §3.14; always the last of a message. */
export interface ProtectedPayload {
  readonly type: 'SK'
  /** Type of the first payload inside. */
  readonly inner: number
  /** IV, ciphertext, ICV. */
  readonly body: Uint8Array
  /** Offset of the generic header in the message. */
  readonly at: number
  /** Offset of `body` in the message: an AEAD's additional data ends here (RFC 5282 §5.1). */
  readonly bodyAt: number
}

/** Encrypted and Authenticated Fragment, RFC 7383 §2.5. */
export interface FragmentPayload {
  readonly type: 'SKF'
  /** Type of the first payload inside; 0 except in fragment 1. */
  readonly inner: number
  /** From 1. */
  readonly number: number
  readonly total: number
  readonly body: Uint8Array
  readonly at: number
  readonly bodyAt: number
}

/** What `parsePayloads` finds inside SK; `critical` is kept only where it decides something. */
export type InnerPayload = { [K in BodyName]: { readonly type: K } & Value<Bodies[K]> }[BodyName] | UnknownPayload

export type Payload = InnerPayload | ProtectedPayload | FragmentPayload

/** The member of the union with this `type`. */
export type PayloadOf<T extends Payload['type']> = Extract<Payload, { type: T }>

const NAMES = new Map<number, BodyName>((Object.keys(BODIES) as BodyName[]).map(name => [PayloadType[name], name]))

/** Reads the body of any payload but SK and SKF; `r` sees that body only. */
export function readBody(number: number, critical: boolean, r: Reader): InnerPayload {
  const name = NAMES.get(number)
  if (name === undefined) return { type: 'unknown', number, critical, body: r.take(r.left) }
  const codec: Codec<object> = BODIES[name]
  // put into what was read: a copy costs more than all of the reading
  const payload = codec.read(r) as { type?: BodyName }
  payload.type = name
  r.end(name)
  return payload as InnerPayload
}

export function writeBody(w: Writer, payload: Payload): void {
  switch (payload.type) {
    case 'SKF':
      w.u16(payload.number)
      w.u16(payload.total)
      w.put(payload.body)
      return
    case 'SK':
    case 'unknown':
      w.put(payload.body)
      return
    default:
      ;(BODIES[payload.type] as Codec<unknown>).write(w, payload)
  }
}

/** The number of a payload's type on the wire. */
export const payloadNumber = (payload: Payload): number =>
  payload.type === 'unknown' ? payload.number : PayloadType[payload.type]

/** The first payload of a type. */
export function payloadOf<T extends Payload['type']>(payloads: readonly Payload[], type: T): PayloadOf<T> | undefined {
  return payloads.find((payload): payload is PayloadOf<T> => payload.type === type)
}

/** The first notify of a type. */
export function notifyOf(payloads: readonly Payload[], type: number): PayloadOf<'N'> | undefined {
  return payloads.find((payload): payload is PayloadOf<'N'> => payload.type === 'N' && payload.notify === type)
}
