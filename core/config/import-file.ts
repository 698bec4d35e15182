import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { ConfigError } from '../errors.ts'

type Module = Readonly<Record<string, unknown>>

/**
 * Imports a file that a user wrote, TypeScript included: Node runs that itself from version 22.18 on, older ones with
 * tsx, which the file's project or this one may have installed.
 *
 * @throws ConfigError when nothing here can run TypeScript, and whatever the file throws
 */
export async function importFile(file: string): Promise<Module> {
  const url = pathToFileURL(file).href
  try {
    return unwrapped(await import(url))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_UNKNOWN_FILE_EXTENSION') throw error
  }
  const { tsImport } = await tsx(file)
  return unwrapped(await tsImport(url, import.meta.url))
}

async function tsx(file: string): Promise<{ tsImport(url: string, parent: string): Promise<Module> }> {
  for (const from of [file, import.meta.url])
    try {
      return await import(pathToFileURL(createRequire(from).resolve('tsx/esm/api')).href)
    } catch {
      // not installed there
    }
  throw new ConfigError(
    '',
    `${file} is TypeScript, which Node ${process.versions.node} does not run by itself: npm install tsx, or write it in JavaScript`,
  )
}

/** A module that became CommonJS on the way has its exports wrapped in a default export. */
function unwrapped(module: Module): Module {
  const inner = module['default']
  return typeof inner === 'object' && inner !== null && 'default' in inner ? (inner as Module) : module
}
