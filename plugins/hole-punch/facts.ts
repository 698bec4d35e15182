declare module '../../core/contracts/facts.ts' {
  interface KnownFacts {
    /** Who knows where the peer is; false: nobody is asked for it. */
    rendezvous: string | false
  }
}

export const RENDEZVOUS = 'rendezvous'
