import { describe, expect, test } from 'vitest'
import { type Dependence, type LinkOptions, type NatBehaviour, nats, topologies } from '../kit/index.ts'
import { detect, detected, serveStun, values } from './stun-support.ts'

const SERVER = { address: '203.0.113.30', port: 3478 }
const DEPENDENCE: readonly Dependence[] = ['endpoint-independent', 'address-dependent', 'address-and-port-dependent']
const ALLOCATION: readonly NatBehaviour['allocation'][] = ['preserve', 'parity', 'sequential', 'random']

/** What an observer can say at best about a NAT of the kit. */
function expected({ mapping, filtering, allocation, hairpin }: NatBehaviour): Record<string, unknown> {
  const independent = mapping === 'endpoint-independent'
  const open = filtering === 'endpoint-independent'
  // mappings of one socket towards several destinations, each one port further
  const chain = allocation === 'preserve' && mapping === 'address-and-port-dependent'
  return {
    localNatKind: open
      ? 'full-cone' // RFC 3489 does not look at the mapping then
      : !independent
        ? 'symmetric'
        : filtering === 'address-dependent'
          ? 'restricted-cone'
          : 'port-restricted-cone',
    localNatMapping: mapping,
    localNatFiltering: filtering,
    // where the filter stops what a hairpin would let through, nobody can tell
    localHairpin: independent || open ? hairpin : undefined,
    localPortAllocation:
      allocation === 'preserve' ? 'preserving' : allocation === 'sequential' ? 'sequential' : 'random',
    ...((allocation === 'sequential' || chain) && { localPortStep: 1 }),
    ...((allocation === 'random' || allocation === 'parity') && { localPortParity: allocation === 'parity' }),
    udpFragments: true,
  }
}

const combinations = DEPENDENCE.flatMap(mapping =>
  DEPENDENCE.flatMap(filtering =>
    ALLOCATION.flatMap(allocation =>
      [true, false].map(
        (hairpin): NatBehaviour => ({
          ...nats.portRestrictedCone,
          mapping,
          filtering,
          allocation,
          hairpin,
        }),
      ),
    ),
  ),
)

const LINKS: readonly (readonly [name: string, link: LinkOptions])[] = [
  ['a good line', {}],
  ['20% loss each way', { loss: 0.2 }],
  ['reordering and duplicates', { reorder: 0.3, reorderBy: 60, duplicate: 0.2, jitter: 10 }],
]

describe.each(LINKS)('every NAT of the kit is recognized over %s', (_, access) => {
  test.each(combinations)('$mapping, $filtering, $allocation, hairpin $hairpin', behaviour => {
    const { net, alice, stun } = topologies.nat1({ seed: 7, nata: behaviour, access, trace: false })
    serveStun(net, stun)
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER }))
    expect(values(report)).toEqual(expected(behaviour))
    // two silent probes of nine requests each, at a guess of losses that is cautious
    for (const { value, confidence } of report.verdicts)
      if (value !== undefined) expect(confidence).toBeGreaterThan(access.loss === undefined ? 0.99 : 0.97)
  })
})

test('no NAT and no firewall', () => {
  const { net, bob, stun } = topologies.nat1({ seed: 1 })
  serveStun(net, stun)
  const report = detected(net, detect(net, bob, '203.0.113.60', { server: SERVER }))
  expect(values(report)).toEqual({
    localNatKind: 'none',
    localNatMapping: 'none',
    localNatFiltering: 'endpoint-independent',
    udpFragments: true,
  })
})

test('a firewall without translation is a symmetric UDP firewall', () => {
  const { net, alice, stun } = topologies.nat1({ seed: 1 })
  serveStun(net, stun)
  const report = detected(net, detect(net, alice, '2001:db8:a::5', { server: { address: '2001:db8::30', port: 3478 } }))
  expect(values(report)).toEqual({
    localNatKind: 'symmetric-firewall',
    localNatMapping: 'none',
    localNatFiltering: 'address-and-port-dependent',
    udpFragments: true,
  })
})

test('UDP blocked: ten seconds of asking, and the verdict rests on their number', () => {
  const { net, alice, stun } = topologies.nat1({ seed: 1, nata: { ...nats.portRestrictedCone, blockUdp: true } })
  serveStun(net, stun)
  const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER }))
  expect(report.verdicts).toMatchObject([{ fact: 'localNatKind', value: 'udp-blocked', evidence: ['I'] }])
  expect(report.probes).toMatchObject([{ name: 'I', sent: 9, outcome: { type: 'silent' } }])
  expect(net.clock.now()).toBe(9500)
})

describe('two NATs in a row look like their harder properties together', () => {
  test.each([
    ['fullCone', 'symmetric', 'symmetric', 'address-and-port-dependent', 'address-and-port-dependent'],
    ['symmetric', 'fullCone', 'symmetric', 'address-and-port-dependent', 'address-and-port-dependent'],
    ['restrictedCone', 'fullCone', 'restricted-cone', 'endpoint-independent', 'address-dependent'],
    [
      'restrictedCone',
      'portRestrictedCone',
      'port-restricted-cone',
      'endpoint-independent',
      'address-and-port-dependent',
    ],
  ] as const)('%s behind %s', (nata, cgn, type, mapping, filtering) => {
    const { net, alice, stun } = topologies.cgnat({ seed: 3, nata, cgn })
    serveStun(net, stun)
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER }))
    expect(values(report)).toMatchObject({
      localNatKind: type,
      localNatMapping: mapping,
      localNatFiltering: filtering,
    })
    expect(report.mapped?.address).toBe('198.51.100.100')
  })
})

describe('with less to go by', () => {
  test.each([
    ['portRestrictedCone', 'port-restricted-cone', 'endpoint-independent', 'address-and-port-dependent'],
    ['restrictedCone', 'restricted-cone', 'endpoint-independent', 'address-dependent'],
    ['fullCone', 'full-cone', 'endpoint-independent', 'endpoint-independent'],
    ['symmetric', 'symmetric', 'address-and-port-dependent', 'address-and-port-dependent'],
  ] as const)('one socket alone: %s', (nata, type, mapping, filtering) => {
    const { net, alice, stun } = topologies.nat1({ seed: 5, nata })
    serveStun(net, stun)
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER, sockets: 1 }))
    expect(values(report)).toMatchObject({
      localNatKind: type,
      localNatMapping: mapping,
      localNatFiltering: filtering,
    })
  })

  test('a server with one address: NAT or none, and how ports are picked', () => {
    const { net, alice, stun } = topologies.nat1({ seed: 5, nata: 'sequentialSymmetric' })
    serveStun(net, stun, ['203.0.113.30'], [3478])
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER }))
    expect(values(report)).toEqual({
      localNatKind: undefined,
      localNatMapping: undefined,
      localNatFiltering: undefined,
      localHairpin: undefined,
      localPortAllocation: 'sequential',
      localPortStep: 1,
    })
  })

  test.each([
    ['portRestrictedCone', 'endpoint-independent'],
    ['symmetric', undefined],
  ] as const)('two servers with one address each: the mapping of %s', (nata, mapping) => {
    const { net, alice, stun, med } = topologies.nat1({ seed: 5, nata })
    serveStun(net, stun, ['203.0.113.30'], [3478])
    serveStun(net, med, ['203.0.113.10'], [3478])
    const second = { address: '203.0.113.10', port: 3478 }
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER, second }))
    expect(values(report)).toMatchObject({ localNatMapping: mapping, localNatFiltering: undefined })
  })
})

describe('how long an idle mapping lives', () => {
  test.each([
    [{ timeout: 30_000 }, 15_000, 'alive after 15 s, gone after 45 s'],
    [{ timeout: 65_000, refresh: 'both' as const }, 60_000, 'alive after 60 s, gone after 90 s'],
    [{ timeout: 500_000 }, 120_000, 'alive after 120 s'],
    [{ timeout: 5000 }, 0, 'alive after 0 s, gone after 15 s'],
    [{ ...nats.symmetric, timeout: 50_000 }, 45_000, 'alive after 45 s, gone after 60 s'],
  ])('%o: %i ms', (behaviour, lifetime, rule) => {
    const { net, alice, stun } = topologies.nat1({ seed: 2, nata: { ...nats.portRestrictedCone, ...behaviour } })
    serveStun(net, stun)
    const lifetimes = [0, 15, 45, 60, 90, 120].map(wait => wait * 1000)
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER, lifetimes }), 200_000)
    expect(report.verdicts.find(({ fact }) => fact === 'mappingLifetime')).toMatchObject({ value: lifetime, rule })
  })

  test('a server that does not answer to another port leaves it unknown', () => {
    const { net, alice, stun } = topologies.nat1({ seed: 2 })
    serveStun(net, stun)
    alice.link.dropIf = packet => Buffer.from(packet).includes(Buffer.of(0, 0x27, 0, 4)) // RESPONSE-PORT
    const report = detected(net, detect(net, alice, '10.1.0.5', { server: SERVER, lifetimes: [0, 15_000] }), 60_000)
    expect(report.verdicts.find(({ fact }) => fact === 'mappingLifetime')).toMatchObject({ value: undefined })
  })
})

test('stopped early, it says what it knows and no more', () => {
  const { net, alice, stun } = topologies.nat1({ seed: 1 })
  serveStun(net, stun)
  const detecting = detect(net, alice, '10.1.0.5', { server: SERVER })
  net.run(100)
  expect(detecting.report).toBeUndefined()
  detecting.step({ type: 'stop' })
  expect(values(detecting.report!)).toMatchObject({
    localNatKind: undefined,
    localNatMapping: 'endpoint-independent',
    localNatFiltering: undefined,
    localPortAllocation: 'preserving',
  })
  const sent = detecting.sent
  net.run(20_000)
  expect(detecting.sent).toBe(sent)
})

test('same seed, same evidence', () => {
  const run = () => {
    const { net, alice, stun } = topologies.nat1({ seed: 11, nata: 'symmetric', access: { loss: 0.2, jitter: 5 } })
    serveStun(net, stun)
    return detected(net, detect(net, alice, '10.1.0.5', { server: SERVER }))
  }
  expect(run()).toEqual(run())
})
