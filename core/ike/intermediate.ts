import type { CryptoProvider, KeyExchange } from '../contracts/crypto.ts'
import type { IncomingMessage } from '../contracts/ike-task.ts'
import { PeerError } from '../errors.ts'
import {
  ExchangeType,
  GENERIC_HEADER,
  IKE_HEADER,
  type IkeHead,
  NotifyType,
  type Payload,
  payloadOf,
  serializeIke,
} from '../wire/index.ts'
import { type Channel, destroyChannel, nextChannel } from './channel.ts'
import type { Exchange } from './exchange.ts'
import type { IkeSa } from './ike-sa.ts'
import { findError } from './notify.ts'
import type { Chain } from './protect.ts'
import { type AdditionalKe, answerKeyExchange } from './suite.ts'

/** IKE_INTERMEDIATE, RFC 9242, for the additional key exchanges of a new IKE SA, RFC 9370 §2.2.2. */

const NOTHING = new Uint8Array(0)

/** What both ends said in IKE_INTERMEDIATE, for AUTH to cover: RFC 9242 §3.3.2. */
export class Transcript {
  #byInitiator: Uint8Array = NOTHING
  #byResponder: Uint8Array = NOTHING
  #exchanges = 0

  /** @param channel - whose keys protect the message, before it changes them */
  add(crypto: CryptoProvider, { suite, keys }: Channel, byInitiator: boolean, head: IkeHead, chain: Chain): void {
    if (byInitiator) {
      this.#byInitiator = crypto.prf(suite.prf, keys.pi, this.#byInitiator, readable(head, chain), chain.bytes)
      this.#exchanges++
    } else this.#byResponder = crypto.prf(suite.prf, keys.pr, this.#byResponder, readable(head, chain), chain.bytes)
  }

  /** IntAuth, which both ends append to what AUTH covers; empty without IKE_INTERMEDIATE. */
  octets(): Uint8Array {
    if (this.#exchanges === 0) return NOTHING
    const out = new Uint8Array(this.#byInitiator.length + this.#byResponder.length + 4)
    out.set(this.#byInitiator)
    out.set(this.#byResponder, this.#byInitiator.length)
    // the message ID of the first IKE_AUTH, which comes next
    new DataView(out.buffer).setUint32(out.length - 4, this.#exchanges + 1)
    return out
  }
}

/** What of a message is not encrypted, as if it were not protected at all: no IV, no padding, no ICV, no fragments. */
function readable(head: IkeHead, { first, bytes }: Chain): Uint8Array {
  const whole = serializeIke(head, [{ type: 'SK', inner: first, at: IKE_HEADER, bodyAt: BODY_AT, body: bytes }])
  return whole.subarray(0, BODY_AT)
}

const BODY_AT = IKE_HEADER + GENERIC_HEADER

/** One additional key exchange of the initiator, and then the others. */
export class IntermediateExchange implements Exchange {
  readonly type = ExchangeType.IKE_INTERMEDIATE
  readonly #method: AdditionalKe
  readonly #others: readonly AdditionalKe[]
  readonly #next: Exchange
  #keyExchange: KeyExchange | undefined

  private constructor(method: AdditionalKe, others: readonly AdditionalKe[], next: Exchange) {
    this.#method = method
    this.#others = others
    this.#next = next
  }

  /** The exchanges that the agreed suite needs before `next`. */
  static before(next: Exchange, [method, ...others]: readonly AdditionalKe[]): Exchange {
    return method === undefined ? next : new IntermediateExchange(method, others, next)
  }

  request(sa: IkeSa): Payload[] {
    this.#keyExchange = sa.crypto.keyExchange(this.#method.id, sa.rng)
    return [{ type: 'KE', group: this.#method.id, data: this.#keyExchange.publicValue }]
  }

  response(sa: IkeSa, { payloads }: IncomingMessage): void {
    const error = findError(payloads)
    if (error !== undefined)
      throw new PeerError('PEER_REFUSED', `the peer refused IKE_INTERMEDIATE with notify ${error.notify}`, error.notify)
    const ke = payloadOf(payloads, 'KE')
    if (ke?.group !== this.#method.id)
      throw new PeerError('PEER_SYNTAX', 'the IKE_INTERMEDIATE answer lacks the key exchange that was asked for')
    const old = sa.channel!
    sa.openNext(nextChannel(sa, this.#keyExchange!.shared(ke.data)))
    destroyChannel(old)
    sa.defer(IntermediateExchange.before(this.#next, this.#others))
  }
}

/** The responder's end. @throws PeerError for anything but the key exchange whose turn it is */
export function respondIntermediate(sa: IkeSa, { payloads }: IncomingMessage): Payload[] {
  const [method, ...others] = sa.additional
  const ke = payloadOf(payloads, 'KE')
  if (method === undefined || ke?.group !== method.id)
    throw new PeerError(
      'PEER_SYNTAX',
      'an IKE_INTERMEDIATE request without the agreed key exchange',
      NotifyType.INVALID_SYNTAX,
    )
  const { publicValue, shared } = answerKeyExchange(sa.crypto, method.id, ke.data, sa.rng)
  sa.additional = others
  sa.replacement = nextChannel(sa, shared)
  return [{ type: 'KE', group: method.id, data: publicValue }]
}
