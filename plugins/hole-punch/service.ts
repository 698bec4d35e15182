import { type Flow, showEndpoint } from '../../core/contracts/net.ts'
import { octets, type Packet } from '../../core/contracts/packet.ts'
import type { Service, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import { isStun, type ParsedStun, Prf, parseStun, type StunHmac, StunMethod } from '../../core/wire/index.ts'
import { RendezvousClient } from './client.ts'
import { RENDEZVOUS } from './facts.ts'
import { Method, methodAt } from './messages.ts'
import { type HolePunchSettings, parsePeers } from './options.ts'
import { RendezvousServer } from './server.ts'

const METHODS: readonly number[] = Object.values(Method)

/** The member, the rendezvous for others, or both at once: all of it on the sockets of port 4500. */
export class HolePunchService implements Service {
  readonly #client: RendezvousClient | undefined
  readonly #server: RendezvousServer | undefined
  readonly #peers: readonly string[]
  readonly #names: ReadonlyMap<string, string>
  readonly #by: string | false

  /** @throws ConfigError for peers' options that make no sense */
  constructor(context: ServiceContext, settings: HolePunchSettings) {
    const { crypto, rng, peers } = context
    const keyed = (key: Uint8Array): StunHmac => {
      return data => crypto.prf(Prf.PRF_HMAC_SHA2_256, key, data)
    }
    const hmac = keyed(new TextEncoder().encode(settings.secret))
    this.#peers = peers.map(({ name }) => name)
    this.#names = parsePeers(peers)
    const { server } = settings
    this.#by = server === undefined ? false : showEndpoint({ address: server.host, port: server.port })
    if (server !== undefined) this.#client = new RendezvousClient(context, settings, hmac, this.#names)
    if (settings.serve) this.#server = new RendezvousServer(hmac, keyed, rng)
  }

  get deadline(): number {
    return this.#client?.deadline ?? Infinity
  }

  claims({ bytes, start, end, ...rest }: Packet, flow: Flow): 'mine' | undefined {
    if (flow.protocol !== 17 || !isStun(bytes, start, end)) return undefined
    const method = methodAt(bytes, start)
    if (METHODS.includes(method)) return 'mine'
    if (method !== StunMethod.Binding || this.#client === undefined || this.#client.idle) return undefined
    const message = parsed(octets({ bytes, start, end, ...rest }))
    return message !== undefined && this.#client.sessionOf(message) !== undefined ? 'mine' : undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    const client = this.#client
    switch (input.type) {
      case 'datagram':
        return this.#datagram(input.bytes, input.flow, now)
      case 'find':
        return (
          client?.find(input, now) ?? [
            { type: 'failed', peer: input.peer, code: 'PATH_FAILED', why: 'hole-punch has no server to ask' },
          ]
        )
      case 'forget':
        client?.forget(input.peer)
        return []
      case 'start':
        return [...this.#facts(now), ...(client === undefined ? [] : [client.start()])]
      case 'timeout':
        return client?.timeout(now) ?? []
      case 'locals':
        client?.setLocals(input.locals, now)
        return []
      case 'candidates':
        client?.setCandidates(input.candidates)
        return []
      case 'resolved':
        return client?.resolved(input.addresses, input.source, now) ?? []
      default:
        return []
    }
  }

  /** By whom each peer is found, for policy and `natweave plan`. */
  #facts(now: number): ServiceOut[] {
    return this.#peers.map((peer): ServiceOut => {
      const value = this.#names.has(peer) ? this.#by : false
      const source = `peers.${peer}.options.hole-punch.name`
      return { type: 'fact', peer, name: RENDEZVOUS, fact: { value, source, at: now } }
    })
  }

  #datagram(bytes: Uint8Array, flow: Flow, now: number): readonly ServiceOut[] {
    const message = parsed(bytes)
    if (message === undefined) return [{ type: 'drop', reason: 'rendezvous-malformed' }]
    try {
      if (message.method === StunMethod.Binding)
        return this.#client?.sessionOf(message)?.message(bytes, message, flow, now) ?? []
      const asks = this.#client?.asks(flow) === true
      const forClient = asks && !(message.method === Method.Invite && message.class === 'success')
      if (forClient && (message.class !== 'request' || message.method === Method.Invite))
        return this.#client!.message(bytes, message, now)
      return this.#server?.step(bytes, message, flow, now) ?? [{ type: 'drop', reason: 'rendezvous-unexpected' }]
    } catch {
      // a member whose messages make no sense
      return [{ type: 'drop', reason: 'rendezvous-malformed' }]
    }
  }
}

function parsed(bytes: Uint8Array): ParsedStun | undefined {
  try {
    return parseStun(bytes)
  } catch {
    return undefined
  }
}
