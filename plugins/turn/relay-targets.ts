import type { Address } from '../../core/contracts/net.ts'
import { isReachable } from '../../core/path/index.ts'
import { type AddressPrefix, parsePrefix, prefixContains } from '../../core/wire/index.ts'
import type { ServeSettings } from './options.ts'

/**
 * What a relay does not send to unless it is told to: a client must not get through it into the networks that the relay
 * is in (RFC 8656 §21.2.1), nor into IPv4 by IPv6 addresses that stand for it.
 */
const PRIVATE = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  'fc00::/7',
  'fec0::/10',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '2002::/16',
  '2001::/32',
].map(text => parsePrefix(text)!)

/** Whether peers at this address may be reached through the relay. */
export function mayRelayTo(address: Address, { allow, deny }: Pick<ServeSettings, 'allow' | 'deny'>): boolean {
  if (!isReachable({ address, port: 1 })) return false
  if (isIn(address, deny)) return false
  return isIn(address, allow) || !isIn(address, PRIVATE)
}

const isIn = (address: Address, prefixes: readonly AddressPrefix[]): boolean =>
  prefixes.some(prefix => prefixContains(prefix, address))
