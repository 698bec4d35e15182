import type { Credentials } from './contracts/credentials.ts'
import type { EapMethod } from './contracts/eap.ts'
import type { PeerSettings, Settings } from './contracts/settings.ts'
import { ConfigError } from './errors.ts'
import type { PeerCredentials } from './ike/credentials.ts'
import { sameIdentity, showIdentity } from './ike/identity.ts'

/**
 * Opens the keys and certificates of all peers, before anything is started.
 *
 * @returns by the peer's name
 * @throws ConfigError naming the place
 */
export function resolveCredentials(
  settings: Settings,
  providers: readonly Credentials[],
  methods: readonly EapMethod[] = [],
): ReadonlyMap<string, PeerCredentials> {
  const peers = Object.values(settings.peers)
  return new Map(
    peers.map(peer => [peer.name, { ...credentialsOf(peer, providers), ...eapOf(peer, providers, methods) }]),
  )
}

function credentialsOf({ name, auth, psk, localId }: PeerSettings, providers: readonly Credentials[]): PeerCredentials {
  const [local, remote] = [auth?.local, auth?.remote]
  if (psk === undefined && (local === undefined || local.type === 'psk' || remote?.type === 'psk'))
    throw new ConfigError(`peers.${name}.psk`, 'is missing; it is what this peer is to be authenticated by')
  const signer = local?.type === 'signature' ? first(`peers.${name}.key`, providers, p => p.signer(local)) : undefined
  // peers hold the identity against the certificate: better said now than as their refusal
  if (signer !== undefined && signer.certificates.length > 0 && !signer.identities.some(i => sameIdentity(i, localId)))
    throw new ConfigError(
      `peers.${name}.localId`,
      `${showIdentity(localId)} is not in the certificate of ${signer.description}, which names ${signer.identities.map(showIdentity).join(', ') || 'nobody'}; give one of these (or local.id)`,
    )
  return {
    ...(signer !== undefined && { signer }),
    ...((remote?.type === 'certificate' || remote?.type === 'raw') && {
      trust: first(`peers.${name}.trust`, providers, p => p.trust(remote)),
    }),
  }
}

function eapOf(
  { name, auth }: PeerSettings,
  providers: readonly Credentials[],
  methods: readonly EapMethod[],
): PeerCredentials {
  if (auth?.eap === undefined) return {}
  const { method, user, users, trust } = auth.eap
  const at = `peers.${name}.auth`
  const eap = methods.find(known => known.name === method)
  if (eap === undefined)
    throw new ConfigError(
      at,
      `no plugin for eap-${method} is loaded; loaded: ${methods.map(m => `eap-${m.name}`).join(', ') || 'none'}`,
    )
  if (auth.local.type === 'eap' && auth.remote.type === 'eap' && !eap.mutual)
    throw new ConfigError(
      at,
      `eap-${method} does not prove the gateway safely enough to stand alone (RFC 5998 §4): local: eap-${method}, remote: certificate`,
    )
  if (auth.local.type === 'eap' && user === undefined && users === undefined)
    throw new ConfigError(`peers.${name}.eap`, `is missing; eap-${method} needs { user: NAME, password: … }`)
  return { eap, ...(trust !== undefined && { eapTrust: first(`peers.${name}.trust`, providers, p => p.trust(trust)) }) }
}

/** What the first provider that serves it gives. @throws ConfigError at `at` */
function first<T>(at: string, providers: readonly Credentials[], ask: (provider: Credentials) => T | undefined): T {
  for (const provider of providers) {
    let found: T | undefined
    try {
      found = ask(provider)
    } catch (error) {
      throw new ConfigError(at, (error as Error).message, { cause: error })
    }
    if (found !== undefined) return found
  }
  throw new ConfigError(
    at,
    providers.length === 0 ? 'no plugin for certificates and keys is loaded; add x509' : 'no loaded plugin knows it',
  )
}
