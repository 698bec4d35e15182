import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'

const run = promisify(execFile)
const [HERE, THERE] = [`nwraw-${process.pid}-a`, `nwraw-${process.pid}-b`]
const V4 = { here: '192.0.2.1', there: '192.0.2.2' }
const V6 = { here: '2001:db8::1', there: '2001:db8::2' }
const PAIRS = [V4, V6].map(({ here, there }) => `${here},${there}`)

const inside = (namespace: string, ...command: string[]) => run('ip', ['netns', 'exec', namespace, ...command])
const script = (file: string, ...args: string[]) => [
  process.execPath,
  '--import',
  'tsx',
  fileURLToPath(new URL(file, import.meta.url)),
  ...args,
]
const ask = async (mode: string, ...pairs: string[]) =>
  JSON.parse((await inside(HERE, ...script('./raw-child.ts', mode, ...pairs))).stdout)

/** Node shows the addresses of an interface only when the kernel has noticed that its cable is plugged in. */
async function cablePlugged(namespace: string): Promise<void> {
  for (let waited = 0; waited < 5_000; waited += 50) {
    if ((await inside(namespace, 'cat', '/sys/class/net/eth0/operstate')).stdout.trim() === 'up') return
    await sleep(50)
  }
  throw new Error(`${namespace}: eth0 is not up`)
}

const running: ChildProcess[] = []

/** Starts a program and waits until its output has `sign`. @returns ends it (by closing its input, or by a signal) */
async function start(
  sign: RegExp,
  end: 'close' | NodeJS.Signals,
  ...command: string[]
): Promise<() => Promise<string>> {
  const child = spawn('ip', ['netns', 'exec', THERE, ...command])
  running.push(child)
  const exited = new Promise<void>(resolve => child.once('close', () => resolve()))
  let output = ''
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', chunk => {
      output += chunk
      if (sign.test(output)) resolve()
    })
    child.stderr.on('data', chunk => {
      said += chunk
      if (sign.test(said)) resolve()
    })
    child.once('close', () => reject(new Error(`${command.join(' ')}: ${said}`)))
  })
  return async () => {
    if (end === 'close') child.stdin.end()
    else child.kill(end)
    await exited
    return output.replace(sign, '')
  }
}

const echo = () => start(/^ready\n/, 'close', ...script('./raw-child.ts', 'echo'))
/** Both directions, so that a packet's second line is the answer's. */
const wire = () => start(/listening on/, 'SIGINT', 'tcpdump', '-i', 'eth0', '-n', '-v', '-l', '--immediate-mode')

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('this test makes network namespaces and raw sockets: run it as root')
  for (const name of [HERE, THERE]) await run('ip', ['netns', 'add', name])
  await inside(HERE, 'ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', THERE)
  for (const [name, side] of [
    [HERE, 'here'],
    [THERE, 'there'],
  ] as const) {
    await inside(name, 'ip', 'link', 'set', 'lo', 'up')
    await inside(name, 'ip', 'addr', 'add', `${V4[side]}/24`, 'dev', 'eth0')
    await inside(name, 'ip', 'addr', 'add', `${V6[side]}/64`, 'dev', 'eth0', 'nodad')
    await inside(name, 'ip', 'link', 'set', 'eth0', 'up')
  }
  await Promise.all([HERE, THERE].map(cablePlugged))
})

afterEach(() => {
  for (const child of running.splice(0)) if (child.exitCode === null) child.kill('SIGKILL')
})

afterAll(async () => {
  for (const name of [HERE, THERE]) await run('ip', ['netns', 'del', name]).catch(() => {})
})

const ESP_V4 = { tos: 0x2a, ttl: 33, df: true, id: 0x1234, flowLabel: 0 }
const ESP_V6 = { tos: 0x2a, ttl: 33, df: true, id: 0, flowLabel: 0xabcde }

test('ESP and AH go both ways under the header fields that were asked for', async () => {
  const endEcho = await echo()
  const endWire = await wire()
  const saw = await ask('ask', ...PAIRS)
  const lines = (await endWire()).replaceAll(/\n\s+/g, ' ').split('\n')
  const stats = JSON.parse(await endEcho())

  expect(saw.locals).toEqual([50, 51].flatMap(protocol => [V4, V6].map(({ here }) => [protocol, 'raw', here, 0])))
  const row = (protocol: number, remote: string, sent: object) => ({
    answer: { ...sent, protocol, nextHeader: protocol, remote, length: 64, headroom: true },
    back: { ...sent, protocol },
  })
  const rows = [row(50, V4.here, ESP_V4), row(51, V4.here, ESP_V4), row(50, V6.here, ESP_V6), row(51, V6.here, ESP_V6)]
  expect(saw.answers.slice(0, 4)).toEqual(rows)
  expect(saw.answers[4].answer).toMatchObject({ df: false, length: 65 })
  expect(saw.answers[4].answer.id).not.toBe(0)
  // larger than the interface takes, from an address that is not ours
  expect(saw.stats).toMatchObject({ sent: 5, received: 5, unbound: 1, foreign: 0, sendErrors: { EMSGSIZE: 4 } })
  expect(saw).toMatchObject({ carried: [true, true, true, true, false], failures: [], left: [] })
  // the addresses went and came back
  expect(saw.changes).toEqual([[], saw.locals])
  expect(stats).toMatchObject({ received: 5, sent: 5, failures: [], sendErrors: {} })

  // what tcpdump says, which knows nothing of our structures
  const count = (pattern: RegExp) => lines.filter(line => pattern.test(line)).length
  expect(
    count(/tos 0x2a.*, ttl 33, id 4660, offset 0, flags \[DF\], proto ESP \(50\), length 84\) 192\.0\.2\.1 > 192/),
  ).toBe(1)
  expect(
    count(/tos 0x2a.*, ttl 33, id 4660, offset 0, flags \[DF\], proto AH \(51\), length 84\) 192\.0\.2\.1 > 192/),
  ).toBe(1)
  expect(count(/class 0x2a, flowlabel 0xabcde, hlim 33, next-header ESP \(50\).* 2001:db8::1 > 2001:db8::2/)).toBe(1)
  expect(count(/class 0x2a, flowlabel 0xabcde, hlim 33, next-header AH \(51\).* 2001:db8::1 > 2001:db8::2/)).toBe(1)
  // the open socket keeps the kernel from answering "protocol unreachable"
  expect(count(/unreachable|parameter problem|bad-cksum/i)).toBe(0)
})

test('without a socket the kernel answers that it knows no such protocol', async () => {
  const endWire = await wire()
  await ask('shout', ...PAIRS)
  const lines = await endWire()
  expect(lines).toMatch(/192\.0\.2\.2 protocol 50 unreachable/)
  expect(lines).toMatch(/ICMP6, parameter problem/)
})

test('a flood arrives whole and in place', async () => {
  const endEcho = await echo()
  const saw = await ask('flood', ...PAIRS)
  const stats = JSON.parse(await endEcho())
  expect(saw.stats.sent).toBe(10_005)
  expect(stats.counted).toBe(10_000)
})

test('routes are looked up for the protocol, so that the rules of plugin tun keep ESP out of a full tunnel', async () => {
  await inside(HERE, 'ip', 'route', 'add', 'blackhole', 'default', 'table', '4500')
  await inside(HERE, 'ip', '-6', 'route', 'add', 'blackhole', 'default', 'table', '4500')
  for (const family of ['-4', '-6']) {
    await inside(HERE, 'ip', family, 'rule', 'add', 'pref', '5500', 'lookup', '4500')
    for (const protocol of ['esp', 'ah'])
      await inside(HERE, 'ip', family, 'rule', 'add', 'pref', '4500', 'ipproto', protocol, 'lookup', 'main')
  }
  const endEcho = await echo()
  const saw = await ask('ask', ...PAIRS)
  await endEcho()
  for (const family of ['-4', '-6'])
    for (const pref of ['5500', '4500', '4500']) await inside(HERE, 'ip', family, 'rule', 'del', 'pref', pref)
  expect(saw.answers).toHaveLength(5)
})

test('without the privilege the error says what to do', async () => {
  const { stdout } = await inside(HERE, ...script('./raw-unprivileged.ts'))
  expect(stdout).toMatch(/^SYSTEM_PERMISSION opening a raw socket for IP protocol 50: raw sockets need CAP_NET_RAW/)
})
