import type { Machine } from '../../core/contracts/machine.ts'
import { type Endpoint, sameEndpoint } from '../../core/contracts/net.ts'
import {
  notUnderstood,
  type ParsedStun,
  parseStun,
  type StunAttribute,
  type StunAttributeName,
  StunError,
  StunMethod,
  serializeStun,
  stunValue,
} from '../../core/wire/index.ts'
import { RateLimit } from './rate-limit.ts'

export interface ServerOptions {
  /**
   * What it answers at. Two addresses with the same two ports each (four endpoints of a family) make behaviour discovery
   * possible.
   */
  readonly endpoints: readonly Endpoint[]
  /** Requests answered a second, from one source and from all. */
  readonly ratePerSource: number
  readonly rate: number
}

export type ServerIn = {
  readonly type: 'datagram'
  /** The server's endpoint it came to. */
  readonly local: Endpoint
  readonly from: Endpoint
  readonly data: Uint8Array
}

export type ServerOut =
  | { readonly type: 'transmit'; readonly local: Endpoint; readonly to: Endpoint; readonly data: Uint8Array }
  | { readonly type: 'drop'; readonly reason: ServerDrop }

export type ServerDrop = 'stun-malformed' | 'stun-not-a-request' | 'stun-own-address' | 'stun-rate'

/** What requests may ask for. Credentials are no concern of a public server: they are not looked at. */
const UNDERSTOOD: readonly StunAttributeName[] = [
  'CHANGE-REQUEST',
  'RESPONSE-PORT',
  'PADDING',
  'USERNAME',
  'REALM',
  'NONCE',
]

/**
 * Binding requests of RFC 8489, RFC 5780 and RFC 3489. It answers to the source address alone (RESPONSE-ADDRESS of
 * RFC 3489 is refused), keeps nothing about clients, and pads an answer by no more than the request was padded.
 */
export class StunServer implements Machine<ServerIn, ServerOut> {
  readonly deadline = Infinity
  readonly #endpoints: readonly Endpoint[]
  readonly #limit: RateLimit

  constructor({ endpoints, ratePerSource, rate }: ServerOptions) {
    this.#endpoints = endpoints
    this.#limit = new RateLimit(ratePerSource, rate)
  }

  step({ local, from, data }: ServerIn, now: number): readonly ServerOut[] {
    let request: ParsedStun
    try {
      request = parseStun(data)
    } catch {
      return [{ type: 'drop', reason: 'stun-malformed' }]
    }
    if (request.class !== 'request' || request.method !== StunMethod.Binding)
      return [{ type: 'drop', reason: 'stun-not-a-request' }]
    if (from.port === 0 || this.#endpoints.some(own => sameEndpoint(own, from)))
      return [{ type: 'drop', reason: 'stun-own-address' }]
    if (!this.#limit.admits(from.address, now)) return [{ type: 'drop', reason: 'stun-rate' }]
    return [this.#answer(request, local, from)]
  }

  #answer(request: ParsedStun, local: Endpoint, from: Endpoint): ServerOut {
    const unknown = notUnderstood(request, UNDERSTOOD)
    const change = stunValue(request, 'CHANGE-REQUEST')
    const responsePort = stunValue(request, 'RESPONSE-PORT')
    const padding = stunValue(request, 'PADDING')
    const other = this.#other(local)
    const refuse = (code: number, reason: string, ...more: StunAttribute[]): ServerOut =>
      this.#respond(request, 'error', local, from, [{ type: 'ERROR-CODE', value: { code, reason } }, ...more])
    if (unknown.length > 0 || (change !== undefined && other === undefined)) {
      const value = unknown.length > 0 ? unknown : [CHANGE_REQUEST]
      return refuse(StunError.UNKNOWN_ATTRIBUTE, 'Unknown Attribute', { type: 'UNKNOWN-ATTRIBUTES', value })
    }
    // RFC 5780 §7.5: fragments must not go to a port that never asked for them
    if (responsePort === 0 || (responsePort !== undefined && padding !== undefined))
      return refuse(StunError.BAD_REQUEST, 'Bad Request')
    const origin: Endpoint = {
      address: change?.changeIp === true ? other!.address : local.address,
      port: change?.changePort === true ? other!.port : local.port,
    }
    const to = responsePort === undefined ? from : { address: from.address, port: responsePort }
    return this.#respond(request, 'success', origin, to, [
      ...(classic(request)
        ? plain(from, origin, other)
        : [
            { type: 'XOR-MAPPED-ADDRESS', value: from } as const,
            { type: 'RESPONSE-ORIGIN', value: origin } as const,
            ...discovery(from, other),
          ]),
      ...(padding === undefined ? [] : [{ type: 'PADDING', value: new Uint8Array(padding.length) } as const]),
    ])
  }

  #respond(
    request: ParsedStun,
    kind: 'success' | 'error',
    local: Endpoint,
    to: Endpoint,
    attributes: readonly StunAttribute[],
  ): ServerOut {
    const { method, transaction, fingerprint } = request
    const data = serializeStun({ class: kind, method, transaction, attributes }, { fingerprint })
    return { type: 'transmit', local, to, data }
  }

  /** The endpoint that differs in both address and port, where all four are there. */
  #other(local: Endpoint): Endpoint | undefined {
    const family = local.address.includes(':')
    const has = (address: string, port: number): boolean =>
      this.#endpoints.some(own => sameEndpoint(own, { address, port }))
    return this.#endpoints.find(
      ({ address, port }) =>
        address.includes(':') === family &&
        address !== local.address &&
        port !== local.port &&
        has(address, local.port) &&
        has(local.address, port),
    )
  }
}

const CHANGE_REQUEST = 0x0003

/** The plain address too, as RFC 5780's clients want: NATs that rewrite addresses in payloads change this one only. */
const discovery = (from: Endpoint, other: Endpoint | undefined): readonly StunAttribute[] =>
  other === undefined
    ? []
    : [
        { type: 'MAPPED-ADDRESS', value: from },
        { type: 'OTHER-ADDRESS', value: other },
      ]

/** RFC 3489 has no cookie where its successors have one. */
const classic = (request: ParsedStun): boolean => request.transaction.length === 16

const plain = (from: Endpoint, origin: Endpoint, other: Endpoint | undefined): readonly StunAttribute[] => [
  { type: 'MAPPED-ADDRESS', value: from },
  { type: 'SOURCE-ADDRESS', value: origin },
  // a client of RFC 3489 takes an answer without it for a broken one
  { type: 'CHANGED-ADDRESS', value: other ?? origin },
]
