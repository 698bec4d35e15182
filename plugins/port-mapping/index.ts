import 'reflect-metadata'
import type { Address } from '../../core/contracts/net.ts'
import { NAT_DETECTOR, type Plugin } from '../../core/contracts/plugin.ts'
import { ConfigError } from '../../core/errors.ts'
import { canonicalAddress } from '../../core/wire/index.ts'
import { PORT_MAPPED } from './facts.ts'
import { systemGateways } from './gateways.ts'
import { PortMapping } from './service.ts'

export interface PortMappingOptions {
  /** Addresses of the gateways to ask; default: this host's default routers. */
  readonly gateways?: readonly Address[]
}

/**
 * Port mapping by PCP (RFC 6887) and NAT-PMP (RFC 6886): the gateway forwards a port to this host.
 *
 * @throws ConfigError naming the option
 */
export const portMapping = (options: PortMappingOptions = {}): Plugin => {
  for (const name of Object.keys(options))
    if (name !== 'gateways') throw new ConfigError(name, 'no such option; there is gateways')
  const given = options.gateways?.map((text, i) => {
    const address = typeof text === 'string' ? canonicalAddress(text) : undefined
    if (address === undefined) throw new ConfigError(`gateways[${i}]`, `"${text}": an address is wanted`)
    return address
  })
  const gateways = given === undefined ? systemGateways : () => given
  return {
    name: 'port-mapping',
    api: 1,
    register: container => {
      container.register(NAT_DETECTOR, {
        useValue: {
          name: 'port-mapping',
          finds: [PORT_MAPPED],
          tasks: () => [],
          serve: context => new PortMapping(context, gateways),
        },
      })
    },
  }
}
