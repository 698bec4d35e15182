import {
  type Endpoint,
  type Flow,
  HEADROOM,
  newPacket,
  octets,
  type Packet,
  type ServiceOut,
  sameFlow,
} from '../../../core/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { TurnClient } from '../../../plugins/turn/client.ts'
import { parseOptions, type ServeOptions, type TurnServerOptions } from '../../../plugins/turn/options.ts'
import { TurnRelay } from '../../../plugins/turn/relay.ts'
import { SeededRng } from '../../kit/index.ts'

/** A client and a relay whose datagrams reach each other at once unless the test takes them. */

export const CLIENT = { address: '198.51.100.1', port: 4500 }
export const RELAY = { address: '203.0.113.10', port: 4500 }
export const PEER = { address: '198.51.100.2', port: 4500 }
/** From the client's side. */
const TO_RELAY: Flow = { protocol: 17, local: CLIENT, remote: RELAY }

export const packetOf = (bytes: Uint8Array): Packet => {
  const packet = newPacket(HEADROOM + 2_000)
  packet.bytes.set(bytes, HEADROOM)
  packet.end = HEADROOM + bytes.length
  return packet
}

export interface WiredOptions {
  readonly server?: Partial<TurnServerOptions>
  readonly serve?: Partial<ServeOptions>
  /** Another client of the same relay; by default at the same endpoint, as a run before would be. */
  readonly beside?: Wired
  readonly at?: Endpoint
  /** What becomes of a datagram on its way; undefined: lost. */
  readonly toRelay?: (bytes: Uint8Array) => Uint8Array | undefined
  readonly toClient?: (bytes: Uint8Array) => Uint8Array | undefined
}

export class Wired {
  now = 0
  readonly client: TurnClient
  readonly relay: TurnRelay
  /** Outputs of the client other than datagrams. */
  readonly outs: ServiceOut[] = []
  readonly relayOuts: ServiceOut[] = []
  readonly toPeers: { readonly bytes: Uint8Array; readonly flow: Flow }[] = []
  /** What peers sent, as the client's host sees it. */
  readonly received: { readonly bytes: Uint8Array; readonly flow: Flow }[] = []
  toRelay: (bytes: Uint8Array) => Uint8Array | undefined
  toClient: (bytes: Uint8Array) => Uint8Array | undefined
  readonly #beside: Wired | undefined
  readonly #at: Endpoint
  #nextPort = 50_000

  constructor({ server, serve, beside, at = CLIENT, toRelay = b => b, toClient = b => b }: WiredOptions = {}) {
    const settings = parseOptions({
      servers: [{ url: 'turn:203.0.113.10:4500', username: 'alice', password: 'wonderland', ...server }],
    })
    const served = parseOptions({ serve: { users: { alice: 'wonderland' }, ...serve } }).serve!
    const crypto = nodeCryptoProvider
    this.client = new TurnClient(
      { crypto, rng: new SeededRng(beside === undefined ? 'client' : 'another'), peers: [] },
      settings,
    )
    this.relay = beside?.relay ?? new TurnRelay({ crypto, rng: new SeededRng('relay'), peers: [] }, served)
    this.#beside = beside
    this.#at = at
    this.toRelay = toRelay
    this.toClient = toClient
  }

  begin(): this {
    if (this.#beside === undefined)
      this.#relaySays(this.relay.step({ type: 'locals', locals: this.#relayLocals() }, this.now))
    this.#clientSays(this.client.step({ type: 'start' }, this.now))
    this.#clientSays(
      this.client.step({ type: 'locals', locals: [{ ...CLIENT, protocol: 17, role: 'natt' }] }, this.now),
    )
    this.#clientSays(
      this.client.step({ type: 'resolved', tag: '1', addresses: [RELAY.address], source: CLIENT.address }, this.now),
    )
    return this
  }

  get relayed() {
    const added = this.outs.filter(out => out.type === 'candidate' && out.candidate.kind === 'relayed').at(-1)
    return added?.type === 'candidate' ? added.candidate.endpoint : undefined
  }

  facts(): readonly string[] {
    return this.outs.flatMap(out => (out.type === 'fact' ? [`${out.fact.value}: ${out.fact.source}`] : []))
  }

  drops(outs = this.outs): readonly string[] {
    return outs.flatMap(out => (out.type === 'drop' ? [out.reason] : []))
  }

  /** Sends from the relayed endpoint. @returns octets on the wire, undefined when it was held or dropped */
  send(text: string, remote = PEER): number | undefined {
    const packet = packetOf(new TextEncoder().encode(text))
    const via = this.client.reroute(packet, { protocol: 17, local: this.relayed!, remote })
    const size = packet.end - packet.start
    if (via === undefined) throw new Error('not the client’s')
    if (via !== 'taken') this.#deliver(octets(packet).slice())
    this.run(this.now)
    return via === 'taken' ? undefined : size
  }

  /** A peer sends to the relayed endpoint. */
  fromPeer(text: string, remote = PEER): void {
    const bytes = new TextEncoder().encode(text)
    this.#atRelay(bytes, { protocol: 17, local: this.relayed!, remote })
  }

  /** Datagrams that come to the client from the relay's address, whoever sent them. */
  atClient(bytes: Uint8Array, flow = TO_RELAY): void {
    const packet = packetOf(bytes)
    const claimed = this.client.claims(packet, flow)
    if (claimed === 'mine')
      this.#clientSays(this.client.step({ type: 'datagram', bytes: octets(packet), flow }, this.now))
    else if (claimed !== undefined) this.received.push({ bytes: octets(packet).slice(), flow: claimed })
  }

  atRelay(bytes: Uint8Array, remote = this.#at): void {
    this.#atRelay(bytes, { protocol: 17, local: RELAY, remote })
  }

  /** Lets time pass. */
  run(until: number): void {
    for (;;) {
      const due = Math.min(this.client.deadline, this.relay.deadline)
      if (due > until) break
      this.now = Math.max(this.now, due)
      this.#clientSays(this.client.step({ type: 'timeout' }, this.now))
      this.#relaySays(this.relay.step({ type: 'timeout' }, this.now))
    }
    this.now = until
  }

  #bound: { address: string; port: number }[] = []

  #relayLocals() {
    return [
      { ...RELAY, protocol: 17, role: 'natt' } as const,
      ...this.#bound.map(l => ({ ...l, protocol: 17, role: 'extra' }) as const),
    ]
  }

  #clientSays(outs: readonly ServiceOut[]): void {
    for (const out of outs) {
      if (out.type !== 'transmit') this.outs.push(out)
      else if (sameFlow(out.flow, TO_RELAY)) this.#deliver(out.bytes)
      else {
        const packet = packetOf(out.bytes)
        const via = this.client.reroute(packet, out.flow)
        if (via !== undefined && via !== 'taken') this.#deliver(octets(packet).slice())
      }
    }
  }

  #deliver(bytes: Uint8Array): void {
    const arrived = this.toRelay(bytes)
    if (arrived !== undefined) this.atRelay(arrived)
  }

  #atRelay(bytes: Uint8Array, flow: Flow): void {
    if (this.relay.claims(packetOf(bytes), flow) === 'mine')
      this.#relaySays(this.relay.step({ type: 'datagram', bytes, flow }, this.now))
  }

  #relaySays(outs: readonly ServiceOut[]): void {
    for (const out of outs) {
      if (out.type === 'bind') {
        const local = { address: out.address, port: this.#nextPort++ }
        this.#bound.push(local)
        this.#relaySays(this.relay.step({ type: 'locals', locals: this.#relayLocals() }, this.now))
        const bound = { ...local, protocol: 17, role: 'extra' } as const
        this.#relaySays(this.relay.step({ type: 'bound', tag: out.tag, local: bound }, this.now))
      } else if (out.type !== 'transmit') this.relayOuts.push(out)
      else if (sameFlow(out.flow, { protocol: 17, local: RELAY, remote: this.#at })) {
        const arrived = this.toClient(out.bytes)
        if (arrived !== undefined) this.atClient(arrived)
      } else this.toPeers.push({ bytes: out.bytes, flow: out.flow })
    }
  }
}

export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
