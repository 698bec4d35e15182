import { WireError } from '../../core/errors.ts'
import { isReachable, MAX_CANDIDATES, type PathCandidateKind, type RemoteCandidate } from '../../core/path/index.ts'
import {
  addressBytes,
  formatAddress,
  getU16,
  type ParsedStun,
  Reader,
  type StunAttribute,
  type StunClass,
  type StunHmac,
  serializeStun,
  stunValue,
  verifyStun,
  Writer,
} from '../../core/wire/index.ts'

/**
 * The rendezvous protocol: STUN messages of three private methods, each with MESSAGE-INTEGRITY-SHA256 by the key that all
 * members share, and attributes of its own in the range that others may ignore.
 */
export const Method = {
  /** "I am USERNAME": keeps the mapping of the NAT and the entry at the server. */
  Register: 0x0b0,
  /** "Where is PEER? I am at CANDIDATES." */
  Connect: 0x0b1,
  /** The server to the peer: USERNAME asks for you. */
  Invite: 0x0b2,
} as const

const PEER = 0xc0b0
const CANDIDATES = 0xc0b1
const KEY = 0xc0b2
const TOKEN = 0xc0b3

/** Code of ERROR-CODE for a peer that is not registered. */
export const NO_SUCH_PEER = 404

const KINDS: readonly PathCandidateKind[] = ['host', 'peer-reflexive', 'server-reflexive', 'relayed']

/** What a message says beside its method. */
export interface Content {
  readonly name?: string | undefined
  readonly peer?: string | undefined
  readonly candidates?: readonly RemoteCandidate[] | undefined
  /** Half of what the checks are keyed with, 16 octets. */
  readonly key?: Uint8Array | undefined
  /** What the receiver has last registered with: an old invitation is of no use to anybody. */
  readonly token?: Uint8Array | undefined
  readonly nonce?: Uint8Array | undefined
  readonly mapped?: { readonly address: string; readonly port: number } | undefined
  readonly error?: { readonly code: number; readonly reason: string } | undefined
}

export function write(
  kind: StunClass,
  method: number,
  transaction: Uint8Array,
  content: Content,
  hmac: StunHmac,
): Uint8Array {
  const attributes: StunAttribute[] = []
  const { name, peer, candidates, key, token, nonce, mapped, error } = content
  if (name !== undefined) attributes.push({ type: 'USERNAME', value: name })
  if (nonce !== undefined) attributes.push({ type: 'NONCE', value: nonce })
  if (mapped !== undefined) attributes.push({ type: 'XOR-MAPPED-ADDRESS', value: mapped })
  if (error !== undefined) attributes.push({ type: 'ERROR-CODE', value: error })
  const own = (number: number, value: Uint8Array | undefined): void => {
    if (value !== undefined) attributes.push({ type: 'unknown', number, value })
  }
  own(PEER, peer === undefined ? undefined : new TextEncoder().encode(peer))
  own(CANDIDATES, candidates === undefined ? undefined : writeCandidates(candidates))
  own(KEY, key)
  own(TOKEN, token)
  return serializeStun({ class: kind, method, transaction, attributes }, { integritySha256: hmac })
}

/** @returns what a message says; undefined when it is not from a member. @throws WireError */
export function read(octets: Uint8Array, message: ParsedStun, hmac: StunHmac): Content | undefined {
  // all 32 octets: a shortened MAC is easier to guess
  if (message.integritySha256?.mac.length !== 32 || !verifyStun(octets, message.integritySha256, hmac)) return undefined
  const own = (number: number): Uint8Array | undefined => {
    const found = message.attributes.find(a => a.type === 'unknown' && a.number === number)
    return found?.type === 'unknown' ? found.value.slice() : undefined
  }
  const peer = own(PEER)
  const candidates = own(CANDIDATES)
  return {
    name: stunValue(message, 'USERNAME'),
    nonce: stunValue(message, 'NONCE')?.slice(),
    mapped: stunValue(message, 'XOR-MAPPED-ADDRESS'),
    error: stunValue(message, 'ERROR-CODE'),
    peer: peer && new TextDecoder().decode(peer),
    candidates: candidates && readCandidates(candidates),
    key: own(KEY),
    token: own(TOKEN),
  }
}

/** The method of what `isStun` has found. */
export function methodAt(bytes: Uint8Array, start: number): number {
  const type = getU16(bytes, start)
  return (type & 0x0f) | ((type >>> 1) & 0x70) | ((type >>> 2) & 0xf80)
}

function writeCandidates(candidates: readonly RemoteCandidate[]): Uint8Array {
  const w = new Writer()
  for (const { kind, endpoint, priority } of candidates.slice(0, MAX_CANDIDATES)) {
    const address = addressBytes(endpoint.address)
    w.u8(KINDS.indexOf(kind))
    w.u8(address.length)
    w.u16(endpoint.port)
    w.u32(priority)
    w.put(address)
  }
  return w.finish()
}

/** Where no host can be is left out. */
function readCandidates(octets: Uint8Array): RemoteCandidate[] {
  const r = new Reader(octets)
  const found: RemoteCandidate[] = []
  for (let count = 0; r.left > 0; count++) {
    const kind = KINDS[r.u8()]
    const length = r.u8()
    if (kind === undefined || (length !== 4 && length !== 16) || count === MAX_CANDIDATES)
      throw new WireError('rendezvous: malformed candidates')
    const port = r.u16()
    const priority = r.u32()
    const endpoint = { address: formatAddress(r.take(length)), port }
    if (isReachable(endpoint)) found.push({ kind, endpoint, priority })
  }
  return found
}
