import { WireError } from '../../core/errors.ts'
import { addressBytes, familyOf, formatAddress, Reader, Writer } from '../../core/wire/index.ts'

/** MAP messages of the Port Control Protocol, RFC 6887 §7 and §11. */

export const PCP_VERSION = 2
/** Where gateways listen, for NAT-PMP too. */
export const PCP_PORT = 5351
const MAP = 1
const RESPONSE = 0x80
/** RFC 6887 §7: longer ones are malformed. */
const MAX_LENGTH = 1_100
const MAP_LENGTH = 60

/** Result codes, RFC 6887 §7.4. */
export const PcpResult = {
  SUCCESS: 0,
  UNSUPP_VERSION: 1,
  NOT_AUTHORIZED: 2,
  MALFORMED_REQUEST: 3,
  UNSUPP_OPCODE: 4,
  UNSUPP_OPTION: 5,
  MALFORMED_OPTION: 6,
  NETWORK_FAILURE: 7,
  NO_RESOURCES: 8,
  UNSUPP_PROTOCOL: 9,
  USER_EX_QUOTA: 10,
  CANNOT_PROVIDE_EXTERNAL: 11,
  ADDRESS_MISMATCH: 12,
  EXCESSIVE_REMOTE_PEERS: 13,
} as const

export interface MapRequest {
  /** Seconds; 0 removes the mapping. */
  readonly lifetime: number
  /** This host's address, as the packet's source. */
  readonly client: string
  /** 12 octets that stay the same for one mapping. */
  readonly nonce: Uint8Array
  readonly protocol: number
  readonly internalPort: number
  /** What it shall be, or was; port 0 for any. */
  readonly external: { readonly address: string; readonly port: number }
}

export interface MapResponse {
  readonly result: number
  /** Seconds; with an error, how long not to ask again. */
  readonly lifetime: number
  /** Seconds since the gateway lost its mappings last. */
  readonly epoch: number
  readonly nonce: Uint8Array
  readonly protocol: number
  readonly internalPort: number
  readonly external: { readonly address: string; readonly port: number }
}

export function serializeMapRequest({
  lifetime,
  client,
  nonce,
  protocol,
  internalPort,
  external,
}: MapRequest): Uint8Array {
  const w = new Writer()
  w.u8(PCP_VERSION)
  w.u8(MAP)
  w.zeros(2)
  w.u32(lifetime)
  w.put(sixteen(client))
  w.put(nonce)
  w.u8(protocol)
  w.zeros(3)
  w.u16(internalPort)
  w.u16(external.port)
  w.put(sixteen(external.address))
  return w.finish()
}

/**
 * The other side of `serializeMapRequest`, which alone makes what comes here.
 *
 * @throws WireError
 */
export function parseMapRequest(bytes: Uint8Array): MapRequest {
  const r = new Reader(bytes)
  r.skip(4)
  const lifetime = r.u32()
  const client = plain(r.take(16))
  const nonce = r.take(12)
  const protocol = r.u8()
  r.skip(3)
  const internalPort = r.u16()
  return { lifetime, client, nonce, protocol, internalPort, external: { port: r.u16(), address: plain(r.take(16)) } }
}

/** @param epoch - seconds */
export function serializeMapResponse(request: MapRequest, result: number, epoch: number): Uint8Array {
  const w = new Writer()
  w.u8(PCP_VERSION)
  w.u8(MAP | RESPONSE)
  w.u8(0)
  w.u8(result)
  w.u32(request.lifetime)
  w.u32(epoch)
  w.zeros(12)
  w.put(request.nonce)
  w.u8(request.protocol)
  w.zeros(3)
  w.u16(request.internalPort)
  w.u16(request.external.port)
  w.put(sixteen(request.external.address))
  return w.finish()
}

/**
 * Options behind it are left out. An error may come in a message as short as its header.
 *
 * @throws WireError for anything but a response of version 2 to MAP
 */
export function parseMapResponse(bytes: Uint8Array): MapResponse {
  if (bytes.length > MAX_LENGTH || bytes.length % 4 !== 0) throw new WireError(`PCP: ${bytes.length} octets`)
  const r = new Reader(bytes)
  const version = r.u8()
  const opcode = r.u8()
  r.skip(1)
  const result = r.u8()
  if (version !== PCP_VERSION || opcode !== (MAP | RESPONSE))
    throw new WireError(`PCP: version ${version}, opcode ${opcode}`)
  const lifetime = r.u32()
  const epoch = r.u32()
  r.skip(12)
  if (bytes.length < MAP_LENGTH) throw new WireError(`PCP: MAP response of ${bytes.length} octets`)
  const nonce = r.take(12)
  const protocol = r.u8()
  r.skip(3)
  return {
    result,
    lifetime,
    epoch,
    nonce,
    protocol,
    internalPort: r.u16(),
    external: { port: r.u16(), address: plain(r.take(16)) },
  }
}

const MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)

/** IPv4 addresses travel as ::ffff:a.b.c.d, RFC 6887 §5. */
function sixteen(address: string): Uint8Array {
  if (familyOf(address) === 6) return addressBytes(address)
  const octets = new Uint8Array(16)
  octets.set(MAPPED)
  octets.set(addressBytes(address), 12)
  return octets
}

const plain = (octets: Uint8Array): string =>
  formatAddress(MAPPED.every((octet, i) => octet === octets[i]) ? octets.subarray(12) : octets)
