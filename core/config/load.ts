import { readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, resolve } from 'node:path'
import { cosmiconfig, defaultLoaders, type Loader } from 'cosmiconfig'
import { parse as parseToml } from 'smol-toml'
import { ConfigError } from '../errors.ts'
import { type Config, parseConfig } from './parse.ts'

/** Finds, reads and checks a configuration file. */

const toml: Loader = (_file, content) => parseToml(content)

const NAMES = ['json', 'yaml', 'yml', 'toml', 'js', 'mjs', 'cjs', 'ts']
const PLACES = [
  'package.json',
  '.natweaverc',
  ...NAMES.map(extension => `.natweaverc.${extension}`),
  ...NAMES.map(extension => `natweave.config.${extension}`),
]
/** Where a system-wide instance keeps its configuration. */
const SYSTEM = '/etc/natweave'

export interface Loaded extends Config {
  /** The file it came from. */
  readonly file: string
}

export interface LoadOptions {
  /** This file and no other. */
  readonly file?: string | undefined
  /** Where the search starts, upwards; then /etc/natweave. */
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string | undefined>>
}

/**
 * JavaScript and TypeScript configurations are programs: loading one runs it.
 *
 * @throws ConfigError when none is found, it cannot be read, is wrong, or others can read the secrets in it
 */
export async function loadConfig({ file, cwd = process.cwd(), env = process.env }: LoadOptions = {}): Promise<Loaded> {
  const found = await find(file, cwd)
  const base = dirname(found.filepath)
  const readFile = (name: string): Uint8Array => {
    const path = isAbsolute(name) ? name : resolve(base, name)
    const problem = exposure(path)
    if (problem !== undefined) throw new Error(problem)
    return readFileSync(path)
  }
  let config: Config
  try {
    config = parseConfig(found.config, { env, readFile })
  } catch (error) {
    if (error instanceof ConfigError) throw located(error, found.filepath)
    throw error
  }
  const problem = config.inlineSecrets ? exposure(found.filepath) : undefined
  if (problem !== undefined)
    throw located(new ConfigError('', `${problem}; it holds secrets: they can also be given as { env: NAME } or { file: PATH }`), found.filepath)
  return { ...config, file: found.filepath }
}

async function find(file: string | undefined, cwd: string): Promise<{ config: unknown; filepath: string }> {
  const explorer = cosmiconfig('natweave', {
    searchPlaces: PLACES,
    searchStrategy: 'global',
    loaders: { ...defaultLoaders, '.toml': toml },
  })
  try {
    const found =
      file !== undefined ? await explorer.load(resolve(cwd, file)) : ((await explorer.search(cwd)) ?? (await explorer.search(SYSTEM)))
    if (found !== null) return found
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new ConfigError('', `${file}: no such file; natweave init writes one to start from`)
    if (code === 'EACCES') throw new ConfigError('', `${file ?? 'the configuration'} cannot be read: ${message}`)
    throw new ConfigError('', `the configuration cannot be read: ${message.split('\n')[0]}`, { cause: error })
  }
  throw new ConfigError('', `no configuration found from ${cwd} upwards or in ${SYSTEM}; natweave init writes one to start from`)
}

/** Why a file with secrets is not safe where it is; undefined when it is, or when the system has no such permissions. */
function exposure(path: string): string | undefined {
  if (process.getuid === undefined) return undefined
  const { mode, uid } = statSync(path)
  if ((mode & 0o077) !== 0) return `${path} can be read by others (mode ${(mode & 0o777).toString(8)}); chmod 600 it`
  if (uid !== 0 && uid !== process.getuid()) return `${path} belongs to another user; chown it to the one natweave runs as`
  return undefined
}

const located = (error: ConfigError, file: string): ConfigError => {
  const message = error.message.split('\n').map(line => `${file}: ${line}`).join('\n')
  return new ConfigError('', message, { cause: error })
}
