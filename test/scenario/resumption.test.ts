import { describe, expect } from 'vitest'
import type { AuthSettings, IkeSettings } from '../../core/index.ts'
import { eapMschapv2, x509 } from '../../plugins/index.ts'
import { topologies } from '../kit/index.ts'
import { dns, issue, trusting } from '../plugins/x509/authority.ts'
import { client, INNER, registered, serving, steps, talk } from './mediation.ts'
import {
  clients,
  drive,
  type Node,
  node,
  type PeerWish,
  ping,
  scenario,
  toMoon,
  transfer,
  type Wish,
} from './support.ts'

/** Session resumption, RFC 5723: the gateway or the way to it was lost, and no key exchange is made anew. */

const KEY = new TextEncoder().encode('a key that outlives the process of the gateway')
const kept: Partial<IkeSettings> = { resumption: { lifetimeMs: 3_600_000, key: KEY } }
/** Looks for its gateway again, soon. */
const eager = { dpdMs: 5_000, reconnect: true } as const

async function up(seed: number, client: Partial<PeerWish> = {}, gateway: Partial<Wish> = {}) {
  const topology = topologies.nat1({ seed, nata: 'symmetric', trace: false })
  const { net, alice, moon } = topology
  const a = await node(net, alice, { peers: [toMoon({ ...eager, ...client })] })
  const wish: Wish = { peers: [clients()], ...gateway }
  const m = await node(net, moon, wish)
  await a.connect('moon')
  /** The gateway loses power, and comes up again. */
  const restart = async (changed: Partial<Wish> = {}): Promise<Node> => {
    await m.crash()
    const again = await node(net, moon, { ...wish, ...changed })
    a.events.length = 0
    await net.until(() => a.of('established').length > 0, { within: 120_000 })
    await net.advance(1_000)
    return again
  }
  return { ...topology, a, m, restart }
}

const openings = (n: Node): string[] =>
  n
    .of('message')
    .filter(e => e.direction === 'out' && /^IKE_S(A_INIT|ESSION_RESUME) request/.test(e.summary))
    .map(e => e.summary.split(' ')[0]!)
const reasons = (n: Node): string[] => n.of('progress').flatMap(e => (e.step === 'not-resumed' ? [e.text] : []))

describe('the gateway restarts', () => {
  scenario(
    'with a key of tickets: clients behind NATs are back in two round trips, with their addresses',
    async seed => {
      const { net, alice, a, restart } = await up(seed, {}, { ike: kept })
      const again = await restart()
      expect(openings(a)).not.toContain('IKE_SA_INIT')
      expect(a.of('established').at(-1)).toMatchObject({ resumed: true })
      for (const peer of [a.peer('moon'), again.peer('clients')])
        expect(peer).toMatchObject({ resumed: true, virtualAddresses: ['10.9.0.1'], plan: { encap: 'udp-encap' } })
      expect(again.peer('clients')).toMatchObject({ role: 'responder', remoteId: 'alice.example' })
      expect(a.fact('moon', 'localBehindNat')).toBe(true)
      expect(again.fact('clients', 'remoteBehindNat')).toBe(true)
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
      expect(await transfer(net, alice, '10.3.0.5')).toBe(true)
    },
  )

  scenario('once more, by the ticket of the resumed session', async seed => {
    const { net, moon, alice, a, restart } = await up(seed, {}, { ike: kept })
    const second = await restart()
    await second.crash()
    a.events.length = 0
    await node(net, moon, { peers: [clients()], ike: kept })
    await net.until(() => a.of('established').length > 0, { within: 120_000 })
    await net.advance(1_000)
    expect(openings(a)).not.toContain('IKE_SA_INIT')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('and all come back in another order: each has its own address', async seed => {
    const { net, alice, bob, moon } = topologies.samenat({ seed, trace: false })
    const a = await node(net, alice, { peers: [toMoon(eager)] })
    const b = await node(net, bob, { peers: [toMoon({ ...eager, me: 'bob' })] })
    const first = await node(net, moon, { peers: [clients()], ike: kept })
    await a.connect('moon')
    await b.connect('moon')
    await first.crash()
    await net.until(() => a.peer('moon').state !== 'established', { within: 60_000 })
    await drive(net, a.natweave.disconnect('moon'))
    const again = await node(net, moon, { peers: [clients()], ike: kept })
    await net.until(() => again.of('established').length === 1, { within: 120_000 })
    // a stranger to the new process: it gets what nobody was given
    await a.connect('moon')
    expect([a, b].map(n => n.peer('moon').resumed)).toEqual([undefined, true])
    expect([a, b].map(n => n.peer('moon').virtualAddresses)).toEqual([['10.9.0.1'], ['10.9.0.2']])
    expect([await ping(net, alice, '10.3.0.5'), await ping(net, bob, '10.3.0.5')]).toEqual([3, 3])
  })

  scenario('after the IKE SA was rekeyed', async seed => {
    const { net, alice, a, m, restart } = await up(seed, { rekeyMs: 20_000 }, { ike: kept })
    await net.until(() => m.of('rekeyed').length === 2, { within: 60_000 })
    await net.advance(6_000)
    await restart()
    expect(openings(a)).not.toContain('IKE_SA_INIT')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('without one: it does not know the ticket, and the client negotiates in full at once', async seed => {
    const { net, alice, a, restart } = await up(seed)
    const again = await restart()
    expect(openings(a).slice(-2)).toEqual(['IKE_SESSION_RESUME', 'IKE_SA_INIT'])
    expect(reasons(a).at(-1)).toBe(
      'the session could not be resumed: the peer refused IKE_SESSION_RESUME with TICKET_NACK; negotiating in full',
    )
    expect(a.peer('moon').resumed).toBeUndefined()
    expect(again.natweave.status().drops).toMatchObject({ 'ike-ticket-unknown': 1 })
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('and wants another secret: no ticket helps', async seed => {
    const { net, a, m, moon } = await up(seed, {}, { ike: kept })
    await m.crash()
    const again = await node(net, moon, { peers: [clients({ psk: 'another' })], ike: kept })
    a.events.length = 0
    await net.until(() => a.of('failed').length > 0, { within: 120_000 })
    expect(a.of('failed')[0]).toMatchObject({ code: 'PEER_AUTH_FAILED' })
    expect(again.natweave.status().drops).toMatchObject({ 'ike-ticket-unwanted': 1 })
    expect(again.of('established')).toEqual([])
  })

  scenario('and is under load: the ticket comes with a cookie', async seed => {
    const { net, alice, a, restart } = await up(seed, {}, { ike: { ...kept, cookieThreshold: 0 } })
    await restart()
    expect(a.of('message').some(e => e.summary.includes('RESUME request 0 [ N(COOKIE)'))).toBe(true)
    expect(openings(a)).not.toContain('IKE_SA_INIT')
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })
})

describe('the way is lost', () => {
  scenario('for longer than liveness checks wait: the session is taken up, the old SA goes', async seed => {
    const { net, nata, alice, a, m } = await up(seed)
    const { link } = nata.interface('wan0')
    link.dropIf = () => true
    await net.until(() => a.peer('moon').state !== 'established', { within: 120_000 })
    link.dropIf = () => false
    a.events.length = 0
    await net.until(() => a.of('established').length > 0, { within: 120_000 })
    expect(a.of('established')).toMatchObject([{ resumed: true }])
    await net.advance(15_000)
    expect(m.peer('clients').children).toHaveLength(1)
    expect(m.of('established').map(e => e.resumed)).toEqual([undefined, true])
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('the client has moved, without MOBIKE: from its new place', async seed => {
    const { net, alice, inet, a, m } = await up(seed)
    alice.moveTo({ lan: inet, addresses: ['203.0.113.70/24'], gateways: ['203.0.113.1'] })
    await net.until(() => a.of('established').length === 2, { within: 60_000 })
    await net.advance(15_000)
    expect(a.of('established').at(-1)).toMatchObject({ resumed: true })
    expect(a.fact('moon', 'localBehindNat')).toBe(false)
    expect(m.peer('clients')).toMatchObject({ remote: '203.0.113.70:500', virtualAddresses: ['10.9.0.1'] })
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('what resumed moves on by MOBIKE', async seed => {
    const { net, alice, inet, a, restart } = await up(
      seed,
      { mobike: true },
      { ike: kept, peers: [clients({ mobike: true })] },
    )
    const again = await restart()
    a.events.length = 0
    alice.moveTo({ lan: inet, addresses: ['203.0.113.70/24'], gateways: ['203.0.113.1'] })
    await net.advance(5_000)
    expect(a.of('established')).toEqual([])
    expect(again.peer('clients')).toMatchObject({ resumed: true, remote: '203.0.113.70:4500' })
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })

  scenario('something on the way drops what it does not know: IKE_SA_INIT comes soon after', async seed => {
    const { net, nata, alice, a, m, moon } = await up(seed, {}, { ike: kept })
    nata.interface('wan0').link.dropIf = packet =>
      packet[9] === 17 && [28 + 18, 28 + 4 + 18].some(at => packet[at] === 38 && packet[at - 1] === 0x20)
    await m.crash()
    await node(net, moon, { peers: [clients()], ike: kept })
    a.events.length = 0
    await net.until(() => a.of('established').length > 0, { within: 120_000 })
    expect(openings(a).slice(0, 2)).toEqual(['IKE_SESSION_RESUME', 'IKE_SA_INIT'])
    expect(reasons(a)[0]).toContain('no answer to IKE_SESSION_RESUME after 2 tries')
    expect(a.peer('moon').resumed).toBeUndefined()
    await net.advance(1_000)
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  })
})

describe('when it is not resumed', () => {
  scenario('who disconnects proves anew who it is', async seed => {
    const { net, a } = await up(seed)
    await drive(net, a.natweave.disconnect('moon'))
    await a.connect('moon')
    expect(openings(a)).toEqual(['IKE_SA_INIT', 'IKE_SA_INIT'])
  })

  scenario('a gateway that says goodbye has ended the session', async seed => {
    const { net, moon, a, m } = await up(seed, {}, { ike: kept })
    await drive(net, m.natweave.stop())
    a.events.length = 0
    await node(net, moon, { peers: [clients()], ike: kept })
    await net.until(() => a.of('established').length > 0, { within: 120_000 })
    expect(openings(a)).not.toContain('IKE_SESSION_RESUME')
  })

  scenario('authentication anew is no resumption', async seed => {
    const { net, a } = await up(seed, { reauthMs: 10_000 })
    await net.advance(25_000)
    expect(a.of('reauthenticated').length).toBeGreaterThanOrEqual(2)
    expect(openings(a)).not.toContain('IKE_SESSION_RESUME')
  })

  scenario('the configuration says no', async seed => {
    const { a, restart } = await up(seed, { resumption: false }, { ike: kept })
    await restart()
    expect(openings(a)).not.toContain('IKE_SESSION_RESUME')
  })
})

scenario('a client by EAP is who EAP has proved it to be, without another password', async seed => {
  const { net, alice, moon } = topologies.nat1({ seed, trace: false })
  const always = { from: '1970-01-01', until: '2100-01-01' }
  const root = await issue({ subject: 'CN=Root', ca: true, ...always })
  const own = await issue({ subject: 'CN=moon', issuer: root, names: [dns('moon.example')], ...always })
  const password = new TextEncoder().encode('wonderland')
  const auth: AuthSettings = {
    local: { type: 'eap' },
    remote: trusting([root]),
    eap: { method: 'mschapv2', user: { name: 'alice', password } },
  }
  const gateway: AuthSettings = {
    local: { type: 'signature', certificates: [own.der], key: own.key },
    remote: { type: 'eap' },
    eap: { method: 'mschapv2', users: new Map([['alice', password]]) },
  }
  const plugins = () => [x509(), eapMschapv2()]
  const client = { ...toMoon({ ...eager, auth }), localId: { type: 'ipv4', value: '10.0.0.5' } as const }
  const wish = () => ({ peers: [clients({ auth: gateway })], ike: kept, plugins: plugins() })
  const a = await node(net, alice, { peers: [client], plugins: plugins() })
  const first = await node(net, moon, wish())
  await a.connect('moon')
  await first.crash()
  const again = await node(net, moon, wish())
  await net.until(() => again.of('established').length > 0, { within: 120_000 })
  await net.advance(1_000)
  expect(again.of('established')).toMatchObject([{ remoteId: 'alice', resumed: true }])
  expect(again.of('message').some(e => e.summary.includes('EAP'))).toBe(false)
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
})

describe('mediated (plugin ike-me)', () => {
  scenario('the peer restarts: found again through the server, and resumed over the path that is found', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, alice, bob } = topology
    const wish = { ike: kept }
    const { a, b } = await registered(topology, { a: { peer: eager, med: eager }, b: wish })
    await drive(net, a.natweave.connect('bob'))
    await b.crash()
    a.events.length = 0
    const again = await node(net, bob, client('bob', ['alice'], wish))
    await net.until(() => again.of('established').some(e => e.peer === 'alice'), { within: 120_000 })
    await net.advance(1_000)
    expect(a.peer('bob')).toMatchObject({ resumed: true, remote: '198.51.100.2:4500', plan: { path: 'ike-me' } })
    expect(a.fact('bob', 'mediationAltered')).toBe(false)
    expect(await talk(net, alice, bob)).toEqual([3, 3])
  })

  scenario('the server restarts: the connection to it is resumed, and mediates', async seed => {
    const topology = topologies.nat2({ seed, trace: false })
    const { net, med, alice, bob } = topology
    alice.addAddress(`${INNER.alice}/32`)
    bob.addAddress(`${INNER.bob}/32`)
    const server = { ...serving(), ike: kept }
    const first = await node(net, med, server)
    const [a, b] = [
      await node(net, alice, client('alice', ['bob'], { med: eager })),
      await node(net, bob, client('bob', ['alice'], { med: eager })),
    ]
    await net.until(() => steps(first, 'clients', 'registered').length === 2, { within: 10_000 })
    await net.advance(50)
    await first.crash()
    const again = await node(net, med, { ...serving(), ike: kept })
    await net.until(() => steps(again, 'clients', 'registered').length === 2, { within: 120_000 })
    await net.advance(50)
    expect([a, b].map(n => n.peer('med').resumed)).toEqual([true, true])
    await a.connect('bob')
    expect(await talk(net, alice, bob)).toEqual([3, 3])
  })
})
