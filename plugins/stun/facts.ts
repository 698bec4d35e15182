/** The four types of RFC 3489 §5, and what else its algorithm can find. */
export type NatKind =
  | 'none'
  | 'udp-blocked'
  | 'symmetric-firewall'
  | 'full-cone'
  | 'restricted-cone'
  | 'port-restricted-cone'
  | 'symmetric'

/** RFC 4787 §4.1 and §5. */
export type Behaviour = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent'

/** Facts beyond those that core knows by name. */
interface FurtherFacts {
  /** Packets to the own outer address come back in, RFC 4787 REQ-9. */
  localHairpin: boolean
  /** Which outer port a new mapping gets. */
  localPortAllocation: 'preserving' | 'sequential' | 'random'
  /** From one new mapping's port to the next, where they can be predicted. */
  localPortStep: number
  /** Odd ports stay odd, even ones even. */
  localPortParity: boolean
  /** UDP datagrams in fragments get through both ways. */
  udpFragments: boolean
}

/** What STUN finds out about the NAT in front of this host. */
export interface StunFacts extends FurtherFacts {
  localNatKind: NatKind
  localNatMapping: Behaviour | 'none'
  localNatFiltering: Behaviour
  mappingLifetime: number
}

declare module '../../core/contracts/facts.ts' {
  interface KnownFacts extends FurtherFacts {}
}
