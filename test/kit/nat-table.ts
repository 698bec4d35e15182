import { IpProtocol } from '../../core/wire/index.ts'
import { type AddressKey, endKey, type Ip } from './address.ts'
import type { Dependence, NatBehaviour } from './nat-behaviour.ts'
import type { SeededRng } from './rng.ts'

/** One end of a flow as the table sees it. `port` is the identifier for ICMP echo. */
export interface End {
  readonly address: AddressKey
  readonly port: number
}

/** An inner endpoint and the outer one that stands for it. */
export interface Mapping {
  readonly protocol: number
  readonly inside: Ip
  readonly insidePort: number
  readonly outside: Ip
  readonly outsidePort: number
  /** Virtual ms; Infinity for static ones. */
  expires: number
  /** When each remote end was last sent to, by the key that filtering looks at. */
  readonly contacted: Map<AddressKey, number>
}

export type Inbound = Mapping | 'nat-no-mapping' | 'nat-filtered'

const FIRST_PORT = 1024
const MAX_CONTACTED = 4096

/** The mappings of one NAT for one address family. Expiry is lazy: what is dead is found dead when it is touched. */
export class NatTable {
  readonly #behaviour: NatBehaviour
  readonly #rng: SeededRng
  /** By protocol and inner endpoint, then by what the mapping depends on. */
  readonly #byInside = new Map<number, Map<AddressKey, Map<AddressKey, Mapping>>>()
  /** By protocol and outer endpoint. */
  readonly #byOutside = new Map<number, Map<AddressKey, Mapping>>()
  #size = 0
  #nextPort = FIRST_PORT

  constructor(behaviour: NatBehaviour, rng: SeededRng) {
    this.#behaviour = behaviour
    this.#rng = rng
  }

  /**
   * The mapping for a packet going out, made if there is none, kept alive if there is.
   *
   * @param outside - outer address; equal to `inside` for a firewall, which keeps the port too
   * @returns undefined when the table or the ports are full
   */
  outbound(
    protocol: number,
    inside: Ip,
    insidePort: number,
    remote: End,
    outside: Ip,
    now: number,
  ): Mapping | undefined {
    const { mapping: dependence, filtering } = this.#behaviour
    const byRemote = this.#inside(protocol, endKey(inside.key, insidePort))
    const key = dependsOn(dependence, remote)
    let mapping = byRemote.get(key)
    if (mapping !== undefined && mapping.expires <= now) {
      this.#remove(mapping)
      mapping = undefined
    }
    if (mapping === undefined) {
      if (this.#size >= this.#behaviour.maxMappings && this.#sweep(now) >= this.#behaviour.maxMappings) return undefined
      const outsidePort = outside === inside ? insidePort : this.#allocate(protocol, outside.key, insidePort, now)
      if (outsidePort === undefined) return undefined
      mapping = { protocol, inside, insidePort, outside, outsidePort, expires: 0, contacted: new Map() }
      this.#add(mapping, key)
    }
    if (mapping.contacted.size >= MAX_CONTACTED) mapping.contacted.clear()
    mapping.contacted.set(dependsOn(filtering, remote), now)
    if (mapping.expires !== Number.POSITIVE_INFINITY) mapping.expires = now + this.#timeout(protocol)
    return mapping
  }

  /** The mapping for a packet coming in, if it has one and the filter lets it. */
  inbound(protocol: number, outside: End, remote: End, now: number): Inbound {
    const mapping = this.find(protocol, outside, now)
    if (mapping === undefined) return 'nat-no-mapping'
    const { filtering, refresh } = this.#behaviour
    const isStatic = mapping.expires === Number.POSITIVE_INFINITY
    if (filtering !== 'endpoint-independent' && !isStatic) {
      const key = dependsOn(filtering, remote)
      const since = mapping.contacted.get(key)
      if (since === undefined || now - since >= this.#timeout(protocol)) return 'nat-filtered'
      if (refresh === 'both') mapping.contacted.set(key, now)
    }
    if (refresh === 'both' && !isStatic) mapping.expires = now + this.#timeout(protocol)
    return mapping
  }

  /** The live mapping of an outer endpoint. */
  find(protocol: number, outside: End, now: number): Mapping | undefined {
    const mapping = this.#byOutside.get(protocol)?.get(endKey(outside.address, outside.port))
    if (mapping === undefined || mapping.expires > now) return mapping
    this.#remove(mapping)
    return undefined
  }

  /** A live mapping of an inner endpoint, whichever of several was made first. */
  findInside(protocol: number, inside: End, now: number): Mapping | undefined {
    const byRemote = this.#byInside.get(protocol)?.get(endKey(inside.address, inside.port))
    for (const mapping of byRemote?.values() ?? []) if (mapping.expires > now) return mapping
    return undefined
  }

  /** A mapping that never expires and lets everybody in: a port forwarding. */
  addStatic(protocol: number, inside: Ip, insidePort: number, outside: Ip, outsidePort: number): void {
    const expires = Number.POSITIVE_INFINITY
    const mapping = { protocol, inside, insidePort, outside, outsidePort, expires, contacted: new Map() }
    const old = this.#byOutside.get(protocol)?.get(endKey(outside.key, outsidePort))
    if (old !== undefined) this.#remove(old)
    this.#add(mapping, 0)
  }

  removeStatic(protocol: number, outside: End): void {
    const mapping = this.#byOutside.get(protocol)?.get(endKey(outside.address, outside.port))
    if (mapping?.expires === Number.POSITIVE_INFINITY) this.#remove(mapping)
  }

  live(now: number): Mapping[] {
    return [...this.#byOutside.values()].flatMap(ports => [...ports.values()]).filter(({ expires }) => expires > now)
  }

  clear(): void {
    this.#byInside.clear()
    this.#byOutside.clear()
    this.#size = 0
    this.#nextPort = FIRST_PORT
  }

  #allocate(protocol: number, outside: AddressKey, wanted: number, now: number): number | undefined {
    const { allocation, pinnedPorts } = this.#behaviour
    if (protocol === IpProtocol.UDP && pinnedPorts.includes(wanted))
      return this.find(protocol, { address: outside, port: wanted }, now) === undefined ? wanted : undefined
    const step = allocation === 'parity' ? 2 : 1
    let port = wanted
    if (allocation === 'sequential') port = this.#nextPort
    else if (allocation === 'random') port = FIRST_PORT + this.#rng.below(65_536 - FIRST_PORT)
    else if (allocation === 'parity') port = FIRST_PORT + 2 * this.#rng.below((65_536 - FIRST_PORT) / 2) + (wanted & 1)
    for (let tries = 0; tries < 65_536; tries += step) {
      if (this.find(protocol, { address: outside, port }, now) === undefined) {
        this.#nextPort = port === 65_535 ? FIRST_PORT : port + 1
        return port
      }
      port += step
      if (port > 65_535) port = FIRST_PORT + (step === 2 ? wanted & 1 : 0)
    }
    return undefined
  }

  #timeout(protocol: number): number {
    const { timeout, tcpTimeout, icmpTimeout } = this.#behaviour
    return protocol === IpProtocol.UDP ? timeout : protocol === IpProtocol.TCP ? tcpTimeout : icmpTimeout
  }

  #inside(protocol: number, end: AddressKey): Map<AddressKey, Mapping> {
    const ends = getOrMake(this.#byInside, protocol, () => new Map<AddressKey, Map<AddressKey, Mapping>>())
    return getOrMake(ends, end, () => new Map<AddressKey, Mapping>())
  }

  #add(mapping: Mapping, key: AddressKey): void {
    this.#inside(mapping.protocol, endKey(mapping.inside.key, mapping.insidePort)).set(key, mapping)
    const outside = getOrMake(this.#byOutside, mapping.protocol, () => new Map<AddressKey, Mapping>())
    outside.set(endKey(mapping.outside.key, mapping.outsidePort), mapping)
    this.#size++
  }

  #remove(mapping: Mapping): void {
    const ends = this.#byInside.get(mapping.protocol)
    const end = endKey(mapping.inside.key, mapping.insidePort)
    const byRemote = ends?.get(end)
    for (const [key, value] of byRemote ?? []) if (value === mapping) byRemote?.delete(key)
    if (byRemote?.size === 0) ends?.delete(end)
    this.#byOutside.get(mapping.protocol)?.delete(endKey(mapping.outside.key, mapping.outsidePort))
    this.#size--
  }

  /** @returns how many are left */
  #sweep(now: number): number {
    for (const ports of this.#byOutside.values())
      for (const mapping of ports.values()) if (mapping.expires <= now) this.#remove(mapping)
    return this.#size
  }
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

/** The part of the remote end that matters. */
function dependsOn(dependence: Dependence, remote: End): AddressKey {
  switch (dependence) {
    case 'endpoint-independent':
      return 0
    case 'address-dependent':
      return remote.address
    case 'address-and-port-dependent':
      return endKey(remote.address, remote.port)
  }
}
