import { type IkeTask, NAT_DETECTOR, type NatDetector, type Plugin, showEndpoint } from '../core/index.ts'
import { notifyOf, opensIkeSa, type Payload } from '../core/wire/index.ts'

/**
 * A NAT detector that natweave does not have: each end shows the other the address and port it sees, as STUN servers do,
 * within IKE_SA_INIT. NAT detection (RFC 7296 §2.23) tells that there is a NAT; this tells what it makes of the port.
 * A third party writes it in its own package, with 'natweave' and 'natweave/wire' as imports.
 */

/** Facts are one open record; declaring them makes `knownFact` know their types. */
declare module '../core/index.ts' {
  interface KnownFacts {
    /** This host as the peer sees it: `198.51.100.1:500`. */
    mappedEndpoint: string
    /** Whether the NATs on the way, if any, left the port alone. */
    natKeepsPort: boolean
  }
}

/** Of the private range of status types: a peer that does not know it ignores it, RFC 7296 §3.10.1. */
const MIRROR = 60_010

const notify = (data: Uint8Array): Payload => ({ type: 'N', protocol: 0, spi: new Uint8Array(0), notify: MIRROR, data })

/** Asks with an empty notify; the answer carries the sender of the request. */
const mirrorTask = (): IkeTask => ({
  name: 'mirror',

  build: ({ exchange, response, request, payloads }) => {
    if (!opensIkeSa(exchange)) return
    if (!response) payloads.push(notify(new Uint8Array(0)))
    else if (request !== undefined && notifyOf(request.payloads, MIRROR) !== undefined)
      payloads.push(notify(new TextEncoder().encode(showEndpoint(request.flow.remote))))
  },

  process: ({ exchange, response, payloads, flow }, sa) => {
    if (!opensIkeSa(exchange) || !response) return
    const seen = notifyOf(payloads, MIRROR)
    // whatever it says came unprotected: a hint to plan with, never a reason to trust
    const text = seen === undefined ? '' : new TextDecoder().decode(seen.data.subarray(0, 64))
    const [, port] = /^[\d.a-f:[\]]+:(\d{1,5})$/.exec(text) ?? []
    if (port === undefined) return // unknown is not false
    const source = `mirror at ${showEndpoint(flow.remote)}`
    sa.learn('mappedEndpoint', text, source)
    sa.learn('natKeepsPort', Number(port) === flow.local.port, source)
  },
})

const detector: NatDetector = {
  name: 'mirror',
  finds: ['mappedEndpoint', 'natKeepsPort'],
  tasks: () => [mirrorTask()],
}

export const mirror = (): Plugin => ({
  name: 'mirror',
  api: 1,
  register: container => {
    container.register(NAT_DETECTOR, { useValue: detector })
  },
})
