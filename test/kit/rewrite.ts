import { finishChecksum, getU16, IpProtocol, setU16 } from '../../core/wire/index.ts'
import { addressLength, checksumAt, destinationAt, isIpv6, portAt, protocolOf, sourceAt } from './packet.ts'

/**
 * Replaces address and port (or echo identifier) at one end of a packet and corrects all checksums incrementally, as a
 * NAPT does: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3. A wrong checksum stays wrong; AH breaks.
 *
 * @param port - new port; ignored where the packet has none
 * @param base - where the IP header starts: not 0 for a packet quoted in an ICMP error
 */
export function rewriteEnd(p: Uint8Array, atSource: boolean, address: Uint8Array, port: number, base = 0): void {
  const v6 = isIpv6(p, base)
  const at = atSource ? sourceAt(p, base) : destinationAt(p, base)
  let moved = 0
  for (let i = 0; i < addressLength(p, base); i += 2) {
    const next = getU16(address, i)
    moved += (~getU16(p, at + i) & 0xffff) + next
    setU16(p, at + i, next)
  }
  if (!v6) setU16(p, base + 10, adjust(getU16(p, base + 10), moved))

  const protocol = protocolOf(p, base)
  const sumAt = checksumAt(p, base)
  // ICMP for IPv4 is the one without a pseudo-header.
  let change = protocol === IpProtocol.ICMP ? 0 : moved
  const portOffset = portAt(p, atSource, base)
  if (portOffset >= 0) {
    change += (~getU16(p, portOffset) & 0xffff) + port
    setU16(p, portOffset, port)
  }
  if (sumAt < 0 || change === 0) return
  const old = getU16(p, sumAt)
  if (protocol === IpProtocol.UDP && old === 0) return // no checksum to keep right, RFC 768
  const sum = adjust(old, change)
  setU16(p, sumAt, sum === 0 && protocol === IpProtocol.UDP ? 0xffff : sum)
}

const adjust = (checksum: number, change: number): number => finishChecksum((~checksum & 0xffff) + change)
