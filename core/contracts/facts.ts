/** Facts core knows by name. Plugins add theirs by declaration merging. Every one may be unknown. */
export interface KnownFacts {
  /** A NAT rewrites this host's outer address or port on the way to the peer. */
  localBehindNat: boolean
  /** A NAT rewrites the peer's outer address or port on the way here. */
  remoteBehindNat: boolean
  /** The peer takes part in NAT detection, so understands ESP in UDP. */
  peerNatTraversal: boolean
  /** IP version of the outer path. */
  outerFamily: 4 | 6
  /** The configuration says where the peer is. False: it can only be found through others, or call in. */
  remoteKnown: boolean
  /** Each side of the Child SA is one address, not a network: what modes without an inner header need. */
  innerPair: boolean
  /** What IKE goes in with this peer: `udp` or `tcp` (RFC 9329). */
  outerProtocol: 'udp' | 'tcp'
  /** UDP encapsulation is wanted even where no NAT is seen. */
  forceEncapsulation: boolean
  /** A transport here can send IP protocol 50. */
  plainEspPossible: boolean
  /** Packets on UDP do not get through. */
  udpBlocked: boolean
  /** Packets of IP protocol 50 do not get through. */
  espBlocked: boolean
  /** What goes to the peer goes through a relay. */
  relayed: boolean
  /** Both ends do MOBIKE (RFC 4555): addresses change by its rules. */
  mobike: boolean
  /** Both ends are behind NATs; follows from the two facts about each end. */
  bothBehindNat: boolean
  /** The peer has its outer address from the NAT that this host is behind. */
  sameNat: boolean
  /**
   * The kind of NAT in the words of RFC 3489: `none`, `full-cone`, `restricted-cone`, `port-restricted-cone`, `symmetric`;
   * `symmetric-firewall` filters as a NAT does and translates nothing.
   */
  localNatKind: string
  remoteNatKind: string
  /** RFC 4787 §4.1 and §5: `endpoint-independent`, `address-dependent`, `address-and-port-dependent`. */
  localNatMapping: string
  localNatFiltering: string
  remoteNatMapping: string
  remoteNatFiltering: string
  /** How long a NAT in front of this host keeps a UDP mapping that nothing refreshes, ms. */
  mappingLifetime: number
  /** This host's outer address is one that the Child SA protects on the other side. */
  addressesOverlap: boolean
  /** Where this host is: a name of the configuration, else the prefix its address is from. */
  network: string
  /** Time since this peer was last reached from this network, ms. */
  sinceSuccess: number
  /** Digest of this host's outer address and port as the peer last saw them; another one means another NAT mapping. */
  natMapping: string
}

export type FactValue = string | number | boolean

export interface Fact {
  readonly value: FactValue
  /** Who says so, in words for `natweave plan`: "NAT_DETECTION_DESTINATION_IP from 192.0.2.1". */
  readonly source: string
  /** When it was learned, monotonic ms. */
  readonly at: number
}

/** What is known now; absent means unknown, which is never the same as false. */
export type Facts = Readonly<Record<string, Fact>>

export const knownFact = <K extends keyof KnownFacts>(facts: Facts, name: K): KnownFacts[K] | undefined =>
  facts[name]?.value as KnownFacts[K] | undefined

/**
 * Facts with more, or other, ones. Not by spreading: of objects with ever other fields the engine makes a class for each copy,
 * which takes more time and memory than the facts.
 */
export function withFacts(facts: Facts, more: Facts): Facts {
  const all: Record<string, Fact> = {}
  for (const name in facts) all[name] = facts[name]!
  for (const name in more) all[name] = more[name]!
  return all
}
