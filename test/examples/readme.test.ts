import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

/** The programs in the README: they compile as a user's would, and run on the virtual internet. */
const root = fileURLToPath(new URL('../..', import.meta.url))
const DOORS = {
  natweave: 'core/index.ts',
  'natweave/config': 'core/config/index.ts',
  'natweave/plugins': 'plugins/index.ts',
  'natweave/plugins/*': 'plugins/*/index.ts',
  'natweave/testing': 'test/kit/index.ts',
} as const

const CONFIG = `
local: { id: alice.example }
peers:
  gateway: { remote: 203.0.113.20, remoteId: moon.example, psk: correct horse battery, addresses: [ipv4], children: { lan: { remote: [10.3.0.0/24] } } }
`

/** Stands in for the system: alice and the gateway behind NATs of the virtual internet, whose time passes by itself. */
const WORLD = `
import { parseConfig } from 'natweave/config'
import { nodeCrypto, udpEncap } from '${root}plugins/index.ts'
import { createNatweave as create, type NatweaveOptions } from '${root}core/index.ts'
import { hostPlugin, topologies } from 'natweave/testing'

const { net, alice, moon } = topologies.nat1()
const { settings } = parseConfig({
  local: { id: 'moon.example' },
  pools: { guests: { addresses: '10.9.0.0/24' } },
  peers: { any: { remoteId: 'alice.example', psk: 'correct horse battery', pool: 'guests', children: { lan: { local: ['10.3.0.0/24'] } } } },
}, { env: {}, readFile: () => '' })
const plugins = (host: typeof alice) => [nodeCrypto(), udpEncap(), hostPlugin(host)]
export const defaults = () => plugins(alice)
export const createNatweave = (options: NatweaveOptions) => create({ ...options, clock: net.clock, rng: net.rng('build') })
await createNatweave({ plugins: plugins(moon), settings }).start()
const pass = async (): Promise<void> => {
  await net.advance(10)
  setImmediate(pass)
}
void pass()
`

const PLAN = `
import { createNatweave } from 'natweave'
import { parseConfig } from 'natweave/config'
import { nodeCrypto } from 'natweave/plugins'
import { hostPlugin, topologies } from 'natweave/testing'
import { shyPlugin } from './shy.ts'

const { settings } = parseConfig({
  local: { id: 'a.example' },
  peers: { b: { remote: '192.0.2.1', remoteId: 'b.example', psk: 'correct horse battery', children: { net: {} } } },
}, { env: {}, readFile: () => '' })
const plugins = [nodeCrypto(), shyPlugin(), hostPlugin(topologies.direct().alice)]
const reports = createNatweave({ plugins, settings }).plan('b')
console.log(JSON.stringify(reports.flatMap(r => r.plans.filter(p => p.usable).map(p => p.plan.encap))))
process.exit()
`

const programs = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(m => m[1]!)
const library = programs.find(text => text.includes('await loadConfig()'))
const plugin = programs.find(text => text.includes('export const shyPlugin'))

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'natweave-readme-'))
  write('package.json', '{ "type": "module" }')
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const write = (name: string, text: string): void => writeFileSync(join(folder, name), text, { mode: 0o600 })

/** A project of somebody's, in which these doors lead to other files. */
function project(name: string, doors: Readonly<Record<string, string>> = {}): string {
  const paths = Object.entries({ ...DOORS, ...doors }).map(([door, file]) => [door, [resolve(root, file)]])
  const compilerOptions = { paths: Object.fromEntries(paths), noEmit: true }
  const files = programs.map((_, i) => `program-${i}.ts`)
  write(`${name}.json`, JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, include: [], files }))
  return join(folder, `${name}.json`)
}

const node = async (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> =>
  (await promisify(execFile)(process.execPath, args, { cwd: folder, env: { ...process.env, ...env } })).stdout

test('there are a program and a plugin, and both compile', async () => {
  expect([typeof library, typeof plugin]).toEqual(['string', 'string'])
  for (const [i, text] of programs.entries()) write(`program-${i}.ts`, text)
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const said = await node([tsc, '-p', project('compile')]).catch((error: { stdout: string }) => error.stdout)
  // of natweave's own files `npm run check` speaks
  expect(said.split('\n').filter(line => line.startsWith('program-'))).toEqual([])
})

test('the program connects', async () => {
  // the same program on alice's host: her clock, her sockets, and a gateway that answers
  write('world.ts', WORLD)
  write('natweave.ts', `export * from '${root}core/index.ts'\nexport { createNatweave } from './world.ts'\n`)
  write('plugins.ts', `export { defaults } from './world.ts'\n`)
  write('natweave.config.yaml', CONFIG)
  write('library.ts', `${library}\nprocess.exit(natweave.status().peers[0]?.state === 'established' ? 0 : 1)\n`)
  const doors = { natweave: join(folder, 'natweave.ts'), 'natweave/plugins': join(folder, 'plugins.ts') }
  const out = await node(['--import', 'tsx', 'library.ts'], { TSX_TSCONFIG_PATH: project('run', doors) })
  expect(out).toContain("type: 'established'")
  expect(out).toContain("type: 'child-up'")
})

test('the plugin is planned with', async () => {
  write('shy.ts', plugin!)
  write('plan.ts', PLAN)
  const out = await node(['--import', 'tsx', 'plan.ts'], { TSX_TSCONFIG_PATH: project('plain') })
  expect(JSON.parse(out)).toContain('shy')
})
