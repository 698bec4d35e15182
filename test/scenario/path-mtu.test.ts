import { describe, expect } from 'vitest'
import { parseIp } from '../kit/address.ts'
import { type Cgnat, topologies } from '../kit/index.ts'
import { isFragment } from '../kit/packet.ts'
import { clients, drive, type Node, node, ping, scenario, toMoon, transfer, Wire } from './support.ts'

/** A hop of so many octets, in the midst of the path: alice, her NAT, [hop], the carrier's NAT, moon. */
function narrow(seed: number, mtu: number): Cgnat {
  const site = topologies.cgnat({ seed, trace: false })
  widen(site, mtu)
  return site
}

const widen = ({ nata, cgn }: Cgnat, mtu: number): void => {
  for (const nat of [nata, cgn])
    for (const { link, addresses } of nat.interfaces)
      if (addresses.some(({ text }) => text.startsWith('100.64.'))) link.mtu = mtu
}

async function tunnel({ net, alice, moon }: Cgnat): Promise<{ a: Node; m: Node }> {
  const a = await node(net, alice, { peers: [toMoon()] })
  const m = await node(net, moon, { peers: [clients()] })
  await a.connect('moon')
  return { a, m }
}

const tooBig = (n: Node, child: string): number => n.child(child).counters.drops['too-big'] ?? 0

/** IP 20, UDP 8, ESP 8, IV 8, ICV 16, trailer 2; AES-GCM fills to four octets. */
const inner = (path: number): number => path - 60 - ((path - 60) % 4) - 2

describe('a narrow hop in the midst', () => {
  scenario('TCP goes through, and nothing is in fragments outside', async seed => {
    const site = narrow(seed, 1_200)
    const { net, alice, mars } = site
    const wires = [alice, site.nata, site.cgn, site.moon].map(point => new Wire(net, point))
    const { a, m } = await tunnel(site)
    for (const [from, to] of [
      [alice, '10.3.0.5'],
      [mars, '10.9.0.1'],
    ] as const) {
      expect(await transfer(net, from, to)).toBe(true)
      // what was learned holds
      const before = tooBig(a, 'moon') + tooBig(m, 'clients')
      expect(await transfer(net, from, to)).toBe(true)
      expect(tooBig(a, 'moon') + tooBig(m, 'clients')).toBe(before)
    }
    expect(wires.flatMap(({ seen }) => seen).filter(({ packet }) => isFragment(packet))).toEqual([])
  })

  scenario('the largest packet that fits, and one octet more, with DF', async seed => {
    const site = narrow(seed, 1_200)
    const { net, alice } = site
    await tunnel(site)
    const pings = async (length: number): Promise<number> => {
      const row = alice.ping('10.3.0.5', { count: 3, interval: 1_000, timeout: 900, size: length - 28, df: true })
      await net.until(() => row.done, { within: 20_000 })
      return row.received
    }
    expect(await pings(1_300)).toBe(0)
    expect(alice.mtuTo(parseIp('10.3.0.5').key)).toBe(inner(1_200))
    expect(await pings(inner(1_200))).toBe(3)
  })

  scenario('without DF packets are cut inside the tunnel', async seed => {
    const site = narrow(seed, 1_200)
    const { net, alice, moon, mars } = site
    await tunnel(site)
    // moon learns the path, mars does not hear of it
    const row = moon.ping('10.9.0.1', { count: 2, timeout: 900, size: 1_272, df: true, source: '10.3.0.1' })
    await net.until(() => row.done, { within: 5_000 })
    const wire = new Wire(net, site.inet)
    const [client, server] = [mars.udp(), alice.udp(7)]
    client.send(new Uint8Array(1_300).fill(9), '10.9.0.1', 7)
    await net.advance(1_000)
    expect(server.received.map(({ data }) => data.length)).toEqual([1_300])
    expect(wire.seen.filter(({ packet }) => isFragment(packet))).toEqual([])
    expect(wire.of('esp-in-udp')).toHaveLength(2)
  })

  scenario('one that has become wide again is used after ten minutes', async seed => {
    const site = narrow(seed, 1_000)
    const { net, alice } = site
    const { a } = await tunnel(site)
    expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    widen(site, 1_500)
    const full = async (): Promise<number> => {
      const row = alice.ping('10.3.0.5', { count: 1, timeout: 900, size: 1_372, df: true })
      await net.until(() => row.done, { within: 5_000 })
      return row.received
    }
    expect(await full()).toBe(0)
    await net.advance(600_000)
    expect(await full()).toBe(1)
    expect(tooBig(a, 'moon')).toBeGreaterThan(0)
  })
})

describe.each([
  ['IPv4, plain ESP', '203.0.113.20', 'auto'],
  ['IPv4, ESP in UDP', '203.0.113.20', 'force'],
  ['IPv6, plain ESP', '2001:db8::20', 'auto'],
  ['IPv6, ESP in UDP', '2001:db8::20', 'force'],
] as const)('an own exit of 1280 octets: %s', (_, remote, encapsulation) => {
  scenario('is known from the first packet on', async seed => {
    const { net, alice, moon, mars } = topologies.direct({
      seed,
      trace: false,
      backbone: { mtu: 1_280 },
      access: { mtu: 1_280 },
    })
    const wire = new Wire(net, moon)
    const a = await node(net, alice, { peers: [toMoon({ remote, encapsulation })] })
    await node(net, moon, { peers: [clients()] })
    await drive(net, a.natweave.connect('moon'))
    expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    expect(await transfer(net, mars, '10.9.0.1')).toBe(true)
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    const outside = wire.seen.filter(({ kind }) => kind === 'esp' || kind === 'esp-in-udp')
    expect(outside.length).toBeGreaterThan(100)
    expect(outside.filter(({ packet }) => packet.length > 1_280 || isFragment(packet))).toEqual([])
  })
})
