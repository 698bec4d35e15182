import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/** The command as a user runs it, in processes of its own. */

const MAIN = fileURLToPath(new URL('../../../core/cli/main.ts', import.meta.url))
const TSX = import.meta.resolve('tsx')
const folder = mkdtempSync(join(tmpdir(), 'natweave-command-'))
afterAll(() => rmSync(folder, { recursive: true }))

interface Result {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function start(...args: string[]): { child: ChildProcess; result: Promise<Result> } {
  const env = { ...process.env, GATEWAY_PSK: 'hush', NO_COLOR: '1', XDG_RUNTIME_DIR: folder }
  const child = spawn(process.execPath, ['--import', TSX, MAIN, ...args], { cwd: folder, env })
  let [out, err] = ['', '']
  child.stdout.on('data', data => {
    out += data
  })
  child.stderr.on('data', data => {
    err += data
  })
  return { child, result: new Promise(resolve => child.once('close', code => resolve({ code, out, err }))) }
}

const natweave = (...args: string[]): Promise<Result> => start(...args).result

const file = (name: string, content: string, mode = 0o600): string => {
  const path = join(folder, name)
  writeFileSync(path, content, { mode })
  return path
}

test('--help lists commands, first steps and exit codes; --version the version', async () => {
  const [help, version] = await Promise.all([natweave('--help'), natweave('--version')])
  expect(help.code).toBe(0)
  for (const word of [
    'connect',
    'disconnect',
    'status',
    'down',
    'plan',
    'demo',
    'init',
    'import',
    'check',
    'rekey',
    'detect',
  ])
    expect(help.out).toContain(`natweave ${word}`)
  for (const code of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130]) expect(help.out).toMatch(new RegExp(`^ +${code} {2}\\w`, 'm'))
  expect(version.out).toMatch(/^\d+\.\d+\.\d+\n$/)
})

describe('mistakes: one line, no trace, the documented exit code', () => {
  const secret = 'peers: { moon: { remote: 192.0.2.1, psk: hush, children: { lan: {} } } }\n'
  for (const [name, args, code, message] of [
    ['unknown command', () => ['conect'], 2, /did you mean `connect`\?/],
    ['unknown flag', () => ['up', '--confg', 'x'], 2, /did you mean --config\?/],
    ['missing argument', () => ['connect'], 2, /Expected .* peer/],
    ['wrong value', () => ['up', '--log-level', 'loud'], 2, /debug/],
    ['no server to ask', () => ['detect'], 2, /--server HOST\[:PORT\] names one/],
    ['no STUN server', () => ['detect', '--server', 'a:0'], 2, /"a:0" is no STUN server/],
    ['no such server', () => ['detect', '--server', 'no.invalid'], 5, /no\.invalid: no IPv4 address found/],
    ['no such file', () => ['check', '--config', 'none.yaml'], 3, /none\.yaml: no such file/],
    [
      'a file that others can read',
      () => ['up', '--config', file('open.yaml', secret, 0o644)],
      3,
      /open\.yaml can be read by others \(mode 644\): chmod 600 /,
    ],
    [
      'wrong value in the file',
      () => ['check', '--config', file('bad.yaml', 'peer: {}\n')],
      3,
      /bad\.yaml: peer: unknown key/,
    ],
    ['unknown peer', () => ['plan', 'sun', '--config', file('moon.yaml', secret)], 2, /no peer "sun"/],
    ['nothing is running', () => ['status', '--socket', join(folder, 'no.sock')], 8, /start it with natweave up/],
    [
      'a place where no socket can be',
      () => ['up', '--detach', '--config', file('moon2.yaml', secret), '--socket', join(file('plain', ''), 'x.sock')],
      4,
      /the control socket .*\/plain\/x\.sock cannot be made: /,
    ],
  ] as const)
    test(name, async () => {
      const result = await natweave(...args())
      expect(result).toMatchObject({ code, out: '', err: expect.stringMatching(message) })
      expect(result.err.trim().split('\n').length).toBe(1)
      expect(result.err).not.toContain('hush')
    })

  test('as JSON', async () => {
    const { code, out } = await natweave('check', '--json', '--config', 'none.yaml')
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'CONFIG_INVALID', exitCode: 3 } })
    expect(code).toBe(3)
  })
})

test('init writes a configuration that check accepts, and overwrites only when told', async () => {
  const path = join(folder, 'new.yaml')
  expect(await natweave('init', 'new.yaml')).toMatchObject({ code: 0, err: '' })
  expect((statSync(path).mode & 0o777).toString(8)).toBe('600')
  expect(await natweave('check', '--config', path)).toMatchObject({ code: 0, out: expect.stringContaining('OK ') })
  writeFileSync(path, 'mine')
  expect(await natweave('init', 'new.yaml')).toMatchObject({
    code: 2,
    err: expect.stringContaining('--force overwrites it'),
  })
  expect(readFileSync(path, 'utf8')).toBe('mine')
  expect(await natweave('init', '--force', '--json', 'new.yaml')).toMatchObject({ code: 0 })
  expect(readFileSync(path, 'utf8')).toContain('peers:')
})

test('import writes what check accepts, says what it left behind, and tells so by its exit code', async () => {
  const from = file(
    'swanctl.conf',
    `connections {
  moon {
    remote_addrs = 192.0.2.1
    if_id_in = 42
    local { auth = psk
      id = alice@lab.test }
    remote { auth = psk
      id = moon@lab.test }
    children { lan { remote_ts = 10.3.0.0/24 } }
  }
}
secrets { ike { secret = hush } }
`,
  )
  const path = join(folder, 'imported.yaml')
  const left = `${from}:4: connections.moon.if_id_in = 42: not carried over: there are no XFRM interfaces`
  const imported = await natweave('import', from, '--output', path)
  expect(imported).toMatchObject({ code: 9, err: expect.stringContaining(left) })
  expect((statSync(path).mode & 0o777).toString(8)).toBe('600')
  expect(await natweave('check', '--config', path)).toMatchObject({ code: 0, out: expect.stringContaining('moon') })
  expect(await natweave('import', from, '--output', path)).toMatchObject({
    code: 2,
    err: expect.stringMatching(/--force/),
  })
  const json = await natweave('import', from, '--output', '-', '--json')
  expect(JSON.parse(json.out)).toMatchObject({
    peers: ['moon'],
    notes: [{ file: from, line: 4, setting: 'connections.moon.if_id_in', value: '42', kind: 'dropped' }],
    problems: [],
    yaml: expect.stringContaining('remote: 192.0.2.1'),
  })
  writeFileSync(from, readFileSync(from, 'utf8').replace('if_id_in = 42', ''))
  const shown = await natweave('import', from, '--output', '-')
  expect(shown).toMatchObject({ code: 0, err: '', out: expect.stringContaining('psk: hush') })
  writeFileSync(from, 'connections {')
  expect(await natweave('import', from)).toMatchObject({ code: 3, err: expect.stringContaining('has no end') })
})

/** Two instances on loopback, at addresses that no other run of this test uses. */
describe('two instances', () => {
  const net = `127.${100 + ((process.pid >> 8) % 100)}.${process.pid & 255}`
  const [alice, moon] = [join(folder, 'alice.sock'), join(folder, 'moon.sock')]
  const listen = (host: number) =>
    `listen: { addresses: [${net}.${host}], ports: { ike: 1500, natt: 4500 } }\ndevice: false\n`
  const child = (local: string, remote: string) => `children: { lan: { local: [${local}], remote: [${remote}] } }`

  beforeAll(async () => {
    const at = `remote: '${net}.2:4500', remoteId: moon.test`
    file(
      'alice.yaml',
      `${listen(1)}local: { id: alice.test }
ike: { retransmit: { timeout: 300ms, tries: 3 } }
peers:
  moon: { ${at}, psk: hush, ${child('10.1.0.0/24', '10.2.0.0/24')} }
  wrong-key: { ${at}, psk: loud, ${child('10.1.0.0/24', '10.2.0.0/24')} }
  wrong-suite: { ${at}, psk: hush, proposals: [aes128-sha1-modp2048], ${child('10.1.0.0/24', '10.2.0.0/24')} }
  silent: { remote: '${net}.9:4500', psk: hush, ${child('10.1.0.0/24', '10.2.0.0/24')} }
`,
    )
    file(
      'moon.yaml',
      `${listen(2)}local: { id: moon.test }
peers:
  alice: { remoteId: alice.test, psk: hush, proposals: [aes256gcm16-prfsha256-x25519], ${child('10.2.0.0/24', '10.1.0.0/24')} }
`,
    )
    for (const [socket, config] of [
      [moon, 'moon.yaml'],
      [alice, 'alice.yaml'],
    ] as const) {
      const { code, out, err } = await natweave('up', '--detach', '--json', '--socket', socket, '--config', config)
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(JSON.parse(out)).toMatchObject({ socket, config: expect.stringContaining(config) })
    }
  }, 60_000)
  afterAll(async () => {
    for (const socket of [alice, moon]) await natweave('down', '--socket', socket)
  }, 60_000)

  test('connect shows how it goes, status how it is, disconnect ends it', async () => {
    const connected = await natweave('connect', 'moon', '--socket', alice)
    expect(connected).toMatchObject({ code: 0, err: '' })
    expect(connected.out).toMatch(/^ +\d+ ms {2}connecting: /m)
    expect(connected.out).toMatch(/^ +\d+ ms {2}established with moon\.test, aes256gcm16-prfsha256-x25519$/m)
    expect(connected.out).toMatch(/^moon is connected/m)
    const { out } = await natweave('status', '--json', '--socket', moon)
    expect(JSON.parse(out).peers).toMatchObject([{ name: 'alice', state: 'established', children: [{ name: 'lan' }] }])
    expect(await natweave('rekey', 'moon', '--child', 'lan', '--socket', alice)).toMatchObject({ code: 0 })
    expect(await natweave('disconnect', 'moon', '--socket', alice)).toMatchObject({ code: 0 })
    const after = await natweave('status', '--json', '--socket', moon)
    expect(JSON.parse(after.out).peers).toMatchObject([{ name: 'alice', state: 'idle', children: [] }])
  })

  for (const [peer, code, message] of [
    ['wrong-key', 6, /check the pre-shared key/],
    ['wrong-suite', 7, /proposal/],
    ['silent', 5, /no answer/],
    ['sun', 2, /no peer "sun"/],
  ] as const)
    test(`${peer} → ${code}`, async () => {
      const result = await natweave('connect', peer, '--socket', alice)
      expect(result).toMatchObject({ code, err: expect.stringMatching(message) })
      expect(result.err.trim().split('\n').length).toBe(1)
    })

  test('a second instance is refused: the socket, or else the ports', async () => {
    expect(await natweave('up', '--config', 'alice.yaml', '--socket', alice)).toMatchObject({
      code: 4,
      err: expect.stringContaining('already running'),
    })
    for (const detach of [[], ['--detach']])
      expect(
        await natweave('up', ...detach, '--config', 'alice.yaml', '--socket', join(folder, 'second.sock')),
      ).toMatchObject({
        code: 4,
        err: expect.stringMatching(/port 1500 .* in use/),
      })
  })

  test('a signal ends the foreground cleanly: the peer hears of it', async () => {
    const config = file(
      'carol.yaml',
      readFileSync(join(folder, 'alice.yaml'), 'utf8').replace(`${net}.1]`, `${net}.3]`),
    )
    const socket = join(folder, 'carol.sock')
    const { child, result } = start('up', '--json', '--config', config, '--socket', socket)
    await new Promise<void>(resolve => {
      child.stderr?.on('data', data => String(data).includes('natweave is up') && resolve())
    })
    expect(await natweave('connect', 'moon', '--socket', socket)).toMatchObject({ code: 0 })
    child.kill('SIGTERM')
    const { code, out } = await result
    expect(code).toBe(0)
    const events = out
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as { type: string })
    expect(events.map(event => event.type)).toContain('established')
    const after = await natweave('status', '--json', '--socket', moon)
    expect(JSON.parse(after.out).peers).toMatchObject([{ name: 'alice', state: 'idle' }])
    expect(await natweave('status', '--socket', socket)).toMatchObject({ code: 8 })
  })
})
