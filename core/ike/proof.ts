import type { LocalAuth, PeerSettings, RemoteAuth } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import {
  AuthMethod,
  type Identification,
  identification,
  type Payload,
  type PayloadOf,
  payloadOf,
  Writer,
} from '../wire/index.ts'
import type { InitOctets } from './channel.ts'
import { certificatePayloads, presentedBy } from './credentials.ts'
import { equalBytes } from './equal.ts'
import { fromIdentification, showIdentity } from './identity.ts'
import type { IkeSa } from './ike-sa.ts'
import { pskAuth, signedOctets } from './keys.ts'
import { chooseSignature, readSignature, writeSignature } from './signature.ts'

/** AUTH: how an end proves who it is, and how the peer's proof is checked, RFC 7296 §2.15, RFC 7427. */

export const localAuth = ({ auth }: PeerSettings): LocalAuth => auth?.local ?? { type: 'psk' }
export const remoteAuth = ({ auth }: PeerSettings): RemoteAuth => auth?.remote ?? { type: 'psk' }

/** How this end proves itself: in a session that is resumed by its keys alone. */
export const ownProof = ({ resumption }: IkeSa, settings: PeerSettings) =>
  resumption === undefined ? localAuth(settings).type : 'session'
/** The same for the peer. */
export const peerProof = ({ resumption }: IkeSa, settings: PeerSettings) =>
  resumption === undefined ? remoteAuth(settings).type : 'session'

const PSK = 'pre-shared key'
const SESSION = 'the keys of the session that was resumed'

const body = (id: Identification): Uint8Array => {
  const w = new Writer(64)
  identification.write(w, id)
  return w.finish()
}

/** What one side of this SA signs, or computes a MAC over. */
function octetsOf(sa: IkeSa, side: 'own' | 'peer', octets: InitOctets, id: Identification): Uint8Array {
  const { suite, keys, ni, nr } = sa.channel!
  const initiator = (side === 'own') === sa.initiator
  const [nonce, skp] = initiator ? [nr, keys.pi] : [ni, keys.pr]
  return signedOctets(sa.crypto, suite.prf, octets[side], nonce, skp, body(id), sa.transcript.octets())
}

const mac = (sa: IkeSa, { psk }: PeerSettings, octets: Uint8Array): Uint8Array =>
  pskAuth(sa.crypto, sa.channel!.suite.prf, psk ?? new Uint8Array(0), octets)

/**
 * CERT payloads and AUTH of this end.
 * @throws PeerError PEER_AUTH_FAILED when there is no kind of signature that both ends know
 */
export function prove(
  sa: IkeSa,
  settings: PeerSettings,
  octets: InitOctets,
  id: Identification,
): { readonly certificates: readonly Payload[]; readonly auth: PayloadOf<'AUTH'> } {
  if (sa.resumption !== undefined) {
    sa.proof.own = SESSION
    return { certificates: [], auth: sessionAuth(sa, 'own', octets, id) }
  }
  const own = octetsOf(sa, 'own', octets, id)
  if (localAuth(settings).type === 'psk') {
    sa.proof.own = PSK
    return {
      certificates: [],
      auth: { type: 'AUTH', method: AuthMethod.SHARED_KEY_MIC, data: mac(sa, settings, own) },
    }
  }
  const signer = sa.host.credentials(settings).signer!
  const chosen = chooseSignature(signer.keyType, settings.auth?.signatures, sa.wishes.hashes)
  if (typeof chosen === 'string') throw new PeerError('PEER_AUTH_FAILED', `${chosen} (peers.${settings.name})`)
  sa.proof.own = `${chosen.scheme}, ${signer.description}`
  const signature = signer.sign(chosen.scheme, chosen.form, own)
  return {
    certificates: certificatePayloads(signer, sa.wishes),
    auth: { type: 'AUTH', method: chosen.method, data: writeSignature(chosen, signature) },
  }
}

/**
 * Whether the peer has proved to be whom it says.
 *
 * @param octets - several where it is not known which of the peer's requests was the first
 * @returns in words, for the log of this host, why it has not
 */
export function disproof(
  sa: IkeSa,
  settings: PeerSettings,
  octets: readonly InitOctets[],
  id: Identification,
  payloads: readonly Payload[],
  now: number,
): string | undefined {
  const auth = payloadOf(payloads, 'AUTH')
  const identity = fromIdentification(id)
  const remote = remoteAuth(settings)
  const at = `peers.${settings.name}`
  if (auth === undefined || identity === undefined) return 'an AUTH without a known identity'
  if (sa.resumption !== undefined) {
    const fits = octets.some(o => equalBytes(auth.data, sessionAuth(sa, 'peer', o, id).data))
    if (!fits || auth.method !== AuthMethod.SHARED_KEY_MIC) return 'its AUTH does not have the keys of the session'
    sa.proof.peer = SESSION
    return undefined
  }
  if (remote.type === 'psk') {
    if (auth.method !== AuthMethod.SHARED_KEY_MIC)
      return `the peer ${methodWords(auth.method)}, not with a pre-shared key`
    if (settings.psk === undefined) return `no pre-shared key is configured (${at}.psk)`
    const fits = octets.some(o => equalBytes(auth.data, mac(sa, settings, octetsOf(sa, 'peer', o, id))))
    if (!fits) return `the peer's AUTH does not verify: the pre-shared keys differ (${at}.psk)`
    sa.proof.peer = PSK
    return undefined
  }
  if (remote.type === 'eap') return `the peer ${methodWords(auth.method)}, not with EAP (${at}.auth)`
  if (auth.method === AuthMethod.SHARED_KEY_MIC)
    return `the peer authenticates with a pre-shared key, not with a ${remote.type === 'raw' ? 'public key' : 'certificate'} (${at}.auth)`
  const judgement = sa.host.credentials(settings).trust!.judge(presentedBy(payloads), identity, sa.host.wall(now))
  if (!judgement.ok) return `${judgement.why} (${at}.trust)`
  const { key } = judgement
  const signed = readSignature(auth, key.keyType, settings.auth?.signatures)
  if (typeof signed === 'string') return `${signed} (${at})`
  const { scheme, form, signature } = signed
  if (!octets.some(o => key.verify(scheme, form, octetsOf(sa, 'peer', o, id), signature)))
    return `the signature of ${showIdentity(identity)} does not verify with ${key.description}`
  sa.proof.peer = `${scheme}, ${key.description}`
  if (judgement.until !== undefined) sa.proof.until = judgement.until
  return undefined
}

/** AUTH by the key that EAP has made, RFC 7296 §2.16. */
export const eapAuth = (
  sa: IkeSa,
  side: 'own' | 'peer',
  octets: InitOctets,
  id: Identification,
  msk: Uint8Array,
): PayloadOf<'AUTH'> => ({
  type: 'AUTH',
  method: AuthMethod.SHARED_KEY_MIC,
  data: pskAuth(sa.crypto, sa.channel!.suite.prf, msk, octetsOf(sa, side, octets, id)),
})

/** AUTH of a session that is resumed, RFC 5723 §5.1: SK_pi or SK_pr alone is the key, what it covers is that of RFC 7296 §2.15. */
function sessionAuth(sa: IkeSa, side: 'own' | 'peer', octets: InitOctets, id: Identification): PayloadOf<'AUTH'> {
  const { suite, keys } = sa.channel!
  const key = (side === 'own') === sa.initiator ? keys.pi : keys.pr
  const data = sa.crypto.prf(suite.prf, key, octetsOf(sa, side, octets, id))
  return { type: 'AUTH', method: AuthMethod.SHARED_KEY_MIC, data }
}

const methodWords = (method: number): string =>
  method === AuthMethod.SHARED_KEY_MIC
    ? 'authenticates with a pre-shared key'
    : `authenticates with a signature (method ${method})`
