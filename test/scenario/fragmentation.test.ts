import { describe, expect } from 'vitest'
import { IpProtocol } from '../../core/wire/index.ts'
import { noble } from '../../plugins/noble/index.ts'
import { topologies } from '../kit/index.ts'
import { isFragment } from '../kit/packet.ts'
import { child, clients, drive, lanOfMoon, node, ping, scenario, toMoon, Wire } from './support.ts'

/** Long messages through NATs that drop IP fragments, and through paths that are narrower than they say. */

/** So many prefixes that IKE_AUTH takes 2.5 kB each way. */
const MANY = ['10.3.0.0/24', ...Array.from({ length: 55 }, (_, i) => `2001:db8:3:${i + 1}::/64`)]
const wide = { children: [child({ remote: MANY })] }
const wideGateway = { children: [lanOfMoon({ local: MANY })] }

async function up(seed: number, nata: Parameters<typeof topologies.nat1>[0] = {}, fragmentSize = 1_280) {
  const topology = topologies.nat1({ seed, trace: false, ...nata })
  topology.nata.behaviour.dropFragments = true
  const wire = new Wire(topology.net, topology.inet)
  const wish = { ike: { fragmentSize } }
  const a = await node(topology.net, topology.alice, { peers: [toMoon(wide)], ...wish })
  const m = await node(topology.net, topology.moon, { peers: [clients(wideGateway)], ...wish })
  return { ...topology, wire, a, m }
}

describe('a NAT that drops IP fragments', () => {
  scenario('IKE_AUTH of 2.5 kB gets through it, in IKE fragments', async seed => {
    const { net, alice, wire, a } = await up(seed)
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect(wire.seen.filter(s => isFragment(s.packet))).toEqual([])
    const ike = wire.of('ike').filter(s => s.packet.length > 600)
    // three there, four back: the answer has a ticket in it
    expect(ike.length).toBe(7)
    expect(Math.max(...ike.map(s => s.packet.length))).toBeLessThanOrEqual(1_280)
  })

  scenario('without them it does not', async seed => {
    const { net, a } = await up(seed, {}, 0)
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' })
  })

  scenario('with losses and disorder on the way', async seed => {
    const { net, nata, alice, a, m } = await up(seed, {}, 576)
    Object.assign(nata.interface('wan0').link, { loss: 0.08, duplicate: 0.1, reorder: 0.3, reorderBy: 300 })
    for (let i = 0; i < 5; i++) {
      await a.connect('moon')
      await drive(net, a.natweave.disconnect('moon'))
    }
    Object.assign(nata.interface('wan0').link, { loss: 0, duplicate: 0, reorder: 0 })
    await a.connect('moon')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    expect([a.of('established').length, m.of('established').length]).toEqual([6, 6])
  })
})

scenario('ML-KEM-1024, whose keys fit into no datagram, through such a NAT', async seed => {
  const { net, inet, nata, alice, moon } = topologies.nat1({ seed, trace: false })
  nata.behaviour.dropFragments = true
  const wire = new Wire(net, inet)
  const proposals = ['aes256gcm16-prfsha384-x25519-ke1_mlkem1024']
  const a = await node(net, alice, { peers: [toMoon({ proposals })], plugins: [noble()] })
  const m = await node(net, moon, { peers: [clients({ proposals })], plugins: [noble()] })
  await a.connect('moon')
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  expect([a.peer('moon').suite, m.peer('clients').suite]).toEqual([proposals[0], proposals[0]])
  expect(Math.max(...wire.of('ike').map(s => s.packet.length))).toBeLessThanOrEqual(1_280)
})

scenario('a path that swallows large packets without a word: IKE gets smaller until it passes', async seed => {
  const { net, nata, wire, a, m } = await up(seed)
  nata.interface('wan0').link.dropIf = packet => packet[9] === IpProtocol.UDP && packet.length > 600
  await a.connect('moon')
  expect([a.peer('moon').state, m.peer('clients').state]).toEqual(['established', 'established'])
  // what was learnt stays: the rekey of the Child SA, as long, passes at once
  const before = wire.of('ike').length
  await drive(net, a.natweave.rekey('moon', 'lan'))
  await net.until(() => a.of('child-rekeyed').length === 1, { within: 300 })
  const sizes = wire.of('ike').map(s => s.packet.length)
  expect(Math.max(...sizes.slice(before))).toBeLessThanOrEqual(576)
})
