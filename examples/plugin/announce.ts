import type { IkeTask } from '../../core/index.ts'
import { getU32, notifyOf, opensIkeSa, type Payload, setU32 } from '../../core/wire/index.ts'

declare module '../../core/index.ts' {
  interface KnownFacts {
    /** Tenant of the peer; 0 when it told none. */
    peerTenant: number
  }
}

/** Notify type of the private status range: peers that do not know it ignore it, RFC 7296 §3.10.1. */
export const TENANT = 60_001
const OCTETS = 4

/** Tells in the exchange that opens an IKE SA which tenant this host belongs to, and learns the peer's. One of these serves one IKE SA. */
export const announceTask = (tenant: number): IkeTask => ({
  name: 'tenant',

  build: ({ exchange, response, request, payloads }) => {
    if (!opensIkeSa(exchange)) return
    // who did not say a tenant need not learn ours
    if (response && (request === undefined || tenantIn(request.payloads) === 0)) return
    const data = new Uint8Array(OCTETS)
    setU32(data, 0, tenant)
    payloads.push({ type: 'N', protocol: 0, spi: new Uint8Array(0), notify: TENANT, data })
  },

  process: (message, sa) => {
    if (!opensIkeSa(message.exchange)) return
    sa.learn('peerTenant', tenantIn(message.payloads), `the first message from ${message.flow.remote.address}`)
  },
})

function tenantIn(payloads: readonly Payload[]): number {
  const data = notifyOf(payloads, TENANT)?.data
  return data?.length === OCTETS ? getU32(data, 0) : 0
}
