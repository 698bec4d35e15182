import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { stringify } from 'yaml'
import { ConfigError, SystemError } from '../../errors.ts'
import { matchesWildcard } from '../../wildcard.ts'
import { type ConfigErrors, parseConfig } from '../parse.ts'
import { isIpsecConf, parseIpsecConf, parseIpsecSecrets } from './ipsec-conf.ts'
import { Secrets } from './secrets.ts'
import { parseSettings } from './settings-file.ts'
import { translate, type Written } from './translate.ts'
import type { Folders, Note, Reader, Section } from './tree.ts'

export type { Note } from './tree.ts'

/** What became of a strongSwan configuration. */
export interface Imported {
  readonly config: Written
  /** The same as a file. */
  readonly yaml: string
  /** What could not be carried over, in the order of the files. */
  readonly notes: readonly Note[]
  /** What natweave would still object to, in its own words: the user has to mend it. */
  readonly problems: readonly string[]
}

/**
 * Translates a swanctl.conf, or an ipsec.conf with the ipsec.secrets beside it, with all they include. Certificates and keys
 * are referred to where they are; shared secrets are copied.
 *
 * @param file - path
 * @param secrets - another ipsec.secrets, or a swanctl.conf with secrets alone
 * @throws ConfigError naming file and line of what cannot be read, SystemError SYSTEM_PERMISSION
 */
export function importStrongswan(file: string, secrets?: string): Imported {
  const path = resolve(file)
  const text = readText(path)
  const old = isIpsecConf(text)
  const notes: Note[] = []
  const root = old ? parseIpsecConf(text, path, read, notes) : parseSettings(text, path, read)
  const beside = join(dirname(path), 'ipsec.secrets')
  const secretsFile = secrets !== undefined ? resolve(secrets) : old && existsSync(beside) ? beside : undefined
  const translated = translate(root, new Secrets(secretSection(root, secretsFile)), folders(dirname(path), old), notes)
  const { config } = translated
  return { config, notes: translated.notes, yaml: written(config, path), problems: problems(config) }
}

function secretSection(root: Section, file: string | undefined): Section | undefined {
  if (file === undefined) return root.section('secrets')
  const text = readText(file)
  const section = /^\s*secrets\s*\{/m.test(text) ? parseSettings(text, file, read).section('secrets') : undefined
  return section ?? parseIpsecSecrets(text, file)
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new SystemError('SYSTEM_PERMISSION', `${path} cannot be read: ${(error as Error).message}`)
  }
}

/** `conf.d/*.conf`, relative to the file with the include; wildcards in the last part alone, as they are written. */
const read: Reader = (pattern, from) => {
  const whole = isAbsolute(pattern) ? pattern : join(dirname(from), pattern)
  const [folder, name] = [dirname(whole), basename(whole)]
  if (!/[*?]/.test(name)) return existsSync(whole) ? [{ path: whole, text: readText(whole) }] : missing(whole, from)
  if (folder.includes('*'))
    throw new ConfigError(from, `include ${pattern}: wildcards are read in the last part of a path only`)
  const found = existsSync(folder) ? readdirSync(folder).sort() : []
  return found
    .filter(each => matchesWildcard(each, name))
    .map(each => ({ path: join(folder, each), text: readText(join(folder, each)) }))
}

function missing(path: string, from: string): never {
  throw new ConfigError(from, `the file ${path}, which it includes, does not exist`)
}

/** What ipsec.conf has in other folders than swanctl.conf. */
const IPSEC_FOLDERS: Readonly<Record<string, string>> = {
  x509: 'ipsec.d/certs',
  x509ca: 'ipsec.d/cacerts',
  x509crl: 'ipsec.d/crls',
  private: 'ipsec.d/private',
}

function folders(base: string, old: boolean): Folders {
  const at = (folder: string) => join(base, (old ? IPSEC_FOLDERS[folder] : undefined) ?? folder)
  return {
    list: folder => {
      if (!existsSync(at(folder))) return []
      return readdirSync(at(folder))
        .filter(name => /\.(pem|der|crt|cer|crl|key)$/i.test(name))
        .sort()
        .map(name => join(at(folder), name))
    },
    path: (folder, file) => (isAbsolute(file) ? file : file.includes('/') ? join(base, file) : join(at(folder), file)),
  }
}

const written = (config: Written, source: string): string =>
  `# natweave configuration, made from ${source} by natweave import; natweave check says whether it is right.\n${stringify(config, { lineWidth: 0 })}`

/** What natweave's own parser says; where secrets and certificates are is not its concern here. */
function problems(config: Written): string[] {
  try {
    parseConfig(config, { env: new Proxy({}, { get: () => 'x' }), readFile: () => Uint8Array.of(1) })
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return (error as ConfigErrors).problems.map(({ message }) => message)
  }
}
