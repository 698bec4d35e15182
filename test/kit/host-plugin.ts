import { DEVICE, type Plugin, TRANSPORT } from '../../core/contracts/plugin.ts'
import type { Host } from './host.ts'
import type { HostTransportOptions } from './host-transport.ts'

/** Puts a build on a virtual host: its sockets are the transport, its TUN the device. Takes the place of udp and tun. */
export const hostPlugin = (host: Host, options: HostTransportOptions = {}): Plugin => ({
  name: 'virtual-host',
  api: 1,
  register: container => {
    container.register(TRANSPORT, { useValue: host.transport(options) })
    container.register(DEVICE, { useValue: host.device() })
  },
})
