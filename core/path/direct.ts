import { type Facts, knownFact } from '../contracts/facts.ts'
import type { Endpoint } from '../contracts/net.ts'
import type { Service, ServiceIn, ServiceOut } from '../contracts/service.ts'
import type { Assessment, PathStrategy, Problem } from '../contracts/strategy.ts'
import type { LocalEndpoint } from '../contracts/transport.ts'

const UDP = 17
const IKE_PORT = 500

/** Straight to the configured address: no exchange of its own, ready at once or never. */
export const direct: PathStrategy = {
  slot: 'path',
  name: 'direct',
  solves: [] as readonly Problem[],
  needs: 'UDP to ports 500 and 4500 of the peer gets through',
  assess: (facts: Facts): Assessment =>
    knownFact(facts, 'remoteKnown') === false
      ? { usable: false, why: 'the address of the peer is not known; set its remote, or wait until it connects' }
      : { usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } },
  serve: () => new Direct(),
}

class Direct implements Service {
  readonly deadline = Number.POSITIVE_INFINITY
  #locals: readonly LocalEndpoint[] = []

  step(input: ServiceIn): readonly ServiceOut[] {
    if (input.type === 'locals') this.#locals = input.locals
    return input.type === 'find' ? [find(input, this.#locals)] : []
  }
}

function find(
  { peer, remote, source }: Extract<ServiceIn, { readonly type: 'find' }>,
  locals: readonly LocalEndpoint[],
): ServiceOut {
  const failed = (why: string): ServiceOut => ({ type: 'failed', peer, code: 'PATH_FAILED', why })
  if (remote === undefined)
    return failed(`the address of ${peer} is not known; set its remote, or wait until it connects`)
  // Any port but 500 expects the non-ESP marker from the first message on, RFC 7296 §2.23.
  const role = remote.port === IKE_PORT ? 'ike' : 'natt'
  const fitting = locals.filter(l => l.protocol === UDP && l.role === role && family(l) === family(remote))
  const local = fitting.find(l => l.address === source) ?? fitting[0]
  if (local === undefined) return failed(`no local UDP endpoint for ${role} with an IPv${family(remote)} address`)
  const flow = { protocol: UDP, local: { address: local.address, port: local.port }, remote } as const
  return { type: 'ready', peer, flow, why: 'the configured address' }
}

const family = ({ address }: Endpoint): 4 | 6 => (address.includes(':') ? 6 : 4)
