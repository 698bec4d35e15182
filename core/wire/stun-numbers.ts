/** Registries of STUN and TURN (IANA "Session Traversal Utilities for NAT (STUN) Parameters") in IANA's spelling. */

/** Octets of the message header. */
export const STUN_HEADER = 20
/** Octets 4 to 7 of every message since RFC 5389. */
export const STUN_COOKIE = 0x2112a442
/** Port of STUN and TURN over UDP and TCP. */
export const STUN_PORT = 3478
/** Port of STUN and TURN over TLS and DTLS. */
export const STUNS_PORT = 5349

export const StunMethod = {
  Binding: 0x001,
  /** RFC 3489 only. */
  SharedSecret: 0x002,
  Allocate: 0x003,
  Refresh: 0x004,
  Send: 0x006,
  Data: 0x007,
  CreatePermission: 0x008,
  ChannelBind: 0x009,
  Connect: 0x00a,
  ConnectionBind: 0x00b,
  ConnectionAttempt: 0x00c,
} as const

/** Codes of ERROR-CODE, RFC 8489 §14.8, RFC 8656 §19, RFC 8445 §7.3.1. */
export const StunError = {
  TRY_ALTERNATE: 300,
  BAD_REQUEST: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  UNKNOWN_ATTRIBUTE: 420,
  ALLOCATION_MISMATCH: 437,
  STALE_NONCE: 438,
  ADDRESS_FAMILY_NOT_SUPPORTED: 440,
  WRONG_CREDENTIALS: 441,
  UNSUPPORTED_TRANSPORT_PROTOCOL: 442,
  PEER_ADDRESS_FAMILY_MISMATCH: 443,
  CONNECTION_ALREADY_EXISTS: 446,
  CONNECTION_TIMEOUT_OR_FAILURE: 447,
  ALLOCATION_QUOTA_REACHED: 486,
  ROLE_CONFLICT: 487,
  SERVER_ERROR: 500,
  INSUFFICIENT_CAPACITY: 508,
} as const

/** Address families as STUN numbers them. */
export const StunFamily = { IPv4: 1, IPv6: 2 } as const

/** PASSWORD-ALGORITHM, RFC 8489 §18.5. */
export const PasswordAlgorithm = { MD5: 1, SHA256: 2 } as const
