import type { z } from 'zod'
import type { ChildSettings, PeerSettings, Settings } from '../contracts/settings.ts'
import { ConfigError } from '../errors.ts'
import { suggestion } from '../nearest.ts'
import { type ConfigInput, configSchema, defaultIdentity, type ParsedConfig, type SecretInput, schema } from './schema.ts'

/** Where secrets come from; injected, so that parsing itself touches nothing. */
export interface SecretSources {
  readonly env: Readonly<Record<string, string | undefined>>
  /** @throws Error when it cannot be read or is readable for others */
  readonly readFile: (path: string) => Uint8Array
}

export interface PluginReference {
  readonly use: string
  readonly options: Readonly<Record<string, unknown>>
  /** `plugins[2]` */
  readonly at: string
}

/** A configuration, ready to be run. */
export interface Config {
  readonly settings: Settings
  /** undefined: the usual set. */
  readonly plugins: readonly PluginReference[] | undefined
  readonly listen: ParsedConfig['listen']
  readonly device: ParsedConfig['device']
  readonly log: ParsedConfig['log']
  /** True when a secret stands in the configuration itself. */
  readonly inlineSecrets: boolean
}

/** Type help for configurations written in TypeScript or JavaScript; gives back what it gets. */
export const defineConfig = (config: ConfigInput): ConfigInput => config

/** Several problems at once, one a line. */
export class ConfigErrors extends ConfigError {
  readonly problems: readonly ConfigError[]

  constructor(problems: readonly ConfigError[]) {
    super('', problems.map(p => p.message).join('\n'))
    this.problems = problems
  }
}

/** @throws ConfigErrors with everything that is wrong */
export function parseConfig(value: unknown, sources: SecretSources): Config {
  const result = schema.safeParse(value ?? {})
  if (!result.success) throw new ConfigErrors(result.error.issues.flatMap(issue => explain(issue, value)))
  const problems: ConfigError[] = []
  const config = resolve(result.data, sources, problems)
  if (problems.length > 0) throw new ConfigErrors(problems)
  return config
}

function resolve(config: ParsedConfig, sources: SecretSources, problems: ConfigError[]): Config {
  const { peers, pools, policy, ike } = config
  const names = Object.keys(peers)
  for (const [i, rule] of policy.rules.entries())
    for (const [j, name] of rule.peers.entries())
      if (!names.includes(name))
        problems.push(new ConfigError(`policy.rules[${i}].peers[${j}]`, `no peer "${name}"${suggestion(name, names)}`))
  const settings: Settings = {
    peers: Object.fromEntries(names.map(name => [name, resolvePeer(name, config, sources, problems)])),
    pools: Object.fromEntries(
      Object.entries(pools).map(([name, { addresses, dns }]) => [name, { name, prefix: addresses, dns }]),
    ),
    policy: { rules: policy.rules.map((rule, i) => ({ at: `policy.rules[${i}]`, ...rule })) },
    ike: {
      retransmitMs: ike.retransmit.timeout,
      retransmitBase: ike.retransmit.base,
      retransmitTries: ike.retransmit.tries,
      cookieThreshold: ike.cookieThreshold,
      halfOpenLimit: ike.halfOpenLimit,
      halfOpenTimeoutMs: ike.halfOpenTimeout,
    },
  }
  return {
    settings,
    plugins: config.plugins?.map((plugin, i) =>
      typeof plugin === 'string'
        ? { use: plugin, options: {}, at: `plugins[${i}]` }
        : { ...plugin, at: `plugins[${i}]` },
    ),
    listen: config.listen,
    device: config.device,
    log: config.log,
    inlineSecrets: Object.values(peers).some(({ psk }) => inline(psk)),
  }
}

const inline = (secret: SecretInput): boolean =>
  typeof secret === 'string' || 'hex' in secret || 'base64' in secret

function resolvePeer(
  name: string,
  { peers, pools, local }: ParsedConfig,
  sources: SecretSources,
  problems: ConfigError[],
): PeerSettings {
  const peer = peers[name]!
  const at = `peers.${name}`
  const fail = (path: string, problem: string) => problems.push(new ConfigError(`${at}.${path}`, problem))
  if (peer.pool !== undefined && pools[peer.pool] === undefined)
    fail('pool', `no pool "${peer.pool}"${suggestion(peer.pool, Object.keys(pools))}`)
  if (peer.start === 'connect' && peer.remote === undefined) fail('start', 'connect needs `remote`, the address to call')
  if (peer.remoteId === undefined && peer.remote === undefined)
    fail('remoteId', 'a peer without `remote` is known by its identity only; give one, or any')
  const children = Object.entries(peer.children).map(([child, value]) => [child, resolveChild(child, value)] as const)
  if (children.length === 0) fail('children', 'a peer needs at least one child, such as lan: { remote: [10.3.0.0/24] }')
  return {
    name,
    remote: peer.remote?.host,
    remotePort: peer.remote?.port ?? 500,
    localId: peer.localId ?? local.id ?? defaultIdentity(),
    remoteId: peer.remoteId ?? { type: 'any' },
    psk: resolveSecret(peer.psk, sources, problem => fail('psk', problem)),
    proposals: peer.proposals,
    children: Object.fromEntries(children),
    requestAddresses: peer.addresses.map(family => (family === 'ipv4' ? 4 : 6)),
    pool: peer.pool,
    encapsulation: peer.encapsulation,
    start: peer.start,
    reconnect: peer.reconnect,
    dpdMs: peer.dpd,
    rekeyMs: peer.rekey,
    keepaliveMs: peer.keepalive,
    unique: peer.unique,
  }
}

function resolveChild(name: string, child: ParsedConfig['peers'][string]['children'][string]): ChildSettings {
  const { local, remote, rekey, life, rekeyBytes = Infinity, rekeyPackets = Infinity, ...rest } = child
  return {
    ...rest,
    name,
    localTs: local,
    remoteTs: remote,
    rekeyMs: rekey,
    lifeMs: life,
    rekeyOctets: rekeyBytes,
    rekeyPackets,
  }
}

function resolveSecret(secret: SecretInput, { env, readFile }: SecretSources, fail: (problem: string) => void): Uint8Array {
  const nothing = new Uint8Array(0)
  if (typeof secret === 'string') return new TextEncoder().encode(secret)
  if ('hex' in secret) return Uint8Array.from(Buffer.from(secret.hex, 'hex'))
  if ('base64' in secret) return Uint8Array.from(Buffer.from(secret.base64, 'base64'))
  if ('env' in secret) {
    const value = env[secret.env]
    if (value !== undefined && value !== '') return new TextEncoder().encode(value)
    fail(`the environment variable ${secret.env} is not set`)
    return nothing
  }
  try {
    const bytes = readFile(secret.file)
    // an editor's final newline is no part of the secret
    const end = bytes.at(-1) === 10 ? (bytes.at(-2) === 13 ? -2 : -1) : bytes.length
    const value = bytes.slice(0, end)
    if (value.length === 0) fail(`${secret.file} is empty`)
    return value
  } catch (error) {
    fail((error as Error).message)
    return nothing
  }
}

const path = (keys: readonly PropertyKey[]): string =>
  keys.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`)).join('')

const show = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}

/** A finding of the schema library in our words: where, what was found, what is allowed. */
function explain(issue: z.core.$ZodIssue, root: unknown): ConfigError[] {
  const found = issue.path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], root)
  const at = path(issue.path)
  const secretive = issue.path.at(-1) === 'psk' || issue.path.includes('psk')
  const given = secretive || found === undefined ? '' : `, found ${show(found)}`
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map(key => new ConfigError(path([...issue.path, key]), `unknown key${suggestion(key, keysAt(issue.path))}`))
    case 'invalid_type':
      return [new ConfigError(at, found === undefined ? `is missing; ${article(issue.expected)} is wanted` : `${article(issue.expected)} is wanted${given}`)]
    case 'invalid_value': {
      const allowed = issue.values.map(String)
      const hint = typeof found === 'string' ? suggestion(found, allowed) : `; known: ${allowed.join(', ')}`
      return [new ConfigError(at, `${show(found)} is not allowed${hint}`)]
    }
    default:
      return [new ConfigError(at, `${issue.message}${given}`)]
  }
}

const article = (type: string): string =>
  ({ object: 'a mapping', record: 'a mapping', array: 'a list', string: 'a text', number: 'a number', boolean: 'true or false' })[type] ?? type

interface Node {
  readonly properties?: Readonly<Record<string, Node>>
  readonly additionalProperties?: Node | boolean
  readonly items?: Node
  readonly anyOf?: readonly Node[]
}

/** The keys the schema knows at a place. */
function keysAt(keys: readonly PropertyKey[]): string[] {
  let nodes: readonly Node[] = [configSchema() as Node]
  for (const key of keys)
    nodes = nodes
      .flatMap(n => [n, ...(n.anyOf ?? [])])
      .flatMap(n => (typeof key === 'number' ? n.items : n.properties?.[String(key)] ?? n.additionalProperties) ?? [])
      .filter((n): n is Node => typeof n === 'object')
  return [...new Set(nodes.flatMap(n => [n, ...(n.anyOf ?? [])]).flatMap(n => Object.keys(n.properties ?? {})))]
}
