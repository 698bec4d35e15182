import { describe, expect } from 'vitest'
import { type Host, topologies, type VirtualInternet } from '../kit/index.ts'
import { child, node, type PeerWish, peer, ping, scenario, transfer, Wire } from './support.ts'

const dynamic = () => child({ name: 'hosts', local: ['dynamic'], remote: ['dynamic'], mode: 'transport' })
const toBob = (wish: Partial<PeerWish> = {}) =>
  peer({ name: 'bob', me: 'alice', remote: '203.0.113.60', children: [dynamic()], ...wish })
const toAlice = (wish: Partial<PeerWish> = {}) => peer({ name: 'alice', me: 'bob', children: [dynamic()], ...wish })

/** A UDP datagram each way between two hosts, whose checksums must be right. */
async function echo(net: VirtualInternet, from: Host, to: Host, address: string): Promise<void> {
  const [client, server] = [from.udp(), to.udp(7)]
  server.onMessage = ({ data, from: { address: back, port } }) => server.send(data, back, port)
  client.send('hello', address, 7)
  await net.advance(1_000)
  expect(client.received.map(d => new TextDecoder().decode(d.data))).toEqual(['hello'])
  server.close()
  client.close()
}

describe('transport mode between two hosts', () => {
  scenario('without NAT: plain ESP without an inner header', async seed => {
    const { net, inet, alice, bob } = topologies.direct({ seed, trace: false })
    const wire = new Wire(net, inet)
    const a = await node(net, alice, { peers: [toBob()] })
    const b = await node(net, bob, { peers: [toAlice()] })
    await a.connect('bob')
    expect([a.child('bob').mode, b.child('alice').mode]).toEqual(['transport', 'transport'])
    expect(await ping(net, alice, '203.0.113.60')).toBe(3)
    expect(await ping(net, bob, '203.0.113.50')).toBe(3)
    expect(await transfer(net, alice, '203.0.113.60')).toBe(true)
    await echo(net, alice, bob, '203.0.113.60')
    expect(wire.kinds()).toEqual(['esp', 'ike'])
    expect([alice.badChecksums, bob.badChecksums]).toEqual([0, 0])
    expect(a.child('bob').counters.drops).toEqual({})
    // a ping of 64 octets ICMP: 20 IP, 8 ESP, 8 IV, 64, 2 trailer and 2 padding, 16 ICV
    expect(wire.of('esp')[0]?.packet.length).toBe(120)
  })

  for (const nata of ['portRestrictedCone', 'symmetric'] as const)
    scenario(`through a ${nata} NAT: checksums are repaired both ways (RFC 3948 §3.1.2)`, async seed => {
      const { net, inet, alice, bob } = topologies.nat1({ seed, nata, trace: false })
      const wire = new Wire(net, inet)
      const a = await node(net, alice, { peers: [toBob()] })
      const b = await node(net, bob, { peers: [toAlice()] })
      await a.connect('bob')
      expect(a.child('bob')).toMatchObject({
        mode: 'transport',
        encap: 'udp-encap',
        local: ['10.1.0.5'],
        remote: ['203.0.113.60'],
      })
      // each end sees the addresses that its own packets have
      expect(b.child('alice')).toMatchObject({ mode: 'transport', local: ['203.0.113.60'], remote: ['198.51.100.1'] })
      expect(await ping(net, alice, '203.0.113.60')).toBe(3)
      expect(await ping(net, bob, '198.51.100.1')).toBe(3)
      expect(await transfer(net, alice, '203.0.113.60')).toBe(true)
      expect(await transfer(net, bob, '198.51.100.1', 30_000)).toBe(true)
      await echo(net, alice, bob, '203.0.113.60')
      await echo(net, bob, alice, '198.51.100.1')
      expect([alice.badChecksums, bob.badChecksums]).toEqual([0, 0])
      expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
    })

  scenario('both ends behind NATs, one with forwarded ports', async seed => {
    const { net, inet, natb, alice, bob } = topologies.nat2({ seed, trace: false })
    const wire = new Wire(net, inet)
    for (const port of [500, 4500]) natb.forwardPort(17, port, '10.2.0.5')
    const a = await node(net, alice, { peers: [toBob({ remote: '198.51.100.2' })] })
    const b = await node(net, bob, { peers: [toAlice()] })
    await a.connect('bob')
    expect([a.child('bob').mode, b.child('alice').mode]).toEqual(['transport', 'transport'])
    expect(await ping(net, alice, '198.51.100.2')).toBe(3)
    expect(await transfer(net, alice, '198.51.100.2')).toBe(true)
    expect(await transfer(net, bob, '198.51.100.1', 30_000)).toBe(true)
    expect([alice.badChecksums, bob.badChecksums]).toEqual([0, 0])
    expect(wire.kinds()).toEqual(['esp-in-udp', 'ike'])
  })

  scenario('a peer that allows tunnel mode only: the same addresses, in a tunnel', async seed => {
    const { net, alice, bob } = topologies.direct({ seed, trace: false })
    const a = await node(net, alice, { peers: [toBob()] })
    const tunnel = child({ name: 'hosts', local: ['dynamic'], remote: ['dynamic'], mode: 'tunnel' })
    await node(net, bob, { peers: [toAlice({ children: [tunnel] })] })
    await a.connect('bob')
    expect(a.child('bob').mode).toBe('tunnel')
    expect(await ping(net, alice, '203.0.113.60')).toBe(3)
  })

  scenario('rekeyed in transport mode through a NAT: the checksums stay right', async seed => {
    const { net, alice, bob } = topologies.nat1({ seed, nata: 'symmetric', trace: false })
    const a = await node(net, alice, { peers: [toBob()] })
    const b = await node(net, bob, { peers: [toAlice()] })
    await a.connect('bob')
    for (const [side, name] of [
      [a, 'bob'],
      [b, 'alice'],
    ] as const) {
      const rekeyed = side.natweave.rekey(name, 'hosts')
      await net.advance(7_000)
      await rekeyed
      expect(side.child(name).mode).toBe('transport')
      expect(await transfer(net, alice, '203.0.113.60', 20_000)).toBe(true)
      expect(await transfer(net, bob, '198.51.100.1', 20_000)).toBe(true)
    }
    expect([alice.badChecksums, bob.badChecksums]).toEqual([0, 0])
  })
})
