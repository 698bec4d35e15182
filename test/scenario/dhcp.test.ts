import { describe, expect } from 'vitest'
import { dhcp } from '../../plugins/dhcp/index.ts'
import { type Host, topologies } from '../kit/index.ts'
import { type DhcpServer, dhcpServer } from './dhcp-server.ts'
import { clients, drive, type Node, node, ping, scenario, toMoon } from './support.ts'

const RELAY = '10.3.0.1'
const SERVER = '10.3.0.5'

/** The plugin on a virtual host. */
const leasing = (host: Host) =>
  dhcp({
    open: async (_address, receive) => {
      const socket = host.udp(67)
      socket.onMessage = ({ data, from }) => receive(data, from)
      return {
        send: (bytes, to) => void socket.send(bytes, to, 67, { source: RELAY }),
        close: async () => socket.close(),
      }
    },
  })

/** Two clients behind one NAT, moon, and a DHCP server in its LAN. */
async function office(
  seed: number,
  { lease = 600, ...wish }: { lease?: number; rekeyMs?: number; reauthMs?: number } = {},
) {
  const topology = topologies.samenat({ seed, nata: 'symmetric', trace: false })
  const { net, alice, bob, moon, mars } = topology
  const server = dhcpServer(net, mars, SERVER, lease)
  const m = await node(net, moon, {
    peers: [clients({ pool: 'lan' })],
    pools: {},
    leased: { lan: { name: 'lan', by: 'dhcp', servers: [SERVER], relay: RELAY, dns: [] } },
    plugins: [leasing(moon)],
  })
  const a = await node(net, alice, { peers: [toMoon({ reconnect: false, ...wish })] })
  const b = await node(net, bob, { peers: [toMoon({ me: 'bob', reconnect: false })] })
  return { ...topology, server, m, a, b }
}

const words = (server: DhcpServer): string[] => server.log.map(line => line.split(' ')[0]!)
const drops = (m: Node): Readonly<Record<string, number>> =>
  Object.fromEntries(Object.entries(m.natweave.status().drops).filter(([reason]) => reason.startsWith('dhcp')))

describe('addresses from a DHCP server', () => {
  scenario('each client has its own, and traffic flows', async seed => {
    const { net, alice, bob, server, a, b } = await office(seed)
    await drive(net, Promise.all([a.natweave.connect('moon'), b.natweave.connect('moon')]))
    await net.advance(0)
    const got = [a, b].map(n => n.peer('moon').virtualAddresses[0])
    expect(got.sort()).toEqual(['10.9.0.100', '10.9.0.101'])
    expect(new Set(server.leases.values())).toEqual(new Set(got))
    expect([...server.leases.keys()].every(id => /^ff000000000004[0-9a-f]{32}$/.test(id))).toBe(true)
    expect([await ping(net, alice, SERVER), await ping(net, bob, SERVER)]).toEqual([3, 3])
  })

  scenario('it is renewed while it is used, and released when the client leaves', async seed => {
    const { net, server, a } = await office(seed)
    await a.connect('moon')
    await net.advance(1_000_000)
    expect(server.log.slice(2).map(line => line.split(' ').slice(0, 2).join(' '))).toEqual(
      Array(3).fill('REQUEST 10.9.0.100'),
    )
    await drive(net, a.natweave.disconnect('moon'))
    await net.advance(1_000)
    expect(words(server).at(-1)).toBe('RELEASE')
    expect(server.leases.size).toBe(0)
    const said = server.log.length
    await net.advance(1_000_000)
    expect(server.log).toHaveLength(said)
  })

  scenario('it is released when the gateway stops', async seed => {
    const { net, server, a, m } = await office(seed)
    await a.connect('moon')
    await drive(net, m.natweave.stop())
    await net.advance(1_000)
    expect(server.leases.size).toBe(0)
  })

  scenario('an SA that renews another goes on with the lease', async seed => {
    const { net, server, a, m } = await office(seed, { lease: 86_400, rekeyMs: 60_000, reauthMs: 150_000 })
    await a.connect('moon')
    await net.advance(200_000)
    expect(m.of('established').length).toBeGreaterThan(1)
    expect(words(server)).toEqual(['DISCOVER', 'REQUEST'])
    expect(a.peer('moon').virtualAddresses).toEqual(['10.9.0.100'])
  })

  scenario('lost messages are said again', async seed => {
    const { server, a } = await office(seed)
    let lost = 0
    server.bend = (_, bytes) => (lost++ < 2 ? undefined : bytes)
    await a.connect('moon')
    expect(words(server)).toEqual(['DISCOVER', 'DISCOVER', 'DISCOVER', 'REQUEST'])
    expect(a.peer('moon').virtualAddresses).toEqual(['10.9.0.100'])
  })

  scenario('a server that is silent is no address', async seed => {
    const { net, server, a, m } = await office(seed)
    server.bend = () => undefined
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({ code: 'PEER_NO_ADDRESS' })
    expect(m.of('child-failed').map(e => [e.code, e.why])).toEqual([
      ['POOL_EMPTY', 'no DHCP server (10.3.0.5) has offered an address in time'],
    ])
    expect(words(server).every(word => word === 'DISCOVER')).toBe(true)
  })

  scenario('a lease that is not renewed ends the SA before somebody else has the address', async seed => {
    const { net, server, a, m } = await office(seed)
    await a.connect('moon')
    server.bend = () => undefined
    await net.advance(590_000)
    expect(m.peer('clients').children).toHaveLength(1)
    await net.advance(12_000)
    expect(m.peer('clients').children).toHaveLength(0)
    expect(m.of('child-down').at(-1)!.why).toBe('the DHCP lease of 10.9.0.100 has expired')
    expect(a.peer('moon').children).toHaveLength(0)
  })

  scenario('a renewal that is refused ends it at once', async seed => {
    const { net, server, a, m } = await office(seed)
    await a.connect('moon')
    server.refuses = true
    await net.advance(302_000)
    expect(m.of('child-down').at(-1)!.why).toBe('the DHCP server 10.3.0.5 refuses 10.9.0.100')
    expect(a.peer('moon').children).toHaveLength(0)
  })
})

describe('answers that are not believed', () => {
  const put = (bytes: Uint8Array, at: number, ...octets: number[]): Uint8Array => {
    bytes.set(octets, at)
    return bytes
  }
  for (const [what, reason, bend] of [
    ['another transaction', 'dhcp-xid', b => put(b, 4, b[4]! ^ 1)],
    ['another hardware address', 'dhcp-not-ours', b => put(b, 28, 6)],
    ['another relay', 'dhcp-not-ours', b => put(b, 24, 9)],
    ['no cookie', 'dhcp-malformed', b => put(b, 236, 0)],
    ['an option beyond the end', 'dhcp-malformed', b => put(b, 256, 250)],
    ['a lease of one second', 'dhcp-times', b => put(b, 251, 0, 0, 0, 1)],
    ['a multicast address', 'dhcp-address', b => put(b, 16, 224)],
    ['the address of the server', 'dhcp-address', b => put(b, 16, 10, 3, 0, 5)],
    ['an ACK before any OFFER', 'dhcp-unexpected', b => put(b, 242, 5)],
    ['a request', 'dhcp-malformed', b => put(b, 0, 1)],
  ] as readonly [string, string, (bytes: Uint8Array) => Uint8Array][])
    scenario(what, async seed => {
      const { net, server, a, m } = await office(seed)
      server.bend = (_, bytes) => bend(bytes)
      await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({ code: 'PEER_NO_ADDRESS' })
      expect(drops(m)).toEqual({ [reason]: words(server).length })
    })

  scenario('a flood from elsewhere, before the server answers', async seed => {
    const { net, server, bob, a, m } = await office(seed)
    const flooder = bob.udp(67)
    server.bend = (_, bytes) => {
      for (let i = 0; i < 1_000; i++) flooder.send(bytes, '203.0.113.20', 67)
      return bytes
    }
    await a.connect('moon')
    await net.advance(1_000)
    expect(drops(m)).toEqual({ 'dhcp-foreign-server': 2_000 })
    expect(a.peer('moon').virtualAddresses).toEqual(['10.9.0.100'])
  })
})
