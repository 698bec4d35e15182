import { describe, expect } from 'vitest'
import { topologies } from '../kit/index.ts'
import { clients, node, ping, scenario, toMoon, transfer, Wire } from './support.ts'

const random = { allocation: 'random' } as const

async function up(seed: number) {
  const topology = topologies.nat1({ seed, trace: false })
  const { net, inet, nata, alice, moon } = topology
  Object.assign(nata.behaviour, random)
  const wire = new Wire(net, inet)
  const a = await node(net, alice, { peers: [toMoon()] })
  const m = await node(net, moon, { peers: [clients()] })
  await a.connect('moon')
  return { ...topology, wire, a, m }
}

describe("the client's outer endpoint changes", () => {
  scenario('NAT reboot in the middle of a transfer: it goes on by itself', async seed => {
    const { net, nata, alice, mars, a, m } = await up(seed)
    const bulk = alice.bulk('10.3.0.5', { bytes: 2_000_000 })
    const before = m.peer('clients').remote
    await net.advance(200)
    expect(bulk.done).toBe(false)
    nata.reboot()
    await net.until(() => bulk.done, { within: 60_000 })
    expect(bulk.intact).toBe(true)
    const moved = m.of('moved').filter(e => e.remote !== before)
    expect(moved).toHaveLength(1)
    expect(m.peer('clients').remote).toBe(moved[0]!.remote)
    // same SAs all the time, and the way back works without the client speaking first
    expect([a.of('child-up').length, a.of('down').length]).toEqual([1, 0])
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
  })

  scenario('the provider renumbers: IKE and ESP follow', async seed => {
    const { net, nata, alice, mars, m, a } = await up(seed)
    nata.renumber('198.51.100.77/24')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(m.peer('clients').remote).toMatch(/^198\.51\.100\.77:/)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    const rekeyed = m.natweave.rekey('clients')
    await net.advance(3_000)
    await rekeyed
    expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    expect(a.of('established')).toHaveLength(1)
  })

  scenario('only IKE has moved (a liveness check from the new place): ESP goes there too', async seed => {
    const { net, nata, mars, m, a } = await up(seed)
    nata.renumber('198.51.100.78/24')
    const rekeyed = a.natweave.rekey('moon')
    await net.advance(3_000)
    await rekeyed
    expect(m.peer('clients').remote).toMatch(/^198\.51\.100\.78:/)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
  })
})

describe('an attacker elsewhere', () => {
  scenario('forged, replayed and altered packets from another place do not move the peer', async seed => {
    const { net, alice, bob, mars, wire, m } = await up(seed)
    expect(await ping(net, alice, '10.3.0.5', 5)).toBe(5)
    const before = m.peer('clients').remote
    const heard = wire.seen.filter(s => s.to === '203.0.113.20' && s.toPort === 4500).map(s => s.packet.slice(28))
    const attacker = bob.udp(4500)
    const altered = heard.map(packet => packet.map((octet, i) => (i === packet.length - 1 ? octet ^ 1 : octet)))
    // higher sequence numbers than any before, with a broken ICV
    const ahead = heard.map(packet => packet.map((octet, i) => (i === 6 ? 0x7f : octet)))
    for (const packet of [...heard, ...altered, ...ahead]) attacker.send(packet, '203.0.113.20', 4500)
    await net.advance(1_000)
    expect(m.peer('clients').remote).toBe(before)
    expect(m.of('moved').filter(e => e.remote !== before)).toEqual([])
    const { drops } = m.child('clients').counters
    expect([drops.replay! >= 5, drops.integrity! >= 5]).toEqual([true, true])
    // the window did not advance: what the client sends next is taken
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    expect(attacker.received.filter(d => d.data.length > 1 && d.data[0] !== 0)).toEqual([])
  })

  scenario(
    'an authentic packet that was held back and replayed late from elsewhere does not move it either',
    async seed => {
      const { net, alice, bob, mars, m } = await up(seed)
      const before = m.peer('clients').remote
      // one packet never arrives; the attacker delivers it later, when newer ones have been seen
      let held: Uint8Array | undefined
      alice.interface().link.dropIf = (packet, direction) => {
        if (direction !== 'up' || held !== undefined || packet[9] !== 17 || packet.length < 100) return false
        held = packet.slice(28)
        return true
      }
      expect(await ping(net, alice, '10.3.0.5', 5)).toBe(4)
      bob.udp(4500).send(held!, '203.0.113.20', 4500)
      await net.advance(500)
      expect(m.child('clients').counters.packetsIn).toBe(5)
      expect(m.peer('clients').remote).toBe(before)
      expect(await ping(net, mars, '10.9.0.1')).toBe(3)
    },
  )

  scenario('the end behind the NAT never follows', async seed => {
    const { net, nata, alice, bob, wire, a } = await up(seed)
    Object.assign(nata.behaviour, { filtering: 'endpoint-independent' })
    // an attacker in between: takes the gateway's packets and sends them on from another address
    let held: Uint8Array | undefined
    nata.interface('wan0').link.dropIf = (packet, direction) => {
      if (direction !== 'down' || held !== undefined || packet.length < 100) return false
      held = packet.slice(28)
      return true
    }
    expect(await ping(net, alice, '10.3.0.5', 1)).toBe(0)
    const outer = wire.seen.find(s => s.to === '203.0.113.20' && s.toPort === 4500)!
    bob.udp(4500).send(held!, outer.from, outer.fromPort)
    await net.advance(500)
    expect(a.child('moon').counters.packetsIn).toBe(1)
    expect(a.peer('moon').remote).toBe('203.0.113.20:4500')
    expect(a.of('moved').filter(e => !e.remote.startsWith('203.0.113.20'))).toEqual([])
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })
})
