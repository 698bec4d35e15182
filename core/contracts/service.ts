import type { Payload } from '../wire/index.ts'
import type { CryptoProvider } from './crypto.ts'
import type { Fact, Facts } from './facts.ts'
import type { Machine, Rng } from './machine.ts'
import type { Address, Endpoint, Flow } from './net.ts'
import type { Packet } from './packet.ts'
import type { Identity, LeasedPoolSettings, PeerSettings } from './settings.ts'
import type { LocalEndpoint } from './transport.ts'

/**
 * How a place at which this host may be reached came to be known. A peer-reflexive one, seen in a check, belongs to that
 * check's path alone and is never announced.
 */
export type CandidateKind = 'host' | 'server-reflexive' | 'relayed'

/** A place at which this host may be reached; RFC 8445 calls it a candidate, IKE-ME an endpoint. */
export interface Candidate {
  readonly kind: CandidateKind
  /** What peers send to. */
  readonly endpoint: Endpoint
  /** The local endpoint to send from: itself for a host or relayed candidate. */
  readonly base: Endpoint
  /** Who says so, in words: "STUN server 203.0.113.30:3478", "PCP on 192.168.1.1". */
  readonly source: string
  /** Monotonic ms until which it holds; Infinity where nothing limits it. */
  readonly until: number
}

/** One established IKE SA and all that replace it by rekeying. */
export interface IkeSaRef {
  /** Stays the same when the SA is rekeyed. */
  readonly id: string
  /** Name in the configuration. */
  readonly peer: string
  readonly remoteId: Identity
  /** True when this host initiated the first SA of the line. */
  readonly initiator: boolean
  readonly flow: Flow
  readonly facts: Facts
}

/** What a service has from the start. */
export interface ServiceContext {
  readonly crypto: CryptoProvider
  readonly rng: Rng
  /** As configured; what is meant for a plugin stands in `options` under its name. */
  readonly peers: readonly PeerSettings[]
  /** Those of all services, this one's by its `leases`; absent: none. */
  readonly leased?: readonly LeasedPoolSettings[]
}

export type ServiceIn =
  /** The build runs. `locals` follows at once. */
  | { readonly type: 'start' }
  /** The build ends: what is sent now still goes out, and no answer comes. */
  | { readonly type: 'stop' }
  | { readonly type: 'timeout' }
  /** What is bound, now and whenever it changes. */
  | { readonly type: 'locals'; readonly locals: readonly LocalEndpoint[] }
  /** All candidates of this host, whoever found them, whenever they change. */
  | { readonly type: 'candidates'; readonly candidates: readonly Candidate[] }
  /** Somebody wants this peer and policy chose this path: ends in `ready` or `failed` with the same peer. */
  | {
      readonly type: 'find'
      readonly peer: string
      /** Where the peer is said to be; undefined for a peer that can only be found through others. */
      readonly remote: Endpoint | undefined
      /** The local address the system would use towards `remote`. */
      readonly source: Address | undefined
    }
  /** Nobody wants it any more; no `ready` or `failed` may follow. */
  | { readonly type: 'forget'; readonly peer: string }
  /** A datagram the service claimed. `bytes` are valid during the call. */
  | { readonly type: 'datagram'; readonly bytes: Uint8Array; readonly flow: Flow }
  /** An IKE SA with a configured peer stands. */
  | { readonly type: 'sa-up'; readonly sa: IkeSaRef }
  /** IKE and ESP go on another flow now. */
  | { readonly type: 'sa-moved'; readonly sa: IkeSaRef }
  /** Requests to it that have no response yet get none. */
  | { readonly type: 'sa-down'; readonly sa: IkeSaRef; readonly why: string }
  /** An attempt to connect this peer has come to nothing; it may be tried again by itself. */
  | { readonly type: 'connect-failed'; readonly peer: string; readonly code: string; readonly why: string }
  /**
   * The peer's authenticated request of an exchange this service owns. The outputs have one `respond`; without it the answer
   * is INVALID_SYNTAX.
   */
  | {
      readonly type: 'request'
      readonly sa: IkeSaRef
      readonly exchange: number
      readonly payloads: readonly Payload[]
    }
  /** The answer to the `request` with this tag. */
  | { readonly type: 'response'; readonly sa: IkeSaRef; readonly tag: string; readonly payloads: readonly Payload[] }
  /** The answer to `bind`: a fresh endpoint, or the reason there is none. */
  | {
      readonly type: 'bound'
      readonly tag: string
      readonly local: LocalEndpoint | undefined
      readonly why?: string
    }
  /** The answer to `resolve`; empty where the name has no address. `source`: the local address towards the first. */
  | {
      readonly type: 'resolved'
      readonly tag: string
      readonly addresses: readonly Address[]
      readonly source: Address | undefined
    }
  /**
   * To the service whose `leases` the pool names: a peer wants an IPv4 address. Ends in `leased` or `unleased` with the tag,
   * within the time that a peer waits for an answer (10 s).
   */
  | {
      readonly type: 'lease'
      readonly tag: string
      readonly pool: string
      /** Who it is for, proved. */
      readonly identity: Identity
      /** Tells hosts apart that share an identity; 0 for the only one. */
      readonly instance: number
      /** What the peer would like. */
      readonly wanted: Address | undefined
    }
  /** Nobody has the address of this `lease` any more; nothing is to follow. */
  | { readonly type: 'release'; readonly tag: string }

export type ServiceOut =
  /** A datagram, with the non-ESP marker where the flow needs one. `bytes` are the receiver's. */
  | { readonly type: 'transmit'; readonly bytes: Uint8Array; readonly flow: Flow }
  /** The peer can be reached on this flow: IKE starts there, or an SA that stands moves there. */
  | { readonly type: 'ready'; readonly peer: string; readonly flow: Flow; readonly why: string }
  /** @property code - stable, `PATH_…` */
  | { readonly type: 'failed'; readonly peer: string; readonly code: string; readonly why: string }
  /** How it goes, for whoever waits: a stable word and a sentence. */
  | { readonly type: 'progress'; readonly peer: string; readonly step: string; readonly text: string }
  /** Brings up the IKE SA with another configured peer (a mediation server); it comes as `sa-up`, once it is there. */
  | { readonly type: 'connect'; readonly peer: string }
  /** A better flow for an IKE SA and its children: they move there without losing packets. */
  | { readonly type: 'move'; readonly sa: string; readonly flow: Flow }
  /** A request of an exchange this service owns, in its turn; `response` brings the answer. */
  | {
      readonly type: 'request'
      readonly sa: string
      readonly exchange: number
      readonly payloads: readonly Payload[]
      readonly tag: string
    }
  | { readonly type: 'respond'; readonly payloads: readonly Payload[] }
  /** Ends an IKE SA. */
  | { readonly type: 'close'; readonly sa: string; readonly why: string }
  /** Adds a candidate, or renews the one with the same kind, endpoint and base. */
  | { readonly type: 'candidate'; readonly candidate: Candidate }
  | { readonly type: 'candidate-gone'; readonly candidate: Pick<Candidate, 'kind' | 'endpoint' | 'base'> }
  /** About one peer, or, without `peer`, about this host and so for all. */
  | { readonly type: 'fact'; readonly peer?: string; readonly name: string; readonly fact: Fact }
  /** Wants a further socket with a port of the system's choice, in role `extra`. */
  | { readonly type: 'bind'; readonly address: Address; readonly tag: string }
  | { readonly type: 'unbind'; readonly local: Endpoint }
  | { readonly type: 'resolve'; readonly host: string; readonly tag: string }
  /** The answer to `lease`: the peer has it until `release`, and the service renews it as long. */
  | {
      readonly type: 'leased'
      readonly tag: string
      readonly address: Address
      readonly dns: readonly Address[]
    }
  /** There is no address, or the one that was leased may not be used from now on: the IKE SAs with it end. */
  | { readonly type: 'unleased'; readonly tag: string; readonly why: string }
  /** A datagram or message that was dropped, for the counters. */
  | { readonly type: 'drop'; readonly reason: string }

/**
 * A machine that lives as long as the build, beside IKE: looks for ways to peers, finds out endpoints and facts, relays,
 * mediates. Sans-IO like everything else; hostile datagrams never make it throw.
 * One that throws in `step`, `claims` or `reroute` is stopped (event `plugin-failed`): its state is no longer known, and
 * everything else goes on. Peers whose path it was looking for, or that want an address of it, are refused with the reason.
 */
export interface Service extends Machine<ServiceIn, ServiceOut> {
  /** IKE exchange types whose requests go to it; private ones, or those of an extension. */
  readonly exchanges?: readonly number[]
  /** It leases addresses for pools `by` this name. */
  readonly leases?: string
  /**
   * Looks at a datagram of UDP, or what a transport made of a TCP stream, before IKE and ESP do; quick, and without a change
   * of state.
   * @returns 'mine' when it is to come as `datagram`; a flow when the packet was unwrapped in place (`start`, `end`) and goes
   *   on as if it had come there (what a relay brought); undefined when it is somebody else's
   */
  claims?(packet: Packet, flow: Flow): 'mine' | Flow | undefined
  /**
   * For a flow whose local end is a relayed candidate of this service: wraps the packet in place, within HEADROOM.
   * @returns the flow of a transport that carries the result; 'taken' when it goes no further now, because the relay must be
   *   asked first: who took it sends it itself, or has dropped it; undefined when the flow is not its own
   */
  reroute?(packet: Packet, flow: Flow): Flow | 'taken' | undefined
}

/** What a plugin registers under SERVICE; called once per build. */
export type ServiceFactory = (context: ServiceContext) => Service
