import { createSocket } from 'node:dgram'
import type { Address, Flow } from '../../core/contracts/net.ts'
import { newPacket, type Packet } from '../../core/contracts/packet.ts'
import type { Transport, TransportSink } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import { DHCP_PORT } from './service.ts'

/** A UDP socket at port 67 of one address. */
export interface DhcpSocket {
  send(bytes: Uint8Array, to: Address): void
  close(): Promise<void>
}

/** Opens one. @throws Error with a `code` of the system */
export type OpenSocket = (
  address: Address,
  receive: (bytes: Uint8Array, from: { readonly address: Address; readonly port: number }) => void,
  failed: (error: Error) => void,
) => Promise<DhcpSocket>

/** Carries what goes to and comes from DHCP servers, and nothing else: IKE never sees its sockets. */
export class DhcpTransport implements Transport {
  readonly name = 'dhcp'
  readonly #open: OpenSocket
  readonly #relays: () => Iterable<Address>
  readonly #sockets = new Map<Address, DhcpSocket>()

  /** @param relays - addresses to open a socket at */
  constructor(relays: () => Iterable<Address>, open: OpenSocket = openSocket) {
    this.#relays = relays
    this.#open = open
  }

  async open(sink: TransportSink): Promise<void> {
    for (const address of this.#relays()) {
      const local = { address, port: DHCP_PORT }
      const packet: Packet = newPacket(0)
      try {
        const socket = await this.#open(
          address,
          (bytes, remote) => {
            packet.bytes = bytes
            packet.start = 0
            packet.end = bytes.length
            packet.nextHeader = 17
            sink.receive(packet, { protocol: 17, local, remote })
          },
          error => sink.failed(error),
        )
        this.#sockets.set(address, socket)
      } catch (error) {
        await this.close()
        throw explained(error as NodeJS.ErrnoException, address)
      }
    }
  }

  async close(): Promise<void> {
    const sockets = [...this.#sockets.values()]
    this.#sockets.clear()
    for (const socket of sockets) await socket.close()
  }

  locals(): [] {
    return []
  }

  async source(): Promise<undefined> {
    return undefined
  }

  async resolve(): Promise<[]> {
    return []
  }

  carries({ protocol, local }: Flow): boolean {
    return protocol === 17 && local.port === DHCP_PORT && this.#sockets.has(local.address)
  }

  send(packet: Packet, { local, remote }: Flow): void {
    this.#sockets.get(local.address)?.send(packet.bytes.slice(packet.start, packet.end), remote.address)
  }
}

function explained(error: NodeJS.ErrnoException, address: Address): SystemError {
  const options = { cause: error }
  switch (error.code) {
    case 'EADDRINUSE':
      return new SystemError(
        'SYSTEM_PORT_BUSY',
        `UDP port ${DHCP_PORT} on ${address} is in use: a pool's dhcp.relay cannot be where a DHCP server or relay runs`,
        options,
      )
    case 'EACCES':
    case 'EPERM':
      return new SystemError(
        'SYSTEM_PERMISSION',
        `UDP port ${DHCP_PORT} on ${address} needs CAP_NET_BIND_SERVICE`,
        options,
      )
    default:
      return new SystemError('SYSTEM_ADDRESS', `${address}, dhcp.relay of a pool: ${error.message}`, options)
  }
}

const openSocket: OpenSocket = async (address, receive, failed) => {
  const socket = createSocket('udp4')
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind({ address, port: DHCP_PORT, exclusive: true }, () => {
        socket.off('error', reject)
        resolve()
      })
    })
  } catch (error) {
    socket.close()
    throw error
  }
  socket.on('error', failed)
  socket.on('message', (bytes, from) =>
    receive(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length), { address: from.address, port: from.port }),
  )
  return {
    // what the kernel refuses is lost like any other datagram, and said again
    send: (bytes, to) => socket.send(bytes, DHCP_PORT, to, () => {}),
    close: () => new Promise(resolve => socket.close(() => resolve())),
  }
}
