import type { Address } from '../../core/contracts/net.ts'

export interface Datagram {
  readonly data: Uint8Array
  readonly from: { readonly address: Address; readonly port: number }
  /** The own address it was sent to. */
  readonly to: Address
}

export interface UdpSendOptions {
  readonly source?: Address
  readonly df?: boolean
  readonly ttl?: number
}

/** An application's UDP socket on all addresses of its host, tunnel addresses included. */
export class UdpSocket {
  readonly port: number
  /** What came in, oldest first; empty it as you like. */
  readonly received: Datagram[] = []
  /** Called for each datagram, after it was put into `received`. */
  onMessage: ((datagram: Datagram) => void) | undefined
  readonly #send: (data: Uint8Array, to: Address, port: number, options: UdpSendOptions) => boolean
  readonly #close: () => void

  constructor(
    port: number,
    send: (data: Uint8Array, to: Address, port: number, options: UdpSendOptions) => boolean,
    close: () => void,
  ) {
    this.port = port
    this.#send = send
    this.#close = close
  }

  /** @returns false when it did not even leave the host: no route, too big */
  send(data: Uint8Array | string, to: Address, port: number, options: UdpSendOptions = {}): boolean {
    return this.#send(typeof data === 'string' ? new TextEncoder().encode(data) : data, to, port, options)
  }

  /** @internal */
  take(datagram: Datagram): void {
    this.received.push(datagram)
    this.onMessage?.(datagram)
  }

  close(): void {
    this.#close()
  }
}
