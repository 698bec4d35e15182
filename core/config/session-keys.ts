import type { PpkSettings } from '../contracts/settings.ts'
import { ConfigError } from '../errors.ts'
import type { SecretInput } from './schema.ts'

/** What `ppk` of a peer looks like after the shape was checked. */
export interface PpkInput {
  readonly required: boolean
  readonly keys: Readonly<Record<string, SecretInput>>
}

/**
 * Post-quantum preshared keys of all peers, by peer.
 * @param octets - of a secret; told what is wrong with it
 */
export function resolvePpks(
  peers: Readonly<Record<string, { readonly ppk?: PpkInput | undefined } | undefined>>,
  octets: (secret: SecretInput, fail: (problem: string) => void) => Uint8Array,
  problems: ConfigError[],
): ReadonlyMap<string, PpkSettings> {
  const found = new Map<string, PpkSettings>()
  for (const [name, peer] of Object.entries(peers)) {
    if (peer?.ppk === undefined) continue
    const { required, keys } = peer.ppk
    const at = `peers.${name}.ppk.keys`
    if (Object.keys(keys).length === 0)
      problems.push(new ConfigError(at, 'at least one key is wanted, such as office-ppk: { file: office.ppk }'))
    const resolved = Object.entries(keys).map(([id, secret]) => ({
      id,
      secret: octets(secret, problem => problems.push(new ConfigError(`${at}.${id}`, problem))),
    }))
    found.set(name, { required, keys: resolved })
  }
  return found
}

/** It protects what everybody may see, so a password will not do. */
const TICKET_KEY = 32

/** Key of resumption tickets, `ike.tickets.key`. @param octets - as for PPKs */
export function resolveTicketKey(
  key: SecretInput | undefined,
  octets: (secret: SecretInput, fail: (problem: string) => void) => Uint8Array,
  problems: ConfigError[],
): Uint8Array | undefined {
  if (key === undefined) return undefined
  const before = problems.length
  const fail = (problem: string) => problems.push(new ConfigError('ike.tickets.key', problem))
  const found = octets(key, fail)
  if (problems.length === before && found.length < TICKET_KEY)
    fail(
      `${found.length} octets are too few, ${TICKET_KEY} random ones are wanted: { file: tickets.key }, made by openssl rand -base64 48 > tickets.key`,
    )
  return found
}
