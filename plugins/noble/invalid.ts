import { PeerError } from '../../core/errors.ts'
import { NotifyType } from '../../core/wire/index.ts'

/** @throws PeerError PEER_KE_INVALID when a peer's public value has another length */
export function checkLength(peer: Uint8Array, wanted: number): void {
  if (peer.length !== wanted) throw invalid(`${peer.length} octets instead of ${wanted}`)
}

/** What `compute` gives. @throws PeerError PEER_KE_INVALID where it throws */
export function orInvalid<T>(why: string, compute: () => T): T {
  try {
    return compute()
  } catch (cause) {
    throw invalid(why, cause)
  }
}

export const invalid = (why: string, cause?: unknown): PeerError => {
  const error = new PeerError('PEER_KE_INVALID', `key exchange value: ${why}`, NotifyType.INVALID_SYNTAX)
  if (cause !== undefined) error.cause = cause
  return error
}
