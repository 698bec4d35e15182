import { expect } from 'vitest'
import { type Link, topologies } from '../kit/index.ts'
import { child, clients, drive, lanOfMoon, node, type PeerWish, ping, scenario, toMoon } from './support.ts'

/** Authentication anew, make-before-break: the new IKE SA stands before the old one goes. */

async function up(seed: number, client: Partial<PeerWish>, gateway: Partial<PeerWish> = {}) {
  const topology = topologies.nat1({ seed, nata: 'symmetric', trace: false })
  const { net, alice, moon } = topology
  const a = await node(net, alice, { peers: [toMoon(client)] })
  const m = await node(net, moon, { peers: [clients(gateway)] })
  await a.connect('moon')
  return { ...topology, a, m }
}

type World = Awaited<ReturnType<typeof up>>

/** Datagrams both ways, numbered. @returns how many arrived, from alice and from mars */
async function stream({ net, alice, mars }: World, ms: number, every: number): Promise<number[]> {
  const [left, right] = [alice.udp(9_000), mars.udp(9_000)]
  const arrived = [new Set<string>(), new Set<string>()]
  right.onMessage = ({ data }) => arrived[0]!.add(new TextDecoder().decode(data))
  left.onMessage = ({ data }) => arrived[1]!.add(new TextDecoder().decode(data))
  for (let i = 0; i < ms / every; i++) {
    left.send(`${i}`, '10.3.0.5', 9_000)
    right.send(`${i}`, '10.9.0.1', 9_000)
    await net.advance(every)
  }
  await net.advance(500)
  return arrived.map(set => set.size)
}

for (const unique of ['replace', 'keep', 'no', 'never'] as const)
  scenario(`every few seconds, unique: ${unique} at the gateway: no packet is lost, the address stays`, async seed => {
    const world = await up(seed, { reauthMs: 5_000 }, { unique })
    const { net, a, m } = world
    expect(await stream(world, 30_000, 10)).toEqual([3_000, 3_000])
    expect(a.of('reauthenticated').length).toBeGreaterThanOrEqual(5)
    expect(m.of('established').length).toBe(a.of('established').length)
    expect([...a.of('down'), ...m.of('down'), ...a.of('child-failed'), ...m.of('child-failed')]).toEqual([])
    for (const one of [a, m]) expect(one.natweave.status().drops).toEqual({})
    expect(a.peer('moon').virtualAddresses).toEqual(['10.9.0.1'])
    expect(m.of('message').filter(e => e.summary.includes('INITIAL_CONTACT'))).toHaveLength(1)
    await drive(net, a.natweave.disconnect('moon'))
    expect([a.peer('moon').state, m.peer('clients').state]).toEqual(['idle', 'idle'])
  })

scenario('over a line that loses packets: a transfer arrives whole', async seed => {
  const { net, nata, alice, a, m } = await up(seed, { reauthMs: 5_000, rekeyMs: 7_000 }, { rekeyMs: 6_000 })
  Object.assign(nata.interface('wan0').link, { loss: 0.05, reorder: 0.03, duplicate: 0.01, jitter: 4 })
  const bulk = alice.bulk('10.3.0.5', { bytes: 2_000_000, window: 8 })
  await net.until(() => bulk.done, { within: 300_000 })
  expect(bulk.intact).toBe(true)
  expect(a.of('reauthenticated').length).toBeGreaterThanOrEqual(2)
  expect([a.of('down'), m.of('down')]).toEqual([[], []])
})

scenario('all Child SAs come over', async seed => {
  const both = (of: typeof child) => [
    of({ name: 'lan', ...(of === child ? {} : { local: ['10.3.0.0/24'] }) }),
    of(of === child ? { name: 'more', remote: ['10.4.0.0/24'] } : { name: 'more', local: ['10.4.0.0/24'] }),
  ]
  const { net, a, m } = await up(seed, { reauthMs: 5_000, children: both(child) }, { children: both(lanOfMoon) })
  await net.advance(4_700)
  expect(a.of('reauthenticated')).toHaveLength(1)
  await net.advance(1_000)
  for (const peer of [a.peer('moon'), m.peer('clients')])
    expect(peer.children.map(c => c.name).sort()).toEqual(['lan', 'more'])
})

scenario('the gateway says how long an authentication is good for', async seed => {
  const { net, alice, a, m } = await up(seed, {}, { reauthMs: 10_000 })
  expect(a.of('message').some(e => e.summary.includes('AUTH_LIFETIME'))).toBe(true)
  await net.advance(60_000)
  expect(a.of('reauthenticated').length).toBeGreaterThanOrEqual(5)
  expect([a.of('down'), m.of('down')]).toEqual([[], []])
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
})

scenario('a client that does not authenticate anew is shown the door', async seed => {
  const { net, moon, a, m } = await up(seed, { reconnect: false, dpdMs: 0 }, { reauthMs: 10_000 })
  // the client's attempts do not get through, everything else does
  moon.interface().link.dropIf = packet => packet[9] === 17 && packet.subarray(28 + 4 + 18, 28 + 4 + 19)[0] === 34
  await net.advance(12_000)
  expect(m.of('child-down').map(e => e.why)).toEqual(['the peer has not authenticated anew in time'])
  expect(a.of('down').map(e => e.why)).toEqual(['deleted by the peer'])
})

scenario('an attempt that fails leaves the old SA as it is, and is made again', async seed => {
  const { net, moon, alice, a } = await up(seed, { reauthMs: 20_000 })
  moon.interface().link.dropIf = packet => packet[9] === 17 && packet.subarray(28 + 4 + 18, 28 + 4 + 19)[0] === 34
  await net.advance(60_000)
  expect(a.of('reauth-failed').map(e => e.code)).toEqual(['PEER_UNREACHABLE'])
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  moon.interface().link.dropIf = () => false
  await net.advance(60_000)
  expect(a.of('reauthenticated').length).toBeGreaterThanOrEqual(1)
  expect(a.of('down')).toEqual([])
})

/** The first `count` answers of IKE_AUTH do not get through: what the gateway sends on the new SA is there before. */
function loseAnswers(link: Link, count: number): void {
  const IKE_AUTH = 35
  const RESPONSE = 0x20
  link.dropIf = packet => {
    const ike = packet[9] === 17 && packet.subarray(28, 32).every(octet => octet === 0)
    const [exchange, flags] = packet.subarray(28 + 4 + 18, 28 + 4 + 20)
    return ike && exchange === IKE_AUTH && (flags! & RESPONSE) !== 0 && count-- > 0
  }
}

scenario('the new SA is used before the answer that makes it: packets are held until then', async seed => {
  const world = await up(seed, { reauthMs: 5_000 }, { unique: 'keep' })
  const { a, moon } = world
  loseAnswers(moon.interface().link, 2)
  expect(await stream(world, 15_000, 50)).toEqual([300, 300])
  expect(a.of('reauthenticated').length).toBeGreaterThanOrEqual(2)
  expect(a.natweave.status().drops).toEqual({})
})

scenario('a Child SA whose answer never comes: what was held for it is dropped in time, and counted', async seed => {
  const world = await up(seed, { reauthMs: 5_000 }, { unique: 'keep' })
  const { net, a, m, moon } = world
  loseAnswers(moon.interface().link, Infinity)
  const [, arrived] = await stream(world, 60_000, 50)
  expect(a.of('reauth-failed').length).toBeGreaterThanOrEqual(1)
  expect([...a.of('down'), ...m.of('down')]).toEqual([])
  await net.advance(5_000)
  expect(a.natweave.status().drops['unknown-spi']).toBe(1_200 - arrived!)
})
