import type { Address, Prefix } from '../contracts/net.ts'
import { addressBytes, formatAddress, prefixContains } from '../wire/index.ts'

/** Octets of an address that tell one network from another where nobody has named it: /24 and /64. */
const USUAL = { 4: 3, 16: 8 } as const

/** Where a host with this outer address is: the configuration's name for it, else its prefix as `10.1.0.0/24`. */
export function networkOf(address: Address, networks: Readonly<Record<string, readonly Prefix[]>>): string {
  for (const [name, prefixes] of Object.entries(networks))
    if (prefixes.some(prefix => prefixContains(prefix, address))) return name
  const bytes = addressBytes(address)
  const kept = USUAL[bytes.length as 4 | 16]
  return `${formatAddress(bytes.fill(0, kept))}/${8 * kept}`
}

/** Whether an address is one of those behind the peer: routes to them would swallow the path to the peer, or the LAN here. */
export const overlaps = (address: Address, remote: readonly (Prefix | 'dynamic')[]): boolean =>
  // everything is the way to the Internet, not somebody's LAN
  remote.some(range => range !== 'dynamic' && range.bits > 0 && prefixContains(range, address))
