import type { JudgedPlan } from '../../contracts/natweave.ts'
import type { Crossing, Stretch } from './sightings.ts'

/** Everything the demo measured, as `--json` prints it. Times are virtual ms unless they say real. */
export interface DemoResult {
  readonly ok: boolean
  /** What went wrong, in words; empty when all went well. */
  readonly failures: readonly string[]
  readonly seed: number
  readonly topology: Topology
  readonly messages: readonly (Crossing | Stretch)[]
  /** What the IKE messages carry inside, by title, as alice reads them. */
  readonly payloads: Readonly<Record<string, string>>
  readonly facts: readonly SeenFact[]
  /** How alice judged the plans for this Child SA, best first. */
  readonly plans: readonly JudgedPlan[]
  readonly sa: Association | undefined
  readonly ping: PingResult | undefined
  readonly bulk: BulkResult | undefined
  readonly eavesdropper: Eavesdropper
  /** Request and response pairs until the Child SA stood. */
  readonly roundTrips: number
  /** From `connect` until the Child SA stood; undefined when it never did. */
  readonly upMs: number | undefined
  readonly simulatedMs: number
  readonly realMs: number
}

export interface Place {
  readonly name: string
  readonly address: string
  /** Further lines under the address, as short as a box is wide. */
  readonly notes: readonly string[]
}

/** The places in a row, the one behind the last, and what to say about them. */
export interface Topology {
  readonly row: readonly Place[]
  readonly behind: Place
  readonly notes: readonly string[]
}

export interface SeenFact {
  readonly at: number
  readonly by: string
  readonly name: string
  readonly value: string | number | boolean
  readonly source: string
}

export interface Association {
  readonly ikeSuite: string
  readonly ikeSpis: readonly [initiator: string, responder: string]
  readonly mode: string
  readonly encap: string
  readonly path: string
  readonly espSuite: string
  readonly espSpis: readonly [inbound: string, outbound: string]
  readonly local: string
  readonly remote: string
  readonly selectors: readonly [local: readonly string[], remote: readonly string[]]
  readonly virtualAddresses: readonly string[]
}

export interface PingResult {
  readonly from: string
  readonly to: string
  readonly sent: number
  readonly received: number
  readonly rtts: readonly number[]
}

export interface BulkResult {
  readonly bytes: number
  readonly intact: boolean
  /** Why it ended early: `timeout` or `reset`. */
  readonly failure: string | undefined
  /** SHA-256 of what was sent. */
  readonly digest: string
  readonly durationMs: number
  readonly realMs: number
  readonly retransmissions: number
  /** Probability per packet and direction on the public segment. */
  readonly loss: number
  /** Octets in ESP towards the receiver, over equal shares of the duration. */
  readonly curve: readonly number[]
}

/** Packets on the public segment by what they are to somebody without keys. */
export interface Eavesdropper {
  readonly esp: number
  readonly espOctets: number
  readonly ike: number
  readonly keepalive: number
  readonly clear: number
}
