import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Address, Endpoint, Flow } from '../contracts/net.ts'
import { addressBytes, familyOf, formatAddress, NotifyType, type Payload, parseAddress } from '../wire/index.ts'
import { equalBytes } from './equal.ts'
import type { IkeSa } from './ike-sa.ts'
import { findNotify, notify } from './notify.ts'
import { fromSettings, host, within } from './selectors.ts'

/** Which outer addresses both ends of an IKE SA have, and how MOBIKE speaks of them (RFC 4555 §4). */

/** Addresses of one end that are remembered and told: a peer with more is none we know. */
export const MAX_ADDRESSES = 16
/** Pairs of addresses that are tried at once. */
const MAX_PAIRS = 12
const IKE_PORT = 500

/**
 * Local addresses that can carry the IKE SA, in the system's order. Those behind the tunnel are none: what is sent to
 * them would have to go through it.
 */
export function ownAddresses(sa: IkeSa): Address[] {
  const protect = Object.values(sa.settings!.children).flatMap(child => fromSettings(child.localTs, []))
  const addresses = sa.host
    .locals()
    .filter(
      // a relay's address or a further socket's is used where a path has found it, and named to nobody
      ({ protocol, role, address }) =>
        protocol === sa.flow.protocol && (role !== 'extra' || address === sa.flow.local.address),
    )
    .map(({ address }) => address)
    .filter(address => address === sa.flow.local.address || !within([host(address)], protect))
  return [...new Set(addresses)]
}

/** Whether the system has this address; a relay has the others that packets may be sent from. */
export const isSystems = (sa: IkeSa, local: Address): boolean =>
  sa.host.locals().some(({ role, address }) => role !== 'extra' && address === local)

/** The own addresses beside the one the message is sent from. */
export const additionalPayloads = (sa: IkeSa): Payload[] =>
  ownAddresses(sa)
    .filter(address => address !== sa.flow.local.address)
    .slice(0, MAX_ADDRESSES)
    .map(address =>
      notify(
        familyOf(address) === 4 ? NotifyType.ADDITIONAL_IP4_ADDRESS : NotifyType.ADDITIONAL_IP6_ADDRESS,
        addressBytes(address),
      ),
    )

/** The peer's addresses: where the message came from, and the ones it names. */
export function listedAddresses({ payloads, flow }: IncomingMessage): Address[] {
  const named = payloads.flatMap(p => {
    if (p.type !== 'N') return []
    const length =
      p.notify === NotifyType.ADDITIONAL_IP4_ADDRESS ? 4 : p.notify === NotifyType.ADDITIONAL_IP6_ADDRESS ? 16 : 0
    return length > 0 && p.data.length === length && isHost(p.data) ? [formatAddress(p.data)] : []
  })
  return [...new Set([flow.remote.address, ...named])].slice(0, MAX_ADDRESSES)
}

/** Neither unspecified nor loopback, link-local or multicast: something a packet can be sent to. */
function isHost(a: Uint8Array): boolean {
  if (a.length === 4) return a[0] !== 0 && a[0] !== 127 && a[0]! < 224 && !(a[0] === 169 && a[1] === 254)
  const v4 = a.subarray(0, 12).every(octet => octet === 0) || (a.subarray(0, 10).every(o => o === 0) && a[10] === 0xff)
  return !v4 && a[0] !== 0xff && !(a[0] === 0xfe && (a[1]! & 0xc0) === 0x80)
}

/** The flow between these two addresses that continues the present one; undefined when this host has none. */
export function addressFlow(sa: IkeSa, local: Address | undefined, remote: Address): Flow | undefined {
  const { protocol, local: from, remote: to } = sa.flow
  if (local === undefined || familyOf(local) !== familyOf(remote)) return undefined
  const role = from.port === IKE_PORT || to.port === IKE_PORT ? 'ike' : 'natt'
  const here = sa.host.locals().filter(l => l.protocol === protocol && l.address === local)
  const end = here.find(l => l.port === from.port) ?? here.find(l => l.role === role)
  if (end === undefined) return undefined
  return { protocol, local: { address: local, port: end.port }, remote: { address: remote, port: to.port } }
}

/** All other flows between own addresses and the peer's, the peer's present address first. */
export function addressPairs(sa: IkeSa, peer: readonly Address[]): Flow[] {
  const { flow } = sa
  const beyond = [...sa.children.values()].flatMap(child => child.remote)
  const theirs = [...new Set([flow.remote.address, ...peer])].filter(
    address => address === flow.remote.address || !within([host(address)], beyond),
  )
  const own = ownAddresses(sa)
  return theirs
    .flatMap(remote => own.flatMap(local => addressFlow(sa, local, remote) ?? []))
    .filter(({ local, remote }) => local.address !== flow.local.address || remote.address !== flow.remote.address)
    .slice(0, MAX_PAIRS)
}

/** NO_NATS_ALLOWED for a request that may change addresses, where NAT traversal is switched off (RFC 4555 §3.9). */
export const prohibition = (sa: IkeSa): Payload[] =>
  sa.settings!.encapsulation === 'never'
    ? [notify(NotifyType.NO_NATS_ALLOWED, endpoints(sa.flow.local, sa.flow.remote))]
    : []

/** True when the peer allows no NAT and the message's addresses are not the ones it was sent with. */
export function natFound({ payloads, flow }: IncomingMessage): boolean {
  const sent = findNotify(payloads, NotifyType.NO_NATS_ALLOWED)
  return sent !== undefined && !equalBytes(sent.data, endpoints(flow.remote, flow.local))
}

/** Source and destination address, source and destination port: 12 or 36 octets. */
function endpoints(source: Endpoint, destination: Endpoint): Uint8Array {
  const addresses = [source, destination].map(({ address }) => parseAddress(address)!)
  const ports = [source.port, destination.port].flatMap(port => [port >> 8, port & 0xff])
  return Uint8Array.of(...addresses.flatMap(bytes => [...bytes]), ...ports)
}
