import { describe, expect } from 'vitest'
import { STRATEGY } from '../../core/contracts/plugin.ts'
import type { Service, ServiceContext, ServiceIn, ServiceOut } from '../../core/contracts/service.ts'
import { type Payload, serializeIke } from '../../core/wire/index.ts'
import { checkRequest } from '../../plugins/ike-me/check.ts'
import { meNotify } from '../../plugins/ike-me/connect.ts'
import { IkeMe } from '../../plugins/ike-me/index.ts'
import { nodeCryptoProvider } from '../../plugins/node-crypto/provider.ts'
import { topologies } from '../kit/index.ts'
import { client, INNER, registered, serving, steps, talk } from './mediation.ts'
import { drive, node, scenario } from './support.ts'

/** What strangers, a bad server and a server that dies can do. */

const CONNECT_KEY = 40_966
const ENDPOINT = 40_963

/** A server that changes what it passes on. */
class Meddler extends IkeMe {
  readonly #change: (payloads: readonly Payload[]) => readonly Payload[]

  constructor(change: (payloads: readonly Payload[]) => readonly Payload[]) {
    super()
    this.#change = change
  }

  override serve(context: ServiceContext): Service {
    const inner = super.serve(context)
    const change = this.#change
    return {
      exchanges: inner.exchanges!,
      get deadline() {
        return inner.deadline
      },
      claims: (packet, flow) => inner.claims!(packet, flow),
      step: (input: ServiceIn, now: number) =>
        inner
          .step(input, now)
          .map((o): ServiceOut => (o.type === 'request' ? { ...o, payloads: change(o.payloads) } : o)),
    }
  }
}

/** alice and bob, registered with a server that is no good. */
async function meddled(seed: number, change: (payloads: readonly Payload[]) => readonly Payload[]) {
  const topology = topologies.nat2({ seed, trace: false })
  const { net, med, alice, bob } = topology
  alice.addAddress(`${INNER.alice}/32`)
  bob.addAddress(`${INNER.bob}/32`)
  const strategy = new Meddler(change)
  const m = await node(net, med, {
    ...serving(),
    plugins: [{ name: 'ike-me', api: 1, register: c => void c.register(STRATEGY, { useValue: strategy }) }],
  })
  const a = await node(net, alice, client('alice', ['bob']))
  const b = await node(net, bob, client('bob', ['alice']))
  await net.advance(200)
  return { ...topology, a, b, m }
}

describe('a server that changes what it passes on', () => {
  scenario('other endpoints beside the true ones: the peers connect, and both know', async seed => {
    const { net, alice, bob, a, b } = await meddled(seed, payloads => {
      const at = payloads.findIndex(p => p.type === 'N' && p.notify === ENDPOINT)
      const own = meNotify(ENDPOINT, Uint8Array.of(0, 0x40, 0xff, 0xff, 1, 3, 0x11, 0x94, 203, 0, 113, 10))
      return at < 0 ? payloads : payloads.toSpliced(at, 0, own)
    })
    await a.connect('bob')
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect([a.fact('bob', 'mediationAltered'), b.fact('alice', 'mediationAltered')]).toEqual([true, true])
  })

  scenario('keys of its own: no check verifies, and nothing is connected', async seed => {
    const { a, b } = await meddled(seed, payloads =>
      payloads.map(p => (p.type === 'N' && p.notify === CONNECT_KEY ? { ...p, data: new Uint8Array(16) } : p)),
    )
    await expect(a.connect('bob')).rejects.toMatchObject({ code: 'PATH_NO_PAIR' })
    expect(b.natweave.status().drops['me-check-unknown']).toBeGreaterThan(0)
  })

  scenario('addresses that nobody may be made to send to are not checked', async seed => {
    const forbidden = [
      [127, 0, 0, 1],
      [224, 0, 0, 1],
      [255, 255, 255, 255],
      [0, 0, 0, 0],
      [169, 254, 0, 1],
    ]
    const { a, net, alice } = await meddled(seed, payloads => [
      ...payloads.filter(p => p.type !== 'N' || p.notify !== ENDPOINT),
      ...forbidden.map(address => meNotify(ENDPOINT, Uint8Array.of(0, 0x40, 0xff, 0xff, 1, 3, 0x11, 0x94, ...address))),
    ])
    const seen: string[] = []
    net.tap(alice, packet => seen.push(packet.slice(16, 20).join('.')))
    await expect(a.connect('bob')).rejects.toMatchObject({ code: 'PATH_NO_PAIR' })
    expect(seen.filter(to => forbidden.some(f => f.join('.') === to))).toEqual([])
  })
})

describe('strangers', () => {
  scenario('forged checks, unknown IDs, replays from elsewhere and noise disturb nobody', async seed => {
    const topology = topologies.nat2({ seed, nata: 'fullCone', natb: 'fullCone', trace: false })
    const { net, alice, bob, stun } = topology
    const { a, b } = await registered(topology)
    // whatever arrives at bob's NAT is sent again by a stranger, as it is and with an octet changed
    const socket = stun.udp()
    const heard: Uint8Array[] = []
    net.tap(topology.inet, packet => {
      if (packet[9] === 17 && packet.slice(16, 20).join('.') === '198.51.100.2') heard.push(packet.slice(28))
    })
    const connected = a.connect('bob')
    await net.advance(120)
    const flow = {
      protocol: 17,
      local: { address: '203.0.113.30', port: 4500 },
      remote: { address: '198.51.100.2', port: 4500 },
    } as const
    const keys = { id: new Uint8Array(8).fill(7), key: new Uint8Array(16) }
    for (let i = 0; i < 300; i++) socket.send(checkRequest(nodeCryptoProvider, flow, i, keys), '198.51.100.2', 4500)
    for (const packet of [...heard]) {
      socket.send(packet, '198.51.100.2', 4500)
      const changed = packet.slice()
      changed[changed.length - 1]! ^= 1
      socket.send(changed, '198.51.100.2', 4500)
    }
    await connected
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    expect(a.peer('bob').remote).toBe('198.51.100.2:4500')
    expect(b.peer('alice').remote).toBe('198.51.100.1:4500')
    expect(b.natweave.status().drops['me-check-unknown']).toBeGreaterThanOrEqual(300)
  })

  scenario('a flood of what looks like checks is looked at no faster than the limit', async seed => {
    const topology = topologies.direct({ seed, trace: false })
    const { net, stun } = topology
    const { b } = await registered(topology)
    const socket = stun.udp()
    const message = serializeIke({ initiatorSpi: 0n, responderSpi: 0n, exchange: 37, flags: 8, messageId: 1 }, [
      meNotify(40_965, new Uint8Array(8)),
      meNotify(ENDPOINT, Uint8Array.of(0, 0x80, 0xff, 0xff, 0, 2, 0, 0)),
      meNotify(40_967, new Uint8Array(20)),
    ])
    const datagram = new Uint8Array(4 + message.length)
    datagram.set(message, 4)
    for (let i = 0; i < 5_000; i++) socket.send(datagram, '203.0.113.60', 4500)
    await net.advance(100)
    const { drops } = b.natweave.status()
    expect(drops['me-check-flood']).toBeGreaterThan(4_000)
    expect((drops['me-check-unknown'] ?? 0) + drops['me-check-flood']!).toBe(5_000)
  })

  scenario('a client whom bob does not know is refused, and told so', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, med, alice, bob } = topology
    await node(net, med, serving())
    const a = await node(net, alice, client('alice', ['bob']))
    const b = await node(net, bob, client('bob', ['carol']))
    await net.advance(200)
    await expect(a.connect('bob')).rejects.toMatchObject({ code: 'PATH_REFUSED' })
    expect(b.natweave.status().drops).toMatchObject({ 'me-unknown-peer': 1 })
  })
})

describe('a server that dies', () => {
  scenario('when both have what they need: they connect without it', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { a, m } = await registered(topology)
    const connected = a.connect('bob')
    await topology.net.until(() => steps(a, 'bob', 'checking').length === 1, { within: 5_000 })
    await m.crash()
    await connected
    expect(await talk(topology.net, topology.alice, topology.bob)).toEqual([3, 3])
  })

  scenario('before: the error says what did not answer, and other connections stand', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, alice, bob } = topology
    const { a, m } = await registered(topology)
    await a.connect('bob')
    await m.crash()
    expect(await talk(net, alice, bob)).toEqual([3, 3])
    await drive(net, a.natweave.disconnect('bob'))
    await expect(a.connect('bob')).rejects.toMatchObject({ code: expect.stringMatching(/^PATH_/) })
  })

  scenario('and comes back: both register again by themselves', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, med } = topology
    const { a, m } = await registered(topology, { a: { med: { dpdMs: 2_000 } }, b: { med: { dpdMs: 2_000 } } })
    await m.crash()
    await net.advance(30_000)
    const again = await node(net, med, serving())
    await net.until(() => steps(again, 'clients', 'registered').length === 2, { within: 90_000 })
    await net.advance(50)
    await a.connect('bob')
    expect(await talk(net, topology.alice, topology.bob)).toEqual([3, 3])
  })
})
