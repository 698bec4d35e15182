import type { ChildSaSpec, PacketSizes, PlaneEvent } from '../../core/contracts/data-plane.ts'
import type { Address, Flow } from '../../core/contracts/net.ts'
import type { Origin } from '../../core/contracts/origin.ts'
import type { Selector } from '../../core/contracts/strategy.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'

/** What a thread does: packets of both directions, or of one beside another thread. */
export type Side = 'both' | 'in' | 'out'

/** A Child SA as data: what has functions is left out or said in other words. */
export interface RemoteSpec extends Omit<ChildSaSpec, 'mode' | 'encap'> {
  readonly mode: Origin
  readonly encap: { readonly name: string; readonly overhead: number }
}

/** Takes descriptors away: they may be closed when the thread has said so. */
export type Release = { readonly type: 'close-socket'; readonly id: number } | { readonly type: 'close-tun' }

export interface InstallCommand {
  readonly type: 'install'
  readonly spec: RemoteSpec
  readonly outbound: boolean
  readonly now: number
  /** `SaMemory.octets` for each thread: so no two write the same words. */
  readonly memory: Partial<Record<Side, SharedArrayBuffer>>
}

/** What the thread is told. Messages take effect in order, before any packet that arrives later. */
export type Command =
  | { readonly type: 'socket'; readonly id: number; readonly fd: number; readonly local: LocalEndpoint }
  | Release
  | { readonly type: 'tun'; readonly fd: number; readonly udp: boolean }
  | InstallCommand
  | { readonly type: 'activate'; readonly id: string }
  | {
      readonly type: 'move'
      readonly id: string
      readonly flow: Flow
      readonly wrapping: { readonly encap: RemoteSpec['encap']; readonly follow: boolean } | undefined
    }
  /** The thread of the other direction has followed the peer. */
  | { readonly type: 'peer-moved'; readonly id: string; readonly flow: Flow }
  | { readonly type: 'remove'; readonly id: string }
  | {
      readonly type: 'yield'
      readonly id: string
      readonly local: readonly Selector[]
      readonly remote: readonly Selector[]
    }
  | { readonly type: 'regain'; readonly id: string }
  | {
      readonly type: 'trap'
      readonly peer: string
      readonly child: string
      readonly local: readonly Selector[]
      readonly remote: readonly Selector[]
    }
  | {
      readonly type: 'path-mtu'
      readonly local: Address
      readonly remote: Address
      readonly mtu: number
      readonly now: number
    }
  | { readonly type: 'outbound'; readonly bytes: Uint8Array }
  /** A datagram that came by another way than a socket of the thread's. */
  | { readonly type: 'inbound'; readonly bytes: Uint8Array; readonly flow: Flow; readonly tos: number }

const OUTBOUND: readonly Side[] = ['both', 'out']
/** Commands that are not for all. A thread of one direction cannot do what belongs to the other. */
const ADDRESSEES: Partial<Record<Command['type'], readonly Side[]>> = {
  activate: OUTBOUND,
  yield: OUTBOUND,
  regain: OUTBOUND,
  trap: OUTBOUND,
  outbound: OUTBOUND,
  inbound: ['both', 'in'],
  'peer-moved': ['out'],
}

export const isFor = ({ type }: Command, side: Side): boolean => ADDRESSEES[type]?.includes(side) ?? true

/** Packets that are not for the thread, in one block of memory. */
export interface Leftovers {
  readonly type: 'leftovers'
  readonly bytes: Uint8Array
  /** `INDEX_WORDS` a packet: start and end in `bytes`; TOS, TTL from bit 8 on, DF in bit 16; the outer ID. */
  readonly index: Uint32Array
  /**
   * Whose socket, and from where; undefined: from the TUN device. Of socket `RELAYED`: to be sent on that flow, for which
   * the thread has no socket.
   */
  readonly from: readonly ({ readonly socket: number; readonly flow: Flow } | undefined)[]
}

export const INDEX_WORDS = 4

/** Stands for a socket where there is none. */
export const RELAYED = -1

/** What the thread says. */
export type Report =
  | Leftovers
  /** The thread has come up and takes packets. */
  | { readonly type: 'ready' }
  | { readonly type: 'event'; readonly event: PlaneEvent }
  /** An SA could not be installed after all: its mode cannot be made again, its suite is refused. */
  | { readonly type: 'refused'; readonly id: string; readonly why: string }
  /** How large packets of this socket to that address may be. */
  | { readonly type: 'path-mtu'; readonly socket: number; readonly remote: Address; readonly mtu: number }
  /** The descriptor that was to be closed first, of those that were not said yet, is no longer touched. */
  | { readonly type: 'closed' }
  /** The device does not answer any more. */
  | { readonly type: 'tun-lost'; readonly why: string }

/** Words of the memory that both threads see; those of `Losses` follow. */
export const Control = {
  /** Set by the main thread after each command, cleared by the other one. */
  COMMANDS: 0,
  /** The thread shall end. */
  CLOSING: 1,
  /** Reports with packets that the main thread has not taken yet. */
  WAITING: 2,
  WORDS: 3,
} as const

/** What the thread starts with. */
export interface Start {
  readonly side: Side
  readonly control: Int32Array
  readonly wakeFd: number
  /** Crypto providers in their order. */
  readonly crypto: readonly Origin[]
  readonly sizes: PacketSizes
  /** The main thread's clock minus this host's wall clock's monotonic sister, ms. */
  readonly clock: number
}
