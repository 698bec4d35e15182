import type {
  Assessment,
  Endpoint,
  LocalEndpoint,
  PathStrategy,
  Problem,
  Service,
  ServiceIn,
  ServiceOut,
} from '../../core/index.ts'

const UDP = 17
const IKE_PORT = 500

/**
 * For peers with several addresses: every attempt takes the next one, so that a dead uplink costs one attempt. A path's
 * service is asked to find a peer and answers with a flow; this one has nothing to ask the network first.
 */
export class Alternate implements PathStrategy {
  readonly slot = 'path'
  readonly name = 'alternate'
  readonly solves: readonly Problem[] = []
  readonly #addresses: Readonly<Record<string, readonly string[]>>
  readonly #attempts = new Map<string, number>()

  /** @param addresses - beside the configured `remote`, by the peer's name */
  constructor(addresses: Readonly<Record<string, readonly string[]>>) {
    this.#addresses = addresses
  }

  assess(): Assessment {
    return { usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } }
  }

  serve(): Service {
    let locals: readonly LocalEndpoint[] = []
    return {
      deadline: Number.POSITIVE_INFINITY,
      step: input => {
        if (input.type === 'locals') locals = input.locals
        return input.type === 'find' ? [this.#next(input, locals)] : []
      },
    }
  }

  #next(
    { peer, remote, source }: Extract<ServiceIn, { readonly type: 'find' }>,
    locals: readonly LocalEndpoint[],
  ): ServiceOut {
    const more = (this.#addresses[peer] ?? []).map(address => ({ address, port: remote?.port ?? IKE_PORT }))
    const candidates = [...(remote === undefined ? [] : [remote]), ...more].flatMap(to => {
      // any port but 500 speaks with the non-ESP marker from the start, RFC 7296 §2.23
      const role = to.port === IKE_PORT ? 'ike' : 'natt'
      const fitting = locals.filter(l => l.protocol === UDP && l.role === role && family(l) === family(to))
      const local = fitting.find(l => l.address === source) ?? fitting[0]
      return local === undefined ? [] : [{ local: { address: local.address, port: local.port }, remote: to }]
    })
    const attempt = this.#attempts.get(peer) ?? 0
    const ends = candidates[attempt % candidates.length]
    if (ends === undefined)
      return { type: 'failed', peer, code: 'PATH_FAILED', why: `no address of ${peer} can be reached from here` }
    this.#attempts.set(peer, attempt + 1)
    return { type: 'ready', peer, flow: { protocol: UDP, ...ends }, why: `attempt ${attempt + 1}` }
  }
}

const family = ({ address }: Endpoint): 4 | 6 => (address.includes(':') ? 6 : 4)
