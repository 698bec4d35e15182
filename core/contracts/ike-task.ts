import type { Payload } from '../wire/index.ts'
import type { CryptoProvider } from './crypto.ts'
import type { Facts } from './facts.ts'
import type { Rng } from './machine.ts'
import type { Flow } from './net.ts'

/** What a task may know of the IKE SA whose messages it reads and writes. */
export interface IkeSaView {
  /** True when this host sent the first request. */
  readonly initiator: boolean
  readonly initiatorSpi: bigint
  /** 0 until the responder chose it. */
  readonly responderSpi: bigint
  /** Names the SA and all that replace it by rekeying: `IkeSaRef.id`. */
  readonly line: string
  /** Config name of the peer; undefined on a responder until the peer has authenticated. */
  readonly peer: string | undefined
  readonly facts: Facts
  readonly crypto: CryptoProvider
  readonly rng: Rng
  /** Records a fact; policy looks again after the message. */
  learn(name: string, value: string | number | boolean, source: string): void
}

export interface OutgoingMessage {
  /** RFC 7296 §3.1, e.g. 34 for IKE_SA_INIT. */
  readonly exchange: number
  readonly response: boolean
  readonly messageId: number
  /** The flow it will be sent on. */
  readonly flow: Flow
  /** Payloads so far, without SK; add to it. */
  readonly payloads: Payload[]
  /** For a response: the request it answers. */
  readonly request?: IncomingMessage
}

export interface IncomingMessage {
  readonly exchange: number
  readonly response: boolean
  readonly messageId: number
  readonly flow: Flow
  readonly payloads: readonly Payload[]
}

/**
 * One concern that adds payloads to IKE messages and reads them from the peer's (a NAT detection, a vendor ID, an
 * extension's notify). It knows no timers, message ids or retransmission: the session owns those. One object per IKE SA;
 * messages reach it only after they authenticated, but for the exchange that opens the SA: IKE_SA_INIT, or
 * IKE_SESSION_RESUME (RFC 5723) where a session is resumed, which no facts of the SA before come over to (`opensIkeSa` of
 * natweave/wire tells either). In an INFORMATIONAL request that updates addresses (RFC 4555), `payloads` has
 * UPDATE_SA_ADDRESSES already when `build` is called, and `flow` is the new one.
 */
export interface IkeTask {
  readonly name: string
  build?(message: OutgoingMessage, sa: IkeSaView, now: number): void
  /** @throws PeerError to refuse the message; its notify goes into the answer */
  process?(message: IncomingMessage, sa: IkeSaView, now: number): void
}
