import { instanceCachingFactory } from 'tsyringe'
import type { PacketDevice } from '../../../core/contracts/device.ts'
import type { Log } from '../../../core/contracts/log.ts'
import type { Address } from '../../../core/contracts/net.ts'
import type { PacketIo } from '../../../core/contracts/packet-io.ts'
import { DATA_PLANE, DEVICE, LOG, PACKET_IO, type Plugin, TRANSPORT } from '../../../core/contracts/plugin.ts'
import type { TransportSink } from '../../../core/contracts/transport.ts'
import { assemble } from '../../../plugins/linux-fast/assemble.ts'
import type { Side } from '../../../plugins/linux-fast/messages.ts'
import { sidesOf } from '../../../plugins/linux-fast/options.ts'
import { firstOf } from '../../../plugins/linux-fast/providers.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { RawTransport } from '../../../plugins/raw/index.ts'
import { UdpTransport } from '../../../plugins/udp/index.ts'
import type { Host, HostDevice, HostTransport, HostTransportOptions, VirtualInternet } from '../../kit/index.ts'
import { VirtualKernel } from './kernel.ts'
import { VirtualWorker } from './worker.ts'

const interfacesOf = (host: Host) => ({
  eth0: host.addresses.map(({ text: address }) => ({
    address,
    family: address.includes(':') ? ('IPv6' as const) : ('IPv4' as const),
    internal: false,
    mac: '',
    netmask: '',
    cidr: null,
    scopeid: 0,
  })),
})

/** Has a transport look for changed addresses when they change; a real one looks every few seconds. */
class Watch {
  readonly #host: HostTransport
  readonly #watching: { rescan(): Promise<void> }

  constructor(host: Host, watching: { rescan(): Promise<void> }) {
    this.#host = host.transport({ udp: false, protocols: [] })
    this.#watching = watching
  }

  async open(): Promise<void> {
    // what changes during one look is seen with the next
    const changed = () => void this.#watching.rescan().then(() => this.#watching.rescan())
    await this.#host.open({ receive: () => {}, changed, failed: () => {} })
  }

  async close(): Promise<void> {
    await this.#host.close()
  }
}

/** Plugin raw on a virtual host: its sockets of ESP come through PACKET_IO. */
class HostRaw extends RawTransport {
  readonly #watch: Watch

  constructor(host: Host, log: Log, io: PacketIo) {
    super({ protocols: [50], watchMs: 0, interfaces: () => interfacesOf(host) }, log, io)
    this.#watch = new Watch(host, this)
  }

  override async open(sink: TransportSink): Promise<void> {
    await super.open(sink)
    await this.#watch.open()
  }

  override async close(): Promise<void> {
    await this.#watch.close()
    await super.close()
  }
}

/** Plugin udp on a virtual host: its sockets come through PACKET_IO; routes and names are the host's. */
class HostUdp extends UdpTransport {
  /** Never opened: it knows routes and names. */
  readonly #host: HostTransport
  readonly #watch: Watch

  constructor(host: Host, { ike = 500, natt = 4500 }: HostTransportOptions, log: Log, io: PacketIo) {
    super({ ikePort: ike, nattPort: natt, watchMs: 0, interfaces: () => interfacesOf(host) }, log, io)
    this.#host = host.transport()
    this.#watch = new Watch(host, this)
  }

  override async open(sink: TransportSink): Promise<void> {
    await super.open(sink)
    await this.#watch.open()
  }

  override async close(): Promise<void> {
    await this.#watch.close()
    await super.close()
  }

  /** As in plugin udp: an address that is bound, if there is a way at all. */
  override async source(remote: Address): Promise<Address | undefined> {
    const asked = await this.#host.source(remote)
    const bound = this.locals().map(({ address }) => address)
    if (asked === undefined || bound.includes(asked)) return asked
    return bound.find(address => address.includes(':') === remote.includes(':'))
  }

  override resolve(name: string): Promise<readonly Address[]> {
    return this.#host.resolve(name)
  }
}

/** The device as plugin tun has it: packets through PACKET_IO; addresses and routes are the host's. */
function deviceOver(io: PacketIo, device: HostDevice): PacketDevice {
  let queue: Awaited<ReturnType<PacketIo['openTun']>> | undefined
  return {
    name: device.name,
    open: async sink => {
      queue = await io.openTun(device.name, {
        receive: packet => sink.packet(packet),
        failed: error => sink.failed(error),
      })
    },
    close: async () => {
      await queue?.close()
      queue = undefined
    },
    configure: state => device.configure(state),
    write: packet => void queue?.write(packet),
  }
}

/** Plugins linux-fast, udp, raw and tun on a virtual host: all their code but the system calls, the threads and `ip`; AH is the host's. */
export class FastHost {
  readonly kernel: VirtualKernel
  readonly plugin: Plugin
  readonly #ah: HostTransport
  readonly #workers = new Map<Side, VirtualWorker>()

  /** @param threads - 2: one for each direction; absent: one or two, by chance */
  constructor(net: VirtualInternet, host: Host, device: HostDevice, options: HostTransportOptions, threads?: 1 | 2) {
    const name = `${host.name} ${device.name}`
    this.kernel = new VirtualKernel(host, device, net.rng(`kernel ${name}`))
    const { protocols = [50] } = options
    this.#ah = host.transport({ udp: false, protocols: protocols.filter(protocol => protocol === 51) })
    const sides = sidesOf({ threads: threads ?? (net.rng(`threads of ${name}`).chance(0.5) ? 2 : 1) })
    const parts = { net, kernel: this.kernel, crypto: firstOf([nodeCryptoProvider]), name: `thread ${name}` }
    this.plugin = {
      name: 'virtual-fast-host',
      api: 1,
      register: container => {
        const made = instanceCachingFactory(c =>
          assemble(
            c,
            this.kernel,
            start => {
              const worker = new VirtualWorker(parts, start)
              this.#workers.set(start.side, worker)
              return worker
            },
            sides,
          ),
        )
        container.register(PACKET_IO, { useFactory: c => made(c).io })
        container.register(DATA_PLANE, { useFactory: c => made(c).plane })
        container.register(TRANSPORT, {
          useFactory: instanceCachingFactory(c => new HostUdp(host, options, c.resolve(LOG), c.resolve(PACKET_IO))),
        })
        if (protocols.includes(50))
          container.register(TRANSPORT, {
            useFactory: instanceCachingFactory(c => new HostRaw(host, c.resolve(LOG), c.resolve(PACKET_IO))),
          })
        container.register(TRANSPORT, { useValue: this.#ah })
        container.register(DEVICE, {
          useFactory: instanceCachingFactory(c => deviceOver(c.resolve(PACKET_IO), device)),
        })
      },
    }
  }

  /** The threads as they are now. */
  get workers(): readonly VirtualWorker[] {
    return [...this.#workers.values()]
  }

  /** Power cut. */
  async crash(): Promise<void> {
    for (const worker of this.workers) worker.halt()
    await this.#ah.close()
    this.kernel.closeAll()
  }
}
