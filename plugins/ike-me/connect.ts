import type { Endpoint } from '../../core/contracts/net.ts'
import { candidatePriority } from '../../core/path/index.ts'
import { type Identification, NotifyType, notifyOf, type Payload, payloadOf } from '../../core/wire/index.ts'
import { decodeEndpoint, encodeEndpoint, type MeEndpoint } from './endpoint.ts'

/** What the payloads of an ME_CONNECT exchange say, whoever sends it to whom. */
export interface Connect {
  /** IDp; towards the server whom to reach, from it who speaks. */
  readonly who: Identification | undefined
  /** 4 to 16 octets. */
  readonly id: Uint8Array | undefined
  /** 16 to 32 octets. */
  readonly key: Uint8Array | undefined
  readonly callback: boolean
  /** An answer to an opening request. */
  readonly response: boolean
  readonly failed: boolean
  readonly endpoints: readonly MeEndpoint[]
}

const REFLEXIVE = candidatePriority('server-reflexive')

/** One that opens or answers: everything that is needed is there. */
export interface Offer {
  readonly id: Uint8Array
  readonly key: Uint8Array
  readonly endpoints: readonly MeEndpoint[]
}

/** More are left unread: the product of two lists has to be checked. */
export const MAX_ENDPOINTS = 16

const ID = { least: 4, most: 16 } as const
const KEY = { least: 16, most: 32 } as const

/** Reads the payloads; octets of wrong length count as absent. All octets are copies. */
export function readConnect(payloads: readonly Payload[]): Connect {
  const data = (type: number, { least, most }: { least: number; most: number }): Uint8Array | undefined => {
    const found = notifyOf(payloads, type)?.data
    return found !== undefined && found.length >= least && found.length <= most ? found.slice() : undefined
  }
  const idp = payloadOf(payloads, 'IDp')
  const endpoints = payloads
    .filter(p => p.type === 'N' && p.notify === NotifyType.ME_ENDPOINT)
    .slice(0, MAX_ENDPOINTS)
    .flatMap(p => (p.type === 'N' ? (decodeEndpoint(p.data) ?? []) : []))
  return {
    who: idp && { idType: idp.idType, data: idp.data.slice() },
    id: data(NotifyType.ME_CONNECTID, ID),
    key: data(NotifyType.ME_CONNECTKEY, KEY),
    callback: notifyOf(payloads, NotifyType.ME_CALLBACK) !== undefined,
    response: notifyOf(payloads, NotifyType.ME_RESPONSE) !== undefined,
    failed: notifyOf(payloads, NotifyType.ME_CONNECT_FAILED) !== undefined,
    endpoints: endpoints.filter(({ endpoint }) => endpoint !== undefined),
  }
}

/** @returns undefined unless ID, key and at least one endpoint are there */
export const offerOf = ({ id, key, endpoints }: Connect): Offer | undefined =>
  id !== undefined && key !== undefined && endpoints.length > 0 ? { id, key, endpoints } : undefined

export const meNotify = (type: number, data: Uint8Array = new Uint8Array(0)): Payload => ({
  type: 'N',
  protocol: 0,
  spi: new Uint8Array(0),
  notify: type,
  data,
})

const endpointNotify = (value: MeEndpoint): Payload => meNotify(NotifyType.ME_ENDPOINT, encodeEndpoint(value))

/** The payloads in strongSwan's order: notifies, then IDp. `flag` comes where strongSwan's peers and servers put it. */
export function connectPayloads(
  who: Identification,
  { id, key, endpoints }: Offer,
  flag?: 'callback' | 'response',
): Payload[] {
  return [
    meNotify(NotifyType.ME_CONNECTID, id),
    meNotify(NotifyType.ME_CONNECTKEY, key),
    ...(flag === 'callback' ? [meNotify(NotifyType.ME_CALLBACK)] : []),
    ...(flag === 'response' ? [meNotify(NotifyType.ME_RESPONSE)] : []),
    ...endpoints.map(endpointNotify),
    { type: 'IDp', ...who },
  ]
}

/** Server to requester: the peer is online now. */
export const callbackPayloads = (who: Identification): Payload[] => [
  meNotify(NotifyType.ME_CALLBACK),
  { type: 'IDp', ...who },
]

/** Server to requester: the peer does not want. strongSwan sends none and understands none. */
export const refusedPayloads = (who: Identification, id: Uint8Array): Payload[] => [
  meNotify(NotifyType.ME_CONNECT_FAILED),
  meNotify(NotifyType.ME_CONNECTID, id),
  { type: 'IDp', ...who },
]

/** Client to server: where do you see me? In IKE_AUTH, and between natweave's ends in an ME_CONNECT of its own. */
export const reflexiveRequest = (): Payload => endpointNotify({ kind: 'server-reflexive', priority: REFLEXIVE })

/** The answer. */
export const reflexiveAnswer = (endpoint: Endpoint): Payload =>
  endpointNotify({ kind: 'server-reflexive', priority: REFLEXIVE, endpoint })

/** The first endpoint of a message, if it is a server reflexive one; without an address it asks for one. */
export function reflexiveOf(payloads: readonly Payload[]): MeEndpoint | undefined {
  const data = notifyOf(payloads, NotifyType.ME_ENDPOINT)?.data
  const value = data && decodeEndpoint(data)
  return value?.kind === 'server-reflexive' ? value : undefined
}
