import 'reflect-metadata' // tsyringe refuses to load without it
import { type InjectionToken, container as root } from 'tsyringe'
import type { Plugin } from '../../../core/contracts/plugin.ts'
import { NatweaveError } from '../../../core/errors.ts'

/** What a contract suite needs of a test runner: `test` of vitest, of node:test, or of any other that looks alike. */
export interface SuiteRunner {
  readonly test: (name: string, run: () => void | Promise<void>) => unknown
}

type Awaitable<T> = T | Promise<T>

export type { Awaitable }

/** @throws NatweaveError TESTING_CONTRACT */
export function check(condition: boolean, expected: string): asserts condition {
  if (!condition) throw new NatweaveError('TESTING_CONTRACT', `the contract wants ${expected}`)
}

/** Deep equality by what can be shown: numbers, texts, octets, arrays and plain objects. */
export function same(actual: unknown, expected: unknown, what: string): void {
  const [got, wanted] = [show(actual), show(expected)]
  if (got !== wanted)
    throw new NatweaveError('TESTING_CONTRACT', `the contract wants ${what} to be ${wanted}, not ${got}`)
}

/** What must fail with one of these codes, sooner or later. */
export async function refused(codes: readonly string[], what: string, run: () => unknown): Promise<void> {
  let code: string | undefined
  try {
    await run()
  } catch (error) {
    code = error instanceof NatweaveError ? error.code : String(error)
  }
  check(
    code !== undefined && codes.includes(code),
    `${what} to fail with ${codes.join(' or ')}, not ${code ?? 'to work'}`,
  )
}

/** What must not throw, whatever it is given. */
export function quiet<T>(what: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new NatweaveError('TESTING_CONTRACT', `the contract wants ${what} never to throw: ${String(error)}`, {
      cause: error,
    })
  }
}

export const isKebabCase = (name: string): boolean => /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)

/** Not JSON.stringify, which asks a Buffer how it wants to be shown. */
function show(value: unknown): string {
  if (value instanceof Uint8Array) return `octets ${Array.from(value, b => b.toString(16).padStart(2, '0')).join('')}`
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`
  if (value === null || typeof value !== 'object') return typeof value === 'string' ? `"${value}"` : String(value)
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${fields.map(([name, field]) => `${name}: ${show(field)}`).join(', ')}}`
}

/** Frozen all the way down, so that whoever changes it is caught. */
export function frozen<T>(value: T): T {
  if (value !== null && typeof value === 'object' && !(value instanceof Uint8Array)) {
    for (const part of Object.values(value)) frozen(part)
    Object.freeze(value)
  }
  return value
}

/** True for what a suite may be given in place of a thing: the plugin that registers it. */
const isPlugin = (value: object): value is Plugin => 'register' in value && 'api' in value

/** The thing itself, or all that a plugin registers under its token in a container of its own. */
export function partsOf<T extends object>(made: T | Plugin, token: InjectionToken<T>): readonly T[] {
  if (!isPlugin(made)) return [made]
  const container = root.createChildContainer()
  made.register(container)
  return container.isRegistered(token) ? container.resolveAll(token) : []
}
