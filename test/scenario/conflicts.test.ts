import { describe, expect } from 'vitest'
import type { ChildSettings } from '../../core/index.ts'
import { type Host, topologies, type VirtualInternet } from '../kit/index.ts'
import {
  type ChildWish,
  child,
  clients,
  drive,
  lanOfMoon,
  type Node,
  node,
  ping,
  scenario,
  toMoon,
  transfer,
} from './support.ts'

/** The two conflict figures of the literature (RFC 3948 §5.1, §5.2), and who may receive and send what. */

const MAP = { map: 'seen' }
const pools = { seen: '10.99.0.0/16' }

async function refused(net: VirtualInternet, second: Node): Promise<void> {
  const attempt = second.natweave.connect('moon')
  attempt.catch(() => {})
  await net.advance(5_000)
  expect(second.peer('moon').children).toEqual([])
}

describe('tunnel mode: two NATs with equal private addresses behind them', () => {
  const site = (wish: ChildWish = {}) => child({ local: ['10.0.0.0/24'], ...wish })
  const back = (wish: ChildWish = {}) => lanOfMoon({ remote: ['10.0.0.0/24'], ...wish })

  async function sites(seed: number, atMoon: ChildSettings, ofBob: ChildSettings = site()) {
    const { net, alice, bob, moon, mars } = topologies.overlap({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon({ requestAddresses: [], children: [site()] })] })
    const b = await node(net, bob, { peers: [toMoon({ me: 'bob', requestAddresses: [], children: [ofBob] })] })
    const m = await node(net, moon, { peers: [clients({ pool: undefined, children: [atMoon] })], pools })
    await a.connect('moon')
    return { net, alice, bob, mars, a, b, m }
  }

  scenario('refused to the second, with the reason; the first goes on', async seed => {
    const { net, alice, b, m } = await sites(seed, back())
    await refused(net, b)
    expect(m.of('child-failed')[0]).toMatchObject({
      code: 'PLANE_REFUSED',
      why: expect.stringContaining('already belong to an SA of alice.example'),
    })
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('a part of what the first has is refused as well: nobody gets packets of another', async seed => {
    const { net, alice, b, m, mars } = await sites(seed, back(), site({ local: ['10.0.0.5/32'] }))
    await refused(net, b)
    expect(m.of('child-failed')[0]?.why).toContain('overlap with those of an SA of alice.example')
    expect(await ping(net, mars, '10.0.0.5')).toBe(3)
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(m.child('clients').counters.packetsOut).toBe(6)
  })

  scenario('seen as other addresses, both sites work in both directions at once', async seed => {
    const { net, alice, bob, mars, b, m } = await sites(seed, back({ conflicts: MAP }))
    await b.connect('moon')
    expect(m.peer('clients').children.map(c => c.remote)).toEqual([['10.99.0.0/24'], ['10.99.1.0/24']])
    expect([await ping(net, alice, '10.3.0.5'), await ping(net, bob, '10.3.0.5')]).toEqual([3, 3])
    // each is the host it is taken for
    const [before, after] = m.peer('clients').children.map(c => c.counters.packetsOut)
    expect([before, after]).toEqual([3, 3])
    expect([await ping(net, mars, '10.99.0.5'), await ping(net, mars, '10.99.1.5')]).toEqual([3, 3])
    expect([await transfer(net, alice, '10.3.0.5'), await transfer(net, bob, '10.3.0.5')]).toEqual([true, true])
    expect([await transfer(net, mars, '10.99.0.5'), await transfer(net, mars, '10.99.1.5')]).toEqual([true, true])
    expect([alice, bob, mars].map(h => h.badChecksums)).toEqual([0, 0, 0])
    // the same addresses after a rekey
    const rekeyed = b.natweave.rekey('moon', 'lan')
    await drive(net, rekeyed)
    await net.advance(10_000)
    expect(await ping(net, mars, '10.99.1.5')).toBe(3)
  })
})

describe('transport mode: two clients behind one NAT', () => {
  const hosts = (wish: ChildWish = {}) =>
    child({ name: 'hosts', local: ['dynamic'], remote: ['dynamic'], mode: 'transport', ...wish })

  async function twoClients(seed: number, wish: ChildWish) {
    const { net, alice, bob, moon } = topologies.samenat({ seed, trace: false })
    const wishOf = (me: string) => toMoon({ me, requestAddresses: [], children: [hosts()] })
    const a = await node(net, alice, { peers: [wishOf('alice')] })
    const b = await node(net, bob, { peers: [wishOf('bob')] })
    const m = await node(net, moon, { peers: [clients({ pool: undefined, children: [hosts(wish)] })], pools })
    await a.connect('moon')
    return { net, alice, bob, moon, a, b, m }
  }

  /** A datagram from a port of the client's, and what came back. */
  async function echo(net: VirtualInternet, from: Host, port: number, text: string): Promise<string[]> {
    const socket = from.udp(port)
    socket.send(text, '203.0.113.20', 7)
    await net.advance(1_000)
    const answers = socket.received.map(d => new TextDecoder().decode(d.data))
    socket.close()
    return answers
  }

  function echoServer(host: Host): string[] {
    const seen: string[] = []
    const server = host.udp(7)
    server.onMessage = ({ data, from }) => {
      seen.push(`${new TextDecoder().decode(data)} from ${from.address}`)
      server.send(data, from.address, from.port)
    }
    return seen
  }

  scenario('refused to the second: what is for the first never goes to it', async seed => {
    const { net, alice, moon, b, m } = await twoClients(seed, {})
    await refused(net, b)
    expect(m.of('child-failed')[0]?.why).toContain('already belong to an SA of alice.example')
    echoServer(moon)
    expect(await echo(net, alice, 5_000, 'alice')).toEqual(['alice'])
    expect(m.peer('clients').children).toHaveLength(1)
  })

  scenario('told apart by the flows they open; none can take part in the other’s', async seed => {
    const { net, alice, bob, moon, b, m } = await twoClients(seed, { conflicts: 'flows' })
    await b.connect('moon')
    const seen = echoServer(moon)
    expect(await echo(net, alice, 5_000, 'alice')).toEqual(['alice'])
    expect(await echo(net, bob, 5_001, 'bob')).toEqual(['bob'])
    expect(await ping(net, alice, '203.0.113.20')).toBe(3)
    // both hosts number their echos alike: one after the other
    await net.advance(30_000)
    expect(await ping(net, bob, '203.0.113.20')).toBe(3)
    expect(await transfer(net, alice, '203.0.113.20')).toBe(true)
    // and their ports: bob leaves one out
    bob.udp().close()
    expect(await transfer(net, bob, '203.0.113.20')).toBe(true)
    // impersonation: bob uses the ports of alice's flow
    expect(await echo(net, bob, 5_000, 'mallory')).toEqual([])
    expect(seen).toEqual(['alice from 198.51.100.1', 'bob from 198.51.100.1'])
    expect(m.peer('clients').children.map(c => c.counters.drops)).toEqual([{}, { conflict: 1 }])
    expect(await echo(net, alice, 5_000, 'again')).toEqual(['again'])
    // whom a new flow of the server is for, nobody can tell: it goes to neither
    moon.udp().send('for whom?', '198.51.100.1', 9)
    await net.advance(1_000)
    expect(m.natweave.status().drops['conflict']).toBe(1)
  })

  scenario('the owner’s flows are free again when it has gone', async seed => {
    const { net, alice, bob, moon, a, b } = await twoClients(seed, { conflicts: 'flows' })
    await b.connect('moon')
    echoServer(moon)
    expect(await echo(net, alice, 5_000, 'alice')).toEqual(['alice'])
    await drive(net, a.natweave.disconnect('moon'))
    await net.advance(10_000)
    expect(await echo(net, bob, 5_000, 'bob')).toEqual(['bob'])
  })

  scenario('seen as other addresses: the server reaches each of them', async seed => {
    const { net, alice, bob, moon, b, m } = await twoClients(seed, { conflicts: MAP })
    await b.connect('moon')
    expect(m.peer('clients').children.map(c => c.remote)).toEqual([['10.99.0.0'], ['10.99.0.1']])
    const seen = echoServer(moon)
    expect(await echo(net, alice, 5_000, 'alice')).toEqual(['alice'])
    expect(await echo(net, bob, 5_000, 'bob')).toEqual(['bob'])
    expect(seen).toEqual(['alice from 10.99.0.0', 'bob from 10.99.0.1'])
    expect([await ping(net, moon, '10.99.0.0'), await ping(net, moon, '10.99.0.1')]).toEqual([3, 3])
    expect([await transfer(net, moon, '10.99.0.0'), await transfer(net, bob, '203.0.113.20')]).toEqual([true, true])
    expect([alice, bob, moon].map(h => h.badChecksums)).toEqual([0, 0, 0])
  })
})
