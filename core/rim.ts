import type { NatweaveEvent } from './contracts/natweave.ts'
import type { Flow } from './contracts/net.ts'
import { HEADROOM, newPacket, type Packet } from './contracts/packet.ts'
import type { ServiceIn, ServiceOut } from './contracts/service.ts'
import { IKE_PORT, NON_ESP_MARKER } from './wire/index.ts'

/** What the engine causes, at once and in order. Packets are valid during the call. */
export interface EngineOutlet {
  transmit(packet: Packet, flow: Flow): void
  deliver(packet: Packet): void
  event(event: NatweaveEvent): void
  /** Whether anybody wants these events; else they need not be made. */
  listens(type: 'message' | 'keys'): boolean
  /** Addresses or routes of the device have to change; `deviceNeeds` tells them. */
  deviceChanged(): void
  /** Something outside has come to an end: `action` is to be called with the time. */
  run(action: (now: number) => void): void
  /** A service wants something that takes time; `answered` brings what came of it. */
  fetch(wish: OuterWish, answered: (input: ServiceIn, now: number) => void): void
}

/** What only the world outside the engine can do for a service. */
export type OuterWish = Extract<ServiceOut, { readonly type: 'connect' | 'bind' | 'unbind' | 'resolve' }>

/** An event before it is known whose it is and when. */
export type EventBody = NatweaveEvent extends infer E ? (E extends unknown ? Omit<E, 'at' | 'peer'> : never) : never

/** The engine's way out: datagrams in a packet of its own, events, and counts of what was dropped. */
export class Rim {
  /** Datagrams and packets that belong to nobody, by reason. */
  readonly drops: Record<string, number> = {}
  readonly outlet: EngineOutlet
  readonly #reroute: (packet: Packet, flow: Flow) => Flow | 'taken'
  readonly #packet = newPacket()

  /** @param reroute - wraps a packet for whoever relays it, and says which flow carries it; 'taken': none for now */
  constructor(outlet: EngineOutlet, reroute: (packet: Packet, flow: Flow) => Flow | 'taken') {
    this.outlet = outlet
    this.#reroute = reroute
  }

  transmit(packet: Packet, flow: Flow): void {
    const carrying = this.#reroute(packet, flow)
    if (carrying !== 'taken') this.outlet.transmit(packet, carrying)
  }

  /** An IKE message from SPIi on; the non-ESP marker goes before it where ports tell no more what it is. */
  sendIke(bytes: Uint8Array, flow: Flow): void {
    const marked = flow.local.port !== IKE_PORT && flow.remote.port !== IKE_PORT
    this.transmit(this.fill(bytes, marked ? NON_ESP_MARKER : 0), flow)
  }

  send(bytes: Uint8Array, flow: Flow): void {
    this.transmit(this.fill(bytes), flow)
  }

  /** @returns a packet with these octets, after `marker` octets of zero; the same one each time */
  fill(bytes: Uint8Array, marker = 0): Packet {
    const packet = this.#packet
    packet.start = HEADROOM
    packet.bytes.fill(0, HEADROOM, HEADROOM + marker)
    packet.bytes.set(bytes, HEADROOM + marker)
    packet.end = HEADROOM + marker + bytes.length
    packet.tos = 0
    packet.ttl = 64
    packet.df = false
    return packet
  }

  drop(reason: string): void {
    this.drops[reason] = (this.drops[reason] ?? 0) + 1
  }

  event(peer: string, event: EventBody, now: number): void {
    this.outlet.event({ at: now, peer, ...event } as NatweaveEvent)
  }

  deviceChanged(): void {
    this.outlet.deviceChanged()
  }
}
