import 'reflect-metadata'
import { instanceCachingFactory } from 'tsyringe'
import { LOG, type Plugin, STRATEGY, TRANSPORT } from '../../core/contracts/plugin.ts'
import { checkOptions, type TcpEncapOptions } from './options.ts'
import { TcpEncap } from './tcp-encap.ts'
import { TcpTransport } from './tcp-transport.ts'

export type { TcpEncapOptions, TlsOptions } from './options.ts'
export { TcpEncap } from './tcp-encap.ts'
export { type TcpStats, TcpTransport } from './tcp-transport.ts'

/**
 * IKE and ESP in TCP (RFC 9329), optionally in TLS, for networks that drop UDP; beside a transport for UDP, which looks up
 * names and routes.
 * @throws UsageError USAGE_OPTION for an option that is not there or not possible
 */
export const tcpEncap = (options: TcpEncapOptions = {}): Plugin => {
  checkOptions(options)
  return {
    name: 'tcp-encap',
    api: 1,
    requires: [LOG, TRANSPORT],
    register: container => {
      const transport = instanceCachingFactory(
        c => new TcpTransport(options, c.resolve(LOG).child({ transport: 'tcp' })),
      )
      container.register(TRANSPORT, { useFactory: transport })
      container.register(STRATEGY, {
        useFactory: instanceCachingFactory(
          c => new TcpEncap(options.port ?? 4500, remote => transport(c).mayCall(remote)),
        ),
      })
    },
  }
}
