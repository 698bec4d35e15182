import { createSocket, type Socket } from 'node:dgram'
import { type Endpoint, type Flow, showEndpoint } from '../../core/contracts/net.ts'
import { newPacket, type Packet } from '../../core/contracts/packet.ts'
import type { BoundSocket, PacketIoSink } from '../../core/contracts/packet-io.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import { isIPv4 } from './addresses.ts'
import { loadNative, type Native } from './native.ts'
import { pathMtuDiscovery } from './path-mtu.ts'
import { Receiver } from './receiver.ts'
import type { SendPool } from './send-pool.ts'
import { type Refused, Sender } from './sender.ts'

/** Remote endpoints remembered per socket; a forgotten one costs one object when it speaks again. */
const FLOW_LIMIT = 4_096

/** What `send` answers when too many datagrams wait for the kernel. */
export const QUEUE_FULL = 'queue full'

/** Destinations are literal addresses: answering at once saves a trip through the event loop per datagram. */
export const literal = (
  host: string,
  options: unknown,
  done: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
): void => {
  // dgram passes the family as a number here, its type declaration says otherwise
  done(null, host, options === 6 ? 6 : 4)
}

/** dgram tells it in no public way, and deprecates `_handle` with a warning. Undefined or -1 where it has none (any more). */
function descriptorOf(socket: Socket): number | undefined {
  const key = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol')
  const state = key && (socket as unknown as Record<symbol, { readonly handle?: { readonly fd?: number } | null }>)[key]
  return state?.handle?.fd
}

/** What sockets need that takes many datagrams by one call; the same for all of them. */
export interface Batches {
  readonly native: Native
  readonly receiver: Receiver
}

let batches: Promise<Batches | undefined> | undefined

/** @returns undefined where Node alone has to do, see `loadNative` */
export function loadBatches(): Promise<Batches | undefined> {
  batches ??= loadNative().then(native => native && { native, receiver: new Receiver(native) })
  return batches
}

/**
 * A bound UDP socket of Node, its local endpoint and the flows seen on it. Node waits for it and reads the first datagram;
 * those behind it, and what is sent, go past Node by the batch where that can be had.
 */
export class UdpSocket implements BoundSocket {
  readonly socket: Socket
  readonly local: LocalEndpoint
  readonly #pool: SendPool
  readonly #flows = new Map<string, Flow>()
  #last: Flow | undefined
  readonly #sender: Sender | undefined
  readonly #tooBig: ((datagram: Refused) => boolean) | undefined

  /** @param batches - absent: each datagram takes its own call, the system fragments what is too big, and nobody hears of it */
  constructor(
    socket: Socket,
    local: LocalEndpoint,
    pool: SendPool,
    sink: PacketIoSink<Flow>,
    batches: Batches | undefined,
  ) {
    this.socket = socket
    this.local = local
    this.#pool = pool
    const receive = (packet: Packet, flow: Flow): void => sink.receive(packet, flow)
    let drain = (): void => {}
    const fd = batches && descriptorOf(socket)
    if (batches !== undefined && fd !== undefined && fd >= 0) {
      const { native, receiver } = batches
      const discovery = pathMtuDiscovery(native)
      discovery.begin(fd, isIPv4(local.address))
      this.#tooBig = datagram => {
        // its callback may come after the socket has gone
        if (descriptorOf(socket) !== fd) return false
        const mtu = discovery.ask(fd, datagram)
        if (mtu !== undefined) sink.pathMtu?.(datagram.remote.address, mtu)
        return !datagram.df && discovery.fragment(fd, datagram)
      }
      this.#sender = new Sender(native, fd, (datagram, error) => this.#refused(datagram, error))
      let enough = false
      const turn = (): void => {
        enough = false
      }
      drain = () => {
        if (enough || descriptorOf(socket) !== fd) return
        enough = receiver.drain(fd, this.flow, receive)
        // Node would read on for long before anything else gets its turn
        if (enough) setImmediate(turn)
      }
    }
    const packet: Packet = newPacket(0)
    socket.on('message', (message, remote) => {
      // a plain Uint8Array: a Buffer's slice() shares memory where everybody else's copies
      packet.bytes = new Uint8Array(message.buffer, message.byteOffset, message.length)
      packet.start = 0
      packet.end = message.length
      packet.nextHeader = 17
      packet.tos = packet.ttl = packet.id = packet.flowLabel = 0
      packet.df = false
      receive(packet, this.flow(remote))
      drain()
    })
    socket.on('error', error => sink.failed(error))
  }

  send(packet: Packet, remote: Endpoint): string | undefined {
    // nothing overtakes what waits for the kernel
    if (this.#sender === undefined || this.#pool.pending > 0) return this.#queue(packet, remote)
    this.#sender.add(packet, remote)
    return undefined
  }

  #refused(datagram: Refused, error: string): void {
    if (error === 'EAGAIN') {
      const { bytes, length, remote, df } = datagram
      const full = this.#queue({ ...newPacket(0), bytes, start: 0, end: length, df }, remote)
      if (full !== undefined) this.#pool.failed('EAGAIN')
    } else if (error !== 'EMSGSIZE' || !this.#tooBig?.(datagram)) this.#pool.failed(error)
  }

  /** Leaves a datagram to Node, which waits for the kernel where it must. */
  #queue(packet: Packet, remote: Endpoint): string | undefined {
    const slot = this.#pool.take(packet, remote, this.#tooBig)
    if (slot === undefined) return QUEUE_FULL
    try {
      this.socket.send(slot.bytes, 0, slot.length, remote.port, remote.address, slot.done)
    } catch (error) {
      // dgram throws for port 0 and the like; such a datagram is lost like any other
      slot.done(error as Error)
    }
    return undefined
  }

  /** The shared flow of a remote endpoint: no object per datagram. */
  readonly flow = (remote: Endpoint): Flow => {
    const last = this.#last
    if (last !== undefined && last.remote.port === remote.port && last.remote.address === remote.address) return last
    const key = `${remote.address} ${remote.port}`
    let flow = this.#flows.get(key)
    if (flow === undefined) {
      // spoofed sources must not fill the memory: the oldest goes
      if (this.#flows.size >= FLOW_LIMIT) {
        const [oldest] = this.#flows.keys()
        if (oldest !== undefined) this.#flows.delete(oldest)
      }
      const address = remote.address.replace(/%.*$/, '') // a link-local source comes with its zone
      flow = { protocol: 17, local: this.local, remote: { address, port: remote.port } }
      this.#flows.set(key, flow)
    }
    this.#last = flow
    return flow
  }

  close(): Promise<void> {
    this.#sender?.flush()
    return new Promise(resolve => this.socket.close(() => resolve()))
  }
}

/**
 * Binds one socket.
 *
 * @param local - port 0 for any
 * @param bufferSize - octets asked of the kernel for each direction; it gives less where its limits are lower
 * @param batches - see `UdpSocket`
 * @throws Error with a `code` of the system
 */
export async function bindUdp(
  local: LocalEndpoint,
  bufferSize: number,
  sink: PacketIoSink<Flow>,
  pool: SendPool,
  batches: Batches | undefined,
): Promise<UdpSocket> {
  const v4 = isIPv4(local.address)
  const socket = createSocket({ type: v4 ? 'udp4' : 'udp6', ipv6Only: !v4, lookup: literal })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind({ address: local.address, port: local.port, exclusive: true }, () => {
        socket.off('error', reject)
        resolve()
      })
    })
  } catch (error) {
    socket.close()
    throw error
  }
  try {
    socket.setRecvBufferSize(bufferSize)
    socket.setSendBufferSize(bufferSize)
  } catch {
    // a wish: some systems refuse instead of giving what they have
  }
  return new UdpSocket(socket, { ...local, port: socket.address().port }, pool, sink, batches)
}

/** Says what a failed bind means and what to do about it. */
export function bindError(error: unknown, local: LocalEndpoint): SystemError {
  const { address, port } = local
  const options = { cause: error }
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return new SystemError(
        'SYSTEM_PORT_BUSY',
        `UDP port ${port} on ${address} is in use: stop the other IKE daemon or set listen.ports`,
        options,
      )
    case 'EACCES':
    case 'EPERM':
      return new SystemError(
        'SYSTEM_PERMISSION',
        `binding UDP port ${port} on ${address} needs CAP_NET_BIND_SERVICE: run as root or set listen.ports above 1023`,
        options,
      )
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
    case 'EINVAL':
      return new SystemError('SYSTEM_ADDRESS', `${address} is not an address of this host`, options)
    default:
      return new SystemError('SYSTEM_ADDRESS', `cannot bind UDP ${showEndpoint(local)}: ${String(error)}`, options)
  }
}
