import 'reflect-metadata' // tsyringe refuses to load without it, whatever was imported before
import { instanceCachingFactory } from 'tsyringe'
import { LOG, PACKET_IO, type Plugin, TRANSPORT } from '../../core/contracts/plugin.ts'
import { UsageError } from '../../core/errors.ts'
import { type RawOptions, RawTransport } from './raw-transport.ts'

/**
 * Plain ESP and AH, IP protocols 50 and 51, over Linux raw sockets; beside a transport that carries IKE.
 * @throws UsageError USAGE_PROTOCOL for any other protocol
 */
export const raw = (options: RawOptions = {}): Plugin => {
  // a configuration file may say anything
  const wrong = options.protocols?.find(protocol => protocol !== 50 && protocol !== 51)
  if (wrong !== undefined)
    throw new UsageError('USAGE_PROTOCOL', `protocols: ${wrong}; 50 (ESP) and 51 (AH) are possible`)
  return {
    name: 'raw',
    api: 1,
    requires: [LOG],
    register: container => {
      container.register(TRANSPORT, {
        useFactory: instanceCachingFactory(
          c =>
            new RawTransport(
              options,
              c.resolve(LOG).child({ transport: 'raw' }),
              c.isRegistered(PACKET_IO) ? c.resolve(PACKET_IO) : undefined,
            ),
        ),
      })
    },
  }
}

export type { RawOptions, RawProtocol, RawStats } from './raw-transport.ts'
export { RawTransport } from './raw-transport.ts'
