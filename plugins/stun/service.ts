import type { Rng } from '../../core/contracts/machine.ts'
import { type Endpoint, type Flow, sameEndpoint, showEndpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Service, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import { isStun } from '../../core/wire/index.ts'
import { Binding, type BindingOut } from './binding.ts'
import type { Verdict } from './classify.ts'
import { Detection, type DetectionOut } from './detection.ts'
import type { ServerName, StunSettings } from './options.ts'
import { hexOf } from './transaction.ts'

/** Sockets of its own for a detection: a second one, and some to see how ports are picked. */
const EXTRA_SOCKETS = 5

/** One of IKE's sockets asking one server. */
interface Watched {
  readonly base: Endpoint
  readonly server: Endpoint
  readonly binding: Binding
  mapped: Endpoint | undefined
}

/** A detection, from the first wish for a socket on. */
interface Running {
  readonly base: Endpoint
  readonly servers: readonly Endpoint[]
  waiting: number
  readonly extra: Endpoint[]
  detection: Detection | undefined
}

/**
 * Watches the mapped addresses of IKE's NAT-T sockets as server-reflexive candidates, and finds out about the NAT, as facts
 * for all peers, whenever the mapped address is a new one.
 */
export class StunService implements Service {
  readonly #settings: StunSettings
  readonly #rng: Rng
  readonly #addresses = new Map<ServerName, readonly Endpoint[]>()
  #locals: readonly Endpoint[] = []
  #watched: readonly Watched[] = []
  #running: Running | undefined
  /** Outer and inner address of what was detected last. */
  #known = ''
  #runs = 0

  constructor(settings: StunSettings, rng: Rng) {
    this.#settings = settings
    this.#rng = rng
  }

  get deadline(): number {
    return Math.min(
      ...this.#watched.map(({ binding }) => binding.deadline),
      this.#running?.detection?.deadline ?? Infinity,
    )
  }

  /** Only what answers a transaction of its own: ESP may look like STUN by chance. */
  claims({ bytes, start, end }: Packet): 'mine' | undefined {
    if (!isStun(bytes, start, end)) return undefined
    const id = hexOf(bytes.subarray(start + 8, start + 20))
    const mine = this.#running?.detection?.awaits(id) === true || this.#watched.some(w => w.binding.awaits(id))
    return mine ? 'mine' : undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    switch (input.type) {
      case 'start':
        return this.#lookUp()
      case 'resolved':
        for (const server of this.#settings.servers)
          if (server.host === input.tag)
            this.#addresses.set(
              server,
              input.addresses.map(address => ({ address, port: server.port })),
            )
        return this.#watch(now)
      case 'locals':
        this.#locals = input.locals
          .filter(({ protocol, role }) => protocol === 17 && role === 'natt')
          .map(({ address, port }) => ({ address, port }))
        return this.#watch(now)
      case 'bound':
        return this.#bound(input.tag, input.local, now)
      case 'timeout':
        return [
          ...this.#watched.flatMap(watched => this.#from(watched, watched.binding.step({ type: 'timeout' }, now))),
          ...this.#detected(this.#running?.detection?.step({ type: 'timeout' }, now) ?? [], now),
        ]
      case 'datagram':
        return this.#datagram(input.bytes, input.flow, now)
      default:
        return [] // peers and SAs are no concern of it
    }
  }

  #lookUp(): readonly ServiceOut[] {
    return this.#settings.servers.map(({ host }) => ({ type: 'resolve', host, tag: host }))
  }

  /** Every NAT-T socket asks the first address of its family of each server. */
  #watch(now: number): readonly ServiceOut[] {
    const wanted = this.#locals.flatMap(base =>
      this.#settings.servers.flatMap(name => {
        const server = this.#addresses.get(name)?.find(({ address }) => sameFamily(address, base.address))
        return server === undefined ? [] : [{ base, server }]
      }),
    )
    const before = this.#watched
    const find = ({ base, server }: { readonly base: Endpoint; readonly server: Endpoint }) =>
      before.find(old => sameEndpoint(old.base, base) && sameEndpoint(old.server, server))
    const fresh: Watched[] = []
    this.#watched = wanted.map(pair => {
      const old = find(pair)
      if (old !== undefined) return old
      const binding = new Binding(this.#rng, pair.server, this.#settings.intervalMs)
      const watched = { ...pair, binding, mapped: undefined }
      fresh.push(watched)
      return watched
    })
    const gone = before.filter(old => !this.#watched.includes(old))
    return [
      ...gone.flatMap(old => this.#withdraw(old)),
      ...this.#abandonIfGone(),
      ...fresh.flatMap(watched => this.#from(watched, watched.binding.step({ type: 'start' }, now))),
    ]
  }

  #from(watched: Watched, outs: readonly BindingOut[]): readonly ServiceOut[] {
    return outs.flatMap(out => this.#heard(watched, out))
  }

  #heard(watched: Watched, out: BindingOut): readonly ServiceOut[] {
    switch (out.type) {
      case 'transmit':
        return [{ type: 'transmit', bytes: out.data, flow: flow(watched.base, out.to) }]
      case 'mapped': {
        const old = this.#withdraw(watched)
        watched.mapped = out.mapped
        return [...old, ...this.#announce(watched), ...this.#detect(watched)]
      }
      case 'failed': // the name may have another address by now
        return [...this.#withdraw(watched), ...this.#lookUp()]
    }
  }

  /** Without translation the host candidate says it already. */
  #announce({ base, server, mapped }: Watched): readonly ServiceOut[] {
    if (mapped === undefined || sameEndpoint(mapped, base)) return []
    const source = `STUN server ${showEndpoint(server)}`
    return [
      { type: 'candidate', candidate: { kind: 'server-reflexive', endpoint: mapped, base, source, until: Infinity } },
    ]
  }

  #withdraw(watched: Watched): readonly ServiceOut[] {
    const { base, mapped } = watched
    watched.mapped = undefined
    if (mapped === undefined || sameEndpoint(mapped, base)) return []
    // another server may still see the same
    const others = this.#watched.some(
      other => other.mapped !== undefined && sameEndpoint(other.base, base) && sameEndpoint(other.mapped, mapped),
    )
    return others ? [] : [{ type: 'candidate-gone', candidate: { kind: 'server-reflexive', endpoint: mapped, base } }]
  }

  // ------------------------------------------------------------------ what kind of NAT

  #detect({ base, mapped }: Watched): readonly ServiceOut[] {
    const place = `${base.address} ${mapped?.address}`
    if (!this.#settings.classify || this.#running !== undefined || place === this.#known) return []
    this.#known = place
    const servers = this.#watched.filter(w => sameEndpoint(w.base, base)).map(({ server }) => server)
    this.#runs++
    this.#running = { base, servers, waiting: EXTRA_SOCKETS, extra: [], detection: undefined }
    return Array.from({ length: EXTRA_SOCKETS }, () => ({ type: 'bind', address: base.address, tag: `${this.#runs}` }))
  }

  #bound(tag: string, local: Endpoint | undefined, now: number): readonly ServiceOut[] {
    const running = this.#running
    if (running === undefined || tag !== `${this.#runs}`) return local === undefined ? [] : [{ type: 'unbind', local }]
    if (local !== undefined) running.extra.push({ address: local.address, port: local.port })
    if (--running.waiting > 0) return []
    const [server, second] = running.servers
    if (server === undefined) return this.#release()
    running.detection = new Detection({ server, second, sockets: [running.base, ...running.extra] }, this.#rng)
    return this.#detected(running.detection.step({ type: 'start' }, now), now)
  }

  #detected(outs: readonly DetectionOut[], now: number): readonly ServiceOut[] {
    const running = this.#running
    return running === undefined ? [] : outs.flatMap(out => this.#found(running, out, now))
  }

  #found({ base, extra }: Running, out: DetectionOut, now: number): readonly ServiceOut[] {
    switch (out.type) {
      case 'transmit':
        return [{ type: 'transmit', bytes: out.data, flow: flow([base, ...extra][out.socket]!, out.to) }]
      case 'progress':
        return []
      case 'done':
        return [
          ...this.#release(),
          ...out.report.verdicts.flatMap(verdict => factOf(verdict, showEndpoint(out.report.server), now)),
        ]
    }
  }

  #datagram(bytes: Uint8Array, { local, remote }: Flow, now: number): readonly ServiceOut[] {
    const outs = this.#watched
      .filter(({ base }) => sameEndpoint(base, local))
      .flatMap(watched => this.#from(watched, watched.binding.step({ type: 'datagram', data: bytes }, now)))
    const running = this.#running
    if (running?.detection === undefined) return outs
    const socket = [running.base, ...running.extra].findIndex(own => sameEndpoint(own, local))
    const found = running.detection.step({ type: 'datagram', socket, from: remote, data: bytes }, now)
    return [...outs, ...this.#detected(found, now)]
  }

  /** The socket that a detection is about has gone: so do its own. */
  #abandonIfGone(): readonly ServiceOut[] {
    const base = this.#running?.base
    if (base === undefined || this.#locals.some(local => sameEndpoint(local, base))) return []
    this.#known = ''
    return this.#release()
  }

  #release(): readonly ServiceOut[] {
    const extra = this.#running?.extra ?? []
    this.#running = undefined
    return extra.map(local => ({ type: 'unbind', local }))
  }
}

/** What the evidence does not decide stays unknown, and a silent server says nothing about UDP to others. */
function factOf({ fact, value, confidence, rule }: Verdict, server: string, at: number): readonly ServiceOut[] {
  if (value === undefined || value === 'udp-blocked') return []
  const sure = `${(100 * confidence).toFixed(confidence > 0.999 ? 0 : 1)}% sure`
  return [{ type: 'fact', name: fact, fact: { value, source: `STUN server ${server}: ${rule} (${sure})`, at } }]
}

const flow = (local: Endpoint, remote: Endpoint): Flow => ({ protocol: 17, local, remote })

const sameFamily = (a: string, b: string): boolean => a.includes(':') === b.includes(':')
