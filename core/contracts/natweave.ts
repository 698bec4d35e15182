import type { ChildCounters } from './data-plane.ts'
import type { Facts } from './facts.ts'
import type { CandidateKind } from './service.ts'
import type { Cost, Plan, Problem } from './strategy.ts'

/** A plan with the reasons it won or lost. */
export interface JudgedPlan {
  readonly plan: Plan
  readonly usable: boolean
  /** In words: what speaks for it or against it, most important first. */
  readonly reasons: readonly string[]
  readonly cost: Cost | undefined
  readonly solves: readonly Problem[]
}

/** Whether a rule of the configuration holds for a peer now, and why. */
export interface RuleVerdict {
  /** `policy.rules[2]` */
  readonly at: string
  readonly state: 'matched' | 'not-matched' | 'unknown'
  readonly why: string
}

/** One change after which a better plan would be chosen. */
export interface Remedy {
  readonly side: 'here' | 'peer' | 'both' | 'network'
  readonly change: string
  readonly plan: Plan
  readonly cost: Cost | undefined
}

export interface PlanReport {
  readonly peer: string
  readonly child: string
  /** Monotonic ms of the report; a fact's age is this less its `at`. */
  readonly at: number
  readonly facts: Facts
  /** Those that speak of the peer, in order. */
  readonly rules: readonly RuleVerdict[]
  /** What the facts show is in the way. */
  readonly problems: readonly Problem[]
  /** Best first; the first usable one is used. */
  readonly plans: readonly JudgedPlan[]
  readonly remedies: readonly Remedy[]
}

/** Something in a configuration that cannot work, or hardly as meant. */
export interface Finding {
  /** `error`: somebody is left without a connection, or addresses are given out twice. */
  readonly severity: 'error' | 'warning'
  /** Config path: `policy.rules[2].when.mobile`. */
  readonly at: string
  readonly problem: string
}

/** Whether policy has a plan for a peer whatever the network turns out to be. */
export interface Reach {
  readonly peer: string
  /** `always`: in every case there is one. `sometimes`: not in all, or that cannot be told. */
  readonly verdict: 'always' | 'sometimes' | 'never'
  /** What the plans need of the network and the peer, in words. */
  readonly assuming: readonly string[]
  /** Cases without a plan, the simplest of each child, and why. */
  readonly without: readonly string[]
}

export interface CheckReport {
  readonly findings: readonly Finding[]
  readonly reach: readonly Reach[]
}

export interface ChildStatus {
  readonly id: string
  readonly name: string
  readonly state: 'connecting' | 'installed' | 'rekeying'
  readonly mode: string
  readonly encap: string
  readonly plane: string
  /** Keyword notation: `aes128gcm16`. */
  readonly suite: string
  readonly spiIn: string
  readonly spiOut: string
  readonly local: readonly string[]
  readonly remote: readonly string[]
  readonly counters: ChildCounters
  /** Monotonic ms since it was installed. */
  readonly ageMs: number
}

export interface PeerStatus {
  readonly name: string
  readonly state: 'idle' | 'connecting' | 'established' | 'closing'
  readonly role: 'initiator' | 'responder' | undefined
  readonly localId: string
  readonly remoteId: string
  /** `[192.0.2.1]:4500` */
  readonly local: string | undefined
  readonly remote: string | undefined
  /** Keyword notation: `aes256gcm16-prfsha256-x25519`. */
  readonly suite: string | undefined
  readonly spiInitiator: string | undefined
  readonly spiResponder: string | undefined
  /** The IKE SA goes on from one that was lost, by a ticket (RFC 5723); absent: it was negotiated in full. */
  readonly resumed?: true
  /** By what each end has proved itself, in words, and the post-quantum preshared key in the keys; absent until it stands. */
  readonly proof?: { readonly own: string; readonly peer: string; readonly ppk?: string }
  readonly plan: Plan | undefined
  readonly facts: Facts
  readonly virtualAddresses: readonly string[]
  /** Where MOBIKE was agreed on: other addresses at which the peer says it can be reached. */
  readonly additionalAddresses?: readonly string[]
  readonly children: readonly ChildStatus[]
  readonly ageMs: number | undefined
  /** Why the last attempt or SA ended, in words. */
  readonly lastError: string | undefined
}

export interface CandidateStatus {
  readonly kind: CandidateKind
  readonly endpoint: string
  readonly base: string
  readonly source: string
}

export interface Status {
  readonly peers: readonly PeerStatus[]
  /** Static SAs of the configuration; absent where there are none. `connecting`: they cannot be installed yet. */
  readonly manual?: readonly ChildStatus[]
  readonly locals: readonly string[]
  /** Places at which peers may reach this host, and who says so. */
  readonly candidates: readonly CandidateStatus[]
  readonly device: string | undefined
  readonly plugins: readonly string[]
  /** Dropped datagrams and packets by reason, not tied to a Child SA. */
  readonly drops: Readonly<Record<string, number>>
}

/** What an application acts on. `at` is monotonic ms; `peer` a config name. */
export type NatweaveEvent = { readonly at: number; readonly peer: string } & (
  | { readonly type: 'connecting'; readonly plan: Plan }
  /** How the search for a way to the peer goes: a stable word, and a sentence. */
  | { readonly type: 'progress'; readonly step: string; readonly text: string }
  | {
      readonly type: 'message'
      readonly direction: 'in' | 'out'
      readonly summary: string
      readonly from: string
      readonly to: string
    }
  | { readonly type: 'fact'; readonly name: string; readonly value: string | number | boolean; readonly source: string }
  | { readonly type: 'plan'; readonly plan: Plan; readonly why: string }
  | { readonly type: 'established'; readonly suite: string; readonly remoteId: string; readonly resumed?: true }
  | {
      readonly type: 'child-up'
      readonly child: string
      readonly id: string
      readonly plan: Plan
      readonly suite: string
    }
  | { readonly type: 'child-rekeyed'; readonly child: string; readonly id: string; readonly previous: string }
  | { readonly type: 'rekeyed' }
  /** The gateway sends us to another one, which is called next. */
  | { readonly type: 'redirected'; readonly to: string }
  /** A new IKE SA has taken over from one that was authenticated long ago. */
  | { readonly type: 'reauthenticated' }
  /** The old IKE SA goes on, and it is tried again. */
  | { readonly type: 'reauth-failed'; readonly code: string; readonly why: string }
  /** The IKE SA goes on with its old keys and tries again. */
  | { readonly type: 'rekey-failed'; readonly code: string; readonly why: string }
  | { readonly type: 'child-down'; readonly child: string; readonly id: string; readonly why: string }
  | { readonly type: 'child-failed'; readonly child: string; readonly code: string; readonly why: string }
  /** Traffic wants a Child SA that does not exist yet. */
  | { readonly type: 'acquire'; readonly child: string }
  /** IKE and ESP, or ESP alone, go between other outer addresses now. */
  | { readonly type: 'moved'; readonly remote: string; readonly local?: string }
  /** A part of this plugin has thrown: its service is stopped, everything else goes on. `peer` is empty. */
  | { readonly type: 'plugin-failed'; readonly plugin: string; readonly why: string }
  /** Many packets with the right SPI and a wrong ICV came in a short time; `rekey`: the SA gets a new SPI. */
  | {
      readonly type: 'forged-packets'
      readonly child: string
      readonly id: string
      readonly failures: number
      readonly windowMs: number
      readonly rekey: boolean
    }
  /** An established IKE SA ended; `code` OK for an orderly end. */
  | { readonly type: 'down'; readonly code: string; readonly why: string }
  /** The pause after a failure is over: the peer is tried again. */
  | { readonly type: 'retry' }
  | { readonly type: 'failed'; readonly code: string; readonly why: string }
  | { readonly type: 'keys'; readonly line: Readonly<Record<string, string>> }
)

/** A running build. */
export interface Natweave {
  /** Opens device, transports and store; answers peers; connects those with `start: connect`. */
  start(): Promise<void>
  /** Sends DELETE to all peers, waits briefly for their answers, closes everything. Never throws. */
  stop(): Promise<void>
  /** Brings a peer and its Child SAs up. @throws NatweaveError saying why it failed and what to do */
  connect(peer: string): Promise<PeerStatus>
  disconnect(peer: string): Promise<void>
  /** Rekeys now: the IKE SA, or one Child SA by config name. */
  rekey(peer: string, child?: string): Promise<void>
  status(): Status
  plan(peer: string): readonly PlanReport[]
  /** What can be proved of the configuration with the plugins that are loaded, without a network. */
  check(): CheckReport
  /**
   * @param wanted - session keys, as `keys` events, are told to those only who ask for them
   * @returns stops listening
   */
  on(listener: (event: NatweaveEvent) => void, wanted?: { readonly keys: boolean }): () => void
}
