import type { Endpoint, Flow } from '../../core/contracts/net.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import type { Arena } from './arena.ts'
import { SOCKADDR } from './libc.ts'
import { readName, writeName } from './sockaddr.ts'

/** Remote endpoints remembered per socket; a forgotten one costs one object when it speaks again. */
const FLOW_LIMIT = 4_096

/** A flow with what a system call needs to send on it. */
export class SocketFlow implements Flow {
  readonly protocol: Flow['protocol']
  readonly local: LocalEndpoint
  readonly remote: Endpoint
  readonly socket: Socket
  /** struct sockaddr, `nameLength` octets of it. */
  readonly name = new Uint8Array(SOCKADDR)
  readonly nameLength: number

  constructor(socket: Socket, remote: Endpoint) {
    this.socket = socket
    this.protocol = socket.local.protocol
    this.local = socket.local
    this.remote = remote
    this.nameLength = writeName(new DataView(this.name.buffer), 0, remote)
  }
}

/** A socket as the thread sees it, and the flows on it: one object for each, however many packets. */
export class Socket {
  readonly id: number
  readonly fd: number
  readonly local: LocalEndpoint
  /** Whether the kernel cuts a large datagram into many, and puts many into one: UDP's, until it has refused. */
  segments: boolean
  /** Without ports. */
  readonly raw: boolean
  readonly #flows = new Map<string, SocketFlow>()
  #last: SocketFlow | undefined

  constructor(id: number, fd: number, local: LocalEndpoint) {
    this.id = id
    this.fd = fd
    this.local = local
    this.raw = local.protocol !== 17
    this.segments = !this.raw
  }

  flow(remote: Endpoint): SocketFlow {
    const key = `${remote.address} ${remote.port}`
    let flow = this.#flows.get(key)
    if (flow === undefined) {
      // spoofed sources must not fill the memory: the oldest goes
      if (this.#flows.size >= FLOW_LIMIT) {
        const [oldest] = this.#flows.keys()
        if (oldest !== undefined) this.#flows.delete(oldest)
      }
      flow = new SocketFlow(this, remote)
      this.#flows.set(key, flow)
    }
    return flow
  }

  /** The flow of a received datagram, whose sender's sockaddr is at `at`. */
  from({ bytes, view }: Arena, at: number): SocketFlow {
    const last = this.#last
    if (last !== undefined && same(last, bytes, at)) return last
    const flow = this.flow(readName(bytes, view, at))
    this.#last = flow
    return flow
  }
}

function same({ name, nameLength }: SocketFlow, bytes: Uint8Array, at: number): boolean {
  // behind the address a link's number may follow, which flows are without
  const length = nameLength === SOCKADDR ? SOCKADDR - 4 : 8
  for (let i = 0; i < length; i++) if (name[i] !== bytes[at + i]) return false
  return true
}
