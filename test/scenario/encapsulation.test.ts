import { describe, expect } from 'vitest'
import { IpProtocol } from '../../core/wire/index.ts'
import { topologies } from '../kit/index.ts'
import { child, clients, drive, lanOfMoon, node, ping, scenario, toMoon, transfer, Wire } from './support.ts'

describe('what is around ESP', () => {
  scenario('no NAT: IP protocol 50, and IKE stays on port 500', async seed => {
    const { net, inet, alice, moon, mars } = topologies.direct({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon()] })
    const m = await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    expect([a.child('moon').encap, m.child('clients').encap]).toEqual(['none', 'none'])
    expect(wire.kinds()).toEqual(['esp', 'ike'])
    expect(wire.of('ike').every(s => s.fromPort === 500 && s.toPort === 500)).toBe(true)
    expect(wire.of('esp').map(s => s.protocol)).toContain(IpProtocol.ESP)
    // the SPIs on the wire are those the two ends agreed on
    const { spiIn, spiOut } = a.child('moon')
    expect([m.child('clients').spiOut, m.child('clients').spiIn]).toEqual([spiIn, spiOut])
    expect(new Set(wire.of('esp').map(s => s.spi))).toEqual(new Set([Number(`0x${spiIn}`), Number(`0x${spiOut}`)]))
  })

  scenario('no NAT, but one end has no raw socket: both encapsulate', async seed => {
    const { net, inet, alice, moon } = topologies.direct({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon()] }, { protocols: [] })
    const m = await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect([a.child('moon').encap, m.child('clients').encap]).toEqual(['udp-encap', 'udp-encap'])
    expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
  })

  for (const side of ['initiator', 'responder'] as const)
    scenario(`no NAT, encapsulation forced by the ${side}`, async seed => {
      const { net, inet, alice, moon } = topologies.direct({ seed, trace: false })
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [toMoon(side === 'initiator' ? { encapsulation: 'force' } : {})] })
      const force = { encapsulation: 'force', remote: '203.0.113.50' } as const
      const m = await node(net, moon, { peers: [clients(side === 'responder' ? force : {})] })
      await a.connect('moon')
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      expect([a.child('moon').encap, m.child('clients').encap]).toEqual(['udp-encap', 'udp-encap'])
      expect(wire.of('esp')).toEqual([])
      expect(wire.of('esp-in-udp').length).toBeGreaterThanOrEqual(6)
    })

  scenario('never, behind a NAT: fails and says why', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ encapsulation: 'never' })] })
    await node(net, moon, { peers: [clients()] })
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({
      code: 'PLAN_NONE',
      message: expect.stringMatching(/behind a NAT.*encapsulation is never|encapsulation is never.*behind a NAT/s),
    })
    expect(wire.of('esp-in-udp')).toEqual([])
    expect(a.peer('moon')).toMatchObject({ state: 'idle', children: [], lastError: expect.stringContaining('NAT') })
  })

  scenario('never, without NAT: plain ESP', async seed => {
    const { net, inet, alice, moon } = topologies.direct({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ encapsulation: 'never' })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(wire.kinds()).toEqual(['esp', 'ike'])
  })

  scenario('a rule of the policy decides against the cheapest plan', async seed => {
    const { net, alice, moon } = topologies.direct({ seed, trace: false })
    const rule = { at: 'policy.rules[0]', peers: [], when: {}, use: [], prefer: ['udp-encap'], avoid: [] }
    const a = await node(net, alice, { peers: [toMoon()], rules: [rule] })
    const m = await node(net, moon, { peers: [clients()], rules: [rule] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect([a.child('moon').encap, m.child('clients').encap]).toEqual(['udp-encap', 'udp-encap'])
  })
})

describe('address families', () => {
  scenario('IPv6 outside, IPv4 inside: plain ESP', async seed => {
    const { net, inet, alice, moon, mars } = topologies.direct({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ remote: '2001:db8::20' })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    expect(wire.kinds()).toEqual(['esp', 'ike'])
    expect(wire.seen.every(s => s.from.startsWith('2001:db8::'))).toBe(true)
    expect(a.fact('moon', 'outerFamily')).toBe(6)
  })

  scenario('IPv6 outside through NAT66: ESP in UDP', async seed => {
    const nata = { ...topologies.nat1().nata.behaviour, v6: 'nat66' } as const
    const { net, inet, alice, moon } = topologies.nat1({ seed, nata, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ remote: '2001:db8::20' })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
    expect(wire.seen.some(s => s.from === '2001:db8::a')).toBe(true)
  })

  scenario('IPv6 inside, IPv4 outside, through a NAT', async seed => {
    const { net, inet, alice, moon, mars } = topologies.nat1({ seed, nata: 'symmetric', trace: false })
    const wire = new Wire(net, inet)
    const lan = { remote: ['2001:db8:3::/64'] }
    const a = await node(net, alice, { peers: [toMoon({ requestAddresses: [6], children: [child(lan)] })] })
    const back = lanOfMoon({ local: ['2001:db8:3::/64'] })
    await node(net, moon, { peers: [clients({ children: [back] })], pools: { clients: '2001:db8:9::/64' } })
    await a.connect('moon')
    expect(a.peer('moon').virtualAddresses).toEqual(['2001:db8:9::1'])
    expect(await ping(net, alice, '2001:db8:3::5')).toBe(3)
    expect(await ping(net, mars, '2001:db8:9::1')).toBe(3)
    expect(await transfer(net, alice, '2001:db8:3::5')).toBe(true)
    expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
  })

  scenario('both families inside one Child SA between two gateways', async seed => {
    const { net, alice, moon, mars } = topologies.nat1({ seed, trace: false })
    alice.addAddress('10.7.0.1/24')
    alice.addAddress('2001:db8:7::1/64')
    const [here, there] = [
      ['10.7.0.0/24', '2001:db8:7::/64'],
      ['10.3.0.0/24', '2001:db8:3::/64'],
    ]
    const a = await node(net, alice, {
      peers: [toMoon({ requestAddresses: [], children: [child({ local: here, remote: there })] })],
    })
    const m = await node(net, moon, {
      peers: [clients({ pool: undefined, children: [child({ local: there, remote: here })] })],
    })
    await a.connect('moon')
    expect(m.child('clients')).toMatchObject({ local: there, remote: here })
    expect(await ping(net, alice, '10.3.0.5', 3, '10.7.0.1')).toBe(3)
    expect(await ping(net, alice, '2001:db8:3::5', 3, '2001:db8:7::1')).toBe(3)
    expect(await ping(net, mars, '10.7.0.1')).toBe(3)
    expect(await ping(net, mars, '2001:db8:7::1')).toBe(3)
    // 12 in all, and not one more, each way
    expect(a.child('moon').counters).toMatchObject({ packetsIn: 12, packetsOut: 12, drops: {} })
  })
})
