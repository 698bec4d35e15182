declare module '../../core/contracts/facts.ts' {
  interface KnownFacts {
    /** This host has an address at a TURN server. */
    relayAvailable: boolean
  }
}

export const RELAY_AVAILABLE = 'relayAvailable'
