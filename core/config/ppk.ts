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
