import { type Plugin, STRATEGY } from '../../core/index.ts'
import { Alternate } from './alternate.ts'
import { MarkedTunnel } from './marked-tunnel.ts'

/**
 * A plugin of a third party. It registers with the same tokens as natweave's own; core was not changed for it. In a
 * package of its own the imports read 'natweave' and 'natweave/wire'.
 */
export interface TenantOptions {
  /** Number of the tenant this host belongs to, 1 to 4294967295. */
  readonly tenant: number
  /** Further addresses of peers, by the peer's name in the configuration. */
  readonly alternates?: Readonly<Record<string, readonly string[]>>
}

/** @throws RangeError for a number that is no tenant; natweave names the plugin in the error that the user sees */
export default function tenant({ tenant: number, alternates = {} }: TenantOptions): Plugin {
  if (!Number.isInteger(number) || number < 1 || number > 0xffff_ffff)
    throw new RangeError(`tenant ${number} is not in 1 to 4294967295`)
  const strategies = [new Alternate(alternates), new MarkedTunnel(number)]
  return {
    name: 'tenant',
    api: 1,
    register: container => {
      for (const strategy of strategies) container.register(STRATEGY, { useValue: strategy })
    },
  }
}

export { Alternate } from './alternate.ts'
export { TENANT } from './announce.ts'
export { MarkedTunnel, USE_MARKED_TUNNEL } from './marked-tunnel.ts'
