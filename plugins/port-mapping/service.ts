import type { Rng } from '../../core/contracts/machine.ts'
import { type Address, type Endpoint, type Flow, sameEndpoint } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import type { Candidate, Service, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import type { LocalEndpoint } from '../../core/contracts/transport.ts'
import { familyOf } from '../../core/wire/index.ts'
import { PORT_MAPPED } from './facts.ts'
import { igdFlow } from './igd-transport.ts'
import { Mapping, type MappingOut } from './mapping.ts'
import { PCP_PORT } from './pcp.ts'
import { type MappingProtocol, PROTOCOL_NAME } from './protocols.ts'
import { SSDP_PORT } from './upnp.ts'

/** Gateways that are asked at once: a host with more of them is a router itself. */
const MAX_GATEWAYS = 4

interface Kept {
  readonly mapping: Mapping
  /** Of PCP and NAT-PMP. */
  readonly flow: Flow
  candidate: Candidate | undefined
}

/** Has the gateways of this host forward a port to its socket of port 4500. */
export class PortMapping implements Service {
  readonly #rng: Rng
  readonly #gateways: () => readonly Address[]
  readonly #protocols: readonly MappingProtocol[]
  #locals: readonly LocalEndpoint[] = []
  /** By gateway. */
  readonly #kept = new Map<Address, Kept>()

  /**
   * @param gateways - the routers that this host uses now
   * @param protocols - at least one, in the order of PROTOCOLS
   */
  constructor({ rng }: ServiceContext, gateways: () => readonly Address[], protocols: readonly MappingProtocol[]) {
    this.#rng = rng
    this.#protocols = protocols
    this.#gateways = gateways
  }

  get deadline(): number {
    let due = Infinity
    for (const { mapping } of this.#kept.values()) due = Math.min(due, mapping.deadline)
    return due
  }

  claims(_: Packet, { protocol, remote, local }: Flow): 'mine' | undefined {
    if (remote.port !== (protocol === 17 ? PCP_PORT : SSDP_PORT)) return undefined
    const kept = this.#kept.get(remote.address)
    return kept !== undefined && sameEndpoint(kept.flow.local, local) ? 'mine' : undefined
  }

  step(input: ServiceIn, now: number): readonly ServiceOut[] {
    switch (input.type) {
      case 'locals':
        return this.#setLocals(input.locals)
      case 'resolved':
        return this.#resolved(input.tag, input.source, now)
      case 'timeout':
        return this.#all(({ mapping }) => mapping.step({ type: 'timeout' }, now), now)
      case 'datagram': {
        const kept = this.#kept.get(input.flow.remote.address)
        const answer = { type: 'answer', bytes: input.bytes } as const
        if (kept === undefined) return []
        return input.flow.protocol !== flowOf(kept).protocol
          ? [{ type: 'drop', reason: 'port-mapping-unexpected' }]
          : this.#carryOut(kept, kept.mapping.step(answer, now), now)
      }
      case 'stop':
        return this.#all(({ mapping }) => mapping.farewell(), now)
      default:
        return []
    }
  }

  /** Another network, perhaps: its gateways are asked anew, those of the old one forgotten. */
  #setLocals(locals: readonly LocalEndpoint[]): ServiceOut[] {
    const out: ServiceOut[] = []
    this.#locals = locals
    const gateways = this.#gateways().slice(0, MAX_GATEWAYS)
    for (const [gateway, kept] of this.#kept) {
      if (gateways.includes(gateway) && locals.some(l => sameEndpoint(l, kept.flow.local))) continue
      this.#kept.delete(gateway)
      if (kept.candidate !== undefined) out.push({ type: 'candidate-gone', candidate: kept.candidate })
    }
    for (const gateway of gateways)
      if (!this.#kept.has(gateway)) out.push({ type: 'resolve', host: gateway, tag: gateway })
    return out
  }

  #resolved(gateway: Address, source: Address | undefined, now: number): readonly ServiceOut[] {
    const base = this.#base(gateway, source)
    if (base === undefined || this.#kept.has(gateway)) return []
    const flow: Flow = { protocol: 17, local: base, remote: { address: gateway, port: PCP_PORT } }
    const kept: Kept = { mapping: new Mapping(base, this.#rng, this.#protocols), flow, candidate: undefined }
    this.#kept.set(gateway, kept)
    return this.#carryOut(kept, kept.mapping.step({ type: 'start' }, now), now)
  }

  #base(gateway: Address, source: Address | undefined): Endpoint | undefined {
    const fitting = this.#locals.filter(
      l => l.protocol === 17 && l.role === 'natt' && familyOf(l.address) === familyOf(gateway),
    )
    const found = fitting.find(l => l.address === source)
    return found && { address: found.address, port: found.port }
  }

  #all(each: (kept: Kept) => readonly MappingOut[], now: number): ServiceOut[] {
    return [...this.#kept.values()].flatMap(kept => this.#carryOut(kept, each(kept), now))
  }

  #carryOut(kept: Kept, outs: readonly MappingOut[], now: number): ServiceOut[] {
    return outs.flatMap(out => this.#carryOutOne(kept, out, now))
  }

  #carryOutOne(kept: Kept, out: MappingOut, now: number): ServiceOut[] {
    switch (out.type) {
      case 'send':
        return [{ type: 'transmit', bytes: out.bytes, flow: flowOf(kept) }]
      case 'drop':
        return [out]
      case 'mapped':
        return this.#mapped(kept, out, now)
      case 'unmapped': {
        const { candidate } = kept
        kept.candidate = undefined
        const gone: ServiceOut[] = candidate === undefined ? [] : [{ type: 'candidate-gone', candidate }]
        return [...gone, fact(false, `${kept.flow.remote.address}: ${out.why}`, now)]
      }
    }
  }

  #mapped(kept: Kept, { external, by, until }: MappingOut & { type: 'mapped' }, now: number): ServiceOut[] {
    const source = `${PROTOCOL_NAME[by]} on ${kept.flow.remote.address}`
    const fresh = kept.candidate === undefined
    kept.candidate = { kind: 'server-reflexive', endpoint: external, base: kept.flow.local, source, until }
    return [{ type: 'candidate', candidate: kept.candidate }, ...(fresh ? [fact(true, source, now)] : [])]
  }
}

const flowOf = ({ mapping, flow }: Kept): Flow =>
  mapping.by === 'upnp' ? igdFlow(flow.local, flow.remote.address) : flow

const fact = (value: boolean, source: string, at: number): ServiceOut => ({
  type: 'fact',
  name: PORT_MAPPED,
  fact: { value, source, at },
})
