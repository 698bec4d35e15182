import 'reflect-metadata' // tsyringe refuses to load without it, whatever was imported before
import { instanceCachingFactory } from 'tsyringe'
import { LOG, type Plugin, TRANSPORT } from '../../core/contracts/plugin.ts'
import { type RawOptions, RawTransport } from './raw-transport.ts'

/** Plain ESP and AH, IP protocols 50 and 51, over Linux raw sockets; beside a transport that carries IKE. */
export const raw = (options: RawOptions = {}): Plugin => ({
  name: 'raw',
  api: 1,
  requires: [LOG],
  register: container => {
    container.register(TRANSPORT, {
      useFactory: instanceCachingFactory(c => new RawTransport(options, c.resolve(LOG).child({ transport: 'raw' }))),
    })
  },
})

export type { RawOptions, RawProtocol, RawStats } from './raw-transport.ts'
export { RawTransport } from './raw-transport.ts'
