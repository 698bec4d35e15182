import { describe, expect } from 'vitest'
import { topologies } from '../kit/index.ts'
import { child, clients, drive, lanOfMoon, node, peer, ping, scenario, toMoon, Wire } from './support.ts'

describe('the gateway goes away', () => {
  scenario('liveness check finds it dead; when it is back the client reconnects by itself', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ dpdMs: 10_000, reconnect: true })] })
    const first = await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    await first.crash()
    const at = net.clock.now()
    await net.until(() => a.of('down').length > 0, { within: 60_000 })
    expect(a.of('down')[0]).toMatchObject({ code: 'PEER_UNREACHABLE' })
    // ten seconds of silence, then 0.5 s × (1 + 1.8 + … + 1.8⁵) of trying
    const took = a.of('down')[0]!.at - at
    expect(took).toBeGreaterThan(20_000)
    expect(took).toBeLessThan(35_000)
    expect(a.device.state?.routes).toEqual([])
    await net.advance(120_000)
    expect(a.peer('moon').state).not.toBe('established')
    expect(a.of('retry').length).toBeGreaterThanOrEqual(2)
    wire.clear()
    await node(net, moon, { peers: [clients()] })
    await net.until(() => a.of('child-up').length === 2, { within: 120_000 })
    await net.advance(0)
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('traffic from the peer counts as life: no checks while it flows, and one after', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon({ dpdMs: 10_000 })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    wire.clear()
    const row = alice.ping('10.3.0.5', { count: 60, interval: 1_000 })
    await net.until(() => row.done, { within: 100_000 })
    expect(wire.of('ike')).toEqual([])
    await net.advance(11_000)
    expect(wire.of('ike')).toHaveLength(2)
    expect(a.peer('moon').state).toBe('established')
  })

  scenario('back within the retries: nobody notices', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon({ dpdMs: 5_000 })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    moon.interface().link.down()
    await net.advance(10_000)
    moon.interface().link.up()
    await net.advance(20_000)
    expect(a.of('down')).toEqual([])
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })
})

describe('DELETE', () => {
  for (const side of ['client', 'gateway'] as const)
    scenario(`by the ${side}: both ends clean up, and it can be made anew`, async seed => {
      const { net, inet, alice, moon } = topologies.nat1({ seed, trace: false })
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [toMoon()] })
      const m = await node(net, moon, { peers: [clients()] })
      await a.connect('moon')
      wire.clear()
      await drive(net, side === 'client' ? a.natweave.disconnect('moon') : m.natweave.disconnect('clients'))
      await net.advance(1_000)
      expect(wire.of('ike')).toHaveLength(2)
      for (const [one, name] of [
        [a, 'moon'],
        [m, 'clients'],
      ] as const) {
        expect(one.peer(name)).toMatchObject({ state: 'idle', children: [], virtualAddresses: [] })
        expect(one.device.state).toMatchObject({ routes: [], addresses: [] })
        expect(one.of('down').map(e => e.code)).toEqual(['OK'])
      }
      wire.clear()
      expect(await ping(net, alice, '10.3.0.5')).toBe(0)
      expect(wire.seen.filter(s => s.kind === 'esp-in-udp')).toEqual([])
      await a.connect('moon')
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    })

  scenario('both at the same moment', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    const m = await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    await drive(net, Promise.all([a.natweave.disconnect('moon'), m.natweave.disconnect('clients')]))
    expect([a.peer('moon').state, m.peer('clients').state]).toEqual(['idle', 'idle'])
  })

  scenario('stop says goodbye to everybody, and does not wait for the dead', async seed => {
    const { net, alice, bob, moon } = topologies.samenat({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob' })] })
    const m = await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    await b.connect('moon')
    await b.crash()
    const began = net.clock.now()
    await drive(net, m.natweave.stop())
    expect(net.clock.now() - began).toBeLessThanOrEqual(2_000)
    expect(a.of('down').map(e => e.why)).toEqual(['deleted by the peer'])
    expect(moon.hasUdp(500) || moon.hasUdp(4500)).toBe(false)
  })
})

describe('many at the door', () => {
  scenario('above the threshold a COOKIE is asked for, and given', async seed => {
    const { net, inet, alice, bob, moon } = topologies.samenat({ seed, trace: false })
    const m = await node(net, moon, { peers: [clients()], ike: { cookieThreshold: 1, halfOpenLimit: 4 } })
    const a = await node(net, alice, { peers: [toMoon()] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob' })] })
    // alice stays half-open: her IKE_AUTH does not get through
    alice.interface().link.dropIf = (packet, direction) =>
      direction === 'up' && packet[22] === 4500 >>> 8 && packet[23] === (4500 & 0xff)
    a.natweave.connect('moon').catch(() => {})
    await net.advance(500)
    const wire = new Wire(net, inet)
    await b.connect('moon')
    expect(b.of('message').some(e => e.direction === 'in' && e.summary.includes('COOKIE'))).toBe(true)
    // IKE_SA_INIT twice, IKE_AUTH once
    expect(
      wire.of('ike').filter(s => s.to === '203.0.113.20' && s.fromPort !== 4500 && s.toPort === 500).length,
    ).toBeGreaterThanOrEqual(2)
    expect(m.peer('clients').children).toHaveLength(1)
    expect(await ping(net, bob, '10.3.0.5')).toBe(3)
  })

  scenario('a flood of first messages from forged addresses does not lock clients out', async seed => {
    const { net, inet, alice, bob, moon } = topologies.direct({ seed, trace: false })
    const m = await node(net, moon, { peers: [clients()], ike: { cookieThreshold: 4, halfOpenLimit: 16 } })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon()] })
    moon.interface().link.dropIf = () => true
    a.natweave.connect('moon').catch(() => {})
    await net.advance(100)
    const init = wire.of('ike')[0]!.packet.slice(28)
    await drive(net, a.natweave.disconnect('moon'))
    moon.interface().link.dropIf = undefined
    const flood = bob.udp(500)
    for (let i = 0; i < 200; i++) {
      init.set(net.rng('flood').bytes(8), 0)
      flood.send(init, '203.0.113.20', 500)
    }
    await net.advance(200)
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    // the half-open ones are forgotten in time
    await net.advance(60_000)
    expect(m.of('failed').filter(e => e.code === 'PEER_TIMEOUT').length).toBeLessThanOrEqual(16)
  })
})

describe('trap policies', () => {
  const gateways = (start: 'trap' | 'connect') => ({
    a: toMoon({ requestAddresses: [], children: [child({ local: ['10.7.0.0/24'], start })] }),
    m: clients({ pool: undefined, children: [lanOfMoon({ remote: ['10.7.0.0/24'] })] }),
  })

  scenario('the first packet starts the negotiation and is delivered', async seed => {
    const { net, inet, alice, moon } = topologies.nat1({ seed, trace: false })
    alice.addAddress('10.7.0.1/24')
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [gateways('trap').a] })
    await node(net, moon, { peers: [gateways('trap').m] })
    await net.advance(1_000)
    expect(wire.seen).toEqual([])
    expect(await ping(net, alice, '10.3.0.5', 1, '10.7.0.1')).toBe(1)
    expect(a.of('acquire').map(e => e.child)).toEqual(['lan'])
    expect(a.child('moon').counters).toMatchObject({ packetsOut: 1, packetsIn: 1 })
    expect(await ping(net, alice, '10.3.0.5', 3, '10.7.0.1')).toBe(3)
    expect(a.of('child-up')).toHaveLength(1)
  })

  scenario('the child that traffic asked for is the one that is made', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    alice.addAddress('10.7.0.1/24')
    const lan = gateways('trap').a.children['lan']!
    const other = child({ name: 'other', start: 'trap', local: ['10.8.0.0/24'], remote: ['10.6.0.0/24'] })
    const a = await node(net, alice, { peers: [{ ...gateways('trap').a, children: { other, lan } }] })
    await node(net, moon, { peers: [gateways('trap').m] })
    expect(await ping(net, alice, '10.3.0.5', 1, '10.7.0.1')).toBe(1)
    expect(a.of('child-up').map(e => e.child)).toEqual(['lan'])
    expect(a.of('child-failed')).toEqual([])
  })

  scenario('a packet that waited for its Child SA too long is not sent', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    alice.addAddress('10.7.0.1/24')
    const a = await node(net, alice, { peers: [gateways('trap').a] })
    const row = alice.ping('10.3.0.5', { count: 1, timeout: 60_000, source: '10.7.0.1' })
    await net.advance(10_500)
    await node(net, moon, { peers: [gateways('trap').m] })
    await net.until(() => a.of('child-up').length === 1, { within: 30_000 })
    await net.advance(1_000)
    expect(a.child('moon').counters).toMatchObject({ packetsOut: 0, packetsIn: 0 })
    expect(row.received).toBe(0)
    expect(await ping(net, alice, '10.3.0.5', 3, '10.7.0.1')).toBe(3)
  })

  scenario('on an IKE SA that stands, a further Child SA by CREATE_CHILD_SA', async seed => {
    const { net, alice, moon, mars } = topologies.nat1({ seed, trace: false })
    mars.addAddress('10.4.0.5/24')
    moon.addRoute('10.4.0.0/24', '10.3.0.5')
    const more = { name: 'more', start: 'trap', remote: ['10.4.0.0/24'], local: ['10.7.0.0/24'] } as const
    alice.addAddress('10.7.0.1/24')
    const a = await node(net, alice, {
      peers: [
        toMoon({
          requestAddresses: [],
          children: [
            child({ local: ['10.7.0.0/24'] }),
            child({ ...more, remote: [...more.remote], local: [...more.local] }),
          ],
        }),
      ],
    })
    const back = [
      lanOfMoon({ remote: ['10.7.0.0/24'] }),
      lanOfMoon({ name: 'more', local: ['10.4.0.0/24'], remote: ['10.7.0.0/24'] }),
    ]
    await node(net, moon, { peers: [clients({ pool: undefined, children: back })] })
    await a.connect('moon')
    expect(a.of('child-up').map(e => e.child)).toEqual(['lan'])
    expect(await ping(net, alice, '10.4.0.5', 3, '10.7.0.1')).toBe(3)
    expect(a.of('child-up').map(e => e.child)).toEqual(['lan', 'more'])
    expect(a.of('established')).toHaveLength(1)
  })

  scenario('start: connect keeps trying until the peer is there', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon({ start: 'connect', reconnect: true })] })
    await net.advance(60_000)
    expect(a.of('failed').length).toBeGreaterThanOrEqual(1)
    await node(net, moon, { peers: [clients()] })
    await net.until(() => a.of('child-up').length === 1, { within: 120_000 })
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })
})

describe('two ends that both may start', () => {
  for (const offset of [0, 5, 10, 15, 20, 25, 30, 40, 80])
    scenario(
      `both connect, ${offset} ms apart: traffic flows both ways, and both ends hold the same SAs`,
      async seed => {
        const { net, alice, bob } = topologies.direct({ seed, trace: false })
        const hosts = () => child({ name: 'hosts', local: ['dynamic'], remote: ['dynamic'] })
        const toBob = peer({ name: 'bob', me: 'alice', remote: '203.0.113.60', children: [hosts()] })
        const toAlice = peer({ name: 'alice', me: 'bob', remote: '203.0.113.50', children: [hosts()] })
        const a = await node(net, alice, { peers: [toBob] })
        const b = await node(net, bob, { peers: [toAlice] })
        // whichever of two crossing attempts wins, `connect` may fail for neither
        const first = drive(net, a.natweave.connect('bob'))
        await net.advance(offset)
        await Promise.all([first, drive(net, b.natweave.connect('alice'))])
        await net.advance(15_000)
        expect(await ping(net, alice, '203.0.113.60')).toBe(3)
        expect(await ping(net, bob, '203.0.113.50')).toBe(3)
        const spis = (one: typeof a, name: string, side: 'spiIn' | 'spiOut') =>
          one
            .peer(name)
            .children.map(c => c[side])
            .sort()
        expect(spis(a, 'bob', 'spiIn')).toEqual(spis(b, 'alice', 'spiOut'))
        // one IKE SA, with one Child SA, is left of the two
        expect([a.peer('bob').children.length, b.peer('alice').children.length]).toEqual([1, 1])
        expect(a.peer('bob').spiInitiator).toBe(b.peer('alice').spiInitiator)
        expect([a.of('down'), b.of('down'), a.of('failed'), b.of('failed')]).toEqual([[], [], [], []])
        await drive(net, a.natweave.disconnect('bob'))
        expect([a.peer('bob').state, b.peer('alice').state]).toEqual(['idle', 'idle'])
      },
    )
})
