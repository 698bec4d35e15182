import { createRequire } from 'node:module'
import { basename, extname, isAbsolute, resolve } from 'node:path'
import { importFile, type Loaded, type PluginReference, resolvePluginSecrets } from '../config/index.ts'
import type { Log } from '../contracts/log.ts'
import type { Natweave } from '../contracts/natweave.ts'
import type { Plugin, PluginFactory } from '../contracts/plugin.ts'
import { createNatweave } from '../create.ts'
import { ConfigError } from '../errors.ts'
import { suggestion } from '../nearest.ts'

/** From a configuration to a build: imports the plugins it names, gives them their options. */

type Factory = PluginFactory<Record<string, unknown>>

/** natweave's own plugins by the names they have in a configuration. */
const OWN: Readonly<Record<string, () => Promise<Factory>>> = {
  'node-crypto': async () => (await import('../../plugins/node-crypto/index.ts')).nodeCrypto,
  noble: async () => (await import('../../plugins/noble/index.ts')).noble,
  openssl: async () => (await import('../../plugins/openssl/index.ts')).openssl,
  'linux-fast': async () => (await import('../../plugins/linux-fast/index.ts')).linuxFast,
  udp: async () => (await import('../../plugins/udp/index.ts')).udp,
  raw: async () => (await import('../../plugins/raw/index.ts')).raw,
  tun: async () => (await import('../../plugins/tun/index.ts')).tun,
  'port-mapping': async () => (await import('../../plugins/port-mapping/index.ts')).portMapping,
  'hole-punch': async () => (await import('../../plugins/hole-punch/index.ts')).holePunch,
  memory: async () => (await import('../../plugins/memory/index.ts')).memory,
  'eap-mschapv2': async () => (await import('../../plugins/eap-mschapv2/index.ts')).eapMschapv2,
  'eap-tls': async () => (await import('../../plugins/eap-tls/index.ts')).eapTls,
  dhcp: async () => (await import('../../plugins/dhcp/index.ts')).dhcp,
  x509: async () => (await import('../../plugins/x509/index.ts')).x509,
  beet: async () => (await import('../../plugins/beet/index.ts')).beet,
  'ike-me': async () => (await import('../../plugins/ike-me/index.ts')).ikeMe,
  stun: async () => (await import('../../plugins/stun/index.ts')).stun,
  'tcp-encap': async () => (await import('../../plugins/tcp-encap/index.ts')).tcpEncap,
  turn: async () => (await import('../../plugins/turn/index.ts')).turn,
  'mapping-lifetime': async () => (await import('../../plugins/mapping-lifetime/index.ts')).mappingLifetime,
  'udp-encap': async () => (await import('../../plugins/udp-encap/index.ts')).udpEncap,
}

/** The same set as `defaults()` of natweave/plugins, by name, so that only what is used is loaded. */
export const USUAL = [
  'openssl',
  'node-crypto',
  'noble',
  'linux-fast',
  'udp',
  'tun',
  'memory',
  'udp-encap',
  'mapping-lifetime',
  'tcp-encap',
  'beet',
  'x509',
  'eap-mschapv2',
  'eap-tls',
  'dhcp',
  'ike-me',
  'stun',
]

/** @throws ConfigError naming the plugin and its place */
export async function build(config: Loaded, log: Log): Promise<Natweave> {
  const usual = USUAL.filter(use => config.device !== false || !['tun', 'linux-fast'].includes(use))
  const references = config.plugins ?? usual.map((use, i) => ({ use, options: {}, at: `plugins[${i}]` }))
  const plugins: Plugin[] = []
  for (const reference of references) {
    const factory = await load(reference, config.file)
    const { options, inline } = resolvePluginSecrets(reference, factory.secrets ?? [], config.sources)
    if (inline && config.exposed !== undefined) throw new ConfigError(`${reference.at}.options`, config.exposed)
    plugins.push(make(factory, reference, { ...optionsFrom(config, reference.use), ...options }))
  }
  const { mtu, clampMss } = config.device === false ? {} : config.device
  return createNatweave({ plugins, settings: config.settings, log, ...defined({ mtu, clampMss }) })
}

/** `listen`, `device` and `stun` are the usual way to say what udp, raw, linux-fast, tun and stun take as options. */
function optionsFrom({ listen, device, stun }: Loaded, use: string): Record<string, unknown> {
  if (use === 'udp') {
    const { addresses, ports, exclude } = listen
    return defined({ addresses, ikePort: ports.ike, nattPort: ports.natt, exclude })
  }
  if (use === 'raw') return defined({ addresses: listen.addresses, exclude: listen.exclude })
  if (use === 'linux-fast' && device !== false) return defined({ threads: device.threads })
  if (use === 'tun' && device !== false) return defined({ device: device.name, table: device.table })
  if (use === 'stun') {
    const { servers, interval, classify, serve } = stun
    return { servers, intervalMs: interval, classify, serve }
  }
  return {}
}

const defined = (options: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))

async function load({ use, at }: PluginReference, file: string): Promise<Factory> {
  const own = Object.hasOwn(OWN, use) ? OWN[use] : undefined
  if (own !== undefined) return own()
  const path = use.startsWith('.') || isAbsolute(use)
  let module: Readonly<Record<string, unknown>>
  try {
    module = path ? await importFile(resolve(file, '..', use)) : await importPackage(use, file)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const missing = code === 'ERR_MODULE_NOT_FOUND' && !path
    const why = missing
      ? `neither natweave's own nor an installed package${suggestion(use, Object.keys(OWN))}`
      : message.split('\n')[0]
    throw new ConfigError(at, `plugin "${use}" cannot be loaded: ${why}`, { cause: error })
  }
  const functions = Object.values(module).filter(value => typeof value === 'function')
  const factory = module['default'] ?? module[camelCase(use)] ?? (functions.length === 1 ? functions[0] : undefined)
  if (typeof factory !== 'function')
    throw new ConfigError(at, `plugin "${use}" must export a function as default or as ${camelCase(use)}`)
  return factory as Factory
}

/** Installed beside natweave, or beside the configuration where natweave is installed for the whole system. */
async function importPackage(name: string, file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await import(name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    let found: string
    try {
      found = createRequire(file).resolve(name)
    } catch {
      throw error
    }
    return importFile(found)
  }
}

/** `./plugins/my-plugin.ts` exports `myPlugin`. */
const camelCase = (use: string): string =>
  basename(use, extname(use)).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())

function make(factory: Factory, { use, at }: PluginReference, options: Record<string, unknown>): Plugin {
  let plugin: unknown
  try {
    plugin = factory(options)
  } catch (error) {
    throw new ConfigError(`${at}.options`, `plugin "${use}": ${(error as Error).message}`, { cause: error })
  }
  const { name, register } = Object(plugin) as Partial<Plugin>
  if (typeof name === 'string' && typeof register === 'function') return plugin as Plugin
  throw new ConfigError(at, `what plugin "${use}" exports makes no plugin: { name, api, register } is wanted`)
}
