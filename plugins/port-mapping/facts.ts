declare module '../../core/contracts/facts.ts' {
  interface KnownFacts {
    /** A gateway forwards a port to this host: whoever knows it gets in, whatever the NAT filters. */
    portMapped: boolean
  }
}

export const PORT_MAPPED = 'portMapped'
