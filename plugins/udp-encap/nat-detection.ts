import { knownFact } from '../../core/contracts/facts.ts'
import type { IkeSaView, IkeTask, IncomingMessage, OutgoingMessage } from '../../core/contracts/ike-task.ts'
import { type Endpoint, showEndpoint } from '../../core/contracts/net.ts'
import { addressBytes, ExchangeType, NotifyType, natDetectionInput, type Payload } from '../../core/wire/index.ts'

const { NAT_DETECTION_SOURCE_IP: SOURCE, NAT_DETECTION_DESTINATION_IP: DESTINATION } = NotifyType
const DIGEST = 20
/** A peer with more interfaces than this is none we know; what it sends beyond costs no more hashing. */
const MAX_HASHES = 32

/**
 * Finds NATs by the hashes each end sends of the addresses it sees, RFC 7296 §2.23. One per IKE SA; it speaks in both
 * IKE_SA_INIT messages and is silent afterwards.
 */
export class NatDetection implements IkeTask {
  readonly name = 'nat-detection'

  build(message: OutgoingMessage, sa: IkeSaView): void {
    if (message.exchange !== ExchangeType.IKE_SA_INIT) return
    const { local, remote } = message.flow
    // a hash that fits nothing makes the peer see a NAT, so that it too encapsulates and expects us to
    const forced = knownFact(sa.facts, 'forceEncapsulation') === true
    const source = forced ? sa.rng.bytes(DIGEST) : hash(sa, message.response, local)
    message.payloads.push(notify(SOURCE, source), notify(DESTINATION, hash(sa, message.response, remote)))
  }

  process(message: IncomingMessage, sa: IkeSaView): void {
    if (message.exchange !== ExchangeType.IKE_SA_INIT) return
    const from = showEndpoint(message.flow.remote)
    const sources = hashes(message.payloads, SOURCE)
    const destinations = hashes(message.payloads, DESTINATION)
    if (sources.length === 0 || destinations.length === 0) {
      sa.learn('peerNatTraversal', false, `no NAT_DETECTION notifies from ${from}`)
      return
    }
    sa.learn('peerNatTraversal', true, `NAT_DETECTION notifies from ${from}`)
    const { local, remote } = message.flow
    const hereAsSeen = destinations.some(d => same(d, hash(sa, message.response, local)))
    const peerAsSeen = sources.some(s => same(s, hash(sa, message.response, remote)))
    sa.learn('localBehindNat', !hereAsSeen, `NAT_DETECTION_DESTINATION_IP from ${from}`)
    sa.learn('remoteBehindNat', !peerAsSeen, `NAT_DETECTION_SOURCE_IP from ${from}`)
  }
}

/** SHA-1 whatever was negotiated; the responder's SPI is zero in the first request. */
function hash(sa: IkeSaView, response: boolean, { address, port }: Endpoint): Uint8Array {
  const responderSpi = response ? sa.responderSpi : 0n
  return sa.crypto.hash('sha1', natDetectionInput(sa.initiatorSpi, responderSpi, addressBytes(address), port))
}

const notify = (type: number, data: Uint8Array): Payload => ({
  type: 'N',
  protocol: 0,
  spi: new Uint8Array(0),
  notify: type,
  data,
})

const hashes = (payloads: readonly Payload[], type: number): Uint8Array[] =>
  payloads
    .flatMap(p => (p.type === 'N' && p.notify === type && p.data.length === DIGEST ? [p.data] : []))
    .slice(0, MAX_HASHES)

const same = (a: Uint8Array, b: Uint8Array): boolean => a.every((octet, i) => octet === b[i])
