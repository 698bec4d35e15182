import { describe, expect } from 'vitest'
import type { ManualSettings } from '../../core/contracts/settings.ts'
import { Encr, Integ } from '../../core/wire/index.ts'
import { topologies } from '../kit/index.ts'
import { clients, lanOfMoon, type Node, node, ping, scenario, toMoon, transfer, ts, Wire } from './support.ts'

/** Static SAs: keys from the configuration, no IKE. */

const ALICE = '203.0.113.50'
const MOON = '203.0.113.20'
const SHA256 = { encr: Encr.ENCR_NULL, integ: Integ.AUTH_HMAC_SHA2_256_128, esn: false } as const
const CBC = { ...SHA256, encr: Encr.ENCR_AES_CBC, keyBits: 128 } as const
const AH = { ...SHA256, protocol: 51 } as const

const keys = (spi: number, suite: ManualSettings['suite'] = SHA256) => ({
  spi,
  encr: new Uint8Array((suite.keyBits ?? 0) / 8).fill(spi >> 4),
  integ: new Uint8Array(32).fill(spi),
})

const lab = (wish: Partial<ManualSettings> = {}): Record<string, ManualSettings> => ({
  lab: {
    name: 'lab',
    local: ALICE,
    remote: MOON,
    mode: 'tunnel',
    suite: SHA256,
    inbound: keys(0x1001, wish.suite),
    outbound: keys(0x1002, wish.suite),
    localTs: [ts('dynamic')],
    remoteTs: [ts('10.3.0.0/24')],
    replayWindow: 0,
    ahAlign: 4,
    ...wish,
  },
})
const atMoon = (wish: Partial<ManualSettings> = {}) =>
  lab({
    local: MOON,
    remote: ALICE,
    inbound: keys(0x1002, wish.suite),
    outbound: keys(0x1001, wish.suite),
    localTs: [ts('10.3.0.0/24')],
    remoteTs: [ts('dynamic')],
    ...wish,
  })
const sa = (n: Node) => n.natweave.status().manual![0]!

describe('manual keys', () => {
  for (const [name, suite, mode] of [
    ['ESP with AES-CBC in tunnel mode', CBC, 'tunnel'],
    ['ESP with null encryption in transport mode', SHA256, 'transport'],
    ['AH in tunnel mode', AH, 'tunnel'],
    ['AH in transport mode', AH, 'transport'],
  ] as const)
    scenario(name, async seed => {
      const { net, inet, alice, moon } = topologies.direct({ seed, trace: false })
      const wire = new Wire(net, inet)
      const hosts = mode === 'transport' ? { localTs: [ts('dynamic')], remoteTs: [ts('dynamic')] } : {}
      const raw = { protocols: [50, 51] } as const
      const a = await node(net, alice, { peers: [], manual: lab({ suite, mode, ...hosts }) }, raw)
      const m = await node(net, moon, { peers: [], manual: atMoon({ suite, mode, ...hosts }) }, raw)
      const to = mode === 'transport' ? MOON : '10.3.0.5'
      expect(await ping(net, alice, to)).toBe(3)
      expect(await transfer(net, alice, to, 20_000)).toBe(true)
      expect(sa(a)).toMatchObject({ id: 'manual/lab', state: 'installed', mode, encap: 'none', plane: 'portable' })
      expect(sa(a).counters.packetsIn).toBeGreaterThan(3)
      expect([sa(a).counters.drops, sa(m).counters.drops]).toEqual([{}, {}])
      expect(new Set(wire.seen.map(s => s.protocol))).toEqual(new Set(['protocol' in suite ? 51 : 50]))
      expect(a.natweave.status().peers).toEqual([])
    })

  scenario('one end starts anew: its numbers do too, and traffic goes on', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    const first = await node(net, alice, { peers: [], manual: lab() })
    const m = await node(net, moon, { peers: [], manual: atMoon() })
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    await first.crash()
    await node(net, alice, { peers: [], manual: lab() })
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(sa(m).counters).toMatchObject({ packetsIn: 6, drops: {} })
  })

  scenario('a wrong key is counted, nothing is delivered', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    await node(net, alice, { peers: [], manual: lab({ outbound: { ...keys(0x1002), integ: new Uint8Array(32) } }) })
    const m = await node(net, moon, { peers: [], manual: atMoon() })
    expect(await ping(net, alice, '10.3.0.5')).toBe(0)
    expect(sa(m).counters).toMatchObject({ packetsIn: 0, drops: { integrity: 3 } })
  })

  scenario('an address that is not there yet: said, and installed when it comes', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    const a = await node(net, alice, { peers: [], manual: lab({ local: '203.0.113.77' }) })
    await node(net, moon, { peers: [], manual: atMoon({ remote: '203.0.113.77' }) })
    expect(sa(a).state).toBe('connecting')
    expect(a.of('failed')).toMatchObject([{ peer: 'lab', code: 'PLAN_ENDPOINT' }])
    alice.addAddress('203.0.113.77')
    await net.advance(100)
    expect(sa(a).state).toBe('installed')
    expect(await ping(net, alice, '10.3.0.5', 3, '203.0.113.77')).toBe(3)
  })

  scenario('what cannot be is said: a mode nobody has, addresses a mode cannot carry', async seed => {
    const { net, alice } = topologies.direct({ seed, trace: false })
    const a = await node(net, alice, {
      peers: [],
      manual: {
        ...lab({ mode: 'wormhole' }),
        other: { ...lab({ mode: 'transport', inbound: keys(0x1003) }).lab!, name: 'other' },
      },
    })
    expect(a.of('failed').map(e => [e.peer, e.why])).toEqual([
      ['lab', 'no mode wormhole is loaded'],
      ['other', 'transport mode: transport mode carries one address on each side only'],
    ])
  })

  scenario('beside peers that IKE serves', async seed => {
    const { net, alice, bob, moon } = topologies.direct({ seed, trace: false })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob' })] })
    await node(net, alice, { peers: [], manual: lab() })
    const m = await node(net, moon, { peers: [clients({ children: [lanOfMoon()] })], manual: atMoon() })
    await b.connect('moon')
    expect(await ping(net, bob, '10.3.0.5')).toBe(3)
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(sa(m).counters.packetsIn).toBe(3)
  })
})
