import type { Drop } from './drop.ts'
import type { Address, Flow } from './net.ts'
import type { Packet } from './packet.ts'
import type { EncapStrategy, Mode, Plan, Selector } from './strategy.ts'

/** Keying material of one direction. */
export interface EspKeys {
  readonly spi: number
  /** Cipher key without salt. */
  readonly encr: Uint8Array
  readonly salt: Uint8Array
  /** Empty for AEAD. */
  readonly integ: Uint8Array
}

/** Transform IDs, RFC 7296 §3.3.2. */
export interface EspSuite {
  /** IP protocol; absent: ESP, 50. AH, 51, has ENCR_NULL and an integrity algorithm. */
  readonly protocol?: 50 | 51
  readonly encr: number
  readonly keyBits?: number
  readonly integ?: number
  readonly esn: boolean
}

/** Limits of a Child SA; Infinity for none. Soft ones ask for a rekey, hard ones stop the SA. */
export interface Lifetime {
  readonly softMs: number
  readonly hardMs: number
  readonly softOctets: number
  readonly hardOctets: number
  readonly softPackets: number
  readonly hardPackets: number
}

/** Everything a data plane needs to carry one Child SA, RFC 4301 §4.4.2.1. */
export interface ChildSaSpec {
  /** Unique in the process: `moon/lan{3}`. */
  readonly id: string
  readonly peer: string
  readonly child: string
  /**
   * Who authenticated, where one `peer` of the configuration stands for many: its identity. SAs of two owners never have
   * equal selectors. Absent: `peer`.
   */
  readonly owner?: string
  readonly plan: Plan
  readonly suite: EspSuite
  readonly inbound: EspKeys
  readonly outbound: EspKeys
  readonly mode: Mode
  readonly encap: EncapStrategy
  readonly flow: Flow
  /** Inner selectors, this host's side and the peer's. */
  readonly local: readonly Selector[]
  readonly remote: readonly Selector[]
  /**
   * SAs of other owners may have the same selectors, if these are shared too: a flow belongs to the SA it came in on. A
   * plane that cannot keep flows apart refuses. Absent: false.
   */
  readonly shared?: boolean
  readonly lifetime: Lifetime
  /** Packets, ≥ 32; 0 for no protection against replay, which only manual keys go without. */
  readonly replayWindow: number
  /** Padding of outgoing AH headers over IPv4; absent: 4, what RFC 4302 §2.6 says. Linux wants 8 without its `align4`. */
  readonly ahAlign?: 4 | 8
  /** Whether `flow.remote` may follow authenticated packets. */
  readonly follow: boolean
}

export interface ChildCounters {
  readonly packetsIn: number
  readonly octetsIn: number
  readonly packetsOut: number
  readonly octetsOut: number
  /** Dropped packets by reason; reasons that never happened are absent. */
  readonly drops: Readonly<Partial<Record<Drop, number>>>
  /** Monotonic ms of the last packet that authenticated; 0 for never. */
  readonly lastIn: number
  readonly lastOut: number
}

export type PlaneEvent =
  /** A soft limit was reached: rekey. Once per SA. */
  | { readonly type: 'soft-expiry'; readonly id: string }
  /** A hard limit was reached: the SA carries nothing more. Once per SA. */
  | { readonly type: 'hard-expiry'; readonly id: string }
  /** An authenticated packet, newer than all before, came from another endpoint. */
  | { readonly type: 'peer-moved'; readonly id: string; readonly flow: Flow }
  /** Packets with the SPI of this SA failed their integrity check; `total` since it was installed. */
  | { readonly type: 'forged'; readonly id: string; readonly total: number }
  /** The first packet that authenticated on this SA. */
  | { readonly type: 'first-inbound'; readonly id: string }
  /** Traffic that a policy wants protected has no SA. At most one per policy per second. */
  | { readonly type: 'acquire'; readonly peer: string; readonly child: string; readonly packet: Uint8Array }

/** Where a plane puts what it made. Synchronous; packets are valid during the call. */
export interface PlaneOutlet {
  transmit(packet: Packet, flow: Flow): void
  deliver(packet: Packet): void
  event(event: PlaneEvent): void
}

/** What every plane holds to. */
export interface PacketSizes {
  /** Octets of the largest inner packet; what is larger and must not be fragmented is answered with "too big". */
  readonly mtu: number
  /** Whether the MSS in TCP's SYN packets, of both directions, is lowered to what fits the tunnel. */
  readonly clampMss: boolean
}

/** Moves ESP and AH packets of installed Child SAs. Nothing else in the house knows which plane carries a packet. */
export interface DataPlane {
  readonly name: string
  /** Packets lost that no SA counts, by reason. Absent: none are. */
  readonly drops?: Readonly<Record<string, number>>
  /**
   * Called once, before anything but `name` and `refuses`; absent: nothing has to be opened. A plane that has a thread, or
   * packets from elsewhere than the engine, reports to `outlet` whenever it likes.
   */
  open?(outlet: PlaneOutlet, sizes: PacketSizes): Promise<void>
  close?(): Promise<void>
  /** Why this plane cannot carry the SA; undefined when it can. */
  refuses(sa: ChildSaSpec): string | undefined
  /** From now on both directions work; outbound traffic moves to the newest SA with `outbound` true. */
  install(sa: ChildSaSpec, options: { readonly outbound: boolean }, now: number): void
  /** Starts sending on this SA (rekey: after the peer has shown that it has the new one). */
  activate(id: string): void
  /** New outer flow of one SA, from IKE, and with it perhaps another encapsulation. */
  move(id: string, flow: Flow, wrapping?: Pick<ChildSaSpec, 'encap' | 'follow'>): void
  /** Stops sending and receiving on the SA and wipes its keys. */
  remove(id: string): void
  counters(id: string): ChildCounters | undefined
  /**
   * Outer packets from `local` to `remote` get through up to `mtu` octets, IP header included; holds for ten minutes.
   * From a trustworthy source only: a forged one would throttle the SAs that go this way. Absent: the plane finds out by itself.
   */
  pathMtu?(local: Address, remote: Address, mtu: number, now: number): void
  /** An inner packet that waited for its SA; it is left as it was. */
  outbound(packet: Packet, now: number): void
  /**
   * For planes that take datagrams from sockets themselves: one that came to the engine another way, by a relay, or that
   * came up because its SA was not there yet.
   * @returns false when it is of no SA here
   */
  inbound?(packet: Packet, flow: Flow, now: number): boolean
  /**
   * For planes that take packets from the device themselves: traffic that fits these selectors best, better than or before
   * those of any SA here, is for another plane's SA. It goes to the device's sink, as does all that fits nothing.
   */
  yield?(id: string, local: readonly Selector[], remote: readonly Selector[]): void
  /** Takes back one `yield`. */
  regain?(id: string): void
  /** Traffic with these selectors asks for an SA where none covers it; a plane with `yield` leaves the asking to the engine. */
  trap?(peer: string, child: string, local: readonly Selector[], remote: readonly Selector[]): void
}
