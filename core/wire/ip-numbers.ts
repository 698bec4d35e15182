/** Assigned Internet Protocol Numbers, those that have a meaning to natweave. */
export const IpProtocol = {
  HOPOPT: 0,
  ICMP: 1,
  IPV4: 4,
  TCP: 6,
  UDP: 17,
  DCCP: 33,
  IPV6: 41,
  IPV6_ROUTE: 43,
  IPV6_FRAG: 44,
  ESP: 50,
  AH: 51,
  ICMPV6: 58,
  IPV6_NO_NXT: 59,
  IPV6_OPTS: 60,
  /** BEET pseudo header; never assigned for it, but what Linux and strongSwan use. */
  BEET: 94,
  SCTP: 132,
  MOBILITY: 135,
  UDPLITE: 136,
  HIP: 139,
} as const
