import type { Address } from '../../core/contracts/net.ts'
import { formatAddress, getU32, parseAddress, setU16, setU32 } from '../../core/wire/index.ts'

/** Messages of DHCPv4 (RFC 2131 §2) and the options that matter here (RFC 2132). */

export const MessageType = { DISCOVER: 1, OFFER: 2, REQUEST: 3, ACK: 5, NAK: 6, RELEASE: 7 } as const

const Option = {
  PAD: 0,
  DNS: 6,
  REQUESTED_ADDRESS: 50,
  LEASE_TIME: 51,
  OVERLOAD: 52,
  MESSAGE_TYPE: 53,
  SERVER_ID: 54,
  PARAMETERS: 55,
  MESSAGE: 56,
  RENEWAL_TIME: 58,
  REBINDING_TIME: 59,
  CLIENT_ID: 61,
  END: 255,
} as const

/** Where options begin: after the fixed part and the magic cookie. */
const OPTIONS_AT = 240
const COOKIE = 0x63825363
/** Relays and servers of old drop shorter messages, RFC 1542 §2.1. */
const MIN_LENGTH = 300

/** What a client sends, through a relay that is this host as well. */
export interface ClientMessage {
  readonly type: number
  readonly xid: number
  /** Seconds since the client began. */
  readonly secs: number
  /** Own address, where it has one. */
  readonly ciaddr?: Address
  /** Address of the relay, which the server answers to (§4.1). */
  readonly giaddr: Address
  /** Hardware address, 6 octets. */
  readonly chaddr: Uint8Array
  readonly clientId: Uint8Array
  readonly requested?: Address | undefined
  readonly serverId?: Address | undefined
}

/** What a server says; times in seconds. */
export interface ServerMessage {
  readonly type: number
  readonly xid: number
  readonly yiaddr: Address
  readonly giaddr: Address
  readonly chaddr: Uint8Array
  readonly serverId: Address | undefined
  readonly clientId: Uint8Array | undefined
  readonly lease: number | undefined
  readonly renewal: number | undefined
  readonly rebinding: number | undefined
  readonly dns: readonly Address[]
  /** Why, in a NAK; may be anything. */
  readonly message: string
}

export function writeMessage(message: ClientMessage): Uint8Array {
  const { type, xid, secs, ciaddr, giaddr, chaddr, clientId, requested, serverId } = message
  const options = [
    option(Option.MESSAGE_TYPE, Uint8Array.of(type)),
    option(Option.CLIENT_ID, clientId),
    ...(requested === undefined ? [] : [option(Option.REQUESTED_ADDRESS, parseAddress(requested)!)]),
    ...(serverId === undefined ? [] : [option(Option.SERVER_ID, parseAddress(serverId)!)]),
    ...(type === MessageType.RELEASE
      ? []
      : [
          option(
            Option.PARAMETERS,
            Uint8Array.of(Option.DNS, Option.LEASE_TIME, Option.RENEWAL_TIME, Option.REBINDING_TIME),
          ),
        ]),
    Uint8Array.of(Option.END),
  ]
  const length = options.reduce((sum, { length }) => sum + length, OPTIONS_AT)
  const bytes = new Uint8Array(Math.max(length, MIN_LENGTH))
  // BOOTREQUEST, Ethernet, six octets of hardware address, one hop
  bytes.set([1, 1, 6, 1])
  setU32(bytes, 4, xid)
  setU16(bytes, 8, Math.min(secs, 0xffff))
  if (ciaddr !== undefined) bytes.set(parseAddress(ciaddr)!, 12)
  bytes.set(parseAddress(giaddr)!, 24)
  bytes.set(chaddr, 28)
  setU32(bytes, OPTIONS_AT - 4, COOKIE)
  let at = OPTIONS_AT
  for (const one of options) {
    bytes.set(one, at)
    at += one.length
  }
  return bytes
}

const option = (code: number, value: Uint8Array): Uint8Array => Uint8Array.of(code, value.length, ...value)

/** @returns undefined for what is no DHCP message of a server */
export function readMessage(bytes: Uint8Array): ServerMessage | undefined {
  if (bytes.length < OPTIONS_AT || bytes[0] !== 2 || bytes[1] !== 1 || bytes[2] !== 6) return undefined
  if (getU32(bytes, OPTIONS_AT - 4) !== COOKIE) return undefined
  const options = readOptions(bytes)
  const type = options?.get(Option.MESSAGE_TYPE)
  if (options === undefined || type?.length !== 1) return undefined
  const number = (code: number): number | undefined => {
    const value = options.get(code)
    return value?.length === 4 ? getU32(value, 0) : undefined
  }
  const serverId = options.get(Option.SERVER_ID)
  const dns = options.get(Option.DNS) ?? new Uint8Array(0)
  return {
    type: type[0]!,
    xid: getU32(bytes, 4),
    yiaddr: formatAddress(bytes.subarray(16, 20)),
    giaddr: formatAddress(bytes.subarray(24, 28)),
    chaddr: bytes.slice(28, 34),
    serverId: serverId?.length === 4 ? formatAddress(serverId) : undefined,
    clientId: options.get(Option.CLIENT_ID),
    lease: number(Option.LEASE_TIME),
    renewal: number(Option.RENEWAL_TIME),
    rebinding: number(Option.REBINDING_TIME),
    dns: Array.from({ length: Math.floor(dns.length / 4) }, (_, i) => formatAddress(dns.subarray(4 * i, 4 * i + 4))),
    message: String.fromCharCode(...(options.get(Option.MESSAGE) ?? []))
      .replace(/[^ -~]/g, '?')
      .slice(0, 120),
  }
}

/** Of the options field and, where it says so, `file` and `sname` (RFC 2132 §9.3); parts of one are joined (RFC 3396). */
function readOptions(bytes: Uint8Array): Map<number, Uint8Array> | undefined {
  const options = new Map<number, Uint8Array>()
  if (!scan(bytes.subarray(OPTIONS_AT), options)) return undefined
  const [overload = 0] = options.get(Option.OVERLOAD) ?? []
  if ((overload & 1) !== 0 && !scan(bytes.subarray(108, 236), options)) return undefined
  if ((overload & 2) !== 0 && !scan(bytes.subarray(44, 108), options)) return undefined
  return options
}

/** @returns false when an option goes beyond the end */
function scan(field: Uint8Array, into: Map<number, Uint8Array>): boolean {
  for (let at = 0; at < field.length; ) {
    const code = field[at++]!
    if (code === Option.PAD) continue
    if (code === Option.END) return true
    const end = at + 1 + (field[at] ?? Infinity)
    if (end > field.length) return false
    const before = into.get(code) ?? new Uint8Array(0)
    // no option that is read here is longer
    if (before.length < 1_024) into.set(code, Uint8Array.of(...before, ...field.subarray(at + 1, end)))
    at = end
  }
  return true
}
