import { describe, expect } from 'vitest'
import type { IkeMeOptions } from '../../plugins/ike-me/index.ts'
import { type NatBehaviour, nats, topologies } from '../kit/index.ts'
import { payloadAt } from '../kit/packet.ts'
import { INNER, registered, steps, talk } from './mediation.ts'
import { relayed, relayNode } from './relay.ts'
import { scenario, Wire } from './support.ts'

/** Peers whose NATs let nothing through directly: mediation by one host, TURN on another, all natweave. */

const RELAY = '203.0.113.30'

async function withRelay(seed: number, nata: NatBehaviour, natb: NatBehaviour, options: IkeMeOptions = {}) {
  const topology = topologies.nat2({ seed, nata: { ...nata }, natb: { ...natb }, trace: false })
  await relayNode(topology.net, topology.stun)
  const mobile = { options, peer: { mobike: true } }
  const { a, b } = await registered(topology, {
    a: { ...mobile, plugins: [relayed('alice', RELAY)] },
    b: { ...mobile, plugins: [relayed('bob', RELAY)] },
  })
  await topology.net.advance(500)
  const isRelayed = () => [a.fact('bob', 'relayed'), b.fact('alice', 'relayed')]
  return { ...topology, a, b, isRelayed }
}

describe('two peers behind NATs with random ports, and a relay', () => {
  scenario('connect through it, whoever asks, and ESP goes in channels', async seed => {
    for (const asks of ['alice', 'bob'] as const) {
      const { net, inet, alice, bob, a, b, isRelayed } = await withRelay(seed, nats.symmetric, nats.symmetric)
      const began = net.clock.now()
      await (asks === 'alice' ? a.connect('bob') : b.connect('alice'))
      expect(net.clock.now() - began).toBeLessThan(3_000)
      expect(isRelayed()).toEqual([true, true])
      expect([a.peer('bob').local, a.peer('bob').remote].join()).toContain(RELAY)
      expect(await talk(net, alice, bob)).toEqual([3, 3])
      const wire = new Wire(net, inet)
      expect(await talk(net, alice, bob)).toEqual([3, 3])
      // RFC 8656 §12.4: channel numbers begin with 0x40 to 0x4f
      const first = wire.seen
        .filter(s => s.to === RELAY && s.toPort === 4500)
        .map(s => s.packet[payloadAt(s.packet) + 8]! >> 4)
      expect(new Set(first)).toEqual(new Set([4]))
    }
  })

  scenario('connect when only one of them has it', async seed => {
    for (const asks of ['alice', 'bob'] as const) {
      const topology = topologies.nat2({ seed, nata: 'symmetric', natb: 'symmetric', trace: false })
      const { net, stun, alice, bob } = topology
      await relayNode(net, stun)
      const { a, b } = await registered(topology, { b: { plugins: [relayed('bob', RELAY)] } })
      await net.advance(500)
      await (asks === 'alice' ? a.connect('bob') : b.connect('alice'))
      expect([a.fact('bob', 'relayed'), b.fact('alice', 'relayed')]).toEqual([true, true])
      expect(await talk(net, alice, bob)).toEqual([3, 3])
    }
  })

  scenario('move to a direct way when the NATs get easy, and back when these get hard again', async seed => {
    const { net, alice, bob, nata, natb, a, isRelayed } = await withRelay(seed, nats.symmetric, nats.symmetric)
    await a.connect('bob')
    const { spiInitiator } = a.peer('bob')
    for (const nat of [nata, natb]) Object.assign(nat.behaviour, nats.fullCone)
    await net.until(() => isRelayed().join() === 'false,false', { within: 60_000 })
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    for (const nat of [nata, natb]) {
      Object.assign(nat.behaviour, nats.symmetric)
      nat.reboot()
    }
    await net.until(() => isRelayed().join() === 'true,true', { within: 120_000 })
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect(a.peer('bob').spiInitiator).toBe(spiInitiator)
    expect(a.of('down')).toEqual([])
  })
})

describe('a filter between two peers', () => {
  scenario('goes: they move from the relay to the direct way without losing a ping; comes: back', async seed => {
    const { net, alice, bob, natb, a, isRelayed } = await withRelay(seed, nats.symmetric, nats.portRestrictedCone, {
      hardNats: { sockets: 0, probes: 0 },
    })
    await a.connect('bob')
    const { spiInitiator } = a.peer('bob')
    expect(isRelayed()).toEqual([true, true])
    const pings = alice.ping(INNER.bob, { count: 300, interval: 100, timeout: 2_000, source: INNER.alice })
    // the mappings stay, so that the relay does as well
    natb.behaviour.filtering = 'endpoint-independent'
    await net.until(() => pings.done, { within: 60_000 })
    expect(pings.received).toBe(300)
    expect(isRelayed()).toEqual([false, false])

    natb.behaviour.filtering = 'address-and-port-dependent'
    const outside = natb.interfaces[0]!
    outside.link.dropIf = packet => (packet[12] === 198 && packet[15] === 1) || (packet[16] === 198 && packet[19] === 1)
    await net.until(() => isRelayed().join() === 'true,true', { within: 120_000 })
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect(steps(a, 'bob', 'moving')).toHaveLength(2)
    expect(a.peer('bob').spiInitiator).toBe(spiInitiator)
    expect(a.of('down')).toEqual([])
  })
})
