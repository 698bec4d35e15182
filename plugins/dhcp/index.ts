import 'reflect-metadata'
import type { Address } from '../../core/contracts/net.ts'
import { type Plugin, SERVICE, TRANSPORT } from '../../core/contracts/plugin.ts'
import { ConfigError } from '../../core/errors.ts'
import { DhcpLeasing } from './service.ts'
import { DhcpTransport, type OpenSocket } from './transport.ts'

export interface DhcpOptions {
  /** For another network than the system's; default: UDP sockets. */
  readonly open?: OpenSocket
}

/**
 * Virtual addresses for peers from DHCP servers, for pools that say `dhcp`.
 *
 * @throws ConfigError naming the option
 */
export const dhcp = (options: DhcpOptions = {}): Plugin => {
  for (const name of Object.keys(options))
    if (name !== 'open')
      throw new ConfigError(name, 'no such option; servers stand in the pool: dhcp: { servers, relay }')
  return {
    name: 'dhcp',
    api: 1,
    register: container => {
      let relays: ReadonlySet<Address> = new Set()
      container.register(SERVICE, {
        useValue: context => {
          const pools = (context.leased ?? []).filter(({ by }) => by === 'dhcp')
          relays = new Set(pools.map(({ relay }) => relay))
          return new DhcpLeasing(context, pools)
        },
      })
      container.register(TRANSPORT, { useValue: new DhcpTransport(() => relays, options.open) })
    },
  }
}
