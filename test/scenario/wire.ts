import { classifyNatt, getU16, getU32, IpProtocol } from '../../core/wire/index.ts'
import { showIp } from '../kit/address.ts'
import type { VirtualInternet } from '../kit/index.ts'
import { destinationAt, isIpv6, payloadAt, protocolOf, sourceAt } from '../kit/packet.ts'

export interface Sighting {
  readonly at: number
  readonly kind: 'ike' | 'keepalive' | 'esp' | 'esp-in-udp' | 'other'
  readonly protocol: number
  readonly from: string
  readonly to: string
  /** 0 without ports. */
  readonly fromPort: number
  readonly toPort: number
  /** ESP only. */
  readonly spi: number
  readonly packet: Uint8Array
}

/** What an eavesdropper on one LAN or host has seen. */
export class Wire {
  readonly seen: Sighting[] = []

  constructor(net: VirtualInternet, point: { readonly name: string }) {
    net.tap(point, (packet, { at, direction }) => {
      if (direction !== 'in') this.seen.push(sight(packet, at))
    })
  }

  of(kind: Sighting['kind']): Sighting[] {
    return this.seen.filter(s => s.kind === kind)
  }

  /** Kinds seen, each once, sorted. */
  kinds(): string[] {
    return [...new Set(this.seen.map(s => s.kind))].sort()
  }

  clear(): void {
    this.seen.length = 0
  }
}

function sight(packet: Uint8Array, at: number): Sighting {
  const v6 = isIpv6(packet)
  const protocol = protocolOf(packet)
  const payload = payloadAt(packet)
  const ends = {
    at,
    protocol,
    packet,
    from: showIp(packet, sourceAt(packet), v6),
    to: showIp(packet, destinationAt(packet), v6),
  }
  if (protocol === IpProtocol.ESP) return { ...ends, kind: 'esp', fromPort: 0, toPort: 0, spi: getU32(packet, payload) }
  if (protocol !== IpProtocol.UDP) return { ...ends, kind: 'other', fromPort: 0, toPort: 0, spi: 0 }
  const ports = { fromPort: getU16(packet, payload), toPort: getU16(packet, payload + 2) }
  if (ports.fromPort === 500 || ports.toPort === 500) return { ...ends, ...ports, kind: 'ike', spi: 0 }
  const kind = classifyNatt(packet, payload + 8, packet.length)
  if (kind === 'esp') return { ...ends, ...ports, kind: 'esp-in-udp', spi: getU32(packet, payload + 8) }
  return { ...ends, ...ports, kind: kind === 'short' ? 'other' : kind, spi: 0 }
}
