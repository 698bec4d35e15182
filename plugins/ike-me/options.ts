import type { CandidateKind } from '../../core/contracts/service.ts'
import type { Identity, IdentityPattern, PeerSettings } from '../../core/contracts/settings.ts'
import { ConfigError, fit, parseIdentity, parseIdentityPattern } from '../../core/index.ts'
import { type AddressPrefix, canonicalAddress, parsePrefix } from '../../core/wire/index.ts'

/** Which of its endpoints this host tells the mediation server and the peer. */
export interface Disclosure {
  /** Kinds that are told; absent: all. */
  readonly kinds?: readonly CandidateKind[]
  /** Addresses and prefixes; endpoints in `hide` are not told, and where `only` is there, none outside it. */
  readonly hide?: readonly string[]
  readonly only?: readonly string[]
  /** Names of network interfaces whose addresses are not told; `docker*` for all that start so. */
  readonly hideInterfaces?: readonly string[]
}

/** What may be done where both ends are behind NATs of the worst kinds. */
export interface HardNatOptions {
  /** Further sockets this host opens behind a NAT that takes random ports; 0: never. Default 256. */
  readonly sockets?: number
  /** Most packets sent to ports of a peer that agreed to it; 0: never. Default 2048. */
  readonly probes?: number
  /** Packets per second of both. Default 1000. */
  readonly perSecond?: number
}

/** As the server: who may ask for whom, by the identities they are registered with; `*` in them matches anything. */
export interface MediationRule {
  readonly from: string
  readonly to: string
}

export interface IkeMeOptions {
  readonly disclose?: Disclosure
  readonly hardNats?: HardNatOptions
  /** Absent: every client may ask for every other one. */
  readonly allow?: readonly MediationRule[]
  /** Which interface an address belongs to; default: the system's answer. */
  readonly interfaces?: () => ReadonlyMap<string, string>
}

/** The options after parsing. */
export interface Settings {
  readonly kinds: readonly CandidateKind[]
  readonly hide: readonly AddressPrefix[]
  readonly only: readonly AddressPrefix[] | undefined
  readonly hideInterfaces: readonly string[]
  readonly hardNats: Required<HardNatOptions>
  readonly allow: readonly { readonly from: IdentityPattern; readonly to: IdentityPattern }[] | undefined
}

const KINDS: readonly CandidateKind[] = ['host', 'server-reflexive', 'relayed']
const MOST_SOCKETS = 1_024
const MOST_PROBES = 16_384

/** @throws ConfigError naming the option */
export function parseOptions(options: IkeMeOptions): Settings {
  known('', options, ['disclose', 'hardNats', 'allow', 'interfaces'])
  const disclose = record('disclose', options.disclose)
  known('disclose.', disclose, ['kinds', 'hide', 'only', 'hideInterfaces'])
  const { kinds = KINDS, hide = [], only, hideInterfaces = [] } = disclose
  for (const kind of kinds)
    if (!KINDS.includes(kind)) throw new ConfigError('disclose.kinds', `"${kind}"; there are ${KINDS.join(', ')}`)
  const hardNats = record('hardNats', options.hardNats)
  known('hardNats.', hardNats, ['sockets', 'probes', 'perSecond'])
  const { sockets = 256, probes = 2_048, perSecond = 1_000 } = hardNats
  number('hardNats.sockets', sockets, 0, MOST_SOCKETS)
  number('hardNats.probes', probes, 0, MOST_PROBES)
  number('hardNats.perSecond', perSecond, 10, 10_000)
  const allow = options.allow?.map(({ from, to }, i) => ({
    from: pattern(`allow[${i}].from`, from),
    to: pattern(`allow[${i}].to`, to),
  }))
  return {
    kinds,
    hide: hide.map((text, i) => prefix(`disclose.hide[${i}]`, text)),
    only: only?.map((text, i) => prefix(`disclose.only[${i}]`, text)),
    hideInterfaces,
    hardNats: { sockets, probes, perSecond },
    allow,
  }
}

/** What `peers.NAME.options.ike-me` says. */
export type PeerRole =
  /** The IKE SA with this peer is a mediation connection: to a server where this host initiates, else from a client. */
  | { readonly type: 'mediation' }
  /** The peer is found through that server, which knows it under this identity. */
  | { readonly type: 'mediated'; readonly by: string; readonly id: Identity }

/** @throws ConfigError with the path of what is wrong */
export function parsePeers(peers: readonly PeerSettings[]): ReadonlyMap<string, PeerRole> {
  const roles = new Map<string, PeerRole>()
  for (const peer of peers) {
    const role = parsePeer(peer)
    if (role !== undefined) roles.set(peer.name, role)
  }
  for (const [name, role] of roles) {
    if (role.type !== 'mediated') continue
    const at = `peers.${name}.options.ike-me.by`
    if (!peers.some(p => p.name === role.by))
      throw new ConfigError(at, `no peer "${role.by}"; there are: ${peers.map(p => p.name).join(', ')}`)
    if (roles.get(role.by)?.type !== 'mediation')
      throw new ConfigError(at, `peers.${role.by} is no mediation server: set its options.ike-me.mediation to true`)
  }
  return roles
}

function parsePeer({ name, options, remoteId }: PeerSettings): PeerRole | undefined {
  const own = options?.['ike-me']
  if (own === undefined) return undefined
  const at = `peers.${name}.options.ike-me`
  const { mediation, by, id } = record<Readonly<Record<string, unknown>>>(at, own as Readonly<Record<string, unknown>>)
  known(`${at}.`, own as object, ['mediation', 'by', 'id'])
  if (mediation !== undefined && typeof mediation !== 'boolean')
    throw new ConfigError(`${at}.mediation`, 'true or false is wanted')
  if (mediation === true) {
    if (by !== undefined) throw new ConfigError(`${at}.by`, 'a mediation server is not itself found by mediation')
    return { type: 'mediation' }
  }
  if (by === undefined) return undefined
  if (typeof by !== 'string') throw new ConfigError(`${at}.by`, 'the name of the peer that mediates is wanted')
  if (id !== undefined) {
    if (typeof id !== 'string') throw new ConfigError(`${at}.id`, 'an identity such as bob@example.org is wanted')
    return { type: 'mediated', by, id: identity(`${at}.id`, id) }
  }
  if (remoteId.type === 'any' || remoteId.value.includes('*'))
    throw new ConfigError(`${at}.id`, 'the identity by which the mediation server knows the peer is wanted')
  return { type: 'mediated', by, id: remoteId }
}

function record<T extends object>(at: string, value: T | undefined): T {
  if (value === undefined) return {} as T
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ConfigError(at, 'options with names are wanted')
  return value
}

function known(at: string, value: object, names: readonly string[]): void {
  for (const name of Object.keys(value))
    if (!names.includes(name)) throw new ConfigError(`${at}${name}`, `no such option; there are ${names.join(', ')}`)
}

function number(at: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most)
    throw new ConfigError(at, `a whole number from ${least} to ${most} is wanted`)
}

function prefix(at: string, text: string): AddressPrefix {
  const found = parsePrefix(text)
  if (found === undefined) throw new ConfigError(at, `"${text}": an address or prefix such as 10.0.0.0/8 is wanted`)
  return { address: canonicalAddress(found.address) ?? found.address, bits: found.bits }
}

const identity = (at: string, text: string): Identity => attempt(at, () => parseIdentity(text))
const pattern = (at: string, text: string): IdentityPattern => attempt(at, () => parseIdentityPattern(text))

function attempt<T>(at: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw new ConfigError(at, (error as Error).message)
  }
}

/** Whether the rules let one client ask for another. */
export const isAllowed = ({ allow }: Settings, from: Identity, to: Identity): boolean =>
  allow === undefined || allow.some(rule => fit(from, rule.from) > 0 && fit(to, rule.to) > 0)
