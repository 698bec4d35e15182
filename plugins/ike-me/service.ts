import type { Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { IkeSaRef, Service, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import { Pacer } from '../../core/path/index.ts'
import { ExchangeType } from '../../core/wire/index.ts'
import { looksLikeCheck, readCheck } from './check.ts'
import { MediationClient } from './client.ts'
import type { Links } from './links.ts'
import { parsePeers, type Settings } from './options.ts'
import { MediationServer } from './server.ts'

/** Checks looked at per second: whoever floods this host costs it no more than that. */
const CHECKS_PER_SECOND = 2_000
const CHECKS_BURST = 500

/** Mediation in all three roles beside IKE: as the server, the one who asks, and the one who is asked. */
export class MediationService implements Service {
  readonly exchanges = [ExchangeType.ME_CONNECT]
  readonly #links: Links
  readonly #client: MediationClient
  readonly #server: MediationServer
  readonly #checks = new Pacer(CHECKS_PER_SECOND, CHECKS_BURST)

  /** @throws ConfigError for peers' options that make no sense */
  constructor(
    context: ServiceContext,
    links: Links,
    settings: Settings,
    interfaces: () => ReadonlyMap<string, string>,
  ) {
    links.roles = parsePeers(context.peers)
    this.#links = links
    this.#client = new MediationClient(context, links, settings, interfaces)
    this.#server = new MediationServer(context.crypto, settings)
  }

  get deadline(): number {
    return Math.min(this.#client.deadline, this.#server.deadline)
  }

  claims(packet: Packet, flow: Flow): 'mine' | undefined {
    return looksLikeCheck(packet, flow) ? 'mine' : undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    switch (input.type) {
      case 'start':
        return this.#client.start(now)
      case 'timeout':
        this.#server.timeout(now)
        return this.#client.timeout(now)
      case 'candidates':
        this.#client.candidates(input.candidates)
        return []
      case 'find':
        return this.#client.find(input, now)
      case 'forget':
        return this.#client.forget(input.peer)
      case 'datagram':
        return this.#datagram(input.bytes, input.flow, now)
      case 'sa-up':
        return this.#up(input.sa, now)
      case 'sa-down':
        this.#server.down(input.sa)
        return this.#client.down(input.sa, now)
      case 'sa-moved':
        return this.#client.moved(input.sa, now)
      case 'connect-failed':
        return this.#client.connectFailed(input, now)
      case 'request':
        return this.#server.serves(input.sa)
          ? this.#server.request(input.sa, input.payloads, now)
          : this.#client.request(input.sa, input.payloads, now)
      case 'response':
        return this.#server.serves(input.sa)
          ? this.#server.response(input.tag, input.payloads)
          : this.#client.response(input.tag, input.payloads, now)
      case 'bound':
        return this.#client.bound(input, now)
      case 'locals':
      case 'stop':
      case 'resolved':
      case 'lease':
      case 'release':
        return []
    }
  }

  #up(sa: IkeSaRef, now: number): readonly ServiceOut[] {
    const met = this.#links.take(sa.id)
    return met?.role === 'server' ? this.#server.up(sa, met.probe) : this.#client.up(sa, met, now)
  }

  #datagram(bytes: Uint8Array, flow: Flow, now: number): readonly ServiceOut[] {
    if (!this.#checks.take(now)) return [{ type: 'drop', reason: 'me-check-flood' }]
    const check = readCheck(bytes, flow)
    if (check === undefined) return [{ type: 'drop', reason: 'me-check-malformed' }]
    return (
      this.#client.check(check, flow, now) ??
      this.#server.check(check, flow) ?? [{ type: 'drop', reason: 'me-check-unknown' }]
    )
  }
}
