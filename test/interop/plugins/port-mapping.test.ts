import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ConfigInput } from '../../../core/config/index.ts'
import type { Status } from '../../../core/contracts/natweave.ts'
import { Lab, last } from '../lab.ts'
import { COMMAND, NatweaveProcess } from '../natweave.ts'
import type { TunnelConfig } from '../party.ts'
import { until } from '../process.ts'

/** alice behind a NAT that lets nobody in, whose router runs miniupnpd, and med, which calls her by the forwarded port. */

const lab = new Lab(`${process.env.LAB_PREFIX ?? 'nwi'}-pm`)
const GATEWAY = '10.1.0.1'
/** miniupnpd forwards nothing where its outer address is one of documentation, as all of the lab are. */
const OUTER = '11.1.1.1'
const KEY = 'a secret of alice and med'

/** Where miniupnpd writes its rules; the forwarding itself is let through by the lab's own. */
const TABLE = `table inet miniupnpd {
  chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
  chain miniupnpd { }
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
`

const settings = (options: Readonly<Record<string, string>>): string =>
  `${Object.entries({
    ext_ifname: 'wan0',
    ext_ip: OUTER,
    listening_ip: 'lan0',
    http_port: '5000',
    secure_mode: 'yes',
    uuid: '00000000-0000-4000-8000-000000000001',
    upnp_table_name: 'miniupnpd',
    upnp_nat_table_name: 'miniupnpd',
    upnp_forward_chain: 'miniupnpd',
    upnp_nat_chain: 'prerouting_miniupnpd',
    upnp_nat_postrouting_chain: 'postrouting_miniupnpd',
    ...options,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')}allow 1024-65535 0.0.0.0/0 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n`

async function miniupnpd(options: Readonly<Record<string, string>>): Promise<void> {
  await lab.exec('nata', ['nft', '-f', lab.write('nata', 'miniupnpd.nft', TABLE)])
  const config = lab.write('nata', 'miniupnpd.conf', settings(options))
  const argv = ['miniupnpd', '-d', '-f', config, '-P', lab.file('nata', 'miniupnpd.pid')]
  const daemon = lab.spawn('nata', 'miniupnpd', argv)
  await until('miniupnpd', 10_000, async () => {
    if (!daemon.alive) throw new Error(`miniupnpd ended: ${last(daemon.log())}`)
    return /HTTP listening|Listening for NAT-PMP/.test(daemon.log())
  })
}

/** The gateway's rules that forward something. */
const forwarded = async (): Promise<string> =>
  (await lab.exec('nata', ['nft', 'list', 'chain', 'inet', 'miniupnpd', 'prerouting_miniupnpd'])).stdout

async function status(): Promise<Status> {
  const socket = lab.file('alice', 'natweave.sock')
  return JSON.parse((await lab.exec('alice', [...COMMAND, 'status', '--json', '--socket', socket])).stdout) as Status
}

const candidate = async () => (await status()).candidates.find(({ kind }) => kind === 'server-reflexive')

const INNER = { alice: '10.77.0.1/32', med: '10.77.0.2/32' } as const

const peer = (me: 'alice' | 'med', other: 'alice' | 'med') => ({
  localId: me,
  remoteId: other,
  psk: KEY,
  children: { lan: { local: [INNER[me]], remote: [INNER[other]] } },
  reconnect: false,
})

/** Parts of the usual tunnel that are not used here. */
const NONE = {} as TunnelConfig

const natweave = (host: 'alice' | 'med', config: ConfigInput): NatweaveProcess =>
  new NatweaveProcess(lab, host, NONE, { device: false, ...config })

const alice = (options: Readonly<Record<string, unknown>>): NatweaveProcess =>
  natweave('alice', {
    plugins: ['node-crypto', 'noble', 'udp', 'memory', 'udp-encap', { use: 'port-mapping', options }],
    peers: { med: peer('alice', 'med') },
  })

beforeEach(async () => {
  if (process.getuid?.() !== 0) throw new Error('this test makes network namespaces: run it as root')
  await lab.up('nat1', ['--nata', 'symmetric'])
  await lab.exec('nata', ['ip', 'address', 'add', `${OUTER}/32`, 'dev', 'wan0'])
  await lab.exec('med', ['ip', 'route', 'add', OUTER, 'via', '198.51.100.1'])
})

afterEach(() => lab.down())

describe('miniupnpd forwards a port, through which a peer connects, and no longer after the end', () => {
  test.each([
    ['PCP', { enable_natpmp: 'yes', enable_upnp: 'yes' }, {}],
    ['NAT-PMP', { enable_natpmp: 'yes', enable_upnp: 'yes' }, { protocols: ['nat-pmp'] }],
    // without PCP: it is silent, and UPnP is tried by itself
    ['UPnP IGD', { enable_natpmp: 'no', enable_upnp: 'yes' }, {}],
    ['UPnP IGD', { enable_natpmp: 'no', enable_upnp: 'yes', force_igd_desc_v1: 'yes' }, { protocols: ['upnp'] }],
  ] as const)('by %s, %j, %j', async (name, gateway, options) => {
    await miniupnpd(gateway)
    const a = alice(options)
    await a.start()
    const found = await until('the candidate', 30_000, candidate)
    expect(found).toMatchObject({ source: `${name} on ${GATEWAY}`, base: '10.1.0.5:4500', endpoint: `${OUTER}:4500` })
    expect(await forwarded()).toMatch(/dport 4500 dnat ip to 10\.1\.0\.5:4500/)
    const { stdout } = await lab.exec('alice', ['upnpc', '-l'])
    expect(stdout).toMatch(/UDP +4500->10\.1\.0\.5:4500 /)

    const med = natweave('med', {
      plugins: ['node-crypto', 'noble', 'udp', 'memory', 'udp-encap'],
      peers: { tunnel: { ...peer('med', 'alice'), remote: `${OUTER}:4500` } },
    })
    await med.start()
    await med.connect()
    expect(await med.established('tunnel')).toBe(true)
    expect(await a.established('med')).toBe(true)

    await med.stop()
    await a.stop()
    expect(await forwarded()).not.toMatch(/dnat/)
  })

  test('a port that another host has is not taken from it', async () => {
    await miniupnpd({ enable_natpmp: 'no', enable_upnp: 'yes', secure_mode: 'no' })
    await lab.exec('alice', ['upnpc', '-a', '10.1.0.9', '4500', '4500', 'UDP'])
    const a = alice({ protocols: ['upnp'] })
    await a.start()
    const found = await until('the candidate', 30_000, candidate)
    const port = Number(found.endpoint.split(':')[1])
    expect(port).toBeGreaterThanOrEqual(49_152)
    expect(await forwarded()).toContain(`dport ${port} dnat ip to 10.1.0.5:4500`)
    expect(await forwarded()).toContain('dport 4500 dnat ip to 10.1.0.9:4500')
    await a.stop()
    expect(await forwarded()).not.toContain('10.1.0.5')
  })
})
