import { describe, expect } from 'vitest'
import { noble } from '../../plugins/noble/index.ts'
import { topologies } from '../kit/index.ts'
import { isFragment } from '../kit/packet.ts'
import { child, clients, drive, lanOfMoon, type Node, node, ping, scenario, toMoon, Wire } from './support.ts'

/** Rekeys with additional key exchanges (RFC 9370), whose public values fit into no datagram. */

const IKE = 'aes256gcm16-prfsha384-x25519-ke1_mlkem1024'
const ESP = 'aes256gcm16-x25519-ke1_mlkem768'
const LIMIT = 1_280

interface Times {
  readonly ikeMs?: number
  readonly childMs?: number
}

/** alice behind a NAT that drops IP fragments. @param client, gateway - how often each end rekeys */
async function up(seed: number, client: Times = {}, gateway: Times = {}) {
  const topology = topologies.nat1({ seed, nata: 'symmetric', trace: false })
  const { net, inet, alice, moon, nata } = topology
  nata.behaviour.dropFragments = true
  const wire = new Wire(net, inet)
  const esp = ({ childMs = 0 }: Times) => ({ proposals: [ESP], rekeyMs: childMs, lifeMs: childMs * 5 })
  const wish = ({ ikeMs = 0 }: Times) => ({ proposals: [IKE], rekeyMs: ikeMs })
  const rest = { plugins: [noble()], ike: { fragmentSize: LIMIT } }
  const a = await node(net, alice, { peers: [toMoon({ ...wish(client), children: [child(esp(client))] })], ...rest })
  const m = await node(net, moon, {
    peers: [clients({ ...wish(gateway), children: [lanOfMoon(esp(gateway))] })],
    ...rest,
  })
  await a.connect('moon')
  return { ...topology, wire, a, m }
}

const said = (one: Node, what: string): number =>
  one.of('message').filter(({ direction, summary }) => direction === 'out' && summary.startsWith(what)).length
const begun = (one: Node): number => said(one, 'IKE_FOLLOWUP_KE request')

const NEVER: Times = {}
const OFTEN: Times = { ikeMs: 7_000, childMs: 3_000 }

describe.each([
  ['the client', OFTEN, NEVER],
  ['the gateway', NEVER, OFTEN],
  ['both', OFTEN, OFTEN],
])('rekeys of everything by %s', (_, client, gateway) => {
  scenario('no packet is lost, nothing comes in IP fragments, all of it stays hybrid', async seed => {
    const { net, alice, a, m, wire } = await up(seed, client, gateway)
    const row = alice.ping('10.3.0.5', { count: 3_000, interval: 10 })
    await net.until(() => row.done, { within: 60_000 })
    expect(row.received).toBe(3_000)
    expect([a.of('child-rekeyed').length, a.of('rekeyed').length].every(count => count >= 3)).toBe(true)
    expect(m.of('child-rekeyed').length).toBe(a.of('child-rekeyed').length)
    // a follow-up for each SA that has come into being by a rekey
    expect(begun(a) + begun(m)).toBeGreaterThanOrEqual(a.of('child-rekeyed').length + a.of('rekeyed').length)
    expect([a.peer('moon').suite, m.peer('clients').suite]).toEqual([IKE, IKE])
    expect(wire.seen.filter(s => isFragment(s.packet))).toEqual([])
    expect(Math.max(...wire.of('ike').map(s => s.packet.length))).toBeLessThanOrEqual(LIMIT)
    for (const one of [a, m]) {
      expect(one.natweave.status().drops).toEqual({})
      expect([one.of('down'), one.of('child-down'), one.of('child-failed'), one.of('rekey-failed')]).toEqual([
        [],
        [],
        [],
        [],
      ])
    }
  })
})

describe.each([1, 2, 3, 4, 5])('a bad line, luck %i', luck => {
  scenario(
    'losses, duplicates and disorder delay rekeys and break nothing',
    async seed => {
      const { net, alice, nata, a, m } = await up(seed, OFTEN, OFTEN)
      const { link } = nata.interface('wan0')
      Object.assign(link, { loss: 0.08, duplicate: 0.1, reorder: 0.2, reorderBy: 200 })
      await net.advance(60_000)
      Object.assign(link, { loss: 0, duplicate: 0, reorder: 0 })
      await net.advance(10_000)
      expect([a.of('down'), m.of('down')]).toEqual([[], []])
      expect(a.of('established')).toHaveLength(1)
      expect(a.of('child-rekeyed').length).toBeGreaterThanOrEqual(5)
      expect(a.of('rekeyed').length).toBeGreaterThanOrEqual(3)
      expect([a.peer('moon').suite, m.peer('clients').suite]).toEqual([IKE, IKE])
      expect(await ping(net, alice, '10.3.0.5')).toBe(3)
    },
    luck,
  )
})

scenario('asked for by name: `rekey` resolves when the last key exchange is done', async seed => {
  const { net, alice, a, m } = await up(seed)
  const [ike, esp] = [a.peer('moon').spiInitiator, a.child('moon').spiIn]
  await drive(net, a.natweave.rekey('moon', 'lan'))
  expect(begun(a)).toBe(1)
  await drive(net, m.natweave.rekey('clients'))
  expect(begun(m)).toBe(1)
  expect(a.peer('moon').spiInitiator).not.toBe(ike)
  expect(a.child('moon').spiIn).not.toBe(esp)
  expect(await ping(net, alice, '10.3.0.5')).toBe(3)
})

scenario('the client goes elsewhere in the midst of it: the rest is done from there', async seed => {
  const { net, alice, bob, moon } = topologies.nat2({ seed, trace: false })
  const mobike = { mobike: true, proposals: [IKE] }
  const rest = { plugins: [noble()], ike: { fragmentSize: LIMIT } }
  const a = await node(net, alice, { peers: [toMoon({ ...mobike, children: [child({ proposals: [ESP] })] })], ...rest })
  const m = await node(net, moon, {
    peers: [clients({ ...mobike, children: [lanOfMoon({ proposals: [ESP] })] })],
    ...rest,
  })
  await a.connect('moon')
  const home = alice.interface().lan!
  const elsewhere = { lan: bob.interface().lan!, at: '10.2.0.9', by: '10.2.0.1' }
  for (const what of ['lan', undefined]) {
    const from = begun(a)
    const done = a.natweave.rekey('moon', what)
    await net.until(() => begun(a) > from, { within: 5_000 })
    const there = what === undefined ? { lan: home, at: '10.1.0.5', by: '10.1.0.1' } : elsewhere
    alice.moveTo({ lan: there.lan, addresses: [`${there.at}/24`], gateways: [there.by] })
    await drive(net, done)
    expect(await ping(net, alice, '10.3.0.5')).toBe(3)
  }
  expect([a.of('child-rekeyed').length, a.of('rekeyed').length, a.of('down').length, m.of('down').length]).toEqual([
    1, 1, 0, 0,
  ])
})
