import { type AddressInfo, createServer, isIP, type Server, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions, connect as connectTls, createServer as createTlsServer } from 'node:tls'
import type { Log } from '../../core/contracts/log.ts'
import { type Address, type Endpoint, type Flow, showEndpoint } from '../../core/contracts/net.ts'
import { newPacket, type Packet } from '../../core/contracts/packet.ts'
import type { LocalEndpoint, Transport, TransportSink } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import { canonicalAddress } from '../../core/wire/index.ts'
import { Link, type LinkSink } from './link.ts'
import { pem, type TcpEncapOptions } from './options.ts'

const TCP = 6
/** Who has connected and said nothing that makes sense for this long is cut off. */
const SILENCE_MS = 10_000
/** A call that was not answered is not repeated by every packet that wants to go there. */
const REDIAL_MS = 1_000
const KEEPALIVE_MS = 30_000
/** What was sent so long ago without anything coming back speaks for a dead link, when IKE has to begin anew. */
const UNANSWERED_MS = 2_000

export interface TcpStats {
  readonly links: number
  readonly refused: number
  readonly queueDrops: number
  readonly sizeDrops: number
}

/** Streams of RFC 9329 as a transport: calls where the strategy says, and answers where the configuration says. */
export class TcpTransport implements Transport {
  readonly name = 'tcp'
  readonly #options: TcpEncapOptions
  readonly #log: Log
  readonly #servers: Server[] = []
  #locals: readonly LocalEndpoint[] = []
  /** Where this host may call, as the strategy has said. */
  readonly #callable = new Set<string>()
  readonly #links = new Map<string, Link>()
  /** When a call to a place was last begun. */
  readonly #called = new Map<string, number>()
  readonly #packet: Packet = newPacket(0)
  #ca: Buffer | undefined
  #sink: TransportSink | undefined
  #refused = 0
  #queueDrops = 0
  #sizeDrops = 0

  constructor(options: TcpEncapOptions, log: Log) {
    this.#options = options
    this.#log = log
  }

  /** A new attempt to reach a peer there: from now on `send` may call. A link on which nothing comes any more is given up. */
  mayCall(remote: Endpoint): void {
    const place = showEndpoint(remote)
    this.#callable.add(place)
    this.#called.delete(place)
    for (const link of [...this.#links.values()])
      if (showEndpoint(link.flow.remote) === place && link.unanswered(performance.now()) > UNANSWERED_MS)
        link.close('nothing came back')
  }

  async open(sink: TransportSink): Promise<void> {
    // here, not when a peer is called: `send` never throws
    const { ca } = this.#options.tls ?? {}
    if (ca !== undefined) this.#ca = pem(ca, 'tls.ca')
    this.#sink = sink
    const { listen, addresses = ['::'] } = this.#options
    if (listen === undefined) return
    try {
      for (const address of addresses) this.#servers.push(await this.#listen(address, listen))
    } catch (error) {
      await this.close()
      throw error
    }
    this.#locals = this.#servers.map(server => {
      const { address, port } = server.address() as AddressInfo
      return { protocol: TCP, role: 'natt', address: canonicalAddress(address) ?? address, port }
    })
    this.#log.info('answers IKE over TCP', { on: this.#locals.map(showEndpoint), tls: this.#options.tls !== undefined })
  }

  async close(): Promise<void> {
    this.#sink = undefined
    this.#locals = []
    for (const link of [...this.#links.values()]) link.close('this host ends')
    this.#links.clear()
    await Promise.all(this.#servers.splice(0).map(server => new Promise(done => server.close(done))))
  }

  locals(): readonly LocalEndpoint[] {
    return this.#locals
  }

  async source(): Promise<Address | undefined> {
    return undefined
  }

  /** Names are looked up by the transport for UDP. */
  async resolve(): Promise<readonly Address[]> {
    return []
  }

  carries(flow: Flow): boolean {
    if (flow.protocol !== TCP || this.#sink === undefined) return false
    return this.#links.has(keyOf(flow)) || (flow.local.port === 0 && this.#callable.has(showEndpoint(flow.remote)))
  }

  send(packet: Packet, flow: Flow): void {
    const link = this.#links.get(keyOf(flow)) ?? this.#call(flow)
    if (link === undefined) this.#queueDrops++
    else link.send(packet)
  }

  stats(): TcpStats {
    return {
      links: this.#links.size,
      refused: this.#refused,
      queueDrops: this.#queueDrops,
      sizeDrops: this.#sizeDrops,
    }
  }

  #call(flow: Flow): Link | undefined {
    const { local, remote } = flow
    const place = showEndpoint(remote)
    if (this.#sink === undefined || !this.#callable.has(place)) return undefined
    const now = performance.now()
    if (now < (this.#called.get(place) ?? -Infinity) + REDIAL_MS) return undefined
    this.#called.set(place, now)
    const socket = new Socket()
    socket.setNoDelay(true).setKeepAlive(true, KEEPALIVE_MS)
    socket.connect({ host: remote.address, port: remote.port, localAddress: local.address })
    socket.on('error', () => socket.destroy())
    const stream = this.#options.tls === undefined ? socket : this.#secure(socket)
    return this.#add(new Link(stream, flow, true, this.#linkSink))
  }

  #secure(socket: Socket): Duplex {
    const { serverName } = this.#options.tls!
    const options: ConnectionOptions = { socket, rejectUnauthorized: this.#ca !== undefined }
    if (this.#ca !== undefined) options.ca = this.#ca
    if (serverName !== undefined) options.servername = serverName
    const stream = connectTls(options)
    socket.on('close', () => stream.destroy())
    return stream
  }

  async #listen(address: string, port: number): Promise<Server> {
    const { tls } = this.#options
    const server =
      tls === undefined
        ? createServer(socket => this.#accept(socket))
        : createTlsServer(
            {
              cert: pem(tls.certificate!, 'tls.certificate'),
              key: pem(tls.key!, 'tls.key'),
              handshakeTimeout: SILENCE_MS,
            },
            stream => this.#accept(stream),
          )
    server.maxConnections = this.#options.connections ?? 1_000
    server.on('connection', (socket: Socket) => {
      socket.setNoDelay(true).setKeepAlive(true, KEEPALIVE_MS)
      socket.on('error', () => socket.destroy())
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', error => reject(listenError(error, address, port)))
      server.listen({ host: address, port, ipv6Only: false }, () => resolve())
    })
    server.on('error', error => this.#sink?.failed(error))
    return server
  }

  #accept(stream: Socket): void {
    const { localAddress, localPort, remoteAddress, remotePort } = stream
    const local = endpoint(localAddress, localPort)
    const remote = endpoint(remoteAddress, remotePort)
    const most = this.#options.connectionsPerAddress ?? 16
    const many = [...this.#links.values()].filter(({ flow }) => flow.remote.address === remote?.address).length
    if (this.#sink === undefined || local === undefined || remote === undefined || many >= most) {
      this.#refused++
      stream.destroy()
      return
    }
    const link = this.#add(new Link(stream, { protocol: TCP, local, remote }, false, this.#linkSink))
    setTimeout(() => {
      if (!link.heard) link.close('nothing came')
    }, SILENCE_MS).unref()
  }

  #add(link: Link): Link {
    this.#links.set(keyOf(link.flow), link)
    return link
  }

  readonly #linkSink: LinkSink = {
    message: (bytes, flow) => {
      const packet = this.#packet
      packet.bytes = bytes
      packet.start = 0
      packet.end = bytes.length
      packet.nextHeader = TCP
      packet.tos = packet.ttl = packet.id = packet.flowLabel = 0
      packet.df = false
      this.#sink?.receive(packet, flow)
    },
    dropped: reason => {
      if (reason === 'queue') this.#queueDrops++
      else this.#sizeDrops++
    },
    closed: (link, why) => {
      const key = keyOf(link.flow)
      if (this.#links.get(key) === link) this.#links.delete(key)
      if (!link.heard) this.#refused++
      this.#log.debug('TCP stream ended', { remote: showEndpoint(link.flow.remote), why })
    },
  }
}

const keyOf = ({ local, remote }: Flow): string => `${local.address} ${local.port} ${remote.address} ${remote.port}`

function endpoint(address: string | undefined, port: number | undefined): Endpoint | undefined {
  const plain = address?.replace(/^::ffff:(?=\d)/i, '').replace(/%.*$/, '')
  if (plain === undefined || port === undefined || isIP(plain) === 0) return undefined
  return { address: canonicalAddress(plain) ?? plain, port }
}

function listenError(error: Error, address: string, port: number): SystemError {
  const where = `TCP port ${port} on ${address}`
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE':
      return new SystemError('SYSTEM_PORT_BUSY', `${where} is in use: choose another \`listen\``, { cause: error })
    case 'EACCES':
    case 'EPERM':
      return new SystemError('SYSTEM_PERMISSION', `${where} needs CAP_NET_BIND_SERVICE`, { cause: error })
    default:
      return new SystemError('SYSTEM_ADDRESS', `cannot listen on ${where}: ${error.message}`, { cause: error })
  }
}
