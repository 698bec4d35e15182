import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const run = promisify(execFile)
const NAMESPACE = `nwtun-${process.pid}`

const inside = (...command: string[]) => run('ip', ['netns', 'exec', NAMESPACE, ...command])
const script = (file: string, ...args: string[]) =>
  inside(process.execPath, '--import', 'tsx', fileURLToPath(new URL(file, import.meta.url)), ...args)
const child = (...args: string[]) => script('./tun-child.ts', ...args)

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('this test makes network namespaces and TUN devices: run it as root')
  if (!existsSync('/dev/net/tun')) throw new Error('/dev/net/tun is missing: modprobe tun, or --device /dev/net/tun')
  await run('ip', ['netns', 'add', NAMESPACE])
  await inside('ip', 'link', 'set', 'lo', 'up')
  // an outer interface with a default route, so that the main table has an answer
  await inside('ip', 'link', 'add', 'outer', 'type', 'veth', 'peer', 'name', 'wire')
  await inside('ip', 'addr', 'add', '192.0.2.1/24', 'dev', 'outer')
  for (const end of ['outer', 'wire']) await inside('ip', 'link', 'set', end, 'up')
  await inside('ip', 'route', 'add', 'default', 'via', '192.0.2.254')
})

afterAll(async () => {
  await run('ip', ['netns', 'del', NAMESPACE]).catch(() => {})
})

const BYPASS = ['esp', 'ah', 'udp sport 500', 'udp sport 4500'].map(
  what => `bypass: from all ipproto ${what} lookup main`,
)

test('a device carries packets both ways, keeps IKE out and leaves nothing behind', async () => {
  const { stdout } = await child()
  const saw = JSON.parse(stdout)
  const lookup = `lookup: from all lookup ${saw.table}`
  expect(saw).toMatchObject({
    name: 'nw0',
    before: [],
    during: [...BYPASS, lookup, ...BYPASS, lookup],
    routes: ['default dev nw0 scope link src 10.9.0.2'],
    mtu: '1400',
    ping4: '3 packets transmitted, 3 received',
    ping6: '3 packets transmitted, 3 received',
    flood: '3000 packets transmitted, 3000 received',
    responsive: true,
    paths: { ike: 'outer', other: 'nw0' },
    without: [],
    after: [],
    gone: true,
    failures: [],
    deleted: expect.stringMatching(/^reading the TUN device: .*; was the device deleted\?$/),
    info: expect.arrayContaining([['the peer assigned DNS servers, not installed', { dns: ['10.9.0.1'] }]]),
    answeredAll: true,
    seenSane: true,
    headroom: true,
    writeErrors: {},
  })
})

test('rules of a killed process are cleared by the next one', async () => {
  await expect(child('crash')).rejects.toMatchObject({ signal: 'SIGKILL' })
  expect((await inside('ip', 'rule')).stdout).toContain('sport 4500')
  const saw = JSON.parse((await child()).stdout)
  expect(saw).toMatchObject({ after: [], gone: true, failures: [] })
  expect((await inside('ip', 'rule')).stdout).not.toContain('sport 4500')
})

test('two devices in one namespace do not meet', async () => {
  const { stdout } = await script('./tun-two.ts')
  expect(JSON.parse(stdout)).toEqual({
    names: ['nw0', 'nw1'],
    // the bypasses of both come before the look-ups of both, and each has its own table
    open: ['main', 'main', 'main', 'main', 'main', 'main', 'first', 'second'],
    firstClosed: ['main', 'main', 'main', 'second'],
    closed: [],
  })
})

test('without the privilege the error says what to do', async () => {
  const { stdout } = await script('./tun-unprivileged.ts')
  expect(stdout).toMatch(/^SYSTEM_PERMISSION (opening|creating).*CAP_NET_ADMIN: run as root/)
})
