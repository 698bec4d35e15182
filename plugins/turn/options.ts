import { ConfigError } from '../../core/errors.ts'
import { type AddressPrefix, parsePrefix, STUN_PORT, STUNS_PORT } from '../../core/wire/index.ts'
import type { Account } from './credentials.ts'

export interface TurnServerOptions extends Account {
  /** RFC 7065: `turn:HOST[:PORT][?transport=udp|tcp]`, or `turns:HOST[:PORT]` for TLS. */
  readonly url: string
  /** Relayed addresses to ask for; default `[ipv4]`. */
  readonly families?: readonly ('ipv4' | 'ipv6')[]
  /** TLS: PEM text of the authorities that are believed, in place of the system's. */
  readonly ca?: string
  /** TLS: the name in the certificate, where it is not the host's of the url. */
  readonly serverName?: string
}

/** This host as a relay for others. */
export interface ServeOptions {
  /** Shown to clients, part of their keys; default `natweave`. */
  readonly realm?: string
  /** Passwords by user names. */
  readonly users: Readonly<Record<string, string>>
  /**
   * The address that peers see, where this host itself has a private one that is translated one to one; default: the local
   * address that the client has reached.
   */
  readonly external?: string
  /** Private addresses and prefixes that may be relayed to beside public ones. */
  readonly allow?: readonly string[]
  /** Public addresses and prefixes that may not. */
  readonly deny?: readonly string[]
  /** Allocations at once: of one user, default 10; of all, default 100. */
  readonly perUser?: number
  readonly total?: number
}

export interface TurnOptions {
  readonly servers?: readonly TurnServerOptions[]
  /** How often a server reached over UDP is asked whether all is well, which also keeps a NAT's mapping, ms; default 20 000. */
  readonly refreshMs?: number
  readonly serve?: ServeOptions
}

/** One server after parsing. */
export interface ServerSettings {
  /** As configured, for messages. */
  readonly url: string
  readonly host: string
  readonly port: number
  readonly transport: 'udp' | 'tcp' | 'tls'
  readonly account: Account
  readonly families: readonly (4 | 6)[]
  readonly ca: string | undefined
  readonly serverName: string
}

export interface ServeSettings {
  readonly realm: string
  readonly users: ReadonlyMap<string, string>
  readonly external: string | undefined
  readonly allow: readonly AddressPrefix[]
  readonly deny: readonly AddressPrefix[]
  readonly perUser: number
  readonly total: number
}

export interface TurnSettings {
  readonly servers: readonly ServerSettings[]
  readonly refreshMs: number
  readonly serve: ServeSettings | undefined
}

const MAX_SERVERS = 4
/** More sockets than this a host may not have. */
const MAX_ALLOCATIONS = 10_000

/** @throws ConfigError naming the option */
export function parseOptions(options: TurnOptions): TurnSettings {
  known('', options, ['servers', 'refreshMs', 'serve'])
  const { servers = [], refreshMs = 20_000, serve } = options
  if (!Array.isArray(servers) || servers.length > MAX_SERVERS)
    throw new ConfigError('servers', `a list of at most ${MAX_SERVERS} servers is wanted`)
  if (servers.length === 0 && serve === undefined)
    throw new ConfigError('servers', 'neither servers to ask for a relay nor serve, to be one: nothing to do')
  whole('refreshMs', refreshMs, 1_000, 540_000)
  return {
    servers: servers.map((server: TurnServerOptions, i) => parseServer(`servers[${i}]`, server)),
    refreshMs,
    serve: serve === undefined ? undefined : parseServe(serve),
  }
}

function parseServer(at: string, server: TurnServerOptions): ServerSettings {
  record(at, server)
  known(`${at}.`, server, ['url', 'username', 'password', 'families', 'ca', 'serverName'])
  const { url, username, password, families = ['ipv4'], ca, serverName } = server
  const parsed = parseUrl(`${at}.url`, url)
  text(`${at}.username`, username)
  text(`${at}.password`, password)
  if (!Array.isArray(families) || families.length === 0 || families.some(f => f !== 'ipv4' && f !== 'ipv6'))
    throw new ConfigError(`${at}.families`, 'a list of ipv4 and ipv6 is wanted')
  if ((ca !== undefined || serverName !== undefined) && parsed.transport !== 'tls')
    throw new ConfigError(`${at}.${ca !== undefined ? 'ca' : 'serverName'}`, `of no use without TLS: ${url}`)
  return {
    url,
    ...parsed,
    account: { username, password },
    families: [...new Set(families.map(f => (f === 'ipv4' ? 4 : 6)))].sort() as (4 | 6)[],
    ca,
    serverName: serverName ?? parsed.host,
  }
}

const URL = /^(turns?):(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?(?:\?transport=(\w+))?$/i

function parseUrl(at: string, url: unknown): Pick<ServerSettings, 'host' | 'port' | 'transport'> {
  const [, scheme = '', host = '', port, transport] = URL.exec(typeof url === 'string' ? url : '') ?? []
  if (host === '')
    throw new ConfigError(at, `"${url}": turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT] is wanted`)
  const secure = scheme.toLowerCase() === 'turns'
  const over = transport ?? (secure ? 'tcp' : 'udp')
  if (over !== 'udp' && over !== 'tcp') throw new ConfigError(at, `"${url}": there are the transports udp and tcp`)
  if (secure && over === 'udp') throw new ConfigError(at, `"${url}": TURN over DTLS is not supported; use TLS`)
  const number = port === undefined ? (secure ? STUNS_PORT : STUN_PORT) : Number(port)
  if (number < 1 || number > 65_535) throw new ConfigError(at, `"${url}": port ${port}`)
  return { host: host.replace(/^\[|\]$/g, ''), port: number, transport: secure ? 'tls' : over }
}

function parseServe(serve: ServeOptions): ServeSettings {
  record('serve', serve)
  known('serve.', serve, ['realm', 'users', 'external', 'allow', 'deny', 'perUser', 'total'])
  const { realm = 'natweave', users, external, allow = [], deny = [], perUser = 10, total = 100 } = serve
  text('serve.realm', realm)
  record('serve.users', users)
  const accounts = Object.entries(users)
  if (accounts.length === 0)
    throw new ConfigError('serve.users', 'at least one user is wanted: a relay for everybody would be abused')
  for (const [name, password] of accounts) text(`serve.users.${name}`, password)
  whole('serve.perUser', perUser, 1, MAX_ALLOCATIONS)
  whole('serve.total', total, 1, MAX_ALLOCATIONS)
  return {
    realm,
    users: new Map(accounts),
    external: external === undefined ? undefined : prefix('serve.external', external, true).address,
    allow: allow.map((p, i) => prefix(`serve.allow[${i}]`, p)),
    deny: deny.map((p, i) => prefix(`serve.deny[${i}]`, p)),
    perUser,
    total,
  }
}

function prefix(at: string, value: string, single = false): AddressPrefix {
  const found = typeof value === 'string' ? parsePrefix(value) : undefined
  if (found === undefined || (single && value.includes('/')))
    throw new ConfigError(at, `"${value}": an address${single ? '' : ' or prefix such as 10.0.0.0/8'} is wanted`)
  return found
}

function record(at: string, value: unknown): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ConfigError(at, 'options with names are wanted')
}

function known(at: string, value: object, names: readonly string[]): void {
  for (const name of Object.keys(value))
    if (!names.includes(name)) throw new ConfigError(`${at}${name}`, `no such option; there are ${names.join(', ')}`)
}

function text(at: string, value: unknown): void {
  if (typeof value !== 'string' || value === '' || value.length > 500 || /\p{Cc}/u.test(value))
    throw new ConfigError(at, 'text without control characters is wanted')
}

function whole(at: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
    throw new ConfigError(at, `a whole number from ${least} to ${most} is wanted`)
}
