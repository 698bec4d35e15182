import { type Facts, knownFact } from '../contracts/facts.ts'
import type { Flow } from '../contracts/net.ts'
import type { Assessment, EncapStrategy, Problem } from '../contracts/strategy.ts'
import type { LocalEndpoint } from '../contracts/transport.ts'

const ESP = 50

/** No encapsulation: ESP as IP protocol 50 between the addresses of the IKE SA, RFC 4303 §3.1. */
export const none: EncapStrategy = {
  slot: 'encap',
  name: 'none',
  solves: [] as readonly Problem[],
  needs: 'IP protocol 50 gets through where no NAT is seen',
  overhead: 0,
  assess: (facts: Facts): Assessment => {
    const obstacle = obstacles.find(([fact, value]) => knownFact(facts, fact) === value)
    if (obstacle !== undefined) return { usable: false, why: obstacle[2] }
    return { usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } }
  },
  ikeFlow: (current: Flow): Flow => current,
  espFlow: (ike: Flow, locals: readonly LocalEndpoint[]): Flow | undefined => rawFlow(ESP, ike, locals),
}

/** ESP or AH between two addresses; undefined when no local endpoint carries it. */
export function rawFlow(
  protocol: 50 | 51,
  { local: { address }, remote }: Pick<Flow, 'local' | 'remote'>,
  locals: readonly LocalEndpoint[],
): Flow | undefined {
  const raw = locals.some(l => l.protocol === protocol && l.role === 'raw' && l.address === address)
  if (!raw) return undefined
  return { protocol, local: { address, port: 0 }, remote: { address: remote.address, port: 0 } }
}

const obstacles = [
  ['outerProtocol', 'tcp', 'IKE goes in TCP with this peer, where IP protocol 50 hardly gets through'],
  ['udpBlocked', true, 'IKE itself goes in UDP, which does not get through to the peer'],
  ['localBehindNat', true, 'this host is behind a NAT, and most NATs drop IP protocol 50'],
  ['remoteBehindNat', true, 'the peer is behind a NAT, and most NATs drop IP protocol 50'],
  ['plainEspPossible', false, 'nothing here can send IP protocol 50'],
  ['espBlocked', true, 'IP protocol 50 does not get through to the peer'],
  ['forceEncapsulation', true, 'encapsulation is forced'],
] as const
