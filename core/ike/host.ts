import type { CryptoProvider } from '../contracts/crypto.ts'
import type { ChildCounters, EspKeys, EspSuite } from '../contracts/data-plane.ts'
import type { Facts } from '../contracts/facts.ts'
import type { IkeTask, IncomingMessage } from '../contracts/ike-task.ts'
import type { Rng } from '../contracts/machine.ts'
import type { Address, Flow } from '../contracts/net.ts'
import type { ChildSettings, Identity, IkeSettings, PeerSettings } from '../contracts/settings.ts'
import type { EncapStrategy, ModeStrategy, Plan, Selector } from '../contracts/strategy.ts'
import type { LocalEndpoint } from '../contracts/transport.ts'
import type { Payload } from '../wire/index.ts'
import type { PeerCredentials } from './credentials.ts'
import type { IkeSa } from './ike-sa.ts'
import type { ReassemblyBudget } from './reassembly.ts'
import type { Ticket } from './resumption.ts'
import type { Tickets } from './tickets.ts'

/** What IKE asks of the engine around it; every call is synchronous and without I/O. */
export interface IkeHost {
  readonly crypto: CryptoProvider
  readonly rng: Rng
  readonly timers: IkeSettings
  /** Shared by all IKE SAs. */
  readonly reassembly: ReassemblyBudget
  readonly tickets: Tickets
  /** Whether anybody wants these effects: they cost something to make, and hold secrets. */
  listens(type: 'message' | 'keys'): boolean
  /** Fresh tasks of all loaded strategies and detectors. */
  tasks(): readonly IkeTask[]
  locals(): readonly LocalEndpoint[]
  /** Answers a request of an exchange that is not IKE's own; undefined where nobody knows it. */
  extension(sa: IkeSa, request: IncomingMessage, now: number): Payload[] | undefined
  /** Records the facts the engine itself knows (address family, what its transports can carry). */
  observe(sa: IkeSa): void
  peers(): readonly PeerSettings[]
  /** Key and trust for this peer; empty where its `auth` needs none. */
  credentials(peer: PeerSettings): PeerCredentials
  /** What an SA waits for outside of it is there: its `resume` is to be called, but not at once. */
  wake(sa: IkeSa): void
  /** Wall clock of a moment, ms since 1970: certificates are valid from one to another. */
  wall(now: number): number
  /** The best plan for this child under these facts, and why; undefined with the reasons where none is usable. */
  plan(
    peer: PeerSettings,
    child: ChildSettings | undefined,
    facts: Facts,
    fixed?: Partial<Plan>,
    history?: PlanHistory,
  ): ChosenPlan
  encap(name: string): EncapStrategy
  mode(name: string): ModeStrategy | undefined
  modes(): readonly ModeStrategy[]
  encaps(): readonly EncapStrategy[]
  /** A fresh inbound ESP SPI, unique in the process, above 255. */
  espSpi(): number
  /** This SPI goes into a proposal: packets may come on it before the peer's answer does. */
  expect(spi: number): void
  /** A number unique in the process, for Child SA ids. */
  serial(): number
  /** An address of the peer's pool for this identity, `wanted` where it has that already; undefined when there is none left. */
  lease(sa: IkeSa, identity: Identity, family: 4 | 6, wanted?: Address): Address | undefined
  /**
   * Before `lease`, where addresses of the peer's pool take their time.
   * @returns true when the SA has to wait: it is woken when `lease` has one, or `unassigned` of the SA the reason
   */
  prepareLease(sa: IkeSa, identity: Identity, wanted: Address | undefined, now: number): boolean
  /** Gives back what one `lease` took. */
  release(peer: PeerSettings, address: Address, now: number): void
  /** Servers to tell the peer of, once it has its addresses. */
  dns(sa: IkeSa): readonly Address[]
  /**
   * How this side sees the peer's addresses where `conflicts` maps them to others; undefined when the pool has no room, or
   * a range is no prefix.
   */
  seen(sa: IkeSa, child: ChildSettings, remote: readonly Selector[]): readonly Selector[] | undefined
  /** True when this is the only IKE SA between the two identities, so that INITIAL_CONTACT can be said. */
  first(sa: IkeSa): boolean
  /** Why this SA, which has just authenticated, is not to be: another one of the same peer is kept. */
  rejects(sa: IkeSa, contact: boolean): string | undefined
  counters(child: ChildSa): ChildCounters | undefined
}

/** What is known from attempts: paths that have just failed and why, and the one that worked here before. */
export interface PlanHistory {
  readonly tried: ReadonlyMap<string, string>
  readonly memory: { readonly path: string } | undefined
}

export type ChosenPlan =
  | { readonly plan: Plan; readonly why: string }
  | { readonly plan: undefined; readonly why: string }

/** One Child SA, both directions, as negotiated. */
export interface ChildSa {
  readonly id: string
  readonly settings: ChildSettings
  readonly suite: EspSuite
  /** Its encapsulation may change while it lives, with the path (RFC 4555 §3.5). */
  plan: Plan
  readonly inbound: EspKeys
  readonly outbound: EspKeys
  /** What may flow, as this host sees the addresses. */
  readonly local: readonly Selector[]
  readonly remote: readonly Selector[]
  /** The same as it was on the wire; differs in transport mode through a NAT (RFC 7296 §2.23.1). */
  readonly wireLocal: readonly Selector[]
  readonly wireRemote: readonly Selector[]
  /** What `remote` would be if this side did not see the peer's addresses as others (`conflicts`). */
  readonly untranslated?: readonly Selector[]
  /** True when this host initiated the exchange that created it. */
  readonly initiator: boolean
  readonly createdAt: number
  state: 'installed' | 'rekeying' | 'replaced' | 'deleting'
  /** What a rekey has made to replace it. */
  successor: ChildSa | undefined
  /** Our DELETE for it is out: the answer to the peer's own does not name it again (RFC 7296 §1.4.1). */
  deleteSent: boolean
}

/** What an IKE SA wants done, in this order. Octets and objects in it are the receiver's. */
export type IkeEffect =
  /** `bytes` from the initiator SPI on; the non-ESP marker is the sender's business. */
  | { readonly type: 'transmit'; readonly bytes: Uint8Array; readonly flow: Flow }
  /** To be sent as it is. */
  | { readonly type: 'keepalive'; readonly bytes: Uint8Array; readonly flow: Flow }
  | { readonly type: 'message'; readonly direction: 'in' | 'out'; readonly summary: string; readonly flow: Flow }
  | { readonly type: 'fact'; readonly name: string; readonly value: string | number | boolean; readonly source: string }
  | { readonly type: 'plan'; readonly plan: Plan; readonly why: string }
  /** `contact` when the peer said it knows no other SA (INITIAL_CONTACT). */
  | { readonly type: 'established'; readonly contact: boolean }
  /** Install it; `outbound` false keeps sending on the SA it replaces until `activate`. */
  | {
      readonly type: 'child-up'
      readonly child: ChildSa
      readonly outbound: boolean
      /** `redundant`: both ends have rekeyed at once, and it may not be the one that stays. */
      readonly replaces?: ChildSa | 'redundant'
    }
  /** One that came up as `redundant` is the one that stays. */
  | { readonly type: 'child-rekeyed'; readonly child: ChildSa; readonly replaces: ChildSa }
  | { readonly type: 'activate'; readonly child: ChildSa }
  /** Replaced and deleted by IKE: receive on it a little longer, then remove it. */
  | { readonly type: 'retire'; readonly child: ChildSa }
  | { readonly type: 'child-down'; readonly child: ChildSa; readonly why: string }
  | { readonly type: 'child-failed'; readonly name: string; readonly code: string; readonly why: string }
  /** The peer's outer endpoint changed, or IKE floated. */
  | { readonly type: 'moved'; readonly flow: Flow }
  | { readonly type: 'addresses' }
  /** The peer has given a ticket: it replaces those before. */
  | { readonly type: 'ticket'; readonly ticket: Ticket }
  /** Its authentication is old: an initiator makes another SA, a responder has waited for one long enough. */
  | { readonly type: 'reauth' }
  /** It stands with all its children: `old` is to go. */
  | { readonly type: 'renewed'; readonly old: IkeSa }
  /** Another IKE SA has come into being beside this one, or has something to do. */
  | { readonly type: 'also'; readonly sa: IkeSa }
  /** `successor` has the children now; this SA will be deleted. */
  | { readonly type: 'rekeyed'; readonly successor: IkeSa }
  /** The peer refused a new key; this SA goes on and tries again later. */
  | { readonly type: 'rekey-failed'; readonly code: string; readonly why: string }
  /** The peer does not answer a request, and will be given up if that goes on. */
  | { readonly type: 'silent' }
  /** It has ended. `code` OK for an orderly end. */
  | { readonly type: 'closed'; readonly code: string; readonly why: string }
  /** Nothing more will come of it; its SPI is free. */
  | { readonly type: 'forgotten' }
  | { readonly type: 'keys'; readonly line: Readonly<Record<string, string>> }
  | { readonly type: 'drop'; readonly reason: string }
