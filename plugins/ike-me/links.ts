import type { Endpoint, Flow } from '../../core/contracts/net.ts'
import type { Attempt } from './attempt.ts'
import type { PeerRole } from './options.ts'

/** What IKE_AUTH of a mediation connection or a mediated one has told. */
export type Met =
  | {
      readonly role: 'client'
      /** Where the server sees this host, and the local end of that. */
      readonly seen: { readonly endpoint: Endpoint; readonly base: Endpoint } | undefined
      /** For checks that the server itself answers, so that the NAT can be looked at. */
      readonly probe: ProbeKeys | undefined
    }
  | { readonly role: 'server'; readonly probe: ProbeKeys | undefined }
  | { readonly role: 'mediated'; readonly attempt: string; readonly echoes: boolean }

export interface ProbeKeys {
  readonly id: Uint8Array
  readonly own: Uint8Array
  readonly peer: Uint8Array
}

/** Nearly always one at a time: what is told is fetched at once, unless the SA dies before it stands. */
const MAX_MET = 64

/** What the tasks of a build's IKE SAs and its service tell each other. */
export class Links {
  /** Of configured peers, set when the build is put together. */
  roles: ReadonlyMap<string, PeerRole> = new Map()
  /** Live attempts by connect ID in hex. */
  readonly attempts = new Map<string, Attempt>()
  readonly #met = new Map<string, Met>()

  /** @param line - IkeSaRef.id */
  meet(line: string, met: Met): void {
    if (this.#met.size >= MAX_MET)
      for (const [oldest] of this.#met) {
        this.#met.delete(oldest)
        break
      }
    this.#met.set(line, met)
  }

  take(line: string): Met | undefined {
    const met = this.#met.get(line)
    this.#met.delete(line)
    return met
  }

  /** The attempt whose pair IKE_SA_INIT is about to be sent on. */
  nominated(peer: string, flow: Flow): Attempt | undefined {
    for (const attempt of this.attempts.values()) if (attempt.peer === peer && attempt.chose(flow)) return attempt
    return undefined
  }
}

export const hexOf = (octets: Uint8Array): string => Array.from(octets, o => o.toString(16).padStart(2, '0')).join('')
