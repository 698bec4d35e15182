import { readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, resolve } from 'node:path'
import { cosmiconfig, defaultLoaders, type Loader } from 'cosmiconfig'
import { parse as parseToml } from 'smol-toml'
import { ConfigError } from '../errors.ts'
import { importFile } from './import-file.ts'
import { type Config, ConfigErrors, parseConfig, type SecretSources } from './parse.ts'

/** Finds, reads and checks a configuration file. */

const NAMES = ['json', 'yaml', 'yml', 'toml', 'js', 'mjs', 'cjs', 'ts', 'mts']
const PLACES = [
  'package.json',
  '.natweaverc',
  ...NAMES.map(extension => `.natweaverc.${extension}`),
  ...NAMES.map(extension => `natweave.config.${extension}`),
]
/** Where a system-wide instance keeps its configuration. */
const SYSTEM = '/etc/natweave'

const NONE = 'natweave init writes one to start from'

export interface Loaded extends Config {
  /** The file it came from. */
  readonly file: string
  /** Where secrets of plugins come from. */
  readonly sources: SecretSources
  /** Why no secret may stand in the file itself: others can read it. */
  readonly exposed: string | undefined
}

export interface LoadOptions {
  /** This file and no other. */
  readonly file?: string | undefined
  /** Where the search starts, upwards; then the user's configuration folder, then /etc/natweave. */
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
  const readFile = (name: string, kind?: 'public'): Uint8Array => {
    const path = isAbsolute(name) ? name : resolve(base, name)
    try {
      const problem = kind === 'public' ? undefined : exposure(path)
      if (problem !== undefined) throw new ConfigError('', `${path} ${problem}`)
      return readFileSync(path)
    } catch (error) {
      throw error instanceof ConfigError ? error : new ConfigError('', unreadable(path, error))
    }
  }
  const sources = { env, readFile }
  let config: Config
  try {
    config = parseConfig(found.config, sources)
  } catch (error) {
    if (error instanceof ConfigErrors) throw new ConfigErrors(error.problems, found.filepath)
    throw error
  }
  const problem = exposure(found.filepath)
  const exposed =
    problem &&
    `${found.filepath} ${problem}; it holds secrets, which could also be given as { env: NAME } or { file: PATH }`
  if (config.inlineSecrets && exposed !== undefined) throw new ConfigError('', exposed)
  return { ...config, file: found.filepath, sources, exposed }
}

async function find(file: string | undefined, cwd: string): Promise<{ config: unknown; filepath: string }> {
  const explorer = cosmiconfig('natweave', {
    searchPlaces: PLACES,
    searchStrategy: 'global',
    loaders: {
      ...defaultLoaders,
      '.toml': (_file, content) => parseToml(content),
      ...Object.fromEntries(['.js', '.mjs', '.cjs'].map(extension => [extension, program(defaultLoaders['.js'])])),
      ...Object.fromEntries(['.ts', '.mts'].map(extension => [extension, program(importDefault)])),
    },
  })
  const named = file === undefined ? undefined : resolve(cwd, file)
  try {
    const found =
      named === undefined
        ? ((await explorer.search(cwd)) ?? (await explorer.search(SYSTEM)))
        : await explorer.load(named)
    if (found !== null) return found
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const { code, message, filepath, path } = error as NodeJS.ErrnoException & { filepath?: string }
    const at = named ?? filepath ?? path ?? 'the configuration'
    if (code === 'ENOENT') throw new ConfigError('', `${unreadable(at, error)}; ${NONE}`)
    if (code === 'EACCES' || code === 'EISDIR') throw new ConfigError('', unreadable(at, error))
    const [first = '', second = ''] = message.split('\n')
    // the loaders of the library put a heading with the file's name above what they found
    const problem = /^(JSON|YAML) Error in /.test(first) ? second : first
    throw new ConfigError('', `${at} cannot be read: ${problem.trim()}`, { cause: error })
  }
  throw new ConfigError('', `no configuration found from ${cwd} upwards or in ${SYSTEM}; ${NONE}`)
}

function unreadable(path: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return `${path}: no such file`
  if (code === 'EACCES') return `${path} cannot be read: permission denied; run natweave as its owner`
  if (code === 'EISDIR') return `${path} is a folder; name the file in it`
  return `${path} cannot be read: ${message}`
}

/** Runs a configuration that is a program, unless others could have put something else into it. */
const program =
  (load: Loader): Loader =>
  (file, content) => {
    const problem = tampering(file)
    if (problem !== undefined) throw new ConfigError('', `${file} ${problem}; it is a program and would be run`)
    return load(file, content)
  }

const importDefault: Loader = async file => (await importFile(file)).default

/** Why a file with secrets is not safe where it is; undefined when it is, or when the system has no such permissions. */
function exposure(path: string): string | undefined {
  if (process.getuid === undefined) return undefined
  const { mode, uid } = statSync(path)
  if (uid !== 0 && uid !== process.getuid()) return STRANGER
  if ((mode & 0o077) !== 0) return `can be read by others (mode ${(mode & 0o777).toString(8)}): chmod 600 ${path}`
  return undefined
}

/** Root trusts no group either; others often share one with nobody but themselves. */
function tampering(path: string): string | undefined {
  if (process.getuid === undefined) return undefined
  const { mode, uid } = statSync(path)
  if (uid !== 0 && uid !== process.getuid()) return STRANGER
  if ((mode & (process.getuid() === 0 ? 0o022 : 0o002)) !== 0)
    return `can be changed by others (mode ${(mode & 0o777).toString(8)}): chmod go-w ${path}`
  return undefined
}

const STRANGER = 'belongs to another user: chown it to the one that natweave runs as'
