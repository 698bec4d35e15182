import 'reflect-metadata' // tsyringe refuses to load without it, whatever was imported before
import { instanceCachingFactory } from 'tsyringe'
import { DEVICE, LOG, PACKET_IO, type Plugin } from '../../core/contracts/plugin.ts'
import { TunDevice, type TunOptions } from './tun-device.ts'

/** Inner packets from and to this host through a Linux TUN device. */
export const tun = (options: TunOptions = {}): Plugin => ({
  name: 'tun',
  api: 1,
  requires: [LOG],
  register: container => {
    container.register(DEVICE, {
      useFactory: instanceCachingFactory(
        c =>
          new TunDevice(
            options,
            c.resolve(LOG).child({ device: 'tun' }),
            c.isRegistered(PACKET_IO) ? c.resolve(PACKET_IO) : undefined,
          ),
      ),
    })
  },
})

export type { TunOptions, TunStats } from './tun-device.ts'
export { TunDevice } from './tun-device.ts'
