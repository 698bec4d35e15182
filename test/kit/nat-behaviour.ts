/** How a mapping or a filter depends on the remote end, RFC 4787 §4.1 and §5. */
export type Dependence = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

/** A NAT in the words of RFC 4787; every field may be changed while it runs. */
export interface NatBehaviour {
  /** When an inner endpoint gets the same outer port again. */
  mapping: Dependence
  /** Whose packets a mapping lets in. */
  filtering: Dependence
  /**
   * Outer port: `preserve` the inner one where free, else the next free; `parity` keeps odd odd and even even;
   * `sequential` counts upwards; `random`.
   */
  allocation: 'preserve' | 'parity' | 'sequential' | 'random'
  /** Packets from inside to the outer address come back in, with outer source address and port (REQ-9). */
  hairpin: boolean
  /** Idle UDP mappings die after this, ms. REQ-5 wants at least two minutes. */
  timeout: number
  /** The same for TCP (RFC 5382 REQ-5), and for ICMP echo (RFC 5508 REQ-1). */
  tcpTimeout: number
  icmpTimeout: number
  /** Which packets keep a mapping alive (REQ-6). */
  refresh: 'outbound' | 'both'
  /** Drops all but UDP, TCP and ICMP: no ESP, no AH. Otherwise these have their addresses translated, no more. */
  dropNonUdpTcp: boolean
  blockUdp: boolean
  /** Drops fragments of IP packets, against RFC 4787 REQ-14: what does not fit the path does not get through. */
  dropFragments: boolean
  /** UDP and TCP ports of remote ends that are blocked. */
  blockedPorts: readonly number[]
  /**
   * Inner UDP ports that are never translated, so that one inner host at a time has each: what "IPsec pass-through" does to
   * port 500 (RFC 3715 §2.3).
   */
  pinnedPorts: readonly number[]
  /** With that many live mappings, no new ones. */
  maxMappings: number
  /** False: a plain router for IPv4. */
  translate: boolean
  /** IPv6: plain router; stateful firewall with `filtering`; or translation of addresses and ports, as for IPv4. */
  v6: 'route' | 'firewall' | 'nat66'
}

const base: NatBehaviour = {
  mapping: 'endpoint-independent',
  filtering: 'address-and-port-dependent',
  allocation: 'preserve',
  hairpin: false,
  timeout: 120_000,
  tcpTimeout: 7_440_000,
  icmpTimeout: 60_000,
  refresh: 'outbound',
  dropNonUdpTcp: false,
  blockUdp: false,
  dropFragments: false,
  blockedPorts: [],
  pinnedPorts: [],
  maxMappings: 65_536,
  translate: true,
  v6: 'firewall',
}

/** Common NATs; spread one and change what differs: `{ ...nats.symmetric, timeout: 30_000 }`. */
export const nats = {
  /** No NAT, no firewall: a router. */
  none: { ...base, translate: false, v6: 'route' },
  fullCone: { ...base, filtering: 'endpoint-independent' },
  restrictedCone: { ...base, filtering: 'address-dependent' },
  portRestrictedCone: base,
  symmetric: { ...base, mapping: 'address-and-port-dependent', allocation: 'random' },
  /** Symmetric, but with guessable ports. */
  sequentialSymmetric: { ...base, mapping: 'address-and-port-dependent', allocation: 'sequential' },
} as const satisfies Record<string, NatBehaviour>
export type NatName = keyof typeof nats
