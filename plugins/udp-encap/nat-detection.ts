import { knownFact } from '../../core/contracts/facts.ts'
import type { IkeSaView, IkeTask, IncomingMessage, OutgoingMessage } from '../../core/contracts/ike-task.ts'
import { type Endpoint, showEndpoint } from '../../core/contracts/net.ts'
import {
  addressBytes,
  ExchangeType,
  NotifyType,
  natDetectionInput,
  opensIkeSa,
  type Payload,
} from '../../core/wire/index.ts'

const { NAT_DETECTION_SOURCE_IP: SOURCE, NAT_DETECTION_DESTINATION_IP: DESTINATION } = NotifyType
const DIGEST = 20
/** A NAT on the way of a TCP stream changes nothing for IKE, RFC 9329 §7. */
const UDP = 17
/** A peer with more interfaces than this is none we know; what it sends beyond costs no more hashing. */
const MAX_HASHES = 32

/**
 * Finds NATs by the hashes each end sends of the addresses it sees, RFC 7296 §2.23. One per IKE SA; it speaks in both
 * messages that open it, and with MOBIKE (RFC 4555 §3.5, §3.8) wherever addresses may have changed.
 */
export class NatDetection implements IkeTask {
  readonly name = 'nat-detection'

  build(message: OutgoingMessage, sa: IkeSaView): void {
    if (message.flow.protocol !== UDP || !speaks(message, sa)) return
    const { local, remote } = message.flow
    // a hash that fits nothing makes the peer see a NAT, so that it too encapsulates and expects us to
    const forced = knownFact(sa.facts, 'forceEncapsulation') === true
    const source = forced ? sa.rng.bytes(DIGEST) : hash(sa, message, local)
    message.payloads.push(notify(SOURCE, source), notify(DESTINATION, hash(sa, message, remote)))
  }

  process(message: IncomingMessage, sa: IkeSaView): void {
    if (message.flow.protocol !== UDP) return
    const from = showEndpoint(message.flow.remote)
    const sources = hashes(message.payloads, SOURCE)
    const destinations = hashes(message.payloads, DESTINATION)
    const silent = sources.length === 0 || destinations.length === 0
    if (opensIkeSa(message.exchange))
      sa.learn('peerNatTraversal', !silent, `${silent ? 'no ' : ''}NAT_DETECTION notifies from ${from}`)
    if (silent || !tells(message)) return
    const { local, remote } = message.flow
    const hereAsSeen = destinations.some(d => same(d, hash(sa, message, local)))
    const peerAsSeen = sources.some(s => same(s, hash(sa, message, remote)))
    sa.learn('localBehindNat', !hereAsSeen, `NAT_DETECTION_DESTINATION_IP from ${from}`)
    sa.learn('remoteBehindNat', !peerAsSeen, `NAT_DETECTION_SOURCE_IP from ${from}`)
    // the hash stands for the address and port the peer sees: another one means another mapping, RFC 4555 §3.8; its first
    // octets tell two mappings apart as well as all
    if (message.exchange === ExchangeType.INFORMATIONAL)
      sa.learn('natMapping', hex(destinations[0]!.subarray(0, 4)), `NAT_DETECTION_DESTINATION_IP from ${from}`)
  }
}

function speaks(message: OutgoingMessage, { facts }: IkeSaView): boolean {
  const { exchange, response, request, payloads } = message
  if (opensIkeSa(exchange)) return true
  if (exchange !== ExchangeType.INFORMATIONAL) return false
  if (response) return hashes(request?.payloads ?? [], DESTINATION).length > 0
  if (has(payloads, NotifyType.UPDATE_SA_ADDRESSES)) return true
  // a liveness check from behind a NAT also asks whether the mapping is still the same
  return payloads.length === 0 && knownFact(facts, 'mobike') === true && knownFact(facts, 'localBehindNat') === true
}

/** Whether facts are to be drawn from the hashes: of requests, only from those that set addresses. */
const tells = ({ exchange, response, payloads }: IncomingMessage): boolean =>
  opensIkeSa(exchange) ||
  (exchange === ExchangeType.INFORMATIONAL && (response || has(payloads, NotifyType.UPDATE_SA_ADDRESSES)))

/** SHA-1 whatever was negotiated; the responder's SPI is zero in the first request. */
function hash(sa: IkeSaView, { exchange, response }: Message, { address, port }: Endpoint): Uint8Array {
  const responderSpi = opensIkeSa(exchange) && !response ? 0n : sa.responderSpi
  return sa.crypto.hash('sha1', natDetectionInput(sa.initiatorSpi, responderSpi, addressBytes(address), port))
}

type Message = Pick<IncomingMessage, 'exchange' | 'response'>

const has = (payloads: readonly Payload[], type: number): boolean =>
  payloads.some(p => p.type === 'N' && p.notify === type)

const hex = (bytes: Uint8Array): string => [...bytes].map(octet => octet.toString(16).padStart(2, '0')).join('')

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
