import { createSocket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Log } from '../../core/contracts/log.ts'
import type { Address, Endpoint, Flow } from '../../core/contracts/net.ts'
import { showEndpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { BoundSocket, PacketIo, PacketIoSink } from '../../core/contracts/packet-io.ts'
import type { LocalEndpoint, Transport, TransportSink } from '../../core/contracts/transport.ts'
import { SystemError, UsageError } from '../../core/errors.ts'
import { canonical, type Interfaces, isFixed, isIPv4, selectAddresses } from './addresses.ts'
import { SendPool } from './send-pool.ts'
import { bindError, bindUdp, literal, loadBatches, QUEUE_FULL } from './udp-socket.ts'

export interface UdpOptions {
  /** Addresses to bind; `0.0.0.0` and `::` mean all of their family. Default: all but loopback and link-local. */
  readonly addresses?: readonly string[]
  /** Port of role 'ike', default 500; 0 for any. */
  readonly ikePort?: number
  /** Port of role 'natt', default 4500; 0 for any. Equal to `ikePort`: one socket, in role 'natt'. */
  readonly nattPort?: number
  /** Prefixes, addresses or interface names (`docker*`) that detection leaves out; `nw*` always. */
  readonly exclude?: readonly string[]
  /** Milliseconds between looks for changed addresses, default 1000; 0 for never. */
  readonly watchMs?: number
  /** Octets of kernel buffer asked for per socket and direction, default 4 MiB. */
  readonly bufferSize?: number
  /** Datagrams waiting for a kernel without room at most, over all sockets, default 1024; more are dropped and counted. */
  readonly queue?: number
  /** Where addresses come from; default os.networkInterfaces. */
  readonly interfaces?: () => Interfaces
}

export interface UdpStats {
  readonly received: number
  readonly receivedOctets: number
  readonly sent: number
  readonly sentOctets: number
  /** Not sent: the queue was full. */
  readonly queueDrops: number
  /** Not sent: no socket has the flow's local endpoint. */
  readonly unbound: number
  /** Refused by the kernel (no route, too big, port unreachable), by error code. */
  readonly sendErrors: Readonly<Record<string, number>>
}

/**
 * UDP over node:dgram and, where it can be had, system calls for many datagrams. One socket per local address and port,
 * because Node cannot tell where a datagram was sent to.
 */
export class UdpTransport implements Transport {
  readonly name = 'udp'
  readonly #options: UdpOptions
  readonly #log: Log
  readonly #io: PacketIo | undefined
  readonly #batches: typeof loadBatches
  readonly #interfaces: () => Interfaces
  readonly #ports: readonly (readonly ['ike' | 'natt', number])[]
  readonly #pool: SendPool
  /** By wanted `address port role`; port 0 stays 0 here, so that a rescan finds what it bound. */
  readonly #sockets = new Map<string, BoundSocket>()
  /** What `bind` made. */
  readonly #extra = new Set<BoundSocket>()
  /** By address, then bound port: the send path looks up without building a key. */
  #byLocal = new Map<Address, Map<number, BoundSocket>>()
  #locals: readonly LocalEndpoint[] = []
  /** Addresses whose failure was reported already; the watch would repeat it every few seconds. */
  readonly #reported = new Set<string>()
  readonly #lastSource: { 4?: Address; 6?: Address } = {}
  readonly #sendErrors: Record<string, number> = {}
  #received = 0
  #receivedOctets = 0
  #sent = 0
  #sentOctets = 0
  #queueDrops = 0
  #unbound = 0
  #sink: TransportSink | undefined
  #timer: NodeJS.Timeout | undefined
  #scan: Promise<void> | undefined

  /**
   * @param io - opens the sockets; absent: node:dgram does
   * @param batches - what its sockets need to do more than Node does; resolves to undefined where they cannot
   */
  constructor(options: UdpOptions, log: Log, io?: PacketIo, batches = loadBatches) {
    this.#options = options
    this.#batches = batches
    this.#io = io
    this.#log = log
    this.#interfaces = options.interfaces ?? networkInterfaces
    const { ikePort = 500, nattPort = 4500, queue = 1_024 } = options
    this.#ports =
      ikePort === nattPort && ikePort !== 0
        ? [['natt', nattPort]]
        : [
            ['ike', ikePort],
            ['natt', nattPort],
          ]
    this.#pool = new SendPool(queue, code => this.#sendFailed(code))
  }

  async open(sink: TransportSink): Promise<void> {
    if (this.#sink !== undefined) throw new UsageError('USAGE_OPEN', 'udp: already open')
    this.#sink = sink
    try {
      const failures = await this.#bindMissing(this.#wanted())
      // a busy port would leave the peer talking to somebody else's daemon; only a vanished address is survivable
      const survivable = this.#sockets.size > 0 && !isFixed(this.#options.addresses)
      const fatal = failures.find(({ error }) => !survivable || error.code !== 'SYSTEM_ADDRESS')
      if (fatal !== undefined) throw fatal.error
      if (this.#sockets.size === 0) {
        throw new SystemError('SYSTEM_ADDRESS', 'this host has no address to bind: check listen.addresses and exclude')
      }
      for (const { key, error } of failures) {
        this.#reported.add(key)
        sink.failed(error)
      }
    } catch (error) {
      await this.close()
      throw error
    }
    const { watchMs = 1_000 } = this.#options
    if (watchMs > 0 && !isFixed(this.#options.addresses)) {
      this.#timer = setInterval(() => this.rescan(), watchMs).unref()
    }
  }

  async close(): Promise<void> {
    this.#sink = undefined
    clearInterval(this.#timer)
    await this.#scan
    const closing = [...this.#sockets.values(), ...this.#extra].map(socket => socket.close())
    this.#sockets.clear()
    this.#extra.clear()
    this.#reported.clear()
    this.#index()
    await Promise.all(closing)
  }

  locals(): readonly LocalEndpoint[] {
    return this.#locals
  }

  /**
   * Asks the kernel by connecting an unbound socket, which sends nothing. Where the answer is an address that is not
   * bound (a full tunnel's inner address), the last good answer, else the first bound address of that family.
   */
  async source(remote: Address): Promise<Address | undefined> {
    const v4 = isIPv4(remote)
    const socket = createSocket({ type: v4 ? 'udp4' : 'udp6', lookup: literal })
    try {
      const asked = await new Promise<Address>((resolve, reject) => {
        socket.once('error', reject)
        socket.once('connect', () => resolve(canonical(socket.address().address)))
        socket.connect(4500, remote)
      })
      const family = v4 ? 4 : 6
      const bound = [this.#lastSource[family], ...this.#locals.map(local => local.address)].filter(
        address => address !== undefined && isIPv4(address) === v4 && this.#byLocal.has(address),
      )
      if (this.#byLocal.has(asked)) this.#lastSource[family] = asked
      return this.#byLocal.has(asked) ? asked : bound[0]
    } catch {
      return undefined
    } finally {
      socket.close()
    }
  }

  async resolve(host: string): Promise<readonly Address[]> {
    if (isIP(host) !== 0) return [canonical(host)]
    try {
      // verbatim: the system's resolver sorted them by RFC 6724 already
      const answers = await lookup(host, { all: true, verbatim: true })
      return [...new Set(answers.map(answer => canonical(answer.address)))]
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      throw new SystemError('SYSTEM_RESOLVE', `cannot resolve ${host} (${code})`, { cause: error })
    }
  }

  async bind(address: Address): Promise<LocalEndpoint> {
    const wanted: LocalEndpoint = { protocol: 17, role: 'extra', address, port: 0 }
    const socket = await this.#open(wanted).catch(error => Promise.reject(bindError(error, wanted)))
    if (this.#sink === undefined) {
      await socket.close()
      throw new SystemError('SYSTEM_ADDRESS', 'udp: not open')
    }
    this.#extra.add(socket)
    this.#index()
    this.#sink.changed()
    return socket.local
  }

  unbind({ address, port }: Endpoint): void {
    const socket = [...this.#extra].find(({ local }) => local.address === address && local.port === port)
    if (socket === undefined) return
    this.#extra.delete(socket)
    this.#index()
    void socket.close()
    this.#sink?.changed()
  }

  carries(flow: Flow): boolean {
    return flow.protocol === 17 && this.#byLocal.get(flow.local.address)?.get(flow.local.port) !== undefined
  }

  send(packet: Packet, flow: Flow): void {
    const socket = this.#byLocal.get(flow.local.address)?.get(flow.local.port)
    if (socket === undefined || flow.protocol !== 17) {
      this.#unbound++
      return
    }
    const failure = socket.send(packet, flow.remote)
    if (failure === QUEUE_FULL) {
      this.#queueDrops++
      return
    }
    this.#sent++
    this.#sentOctets += packet.end - packet.start
    if (failure !== undefined) this.#sendFailed(failure)
  }

  stats(): UdpStats {
    return {
      received: this.#received,
      receivedOctets: this.#receivedOctets,
      sent: this.#sent,
      sentOctets: this.#sentOctets,
      queueDrops: this.#queueDrops,
      unbound: this.#unbound,
      sendErrors: { ...this.#sendErrors },
    }
  }

  /** Looks for changed addresses now; binds, closes and tells the sink. Never throws; calls do not overlap. */
  rescan(): Promise<void> {
    this.#scan ??= this.#rescan().finally(() => {
      this.#scan = undefined
    })
    return this.#scan
  }

  async #rescan(): Promise<void> {
    if (this.#sink === undefined) return
    const wanted = this.#wanted()
    const gone = [...this.#sockets].filter(([key]) => !wanted.has(key))
    for (const [key] of gone) this.#sockets.delete(key)
    const lost = new Set(gone.map(([, { local }]) => local.address))
    for (const socket of this.#extra) if (lost.has(socket.local.address)) this.unbind(socket.local)
    if (gone.length > 0) this.#index()
    await Promise.all(gone.map(([, socket]) => socket.close()))
    for (const key of this.#reported) if (!wanted.has(key)) this.#reported.delete(key)
    const before = this.#sockets.size
    const failures = await this.#bindMissing(wanted)
    for (const { key, error } of failures) {
      if (!this.#reported.has(key)) this.#sink?.failed(error)
      this.#reported.add(key)
    }
    if (gone.length > 0 || this.#sockets.size !== before) {
      this.#log.info('local addresses changed', { locals: this.#locals.map(showEndpoint) })
      this.#sink?.changed()
    }
  }

  #wanted(): ReadonlyMap<string, LocalEndpoint> {
    const addresses = selectAddresses(this.#interfaces(), this.#options.addresses, this.#options.exclude)
    return new Map(
      addresses.flatMap(address =>
        this.#ports.map(([role, port]) => [`${address} ${port} ${role}`, { protocol: 17, role, address, port }]),
      ),
    )
  }

  async #bindMissing(wanted: ReadonlyMap<string, LocalEndpoint>): Promise<{ key: string; error: SystemError }[]> {
    const failures: { key: string; error: SystemError }[] = []
    const missing = [...wanted].filter(([key]) => !this.#sockets.has(key))
    // one after the other, so that locals keep the system's order: the first is the preferred one
    for (const [key, local] of missing) {
      try {
        this.#sockets.set(key, await this.#open(local))
      } catch (error) {
        failures.push({ key, error: bindError(error, local) })
      }
    }
    this.#index()
    return failures
  }

  async #open(local: LocalEndpoint): Promise<BoundSocket> {
    const { bufferSize = 4 << 20 } = this.#options
    const sink = this.#socketSink(local)
    return this.#io?.available
      ? this.#io.bind(local, bufferSize, sink)
      : bindUdp(local, bufferSize, sink, this.#pool, await this.#batches())
  }

  #socketSink(local: LocalEndpoint): PacketIoSink<Flow> {
    return {
      receive: (packet, flow) => {
        this.#received++
        this.#receivedOctets += packet.end - packet.start
        this.#sink?.receive(packet, flow)
      },
      pathMtu: (remote, mtu) => this.#sink?.pathMtu?.(local.address, remote, mtu),
      failed: error => {
        const { code = 'unknown' } = error as NodeJS.ErrnoException
        this.#sink?.failed(
          new SystemError('SYSTEM_SOCKET', `UDP socket ${showEndpoint(local)}: ${code}`, { cause: error }),
        )
      },
    }
  }

  #sendFailed(code: string): void {
    const count = (this.#sendErrors[code] ?? 0) + 1
    this.#sendErrors[code] = count
    // one line per kind and then ever fewer: a dead route would otherwise write one per packet
    if ((count & (count - 1)) === 0) this.#log.debug('datagram not sent', { code, count })
  }

  #index(): void {
    const byLocal = new Map<Address, Map<number, BoundSocket>>()
    for (const socket of [...this.#sockets.values(), ...this.#extra]) {
      const ports = byLocal.get(socket.local.address) ?? new Map<number, BoundSocket>()
      byLocal.set(socket.local.address, ports.set(socket.local.port, socket))
    }
    this.#byLocal = byLocal
    this.#locals = [...this.#sockets.values(), ...this.#extra].map(socket => socket.local)
  }
}
