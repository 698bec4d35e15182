import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mappingLifetime } from '../../../plugins/mapping-lifetime/index.ts'
import { readMessage, writeMessage } from '../../../plugins/mapping-lifetime/message.ts'
import { Search } from '../../../plugins/mapping-lifetime/search.ts'
import { nats, topologies } from '../../kit/index.ts'
import { clients, node, ping, scenario, toMoon, Wire } from '../../scenario/support.ts'

describe('the datagrams', () => {
  test('are read as they were written, and nothing else is', () => {
    const nonce = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])
    const bytes = writeMessage({ kind: 'ask', delayMs: 90_000, nonce })
    expect(readMessage(bytes)).toEqual({ kind: 'ask', delayMs: 90_000, nonce })
    for (let length = 0; length < bytes.length; length++) expect(readMessage(bytes.subarray(0, length))).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), octets => {
        const read = readMessage(octets)
        if (read !== undefined) expect(writeMessage(read)).toEqual(octets)
      }),
    )
  })
})

describe('the search', () => {
  for (const lifetime of [8_000, 25_000, 30_000, 61_000, 119_000, 300_000, 1_000_000])
    test(`a NAT that remembers ${lifetime / 1_000} s`, () => {
      const search = new Search()
      let asked = 0
      for (let silence = search.next; silence !== undefined; silence = search.next) {
        if (silence <= lifetime) search.lived(silence)
        else search.died(silence)
        expect(++asked).toBeLessThan(20)
      }
      expect(search.low).toBeLessThanOrEqual(lifetime)
      expect(search.low).toBeGreaterThanOrEqual(Math.min(0.75 * lifetime - 1_000, 600_000))
    })

  test('one lost answer is no proof', () => {
    const search = new Search()
    search.died(20_000)
    expect(search.next).toBe(20_000)
    search.lived(20_000)
    expect(search.next).toBe(40_000)
  })
})

describe('through a NAT', () => {
  const HOUR = 3_600_000
  for (const [timeout, allocation] of [
    [90_000, 'random'],
    [90_000, 'preserve'],
    [30_000, 'sequential'],
  ] as const)
    scenario(
      `that remembers ${timeout / 1_000} s and takes ${allocation} ports: measured, used, and nothing lost`,
      async seed => {
        const nata = { ...nats.portRestrictedCone, allocation, timeout }
        const t = topologies.nat1({ seed, nata, trace: false })
        const wire = new Wire(t.net, t.inet)
        const a = await node(t.net, t.alice, { peers: [toMoon({ keepaliveMs: 'auto' })], plugins: [mappingLifetime()] })
        const m = await node(t.net, t.moon, { peers: [clients()], plugins: [mappingLifetime()] })
        await a.connect('moon')
        const [mapping] = t.nata.mappings().filter(x => x.inside.port === 4500)
        for (let minutes = 0; minutes < 50; minutes += 5) {
          await t.net.advance(300_000)
          // from outside at any time: the live mapping is never at risk
          expect(await ping(t.net, t.mars, '10.9.0.1', 1)).toBe(1)
        }
        const measured = a.fact('moon', 'mappingLifetime') as number
        expect(measured).toBeLessThanOrEqual(timeout)
        expect(measured).toBeGreaterThan(0.7 * timeout)
        expect(t.nata.mappings().find(x => x.inside.port === 4500)?.outside).toEqual(mapping?.outside)
        expect(m.of('moved').filter(e => e.at > 1_000)).toEqual([])

        wire.clear()
        await t.net.advance(9 * 60_000)
        const times = wire.of('keepalive').map(s => s.at)
        const gaps = times.slice(1).map((at, i) => at - times[i]!)
        expect(gaps.every(gap => gap === 0.75 * measured)).toBe(true)
        // the second socket is gone until the next measurement
        expect(
          a.natweave.status().locals.filter(l => !/:(500|4500)$|^[^:]+$|\]$/.test(l) && l.includes('10.1.0.5')),
        ).toEqual([])
      },
    )

  scenario('a peer without the plugin: given up after three tries, the usual 20 s', async seed => {
    const t = topologies.nat1({ seed, trace: false })
    const wire = new Wire(t.net, t.inet)
    const a = await node(t.net, t.alice, { peers: [toMoon({ keepaliveMs: 'auto' })], plugins: [mappingLifetime()] })
    await node(t.net, t.moon, { peers: [clients()] })
    await a.connect('moon')
    await t.net.advance(HOUR / 2)
    expect(a.fact('moon', 'mappingLifetime')).toBeUndefined()
    const times = wire.of('keepalive').map(s => s.at)
    expect(times.slice(1).every((at, i) => at - times[i]! === 20_000)).toBe(true)
    expect(wire.seen.filter(s => s.kind === 'esp-in-udp' && s.spi === 247)).toHaveLength(3)
  })

  scenario('strangers get no answer, and one peer not many', async seed => {
    const t = topologies.nat1({ seed, trace: false })
    const a = await node(t.net, t.alice, { peers: [toMoon()] })
    const m = await node(t.net, t.moon, { peers: [clients()], plugins: [mappingLifetime()] })
    await a.connect('moon')
    const ask = (delayMs: number) => writeMessage({ kind: 'ask', delayMs, nonce: new Uint8Array(8) })
    const stranger = t.bob.udp()
    stranger.send(ask(0), '203.0.113.20', 4500)
    const known = t.alice.udp()
    for (let i = 0; i < 10; i++) known.send(ask(60_000), '203.0.113.20', 4500)
    known.send(ask(4_000_000_000), '203.0.113.20', 4500)
    await t.net.advance(100_000)
    expect(stranger.received).toEqual([])
    expect(known.received).toHaveLength(4)
    expect(m.natweave.status().drops).toMatchObject({ 'mapping-lifetime-refused': 7 })
  })
})
