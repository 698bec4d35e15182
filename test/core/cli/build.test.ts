import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { build } from '../../../core/cli/build.ts'
import { parseConfig, type SecretSources } from '../../../core/config/index.ts'
import { silentLog } from '../../../core/contracts/log.ts'
import { ConfigError } from '../../../core/errors.ts'
import { defaults } from '../../../plugins/index.ts'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'natweave-build-')))
afterAll(() => rmSync(folder, { recursive: true }))

const peers = { moon: { remote: '192.0.2.1', psk: 'x', children: { lan: {} } } }
const sources: SecretSources = {
  env: { SECRET: 'of the environment' },
  readFile: name => {
    if (name === 'octets') return Uint8Array.of(0xff)
    if (name !== 'secret.txt') throw new Error(`${name}: no such file`)
    return new TextEncoder().encode('of a file\n')
  },
}
const make = (config: object, exposed?: string) => {
  const parsed = parseConfig({ peers, device: false, ...config }, sources)
  return build({ ...parsed, file: join(folder, 'natweave.config.yaml'), sources, exposed }, silentLog)
}

const complaint = (plugin: unknown, exposed?: string): Promise<string> =>
  make({ plugins: ['node-crypto', 'udp', plugin] }, exposed).then(
    () => 'was accepted',
    (error: unknown) => {
      expect(error).toBeInstanceOf(ConfigError)
      return (error as Error).message
    },
  )

/** A plugin that registers nothing but leaves a mark of its options. */
const plugin = (name: string) =>
  `(options = {}) => ({ name: '${name}' + (options.mark ?? ''), api: 1, register() { globalThis.natweaveMark = options } })`

test('the usual set is that of defaults() and makes a build that can plan before it is started', async () => {
  const natweave = await make({})
  expect(natweave.status().plugins).toEqual(defaults({ tun: false }).map(plugin => plugin.name))
  expect(natweave.plan('moon')[0]?.plans.length).toBeGreaterThan(1)
})

describe('plugins from files and packages', () => {
  writeFileSync(join(folder, 'by-default.mjs'), `export default ${plugin('by-default')}`)
  writeFileSync(join(folder, 'by-name.mjs'), `export const other = () => 5\nexport const byName = ${plugin('by-name')}`)
  writeFileSync(
    join(folder, 'alone.ts'),
    `const x: number = 5\nexport const whatever = ${plugin('alone')}\nexport { x }`,
  )
  const installed = join(folder, 'node_modules', 'natweave-plugin-moon')
  mkdirSync(installed, { recursive: true })
  writeFileSync(join(installed, 'package.json'), '{ "name": "natweave-plugin-moon", "main": "index.cjs" }')
  writeFileSync(join(installed, 'index.cjs'), `module.exports = ${plugin('moon')}`)

  for (const [use, name] of [
    ['./by-default.mjs', 'by-default'],
    ['./by-name.mjs', 'by-name'],
    ['./alone.ts', 'alone'],
    [join(folder, 'by-default.mjs'), 'by-default'],
    ['natweave-plugin-moon', 'moon'],
  ] as const)
    test(use.replace(folder, '/…'), async () => {
      const natweave = await make({ plugins: ['node-crypto', 'udp', { use, options: { mark: 7 } }] })
      expect(natweave.status().plugins).toEqual(['node-crypto', 'udp', `${name}7`])
      expect(globalThis).toMatchObject({ natweaveMark: { mark: 7 } })
    })
})

describe('plugins that are none', () => {
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content)
    return `./${name}`
  }
  test('a misspelt name', async () => {
    expect(await complaint('udp-encapp')).toBe(
      'plugins[2]: plugin "udp-encapp" cannot be loaded: neither natweave\'s own nor an installed package; did you mean "udp-encap"?',
    )
  })
  test('a file that is not there', async () => {
    expect(await complaint('./none.mjs')).toMatch(/^plugins\[2\]: plugin ".\/none.mjs" cannot be loaded: [^\n]+$/)
  })
  test('a file that throws', async () => {
    expect(await complaint(file('throws.mjs', 'throw new Error("no moon")'))).toBe(
      'plugins[2]: plugin "./throws.mjs" cannot be loaded: no moon',
    )
  })
  test('no function', async () => {
    expect(await complaint(file('no-function.mjs', 'export const x = 5'))).toBe(
      'plugins[2]: plugin "./no-function.mjs" must export a function as default or as noFunction',
    )
  })
  test('a function that makes something else', async () => {
    expect(await complaint(file('other.mjs', 'export default () => 5'))).toBe(
      'plugins[2]: what plugin "./other.mjs" exports makes no plugin: { name, api, register } is wanted',
    )
  })
  test('options it does not like', async () => {
    const use = file('picky.mjs', 'export default () => { throw new Error("level: 1 to 9 is wanted") }')
    expect(await complaint({ use, options: { level: 10 } })).toBe(
      'plugins[2].options: plugin "./picky.mjs": level: 1 to 9 is wanted',
    )
    expect(await complaint({ use: 'linux-fast', options: { threads: 3 } })).toBe(
      'plugins[2].options: plugin "linux-fast": threads: 3; 1, or 2 for one each way, is wanted',
    )
  })
})

describe('secrets of a plugin, which says where they are', () => {
  writeFileSync(
    join(folder, 'keeper.mjs'),
    `export default Object.assign(${plugin('keeper')}, { secrets: ['password', 'servers.*.password', 'users.*'] })`,
  )
  const keeper = (options: object) => ({ use: './keeper.mjs', options })
  const given = async (options: object): Promise<unknown> => {
    await make({ plugins: ['node-crypto', 'udp', keeper(options)] })
    return (globalThis as { natweaveMark?: unknown }).natweaveMark
  }

  test('come as text, from wherever they are; what is none stays as it is', async () => {
    const options = {
      password: { env: 'SECRET' },
      servers: [
        { url: 'a', password: { file: 'secret.txt' } },
        { url: 'b', password: { hex: '6869' } },
      ],
      users: { 'a.b': { base64: 'aGk=' }, plain: 'text', strange: 5 },
      other: { file: 'secret.txt' },
      mark: undefined,
    }
    expect(await given(options)).toEqual({
      password: 'of the environment',
      servers: [
        { url: 'a', password: 'of a file' },
        { url: 'b', password: 'hi' },
      ],
      users: { 'a.b': 'hi', plain: 'text', strange: 5 },
      other: { file: 'secret.txt' },
    })
    expect(await given({ servers: 'none', users: [{ env: 'SECRET' }] })).toEqual({
      servers: 'none',
      users: ['of the environment'],
    })
  })

  test.each([
    [{ password: { env: 'NOT_SET' } }, /^plugins\[2\]\.options\.password: the environment variable NOT_SET is not set/],
    [{ servers: [{}, { password: { file: 'x' } }] }, /^plugins\[2\]\.options\.servers\[1\]\.password: x: no such file/],
    [{ users: { alice: { file: 'octets' } } }, /^plugins\[2\]\.options\.users\.alice: the secret is no text in UTF-8/],
  ])('that are not to be had are named: %j', async (options, words) => {
    expect(await complaint(keeper(options))).toMatch(words)
  })

  test('may not stand in a file that others can read', async () => {
    const exposed = 'natweave.config.yaml can be read by others'
    expect(await complaint(keeper({ password: 'text' }), exposed)).toBe(`plugins[2].options: ${exposed}`)
    await make({ plugins: ['node-crypto', 'udp', keeper({ password: { env: 'SECRET' } })] }, exposed)
  })

  test.each([
    { use: 'turn', options: { servers: [{ url: 'turn:a', username: 'u', password: { env: 'SECRET' } }] } },
    { use: 'turn', options: { serve: { users: { alice: { file: 'secret.txt' } } } } },
    { use: 'hole-punch', options: { secret: { env: 'SECRET' }, serve: true } },
  ])('$use takes them: $options', async plugin => {
    const natweave = await make({ plugins: ['node-crypto', 'udp', plugin] })
    expect(natweave.status().plugins).toContain(plugin.use)
  })
})
