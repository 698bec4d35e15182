import type { Machine } from '../contracts/machine.ts'
import type { Endpoint } from '../contracts/net.ts'
import type { Assessment, PathContext, PathIn, PathOut, PathStrategy, Problem } from '../contracts/strategy.ts'

const UDP = 17
const IKE_PORT = 500

/** Straight to the configured address: no exchange of its own, ready at once or never. */
export const direct: PathStrategy = {
  slot: 'path',
  name: 'direct',
  solves: [] as readonly Problem[],
  assess: (): Assessment => ({ usable: true, cost: { octets: 0, roundTrips: 0, trusts: [] } }),
  open: (context): Machine<PathIn, PathOut> => ({
    deadline: Number.POSITIVE_INFINITY,
    step: input => (input.type === 'start' ? [begin(context)] : []),
  }),
}

function begin({ peer, remote, source, locals }: PathContext): PathOut {
  if (remote === undefined)
    return { type: 'failed', why: `the address of ${peer} is not known; set its remote, or wait until it connects` }
  // Any port but 500 expects the non-ESP marker from the first message on, RFC 7296 §2.23.
  const role = remote.port === IKE_PORT ? 'ike' : 'natt'
  const fitting = locals.filter(l => l.protocol === UDP && l.role === role && family(l) === family(remote))
  const local = fitting.find(l => l.address === source) ?? fitting[0]
  if (local === undefined)
    return { type: 'failed', why: `no local UDP endpoint for ${role} with an IPv${family(remote)} address` }
  return { type: 'ready', flow: { protocol: UDP, local: { address: local.address, port: local.port }, remote } }
}

const family = ({ address }: Endpoint): 4 | 6 => (address.includes(':') ? 6 : 4)
