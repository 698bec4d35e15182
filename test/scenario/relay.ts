import type { Endpoint, Plugin } from '../../core/index.ts'
import { type ServeOptions, turn } from '../../plugins/turn/index.ts'
import type { Host, VirtualInternet } from '../kit/index.ts'
import { type Node, node } from './nodes.ts'

/** TURN on the virtual internet: a natweave build as the relay, and clients with an account there. */

const USERS = { alice: 'wonderland', bob: 'the builder' }

/** A relay on port 4500 of this host, for users alice and bob. */
export const relayNode = (net: VirtualInternet, host: Host, serve: Partial<ServeOptions> = {}): Promise<Node> =>
  node(net, host, { peers: [], plugins: [turn({ serve: { users: USERS, ...serve } })] })

/** An allocation at the relay on `host`, the kit's `med` unless told otherwise. */
export const relayed = (user: keyof typeof USERS, host = '203.0.113.10'): Plugin =>
  turn({ servers: [{ url: `turn:${host}:4500`, username: user, password: USERS[user] }] })

export const candidateOf = ({ natweave }: Node, kind: string): Endpoint | undefined => {
  const found = natweave.status().candidates.find(c => c.kind === kind)
  const [, address, port] = /^\[?(.*?)\]?:(\d+)$/.exec(found?.endpoint ?? '') ?? []
  return address === undefined ? undefined : { address, port: Number(port) }
}
