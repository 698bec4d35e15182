import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { SystemError, UsageError } from '../../errors.ts'
import { guarded } from '../output.ts'
import { type NodeFiles, nodeFiles } from './pki.ts'

export interface InitFlags {
  readonly auth: 'psk' | 'certificate'
  readonly id?: string
  readonly peer?: string
  readonly network: string
  readonly dir: string
  readonly force: boolean
  readonly json: boolean
}

const STARTER = `# natweave configuration; natweave check says whether it is right.
# Secrets may stand here because this file is readable for its owner only (mode 600).

# Who this host is, to every peer that does not say otherwise.
# local:
#   id: alice@example.org

peers:
  # A gateway to connect to. Give it any name; commands use it: natweave connect gateway
  gateway:
    remote: gw.example.org          # name or address; append :port where it is not 500
    remoteId: gw.example.org        # who it must prove to be
    psk: { env: GATEWAY_PSK }       # or { file: ./gateway.psk }, or the text itself
    addresses: [ipv4]               # ask for a virtual address
    # proposals: [aes256gcm16-prfsha256-x25519]
    # encapsulation: auto           # force: ESP in UDP even where no NAT is seen
    # start: connect                # connect as soon as natweave is up
    # dpd: 30s
    children:
      lan:
        remote: [10.3.0.0/24]       # what lies behind the gateway; 0.0.0.0/0 for everything
        # proposals: [aes128gcm16-x25519]
        # rekey: 1h

  # Clients that call in, for a gateway:
  # clients:
  #   remoteId: "*@example.org"
  #   psk: { env: CLIENT_PSK }
  #   pool: clients
  #   children:
  #     lan: { local: [10.3.0.0/24] }

# pools:
#   clients: { addresses: 10.9.0.0/24, dns: [10.3.0.53] }
`

const quoted = (text: string): string => (/^[a-z][\w.@-]*$/i.test(text) ? text : JSON.stringify(text))

/** A gateway that takes whoever its CA vouches for, or with `peer` a client of one. */
function withCertificates(
  { id = '', peer, network }: InitFlags,
  { certificate, key, ca }: Pick<NodeFiles, 'certificate' | 'key' | 'ca'>,
): string {
  const head = `# natweave configuration; natweave check says whether it is right.

local:
  id: ${quoted(id)}                 # the certificate names it
  certificate: { file: ${quoted(certificate)} }
  key: { file: ${quoted(key)} }
trust:
  ca: { file: ${quoted(ca)} }       # whom to believe

peers:
`
  if (peer !== undefined)
    return `${head}  gateway:
    remote: ${quoted(peer)}         # name or address
    remoteId: ${quoted(peer)}       # what its certificate must say
    addresses: [ipv4]               # ask for a virtual address
    start: connect                  # and stay connected
    children:
      lan: { remote: [${network}] } # what lies behind the gateway
`
  return `${head}  clients:
    remoteId: any                   # whoever the CA vouches for; or a pattern: "*@example.org"
    pool: clients
    children:
      lan: { local: [${network}] }  # what they may reach

pools:
  clients: { addresses: 10.9.0.0/24 }
`
}

interface Written {
  readonly text: string
  /** Certificates and keys that were made for it. */
  readonly made: readonly string[]
}

async function starter(flags: InitFlags, path: string): Promise<Written> {
  const { auth, id, peer, dir } = flags
  if (auth === 'psk') {
    if (id !== undefined || peer !== undefined)
      throw new UsageError('USAGE_FLAGS', '--id and --peer go with --auth certificate')
    return { text: STARTER, made: [] }
  }
  if (id === undefined)
    throw new UsageError(
      'USAGE_FLAGS',
      '--auth certificate wants --id, who this host is: gw.example.org, alice@example.org; a client also --peer, its gateway',
    )
  const { made, ...files } = await nodeFiles(dir, id, peer === undefined)
  const local = (file: string): string => relative(dirname(path), resolve(file))
  const { certificate, key, ca } = files
  return { text: withCertificates(flags, { certificate: local(certificate), key: local(key), ca: local(ca) }), made }
}

/** Writes a configuration to start from, with the certificates that it needs. */
export default async function init(this: unknown, flags: InitFlags, file = 'natweave.config.yaml'): Promise<void> {
  await guarded(flags.json, async out => {
    const path = resolve(file)
    if (existsSync(path) && !flags.force) throw new UsageError('USAGE_EXISTS', `${path} exists; --force overwrites it`)
    const { text, made } = await starter(flags, path)
    try {
      // first closed to others, then filled: an older file keeps its mode
      writeFileSync(path, '', { mode: 0o600 })
      chmodSync(path, 0o600)
      writeFileSync(path, text)
    } catch (error) {
      throw new SystemError('SYSTEM_PERMISSION', `${path} cannot be written: ${(error as Error).message}`)
    }
    if (flags.json) return out.json({ file: path, ...(made.length > 0 && { made }) })
    for (const name of made) out.line(`made ${name}`)
    const edit = flags.auth === 'psk' ? 'edit it, then: ' : ''
    out.line(`wrote ${path}; ${edit}natweave check && natweave up`)
    if (flags.auth === 'certificate' && flags.peer === undefined)
      out.line('for each client: natweave pki issue alice@example.org, and bring it the three files named there')
  })
}
