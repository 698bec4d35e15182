import { type Facts, knownFact } from '../../core/contracts/facts.ts'
import type { Flow } from '../../core/contracts/net.ts'
import type { Assessment, EncapStrategy, Problem } from '../../core/contracts/strategy.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'

const IKE_PORT = 500
const NATT_PORT = 4500
const UDP_HEADER = 8
/** RFC 3948 §2.3. */
const KEEPALIVE = Uint8Array.of(0xff)
const UDP = 17

/**
 * ESP in UDP on the ports of IKE, RFC 3948. The UDP header is the transport's work, so nothing is wrapped here: the
 * strategy moves IKE to port 4500 and lets ESP share its flow, which gives both one NAT mapping and one keepalive.
 */
export class UdpEncap implements EncapStrategy {
  readonly slot = 'encap'
  readonly name = 'udp-encap'
  readonly solves: readonly Problem[] = ['fixed-ike-ports', 'non-udp-tcp', 'mapping-timeouts']
  readonly needs = 'the peer does NAT traversal (RFC 7296 §2.23)'
  readonly overhead = UDP_HEADER

  assess(facts: Facts): Assessment {
    if (knownFact(facts, 'outerProtocol') === 'tcp') return { usable: false, why: 'IKE goes in TCP with this peer' }
    if (knownFact(facts, 'udpBlocked')) return { usable: false, why: 'UDP does not get through to the peer' }
    if (knownFact(facts, 'peerNatTraversal') === false)
      return { usable: false, why: 'the peer takes no part in NAT detection, so does not expect ESP in UDP' }
    const cost = { octets: UDP_HEADER, roundTrips: 0, trusts: [] }
    const why = needs.find(([fact, value]) => knownFact(facts, fact) === value)?.[2]
    return why === undefined ? { usable: true, cost } : { usable: true, cost, why }
  }

  /** RFC 7296 §2.23: from 500 both ends float to 4500; whoever is elsewhere already speaks with the marker and stays. */
  ikeFlow(current: Flow, locals: readonly LocalEndpoint[]): Flow {
    if (!isIkeSocket(current, locals)) return current
    const natt = locals.find(
      local => local.role === 'natt' && local.protocol === UDP && local.address === current.local.address,
    )
    if (natt === undefined) return current
    const { address, port } = current.remote
    return {
      protocol: UDP,
      local: { address: natt.address, port: natt.port },
      remote: { address, port: port === IKE_PORT ? NATT_PORT : port },
    }
  }

  /** On port 500 there is no marker to tell ESP from IKE, so it cannot carry ESP; every other pair of ports can. */
  espFlow(ike: Flow): Flow | undefined {
    return ike.protocol === UDP && ike.local.port !== IKE_PORT && ike.remote.port !== IKE_PORT ? ike : undefined
  }

  /** Only the end behind the NAT has a mapping to keep, RFC 3948 §4; the other end's datagrams would not refresh it. */
  keepalive(facts: Facts): Uint8Array | undefined {
    return knownFact(facts, 'localBehindNat') === true ? KEEPALIVE : undefined
  }

  /** RFC 7296 §2.23: the end behind a NAT must not follow, else an on-path attacker could move both ends. */
  follows(facts: Facts): boolean {
    return knownFact(facts, 'remoteBehindNat') === true && knownFact(facts, 'localBehindNat') !== true
  }
}

const needs = [
  ['localBehindNat', true, 'this host is behind a NAT'],
  ['remoteBehindNat', true, 'the peer is behind a NAT'],
  ['plainEspPossible', false, 'nothing here can send IP protocol 50'],
  ['espBlocked', true, 'IP protocol 50 does not get through to the peer'],
  ['forceEncapsulation', true, 'encapsulation is forced'],
] as const

function isIkeSocket({ protocol, local }: Flow, locals: readonly LocalEndpoint[]): boolean {
  const bound = locals.find(l => l.protocol === protocol && l.address === local.address && l.port === local.port)
  return protocol === UDP && (bound === undefined ? local.port === IKE_PORT : bound.role === 'ike')
}
