import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createNatweave, systemClock, systemRng } from '../../../core/index.ts'
import { defaults, stun } from '../../../plugins/index.ts'
import { detectNat } from '../../../plugins/stun/index.ts'
import { StunListener } from '../../../plugins/stun/listener.ts'
import { openUdp, type UdpPort } from '../../../plugins/stun/udp.ts'
import { pluginSuite } from '../../kit/index.ts'

/** On sockets of the system: loopback has two addresses where behaviour discovery wants them. */

pluginSuite(() => stun(), { test })

const ADDRESSES = ['127.0.0.1', '127.0.0.2']
let listener: StunListener
let silent: UdpPort
let ports: number[]

beforeAll(async () => {
  silent = await openUdp({ address: '127.0.0.1', port: 0 }, () => {})
  const free = await Promise.all([0, 0].map(port => openUdp({ address: '127.0.0.1', port }, () => {})))
  ports = free.map(({ local }) => local.port)
  await Promise.all(free.map(port => port.close()))
  const endpoints = ADDRESSES.flatMap(address => ports.map(port => ({ address, port })))
  listener = await StunListener.open({ endpoints, ratePerSource: 1000, rate: 1000 }, systemClock)
})
afterAll(() => Promise.all([listener.close(), silent.close()]))

const common = { family: 4, lifetimes: [], timeout: 20_000, clock: systemClock, rng: systemRng } as const

test('without a NAT on the way: none, and every probe is told', async () => {
  const told: string[] = []
  const report = await detectNat({
    ...common,
    servers: [`127.0.0.1:${ports[0]}`],
    lifetimes: [0],
    onProbe: ({ name }) => told.push(name),
  })
  expect(report.mapped).toEqual(report.local)
  expect(Object.fromEntries(report.verdicts.map(({ fact, value }) => [fact, value]))).toEqual({
    localNatKind: 'none',
    localNatMapping: 'none',
    localNatFiltering: 'endpoint-independent',
    udpFragments: true,
    mappingLifetime: 0,
  })
  expect(told.toSorted()).toEqual(report.probes.map(({ name }) => name).toSorted())
})

test('a server that is silent makes room for the next one, within the time', async () => {
  const servers = [`127.0.0.1:${silent.local.port}`, `127.0.0.1:${ports[0]}`]
  const report = await detectNat({ ...common, servers, timeout: 300 })
  expect(report.server.port).toBe(ports[0])
})

test('an abort ends it with what is known', async () => {
  const abort = new AbortController()
  const detecting = detectNat({ ...common, servers: [`127.0.0.1:${silent.local.port}`], signal: abort.signal })
  abort.abort()
  expect((await detecting).probes).toMatchObject([{ name: 'I', outcome: { type: 'stopped' } }])
})

test.each([
  ['no-such-host.invalid', 'SYSTEM_RESOLVE'],
  ['a b', 'USAGE_STUN_SERVER'],
])('server "%s": %s', async (server, code) => {
  await expect(detectNat({ ...common, servers: [server] })).rejects.toMatchObject({ code })
})

describe('the plugin serves', () => {
  const build = (serve: readonly string[]) =>
    createNatweave({
      plugins: [
        ...defaults({ tun: false, udp: { addresses: ['127.0.0.1'], ikePort: 0, nattPort: 0 }, stun: { serve } }),
      ],
      settings: {
        peers: {},
        pools: {},
        policy: { rules: [] },
        ike: {
          retransmitMs: 1000,
          retransmitBase: 1.8,
          retransmitTries: 3,
          cookieThreshold: 32,
          halfOpenLimit: 100,
          halfOpenTimeoutMs: 30_000,
        },
      },
    })

  test('while the build runs, and no longer', async () => {
    const free = await openUdp({ address: '127.0.0.3', port: 0 }, () => {})
    const { port } = free.local
    await free.close()
    const natweave = build([`127.0.0.3:${port}`])
    await natweave.start()
    const report = await detectNat({ ...common, servers: [`127.0.0.3:${port}`] })
    expect(report.mapped).toEqual(report.local)
    await natweave.stop()
    await (await openUdp({ address: '127.0.0.3', port }, () => {})).close()
  })

  test('a port that is taken is told by name', async () => {
    const natweave = build([`127.0.0.1:${ports[0]}`])
    await expect(natweave.start()).rejects.toThrow(`127.0.0.1:${ports[0]}`)
    await natweave.stop()
  })
})
