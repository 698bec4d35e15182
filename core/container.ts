import 'reflect-metadata'
import { type DependencyContainer, type InjectionToken, container as root } from 'tsyringe'
import { API, type Plugin } from './contracts/plugin.ts'
import { NatweaveError } from './errors.ts'

/** tsyringe wiring: one container per build, and the plugins that fill it. */

const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/

/** A container of its own. Nothing is ever registered in tsyringe's global root, so builds cannot see each other. */
export const createContainer = (): DependencyContainer => root.createChildContainer()

/** All registrations of a token, in order; empty when there are none. */
export const resolveAll = <T>(container: DependencyContainer, token: InjectionToken<T>): T[] =>
  container.isRegistered(token) ? container.resolveAll(token) : []

/** The last registration of a token, which is the one that counts where there can be only one. */
export const resolveLast = <T>(container: DependencyContainer, token: InjectionToken<T>): T | undefined =>
  container.isRegistered(token) ? container.resolve(token) : undefined

/** Checks plugins, registers and starts them in order, stops them in reverse, and names them in every error. */
export class PluginHost {
  readonly #plugins: readonly Plugin[]
  readonly #started: Plugin[] = []
  #container: DependencyContainer | undefined
  /** Plugins by what they have registered, in order. */
  readonly #registrants = new Map<InjectionToken, readonly string[]>()

  /** @throws NatweaveError PLUGIN_NAME, PLUGIN_DUPLICATE, PLUGIN_API */
  constructor(plugins: readonly Plugin[]) {
    this.#plugins = plugins
    const names = new Set<string>()
    for (const [i, plugin] of plugins.entries()) {
      if (typeof plugin?.name !== 'string' || !NAME.test(plugin.name))
        throw new NatweaveError('PLUGIN_NAME', `plugins[${i}]: "${String(plugin?.name)}" is no kebab-case plugin name`)
      if (names.has(plugin.name)) throw broken('PLUGIN_DUPLICATE', plugin, 'is given twice; leave one out')
      if (plugin.api !== API)
        throw broken(
          'PLUGIN_API',
          plugin,
          `was written for contract ${plugin.api}, this natweave has ${API}; update one of them`,
        )
      names.add(plugin.name)
    }
  }

  get names(): readonly string[] {
    return this.#plugins.map(p => p.name)
  }

  /** @throws NatweaveError PLUGIN_REQUIRES, PLUGIN_REGISTER */
  register(container: DependencyContainer): void {
    this.#container = container
    for (const plugin of this.#plugins) {
      const missing = (plugin.requires ?? []).find(token => !container.isRegistered(token))
      if (missing !== undefined)
        throw broken('PLUGIN_REQUIRES', plugin, `needs ${describe(missing)}, which no plugin before it registers`)
      try {
        plugin.register(noting(container, token => this.#note(token, plugin)))
      } catch (error) {
        throw broken('PLUGIN_REGISTER', plugin, `does not register: ${message(error)}`, error)
      }
    }
  }

  #note(token: InjectionToken, { name }: Plugin): void {
    this.#registrants.set(token, [...(this.#registrants.get(token) ?? []), name])
  }

  /** All registrations of a token, in order, each with the name of the plugin it came from. */
  parts<T>(token: InjectionToken<T>): readonly (readonly [part: T, plugin: string])[] {
    const names = this.#registrants.get(token) ?? []
    return this.#container === undefined ? [] : resolveAll(this.#container, token).map((part, i) => [part, names[i]!])
  }

  /** @throws NatweaveError PLUGIN_START; what was started before is stopped again */
  async start(): Promise<void> {
    for (const plugin of this.#plugins) {
      try {
        await plugin.start?.(this.#container!)
        this.#started.push(plugin)
      } catch (error) {
        await this.stop().catch(() => {}) // the failure to start is the one to tell
        throw broken('PLUGIN_START', plugin, `does not start: ${message(error)}`, error)
      }
    }
  }

  /** Stops all, also after one fails. @throws NatweaveError PLUGIN_STOP for the first that failed */
  async stop(): Promise<void> {
    let failure: NatweaveError | undefined
    for (const plugin of this.#started.splice(0).reverse()) {
      try {
        await plugin.stop?.()
      } catch (error) {
        failure ??= broken('PLUGIN_STOP', plugin, `does not stop: ${message(error)}`, error)
      }
    }
    if (failure !== undefined) throw failure
  }
}

/** The same container, which tells what is registered by it. */
function noting(container: DependencyContainer, note: (token: InjectionToken) => void): DependencyContainer {
  const seen: DependencyContainer = Object.create(container)
  // all other ways to register come down to this one
  const register = (token: InjectionToken, ...how: [never]): DependencyContainer => {
    note(token)
    container.register(token, ...how)
    return seen
  }
  return Object.assign(seen, { register })
}

const broken = (code: string, { name }: Plugin, problem: string, cause?: unknown): NatweaveError =>
  new NatweaveError(code, `plugin "${name}" ${problem}`, cause === undefined ? {} : { cause })

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const describe = (token: InjectionToken): string =>
  typeof token === 'symbol'
    ? (token.description ?? 'an unnamed token')
    : typeof token === 'function'
      ? token.name
      : String(token)
