import type { CryptoProvider } from '../../core/contracts/crypto.ts'
import type { Offer } from './connect.ts'
import { encodeEndpoint } from './endpoint.ts'
import { hexOf } from './links.ts'

/**
 * What natweave's ends say to each other inside the mediated IKE_AUTH, where the server cannot reach: a digest of the connect
 * ID and of keys and endpoints of both ends, as sent and as received. A server that has changed any of it is found out.
 */

/** A status notify of the private range, ignored by everybody else (RFC 7296 §3.10.1). */
export const ECHO_NOTIFY = 50_963

const LABEL = new TextEncoder().encode('natweave IKE-ME echo 1')

export function echoOf(crypto: CryptoProvider, id: Uint8Array, requester: Offer, answerer: Offer): Uint8Array {
  return crypto.hash('sha256', LABEL, framed(id), ...summary(requester), ...summary(answerer))
}

/** In an order of its own: a server may pass endpoints on in another one. */
const summary = ({ key, endpoints }: Offer): Uint8Array[] => {
  const encoded = endpoints.map(encodeEndpoint).sort((a, b) => (hexOf(a) < hexOf(b) ? -1 : 1))
  return [framed(key), Uint8Array.of(encoded.length), ...encoded.map(framed)]
}

/** With its length in front, so that octets cannot move from one field to the next. */
function framed(octets: Uint8Array): Uint8Array {
  const out = new Uint8Array(1 + octets.length)
  out[0] = octets.length
  out.set(octets, 1)
  return out
}
