import { describe, expect } from 'vitest'
import type { ManualSettings } from '../../core/contracts/settings.ts'
import { Encr, Integ } from '../../core/wire/index.ts'
import { topologies } from '../kit/index.ts'
import {
  type ChildWish,
  child,
  clients,
  drive,
  lanOfMoon,
  node,
  type PeerWish,
  peer,
  ping,
  scenario,
  toMoon,
  transfer,
  ts,
  Wire,
} from './support.ts'

/** The first problem of NAT shown rather than told: AH covers what a NAT changes. And what to use instead. */

const RAW = { protocols: [50, 51] } as const
const ah = { protocol: 'ah' } as const
const CURE = /null-sha256.*beet/s

const aliceAh = (wish: ChildWish = {}) => toMoon({ children: [child({ ...ah, ...wish })] })
const moonAh = (wish: ChildWish = {}) => clients({ children: [lanOfMoon({ ...ah, ...wish })] })
const hosts = (wish: ChildWish = {}) =>
  child({ name: 'hosts', local: ['dynamic'], remote: ['dynamic'], mode: 'transport', ...ah, ...wish })
const toBob = (wish: Partial<PeerWish> = {}) =>
  peer({ name: 'bob', me: 'alice', remote: '203.0.113.60', children: [hosts()], ...wish })
const toAlice = (wish: Partial<PeerWish> = {}) => peer({ name: 'alice', me: 'bob', children: [hosts()], ...wish })

describe('AH without a NAT', () => {
  for (const [name, proposals] of [
    ['the default', []],
    ['HMAC-SHA2-512 and ESN', ['sha512-esn']],
    ['AES-XCBC', ['aesxcbc']],
    ['AES-CMAC', ['aescmac-x25519']],
  ] as const)
    scenario(`tunnel mode, ${name}`, async seed => {
      const { net, inet, alice, moon, mars } = topologies.direct({ seed, trace: false })
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [aliceAh({ proposals })] }, RAW)
      const m = await node(net, moon, { peers: [moonAh({ proposals })] }, RAW)
      await a.connect('moon')
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      expect(await ping(net, mars, '10.9.0.1')).toBe(3)
      expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
      expect(a.child('moon')).toMatchObject({ mode: 'tunnel', encap: 'none', suite: m.child('clients').suite })
      expect(a.child('moon').suite).toBe(proposals[0]?.replace('-x25519', '') ?? 'sha256')
      expect([a.child('moon').counters.drops, m.child('clients').counters.drops]).toEqual([{}, {}])
      expect([...new Set(wire.seen.map(s => s.protocol))].sort()).toEqual([17, 51])
      expect(wire.of('esp')).toEqual([])
    })

  scenario('transport mode, both families, rekeyed and closed', async seed => {
    for (const [from, to] of [
      ['203.0.113.50', '203.0.113.60'],
      ['2001:db8::50', '2001:db8::60'],
    ] as const) {
      const { net, inet, alice, bob } = topologies.direct({ seed, trace: false })
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [toBob({ remote: to })] }, RAW)
      const b = await node(net, bob, { peers: [toAlice()] }, RAW)
      await a.connect('bob')
      expect([a.child('bob').mode, b.child('alice').mode]).toEqual(['transport', 'transport'])
      expect(await ping(net, alice, to)).toBe(3)
      const before = a.child('bob').spiIn
      await drive(net, a.natweave.rekey('bob', 'hosts'))
      await drive(net, b.natweave.rekey('alice', 'hosts'))
      await net.advance(10_000)
      expect(a.child('bob').spiIn).not.toBe(before)
      expect([a.peer('bob').children.length, b.peer('alice').children.length]).toEqual([1, 1])
      expect(await ping(net, bob, from)).toBe(3)
      expect(await transfer(net, alice, to)).toBe(true)
      expect(a.child('bob').counters.drops).toEqual({})
      expect(wire.seen.some(s => s.protocol === 51)).toBe(true)
      await drive(net, a.natweave.disconnect('bob'))
      expect(b.peer('alice').children).toEqual([])
    }
  })

  scenario('packets too large for the link arrive in fragments, and whole', async seed => {
    const { net, alice, moon, mars } = topologies.direct({ seed, trace: false, backbone: { mtu: 1000 } })
    const a = await node(net, alice, { peers: [aliceAh()] }, RAW)
    const m = await node(net, moon, { peers: [moonAh()] }, RAW)
    await a.connect('moon')
    const [client, server] = [alice.udp(), mars.udp(7)]
    client.send(new Uint8Array(1300).fill(9), '10.3.0.5', 7)
    await net.advance(1_000)
    expect(server.received.map(d => d.data.length)).toEqual([1300])
    expect(m.child('clients').counters.drops).toEqual({})
  })

  scenario('padding to 8 octets, as Linux does without align4, is understood', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    const a = await node(net, alice, { peers: [aliceAh({ ahAlign: 8 })] }, RAW)
    await node(net, moon, { peers: [moonAh()] }, RAW)
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('one end wants AH, the other ESP: no common proposal', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    const a = await node(net, alice, { peers: [aliceAh()] }, RAW)
    await node(net, moon, { peers: [clients()] }, RAW)
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({
      code: 'PEER_NO_PROPOSAL',
      message: expect.stringContaining('none of the AH proposals of lan'),
    })
  })

  scenario('AH and ESP to the same peer, each by its own child', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    const both = [child({ name: 'esp' }), child({ name: 'ah', ...ah })]
    const a = await node(net, alice, { peers: [toMoon({ children: both })] }, RAW)
    const m = await node(
      net,
      moon,
      {
        peers: [clients({ children: [lanOfMoon({ name: 'esp' }), lanOfMoon({ name: 'ah', ...ah })] })],
      },
      RAW,
    )
    await a.connect('moon')
    expect(a.peer('moon').children.map(c => c.suite)).toEqual(['aes256gcm16', 'sha256'])
    expect(m.peer('clients').children.map(c => c.name)).toEqual(['esp', 'ah'])
    await drive(net, a.natweave.disconnect('moon'))
    expect(m.peer('clients').children).toEqual([])
  })

  scenario('nothing here can send IP protocol 51: said before a packet goes out', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    const a = await node(net, alice, { peers: [aliceAh()] })
    await node(net, moon, { peers: [moonAh()] }, RAW)
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({
      code: 'PLAN_NONE',
      message: expect.stringMatching(/cannot|nothing here can send IP protocol 51/),
    })
  })
})

describe('AH behind a NAT', () => {
  scenario('negotiated: refused with the reason and the cure, and no packet is lost in silence', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [aliceAh()] }, RAW)
    const m = await node(net, moon, { peers: [moonAh()] }, RAW)
    const failure = drive(net, a.natweave.connect('moon'))
    await expect(failure).rejects.toMatchObject({ code: 'PLAN_NONE', message: expect.stringMatching(CURE) })
    await expect(failure).rejects.toThrow(/AH covers the outer addresses, and this host is behind a NAT/)
    expect(a.peer('moon').children).toEqual([])
    expect(m.peer('clients').children).toEqual([])
    expect(wire.seen.some(s => s.protocol === 51)).toBe(false)
    expect(a.peer('moon').lastError).toMatch(CURE)
  })

  scenario('the plan says so once the NAT is known', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const children = [child({ name: 'esp' }), child({ name: 'ah', ...ah })]
    const a = await node(net, alice, { peers: [toMoon({ children })] }, RAW)
    await node(net, moon, { peers: [clients({ children: [lanOfMoon(), lanOfMoon({ name: 'ah', ...ah })] })] }, RAW)
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toThrow(CURE)
    const [esp, withAh] = a.natweave.plan('moon')
    expect(esp?.plans[0]?.usable).toBe(true)
    expect(withAh?.plans.filter(p => p.usable)).toEqual([])
    for (const { reasons, plan } of withAh!.plans) {
      expect(reasons[0]).toMatch(CURE)
      if (plan.encap !== 'none') expect(reasons.join()).toContain('AH covers the outer IP header')
    }
  })

  const keys = (spi: number) => ({ spi, encr: new Uint8Array(0), integ: new Uint8Array(32).fill(spi) })
  const manual = (wish: Partial<ManualSettings>): Record<string, ManualSettings> => ({
    lab: {
      name: 'lab',
      local: '203.0.113.50',
      remote: '203.0.113.20',
      mode: 'tunnel',
      suite: { protocol: 51, encr: Encr.ENCR_NULL, integ: Integ.AUTH_HMAC_SHA2_256_128, esn: false },
      inbound: keys(0x1001),
      outbound: keys(0x1002),
      localTs: [ts('dynamic')],
      remoteTs: [ts('10.3.0.0/24')],
      replayWindow: 0,
      ahAlign: 4,
      ...wish,
    },
  })
  const atMoon = (wish: Partial<ManualSettings>) =>
    manual({
      local: '203.0.113.20',
      remote: '203.0.113.50',
      inbound: keys(0x1002),
      outbound: keys(0x1001),
      localTs: [ts('10.3.0.0/24')],
      remoteTs: [ts('203.0.113.50/32')],
      ...wish,
    })
  const sa = (n: { readonly natweave: { status(): { readonly manual?: readonly unknown[] } } }) =>
    n.natweave.status().manual![0] as {
      readonly state: string
      readonly counters: { readonly packetsIn: number; readonly drops: object }
    }

  for (const nata of [undefined, 'portRestrictedCone'] as const)
    scenario(
      `with manual keys, ${nata === undefined ? 'without a NAT every packet' : 'through a NAT none'} passes the integrity check`,
      async seed => {
        const topology =
          nata === undefined ? topologies.direct({ seed, trace: false }) : topologies.nat1({ seed, nata, trace: false })
        const { net, inet, alice, moon } = topology
        const wire = new Wire(net, inet)
        const a = await node(
          net,
          alice,
          { peers: [], manual: manual(nata === undefined ? {} : { local: '10.1.0.5' }) },
          RAW,
        )
        const m = await node(
          net,
          moon,
          {
            peers: [],
            manual: atMoon(nata === undefined ? {} : { remote: '198.51.100.1', remoteTs: [ts('10.1.0.5/32')] }),
          },
          RAW,
        )
        await net.advance(0)
        expect([sa(a).state, sa(m).state]).toEqual(['installed', 'installed'])
        const answered = await ping(net, alice, '10.3.0.5')
        const arrived = wire.seen.filter(s => s.protocol === 51 && s.to === '203.0.113.20').length
        expect(arrived).toBeGreaterThanOrEqual(3)
        if (nata === undefined) {
          expect(answered).toBe(3)
          expect(sa(m).counters).toMatchObject({ packetsIn: 3, drops: {} })
        } else {
          expect(answered).toBe(0)
          expect(sa(m).counters).toMatchObject({ packetsIn: 0, drops: { integrity: arrived } })
        }
      },
    )
})

describe('what to use instead', () => {
  for (const [name, proposals] of [
    ['null encryption with HMAC', ['null-sha256']],
    ['null encryption with AES-XCBC', ['null-aesxcbc']],
    ['AES-GMAC', ['aes128gmac']],
    ['AES-GMAC with ESN', ['aes256gmac-esn-x25519']],
  ] as const)
    scenario(`ESP, ${name}, passes a NAT`, async seed => {
      const { net, inet, alice, moon, mars } = topologies.nat1({ seed, trace: false })
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [toMoon({ children: [child({ proposals })] })] }, RAW)
      const m = await node(net, moon, { peers: [clients({ children: [lanOfMoon({ proposals })] })] }, RAW)
      await a.connect('moon')
      expect(a.child('moon')).toMatchObject({ encap: 'udp-encap', suite: proposals[0].replace('-x25519', '') })
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      expect(await ping(net, mars, '10.9.0.1')).toBe(3)
      const [client, server] = [alice.udp(), mars.udp(7)]
      client.send('authenticated, not hidden', '10.3.0.5', 7)
      await net.advance(1_000)
      expect(server.received.length).toBe(1)
      const seen = wire.of('esp-in-udp').map(s => new TextDecoder('latin1').decode(s.packet))
      expect(seen.some(text => text.includes('authenticated, not hidden'))).toBe(true)
      expect(m.child('clients').counters.drops).toEqual({})
    })
})
