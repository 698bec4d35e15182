import type { PacketCrypto } from '../../core/contracts/crypto.ts'
import type {
  ChildCounters,
  ChildSaSpec,
  DataPlane,
  PacketSizes,
  PlaneOutlet,
} from '../../core/contracts/data-plane.ts'
import type { Address, Flow, FlowProtocol } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Selector } from '../../core/contracts/strategy.ts'
import { UsageError } from '../../core/errors.ts'
import { countersOf, isAh, refusesSuite, SaMemory } from '../../core/ipsec/index.ts'
import { Esp, espSpi } from '../../core/wire/index.ts'
import type { Command, InstallCommand, RemoteSpec, Report } from './messages.ts'

/** What packets come and go by. */
export interface Ways {
  /** Whether inner packets come from and go to a device that the thread has. */
  readonly hasDevice: boolean
  /** Whether the thread has sockets of this protocol. */
  carries(protocol: FlowProtocol): boolean
}

interface Installed {
  /** As the thread has to be told it again, the flow and the encapsulation as they are now. */
  install: InstallCommand
  readonly memory: SaMemory
}

/** The data plane as the engine sees it: everything is told to the thread, counters are read where it writes them. */
export class FastPlane implements DataPlane {
  readonly name = 'linux-fast'
  readonly #crypto: PacketCrypto
  readonly #ways: Ways
  readonly #post: (command: Command) => void
  readonly #start: (sizes: PacketSizes) => Promise<void>
  readonly #stop: () => Promise<void>
  readonly #losses: () => Readonly<Record<string, number>>
  readonly #sas = new Map<string, Installed>()
  readonly #spis = new Set<number>()
  readonly #yields = new Map<string, Extract<Command, { type: 'yield' }>>()
  readonly #traps: Extract<Command, { type: 'trap' }>[] = []
  #outlet: PlaneOutlet | undefined

  /**
   * @param crypto - what the thread can do
   */
  constructor(
    crypto: PacketCrypto,
    ways: Ways,
    post: (command: Command) => void,
    start: (sizes: PacketSizes) => Promise<void>,
    stop: () => Promise<void>,
    losses: () => Readonly<Record<string, number>>,
  ) {
    this.#crypto = crypto
    this.#ways = ways
    this.#post = post
    this.#start = start
    this.#stop = stop
    this.#losses = losses
  }

  async open(outlet: PlaneOutlet, sizes: PacketSizes): Promise<void> {
    this.#outlet = outlet
    await this.#start(sizes)
  }

  async close(): Promise<void> {
    await this.#stop()
  }

  /** What a new thread has to be told: sequence numbers and windows are in memory that outlives it. */
  *history(): Iterable<Command> {
    yield* this.#traps
    for (const { install } of this.#sas.values()) yield install
    yield* this.#yields.values()
  }

  refuses(spec: ChildSaSpec): string | undefined {
    if (this.#sas.has(spec.id)) return `Child SA ${spec.id} is installed`
    if (this.#spis.has(spec.inbound.spi)) return `inbound SPI ${spec.inbound.spi.toString(16)} is in use`
    if (!this.#ways.hasDevice) return 'the device is not a TUN device of plugin tun'
    if (isAh(spec.suite)) return 'AH covers headers that the thread does not write'
    // in TCP, or by a raw socket that is not the thread's
    if (!this.#ways.carries(spec.flow.protocol)) return `no socket of its own for IP protocol ${spec.flow.protocol}`
    // flows that several owners share are told apart where all of their SAs are
    if (spec.shared) return 'selectors that several peers share'
    if (spec.mode.origin === undefined) return `mode ${spec.mode.name} stays in its thread`
    if (spec.encap.wrap !== undefined || spec.encap.unwrap !== undefined)
      return `encapsulation ${spec.encap.name} stays in its thread`
    return refusesSuite(this.#crypto, spec.suite, spec.inbound) ?? refusesSuite(this.#crypto, spec.suite, spec.outbound)
  }

  /** @throws UsageError USAGE_SA_REFUSED for what `refuses` names */
  install(spec: ChildSaSpec, { outbound }: { readonly outbound: boolean }, now: number): void {
    const refusal = this.refuses(spec)
    if (refusal !== undefined) throw new UsageError('USAGE_SA_REFUSED', `${spec.id}: ${refusal}`)
    const memory = new SharedArrayBuffer(SaMemory.octets(spec.replayWindow))
    const install = { type: 'install', spec: remoteSpec(spec), outbound, now, memory } as const
    this.#sas.set(spec.id, { install, memory: new SaMemory(spec.replayWindow, memory) })
    this.#spis.add(spec.inbound.spi)
    this.#post(install)
  }

  activate(id: string): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    sa.install = { ...sa.install, outbound: true }
    // the newest sender last, as a new thread has to be told them
    this.#sas.delete(id)
    this.#sas.set(id, sa)
    this.#post({ type: 'activate', id })
  }

  move(id: string, flow: Flow, wrapping?: Pick<ChildSaSpec, 'encap' | 'follow'>): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    const around = wrapping && { encap: remoteEncap(wrapping.encap), follow: wrapping.follow }
    sa.install = { ...sa.install, spec: { ...sa.install.spec, flow, ...around } }
    this.#post({ type: 'move', id, flow, wrapping: around })
  }

  remove(id: string): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    this.#sas.delete(id)
    this.#spis.delete(sa.install.spec.inbound.spi)
    wipe(sa.install.spec)
    this.#post({ type: 'remove', id })
  }

  get drops(): Readonly<Record<string, number>> {
    return this.#losses()
  }

  counters(id: string): ChildCounters | undefined {
    const sa = this.#sas.get(id)
    return sa && countersOf(sa.memory)
  }

  inbound(packet: Packet, flow: Flow): boolean {
    const { bytes, start, end, tos } = packet
    if (end - start < Esp.HEADER || !this.#spis.has(espSpi(bytes, start))) return false
    this.#post({ type: 'inbound', bytes: bytes.slice(start, end), flow, tos })
    return true
  }

  /** Sends what the thread has no socket for. */
  relay(packet: Packet, flow: Flow): void {
    this.#outlet?.transmit(packet, flow)
  }

  pathMtu(local: Address, remote: Address, mtu: number, now: number): void {
    this.#post({ type: 'path-mtu', local, remote, mtu, now })
  }

  outbound({ bytes, start, end }: Packet): void {
    this.#post({ type: 'outbound', bytes: bytes.slice(start, end) })
  }

  yield(id: string, local: readonly Selector[], remote: readonly Selector[]): void {
    const command = { type: 'yield', id, local, remote } as const
    this.#yields.set(id, command)
    this.#post(command)
  }

  regain(id: string): void {
    if (this.#yields.delete(id)) this.#post({ type: 'regain', id })
  }

  trap(peer: string, child: string, local: readonly Selector[], remote: readonly Selector[]): void {
    const command = { type: 'trap', peer, child, local, remote } as const
    this.#traps.push(command)
    this.#post(command)
  }

  /** Takes what the thread says about SAs. */
  report(report: Extract<Report, { type: 'event' | 'refused' }>): void {
    if (report.type === 'event') {
      const { event } = report
      if (event.type === 'peer-moved') {
        const sa = this.#sas.get(event.id)
        if (sa !== undefined) sa.install = { ...sa.install, spec: { ...sa.install.spec, flow: event.flow } }
      }
      this.#outlet?.event(event)
    } else if (this.#sas.has(report.id)) this.#outlet?.event({ type: 'hard-expiry', id: report.id })
  }
}

const remoteEncap = ({ name, overhead }: ChildSaSpec['encap']): RemoteSpec['encap'] => ({ name, overhead })

/** Keys are copied: they are wiped when the SA goes, whoever else has them. */
function remoteSpec(spec: ChildSaSpec): RemoteSpec {
  const { inbound, outbound, mode, encap, flow, ...rest } = spec
  const keys = ({ spi, encr, salt, integ }: ChildSaSpec['inbound']): ChildSaSpec['inbound'] => ({
    spi,
    encr: encr.slice(),
    salt: salt.slice(),
    integ: integ.slice(),
  })
  const { protocol, local, remote } = flow
  return {
    ...rest,
    inbound: keys(inbound),
    outbound: keys(outbound),
    mode: mode.origin!,
    encap: remoteEncap(encap),
    flow: { protocol, local, remote },
  }
}

function wipe({ inbound, outbound }: RemoteSpec): void {
  for (const keys of [inbound, outbound]) for (const part of [keys.encr, keys.salt, keys.integ]) part.fill(0)
}
