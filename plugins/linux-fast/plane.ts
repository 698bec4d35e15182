import type { PacketCrypto } from '../../core/contracts/crypto.ts'
import type {
  ChildCounters,
  ChildSaSpec,
  DataPlane,
  PacketSizes,
  PlaneEvent,
  PlaneOutlet,
} from '../../core/contracts/data-plane.ts'
import type { Address, Flow, FlowProtocol } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Selector } from '../../core/contracts/strategy.ts'
import { UsageError } from '../../core/errors.ts'
import { countersOf, isAh, refusesSuite, SaMemory } from '../../core/ipsec/index.ts'
import { Esp, espSpi } from '../../core/wire/index.ts'
import type { Command, InstallCommand, RemoteSpec, Report, Side } from './messages.ts'

/** What packets come and go by. */
export interface Ways {
  /** Whether inner packets come from and go to a device that the thread has. */
  readonly hasDevice: boolean
  /** Whether the thread has sockets of this protocol. */
  carries(protocol: FlowProtocol): boolean
}

/** Whom everything is told to. */
export interface PlaneThreads {
  /** One for each thread. */
  readonly sides: readonly Side[]
  /** Packets lost that no SA counts, by reason. */
  readonly losses: Readonly<Record<string, number>>
  post(command: Command): void
  start(sizes: PacketSizes): Promise<void>
  stop(): Promise<void>
}

interface Installed {
  /** As the thread has to be told it again, the flow and the encapsulation as they are now. */
  install: InstallCommand
  readonly memories: readonly SaMemory[]
  /** Threads say for themselves which limits an SA has met; the engine hears it once. */
  readonly said: { soft: boolean; hard: boolean }
}

/** The data plane as the engine sees it: everything is told to the threads, counters are read where they write them. */
export class FastPlane implements DataPlane {
  readonly name = 'linux-fast'
  readonly #crypto: PacketCrypto
  readonly #ways: Ways
  readonly #threads: PlaneThreads
  readonly #failed: (error: Error) => void
  readonly #sas = new Map<string, Installed>()
  readonly #spis = new Set<number>()
  readonly #yields = new Map<string, Extract<Command, { type: 'yield' }>>()
  readonly #traps: Extract<Command, { type: 'trap' }>[] = []
  #outlet: PlaneOutlet | undefined

  /**
   * @param crypto - what the threads can do
   * @param failed - told when the threads do not come up
   */
  constructor(crypto: PacketCrypto, ways: Ways, threads: PlaneThreads, failed: (error: Error) => void) {
    this.#crypto = crypto
    this.#ways = ways
    this.#threads = threads
    this.#failed = failed
  }

  async open(outlet: PlaneOutlet, sizes: PacketSizes): Promise<void> {
    this.#outlet = outlet
    await this.#threads.start(sizes).catch(this.#failed)
  }

  async close(): Promise<void> {
    await this.#threads.stop()
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
    const memory: Partial<Record<Side, SharedArrayBuffer>> = {}
    const memories = this.#threads.sides.map(side => {
      memory[side] = new SharedArrayBuffer(SaMemory.octets(spec.replayWindow))
      return new SaMemory(spec.replayWindow, memory[side])
    })
    const install = { type: 'install', spec: remoteSpec(spec), outbound, now, memory } as const
    this.#sas.set(spec.id, { install, memories, said: { soft: false, hard: false } })
    this.#spis.add(spec.inbound.spi)
    this.#threads.post(install)
  }

  activate(id: string): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    sa.install = { ...sa.install, outbound: true }
    // the newest sender last, as a new thread has to be told them
    this.#sas.delete(id)
    this.#sas.set(id, sa)
    this.#threads.post({ type: 'activate', id })
  }

  move(id: string, flow: Flow, wrapping?: Pick<ChildSaSpec, 'encap' | 'follow'>): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    const around = wrapping && { encap: remoteEncap(wrapping.encap), follow: wrapping.follow }
    sa.install = { ...sa.install, spec: { ...sa.install.spec, flow, ...around } }
    this.#threads.post({ type: 'move', id, flow, wrapping: around })
  }

  remove(id: string): void {
    const sa = this.#sas.get(id)
    if (sa === undefined) return
    this.#sas.delete(id)
    this.#spis.delete(sa.install.spec.inbound.spi)
    wipe(sa.install.spec)
    this.#threads.post({ type: 'remove', id })
  }

  get drops(): Readonly<Record<string, number>> {
    return this.#threads.losses
  }

  counters(id: string): ChildCounters | undefined {
    const sa = this.#sas.get(id)
    return sa && countersOf(sa.memories)
  }

  inbound(packet: Packet, flow: Flow): boolean {
    const { bytes, start, end, tos } = packet
    if (end - start < Esp.HEADER || !this.#spis.has(espSpi(bytes, start))) return false
    this.#threads.post({ type: 'inbound', bytes: bytes.slice(start, end), flow, tos })
    return true
  }

  /** Sends what the thread has no socket for. */
  relay(packet: Packet, flow: Flow): void {
    this.#outlet?.transmit(packet, flow)
  }

  pathMtu(local: Address, remote: Address, mtu: number, now: number): void {
    this.#threads.post({ type: 'path-mtu', local, remote, mtu, now })
  }

  outbound({ bytes, start, end }: Packet): void {
    this.#threads.post({ type: 'outbound', bytes: bytes.slice(start, end) })
  }

  yield(id: string, local: readonly Selector[], remote: readonly Selector[]): void {
    const command = { type: 'yield', id, local, remote } as const
    this.#yields.set(id, command)
    this.#threads.post(command)
  }

  regain(id: string): void {
    if (this.#yields.delete(id)) this.#threads.post({ type: 'regain', id })
  }

  trap(peer: string, child: string, local: readonly Selector[], remote: readonly Selector[]): void {
    const command = { type: 'trap', peer, child, local, remote } as const
    this.#traps.push(command)
    this.#threads.post(command)
  }

  /** Takes what the threads say about SAs. */
  report(report: Extract<Report, { type: 'event' | 'refused' }>): void {
    const event = report.type === 'event' ? report.event : ({ type: 'hard-expiry', id: report.id } as const)
    const sa = event.type === 'acquire' ? undefined : this.#sas.get(event.id)
    if (sa !== undefined && this.#isNews(sa, event)) this.#outlet?.event(event)
  }

  /** Has the threads agree about what one of them has said. @returns false when another had said it before */
  #isNews(sa: Installed, event: PlaneEvent): boolean {
    switch (event.type) {
      case 'soft-expiry': {
        const { soft } = sa.said
        sa.said.soft = true
        return !soft
      }
      case 'hard-expiry': {
        const { hard } = sa.said
        sa.said.hard = true
        for (const memory of sa.memories) memory.expire()
        return !hard
      }
      case 'peer-moved': {
        const { id, flow } = event
        sa.install = { ...sa.install, spec: { ...sa.install.spec, flow } }
        this.#threads.post({ type: 'peer-moved', id, flow })
        return true
      }
      default:
        return true
    }
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
