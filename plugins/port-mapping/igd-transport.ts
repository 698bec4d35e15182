import type { Log } from '../../core/contracts/log.ts'
import type { Address, Flow } from '../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet } from '../../core/contracts/packet.ts'
import type { LocalEndpoint, Transport, TransportSink } from '../../core/contracts/transport.ts'
import { SystemError } from '../../core/errors.ts'
import type { Igd } from './igd.ts'
import { type MapRequest, PcpResult, parseMapRequest, serializeMapResponse } from './pcp.ts'
import { SSDP_PORT } from './upnp.ts'

const TCP = 6
const MAP_MS = 5_000
/** Removal is on the way out: whoever presses Ctrl-C waits for it. */
const UNMAP_MS = 1_500
/** How long not to ask again where there is no UPnP: searches disturb everybody in the LAN. */
const AGAIN_S = 600

/** The flow on which a gateway's UPnP is spoken to. */
export const igdFlow = (local: Flow['local'], gateway: Address): Flow => ({
  protocol: TCP,
  local,
  remote: { address: gateway, port: SSDP_PORT },
})

/**
 * UPnP behind the messages of PCP, the interworking function of RFC 6970 the other way round: a MAP request that is sent on
 * `igdFlow` is carried out by UPnP actions, and a MAP response tells what came of it. So the machine that keeps mappings
 * needs to know nothing of multicast, HTTP and XML.
 */
export class IgdTransport implements Transport {
  readonly name = 'port-mapping'
  readonly #log: Log
  /** By gateway and local address: what was found, and what is asked now. */
  readonly #found = new Map<string, Igd>()
  readonly #pending = new Map<string, Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #packet = newPacket(2_048)
  #sink: TransportSink | undefined

  constructor(log: Log) {
    this.#log = log
  }

  async open(sink: TransportSink): Promise<void> {
    this.#sink = sink
  }

  /** Waits for removals, not for anything else. */
  async close(): Promise<void> {
    this.#sink = undefined
    this.#stopping.abort(new Error('natweave stops'))
    await Promise.all(this.#pending.values())
  }

  locals(): readonly LocalEndpoint[] {
    return []
  }

  /** Others know. */
  async source(): Promise<Address | undefined> {
    return undefined
  }

  /** @throws SystemError SYSTEM_RESOLVE: names are the socket transport's work */
  async resolve(host: string): Promise<readonly Address[]> {
    throw new SystemError('SYSTEM_RESOLVE', `port-mapping resolves no names, not ${host} either`)
  }

  carries({ protocol, remote }: Flow): boolean {
    return protocol === TCP && remote.port === SSDP_PORT
  }

  send(packet: Packet, flow: Flow): void {
    const request = parseMapRequest(octets(packet).slice())
    const key = `${flow.remote.address} ${flow.local.address}`
    const busy = this.#pending.get(key)
    // one that is repeated while it is carried out gets the same answer
    if (busy !== undefined && request.lifetime > 0) return
    const work = (request.lifetime === 0 ? this.#unmap(key, request, busy) : this.#map(key, request, flow)).then(() => {
      if (this.#pending.get(key) === work) this.#pending.delete(key)
    })
    this.#pending.set(key, work)
  }

  async #map(key: string, request: MapRequest, flow: Flow): Promise<void> {
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(MAP_MS)])
    try {
      const igd = this.#found.get(key) ?? (await this.#find(flow, signal))
      this.#found.set(key, igd)
      const external = await igd.map(request, signal)
      this.#answer(flow, { ...request, external }, PcpResult.SUCCESS)
    } catch (error) {
      this.#found.delete(key)
      this.#log.debug(`no UPnP IGD on ${flow.remote.address}: ${(error as Error).message}`)
      this.#answer(flow, { ...request, lifetime: AGAIN_S }, PcpResult.NETWORK_FAILURE)
    }
  }

  /** Loaded when it is needed: most builds never speak HTTP. */
  async #find({ local, remote }: Flow, signal: AbortSignal): Promise<Igd> {
    const { Igd } = await import('./igd.ts')
    return Igd.find(remote.address, local.address, signal)
  }

  async #unmap(key: string, { external }: MapRequest, busy: Promise<void> | undefined): Promise<void> {
    // a renewal under way may be broken off and forget it
    const igd = this.#found.get(key)
    await busy
    try {
      await (igd ?? this.#found.get(key))?.unmap(external.port, AbortSignal.timeout(UNMAP_MS))
    } catch (error) {
      this.#log.debug(`the UPnP mapping of port ${external.port} is left to its lease: ${(error as Error).message}`)
    }
  }

  #answer(flow: Flow, request: MapRequest, result: number): void {
    const packet = this.#packet
    const bytes = serializeMapResponse(request, result, Math.floor(performance.now() / 1000))
    packet.bytes.set(bytes, HEADROOM)
    packet.start = HEADROOM
    packet.end = HEADROOM + bytes.length
    packet.nextHeader = TCP
    this.#sink?.receive(packet, flow)
  }
}
