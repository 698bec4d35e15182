/** The configuration: its shape, how it is found, read and checked. */
export { importFile } from './import-file.ts'
export { type Loaded, type LoadOptions, loadConfig } from './load.ts'
export {
  type Config,
  ConfigErrors,
  defineConfig,
  type PluginReference,
  parseConfig,
  type SecretSources,
} from './parse.ts'
export { resolvePluginSecrets } from './plugin-secrets.ts'
export { type ConfigInput, configSchema } from './schema.ts'
