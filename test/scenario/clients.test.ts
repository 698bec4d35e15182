import { describe, expect } from 'vitest'
import { topologies } from '../kit/index.ts'
import { child, clients, drive, fqdn, lanOfMoon, node, ping, scenario, toMoon, transfer, Wire } from './support.ts'

describe('several clients of one gateway', () => {
  scenario('two behind one NAT, known by one wildcard: addresses of their own, both work at once', async seed => {
    const { net, inet, alice, bob, moon, mars } = topologies.samenat({ seed, nata: 'symmetric', trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toMoon()] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob' })] })
    const m = await node(net, moon, { peers: [clients({ them: fqdn('*.example') })] })
    await drive(net, Promise.all([a.natweave.connect('moon'), b.natweave.connect('moon')]))
    await net.advance(0)
    const [one, two] = [a, b].map(n => n.peer('moon').virtualAddresses[0]!)
    expect(new Set([one, two])).toEqual(new Set(['10.9.0.1', '10.9.0.2']))
    const [fromA, fromB] = [alice.bulk('10.3.0.5', { bytes: 50_000 }), bob.bulk('10.3.0.5', { bytes: 50_000 })]
    const [toA, toB] = [mars.bulk(one!, { bytes: 50_000 }), mars.bulk(two!, { bytes: 50_000 })]
    await net.until(() => [fromA, fromB, toA, toB].every(t => t.done), { within: 60_000 })
    expect([fromA, fromB, toA, toB].map(t => t.intact)).toEqual([true, true, true, true])
    expect(m.peer('clients').children.map(c => c.counters.packetsIn > 70 && c.counters.packetsOut > 70)).toEqual([
      true,
      true,
    ])
    expect(
      m
        .of('established')
        .map(e => e.remoteId)
        .sort(),
    ).toEqual(['alice.example', 'bob.example'])
    // one address outside, two ports
    const outside = wire.of('esp-in-udp').filter(s => s.to === '203.0.113.20')
    expect(new Set(outside.map(s => s.from))).toEqual(new Set(['198.51.100.1']))
    expect(new Set(outside.map(s => s.fromPort)).size).toBe(2)
  })

  scenario('two behind different NATs with the same private address', async seed => {
    const { net, alice, bob, moon } = topologies.overlap({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob' })] })
    const m = await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    await b.connect('moon')
    expect([a, b].map(n => n.peer('moon').local)).toEqual(['10.0.0.5:4500', '10.0.0.5:4500'])
    expect([a, b].map(n => n.peer('moon').virtualAddresses)).toEqual([['10.9.0.1'], ['10.9.0.2']])
    expect([await ping(net, alice, '10.3.0.5'), await ping(net, bob, '10.3.0.5')]).toEqual([3, 3])
    expect([await transfer(net, alice, '10.3.0.5'), await transfer(net, bob, '10.3.0.5')]).toEqual([true, true])
    expect(m.peer('clients').children.map(c => c.remote)).toEqual([['10.9.0.1'], ['10.9.0.2']])
  })

  scenario('without virtual addresses equal selectors are refused to the second, and the first goes on', async seed => {
    const { net, alice, bob, moon } = topologies.overlap({ seed, trace: false })
    const children = [child({ local: ['10.0.0.0/24'] })]
    const a = await node(net, alice, { peers: [toMoon({ requestAddresses: [], children })] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob', requestAddresses: [], children })] })
    const back = lanOfMoon({ remote: ['10.0.0.0/24'] })
    const m = await node(net, moon, { peers: [clients({ pool: undefined, children: [back] })] })
    await a.connect('moon')
    const second = b.natweave.connect('moon')
    second.catch(() => {})
    await net.advance(5_000)
    expect(m.of('child-failed').map(e => e.code)).toEqual(['PLANE_REFUSED'])
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(m.peer('clients').children).toHaveLength(1)
    expect(b.peer('moon').children).toEqual([])
  })

  scenario('the pool is empty for the second; it comes in when the first has left', async seed => {
    const { net, alice, bob, moon } = topologies.samenat({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob' })] })
    await node(net, moon, { peers: [clients()], pools: { clients: '10.9.0.7/32' } })
    await a.connect('moon')
    expect(a.peer('moon').virtualAddresses).toEqual(['10.9.0.7'])
    await expect(drive(net, b.natweave.connect('moon'))).rejects.toMatchObject({ code: 'PEER_NO_ADDRESS' })
    await drive(net, a.natweave.disconnect('moon'))
    await net.advance(3_000)
    await b.connect('moon')
    expect(b.peer('moon').virtualAddresses).toEqual(['10.9.0.7'])
    expect(await ping(net, bob, '10.3.0.5')).toBe(3)
  })

  scenario('who comes again gets the address it had', async seed => {
    const { net, alice, bob, moon } = topologies.samenat({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob' })] })
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    await drive(net, a.natweave.disconnect('moon'))
    await b.connect('moon')
    await a.connect('moon')
    expect([a, b].map(n => n.peer('moon').virtualAddresses)).toEqual([['10.9.0.1'], ['10.9.0.2']])
  })
})

describe('the same client twice', () => {
  scenario('crashed without a DELETE: INITIAL_CONTACT replaces the old SA at once', async seed => {
    const { net, alice, moon, mars } = topologies.nat1({ seed, nata: 'symmetric', trace: false })
    const first = await node(net, alice, { peers: [toMoon()] })
    const m = await node(net, moon, { peers: [clients()] })
    await first.connect('moon')
    const old = m.child('clients').id
    await first.crash()
    const second = await node(net, alice, { peers: [toMoon()] })
    await second.connect('moon')
    expect(second.of('message').some(e => e.summary.includes('INITIAL_CONTACT'))).toBe(true)
    expect(m.of('child-down').map(e => [e.id, e.why])).toEqual([[old, 'the peer has started anew']])
    expect(m.peer('clients').children).toHaveLength(1)
    // nobody was told that is not there any more
    expect(m.of('message').filter(e => e.direction === 'out' && e.summary.includes('INFORMATIONAL'))).toEqual([])
    expect(second.peer('moon').virtualAddresses).toEqual(['10.9.0.1'])
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
  })

  /** One identity on two hosts, which cannot know of each other. */
  async function twice(seed: number, unique: 'replace' | 'keep' | 'no' | 'never', atMoon = unique) {
    const topology = topologies.samenat({ seed, trace: false })
    const { net, alice, bob, moon } = topology
    const wish = { unique, dpdMs: 10_000 }
    const a = await node(net, alice, { peers: [toMoon(wish)] })
    const b = await node(net, bob, { peers: [toMoon(wish)] })
    const m = await node(net, moon, { peers: [clients({ unique: atMoon })] })
    await a.connect('moon')
    return { ...topology, a, b, m }
  }

  scenario(
    'unique: replace, and the client says INITIAL_CONTACT: the older one finds out by its liveness check',
    async seed => {
      const { net, alice, bob, a, b, m } = await twice(seed, 'replace')
      await b.connect('moon')
      await net.advance(3_000)
      expect(m.peer('clients').children).toHaveLength(1)
      expect(await ping(net, bob, '10.3.0.5')).toBe(3)
      expect(await ping(net, alice, '10.3.0.5')).toBe(0)
      expect(m.of('down')).toEqual([])
      await net.advance(60_000)
      expect(a.of('down').map(e => e.code)).toEqual(['PEER_UNREACHABLE'])
    },
  )

  scenario('unique: replace at the gateway alone: the older client is told', async seed => {
    const { net, bob, a, b, m } = await twice(seed, 'never', 'replace')
    await b.connect('moon')
    await net.advance(1_000)
    expect(a.of('down').map(e => [e.code, e.why])).toEqual([['OK', 'deleted by the peer']])
    expect(m.of('child-down').map(e => e.why)).toEqual(['replaced'])
    expect(await ping(net, bob, '10.3.0.5')).toBe(3)
  })

  scenario('unique: never: both stay, with an address each, and nobody says INITIAL_CONTACT', async seed => {
    const { net, alice, bob, mars, m, a, b } = await twice(seed, 'never')
    await b.connect('moon')
    await net.advance(3_000)
    expect(m.peer('clients').children.map(c => c.remote)).toEqual([['10.9.0.1'], ['10.9.0.2']])
    expect([await ping(net, alice, '10.3.0.5'), await ping(net, bob, '10.3.0.5')]).toEqual([3, 3])
    expect([await ping(net, mars, '10.9.0.1'), await ping(net, mars, '10.9.0.2')]).toEqual([3, 3])
    expect([a, b].map(n => n.child('moon').counters.packetsIn)).toEqual([6, 6])
    expect(m.of('message').filter(e => e.summary.includes('INITIAL_CONTACT'))).toEqual([])
    // each leaves on its own
    await drive(net, a.natweave.disconnect('moon'))
    expect(await ping(net, bob, '10.3.0.5')).toBe(3)
    expect(m.peer('clients').children.map(c => c.remote)).toEqual([['10.9.0.2']])
  })

  scenario('unique: keep at the gateway: the second is refused, the first goes on', async seed => {
    const { net, alice, bob, b, m } = await twice(seed, 'never', 'keep')
    await expect(b.connect('moon')).rejects.toMatchObject({ code: 'PEER_AUTH_FAILED' })
    expect(m.of('failed').map(e => [e.code, e.why])).toEqual([
      [
        'PEER_UNIQUE',
        expect.stringMatching(/is connected from 198\.51\.100\.1:\d+, and peers\.clients\.unique is keep$/),
      ],
    ])
    expect([await ping(net, alice, '10.3.0.5'), await ping(net, bob, '10.3.0.5')]).toEqual([3, 0])
  })

  scenario('unique: no at the gateway: both stay, until one says that it has started anew', async seed => {
    const { net, alice, bob, b, m } = await twice(seed, 'never', 'no')
    await b.connect('moon')
    expect([await ping(net, alice, '10.3.0.5'), await ping(net, bob, '10.3.0.5')]).toEqual([3, 3])
    await b.crash()
    const again = await node(net, bob, { peers: [toMoon({ unique: 'no' })] })
    // bob's host has one address only, so it must be alice that is given up
    await again.connect('moon')
    expect(m.of('child-down').map(e => e.why)).toEqual(['the peer has started anew', 'the peer has started anew'])
    expect(await ping(net, bob, '10.3.0.5')).toBe(3)
  })
})
