import type { KeyExchange } from '../../../core/contracts/crypto.ts'
import { equalBytes } from '../../../core/ike/equal.ts'
import { deriveIkeKeys, type IkeKeys, type Nonces, pskAuth, signedOctets, skeyseed } from '../../../core/ike/keys.ts'
import { findError, notify } from '../../../core/ike/notify.ts'
import { offerProposals, parseProposals } from '../../../core/ike/proposal.ts'
import { Protector } from '../../../core/ike/protect.ts'
import type { IkeSuite } from '../../../core/ike/suite.ts'
import { systemRng } from '../../../core/system.ts'
import {
  AuthMethod,
  Encr,
  ExchangeType,
  Flag,
  type Identification,
  IdType,
  type IkeMessage,
  identification,
  Ke,
  NotifyType,
  nameOf,
  type Payload,
  Prf,
  ProtocolId,
  parseIke,
  parsePayloads,
  payloadOf,
  serializeIke,
  Writer,
} from '../../../core/wire/index.ts'
import { nodeCryptoProvider as crypto } from '../../../plugins/node-crypto/provider.ts'

/** What all responders are configured with, in their own words. */
export const LOAD = {
  ike: 'aes256gcm16-prfsha256-x25519',
  esp: 'aes128gcm16',
  psk: 'a secret of all the initiators',
  gateway: 'gateway.bench',
  /** Protected by the responder, and proposed by the initiators as a single address each. */
  local: '10.3.0.0/24',
  remote: '10.64.0.0/10',
} as const

const SUITE: IkeSuite = { encr: Encr.ENCR_AES_GCM_16, keyBits: 256, prf: Prf.PRF_HMAC_SHA2_256, ke: Ke.CURVE25519 }
const IKE = offerProposals(parseProposals([LOAD.ike], 'ike'), new Uint8Array(0))
const ESP = parseProposals([LOAD.esp], 'esp')
const PSK = new TextEncoder().encode(LOAD.psk)

/** One for all, since only the responder is measured: it makes a fresh one for each SA. */
let own: KeyExchange | undefined

/**
 * One initiator, as small as RFC 7296 allows: IKE_SA_INIT, IKE_AUTH with a pre-shared key and one Child SA, and DELETE
 * where it is told to. It checks what it gets, so that nobody is counted who has not answered rightly.
 */
export class Handshake {
  /** The last request, to be sent again when nothing comes. */
  request: Uint8Array
  /** The responder has asked for a cookie. */
  challenged = false
  readonly spi: bigint
  readonly #index: number
  readonly #ni = systemRng.bytes(32)
  #init: Uint8Array
  #responderSpi = 0n
  #keys: { readonly all: IkeKeys; readonly out: Protector; readonly in: Protector } | undefined
  #last = 0
  #expected: (id: Identification, auth: Uint8Array) => boolean = () => false

  /** @param index - tells the identities and the inner addresses of initiators apart */
  constructor(index: number) {
    this.#index = index
    own ??= crypto.keyExchange(Ke.CURVE25519, systemRng)
    this.spi = new DataView(systemRng.bytes(8).buffer).getBigUint64(0) | 1n
    this.#init = this.#open([])
    this.request = this.#init
  }

  /**
   * Takes a response.
   * @returns what stands now, or has gone, with this response; undefined: there is another request to send, or it is none
   *   that was waited for
   * @throws Error when the responder refuses, or answers what it should not
   */
  receive(raw: Uint8Array): 'established' | 'deleted' | undefined {
    const message = parseIke(raw)
    const { exchange, messageId } = message.header
    if (exchange === ExchangeType.IKE_SA_INIT && this.#keys === undefined) this.#opened(raw, message)
    else if (exchange === ExchangeType.IKE_AUTH && this.#last === 1 && messageId === 1) {
      this.#established(raw, message)
      return 'established'
    } else if (exchange === ExchangeType.INFORMATIONAL && this.#last === 2 && messageId === 2) {
      this.#chain(raw, message)
      return 'deleted'
    }
    return undefined
  }

  /** Makes the DELETE the request, in place of those before. */
  delete(): void {
    this.request = this.#seal(ExchangeType.INFORMATIONAL, 2, [{ type: 'D', protocol: ProtocolId.IKE, spis: [] }])
  }

  #open(before: readonly Payload[]): Uint8Array {
    const head = {
      initiatorSpi: this.spi,
      responderSpi: 0n,
      exchange: ExchangeType.IKE_SA_INIT,
      flags: Flag.INITIATOR,
      messageId: 0,
    }
    return serializeIke(head, [
      ...before,
      { type: 'SA', proposals: IKE },
      { type: 'KE', group: Ke.CURVE25519, data: own!.publicValue },
      { type: 'Nonce', data: this.#ni },
      // no hash of any address: a NAT, and so ESP in UDP, which is all that strongSwan's user-space ESP knows
      notify(NotifyType.NAT_DETECTION_SOURCE_IP, systemRng.bytes(20)),
      notify(NotifyType.NAT_DETECTION_DESTINATION_IP, systemRng.bytes(20)),
    ])
  }

  #opened(raw: Uint8Array, { header, payloads }: IkeMessage): void {
    const cookie = payloads.find(p => p.type === 'N' && p.notify === NotifyType.COOKIE)
    if (cookie !== undefined) {
      this.challenged = true
      this.#init = this.#open([cookie])
      this.request = this.#init
      return
    }
    const nr = payloadOf(payloads, 'Nonce')?.data
    const ke = payloadOf(payloads, 'KE')?.data
    if (nr === undefined || ke === undefined) throw refusal(payloads)
    this.#responderSpi = header.responderSpi
    const nonces: Nonces = { ni: this.#ni, nr }
    const spis = { initiatorSpi: this.spi, responderSpi: header.responderSpi }
    const seed = skeyseed(crypto, SUITE.prf, nonces, own!.shared(ke))
    const all = deriveIkeKeys(crypto, SUITE, seed, { ...nonces, ...spis })
    const protector = (of: 'initiator' | 'responder') => new Protector(crypto, SUITE, all[of], systemRng)
    this.#keys = { all, out: protector('initiator'), in: protector('responder') }
    const id = { idType: IdType.ID_FQDN, data: new TextEncoder().encode(`client-${this.#index}.bench`) }
    const auth = proof(this.#init, nr, all.pi, id)
    this.#expected = (idr, data) => equalBytes(data, proof(raw, this.#ni, all.pr, idr))
    const spi = systemRng.bytes(4)
    spi[0]! |= 0x80
    const inner = Uint8Array.of(10, 64 + (this.#index >> 16), this.#index >> 8, this.#index)
    this.request = this.#seal(ExchangeType.IKE_AUTH, 1, [
      { type: 'IDi', ...id },
      { type: 'AUTH', method: AuthMethod.SHARED_KEY_MIC, data: auth },
      { type: 'SA', proposals: offerProposals(ESP, spi) },
      { type: 'TSi', selectors: [selector(inner, inner)] },
      { type: 'TSr', selectors: [selector(Uint8Array.of(10, 3, 0, 0), Uint8Array.of(10, 3, 0, 255))] },
    ])
  }

  #established(raw: Uint8Array, message: IkeMessage): void {
    const payloads = this.#chain(raw, message)
    const id = payloadOf(payloads, 'IDr')
    const auth = payloadOf(payloads, 'AUTH')
    if (id === undefined || auth === undefined || payloadOf(payloads, 'SA') === undefined) throw refusal(payloads)
    if (!this.#expected(id, auth.data)) throw new Error('the AUTH of the responder is wrong')
  }

  #seal(exchange: number, messageId: number, payloads: readonly Payload[]): Uint8Array {
    this.#last = messageId
    const { spi: initiatorSpi } = this
    const head = { initiatorSpi, responderSpi: this.#responderSpi, exchange, flags: Flag.INITIATOR, messageId }
    return this.#keys!.out.seal(head, payloads)
  }

  #chain(raw: Uint8Array, { payloads }: IkeMessage): readonly Payload[] {
    const sk = payloadOf(payloads, 'SK')
    const chain = sk && this.#keys!.in.open(raw, sk.bodyAt)
    if (sk === undefined || chain === undefined) throw new Error('a response that does not authenticate')
    return parsePayloads(sk.inner, chain)
  }
}

function proof(message: Uint8Array, nonce: Uint8Array, skp: Uint8Array, id: Identification): Uint8Array {
  const w = new Writer(64)
  identification.write(w, id)
  return pskAuth(crypto, SUITE.prf, PSK, signedOctets(crypto, SUITE.prf, message, nonce, skp, w.finish()))
}

const selector = (startAddress: Uint8Array, endAddress: Uint8Array) =>
  ({ family: 4, protocol: 0, startPort: 0, endPort: 0xffff, startAddress, endAddress }) as const

function refusal(payloads: readonly Payload[]): Error {
  const error = findError(payloads)
  return new Error(
    error === undefined
      ? 'the responder left something out'
      : `the responder refuses: ${nameOf(NotifyType, error.notify)}`,
  )
}
