import type { Address, Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { BoundSocket, PacketIo, PacketIoSink } from '../../core/contracts/packet-io.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { rawError } from './native.ts'

/** Sockets of plain ESP that a data plane reads: one for each local address, so that each packet is of one flow. */
export class EspSockets {
  readonly #io: PacketIo
  readonly #bufferSize: number
  readonly #sink: (address: Address) => PacketIoSink<Flow>
  readonly #sockets = new Map<Address, BoundSocket>()
  /** Addresses whose failure was said already. */
  readonly #failed = new Set<Address>()

  /** @param sink - takes what comes to an address */
  constructor(io: PacketIo, bufferSize: number, sink: (address: Address) => PacketIoSink<Flow>) {
    this.#io = io
    this.#bufferSize = bufferSize
    this.#sink = sink
  }

  get locals(): readonly LocalEndpoint[] {
    return [...this.#sockets.values()].map(({ local }) => local)
  }

  has(address: Address): boolean {
    return this.#sockets.has(address)
  }

  /**
   * Opens and closes sockets, so that there is one for each of these addresses.
   * @returns what went wrong and was not said before: SystemError SYSTEM_PERMISSION, SYSTEM_SOCKET
   */
  async use(addresses: readonly Address[]): Promise<readonly Error[]> {
    const gone = [...this.#sockets].filter(([address]) => !addresses.includes(address))
    for (const [address] of gone) this.#sockets.delete(address)
    await Promise.all(gone.map(([, socket]) => socket.close()))
    const failures: Error[] = []
    for (const address of addresses) {
      if (this.#sockets.has(address)) continue
      const local = { protocol: 50, role: 'raw', address, port: 0 } as const
      try {
        this.#sockets.set(address, await this.#io.bind(local, this.#bufferSize, this.#sink(address)))
        this.#failed.delete(address)
      } catch (error) {
        const { code = 'unknown' } = error as NodeJS.ErrnoException
        if (!this.#failed.has(address)) failures.push(rawError(`opening a raw socket for ESP on ${address}`, code))
        this.#failed.add(address)
      }
    }
    return failures
  }

  /** @returns the error's name when the kernel refused it; null when no socket is of this flow */
  send(packet: Packet, { local, remote }: Flow): string | undefined | null {
    const socket = this.#sockets.get(local.address)
    return socket === undefined ? null : socket.send(packet, remote)
  }
}
