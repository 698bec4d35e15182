import { networkInterfaces } from 'node:os'
import type { Candidate } from '../../core/contracts/service.ts'
import { candidatePriority, type LocalCandidate } from '../../core/path/index.ts'
import { canonicalAddress, prefixContains } from '../../core/wire/index.ts'
import type { Settings } from './options.ts'

/** How many of each kind are told: 16 endpoints are what a peer looks at, and some room is for predicted ports. */
const MOST = { host: 4, 'server-reflexive': 2, relayed: 2 } as const

/** This host's candidates as they may be told, best first within their kind. */
export function disclosed(
  candidates: readonly Candidate[],
  { kinds, hide, only, hideInterfaces }: Settings,
  interfaces: ReadonlyMap<string, string>,
): LocalCandidate[] {
  const told = { host: 0, 'server-reflexive': 0, relayed: 0 }
  return candidates.flatMap(({ kind, endpoint, base }) => {
    const { address } = endpoint
    const inside = (prefixes: Settings['hide']): boolean => prefixes.some(prefix => prefixContains(prefix, address))
    if (!kinds.includes(kind) || inside(hide) || (only !== undefined && !inside(only))) return []
    const name = interfaces.get(kind === 'host' ? address : base.address)
    if (name !== undefined && hideInterfaces.some(wanted => fits(name, wanted))) return []
    if (told[kind] >= MOST[kind]) return []
    return [{ kind, endpoint, base, priority: candidatePriority(kind, 0xffff - told[kind]++) }]
  })
}

const fits = (name: string, wanted: string): boolean =>
  wanted.endsWith('*') ? name.startsWith(wanted.slice(0, -1)) : name === wanted

/** Interface names by address, from the system. */
export const systemInterfaces = (): ReadonlyMap<string, string> =>
  new Map(
    Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
      (addresses ?? []).map(({ address }) => [canonicalAddress(address) ?? address, name] as const),
    ),
  )
