import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { loadConfig } from '../../../core/config/index.ts'
import { ConfigError } from '../../../core/errors.ts'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'natweave-config-')))
afterAll(() => rmSync(folder, { recursive: true }))

let cwd = folder
beforeEach(({ task }) => {
  cwd = join(folder, task.id)
  mkdirSync(cwd)
})

function write(name: string, content: string, mode = 0o600): string {
  const path = join(cwd, name)
  writeFileSync(path, content)
  chmodSync(path, mode)
  return path
}

const load = (file?: string) => loadConfig({ cwd, file, env: { MOON_PSK: 'from env' } })

const complaint = (file?: string): Promise<string> =>
  load(file).then(
    () => 'was accepted',
    (error: unknown) => {
      expect(error).toBeInstanceOf(ConfigError)
      return (error as Error).message
    },
  )

const YAML = 'peers: { moon: { remote: gw, psk: { env: MOON_PSK }, children: { lan: {} } } }\n'
const JSON_TEXT = '{ "peers": { "moon": { "remote": "gw", "psk": { "env": "MOON_PSK" }, "children": { "lan": {} } } } }'
const TOML = '[peers.moon]\nremote = "gw"\npsk = { env = "MOON_PSK" }\n[peers.moon.children.lan]\n'
const TS = `interface Where { readonly remote: string }
const moon: Where = { remote: 'gw' }
export default { peers: { moon: { ...moon, psk: { env: 'MOON_PSK' }, children: { lan: {} } } } }
`

describe('every form is found and read', () => {
  for (const [name, content] of [
    ['package.json', `{ "name": "x", "natweave": ${JSON_TEXT} }`],
    ['.natweaverc', YAML],
    ['.natweaverc.json', JSON_TEXT],
    ['.natweaverc.toml', TOML],
    ['natweave.config.yaml', YAML],
    ['natweave.config.yml', YAML],
    ['natweave.config.json', JSON_TEXT],
    ['natweave.config.toml', TOML],
    ['natweave.config.mjs', `export default ${JSON_TEXT}`],
    ['natweave.config.cjs', `module.exports = ${JSON_TEXT}`],
    ['natweave.config.js', `module.exports = ${JSON_TEXT}`],
    ['natweave.config.ts', TS],
  ] as const)
    test(name, async () => {
      const path = write(name, content, 0o644)
      const config = await load()
      expect(config.file).toBe(path)
      expect(new TextDecoder().decode(config.settings.peers.moon?.psk)).toBe('from env')
    })

  test('from a folder below, and past a package.json without our property', async () => {
    const path = write('natweave.config.yaml', YAML)
    const below = join(cwd, 'below')
    mkdirSync(below)
    writeFileSync(join(below, 'package.json'), '{ "name": "x" }')
    expect((await loadConfig({ cwd: below, env: { MOON_PSK: 'x' } })).file).toBe(path)
  })
})

/** Node 20 does not run TypeScript by itself; the test runner does, so the loader needs a process without one. */
test('TypeScript on a Node that does not run it', () => {
  const path = write('natweave.config.ts', TS)
  const program = `
    import { tsImport } from 'tsx/esm/api'
    const { loadConfig } = await tsImport('./core/config/index.ts', ${JSON.stringify(new URL('../../../x.mjs', import.meta.url).href)})
    const { settings } = await loadConfig({ file: ${JSON.stringify(path)}, env: { MOON_PSK: 'x' } })
    console.log(settings.peers.moon.remote)`
  const root = new URL('../../..', import.meta.url)
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', program], { cwd: root, encoding: 'utf8' })
  expect(out).toBe('gw\n')
})

test('errors say which file and where in it', async () => {
  const path = write(
    'natweave.config.yaml',
    'peers: { moon: { remot: gw, psk: { env: UNSET }, children: { lan: {} } } }',
  )
  const lines = (await complaint()).split('\n')
  expect(lines.length).toBe(2)
  expect(lines[0]).toContain(`${path}: peers.moon.remot: unknown key`)
  expect(lines[1]).toBe(`${path}: peers.moon.psk: the environment variable UNSET is not set`)
})

describe('files that cannot be read', () => {
  test('none given that exists', async () => {
    expect(await complaint('office.yaml')).toBe(
      `${join(cwd, 'office.yaml')}: no such file; natweave init writes one to start from`,
    )
  })
  test('a folder', async () => {
    expect(await complaint('.')).toBe(`${cwd} is a folder; name the file in it`)
  })
  test('bad YAML', async () => {
    const path = write('natweave.config.yaml', 'peers: [\n')
    expect(await complaint()).toMatch(new RegExp(`^${path} cannot be read: [^\\n]+\\(\\d+:\\d+\\)$`))
  })
  test('bad JSON', async () => {
    const path = write('natweave.config.json', '{ "peers": ')
    expect(await complaint()).toMatch(new RegExp(`^${path} cannot be read: [^\\n]+$`))
  })
  test('bad TOML', async () => {
    const path = write('natweave.config.toml', 'peers = \n')
    expect(await complaint()).toMatch(new RegExp(`^${path} cannot be read: [^\\n]+$`))
  })
  test('a program that throws', async () => {
    const path = write('natweave.config.mjs', 'throw new Error("no moon tonight")')
    expect(await complaint()).toBe(`${path} cannot be read: no moon tonight`)
  })
})

const inline = 'peers: { moon: { remote: gw, psk: hush, children: { lan: {} } } }\n'

describe('files that others can read or change', () => {
  test('secrets in the file: only its owner may read it', async () => {
    const path = write('natweave.config.yaml', inline, 0o640)
    expect(await complaint()).toBe(
      `${path} can be read by others (mode 640): chmod 600 ${path}; it holds secrets, which could also be given as { env: NAME } or { file: PATH }`,
    )
    chmodSync(path, 0o600)
    expect((await load()).inlineSecrets).toBe(true)
  })
  test('secrets in a file of their own: the same', async () => {
    const path = write('natweave.config.yaml', inline.replace('hush', '{ file: ./moon.psk }'), 0o644)
    const secret = write('moon.psk', 'hush\n', 0o644)
    expect(await complaint()).toBe(
      `${path}: peers.moon.psk: ${secret} can be read by others (mode 644): chmod 600 ${secret}`,
    )
    chmodSync(secret, 0o400)
    expect(new TextDecoder().decode((await load()).settings.peers.moon?.psk)).toBe('hush')
    rmSync(secret)
    expect(await complaint()).toBe(`${path}: peers.moon.psk: ${secret}: no such file`)
  })
  test('a program that others can change is not run', async () => {
    const path = write('natweave.config.mjs', 'globalThis.natweaveWasRun = true\nexport default {}', 0o666)
    expect(await complaint()).toBe(
      `${path} can be changed by others (mode 666): chmod go-w ${path}; it is a program and would be run`,
    )
    expect('natweaveWasRun' in globalThis).toBe(false)
  })
  // only root can give a file away
  if (process.getuid?.() === 0)
    test('of another user', async () => {
      const path = write('natweave.config.yaml', inline)
      chownSync(path, 12_345, 12_345)
      expect(await complaint()).toContain(`${path} belongs to another user: chown it to the one that natweave runs as`)
    })
})
