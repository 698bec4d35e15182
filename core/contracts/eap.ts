import type { Trust } from './credentials.ts'
import type { Rng } from './machine.ts'
import type { Identity, KeySource } from './settings.ts'

/** What an end of an EAP conversation does next. */
export type EapStep =
  /**
   * Type-Data of the next request (server) or response (peer), RFC 3748 §4.1. `refusal`: it tells the peer that it has
   * failed, and why is for the log of this host.
   */
  | { readonly type: 'send'; readonly data: Uint8Array; readonly refusal?: string }
  /** Nothing yet: it calls `wake` when `resume` has the step. */
  | { readonly type: 'wait' }
  /**
   * The other end has proved itself as far as the method goes. `msk` is at least 64 octets (RFC 3748 §7.10). The peer may have
   * a last `data` to send; the server sends EAP-Success next.
   */
  | { readonly type: 'done'; readonly msk: Uint8Array; readonly data?: Uint8Array }
  /** `why` for the log of this host; the server sends EAP-Failure, the peer `data` first, where there is any. */
  | { readonly type: 'failed'; readonly why: string; readonly data?: Uint8Array }

/** One end of one conversation. What comes in may be any octets: never throws. */
export interface EapConversation {
  /** The server's first step; undefined at a peer, which waits for the first request. */
  start?(): EapStep
  /** Type-Data from the other end. */
  receive(data: Uint8Array): EapStep
  /** The step after `wait`. */
  resume?(): EapStep
}

/** What a peer of the configuration says of EAP. */
export interface EapSecrets {
  /** Of the peer: who it is, and by what it proves that. */
  readonly user?: { readonly name: string; readonly password: Uint8Array }
  /** Of the server: passwords by name. */
  readonly users?: ReadonlyMap<string, Uint8Array>
  /** For methods with certificates: this end's. */
  readonly key?: KeySource
}

/** What a conversation is about. */
export interface EapContext {
  readonly secrets: EapSecrets
  /** Of the peer: who the server is in IKE; of the server: what the peer calls itself, which is not proved. */
  readonly remote: Identity
  /** By what certificates of the other end are judged, where the configuration has some. */
  readonly trust: Trust | undefined
  readonly rng: Rng
  /** Wall clock, ms since 1970. */
  readonly wall: number
  /** Tells that what was waited for is there; not during `receive`. */
  readonly wake: () => void
}

/** An EAP method. Packets, identities and the choice of a method are core's; what is inside them is the method's. */
export interface EapMethod {
  /** As the configuration has it after `eap-`: `mschapv2`. */
  readonly name: string
  /** EAP method type, IANA. */
  readonly type: number
  /** Strong enough to prove the server as well, so that it needs no certificate in IKE (RFC 5998 §4). */
  readonly mutual: boolean
  peer(context: EapContext): EapConversation
  server(context: EapContext): EapConversation
}
