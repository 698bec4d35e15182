import { basename, extname } from 'node:path'
import { identityPattern, ownIdentity } from '../values.ts'
import type { Secrets } from './secrets.ts'
import { type Folders, isNo, isYes, type Note, type Section, splitList, type Value } from './tree.ts'

/** Who both ends are and how they prove it: `local` and `remote` sections of a connection. */
export class Authentication {
  readonly #connection: Section
  readonly #local: Section | undefined
  readonly #remote: Section | undefined
  readonly #secrets: Secrets
  readonly #folders: Folders
  readonly #note: (value: Value | undefined, kind: Note['kind'], why?: string) => void
  readonly #methods: { readonly local: string; readonly remote: string }
  /** Why natweave cannot do it at all. */
  readonly refusal: string | undefined

  constructor(
    connection: Section,
    secrets: Secrets,
    folders: Folders,
    note: (value: Value | undefined, kind: Note['kind'], why?: string) => void,
  ) {
    this.#connection = connection
    this.#secrets = secrets
    this.#folders = folders
    this.#note = note
    const [locals, remotes] = [connection.sectionsLike('local'), connection.sectionsLike('remote')]
    this.#local = locals[0]
    this.#remote = remotes[0]
    const auth = (section: Section | undefined) => section?.take('auth')?.text ?? 'pubkey'
    this.#methods = { local: auth(this.#local), remote: auth(this.#remote) }
    this.refusal =
      locals.length > 1 || remotes.length > 1
        ? 'several rounds of authentication are not supported'
        : (Object.values(this.#methods)
            .filter(
              each => each !== 'psk' && !EAP.includes(each) && !/^(pubkey|rsa|ecdsa|ed25519|ed448|ike:)/.test(each),
            )
            .map(each => `authentication ${each} is not supported`)[0] ??
          (EAP.includes(this.#methods.local) &&
          EAP.includes(this.#methods.remote) &&
          this.#methods.local !== this.#methods.remote
            ? 'two methods of EAP are not supported'
            : undefined))
  }

  settings(): Record<string, unknown> {
    const [localId, remoteId] = [this.#id(this.#local, 'local'), this.#id(this.#remote, 'remote')]
    const settings: Record<string, unknown> = {
      ...(localId !== undefined && { localId }),
      ...(remoteId !== undefined && { remoteId }),
    }
    const { local, remote } = this.#methods
    const [own, theirs] = [method(local), method(remote)]
    if (own !== theirs) settings['auth'] = { local: own, remote: theirs }
    else if (EAP.includes(own)) settings['auth'] = own
    if (own === 'psk' || theirs === 'psk') settings['psk'] = this.#psk(localId, remoteId)
    const tls = own === TLS || theirs === TLS
    if (own === 'certificate' || tls) Object.assign(settings, this.#ownCertificate())
    if (theirs === 'certificate' || tls) Object.assign(settings, this.#trust())
    if (tls) this.#tlsNames(own, localId)
    if (own === PASSWORD) settings['eap'] = this.#user(localId)
    if (theirs === PASSWORD) {
      settings['eap'] = { users: this.#secrets.passwords() }
      const asked = this.#remote?.take('eap_id')
      if (asked?.text !== '%any') this.#note(asked, 'dropped', 'whoever has a password in `eap.users` may come in')
    }
    return { ...settings, ...this.#ppk() }
  }

  #id(section: Section | undefined, side: 'local' | 'remote'): string | undefined {
    const value = section?.take('id')
    const address = this.#connection.values.get(side === 'local' ? 'local_addrs' : 'remote_addrs')?.text
    if (value === undefined) {
      // strongSwan takes the address or the certificate's subject; only the peer's needs a word here
      const { at, name } = this.#connection
      if (side === 'local' && this.#methods.local === 'psk')
        this.#note(
          { text: '{ … }', at, name },
          'changed',
          'without local.id strongSwan says its address, natweave the name of the host; write `localId`',
        )
      if (side === 'local') return undefined
      return address === undefined || address.startsWith('%any') ? 'any' : undefined
    }
    try {
      if (side === 'local') ownIdentity(value.text)
      else identityPattern(value.text)
      return value.text
    } catch (error) {
      this.#note(value, 'dropped', (error as Error).message)
      return side === 'local' ? undefined : 'any'
    }
  }

  #psk(localId: string | undefined, remoteId: string | undefined): unknown {
    const found = this.#secrets.psk(localId, remoteId === 'any' ? undefined : remoteId)
    if (found !== undefined) return found
    const { at, name } = this.#connection
    const variable = `${name
      .replace(/^connections\./, '')
      .replace(/[^a-z0-9]/gi, '_')
      .toUpperCase()}_PSK`
    this.#note(
      { text: '{ … }', at, name },
      'changed',
      `no secret was found for it: give it in the environment variable ${variable}`,
    )
    return { env: variable }
  }

  /** In natweave the certificate that EAP-TLS shows has to name the IKE identity; strongSwan may go by another one. */
  #tlsNames(own: string, localId: string | undefined): void {
    const mine = own === TLS ? this.#local?.take('eap_id') : undefined
    if (mine !== undefined && mine.text !== localId)
      this.#note(mine, 'changed', 'in EAP-TLS natweave says `localId`, which its certificate has to name')
    const asked = this.#remote?.take('eap_id')
    if (asked !== undefined && asked.text !== '%any')
      this.#note(asked, 'dropped', 'whom EAP-TLS has proved is measured by `remoteId`')
    this.#note(
      this.#remote?.take('aaa_id'),
      'dropped',
      'the server of EAP-TLS is the gateway, and measured by `remoteId`',
    )
  }

  #user(localId: string | undefined): Record<string, unknown> {
    const value = this.#local?.take('eap_id')
    const user = value?.text ?? localId
    const password = user === undefined ? undefined : this.#secrets.passwords()[user]
    if (password === undefined) {
      const { at, name } = this.#connection
      this.#note(
        value ?? { text: '{ … }', at, name },
        'changed',
        'no secret was found for it: give it as `eap.password`',
      )
    }
    return { user: user ?? '', ...(password !== undefined && { password }) }
  }

  #ownCertificate(): Record<string, unknown> {
    const value = this.#local?.take('certs')
    const inline = (this.#local?.sectionsLike('cert') ?? []).flatMap(each => each.take('file') ?? [])
    const names = [...splitList(value?.text ?? ''), ...inline.map(({ text }) => text)]
    const keys = this.#local?.take('pubkeys')
    this.#note(keys, 'dropped', 'give the private key as `key` and set `auth: raw`')
    if (names.length === 0) return {}
    const files = names.map(file => ({ file: this.#folders.path('x509', file) }))
    return { certificate: files.length === 1 ? files[0] : files, ...this.#privateKey(names[0]!, value ?? inline[0]!) }
  }

  /** strongSwan tries all keys that it has; natweave wants one named. */
  #privateKey(certificate: string, value: Value): Record<string, unknown> {
    const stem = basename(certificate, extname(certificate)).replace(/-?cert$/i, '')
    const known = [...this.#secrets.privateKeys, ...KEY_FOLDERS.flatMap(folder => this.#folders.list(folder))]
    const found = known.find(file => basename(file).startsWith(stem)) ?? (known.length === 1 ? known[0] : undefined)
    if (found === undefined)
      this.#note(value, 'changed', 'strongSwan finds the private key by itself; name it as `key: { file: … }`')
    return found === undefined ? {} : { key: { file: this.#folders.path('private', found) } }
  }

  #trust(): Record<string, unknown> {
    const own = ['certs', 'cacerts'].flatMap(
      key => this.#remote?.list(key).map(file => this.#folders.path(key === 'certs' ? 'x509' : 'x509ca', file)) ?? [],
    )
    const inline = (this.#remote?.sectionsLike('cacert') ?? []).flatMap(each => each.take('file')?.text ?? [])
    const named = [...own, ...inline.map(file => this.#folders.path('x509ca', file))]
    const ca = named.length > 0 ? named : this.#folders.list('x509ca')
    const crl = this.#folders.list('x509crl')
    const revocation = this.#remote?.take('revocation')
    this.#note(this.#remote?.take('pubkeys'), 'dropped', 'public keys go to `trust.keys`, with `auth: raw`')
    if (ca.length === 0) {
      const { at, name } = this.#connection
      this.#note(
        { text: '{ … }', at, name },
        'changed',
        'no certificate of a CA was found: name it as `trust: { ca: { file: … } }`',
      )
    }
    return {
      trust: {
        ca: ca.map(file => ({ file })),
        ...(crl.length > 0 && { crl: crl.map(file => ({ file })) }),
        ...(revocation?.text === 'strict' && { revocation: 'strict' }),
      },
    }
  }

  #ppk(): Record<string, unknown> {
    const id = this.#connection.take('ppk_id')
    const required = this.#connection.take('ppk_required')
    if (id === undefined && !isYes(required?.text)) return {}
    const found = this.#secrets.ppks(id?.text)
    if (found.length === 0) {
      this.#note(id ?? required, 'dropped', 'there is no secret for it')
      return {}
    }
    const keys = Object.fromEntries(found.map(each => [each.id, each.secret]))
    return { ppk: { keys, required: !(required === undefined || isNo(required.text)) } }
  }
}

const PASSWORD = 'eap-mschapv2'
const TLS = 'eap-tls'
const EAP: readonly string[] = [PASSWORD, TLS]

const method = (auth: string): string => (auth === 'psk' || EAP.includes(auth) ? auth : 'certificate')

const KEY_FOLDERS = ['private', 'rsa', 'ecdsa', 'pkcs8'] as const
