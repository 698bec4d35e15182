import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import type { Address, Endpoint, Flow } from '../../core/contracts/net.ts'
import { showEndpoint } from '../../core/contracts/net.ts'
import { HEADROOM, newPacket, type Packet } from '../../core/contracts/packet.ts'
import type { LocalEndpoint, Transport, TransportSink } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import { FrameReader } from './frames.ts'
import type { ServerSettings } from './options.ts'

const TCP = 6
/** What may wait for the network; what comes beyond is lost, as on any full link. */
const MAX_QUEUED = 1 << 20
const CONNECT_MS = 10_000

/**
 * Connections to TURN servers over TCP and TLS. A flow's local endpoint is no address but names the connection: its port is
 * the number of the server among the configured ones, and `locals` lists it while the connection stands. The first message
 * to a server connects.
 */
export class Streams implements Transport {
  readonly name = 'turn'
  readonly #servers: readonly ServerSettings[]
  readonly #streams = new Map<number, Stream>()
  #sink: TransportSink | undefined

  constructor(servers: readonly ServerSettings[]) {
    this.#servers = servers
  }

  async open(sink: TransportSink): Promise<void> {
    this.#sink = sink
  }

  async close(): Promise<void> {
    this.#sink = undefined
    const closing = [...this.#streams.values()].map(stream => stream.end())
    this.#streams.clear()
    await Promise.all(closing)
  }

  locals(): readonly LocalEndpoint[] {
    return [...this.#streams.values()].flatMap(stream => (stream.connected ? [stream.local] : []))
  }

  /** Others know. */
  async source(): Promise<Address | undefined> {
    return undefined
  }

  /** @throws SystemError SYSTEM_RESOLVE: names are the socket transport's work */
  async resolve(host: string): Promise<readonly Address[]> {
    throw new SystemError('SYSTEM_RESOLVE', `turn resolves no names, not ${host} either`)
  }

  /** Closes a stream on which no answer comes: perhaps it is no TURN server. */
  unbind({ address, port }: Endpoint): void {
    if (!isName(address)) return
    void this.#streams.get(port)?.end()
    if (this.#streams.delete(port)) this.#sink?.changed()
  }

  carries({ protocol, local }: Flow): boolean {
    const server = this.#servers[local.port - 1]
    return protocol === TCP && server !== undefined && server.transport !== 'udp' && isName(local.address)
  }

  send({ bytes, start, end }: Packet, flow: Flow): void {
    const { port } = flow.local
    if (this.#sink === undefined || !this.carries(flow)) return
    let stream = this.#streams.get(port)
    if (stream !== undefined && showEndpoint(stream.flow.remote) !== showEndpoint(flow.remote)) {
      void stream.end()
      this.#streams.delete(port)
      stream = undefined
    }
    stream ??= this.#connect(this.#servers[port - 1]!, flow)
    stream.write(bytes.slice(start, end))
  }

  #connect(server: ServerSettings, flow: Flow): Stream {
    const sink = this.#sink!
    const { port } = flow.local
    const stream: Stream = new Stream(server, flow, {
      receive: packet => {
        if (this.#streams.get(port) === stream) sink.receive(packet, flow)
      },
      connected: () => sink.changed(),
      closed: error => {
        if (this.#streams.get(port) !== stream) return
        this.#streams.delete(port)
        if (error !== undefined) sink.failed(new SystemError('SYSTEM_SOCKET', `${server.url}: ${error.message}`))
        sink.changed()
      },
    })
    this.#streams.set(port, stream)
    return stream
  }
}

const isName = (address: Address): boolean => address === '0.0.0.0' || address === '::'

interface StreamSink {
  readonly receive: (packet: Packet) => void
  readonly connected: () => void
  readonly closed: (error: Error | undefined) => void
}

/** One connection, from the attempt to its end. */
class Stream {
  readonly flow: Flow
  readonly local: LocalEndpoint
  readonly #socket: Socket
  readonly #packet = newPacket()
  connected = false

  constructor(server: ServerSettings, flow: Flow, sink: StreamSink) {
    this.flow = flow
    this.local = { ...flow.local, protocol: TCP, role: 'extra' }
    const socket = open(server, flow.remote)
    this.#socket = socket
    const frames = new FrameReader(frame => {
      const packet = this.#packet
      packet.bytes.set(frame, HEADROOM)
      packet.start = HEADROOM
      packet.end = HEADROOM + frame.length
      packet.nextHeader = TCP
      packet.tos = packet.ttl = packet.id = packet.flowLabel = 0
      packet.df = false
      sink.receive(packet)
    })
    let failure: Error | undefined
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    socket.setTimeout(CONNECT_MS, () => {
      if (!this.connected) socket.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`))
    })
    socket.once(server.transport === 'tls' ? 'secureConnect' : 'connect', () => {
      this.connected = true
      socket.setTimeout(0)
      sink.connected()
    })
    socket.on('data', chunk => {
      if (!frames.push(chunk)) socket.destroy(new Error('what comes is neither STUN nor ChannelData'))
    })
    socket.on('error', error => {
      failure = error
    })
    socket.once('close', () => {
      this.connected = false
      sink.closed(failure)
    })
  }

  write(bytes: Uint8Array): void {
    if (this.#socket.writableLength <= MAX_QUEUED && !this.#socket.destroyed) this.#socket.write(bytes)
  }

  /** Sends what is queued and closes. */
  end(): Promise<void> {
    return new Promise(resolve => {
      if (this.#socket.destroyed || !this.connected) {
        this.#socket.destroy()
        return resolve()
      }
      this.#socket.once('close', () => resolve())
      this.#socket.end(() => this.#socket.destroy())
    })
  }
}

/** The certificate of a TLS server must be right; there is no way to look away. */
function open({ transport, ca, serverName }: ServerSettings, { address, port }: Endpoint): Socket {
  if (transport === 'tcp') return connect({ host: address, port })
  // a name, never an address, goes into SNI
  const named = !/^[\d.]+$|:/.test(serverName)
  const options: ConnectionOptions = { host: address, port, minVersion: 'TLSv1.2' }
  return connectTls({ ...options, ...(named && { servername: serverName }), ...(ca !== undefined && { ca }) })
}
