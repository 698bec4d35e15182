import { describe, expect } from 'vitest'
import { topologies } from '../kit/index.ts'
import { child, clients, drive, fqdn, lanOfMoon, node, type PeerWish, ping, scenario, toMoon, Wire } from './support.ts'

/** What the client sees when something is wrong, and that what is right works nevertheless. */
describe('connect says why', () => {
  const cases: readonly (readonly [
    what: string,
    client: Partial<PeerWish>,
    gateway: Partial<PeerWish> | undefined,
    code: string,
    words: RegExp,
  ])[] = [
    ['a name that does not resolve', { remote: 'nowhere.example' }, {}, 'SYSTEM_RESOLVE', /nowhere\.example/],
    ['no route', { remote: '2001:db8::20' }, {}, 'SYSTEM_UNREACHABLE', /no route to 2001:db8::20/],
    ['no address at all', { remote: undefined }, {}, 'PATH_FAILED', /address of moon is not known/],
    ['nobody there', { remote: '203.0.113.99' }, {}, 'PEER_UNREACHABLE', /no answer to IKE_SA_INIT after 6 tries/],
    ['a host that does not speak IKE', {}, undefined, 'PEER_UNREACHABLE', /no answer/],
    ['another pre-shared key', { psk: 'wrong' }, {}, 'PEER_AUTH_FAILED', /peers\.moon\.psk/],
    ['an identity the gateway does not know', {}, { them: fqdn('carol.example') }, 'PEER_AUTH_FAILED', /\.localId/],
    ['a gateway that says it is somebody else', { them: 'sun' }, {}, 'PEER_AUTH_FAILED', /identities/],
    [
      'no common IKE proposal',
      { proposals: ['aes256gcm16-prfsha384-ecp384'] },
      { proposals: ['aes128gcm16-prfsha256-x25519'] },
      'PEER_NO_PROPOSAL',
      /proposal/,
    ],
    [
      'no common ESP proposal',
      { children: [child({ proposals: ['aes256gcm16'] })] },
      { children: [lanOfMoon({ proposals: ['chacha20poly1305'] })] },
      'PEER_NO_PROPOSAL',
      /ESP proposals of lan/,
    ],
    [
      'no common traffic selectors',
      { children: [child({ remote: ['10.99.0.0/24'] })] },
      {},
      'PEER_TS_UNACCEPTABLE',
      /10\.99\.0\.0\/24 of lan/,
    ],
    ['addresses from a gateway without a pool', {}, { pool: undefined }, 'PEER_NO_ADDRESS', /no address/],
  ]
  for (const [what, client, gateway, code, words] of cases)
    scenario(what, async seed => {
      const { net, alice, moon } = topologies.nat1({ seed, trace: false })
      alice.removeAddress('2001:db8:a::5')
      alice.removeRoute('::/0')
      alice.removeRoute('2001:db8:a::/64')
      const a = await node(net, alice, { peers: [toMoon(client)] })
      if (gateway !== undefined) await node(net, moon, { peers: [clients(gateway)] })
      await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({
        code,
        message: expect.stringMatching(words),
      })
      // who was asked once gives up for good
      await net.advance(120_000)
      expect(a.peer('moon')).toMatchObject({ state: 'idle', children: [] })
      expect(a.device.state?.routes).toEqual([])
    })

  scenario('a peer that is not in the configuration', async seed => {
    const { net, alice } = topologies.direct({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    await expect(a.natweave.connect('mon')).rejects.toMatchObject({
      code: 'USAGE_PEER_UNKNOWN',
      message: expect.stringContaining('moon'),
    })
  })

  scenario('after a failure the cause can be mended and connect tried again', async seed => {
    const { net, alice, moon } = topologies.nat1({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon()] })
    moon.interface().link.down()
    await expect(drive(net, a.natweave.connect('moon'))).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' })
    moon.interface().link.up()
    await node(net, moon, { peers: [clients()] })
    await a.connect('moon')
    expect(a.peer('moon').lastError).toBeUndefined()
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('losses and duplicates of the first messages do no harm', async seed => {
    const { net, inet, nata, alice, moon } = topologies.nat1({ seed, trace: false })
    const wire = new Wire(net, inet)
    Object.assign(nata.interface('wan0').link, { loss: 0.25, duplicate: 0.25, reorder: 0.25, reorderBy: 900 })
    const a = await node(net, alice, { peers: [toMoon()] }, {})
    const m = await node(net, moon, { peers: [clients()] })
    for (let i = 0; i < 10; i++) {
      await a.connect('moon')
      await drive(net, a.natweave.disconnect('moon'))
    }
    await net.advance(60_000)
    expect([a.peer('moon').state, m.peer('clients').state]).toEqual(['idle', 'idle'])
    expect([a.of('established').length, m.of('established').length]).toEqual([10, 10])
    expect(wire.kinds()).toEqual(['ike'])
  })
})
