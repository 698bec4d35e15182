import type { Machine } from '../../core/contracts/machine.ts'
import type { Endpoint } from '../../core/contracts/net.ts'
import type { Host } from './host.ts'
import type { VirtualInternet } from './net.ts'

export type UdpMachineIn =
  | { readonly type: 'timeout' }
  | { readonly type: 'datagram'; readonly local: Endpoint; readonly from: Endpoint; readonly data: Uint8Array }

/** Outputs of any other type are handed to `seen`. */
export interface UdpTransmit {
  readonly type: 'transmit'
  readonly local: Endpoint
  readonly to: Endpoint
  readonly data: Uint8Array
}

/** A machine that lives on UDP ports of a virtual host, such as a STUN server. */
export class HostMachine<Out extends { readonly type: string }> {
  readonly #net: VirtualInternet
  readonly #machine: Machine<UdpMachineIn, Out | UdpTransmit>
  readonly #sockets: ReadonlyMap<number, ReturnType<Host['udp']>>
  readonly #seen: (out: Out) => void
  #cancel: () => void = () => {}

  /**
   * @param ports - bound on all addresses of the host
   * @throws SystemError SYSTEM_PORT_BUSY
   */
  constructor(
    net: VirtualInternet,
    host: Host,
    ports: readonly number[],
    machine: Machine<UdpMachineIn, Out | UdpTransmit>,
    seen: (out: Out) => void = () => {},
  ) {
    this.#net = net
    this.#machine = machine
    this.#seen = seen
    this.#sockets = new Map(ports.map(port => [port, host.udp(port)]))
    for (const [port, socket] of this.#sockets)
      socket.onMessage = ({ data, from, to }) => {
        this.step({ type: 'datagram', local: { address: to, port }, from, data })
        socket.received.length = 0
      }
    this.#schedule()
  }

  /** Feeds an input of the machine's own kind, such as its start. */
  step(input: UdpMachineIn): void {
    for (const out of this.#machine.step(input, this.#net.clock.now())) {
      if (isTransmit(out)) {
        const { local, to, data } = out
        this.#sockets.get(local.port)?.send(data, to.address, to.port, { source: local.address })
      } else this.#seen(out)
    }
    this.#schedule()
  }

  close(): void {
    this.#cancel()
    for (const socket of this.#sockets.values()) socket.close()
  }

  #schedule(): void {
    this.#cancel()
    const { deadline } = this.#machine
    this.#cancel =
      deadline === Infinity ? () => {} : this.#net.clock.schedule(deadline, () => this.step({ type: 'timeout' }))
  }
}

const isTransmit = (out: { readonly type: string }): out is UdpTransmit => out.type === 'transmit'
