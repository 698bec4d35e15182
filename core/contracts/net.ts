/** IP address as canonical text: dotted quad, or RFC 5952 for IPv6; no zone, no brackets, no prefix length. */
export type Address = string

export interface Endpoint {
  readonly address: Address
  /** UDP or TCP port; 0 for protocols without ports. */
  readonly port: number
}

/** IP protocol numbers a flow can have: UDP, ESP, AH, TCP. */
export type FlowProtocol = 17 | 50 | 51 | 6

/**
 * Both ends of a stream of datagrams, as this host sees them. Immutable and shared by reference, so that packets carry
 * no address objects of their own; compare by value with `sameFlow`.
 */
export interface Flow {
  readonly protocol: FlowProtocol
  readonly local: Endpoint
  readonly remote: Endpoint
}

/** An address prefix, e.g. `10.9.0.0/24`. */
export interface Prefix {
  readonly address: Address
  readonly bits: number
}

export const sameEndpoint = (a: Endpoint, b: Endpoint): boolean => a.port === b.port && a.address === b.address

export const sameFlow = (a: Flow, b: Flow): boolean =>
  a === b || (a.protocol === b.protocol && sameEndpoint(a.local, b.local) && sameEndpoint(a.remote, b.remote))

/** `192.0.2.1:4500`, `[2001:db8::1]:500`; without the port where it is 0. */
export const showEndpoint = ({ address, port }: Endpoint): string =>
  port === 0 ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
