import type { ChildSettings, ManualSettings, PeerSettings, PpkSettings, Settings } from '../contracts/settings.ts'
import { ConfigError } from '../errors.ts'
import { parseProposals } from '../ike/proposal.ts'
import { matchesWildcard } from '../wildcard.ts'
import { resolveAuth } from './auth.ts'
import { explain, unknownName } from './explain.ts'
import { resolveManual } from './manual.ts'
import {
  type ConfigInput,
  defaultIdentity,
  type KeyInput,
  type ParsedConfig,
  type SecretInput,
  type SoundParts,
  schema,
  soundParts,
  soundSecrets,
} from './schema.ts'
import { resolvePpks, resolveTicketKey } from './session-keys.ts'

/** Where secrets come from; injected, so that parsing itself touches nothing. */
export interface SecretSources {
  readonly env: Readonly<Record<string, string | undefined>>
  /** @throws Error when it cannot be read or, unless it is `public`, is readable for others */
  readonly readFile: (path: string, kind?: 'public') => Uint8Array
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
  readonly stun: ParsedConfig['stun']
  readonly log: ParsedConfig['log']
  /** True when a secret stands in the configuration itself. */
  readonly inlineSecrets: boolean
}

/** Type help for configurations written in TypeScript or JavaScript; gives back what it gets. */
export const defineConfig = (config: ConfigInput): ConfigInput => config

/** Several problems at once, one a line. */
export class ConfigErrors extends ConfigError {
  /** Each with the path of the value. */
  readonly problems: readonly ConfigError[]

  constructor(problems: readonly ConfigError[], file?: string) {
    super('', problems.map(p => (file === undefined ? p.message : `${file}: ${p.message}`)).join('\n'))
    this.problems = problems
  }
}

/**
 * Everything that is wrong is found at once: what the shape of the file says, and what is wrong between its parts, such
 * as a pool that does not exist or a secret that cannot be read.
 *
 * @throws ConfigErrors
 */
export function parseConfig(value: unknown, sources: SecretSources): Config {
  const given = value ?? {}
  const result = schema.safeParse(given)
  const problems = result.success ? [] : result.error.issues.flatMap(issue => explain(issue, given))
  const sound = soundParts.parse(given)
  problems.push(...references(sound))
  const manual: Record<string, ManualSettings> = {}
  for (const [name, parsed] of Object.entries(sound.manual)) {
    if (parsed === undefined) continue
    const settings = resolveManual(name, parsed, {
      octets: (secret, fail) => resolveSecret(secret, sources, fail),
      fail: (at, problem) => problems.push(new ConfigError(`manual.${name}${at === '' ? '' : `.${at}`}`, problem)),
    })
    if (settings !== undefined) manual[name] = settings
  }
  const secrets = new Map<string, Proofs>()
  const octets = (secret: SecretInput, fail: (problem: string) => void) => resolveSecret(secret, sources, fail)
  const ppks = resolvePpks(sound.peers, octets, problems)
  const found = soundSecrets.parse(given)
  const ticketKey = resolveTicketKey(found.ike.tickets.key, octets, problems)
  for (const [name, { psk } = { psk: undefined }] of Object.entries(found.peers)) {
    const fail = (key: string, problem: string) => problems.push(new ConfigError(`peers.${name}.${key}`, problem))
    const shared = psk === undefined ? undefined : octets(psk, problem => fail('psk', problem))
    const peer = sound.peers[name]
    const auth =
      peer === undefined
        ? undefined
        : resolveAuth(peer, sound, {
            octets: (secret, at) => octets(secret, problem => fail(at, problem)),
            readFile: sources.readFile,
            fail,
          })
    secrets.set(name, { ...(shared !== undefined && { psk: shared }), ...(auth !== undefined && { auth }) })
  }
  if (!result.success || problems.length > 0) throw new ConfigErrors(problems)
  return resolve(result.data, { secrets, ppks, manual, ticketKey })
}

/** By what a peer and this host prove to be themselves. */
type Proofs = Pick<PeerSettings, 'psk' | 'auth'>

/** What the parts of a configuration demand of each other. */
function references({ local, peers, pools, policy }: SoundParts): ConfigError[] {
  const problems: ConfigError[] = []
  const fail = (path: string, problem: string) => problems.push(new ConfigError(path, problem))
  const names = Object.keys(peers)
  for (const [group, members] of Object.entries(policy.groups)) {
    if (names.includes(group)) fail(`policy.groups.${group}`, 'a peer has this name; a rule could not tell them apart')
    for (const [i, member] of members.entries())
      if (peersNamed(member, names).length === 0)
        fail(`policy.groups.${group}[${i}]`, unknownName('peer', member, names))
  }
  const known = [...names, ...Object.keys(policy.groups)]
  for (const [i, rule] of policy.rules.entries())
    for (const [j, name] of (rule?.peers ?? []).entries())
      if (!Object.hasOwn(policy.groups, name) && peersNamed(name, names).length === 0)
        fail(`policy.rules[${i}].peers[${j}]`, unknownName('peer', name, known))
  const callers = new Map<string, string>()
  for (const [name, peer] of Object.entries(peers)) {
    if (peer === undefined) continue
    const at = `peers.${name}`
    if (peer.pool !== undefined && !Object.hasOwn(pools, peer.pool))
      fail(`${at}.pool`, unknownName('pool', peer.pool, Object.keys(pools)))
    // what a plugin is told of a peer may be a way to find it, or what an IKE SA without children is good for
    const extended = Object.keys(peer.options).length > 0
    if (Object.keys(peer.children).length === 0 && !extended)
      fail(`${at}.children`, 'a peer needs at least one child, such as lan: { remote: [10.3.0.0/24] }')
    for (const [childName, child] of Object.entries(peer.children)) {
      const map = typeof child.conflicts === 'object' ? child.conflicts.map : undefined
      if (map !== undefined && !Object.hasOwn(pools, map))
        fail(`${at}.children.${childName}.conflicts.map`, unknownName('pool', map, Object.keys(pools)))
      else if (map !== undefined && Object.hasOwn(Object(pools[map]), 'dhcp'))
        fail(`${at}.children.${childName}.conflicts.map`, `pool ${map} is leased; one with addresses is wanted`)
      for (const [i, text] of child.proposals.entries()) {
        const problem = proposalProblem(text, child.protocol)
        if (problem !== undefined) fail(`${at}.children.${childName}.proposals[${i}]`, problem)
      }
    }
    if (peer.remote !== undefined) continue
    if (peer.start === 'connect' && !extended) fail(`${at}.start`, 'connect needs `remote`, the address to call')
    if (peer.remoteId === undefined)
      fail(`${at}.remoteId`, 'a peer without `remote` is known by its identity only; give one, or any')
    // who calls is told by the two identities, and by what proves them: the second of two such peers would never be chosen
    const identities = JSON.stringify([peer.localId ?? local.id, peer.remoteId, peer.auth, peer.trust])
    const twin = callers.get(identities)
    if (twin !== undefined)
      fail(`${at}.remoteId`, `the same as that of peers.${twin}; without \`remote\` they cannot be told apart`)
    else if (peer.remoteId !== undefined) callers.set(identities, name)
  }
  return problems
}

/** The peers a word of a rule or group stands for: one by its name, or all that fit a pattern. */
const peersNamed = (word: string, names: readonly string[]): string[] =>
  names.filter(name => matchesWildcard(name, word))

/** A rule's peers with groups and patterns spelled out, each once. */
function membersOf(words: readonly string[], { peers, policy }: ParsedConfig): string[] {
  const names = Object.keys(peers)
  return [...new Set(words.flatMap(word => policy.groups[word] ?? [word]).flatMap(word => peersNamed(word, names)))]
}

/** Why a proposal is none of this protocol; undefined when it is. */
function proposalProblem(text: string, protocol: 'esp' | 'ah'): string | undefined {
  try {
    parseProposals([text], protocol)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** What took more than a look at the value. */
interface Resolved {
  readonly secrets: ReadonlyMap<string, Proofs>
  readonly ppks: ReadonlyMap<string, PpkSettings>
  readonly manual: Readonly<Record<string, ManualSettings>>
  readonly ticketKey: Uint8Array | undefined
}

function resolvePools(pools: ParsedConfig['pools']): Pick<Settings, 'pools' | 'leased'> {
  const all = Object.entries(pools)
  const leased = all.flatMap(([name, { dhcp, dns }]) =>
    dhcp === undefined ? [] : [[name, { name, by: 'dhcp', ...dhcp, dns }] as const],
  )
  return {
    pools: Object.fromEntries(
      all.flatMap(([name, { addresses, dns }]) =>
        addresses === undefined ? [] : [[name, { name, prefix: addresses, dns }] as const],
      ),
    ),
    ...(leased.length > 0 && { leased: Object.fromEntries(leased) }),
  }
}

function resolve(config: ParsedConfig, { secrets, ppks, manual, ticketKey }: Resolved): Config {
  const { peers, pools, policy, ike, guard } = config
  const settings: Settings = {
    peers: Object.fromEntries(
      Object.keys(peers).map(name => [name, resolvePeer(name, config, secrets.get(name)!, ppks.get(name))]),
    ),
    ...resolvePools(pools),
    ...(Object.keys(manual).length > 0 && { manual }),
    policy: {
      rules: policy.rules.map((rule, i) => ({
        at: `policy.rules[${i}]`,
        ...rule,
        peers: membersOf(rule.peers, config),
      })),
      facts: policy.facts,
      networks: policy.networks,
    },
    ike: {
      retransmitMs: ike.retransmit.timeout,
      retransmitBase: ike.retransmit.base,
      retransmitTries: ike.retransmit.tries,
      cookieThreshold: ike.cookieThreshold,
      halfOpenLimit: ike.halfOpenLimit,
      halfOpenPerSource: ike.halfOpenPerSource,
      halfOpenTimeoutMs: ike.halfOpenTimeout,
      fragmentSize: ike.fragmentSize,
      resumption: { lifetimeMs: ike.tickets.lifetime, ...(ticketKey !== undefined && { key: ticketKey }) },
    },
    guard: { failures: guard.failures, windowMs: guard.window, pauseMs: guard.pause },
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
    stun: config.stun,
    log: config.log,
    inlineSecrets: [
      config.local.key,
      config.ike.tickets.key,
      ...Object.values(peers).flatMap(({ psk, key, ppk, eap }) => [
        psk,
        key,
        eap?.password,
        ...Object.values(eap?.users ?? {}),
        ...Object.values(ppk?.keys ?? {}),
      ]),
      ...Object.values(config.manual).flatMap(sa => [sa.in, sa.out].flatMap(d => [d.encryption, d.integrity])),
    ].some(secret => secret !== undefined && inline(secret)),
  }
}

const inline = (secret: KeyInput): boolean => typeof secret === 'string' || 'hex' in secret || 'base64' in secret

function resolvePeer(
  name: string,
  { peers, local }: ParsedConfig,
  proofs: Proofs,
  ppk: PpkSettings | undefined,
): PeerSettings {
  const peer = peers[name]!
  const children = Object.entries(peer.children).map(([child, value]) => [child, resolveChild(child, value)] as const)
  return {
    name,
    remote: peer.remote?.host,
    remotePort: peer.remote?.port ?? 500,
    localId: peer.localId ?? local.id ?? defaultIdentity(),
    remoteId: peer.remoteId ?? { type: 'any' },
    ...proofs,
    ...(ppk !== undefined && { ppk }),
    proposals: peer.proposals,
    children: Object.fromEntries(children),
    requestAddresses: peer.addresses.map(family => (family === 'ipv4' ? 4 : 6)),
    pool: peer.pool,
    encapsulation: peer.encapsulation,
    mobike: peer.mobike,
    start: peer.start,
    reconnect: peer.reconnect,
    dpdMs: peer.dpd,
    rekeyMs: peer.rekey,
    redirect: peer.redirect,
    resumption: peer.resumption,
    childless: peer.childless,
    reauthMs: peer.reauth,
    keepaliveMs: peer.keepalive,
    unique: peer.unique,
    facts: peer.facts,
    options: peer.options,
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

/** @param fail - gets what is wrong with it; nothing is returned then */
export function resolveSecret(
  secret: SecretInput,
  { env, readFile }: SecretSources,
  fail: (problem: string) => void,
): Uint8Array {
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
