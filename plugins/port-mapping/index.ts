import 'reflect-metadata'
import { instanceCachingFactory } from 'tsyringe'
import type { Address } from '../../core/contracts/net.ts'
import { LOG, NAT_DETECTOR, type Plugin, TRANSPORT } from '../../core/contracts/plugin.ts'
import { ConfigError } from '../../core/errors.ts'
import { canonicalAddress } from '../../core/wire/index.ts'
import { PORT_MAPPED } from './facts.ts'
import { systemGateways } from './gateways.ts'
import { IgdTransport } from './igd-transport.ts'
import { type MappingProtocol, PROTOCOLS } from './protocols.ts'
import { PortMapping } from './service.ts'

export interface PortMappingOptions {
  /** Addresses of the gateways to ask; default: this host's default routers. */
  readonly gateways?: readonly Address[]
  /** What is spoken to them; default: all. */
  readonly protocols?: readonly MappingProtocol[]
}

/**
 * Port mapping by PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP IGD: the gateway forwards a port to this host.
 *
 * @throws ConfigError naming the option
 */
export const portMapping = (options: PortMappingOptions = {}): Plugin => {
  for (const name of Object.keys(options))
    if (name !== 'gateways' && name !== 'protocols')
      throw new ConfigError(name, 'no such option; there are gateways and protocols')
  const given = options.gateways?.map((text, i) => {
    const address = typeof text === 'string' ? canonicalAddress(text) : undefined
    if (address === undefined) throw new ConfigError(`gateways[${i}]`, `"${text}": an address is wanted`)
    return address
  })
  const wanted: readonly string[] = options.protocols ?? PROTOCOLS
  const protocols = PROTOCOLS.filter(protocol => wanted.includes(protocol))
  if (protocols.length === 0 || protocols.length !== wanted.length)
    throw new ConfigError('protocols', `"${String(wanted)}": some of ${PROTOCOLS.join(', ')} are wanted`)
  const gateways = given === undefined ? systemGateways : () => given
  return {
    name: 'port-mapping',
    api: 1,
    requires: [LOG],
    register: container => {
      container.register(NAT_DETECTOR, {
        useValue: {
          name: 'port-mapping',
          finds: [PORT_MAPPED],
          tasks: () => [],
          serve: context => new PortMapping(context, gateways, protocols),
        },
      })
      if (protocols.includes('upnp'))
        container.register(TRANSPORT, {
          useFactory: instanceCachingFactory(c => new IgdTransport(c.resolve(LOG).child({ plugin: 'port-mapping' }))),
        })
    },
  }
}
