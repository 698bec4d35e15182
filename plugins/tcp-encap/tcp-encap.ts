import { type Facts, knownFact } from '../../core/contracts/facts.ts'
import type { Endpoint, Flow } from '../../core/contracts/net.ts'
import type { Assessment, EncapStrategy, Problem } from '../../core/contracts/strategy.ts'

const TCP = 6
/** A TCP header without options, and the length in front of each datagram. */
const OVERHEAD = 22

/**
 * IKE and ESP in one TCP stream, RFC 9329: for networks that drop UDP. The stream is the transport's work; the strategy
 * has the first message of IKE go there already, since over UDP there would be no answer.
 */
export class TcpEncap implements EncapStrategy {
  readonly slot = 'encap'
  readonly name = 'tcp-encap'
  readonly solves: readonly Problem[] = ['fixed-ike-ports', 'non-udp-tcp', 'mapping-timeouts']
  readonly overhead = OVERHEAD
  readonly #port: number
  readonly #called: (remote: Endpoint) => void

  /**
   * @param port - TCP port on which peers answer
   * @param called - told of every place that will be called, before anything is sent there
   */
  constructor(port: number, called: (remote: Endpoint) => void) {
    this.#port = port
    this.#called = called
  }

  assess(facts: Facts): Assessment {
    if (knownFact(facts, 'outerProtocol') === 'udp')
      return { usable: false, why: 'IKE goes in UDP with this peer, and does not change over while an SA lives' }
    const cost = { octets: OVERHEAD, roundTrips: 1, trusts: [] }
    if (knownFact(facts, 'udpBlocked') !== true) return { usable: true, cost }
    return { usable: true, cost, why: 'UDP does not get through to the peer' }
  }

  firstFlow({ local, remote }: Flow): Flow {
    const to = { address: remote.address, port: this.#port }
    this.#called(to)
    // the port of this end is the system's choice, and another one after the connection was lost
    return { protocol: TCP, local: { address: local.address, port: 0 }, remote: to }
  }

  ikeFlow(current: Flow): Flow {
    return current
  }

  espFlow(ike: Flow): Flow | undefined {
    return ike.protocol === TCP ? ike : undefined
  }

  /** A client that was cut off calls again from another port; only packets that authenticate move the SA there, §6. */
  follows(): boolean {
    return true
  }
}
