import type { Flow } from './contracts/net.ts'
import type { Packet } from './contracts/packet.ts'
import { Ah, ahSpi, Esp, espSpi, IpProtocol } from './wire/index.ts'

/** How long a packet waits for the answer that makes its SA: a lost one has come again by then. */
const HOLD_MS = 5_000
/** Of one SPI: what a fast line brings within a few round trips; more is lost as in a socket that is full. */
const MAX_PACKETS = 256
/** Octets of all. */
const MAX_OCTETS = 2 << 20
/** SPIs that are remembered, those proposed last: they need not be taken back when nothing comes of them. */
const MAX_SPIS = 1_024

/** A packet from its ESP or AH header on. */
export interface EarlyPacket {
  readonly octets: Uint8Array
  readonly tos: number
  readonly flow: Flow
  readonly until: number
}

/**
 * ESP and AH that overtakes the answer which makes its SA: a responder may send as soon as that is on its way, to the SPI
 * that this host has proposed. The proposal was encrypted, so whoever knows the SPI is the peer.
 */
export class EarlyPackets {
  readonly #expected = new Set<number>()
  readonly #held = new Map<number, EarlyPacket[]>()
  #octets = 0

  /** From now on the peer may use this SPI. */
  expect(spi: number): void {
    this.#expected.add(spi)
    const [oldest] = this.#expected
    if (this.#expected.size > MAX_SPIS) this.#expected.delete(oldest!)
  }

  /** @returns false when it is of no SA that may come to be, or there is no room */
  hold({ bytes, start, end, tos }: Packet, flow: Flow, now: number): boolean {
    const ah = flow.protocol === IpProtocol.AH
    if (end - start < (ah ? Ah.HEADER : Esp.HEADER)) return false
    const spi = (ah ? ahSpi : espSpi)(bytes, start)
    const held = this.#held.get(spi) ?? []
    if (!this.#expected.has(spi) || held.length >= MAX_PACKETS || this.#octets + end - start > MAX_OCTETS) return false
    held.push({ octets: bytes.slice(start, end), tos, flow, until: now + HOLD_MS })
    this.#held.set(spi, held)
    this.#octets += end - start
    return true
  }

  /** The SA with this inbound SPI stands: what came for it, in that order. */
  take(spi: number): readonly EarlyPacket[] {
    this.#expected.delete(spi)
    const held = this.#held.get(spi) ?? []
    this.#keep(spi, [])
    return held
  }

  /** When the first one has waited long enough. */
  get deadline(): number {
    return Math.min(Infinity, ...[...this.#held.values()].map(([first]) => first!.until))
  }

  /** @returns how many have waited in vain */
  timeout(now: number): number {
    let gone = 0
    for (const [spi, held] of this.#held) {
      const left = held.filter(({ until }) => until > now)
      gone += held.length - left.length
      this.#keep(spi, left)
    }
    return gone
  }

  #keep(spi: number, left: EarlyPacket[]): void {
    const sum = (packets: readonly EarlyPacket[]) =>
      packets.reduce((octets, packet) => octets + packet.octets.length, 0)
    this.#octets += sum(left) - sum(this.#held.get(spi) ?? [])
    if (left.length === 0) this.#held.delete(spi)
    else this.#held.set(spi, left)
  }
}
