import { describe, expect } from 'vitest'
import type { Flow } from '../../core/contracts/net.ts'
import type { Packet } from '../../core/contracts/packet.ts'
import { type Plugin, SERVICE } from '../../core/contracts/plugin.ts'
import type { Service, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import { formatAddress, parseAddress } from '../../core/wire/index.ts'
import { type Host, nats, topologies } from '../kit/index.ts'
import { INNER, registered, steps, talk } from './mediation.ts'
import { drive, scenario } from './support.ts'

/** Paths that die, and paths through a relay that are left for direct ones. */

const MOBILE = { peer: { mobike: true } }
const RELAY = '203.0.113.30'
const CONTROL = 7_000

/**
 * The simplest relay there is: the host `stun` gives this client a port; what comes there is passed on with who sent it in
 * front, and what the client sends to the control port has in front to whom it is to go.
 */
function relay(at: Host, port: number): Plugin {
  const outside = at.udp(port)
  const control = at.udp(CONTROL + port)
  let client: { address: string; port: number } | undefined
  outside.onMessage = ({ data, from }) => {
    if (client !== undefined) control.send(framed(from, data), client.address, client.port)
  }
  control.onMessage = ({ data, from }) => {
    client = from
    if (data.length > FRAME) outside.send(data.slice(FRAME), formatAddress(data.subarray(0, 4)), portAt(data))
  }
  const server = { address: RELAY, port: CONTROL + port }
  const own = { address: RELAY, port }
  let base: Flow['local'] | undefined
  const service: Service = {
    deadline: Infinity,
    step: (input: ServiceIn): readonly ServiceOut[] => {
      const natt =
        input.type === 'locals' ? input.locals.find(l => l.role === 'natt' && /^10\.[12]\./.test(l.address)) : undefined
      if (natt === undefined || base !== undefined) return []
      base = { address: natt.address, port: natt.port }
      return [
        { type: 'transmit', bytes: new Uint8Array(FRAME), flow: { protocol: 17, local: base, remote: server } },
        {
          type: 'candidate',
          candidate: { kind: 'relayed', endpoint: own, base: own, source: 'a test', until: Infinity },
        },
      ]
    },
    claims: (packet: Packet, { remote }: Flow) => {
      if (remote.address !== RELAY || remote.port !== server.port) return undefined
      const frame = packet.bytes.subarray(packet.start, packet.start + FRAME)
      packet.start += FRAME
      return { protocol: 17, local: own, remote: { address: formatAddress(frame.subarray(0, 4)), port: portAt(frame) } }
    },
    reroute: (packet: Packet, { local, remote }: Flow) => {
      if (local.address !== RELAY || local.port !== port || base === undefined) return undefined
      packet.start -= FRAME
      packet.bytes.set(framed(remote, new Uint8Array(0)), packet.start)
      return { protocol: 17, local: base, remote: server }
    },
  }
  return { name: `relay-${port}`, api: 1, register: c => void c.register(SERVICE, { useValue: () => service }) }
}

const FRAME = 6
const portAt = (frame: Uint8Array): number => (frame[4]! << 8) | frame[5]!
function framed({ address, port }: { address: string; port: number }, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(FRAME + data.length)
  out.set(parseAddress(address)!)
  out.set([port >> 8, port & 0xff], 4)
  out.set(data, FRAME)
  return out
}

describe('a path that dies', () => {
  scenario('both NATs lose their mappings: another way is found, the SA stays', async seed => {
    const topology = topologies.nat2({ seed, nata: 'portRestrictedCone', natb: 'portRestrictedCone', trace: false })
    const { net, alice, bob, natb } = topology
    const { a, b } = await registered(topology, { a: MOBILE, b: MOBILE })
    await a.connect('bob')
    const { spiInitiator } = a.peer('bob')
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    natb.renumber('198.51.100.7/24')
    await net.until(() => steps(a, 'bob', 'moving').length > 0, { within: 60_000 })
    await net.advance(1_000)
    expect(a.peer('bob')).toMatchObject({ spiInitiator, remote: '198.51.100.7:4500' })
    expect(b.peer('alice')).toMatchObject({ spiInitiator })
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect(a.of('down')).toEqual([])
  })
})

describe('a path through a relay', () => {
  scenario('is left for a direct one without losing a packet, and taken again when that dies', async seed => {
    const topology = topologies.nat2({ seed, nata: { ...nats.symmetric }, natb: { ...nats.symmetric }, trace: false })
    const { net, alice, bob, nata, natb, stun } = topology
    const { a } = await registered(topology, {
      a: { ...MOBILE, plugins: [relay(stun, 5_001)] },
      b: { ...MOBILE, plugins: [relay(stun, 5_002)] },
    })
    await a.connect('bob')
    expect(JSON.stringify([a.peer('bob').local, a.peer('bob').remote])).toContain(RELAY)
    expect(await talk(net, alice, bob)).toEqual([3, 3])

    // the NATs get better: the next look finds a direct way, while pings go on
    for (const nat of [nata, natb]) Object.assign(nat.behaviour, nats.fullCone)
    const pings = alice.ping(INNER.bob, { count: 300, interval: 100, timeout: 2_000, source: INNER.alice })
    await net.until(() => steps(a, 'bob', 'moving').length > 0, { within: 60_000 })
    await net.until(() => pings.done, { within: 60_000 })
    expect(pings.received).toBe(300)
    expect(JSON.stringify([a.peer('bob').local, a.peer('bob').remote])).not.toContain(RELAY)

    // and worse again
    for (const nat of [nata, natb]) {
      Object.assign(nat.behaviour, nats.symmetric)
      nat.reboot()
    }
    await net.until(() => steps(a, 'bob', 'moving').length > 1, { within: 120_000 })
    await net.advance(2_000)
    expect(JSON.stringify([a.peer('bob').local, a.peer('bob').remote])).toContain(RELAY)
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect(a.of('down').filter(e => e.peer === 'bob')).toEqual([])
  })
})

describe('a mediation connection', () => {
  scenario('is rekeyed by either end and stays registered', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, alice, bob } = topology
    const { a, m } = await registered(topology)
    await drive(net, a.natweave.rekey('med'))
    await drive(net, m.natweave.rekey('clients'))
    await net.advance(200)
    await a.connect('bob')
    expect(await talk(net, alice, bob)).toEqual([3, 3])
  })
})
