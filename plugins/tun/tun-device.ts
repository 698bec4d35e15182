import type { DeviceSink, DeviceState, PacketDevice } from '../../core/contracts/device.ts'
import type { Log } from '../../core/contracts/log.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { PacketIo, PacketIoSink, TunQueue } from '../../core/contracts/packet-io.ts'
import { SystemError, UsageError } from '../../core/errors.ts'
import { ip, ipList } from './ip.ts'
import { tunError } from './native.ts'
import { changes, type Item, itemsFor, type Layout, type ListedRule, layoutOf, staleRules } from './network.ts'
import { openQueue } from './queue.ts'

export interface TunOptions {
  /** Device name, `%d` for the first free number; default `nw%d`. */
  readonly device?: string
  /** Routing table; default `preference` plus the interface index. */
  readonly table?: number
  /** First of 2000 policy rule preferences used, default 4500; all below 32766. */
  readonly preference?: number
}

export interface TunStats {
  readonly packetsIn: number
  readonly octetsIn: number
  readonly packetsOut: number
  readonly octetsOut: number
  /** Packets the kernel did not take, by error code: EAGAIN full, EIO link down, EINVAL no IP packet. */
  readonly writeErrors: Readonly<Record<string, number>>
}

/** A Linux TUN device, configured by iproute2. Read in Node's loop, written in place. */
export class TunDevice implements PacketDevice {
  readonly #options: TunOptions
  readonly #log: Log
  readonly #io: PacketIo | undefined
  /** In the order of installing. */
  readonly #installed = new Map<string, Item>()
  readonly #writeErrors: Record<string, number> = {}
  #packetsIn = 0
  #octetsIn = 0
  #packetsOut = 0
  #octetsOut = 0
  #queue: TunQueue | undefined
  #layout: Layout | undefined
  #sink: DeviceSink | undefined
  #wanted: DeviceState | undefined
  #dns = ''
  #applying: Promise<void> | undefined

  /** @param io - opens and reads the device; absent: this plugin does */
  constructor(options: TunOptions, log: Log, io?: PacketIo) {
    this.#options = options
    this.#io = io
    this.#log = log
  }

  /** The kernel's name once open, the wanted pattern before. */
  get name(): string {
    return this.#queue?.name ?? this.#options.device ?? 'nw%d'
  }

  async open(sink: DeviceSink): Promise<void> {
    if (this.#queue !== undefined) throw new UsageError('USAGE_OPEN', `${this.name}: already open`)
    const queue = await this.#openQueue()
    this.#queue = queue
    try {
      this.#layout = await this.#prepare(queue.name)
    } catch (error) {
      await this.close()
      throw error
    }
    this.#sink = sink
    this.#log.info('device created', { device: queue.name, table: this.#layout.table })
  }

  async #openQueue(): Promise<TunQueue> {
    const sink: PacketIoSink<undefined> = {
      receive: packet => {
        this.#packetsIn++
        this.#octetsIn += packet.end - packet.start
        this.#sink?.packet(packet)
      },
      failed: error => this.#sink?.failed(error),
    }
    try {
      return await (this.#io?.available ? this.#io.openTun(this.name, sink) : openQueue(this.name, sink))
    } catch (error) {
      if (error instanceof SystemError) throw error
      const { code, message } = error as NodeJS.ErrnoException
      throw tunError(message.replace(/: \w+$/, ''), code, error)
    }
  }

  async close(): Promise<void> {
    const queue = this.#queue
    if (queue === undefined) return
    this.#sink = undefined
    this.#wanted = undefined
    await this.#applying?.catch(() => {})
    // rules outlive the device; addresses and routes do not
    const rules = [...this.#installed.values()].filter(item => item.remove?.includes('rule')).reverse()
    for (const rule of rules) await this.#remove(rule)
    this.#installed.clear()
    this.#dns = ''
    this.#queue = undefined
    await queue.close()
  }

  /** @throws SystemError SYSTEM_DEVICE, SYSTEM_PERMISSION: what could be installed is; a later call tries the rest */
  configure(state: DeviceState): Promise<void> {
    if (this.#sink === undefined) return Promise.reject(new UsageError('USAGE_CLOSED', `${this.name}: not open`))
    this.#wanted = state
    this.#applying ??= this.#applyLatest()
    return this.#applying
  }

  write(packet: Packet): void {
    if (this.#queue === undefined) return
    const failure = this.#queue.write(packet)
    if (failure !== undefined) this.#writeErrors[failure] = (this.#writeErrors[failure] ?? 0) + 1
    else {
      this.#packetsOut++
      this.#octetsOut += packet.end - packet.start
    }
  }

  stats(): TunStats {
    return {
      packetsIn: this.#packetsIn,
      octetsIn: this.#octetsIn,
      packetsOut: this.#packetsOut,
      octetsOut: this.#octetsOut,
      writeErrors: { ...this.#writeErrors },
    }
  }

  /** Finds the device's place among others and clears what killed processes left there. */
  async #prepare(name: string): Promise<Layout> {
    const { preference = 4_500, table } = this.#options
    // no link-local address: nobody at the other end answers router solicitations. Fails where IPv6 is switched off
    await ip(['link', 'set', 'dev', name, 'addrgenmode', 'none']).catch(() => {})
    const links = JSON.parse(await ip(['-json', 'link'])) as { ifname: string; ifindex: number }[]
    const own = links.find(link => link.ifname === name)?.ifindex ?? 0
    const others = links.map(link => link.ifindex).filter(index => index !== own)
    for (const family of [4, 6] as const) {
      const rules = await ipList<ListedRule>([`-${family}`, 'rule'])
      for (const args of staleRules(rules, others, family, preference, table)) {
        this.#log.info('removing a rule left behind', { rule: args.join(' ') })
        await ip(args).catch(() => {})
      }
    }
    return layoutOf(name, own, preference, table)
  }

  async #applyLatest(): Promise<void> {
    try {
      for (;;) {
        const state = this.#wanted
        if (state === undefined) return
        this.#wanted = undefined
        try {
          await this.#apply(state)
        } catch (error) {
          if (this.#wanted === undefined) throw error
          this.#log.debug('a configuration failed and was overtaken', { error: String(error) })
        }
      }
    } finally {
      this.#applying = undefined
    }
  }

  async #apply(state: DeviceState): Promise<void> {
    const layout = this.#layout
    if (layout === undefined) return
    const wanted = itemsFor(state, layout)
    const { add, remove } = changes(this.#installed.values(), wanted)
    const failed = new Map<4 | 6, unknown>()
    for (const item of add) {
      // after a failure the family stays as it is: its look-up must not be installed without what keeps IKE out
      if (failed.has(item.family)) continue
      try {
        await ip(item.add).catch(error => (item.instead === undefined ? Promise.reject(error) : ip(item.instead)))
        this.#installed.set(item.key, item)
      } catch (error) {
        failed.set(item.family, error)
      }
    }
    for (const item of remove) await this.#remove(item)
    // back into installing order, so that removal always starts with the look-ups
    const rest = wanted.filter(item => this.#installed.delete(item.key))
    for (const item of rest) this.#installed.set(item.key, item)
    const dns = state.dns.join(' ')
    if (dns !== this.#dns && dns !== '')
      this.#log.info('the peer assigned DNS servers, not installed', { dns: state.dns })
    this.#dns = dns
    for (const error of failed.values()) throw error
  }

  async #remove(item: Item): Promise<void> {
    this.#installed.delete(item.key)
    if (item.remove === undefined) return
    // gone already is as good: somebody flushed a table, or the address took its routes along
    await ip(item.remove).catch(error => this.#log.debug('nothing to remove', { error: String(error) }))
  }
}
