import type { Drop } from './drop.ts'
import type { Facts } from './facts.ts'
import type { IkeTask } from './ike-task.ts'
import type { Flow } from './net.ts'
import type { Origin } from './origin.ts'
import type { Packet } from './packet.ts'
import type { Service, ServiceContext } from './service.ts'
import type { LocalEndpoint } from './transport.ts'

/** The three questions of the house; a plan answers each with one strategy. */
export const SLOTS = ['path', 'encap', 'mode'] as const
export type Slot = (typeof SLOTS)[number]

/** What NAT breaks (RFC 3715), by the names used in plans and policies. */
export const PROBLEMS = [
  'ah-integrity',
  'checksums',
  'address-identities',
  'fixed-ike-ports',
  'overlapping-spd',
  'non-udp-tcp',
  'mapping-timeouts',
  'inbound',
] as const
export type Problem = (typeof PROBLEMS)[number]

/** Strategy names, one per slot. */
export interface Plan {
  readonly path: string
  readonly encap: string
  readonly mode: string
}

export interface Cost {
  /** Octets added to each packet. */
  readonly octets: number
  /** Round trips before the first packet can flow, beyond the IKE exchanges every plan needs. */
  readonly roundTrips: number
  /** Parties other than the peer that must be trusted. */
  readonly trusts: readonly string[]
}

export type Assessment =
  | { readonly usable: true; readonly cost: Cost; readonly why?: string }
  | { readonly usable: false; readonly why: string }

interface StrategyBase {
  /** Kebab-case, unique within the slot; the word used in policies. */
  readonly name: string
  readonly solves: readonly Problem[]
  /** Facts that its tasks or services find out, for `natweave check`. */
  readonly finds?: readonly string[]
  /** What it needs of the network or the peer to work, in words, for `natweave check`: "UDP gets through". */
  readonly needs?: string
  /**
   * Pure: can this strategy serve in `plan` under these facts, and at what cost. Unknown facts are not bad news. It looks at
   * what facts say, not at who said so and when: the same is not asked again for every peer.
   */
  assess(facts: Facts, plan: Plan): Assessment
  /** What it adds to and reads from IKE messages; fresh objects, called once per IKE SA. */
  tasks?(): readonly IkeTask[]
}

/** How datagrams reach the peer. */
export interface PathStrategy extends StrategyBase {
  readonly slot: 'path'
  /** Called once per build. What it gives is asked to `find` peers. */
  serve(context: ServiceContext): Service
}

/** What is around ESP and IKE. */
export interface EncapStrategy extends StrategyBase {
  readonly slot: 'encap'
  /** Octets it puts around every ESP packet, beside the outer IP header. */
  readonly overhead: number
  /** Where the very first message of IKE goes, which found no plan yet to float by; absent: as the path found it. */
  firstFlow?(found: Flow): Flow
  /** The flow IKE goes on with once this encapsulation is chosen ("port floating"); `current` where nothing moves. */
  ikeFlow(current: Flow, locals: readonly LocalEndpoint[]): Flow
  /** The flow ESP takes beside that IKE flow; undefined when no local endpoint can carry it. */
  espFlow(ike: Flow, locals: readonly LocalEndpoint[]): Flow | undefined
  /** Changes an ESP packet into what the flow's transport carries, and back; in place, within HEADROOM. */
  wrap?(packet: Packet): void
  unwrap?(packet: Packet): Drop | undefined
  /** The datagram that keeps a NAT's mapping alive when nothing else was sent for a while; undefined where none is needed. */
  keepalive?(facts: Facts): Uint8Array | undefined
  /** Whether the peer's address may follow its authenticated packets (RFC 7296 §2.23). */
  follows?(facts: Facts): boolean
}

/** What is inside ESP. */
export interface ModeStrategy extends StrategyBase {
  readonly slot: 'mode'
  /** Notify type that asks for the mode and, echoed, accepts it; undefined for tunnel mode, which is the default. */
  readonly notify?: number
  /**
   * True when the inner addresses are the outer ones, so that selectors name what each end sees and policy is looked up by
   * what this end sees (RFC 7296 §2.23.1); false when inner addresses are a world of their own.
   */
  readonly substitutes?: boolean
  /** The mode used when the peer does not echo `notify`; undefined: the Child SA fails instead. */
  readonly fallback?: string
  /** True: where the configuration names this mode, `fallback` is not taken, since the user asked for this one. */
  readonly strict?: boolean
  /**
   * Where one number is not enough, such as a private one that only certain peers understand: the notify types that ask
   * this peer for the mode. All are sent; the answer needs one of them. None: this peer cannot be asked, nor may it ask.
   * Absent: `notify` alone.
   */
  asks?(facts: Facts): readonly number[]
  /** Why these selectors cannot be carried; undefined when they can. */
  refuses?(context: ModeContext): string | undefined
  create(context: ModeContext): Mode
}

/** One address range of one protocol, RFC 7296 §3.13.1, as text so that it can be shown and compared. */
export interface Selector {
  readonly family: 4 | 6
  /** IP protocol, 0 for any. */
  readonly protocol: number
  readonly startPort: number
  readonly endPort: number
  readonly start: string
  readonly end: string
}

export interface ModeContext {
  /** Negotiated traffic selectors, this host's side and the peer's, as they were on the wire. */
  readonly local: readonly Selector[]
  readonly remote: readonly Selector[]
  /** True when this host initiated the exchange that created the Child SA. */
  readonly initiator: boolean
  readonly facts: Facts
  /** The outer flow as it is now; it may move during the life of the SA. */
  flow(): Flow
}

/** One Child SA's mode. No allocation; a returned Drop is counted and the packet forgotten. */
export interface Mode {
  readonly name: string
  /** Where another thread finds it: what data planes with a thread of their own need. Absent: it stays in this thread. */
  readonly origin?: Origin
  /** Octets of every inner packet that do not travel; absent: taken to be one IP header of the outer family, 0 in tunnel mode. */
  readonly saves?: number
  /** Inner packet → ESP payload: moves `start`/`end`, sets `nextHeader` and the outer header fields. */
  encode(packet: Packet): Drop | undefined
  /** ESP payload (without trailer; `nextHeader` from it) → inner packet. */
  decode(packet: Packet, flow: Flow): Drop | undefined
}

export type Strategy = PathStrategy | EncapStrategy | ModeStrategy
