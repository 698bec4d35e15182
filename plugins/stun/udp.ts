import { createSocket } from 'node:dgram'
import { type Endpoint, showEndpoint } from '../../core/contracts/net.ts'
import { bindError } from './options.ts'

/** One UDP socket of its own, for what runs without natweave's transports: the server, and `natweave detect`. */
export interface UdpPort {
  readonly local: Endpoint
  /** Sends or does not: UDP promises nothing. */
  send(data: Uint8Array, to: Endpoint): void
  close(): Promise<void>
}

/**
 * @param local - port 0 for any
 * @throws SystemError SYSTEM_PORT_BUSY, SYSTEM_PERMISSION, SYSTEM_ADDRESS
 */
export async function openUdp(local: Endpoint, receive: (data: Uint8Array, from: Endpoint) => void): Promise<UdpPort> {
  const v6 = local.address.includes(':')
  const socket = createSocket({ type: v6 ? 'udp6' : 'udp4', ipv6Only: v6 })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind({ address: local.address, port: local.port, exclusive: true }, resolve)
    })
  } catch (error) {
    socket.close()
    throw bindError(error, showEndpoint(local))
  }
  socket.removeAllListeners('error')
  socket.on('error', () => {}) // an ICMP error for a datagram: nothing that retransmission does not know
  socket.on('message', (data, { address, port }) => receive(data, { address: address.replace(/%.*$/, ''), port }))
  return {
    local: { address: local.address, port: socket.address().port },
    send: (data, to) => socket.send(data, to.port, to.address, () => {}),
    close: () => new Promise(resolve => socket.close(() => resolve())),
  }
}

/** The local address from which the system reaches `remote`. @throws the system's own error when there is no route */
export async function sourceTowards(remote: Endpoint): Promise<string> {
  const socket = createSocket(remote.address.includes(':') ? 'udp6' : 'udp4')
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.connect(remote.port, remote.address, resolve)
    })
    return socket.address().address.replace(/%.*$/, '')
  } finally {
    socket.close()
  }
}
