import 'reflect-metadata' // tsyringe refuses to load without it, whatever was imported before
import { instanceCachingFactory } from 'tsyringe'
import { LOG, PACKET_IO, type Plugin, TRANSPORT } from '../../core/contracts/plugin.ts'
import { type UdpOptions, UdpTransport } from './udp-transport.ts'

/** IKE and UDP-encapsulated ESP over the system's UDP sockets. */
export const udp = (options: UdpOptions = {}): Plugin => ({
  name: 'udp',
  api: 1,
  requires: [LOG],
  register: container => {
    container.register(TRANSPORT, {
      useFactory: instanceCachingFactory(
        c =>
          new UdpTransport(
            options,
            c.resolve(LOG).child({ transport: 'udp' }),
            c.isRegistered(PACKET_IO) ? c.resolve(PACKET_IO) : undefined,
          ),
      ),
    })
  },
})

export type { UdpOptions, UdpStats } from './udp-transport.ts'
export { UdpTransport } from './udp-transport.ts'
