import type { Address, Endpoint, Flow } from './net.ts'
import type { Packet } from './packet.ts'
import type { LocalEndpoint } from './transport.ts'

/** What a socket or a TUN device tells whoever opened it. Packets are valid during the call. */
export interface PacketIoSink<From> {
  receive(packet: Packet, from: From): void
  /** Of sockets: see `TransportSink.pathMtu`. */
  pathMtu?(remote: Address, mtu: number): void
  failed(error: Error): void
}

export interface BoundSocket {
  /** With the port the kernel chose. */
  readonly local: LocalEndpoint
  /**
   * With `df` what is too big for the path is refused, without it goes in fragments. Of the outer header `tos` and `ttl` go
   * out as asked.
   * @returns the name of the error (`EMSGSIZE`) when the kernel refused the datagram
   */
  send(packet: Packet, remote: Endpoint): string | undefined
  close(): Promise<void>
}

export interface TunQueue {
  /** As the kernel chose it. */
  readonly name: string
  /** @returns the name of the error when the kernel refused the packet */
  write(packet: Packet): string | undefined
  close(): Promise<void>
}

/**
 * Reads and writes for the plugins that have sockets and TUN devices: where one is registered they open these through it.
 * So a data plane can have a thread that moves packets between them without the plugins; these see what is left over.
 */
export interface PacketIo {
  readonly name: string
  /** False: it could not start, and the plugins must do without. Known once the data planes are open. */
  readonly available: boolean
  /**
   * A socket of UDP; or of ESP, protocol 50: a raw one of this address, which has no port, and gives and takes packets from
   * their SPI on.
   *
   * @param local - port 0 for any
   * @param bufferSize - octets asked of the kernel for each direction
   * @throws Error with a `code` of the system: EADDRINUSE, EACCES, EADDRNOTAVAIL, EPERM, EAFNOSUPPORT
   */
  bind(local: LocalEndpoint, bufferSize: number, sink: PacketIoSink<Flow>): Promise<BoundSocket>
  /**
   * @param pattern - name, `%d` stands for the first free number
   * @throws Error with a `code` of the system: EPERM, EBUSY, ENOENT
   */
  openTun(pattern: string, sink: PacketIoSink<undefined>): Promise<TunQueue>
}
