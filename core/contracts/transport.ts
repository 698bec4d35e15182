import type { Address, Endpoint, Flow } from './net.ts'
import type { Packet } from './packet.ts'

/** What a transport tells its owner. All calls are synchronous and never throw. */
export interface TransportSink {
  /**
   * A datagram came in: UDP payload, or what follows the IP header for protocols 50 and 51. `packet` belongs to the
   * transport and may be changed in place during the call.
   */
  receive(packet: Packet, flow: Flow): void
  /** The set of local endpoints changed (interface up, down, new address). */
  changed(): void
  /**
   * Packets from `local` to `remote` get through up to `mtu` octets, IP header included: as the system says, which has seen
   * to it that the ICMP message behind that answers a packet of this host. Absent: nobody wants to know.
   */
  pathMtu?(local: Address, remote: Address, mtu: number): void
  /** Something broke that the transport cannot mend itself; it goes on with what is left. */
  failed(error: Error): void
}

/**
 * A local place to send from. `role` follows RFC 3948: 'ike' is port 500's socket, 'natt' port 4500's, 'raw' none. 'extra':
 * a socket that `bind` made, which speaks as 'natt' does but is nobody's first choice.
 */
export interface LocalEndpoint extends Endpoint {
  readonly protocol: Flow['protocol']
  readonly role: 'ike' | 'natt' | 'raw' | 'extra'
}

/** Moves datagrams. Implementations: UDP sockets, raw sockets, the virtual internet. */
export interface Transport {
  readonly name: string
  /** @throws SystemError SYSTEM_PORT_BUSY, SYSTEM_PERMISSION, SYSTEM_ADDRESS */
  open(sink: TransportSink): Promise<void>
  close(): Promise<void>
  /** What is bound now; a transport that cannot carry a protocol lists none of it. */
  locals(): readonly LocalEndpoint[]
  /** The local address from which the system would reach `remote`; undefined when there is no route. */
  source(remote: Address): Promise<Address | undefined>
  /** Name → addresses, most preferred first. @throws SystemError SYSTEM_RESOLVE */
  resolve(host: string): Promise<readonly Address[]>
  /** True when this transport has `flow.local` and can send on `flow`. */
  carries(flow: Flow): boolean
  /**
   * A further UDP endpoint on this address, with a port of the system's choice and role 'extra'; `locals` lists it, and
   * `changed` is called. Absent: this transport has none to give.
   * @throws SystemError SYSTEM_ADDRESS
   */
  bind?(address: Address): Promise<LocalEndpoint>
  /** Closes what `bind` made. */
  unbind?(local: Endpoint): void
  /**
   * Sends or queues one datagram; never throws, never blocks. With `df` one that the path does not take is lost, and the
   * sink learns the path's MTU; without, it goes in fragments. `packet` is the caller's again when the call returns.
   */
  send(packet: Packet, flow: Flow): void
}
