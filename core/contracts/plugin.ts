import type { DependencyContainer, InjectionToken } from 'tsyringe'
import type { Credentials } from './credentials.ts'
import type { CryptoProvider } from './crypto.ts'
import type { DataPlane } from './data-plane.ts'
import type { PacketDevice } from './device.ts'
import type { EapMethod } from './eap.ts'
import type { Log } from './log.ts'
import type { Clock, Rng } from './machine.ts'
import type { NatDetector } from './nat-detector.ts'
import type { PacketIo } from './packet-io.ts'
import type { SaStore } from './sa-store.ts'
import type { ServiceFactory } from './service.ts'
import type { Strategy } from './strategy.ts'
import type { Transport } from './transport.ts'

/** Symbol.for: two copies of the package in one tree still share tokens. */
const token = <T>(name: string): InjectionToken<T> => Symbol.for(`natweave/1/${name}`)

/** Registered by core before any plugin, unless the caller brings its own. */
export const LOG = token<Log>('log')
export const CLOCK = token<Clock>('clock')
export const RNG = token<Rng>('rng')
/** Several may be registered; all are used. */
export const TRANSPORT = token<Transport>('transport')
export const STRATEGY = token<Strategy>('strategy')
/** For services that are neither a path nor a detector, such as servers. Several may be registered; all run. */
export const SERVICE = token<ServiceFactory>('service')
export const NAT_DETECTOR = token<NatDetector>('nat-detector')
/** Several may be registered; the first that supports a transform serves it. */
export const CRYPTO = token<CryptoProvider>('crypto')
/** Several may be registered; for each key or trust the first that serves it. */
export const CREDENTIALS = token<Credentials>('credentials')
/** Several may be registered; a peer's `auth` names one. */
export const EAP_METHOD = token<EapMethod>('eap-method')
/** Several may be registered; the first that does not refuse a Child SA carries it, the portable plane last. */
export const DATA_PLANE = token<DataPlane>('data-plane')
/** One of each; the last registration wins. */
export const PACKET_IO = token<PacketIo>('packet-io')
export const DEVICE = token<PacketDevice>('device')
export const SA_STORE = token<SaStore>('sa-store')

/** Contract version of this core. A plugin written for another major is refused. */
export const API = 1

/**
 * Everything interchangeable comes as one of these, natweave's own parts included.
 *
 * @example
 * export const myDetector = (options = {}): Plugin => ({
 *   name: 'my-detector',
 *   api: 1,
 *   requires: [LOG],
 *   register: c => c.register(NAT_DETECTOR, { useFactory: instanceCachingFactory(d => new MyDetector(options, d.resolve(LOG))) }),
 * })
 */
export interface Plugin {
  /** Unique, kebab-case, the name used in configuration and errors. */
  readonly name: string
  /** Contract version it was written for. */
  readonly api: number
  /** Tokens that must be registered before this plugin. */
  readonly requires?: readonly InjectionToken[]
  register(container: DependencyContainer): void
  /** Called in order after all plugins registered; what it starts, `stop` ends. */
  start?(container: DependencyContainer): Promise<void>
  /** Called in reverse order. */
  stop?(): Promise<void>
}

/**
 * What the module of a plugin exports, for a configuration to name: makes it of its options.
 *
 * @example
 * export const relay: PluginFactory<RelayOptions> = Object.assign((options = {}) => new Relay(options), {
 *   secrets: ['password', 'servers.*.password'],
 * })
 */
export interface PluginFactory<Options> {
  (options?: Options): Plugin
  /**
   * Options that are secrets: keys from the outermost on with dots between, `*` for every element of a list or mapping. A
   * configuration may say `{ env: NAME }` or `{ file: PATH }` there, as for all its secrets; the factory gets their text.
   * A file that others can read may not have them in it.
   */
  readonly secrets?: readonly string[]
}
