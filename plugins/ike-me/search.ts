import { type Endpoint, type Flow, showEndpoint } from '../../core/contracts/net.ts'
import type { IkeSaRef, ServiceOut } from '../../core/contracts/service.ts'
import { showIdentity } from '../../core/index.ts'
import type { Attempt } from './attempt.ts'
import { meNotify } from './connect.ts'
import { hexOf } from './links.ts'
import type { PeerRole } from './options.ts'

/** What the client keeps of a search, and the words it finds for it. */

export type Mediated = Extract<PeerRole, { readonly type: 'mediated' }>

/** Somebody wants the peer: until a flow is found, or this time is over. */
export interface Find {
  readonly peer: string
  readonly since: number
  readonly until: number
  /** What it waits for, for the error when the time is over. */
  waits: 'server' | 'online' | 'answer' | 'checks' | 'ike'
  attempt: Attempt | undefined
}

export const LOOKS = {
  dead: 'the path does not answer any more: looking for another one',
  relayed: 'the path goes through a relay: looking for a direct one',
} as const

/** Whether the attempt with the first ID gives way: strongSwan, whose IDs have 4 octets, knows no such rule. */
export function yields(own: Uint8Array, theirs: Uint8Array): boolean {
  return theirs.length !== own.length || hexOf(theirs) < hexOf(own)
}

export function lateness({ waits, since, until, peer }: Find, { by, id }: Mediated): [code: string, why: string] {
  const seconds = Math.round((until - since) / 1_000)
  switch (waits) {
    case 'server':
      return ['PATH_MEDIATION_SERVER', `the mediation server ${by} was not reached within ${seconds} s`]
    case 'online':
      return [
        'PATH_OFFLINE',
        `${showIdentity(id)} has not come online within ${seconds} s, or ${by} does not let it be asked for`,
      ]
    case 'answer':
      return ['PATH_NO_ANSWER', `${peer} has not answered through ${by} within ${seconds} s`]
    case 'checks':
      return ['PATH_NO_PAIR', `no check was answered within ${seconds} s`]
    case 'ike':
      return ['PATH_NO_PAIR', `${peer} has not connected within ${seconds} s`]
  }
}

export const transmit = ({ bytes, flow }: { readonly bytes: Uint8Array; readonly flow: Flow }): ServiceOut => ({
  type: 'transmit',
  bytes,
  flow,
})

export const progress = (peer: string, step: string, text: string): ServiceOut => ({
  type: 'progress',
  peer,
  step,
  text,
})

/** For whoever asks how the peer is reached. */
export const via = ({ peer, flow }: IkeSaRef, attempt: Attempt, now: number): ServiceOut => ({
  type: 'fact',
  peer,
  name: 'relayed',
  fact: { value: attempt.relays(flow), source: `the endpoints that ${attempt.server} has passed on`, at: now },
})

export const respond = (notify?: number): ServiceOut => ({
  type: 'respond',
  payloads: notify === undefined ? [] : [meNotify(notify)],
})

export const shown = ({ kind, endpoint }: { readonly kind: string; readonly endpoint?: Endpoint }): string =>
  endpoint === undefined
    ? kind
    : `${kind} ${endpoint.port === 0 ? `${endpoint.address} (any port)` : showEndpoint(endpoint)}`
