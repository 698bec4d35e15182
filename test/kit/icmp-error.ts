import { IpProtocol, setU16, setU32 } from '../../core/wire/index.ts'
import { fragmentOffset, isIcmp, isIcmpError, isIpv6, newIp, protocolOf, sealChecksums, sourceAt } from './packet.ts'

/** Type and code by family, RFC 792, RFC 1191 and RFC 4443. */
const KINDS = {
  'no-route': { v4: [3, 0], v6: [1, 0] },
  'no-neighbour': { v4: [3, 1], v6: [1, 3] },
  'no-protocol': { v4: [3, 2], v6: [4, 1] },
  'no-port': { v4: [3, 3], v6: [1, 4] },
  'too-big': { v4: [3, 4], v6: [2, 0] },
  'ttl-exceeded': { v4: [11, 0], v6: [3, 0] },
} as const
export type IcmpErrorKind = keyof typeof KINDS

/**
 * An ICMP error about `offending`, from `source` to its sender, quoting as much as fits 576 or 1280 octets.
 *
 * @param mtu - for `too-big`
 * @returns undefined when none may be sent: about ICMP errors and later fragments, RFC 1122 §3.2.2, RFC 4443 §2.4
 */
export function icmpError(
  kind: IcmpErrorKind,
  source: Uint8Array,
  offending: Uint8Array,
  mtu = 0,
): Uint8Array | undefined {
  if (fragmentOffset(offending) > 0 || (isIcmp(protocolOf(offending)) && isIcmpError(offending))) return undefined
  const v6 = isIpv6(offending)
  const at = v6 ? 40 : 20
  const quoted = offending.subarray(0, (v6 ? 1280 : 576) - at - 8)
  const from = sourceAt(offending)
  const destination = offending.subarray(from, from + source.length)
  const packet = newIp({ source, destination, protocol: v6 ? IpProtocol.ICMPV6 : IpProtocol.ICMP }, 8 + quoted.length)
  const [type, code] = KINDS[kind][v6 ? 'v6' : 'v4']
  packet[at] = type
  packet[at + 1] = code
  if (v6) setU32(packet, at + 4, mtu)
  else setU16(packet, at + 6, mtu)
  packet.set(quoted, at + 8)
  sealChecksums(packet)
  return packet
}
