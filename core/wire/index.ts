/** Codecs of everything natweave puts on the wire: `natweave/wire`. */
export * from './codec.ts'
export * from './ike.ts'
export * from './ike-numbers.ts'
export * from './ike-payloads.ts'
export * from './ike-proposal.ts'
