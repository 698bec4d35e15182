import { PeerError } from '../errors.ts'
import { NotifyType, nameOf } from '../wire/index.ts'
import { equalBytes } from './equal.ts'
import { showIdentity } from './identity.ts'
import type { IkeSa } from './ike-sa.ts'
import { localAuth } from './proof.ts'

/**
 * Why a responder refused IKE_AUTH, in words: it gives no reasons itself, but what it asked for before, and what we sent,
 * tell what it has to be looked for.
 */
export function authRefusal(sa: IkeSa, type: number | undefined, now: number): PeerError {
  const { name } = sa.settings!
  if (sa.resumption !== undefined && type === NotifyType.AUTHENTICATION_FAILED)
    return new PeerError('PEER_AUTH_FAILED', 'the peer does not take up the session', type)
  switch (type) {
    case NotifyType.AUTHENTICATION_FAILED:
      return new PeerError('PEER_AUTH_FAILED', rejection(sa, now), type)
    case NotifyType.NO_PROPOSAL_CHOSEN:
      return new PeerError(
        'PEER_NO_PROPOSAL',
        `the peer refused IKE_AUTH with NO_PROPOSAL_CHOSEN: as the peer that it takes us for, we may not use this IKE suite, or it accepts none of the ESP proposals; compare with peers.${name}.proposals and those of its children`,
        type,
      )
    case NotifyType.UNEXPECTED_NAT_DETECTED:
      return new PeerError('PEER_NAT', `there is a NAT on the way, and peers.${name}.encapsulation is never`, type)
    case undefined:
      return new PeerError('PEER_SYNTAX', 'the IKE_AUTH answer lacks IDr or AUTH: the peer must say who it is')
    default:
      return new PeerError(
        'PEER_REFUSED',
        `the peer refused IKE_AUTH with ${nameOf(NotifyType, type)}; its log says why`,
        type,
      )
  }
}

function rejection(sa: IkeSa, now: number): string {
  const settings = sa.settings!
  const at = `peers.${settings.name}`
  const identity = showIdentity(settings.localId)
  const ppk = sa.channel?.plain === undefined ? '' : ', .ppk'
  if (localAuth(settings).type === 'psk')
    return `the peer rejects us: check the pre-shared key and the identities on both sides (${at}.psk, .localId, .remoteId${ppk})`
  const { signer, trust } = sa.host.credentials(settings)
  if (signer === undefined || signer.certificates.length === 0)
    return `the peer rejects us: it must know our public key and that it belongs to ${identity} (${at}.key, .localId)`
  const invalid = signer.invalid(sa.host.wall(now))
  if (invalid !== undefined)
    return `the peer rejects us: our certificate ${signer.description} ${invalid}; renew it (${at}.certificate)`
  const known = trust?.authorities ?? []
  const { authorities } = sa.wishes
  // it says whom it believes; where we know none of these, ours is likely another
  const strange =
    authorities.length > 0 && known.length > 0 && !known.some(k => authorities.some(a => equalBytes(a, k)))
  const reason = strange
    ? 'it asked for certificates of CAs that we do not know'
    : 'it asked for no other kind of certificate'
  return `the peer rejects us, and ${reason}: there, trust the CA of our certificate ${signer.description}, see that it is not revoked, and accept the identity ${identity} (${at}.certificate, .localId, .remoteId${ppk})`
}
