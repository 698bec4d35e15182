import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { build } from '../../core/cli/build.ts'
import { loadConfig } from '../../core/config/index.ts'
import { silentLog } from '../../core/contracts/log.ts'

const load = (name: string, env: Record<string, string>) =>
  loadConfig({ file: fileURLToPath(new URL(`../../examples/${name}`, import.meta.url)), env })

test('roadwarrior.yaml is a configuration, and its strategies are there', async () => {
  const config = await load('roadwarrior.yaml', { OFFICE_PSK: 'secret' })
  const { office } = config.settings.peers
  expect(office).toMatchObject({
    remote: 'gw.example.org',
    localId: { type: 'rfc822', value: 'alice@example.org' },
    requestAddresses: [4],
    start: 'connect',
    rekeyMs: 4 * 3_600_000,
  })
  expect(office?.children.printer).toMatchObject({
    start: 'trap',
    remoteTs: [{ range: { address: '10.7.0.9', bits: 32 }, protocol: 6, startPort: 631, endPort: 631 }],
  })
  const natweave = await build(config, silentLog)
  expect(natweave.plan('office').map(({ child }) => child)).toEqual(['intranet', 'printer'])
})

test('gateway.yaml is a configuration', async () => {
  const config = await load('gateway.yaml', { WARRIORS_PSK: 'one', BRANCH_PSK: 'two' })
  const { warriors, branch } = config.settings.peers
  expect(config.settings.pools.warriors).toEqual({
    name: 'warriors',
    prefix: { address: '10.9.0.0', bits: 24 },
    dns: ['10.3.0.53'],
  })
  expect(warriors).toMatchObject({ remote: undefined, pool: 'warriors', dpdMs: 60_000 })
  expect(branch?.children.site).toMatchObject({ rekeyOctets: 10e9, replayWindow: 4096 })
  expect((await build(config, silentLog)).plan('branch')[0]?.plans[0]?.usable).toBe(true)
})

test('secrets of the examples come from the environment only', async () => {
  await expect(load('gateway.yaml', { WARRIORS_PSK: 'one' })).rejects.toThrow(
    /peers\.branch\.psk: the environment variable BRANCH_PSK is not set/,
  )
})

test('natweave.config.ts computes its peers and brings a plugin of its own', async () => {
  const config = await load('natweave.config.ts', { BRANCH1_PSK: '1', BRANCH2_PSK: '2', BRANCH3_PSK: '3' })
  expect(Object.keys(config.settings.peers)).toEqual(['branch1', 'branch2', 'branch3'])
  const natweave = await build(config, silentLog)
  expect(natweave.status().plugins).toContain('tenant')
  const best = (peer: string) => natweave.plan(peer)[0]?.plans[0]?.plan.mode
  expect([best('branch1'), best('branch3')]).toEqual(['tunnel', 'marked-tunnel'])
})
