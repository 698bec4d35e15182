import type { Address, Flow } from '../../core/contracts/net.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { addressOfBytes } from '../../core/wire/index.ts'

/** Remote addresses remembered per socket; a forgotten one costs one object when it speaks again. */
const FLOW_LIMIT = 4_096

/** The shared flow of each pair of addresses: no object and, for the next packet of the same pair, no text. */
export class Flows {
  readonly #flows = new Map<string, Flow>()
  readonly #limit: number
  /** Both addresses of `#last`. */
  readonly #octets = new Uint8Array(32)
  #last: Flow | undefined
  #locals: ReadonlyMap<Address, LocalEndpoint> = new Map()

  constructor(limit = FLOW_LIMIT) {
    this.#limit = limit
  }

  get size(): number {
    return this.#flows.size
  }

  /** From now on, only these addresses of this host have flows. */
  setLocals(locals: ReadonlyMap<Address, LocalEndpoint>): void {
    this.#locals = locals
    this.#last = undefined
    this.#flows.clear()
  }

  /** @returns undefined when the destination is none of the locals */
  of(bytes: Uint8Array, sourceAt: number, destinationAt: number, length: 4 | 16): Flow | undefined {
    if (this.#last !== undefined && this.#same(bytes, sourceAt, destinationAt, length)) return this.#last
    const family = length === 4 ? 4 : 6
    const local = this.#locals.get(addressOfBytes(bytes, destinationAt, family))
    if (local === undefined) return undefined
    const remote = { address: addressOfBytes(bytes, sourceAt, family), port: 0 }
    const key = `${remote.address} ${local.address}`
    let flow = this.#flows.get(key)
    if (flow === undefined) {
      // spoofed sources must not fill the memory: the oldest goes
      if (this.#flows.size >= this.#limit) {
        const [oldest] = this.#flows.keys()
        if (oldest !== undefined) this.#flows.delete(oldest)
      }
      flow = { protocol: local.protocol, local, remote }
      this.#flows.set(key, flow)
    }
    this.#last = flow
    this.#octets.set(bytes.subarray(sourceAt, sourceAt + length))
    this.#octets.set(bytes.subarray(destinationAt, destinationAt + length), length)
    return flow
  }

  #same(bytes: Uint8Array, sourceAt: number, destinationAt: number, length: number): boolean {
    const octets = this.#octets
    for (let i = 0; i < length; i++)
      if (bytes[sourceAt + i] !== octets[i] || bytes[destinationAt + i] !== octets[length + i]) return false
    return true
  }
}
