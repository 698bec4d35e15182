import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Loaded, PluginReference } from '../config/index.ts'
import type { Log } from '../contracts/log.ts'
import type { Natweave } from '../contracts/natweave.ts'
import type { Plugin } from '../contracts/plugin.ts'
import { createNatweave } from '../create.ts'
import { ConfigError } from '../errors.ts'
import { suggestion } from '../nearest.ts'

/** From a configuration to a build: imports the plugins it names, gives them their options. */

type Factory = (options?: Record<string, unknown>) => Plugin

/** natweave's own plugins by the names they have in a configuration. */
const OWN: Readonly<Record<string, () => Promise<Factory>>> = {
  'node-crypto': async () => (await import('../../plugins/node-crypto/index.ts')).nodeCrypto,
  noble: async () => (await import('../../plugins/noble/index.ts')).noble,
  udp: async () => (await import('../../plugins/udp/index.ts')).udp,
  tun: async () => (await import('../../plugins/tun/index.ts')).tun,
  memory: async () => (await import('../../plugins/memory/index.ts')).memory,
  'udp-encap': async () => (await import('../../plugins/udp-encap/index.ts')).udpEncap,
}

const USUAL = ['node-crypto', 'noble', 'udp', 'tun', 'memory', 'udp-encap']

/** @throws ConfigError naming the plugin and its place */
export async function build(config: Loaded, log: Log): Promise<Natweave> {
  const usual = USUAL.filter(use => use !== 'tun' || config.device !== false)
  const references = config.plugins ?? usual.map((use, i) => ({ use, options: {}, at: `plugins[${i}]` }))
  const plugins: Plugin[] = []
  for (const reference of references) {
    const factory = await load(reference, config.file)
    plugins.push(make(factory, reference, { ...optionsFrom(config, reference.use), ...reference.options }))
  }
  const mtu = config.device === false ? undefined : config.device.mtu
  return createNatweave({ plugins, settings: config.settings, log, ...(mtu !== undefined && { mtu }) })
}

/** `listen` and `device` are the usual way to say what the udp and tun plugins take as options. */
function optionsFrom({ listen, device }: Loaded, use: string): Record<string, unknown> {
  if (use === 'udp') {
    const { addresses, ports, exclude } = listen
    return defined({ addresses, ikePort: ports.ike, nattPort: ports.natt, exclude })
  }
  if (use === 'tun' && device !== false) return defined({ device: device.name, table: device.table })
  return {}
}

const defined = (options: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))

async function load({ use, at }: PluginReference, file: string): Promise<Factory> {
  const own = OWN[use]
  if (own !== undefined) return own()
  const path = use.startsWith('.') || isAbsolute(use)
  const specifier = path ? pathToFileURL(resolve(file, '..', use)).href : use
  let module: Record<string, unknown>
  try {
    module = (await import(specifier)) as Record<string, unknown>
  } catch (error) {
    const hint = path ? '' : suggestion(use, Object.keys(OWN))
    throw new ConfigError(at, `plugin "${use}" cannot be loaded: ${(error as Error).message.split('\n')[0]}${hint}`, { cause: error })
  }
  const factory = module['default'] ?? Object.values(module).find(value => typeof value === 'function')
  if (typeof factory !== 'function') throw new ConfigError(at, `plugin "${use}" exports no factory`)
  return factory as Factory
}

function make(factory: Factory, { use, at }: PluginReference, options: Record<string, unknown>): Plugin {
  try {
    return factory(options)
  } catch (error) {
    throw new ConfigError(`${at}.options`, `plugin "${use}": ${(error as Error).message}`, { cause: error })
  }
}
