import type { Address, Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Service, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import type { Identity, LeasedPoolSettings } from '../../core/contracts/settings.ts'
import { ClientLease, type ClientName, type LeaseOut } from './client-lease.ts'
import { readMessage, writeMessage } from './message.ts'

/** A relay sends and is answered on the servers' port, RFC 2131 §4.1. */
export const DHCP_PORT = 67

interface Kept {
  readonly tag: string
  readonly pool: LeasedPoolSettings
  readonly lease: ClientLease
}

/** Leases addresses from DHCP servers on behalf of peers: client and relay in one. */
export class DhcpLeasing implements Service {
  readonly leases = 'dhcp'
  readonly #context: ServiceContext
  readonly #pools: ReadonlyMap<string, LeasedPoolSettings>
  readonly #kept = new Map<string, Kept>()

  constructor(context: ServiceContext, pools: readonly LeasedPoolSettings[]) {
    this.#context = context
    this.#pools = new Map(pools.map(pool => [pool.name, pool]))
  }

  get deadline(): number {
    let due = Infinity
    for (const { lease } of this.#kept.values()) due = Math.min(due, lease.deadline)
    return due
  }

  claims(_: Packet, { protocol, local }: Flow): 'mine' | undefined {
    if (protocol !== 17 || local.port !== DHCP_PORT) return undefined
    for (const { relay } of this.#pools.values()) if (relay === local.address) return 'mine'
    return undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    switch (input.type) {
      case 'lease':
        return this.#begin(input, now)
      case 'release':
        return this.#end(input.tag, now)
      case 'datagram':
        return this.#receive(input.bytes, input.flow, now)
      case 'timeout':
        return [...this.#kept.values()].flatMap(kept => this.#carryOut(kept, kept.lease.timeout(now)))
      case 'stop':
        return [...this.#kept.keys()].flatMap(tag => this.#end(tag, now))
      default:
        return []
    }
  }

  #begin(input: Extract<ServiceIn, { readonly type: 'lease' }>, now: number): ServiceOut[] {
    const { tag, identity, instance, wanted } = input
    const pool = this.#pools.get(input.pool)
    if (pool === undefined) return [{ type: 'unleased', tag, why: `there is no pool ${input.pool}` }]
    const lease = new ClientLease(pool, this.#name(identity, instance), wanted, this.#context.rng, now)
    const kept = { tag, pool, lease }
    this.#kept.set(tag, kept)
    return this.#carryOut(kept, lease.start(now))
  }

  #end(tag: string, now: number): ServiceOut[] {
    const kept = this.#kept.get(tag)
    if (kept === undefined) return []
    this.#kept.delete(tag)
    return this.#carryOut(kept, kept.lease.release(now))
  }

  #receive(bytes: Uint8Array, { local, remote }: Flow, now: number): ServiceOut[] {
    const drop = (reason: string): ServiceOut[] => [{ type: 'drop', reason }]
    const from = remote.address
    const known = [...this.#pools.values()].some(p => p.relay === local.address && p.servers.includes(from))
    if (!known || remote.port !== DHCP_PORT) return drop('dhcp-foreign-server')
    const message = readMessage(bytes)
    if (message === undefined) return drop('dhcp-malformed')
    for (const kept of this.#kept.values()) {
      if (kept.lease.xid !== message.xid) continue
      if (!kept.pool.servers.includes(from)) return drop('dhcp-foreign-server')
      const taken = (address: Address): boolean => this.#taken(kept, address)
      return this.#carryOut(kept, kept.lease.receive(message, from, taken, now))
    }
    return drop('dhcp-xid')
  }

  /** Whether another peer has it: a server that gives it twice is wrong. */
  #taken(wanting: Kept, address: Address): boolean {
    for (const kept of this.#kept.values()) if (kept !== wanting && kept.lease.address === address) return true
    return false
  }

  #carryOut({ tag, pool }: Kept, outs: readonly LeaseOut[]): ServiceOut[] {
    return outs.flatMap((out): ServiceOut[] => {
      switch (out.type) {
        case 'send': {
          const local = { address: pool.relay, port: DHCP_PORT }
          return out.to.map(address => ({
            type: 'transmit',
            bytes: writeMessage(out.message),
            flow: { protocol: 17, local, remote: { address, port: DHCP_PORT } },
          }))
        }
        case 'leased':
          return [{ ...out, tag }]
        case 'unleased':
          this.#kept.delete(tag)
          return [{ ...out, tag }]
        default:
          return [out]
      }
    })
  }

  /**
   * Client identifier of RFC 4361: IAID and a DUID that is a UUID (RFC 6355) made from the identity, so that it outlives the
   * state of this host. Servers that look at hardware addresses see one that is locally administered.
   */
  #name(identity: Identity, instance: number): ClientName {
    const said = new TextEncoder().encode(`natweave ${identity.type}:${identity.value}`)
    const uuid = this.#context.crypto.hash('sha256', said).slice(0, 16)
    // version 8 and variant of RFC 9562
    uuid[6] = (uuid[6]! & 0x0f) | 0x80
    uuid[8] = (uuid[8]! & 0x3f) | 0x80
    const iaid = Uint8Array.of(instance >>> 24, instance >>> 16, instance >>> 8, instance)
    const hardware = this.#context.crypto.hash('sha256', said, iaid)
    return {
      clientId: Uint8Array.of(255, ...iaid, 0, 4, ...uuid),
      chaddr: Uint8Array.of(0x02, ...hardware.subarray(0, 5)),
    }
  }
}
