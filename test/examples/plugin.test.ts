import { describe, expect, test } from 'vitest'
import { type ConfigInput, parseConfig } from '../../core/config/index.ts'
import { createNatweave, type Natweave, type NatweaveEvent, newPacket, type Plugin } from '../../core/index.ts'
import { notifyOf, parseIke } from '../../core/wire/index.ts'
import { mirror } from '../../examples/mirror.ts'
import tenant, { MarkedTunnel, TENANT } from '../../examples/plugin/index.ts'
import { memory, nodeCrypto, udpEncap } from '../../plugins/index.ts'
import { detectorSuite, type Host, hostPlugin, pluginSuite, strategySuite, topologies } from '../kit/index.ts'
import { Wire } from '../scenario/support.ts'

/** A stranger's plugin: a notify, a path and a mode, all on the wire, with nothing of core changed. */

pluginSuite(() => tenant({ tenant: 7 }), { test })
strategySuite(() => tenant({ tenant: 7 }), { test, facts: { peerTenant: [0, 7, 8] } })
pluginSuite(() => mirror(), { test })
detectorSuite(() => mirror(), {
  test,
  learns: {
    nat: { natKeepsPort: false, mappedEndpoint: '198.51.100.77:31337' },
    noNat: { natKeepsPort: true, mappedEndpoint: '192.0.2.1:500' },
  },
})

const psk = 'correct horse battery staple'
type Child = NonNullable<NonNullable<ConfigInput['peers']>[string]['children']>[string]
type Rules = NonNullable<ConfigInput['policy']>['rules']

interface Wish {
  readonly plugins?: readonly Plugin[]
  readonly child?: Child
  readonly rules?: Rules
  readonly remote?: string
}

/** alice and moon on the public segment, with what each of them loads. */
function pair(alice: Wish, moon: Wish) {
  const { net, inet, ...hosts } = topologies.direct({ seed: 1, trace: false })
  const wire = new Wire(net, inet)
  const build = (host: Host, config: ConfigInput, { plugins = [], rules = [] }: Wish): Natweave =>
    createNatweave({
      plugins: [nodeCrypto(), udpEncap(), ...plugins, memory(), hostPlugin(host)],
      settings: parseConfig({ ...config, policy: { rules } }, { env: {}, readFile: () => new Uint8Array(0) }).settings,
      clock: net.clock,
      rng: net.rng(host.name),
    })
  const client = build(
    hosts.alice,
    {
      local: { id: 'alice.example.org' },
      ike: { retransmit: { timeout: '200ms', tries: 2 } },
      peers: {
        moon: {
          remote: alice.remote ?? '203.0.113.20',
          remoteId: 'moon.example.org',
          psk,
          addresses: ['ipv4'],
          children: { lan: { remote: ['10.3.0.0/24'], ...alice.child } },
        },
      },
    },
    alice,
  )
  const server = build(
    hosts.moon,
    {
      local: { id: 'moon.example.org' },
      pools: { clients: { addresses: '10.9.0.0/24' } },
      peers: {
        clients: {
          remoteId: 'any',
          psk,
          pool: 'clients',
          children: { lan: { local: ['10.3.0.0/24'], ...moon.child } },
        },
      },
    },
    moon,
  )
  const events: NatweaveEvent[] = []
  client.on(event => events.push(event))
  return {
    net,
    wire,
    events,
    client,
    server,
    async connect() {
      await server.start()
      await client.start()
      await net.complete(client.connect('moon'))
      await net.advance(0)
    },
    async ping() {
      const row = hosts.alice.ping('10.3.0.5', { count: 3, interval: 100 })
      await net.until(() => row.done, { within: 10_000 })
      return row.received
    },
    modes: () => [client, server].map(one => one.status().peers[0]?.children[0]?.mode),
    /** Tenants told in IKE_SA_INIT, as an eavesdropper reads them. */
    tenants: () =>
      wire
        .of('ike')
        .filter(({ toPort }) => toPort === 500)
        .flatMap(({ packet }) => notifyOf(parseIke(packet.subarray(28)).payloads, TENANT)?.data ?? []),
  }
}

const preferring: Rules = [{ prefer: ['marked-tunnel', 'tunnel'] }]

describe('marked-tunnel', () => {
  test('both ends of one tenant: announced in IKE_SA_INIT, four octets more in every ESP packet', async () => {
    const plain = pair({}, {})
    await plain.connect()
    expect(await plain.ping()).toBe(3)

    const marked = pair({ plugins: [tenant({ tenant: 7 })], rules: preferring }, { plugins: [tenant({ tenant: 7 })] })
    await marked.connect()
    expect(marked.modes()).toEqual(['marked-tunnel', 'marked-tunnel'])
    expect(await marked.ping()).toBe(3)
    const seven = Uint8Array.of(0, 0, 0, 7)
    expect(marked.tenants()).toEqual([seven, seven])
    const lengths = ({ wire }: typeof plain) => wire.of('esp').map(({ packet }) => packet.length)
    expect(lengths(marked)).toEqual(lengths(plain).map(length => length + 4))
    expect(lengths(marked)).toHaveLength(6)
  })

  test('survives a rekey', async () => {
    const { net, client, connect, ping, modes } = pair(
      { plugins: [tenant({ tenant: 7 })], child: { mode: 'marked-tunnel' } },
      { plugins: [tenant({ tenant: 7 })] },
    )
    await connect()
    await net.complete(client.rekey('moon', 'lan'))
    expect(modes()).toEqual(['marked-tunnel', 'marked-tunnel'])
    expect(await ping()).toBe(3)
  })

  test('with a peer that has no plugin a preference falls back to tunnel mode', async () => {
    const { connect, ping, modes, tenants, client } = pair({ plugins: [tenant({ tenant: 7 })], rules: preferring }, {})
    await connect()
    expect(modes()).toEqual(['tunnel', 'tunnel'])
    expect(await ping()).toBe(3)
    expect(tenants()).toHaveLength(1) // nobody answered the announcement
    const lost = client.plan('moon')[0]?.plans.find(({ plan }) => plan.mode === 'marked-tunnel')
    expect(lost?.reasons[0]).toBe('marked-tunnel: the peer told no tenant, so it knows no marks')
  })

  test('with a peer that has no plugin a child that insists on it fails, and says why', async () => {
    const { connect } = pair({ plugins: [tenant({ tenant: 7 })], child: { mode: 'marked-tunnel' } }, {})
    await expect(connect()).rejects.toMatchObject({
      code: 'PLAN_NONE',
      message: expect.stringContaining('the peer told no tenant'),
    })
  })

  test('a responder that wants plain tunnel mode is not talked into another', async () => {
    const { connect } = pair(
      { plugins: [tenant({ tenant: 7 })], child: { mode: 'marked-tunnel' } },
      { plugins: [tenant({ tenant: 7 })], child: { mode: 'tunnel' } },
    )
    await expect(connect()).rejects.toMatchObject({ code: 'PEER_MODE' })
  })

  test('another tenant is refused', async () => {
    const { connect } = pair(
      { plugins: [tenant({ tenant: 7 })], child: { mode: 'marked-tunnel' } },
      { plugins: [tenant({ tenant: 8 })] },
    )
    await expect(connect()).rejects.toThrow('the peer is of tenant 8, this host of 7')
  })

  test('a packet with the mark of another tenant is dropped', () => {
    const mode = new MarkedTunnel(7).create()
    const end = { address: '192.0.2.1', port: 4500 }
    const packet = newPacket()
    packet.bytes.set([0, 0, 0, 8, 0x45], packet.start)
    packet.end = packet.start + 5
    packet.nextHeader = 253
    expect(mode.decode(packet, { protocol: 17, local: end, remote: end })).toBe('selector')
  })
})

test('alternate: the second attempt goes to the second address', async () => {
  const alternates = { moon: ['203.0.113.20'] }
  const { net, events, client, server, modes } = pair(
    { plugins: [tenant({ tenant: 7, alternates })], rules: [{ use: ['alternate'] }], remote: '203.0.113.99' },
    {},
  )
  await server.start()
  await client.start()
  await expect(net.complete(client.connect('moon'))).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' })
  await net.complete(client.connect('moon'))
  expect(modes()).toEqual(['tunnel', 'tunnel'])
  const asked = events.flatMap(e => (e.type === 'message' && e.summary.startsWith('IKE_SA_INIT request') ? [e.to] : []))
  // what the path has found is tried on both of IKE's ports before the attempt has failed
  expect([...new Set(asked)]).toEqual(['203.0.113.99:500', '203.0.113.99:4500', '203.0.113.20:500'])
  expect(client.status().peers[0]?.plan?.path).toBe('alternate')
  expect(events.filter(e => e.type === 'connecting').map(e => e.plan.path)).toEqual(['alternate', 'alternate'])
})

test('options that are wrong are told when the plugin is made', () => {
  expect(() => tenant({ tenant: 0 })).toThrow(RangeError)
})
