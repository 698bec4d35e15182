import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import type { Endpoint, Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import { WireError } from '../../core/errors.ts'
import { candidatePriority } from '../../core/path/index.ts'
import {
  ExchangeType,
  Flag,
  IKE_HEADER,
  IKE_PORT,
  NON_ESP_MARKER,
  NotifyType,
  notifyOf,
  PayloadType,
  parseIke,
  serializeIke,
} from '../../core/wire/index.ts'
import { meNotify } from './connect.ts'
import { decodeEndpoint, encodeEndpoint } from './endpoint.ts'

/** Connectivity checks: unprotected INFORMATIONAL messages with both SPIs zero, authenticated by ME_CONNECTAUTH. */
export interface Check {
  readonly response: boolean
  /** Number of the pair in the list of whoever sent the request. */
  readonly number: number
  readonly id: Uint8Array
  /** What a candidate learned from this check shall have. */
  readonly priority: number
  /** In a response: where the request came from. */
  readonly seen: Endpoint | undefined
  /** Octets of ME_ENDPOINT as they came, which are hashed. */
  readonly endpoint: Uint8Array
  readonly auth: Uint8Array
}

/** Where the exchange type stands in the IKE header, and the first payload's type. */
const EXCHANGE_AT = 18
const NEXT_PAYLOAD_AT = 16
const SPIS = 16
/** ID of 4, endpoint of 8, digest; ID of 16, endpoint of 24, digest, and room for a vendor ID. */
const LEAST = IKE_HEADER + 12 + 16 + 28
const MOST = 256

/** RFC 7296 §2.23: there is a marker unless one of the ports is 500. */
const markerOf = ({ local, remote }: Flow): number =>
  local.port === IKE_PORT || remote.port === IKE_PORT ? 0 : NON_ESP_MARKER

/** True for what can only be a check: nothing else of IKE has two SPIs of zero and starts with a notify. */
export function looksLikeCheck({ bytes, start, end }: Packet, flow: Flow): boolean {
  const at = start + markerOf(flow)
  if (end - at < LEAST || end - at > MOST) return false
  if (bytes[at + EXCHANGE_AT] !== ExchangeType.INFORMATIONAL || bytes[at + NEXT_PAYLOAD_AT] !== PayloadType.N)
    return false
  for (let i = start; i < at + SPIS; i++) if (bytes[i] !== 0) return false
  return true
}

/** @returns undefined for whatever does not hold together; nothing is authenticated yet */
export function readCheck(datagram: Uint8Array, flow: Flow): Check | undefined {
  try {
    const { header, payloads } = parseIke(datagram.subarray(markerOf(flow)))
    const id = notifyOf(payloads, NotifyType.ME_CONNECTID)?.data
    const endpoint = notifyOf(payloads, NotifyType.ME_ENDPOINT)?.data
    const auth = notifyOf(payloads, NotifyType.ME_CONNECTAUTH)?.data
    const value = endpoint && decodeEndpoint(endpoint)
    if (id === undefined || endpoint === undefined || auth === undefined || value === undefined) return undefined
    if (id.length < 4 || id.length > 16) return undefined
    const response = (header.flags & Flag.RESPONSE) !== 0
    const { priority, endpoint: seen } = value
    return { response, number: header.messageId, id, priority, seen: response ? seen : undefined, endpoint, auth }
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

/** SHA-1 over message ID, connect ID, endpoint and the key of the message's sender: 20 octets. */
export function connectAuth(
  crypto: CryptoProvider,
  number: number,
  id: Uint8Array,
  endpoint: Uint8Array,
  key: Uint8Array,
): Uint8Array {
  const messageId = new Uint8Array(4)
  new DataView(messageId.buffer).setUint32(0, number)
  return crypto.hash('sha1', messageId, id, endpoint, key)
}

/** In constant time. @param key - of the end that sent it */
export function isAuthentic(crypto: CryptoProvider, { number, id, endpoint, auth }: Check, key: Uint8Array): boolean {
  const wanted = connectAuth(crypto, number, id, endpoint, key)
  let difference = auth.length ^ wanted.length
  for (let i = 0; i < wanted.length; i++) difference |= wanted[i]! ^ (auth[i] ?? 0)
  return difference === 0
}

const PEER_REFLEXIVE = candidatePriority('peer-reflexive')

/**
 * A datagram, with its marker where the flow needs one.
 * @param seen - for a response: where the request came from
 */
function writeCheck(
  crypto: CryptoProvider,
  flow: Flow,
  { number, id, key }: { readonly number: number; readonly id: Uint8Array; readonly key: Uint8Array },
  priority: number,
  seen: Endpoint | undefined,
): Uint8Array {
  const endpoint = encodeEndpoint({ kind: 'peer-reflexive', priority, ...(seen !== undefined && { endpoint: seen }) })
  const message = serializeIke(
    {
      initiatorSpi: 0n,
      responderSpi: 0n,
      exchange: ExchangeType.INFORMATIONAL,
      flags: seen === undefined ? Flag.INITIATOR : Flag.RESPONSE,
      messageId: number,
    },
    [
      meNotify(NotifyType.ME_CONNECTID, id),
      meNotify(NotifyType.ME_ENDPOINT, endpoint),
      meNotify(NotifyType.ME_CONNECTAUTH, connectAuth(crypto, number, id, endpoint, key)),
    ],
  )
  const marker = markerOf(flow)
  if (marker === 0) return message
  const datagram = new Uint8Array(marker + message.length)
  datagram.set(message, marker)
  return datagram
}

export interface CheckKeys {
  readonly id: Uint8Array
  /** This host's own key. */
  readonly key: Uint8Array
}

export const checkRequest = (crypto: CryptoProvider, flow: Flow, number: number, keys: CheckKeys): Uint8Array =>
  writeCheck(crypto, flow, { number, ...keys }, PEER_REFLEXIVE, undefined)

/** The answer to a request that came on `flow`. */
export const checkResponse = (
  crypto: CryptoProvider,
  flow: Flow,
  { number, priority }: Pick<Check, 'number' | 'priority'>,
  keys: CheckKeys,
): Uint8Array => writeCheck(crypto, flow, { number, ...keys }, priority, flow.remote)
