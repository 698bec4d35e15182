import type { AuthSettings, EapSettings, LocalAuth, RemoteAuth } from '../contracts/settings.ts'
import type { KeyInput, MaterialInput, SecretInput, SoundParts } from './schema.ts'

/** How a peer and this host prove who they are: what a configuration says of it, and what is missing for it. */

type SoundPeer = NonNullable<SoundParts['peers'][string]>

export interface AuthSources {
  /** The octets of a secret; problems with it go to the peer's key `at`. */
  readonly octets: (secret: SecretInput, at: string) => Uint8Array
  readonly readFile: (path: string, kind?: 'public') => Uint8Array
  /** @param at - key below the peer, such as `trust.ca` */
  readonly fail: (at: string, problem: string) => void
}

/** @returns undefined where both sides have a pre-shared key, or `fail` has been told why not */
export function resolveAuth(
  peer: SoundPeer,
  { local, trust }: Pick<SoundParts, 'local' | 'trust'>,
  sources: AuthSources,
): AuthSettings | undefined {
  const { fail } = sources
  const certificate = peer.certificate ?? local.certificate
  const key = peer.key ?? local.key
  const usual =
    peer.psk !== undefined ? 'psk' : certificate !== undefined ? 'certificate' : key !== undefined ? 'raw' : 'psk'
  const { auth = usual } = peer
  const methods = typeof auth === 'string' ? { local: auth, remote: auth } : auth
  if ((methods.local === 'psk' || methods.remote === 'psk') && peer.psk === undefined)
    fail('psk', 'is missing; give the key that both sides share, or `certificate` and `key` (natweave pki makes them)')
  if (methods.local === 'psk' && methods.remote === 'psk') return undefined

  const believed = { ...trust, ...peer.trust }
  const ownSide = (): LocalAuth | undefined => {
    if (methods.local === 'psk') return { type: 'psk' }
    if (methods.local.startsWith(EAP)) return { type: 'eap' }
    const certificates = methods.local === 'raw' ? [] : files(certificate, 'certificate', sources)
    if (key === undefined) return missing('key', `auth ${methods.local} needs the private key of this host`)
    if (methods.local === 'certificate' && certificates.length === 0)
      return missing('certificate', 'auth certificate needs the certificate of this host')
    return { type: 'signature', certificates, key: privateKey(key, sources) }
  }
  const peersSide = (): RemoteAuth | undefined => {
    if (methods.remote === 'psk') return { type: 'psk' }
    if (methods.remote.startsWith(EAP)) return { type: 'eap' }
    if (methods.remote === 'raw') {
      const keys = files(believed.keys, 'trust.keys', sources)
      return keys.length > 0
        ? { type: 'raw', keys }
        : missing('trust.keys', 'auth raw needs the public key of the peer')
    }
    return byCertificate()
  }
  const byCertificate = (): RemoteAuth | undefined => {
    const ca = files(believed.ca, 'trust.ca', sources)
    const { revocation = 'relaxed' } = believed
    if (ca.length === 0) return missing('trust.ca', 'certificates need a CA that is believed')
    return { type: 'certificate', ca, crls: files(believed.crl, 'trust.crl', sources), revocation }
  }
  const missing = (at: string, problem: string): undefined => {
    fail(at, `is missing; ${problem}`)
    return undefined
  }
  const [own, theirs] = [ownSide(), peersSide()]
  if (own === undefined || theirs === undefined) return undefined
  const certificates = () => files(certificate, 'certificate', sources)
  const eap = resolveEap(
    { ...peer, localId: peer.localId ?? local.id },
    methods,
    { certificates, key, trust: byCertificate },
    sources,
  )
  return {
    local: own,
    remote: theirs,
    ...(eap !== undefined && { eap }),
    ...(peer.signatures !== undefined && { signatures: peer.signatures }),
  }
}

/** What EAP needs: name and password of a client, those of a gateway's users, or key, certificate and CA. */
function resolveEap(
  peer: SoundPeer,
  methods: { readonly local: string; readonly remote: string },
  own: {
    readonly certificates: () => Uint8Array[]
    readonly key: KeyInput | undefined
    readonly trust: () => RemoteAuth | undefined
  },
  sources: AuthSources,
): EapSettings | undefined {
  const { octets, fail } = sources
  const { eap: { user, password, users } = {}, remote, ppk, localId } = peer
  const [one, other] = [methods.local, methods.remote].filter(m => m.startsWith(EAP))
  if (one === undefined) return undefined
  if (other !== undefined && other !== one) fail('auth', `both sides speak one EAP method, not ${one} and ${other}`)
  if (ppk !== undefined) fail('ppk', 'is not supported together with EAP')
  const method = one.slice(EAP.length)
  if (method === 'tls') {
    const trust = own.trust()
    if (own.key === undefined || trust?.type !== 'certificate') {
      if (own.key === undefined) fail('key', `is missing; ${one} needs the private key of this host`)
      return undefined
    }
    const key = { certificates: own.certificates(), key: privateKey(own.key, sources) }
    const name = user ?? (localId === undefined ? undefined : localId.value)
    return { method, key, trust, user: { name: name ?? '', password: new Uint8Array(0) } }
  }
  if (methods.local.startsWith(EAP) && remote !== undefined && (user === undefined || password === undefined))
    fail('eap', `is missing; ${one} needs { user: NAME, password: … } of this host`)
  if (remote === undefined && Object.keys(users ?? {}).length === 0)
    fail('eap.users', `is missing; ${one} needs { NAME: password, … } of those who call`)
  return {
    method,
    ...(user !== undefined && {
      user: { name: user, password: password === undefined ? new Uint8Array(0) : octets(password, 'eap.password') },
    }),
    ...(users !== undefined && {
      users: new Map(Object.entries(users).map(([name, secret]) => [name, octets(secret, `eap.users.${name}`)])),
    }),
  }
}

const EAP = 'eap-'

function files(given: MaterialInput | undefined, at: string, { readFile, fail }: AuthSources): Uint8Array[] {
  const list = given === undefined ? [] : Array.isArray(given) ? given : [given]
  return list.flatMap((one, i) => {
    if (typeof one === 'string') return [new TextEncoder().encode(one)]
    try {
      return [readFile(one.file, 'public')]
    } catch (error) {
      fail(Array.isArray(given) ? `${at}[${i}]` : at, (error as Error).message)
      return []
    }
  })
}

/** DER may end in what looks like a newline, so files are taken as they are. */
function privateKey(key: KeyInput, { octets, readFile, fail }: AuthSources): Uint8Array | string {
  if (typeof key === 'string') return octets(key, 'key')
  if ('uri' in key) return key.uri
  if (!('file' in key)) return octets(key, 'key')
  try {
    return readFile(key.file)
  } catch (error) {
    fail('key', (error as Error).message)
    return new Uint8Array(0)
  }
}
