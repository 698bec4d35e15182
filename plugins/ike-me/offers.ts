import type { Rng } from '../../core/contracts/machine.ts'
import type { Endpoint } from '../../core/contracts/net.ts'
import { candidatePriority, type LocalCandidate } from '../../core/path/index.ts'
import type { OwnOffer } from './attempt.ts'
import { MAX_ENDPOINTS } from './connect.ts'
import type { MeEndpoint } from './endpoint.ts'
import { KEY_OCTETS } from './tasks.ts'

/** What is known of a NAT that maps every destination anew. */
export interface HardNat {
  readonly address: string
  readonly base: Endpoint
  /** Where its next mappings are expected; empty for random ports. */
  readonly forecast: readonly number[]
  /** This host agrees to be looked for at all ports of the address. */
  readonly anyPort: boolean
}

/** Forecast ports are worth more than the one that only the server can reach, in the order in which they come. */
const FORECAST_PREFERENCE = 0xefff
const ANY_PORT_PREFERENCE = 0

/** @param locals - already chosen by what may be told */
export function makeOffer(rng: Rng, id: Uint8Array, locals: readonly LocalCandidate[], hard?: HardNat): OwnOffer {
  const forecast = (hard?.forecast ?? []).map(
    (port, i): LocalCandidate => ({
      kind: 'server-reflexive',
      endpoint: { address: hard!.address, port },
      base: hard!.base,
      priority: candidatePriority('server-reflexive', FORECAST_PREFERENCE - i),
    }),
  )
  const anyPort: MeEndpoint[] =
    hard?.anyPort === true
      ? [
          {
            kind: 'server-reflexive',
            priority: candidatePriority('server-reflexive', ANY_PORT_PREFERENCE),
            endpoint: { address: hard.address, port: 0 },
          },
        ]
      : []
  const all = [...locals, ...forecast]
  const told = all.map(({ kind, priority, endpoint }): MeEndpoint => ({ kind, priority, endpoint }))
  return {
    id,
    key: rng.bytes(KEY_OCTETS),
    endpoints: [...told.slice(0, MAX_ENDPOINTS - anyPort.length), ...anyPort],
    locals: all,
    hard: hard !== undefined,
  }
}
