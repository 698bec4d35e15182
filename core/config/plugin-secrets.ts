import { ConfigError } from '../errors.ts'
import { type PluginReference, resolveSecret, type SecretSources } from './parse.ts'
import { secret } from './schema.ts'

/** Secrets among the options of a plugin, which says where they are (`PluginFactory.secrets`). */

export interface ResolvedOptions {
  /** With all secrets as text. */
  readonly options: Readonly<Record<string, unknown>>
  /** Whether one of them stands in the configuration itself. */
  readonly inline: boolean
}

/**
 * @param paths - as in `PluginFactory.secrets`
 * @throws ConfigError naming the option whose secret cannot be had
 */
export function resolvePluginSecrets(
  { options, at }: PluginReference,
  paths: readonly string[],
  sources: SecretSources,
): ResolvedOptions {
  let inline = false
  const resolved = (value: unknown, [key, ...rest]: readonly string[], place: string): unknown => {
    if (key === undefined) {
      const { success, data } = secret.safeParse(value)
      // what is no secret is the plugin's to complain about
      if (!success) return value
      if (typeof data === 'string' || 'hex' in data || 'base64' in data) inline = true
      return typeof data === 'string' ? data : textOf(data, place, sources)
    }
    if (Array.isArray(value))
      return key === '*' ? value.map((each, i) => resolved(each, rest, `${place}[${i}]`)) : value
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) =>
        key === '*' || key === name ? [name, resolved(each, rest, `${place}.${name}`)] : [name, each],
      ),
    )
  }
  const all = paths.reduce<unknown>((found, path) => resolved(found, path.split('.'), `${at}.options`), options)
  return { options: all as Record<string, unknown>, inline }
}

function textOf(value: Parameters<typeof resolveSecret>[0], at: string, sources: SecretSources): string {
  const octets = resolveSecret(value, sources, problem => {
    throw new ConfigError(at, problem)
  })
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(octets)
  } catch {
    throw new ConfigError(at, 'the secret is no text in UTF-8')
  }
}
