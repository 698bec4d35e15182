import type { IkeTask, IncomingMessage } from '../../core/contracts/ike-task.ts'
import { opensIkeSa, type Payload } from '../../core/wire/index.ts'

declare module '../../core/contracts/facts.ts' {
  interface KnownFacts {
    /** The peer sent the vendor ID under which a private number means BEET. */
    peerBeet: boolean
  }
}

/** Sends a vendor ID in the exchange that opens an IKE SA, and learns whether the peer sends it too. */
export const vendorIdTask = (vendorId: Uint8Array): IkeTask => ({
  name: 'beet-vendor-id',

  build: ({ exchange, response, request, payloads }) => {
    if (!opensIkeSa(exchange)) return
    // a stranger who did not say it need not learn it
    if (response && (request === undefined || !shows(request, vendorId))) return
    if (!has(payloads, vendorId)) payloads.push({ type: 'V', data: vendorId })
  },

  process: (message, sa) => {
    if (!opensIkeSa(message.exchange)) return
    sa.learn('peerBeet', shows(message, vendorId), `vendor IDs from ${message.flow.remote.address}`)
  },
})

const shows = ({ payloads }: IncomingMessage, vendorId: Uint8Array): boolean => has(payloads, vendorId)

const has = (payloads: readonly Payload[], vendorId: Uint8Array): boolean =>
  payloads.some(p => p.type === 'V' && p.data.length === vendorId.length && p.data.every((b, i) => b === vendorId[i]))
