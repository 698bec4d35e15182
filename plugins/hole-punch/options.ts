import type { PeerSettings } from '../../core/contracts/settings.ts'
import { ConfigError } from '../../core/errors.ts'
import { parseAddress } from '../../core/wire/index.ts'

export interface HolePunchOptions {
  /** Shared by all members and the server; at least 16 characters. */
  readonly secret: string
  /** The rendezvous server, `HOST[:PORT]`, port 4500 unless told otherwise; absent: none is asked. */
  readonly server?: string
  /** Under which this host registers; needed with `server`. */
  readonly name?: string
  /** True: this host is the server of others. */
  readonly serve?: boolean
}

export interface HolePunchSettings {
  readonly secret: string
  readonly server: { readonly host: string; readonly port: number } | undefined
  readonly name: string
  readonly serve: boolean
}

const LEAST_SECRET = 16
const NATT_PORT = 4500

/** @throws ConfigError naming the option */
export function parseOptions(options: Partial<HolePunchOptions>): HolePunchSettings {
  const names = ['secret', 'server', 'name', 'serve']
  for (const key of Object.keys(options))
    if (!names.includes(key)) throw new ConfigError(key, `no such option; there are ${names.join(', ')}`)
  const { secret, server, name = '', serve = false } = options
  if (typeof secret !== 'string' || secret.length < LEAST_SECRET)
    throw new ConfigError('secret', `a secret of at least ${LEAST_SECRET} characters is wanted`)
  if (typeof serve !== 'boolean') throw new ConfigError('serve', 'true or false is wanted')
  if (server === undefined && !serve)
    throw new ConfigError('server', 'neither a server to ask nor serve, to be one: nothing to do')
  if (server !== undefined) checkName('name', name)
  return { secret, server: server === undefined ? undefined : parseServer(server), name, serve }
}

function parseServer(text: unknown): { host: string; port: number } {
  const whole = typeof text === 'string' ? text : ''
  if (parseAddress(whole)?.length === 16) return { host: whole, port: NATT_PORT }
  const [, host = '', port] = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i.exec(whole) ?? []
  const number = port === undefined ? NATT_PORT : Number(port)
  if (host === '' || number < 1 || number > 65_535)
    throw new ConfigError('server', `"${text}": HOST or HOST:PORT is wanted`)
  return { host: host.replace(/^\[|\]$/g, ''), port: number }
}

function checkName(at: string, name: unknown): void {
  if (typeof name !== 'string' || name === '' || name.length > 100 || /\p{Cc}/u.test(name))
    throw new ConfigError(at, 'a name of at most 100 characters is wanted, under which members are known')
}

/** Names at the server by names of peers. @throws ConfigError with the path of what is wrong */
export function parsePeers(peers: readonly PeerSettings[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const { name, options } of peers) {
    const own = options?.['hole-punch']
    if (own === undefined) continue
    const at = `peers.${name}.options.hole-punch`
    if (typeof own !== 'object' || own === null || Array.isArray(own))
      throw new ConfigError(at, 'options with names are wanted, such as { name: bob }')
    for (const key of Object.keys(own))
      if (key !== 'name') throw new ConfigError(`${at}.${key}`, 'no such option; there is name')
    const { name: theirs } = own as { readonly name?: unknown }
    checkName(`${at}.name`, theirs)
    found.set(name, theirs as string)
  }
  return found
}
