import type { Clock } from '../../core/contracts/machine.ts'
import { showEndpoint } from '../../core/contracts/net.ts'
import { type ServerDrop, type ServerOptions, StunServer } from './server.ts'
import { openUdp, type UdpPort } from './udp.ts'

/** A STUN server on sockets of the system. */
export class StunListener {
  /** Datagrams that got no answer, by reason. */
  readonly drops: Partial<Record<ServerDrop, number>> = {}
  readonly #ports: ReadonlyMap<string, UdpPort>

  private constructor(ports: ReadonlyMap<string, UdpPort>) {
    this.#ports = ports
  }

  /** @throws SystemError as `openUdp`; nothing stays open then */
  static async open(options: ServerOptions, clock: Clock): Promise<StunListener> {
    const ports = new Map<string, UdpPort>()
    const listener = new StunListener(ports)
    const server = new StunServer(options)
    try {
      for (const local of options.endpoints)
        ports.set(
          showEndpoint(local),
          await openUdp(local, (data, from) => {
            for (const out of server.step({ type: 'datagram', local, from, data }, clock.now())) {
              if (out.type === 'transmit') ports.get(showEndpoint(out.local))?.send(out.data, out.to)
              else listener.drops[out.reason] = (listener.drops[out.reason] ?? 0) + 1
            }
          }),
        )
    } catch (error) {
      await listener.close()
      throw error
    }
    return listener
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#ports.values(), port => port.close()))
  }
}
