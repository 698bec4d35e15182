import { describe, expect, test } from 'vitest'
import { createContainer, PluginHost, resolveAll } from '../../../core/container.ts'
import { STRATEGY } from '../../../core/contracts/plugin.ts'
import type { ChildSettings } from '../../../core/contracts/settings.ts'
import type { ModeStrategy } from '../../../core/contracts/strategy.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { Transport } from '../../../core/ipsec/index.ts'
import { Beet, type BeetOptions, beet as plugin, STRONGSWAN } from '../../../plugins/beet/index.ts'
import { anything, chart, child, Pair, type PairOptions } from '../../core/ike/pair.ts'
import { context, selector, udpFlow } from '../../core/ipsec/sample.ts'

/** One host on each side, as BEET wants it; the right one's outer address is none of them. */
const HOSTS: Partial<ChildSettings> = { localTs: [anything('10.1.0.1', 32)], remoteTs: [anything('10.2.0.1', 32)] }
const mirrored = ({ localTs, remoteTs, ...rest }: Partial<ChildSettings>): Partial<ChildSettings> => ({
  ...rest,
  ...(remoteTs && { localTs: remoteTs }),
  ...(localTs && { remoteTs: localTs }),
})

interface Ends {
  readonly left?: BeetOptions | undefined
  readonly right?: BeetOptions | undefined
  readonly leftChild?: Partial<ChildSettings>
  readonly rightChild?: Partial<ChildSettings>
  readonly rightModes?: readonly ModeStrategy[]
  readonly pair?: PairOptions
}

/** Undefined options: the plugin is not loaded there. */
function connected({
  left,
  right,
  leftChild = HOSTS,
  rightChild = mirrored(leftChild),
  rightModes,
  pair = {},
}: Ends): Pair {
  const load = (options: BeetOptions | undefined) => (options === undefined ? [] : [new Beet(options)])
  return new Pair({
    ...pair,
    left: { ...pair.left, modes: load(left) },
    right: { ...pair.right, modes: rightModes ?? load(right) },
    sun: { children: { lan: child(leftChild) }, ...pair.sun },
    moon: { children: { lan: child(rightChild) }, ...pair.moon },
  }).established()
}

const modesOf = (p: Pair) => [...p.left.children, ...p.right.children].map(c => c.plan.mode)
const whys = (p: Pair) =>
  [p.left, p.right].flatMap(end => end.log.flatMap(e => ('why' in e && 'code' in e ? [e.why] : [])))

describe('USE_BEET_MODE', () => {
  test("strongSwan's number and vendor ID, both ways", () => {
    const p = connected({ left: {}, right: {} })
    expect(modesOf(p)).toEqual(['beet', 'beet'])
    expect(chart(p.left)).toEqual([
      '> IKE_SA_INIT request 0 [ SA KE Nonce V ]',
      '< IKE_SA_INIT response 0 [ SA KE Nonce V ]',
      '> IKE_AUTH request 1 [ IDi N(INITIAL_CONTACT) IDr AUTH SA TSi TSr N(USE_BEET_MODE) ]',
      '< IKE_AUTH response 1 [ IDr AUTH SA TSi TSr N(USE_BEET_MODE) ]',
    ])
    expect(p.left.sa.facts['peerBeet']?.value).toBe(true)
    expect([p.left.codes, p.right.codes, p.left.drops, p.right.drops]).toEqual([[], [], {}, {}])
  })

  test('a public number needs no vendor ID', () => {
    const p = connected({ left: { notify: 16_500 }, right: { notify: 16_500 } })
    expect(modesOf(p)).toEqual(['beet', 'beet'])
    expect(chart(p.left)[0]).toBe('> IKE_SA_INIT request 0 [ SA KE Nonce ]')
  })

  test.each([
    ['both to one that knows the private one', [STRONGSWAN.notify, 16_500], STRONGSWAN.notify],
    ['both to one that knows the public one', [STRONGSWAN.notify, 16_500], 16_500],
    ['the public one to one that knows both', 16_500, [16_500, STRONGSWAN.notify]],
    ['both to both', [16_500, STRONGSWAN.notify], [STRONGSWAN.notify, 16_500]],
  ])('offers %s', (_, left, right) => {
    expect(modesOf(connected({ left: { notify: left }, right: { notify: right } }))).toEqual(['beet', 'beet'])
  })

  test('private number by agreement, without vendor ID', () => {
    const p = connected({ left: { vendorId: false }, right: { vendorId: false } })
    expect(modesOf(p)).toEqual(['beet', 'beet'])
  })

  test.each<[string, Ends]>([
    ['the plugin is not loaded there', { left: {}, right: undefined }],
    ['the plugin is not loaded here', { left: undefined, right: {} }],
    ['the peer does not show the vendor ID', { left: {}, right: { vendorId: false } }],
    ['this end does not show the vendor ID', { left: { vendorId: false }, right: {} }],
    ['the numbers differ', { left: { notify: 16_500 }, right: { notify: 16_501 } }],
    ['the peer wants tunnel mode', { left: {}, right: {}, rightChild: { ...mirrored(HOSTS), mode: 'tunnel' } }],
  ])('tunnel mode by agreement: %s', (_, options) => {
    const p = connected(options)
    expect(modesOf(p)).toEqual(['tunnel', 'tunnel'])
    expect([p.left.codes, p.right.codes]).toEqual([[], []])
  })

  test('a vendor ID is not volunteered by a responder', () => {
    const p = connected({ left: undefined, right: {} })
    expect(chart(p.left)[1]).toBe('< IKE_SA_INIT response 0 [ SA KE Nonce ]')
    expect(p.right.sa.facts['peerBeet']?.value).toBe(false)
  })

  test('who asks for BEET and transport mode at once gets neither', () => {
    const both: ModeStrategy = Object.assign(new Beet({ notify: 16_500 }), { asks: () => [16_500, 16_391] })
    const p = new Pair({
      left: { modes: [both] },
      right: { modes: [new Beet({ notify: 16_500 }), new Transport()] },
      sun: { children: { lan: child(HOSTS) } },
      moon: { children: { lan: child(mirrored(HOSTS)) } },
    }).established()
    expect(modesOf(p)).toEqual(['tunnel', 'tunnel'])
  })
})

describe('inner addresses', () => {
  test('from configuration, protocols and ports limited', () => {
    const limited = { range: { address: '10.2.0.1', bits: 32 }, protocol: 6, startPort: 80, endPort: 80 }
    const p = connected({ left: {}, right: {}, leftChild: { ...HOSTS, mode: 'beet', remoteTs: [limited] } })
    expect(modesOf(p)).toEqual(['beet', 'beet'])
    expect(p.left.children[0]?.remote[0]).toMatchObject({
      start: '10.2.0.1',
      end: '10.2.0.1',
      protocol: 6,
      startPort: 80,
    })
  })

  test('narrowed by the responder to its own', () => {
    const p = connected({
      left: {},
      right: {},
      leftChild: { mode: 'beet', localTs: HOSTS.localTs!, remoteTs: [anything('10.2.0.0', 16)] },
      rightChild: mirrored(HOSTS),
    })
    expect(modesOf(p)).toEqual(['beet', 'beet'])
    expect(p.left.children[0]?.remote[0]).toMatchObject({ start: '10.2.0.1', end: '10.2.0.1' })
  })

  test('from virtual addresses', () => {
    const p = connected({
      left: {},
      right: {},
      leftChild: { mode: 'beet', localTs: [anything('dynamic')], remoteTs: [anything('10.2.0.1', 32)] },
      rightChild: { mode: 'beet', localTs: [anything('10.2.0.1', 32)], remoteTs: [anything('dynamic')] },
      pair: { right: { pool: ['10.9.0.5'] }, sun: { requestAddresses: [4] }, moon: { pool: 'pool' } },
    })
    expect(modesOf(p)).toEqual(['beet', 'beet'])
    expect(p.left.children[0]?.local[0]).toMatchObject({ start: '10.9.0.5', end: '10.9.0.5' })
  })

  test('IPv6 inside, IPv4 outside', () => {
    const hosts = {
      mode: 'beet',
      localTs: [anything('2001:db8:1::1', 128)],
      remoteTs: [anything('2001:db8:2::1', 128)],
    }
    expect(modesOf(connected({ left: {}, right: {}, leftChild: hosts }))).toEqual(['beet', 'beet'])
  })

  test('a subnet: tunnel mode where any will do', () => {
    const subnets = { localTs: [anything('10.1.0.0', 16)], remoteTs: [anything('10.2.0.1', 32)] }
    expect(modesOf(connected({ left: {}, right: {}, leftChild: subnets }))).toEqual(['tunnel', 'tunnel'])
  })

  test('a subnet: refused at both ends where BEET is meant, and both say why', () => {
    const subnets = { mode: 'beet', localTs: [anything('10.1.0.0', 16)], remoteTs: [anything('10.2.0.1', 32)] }
    const p = connected({ left: {}, right: {}, leftChild: subnets })
    expect(modesOf(p)).toEqual([])
    expect(p.left.codes).toEqual(['PEER_TS_UNACCEPTABLE'])
    expect(whys(p)[0]).toMatch(/one inner address on each side, but the local one is 10\.1\.0\.0 to 10\.1\.255\.255/)
    expect(whys(p).at(-1)).toMatch(
      /one inner address on each side, but the remote one is 10\.1\.0\.0 to 10\.1\.255\.255/,
    )
  })
})

describe('BEET or nothing', () => {
  const meant = { ...HOSTS, mode: 'beet' }

  test('the peer answers tunnel mode: its Child SA is taken back', () => {
    const p = connected({ left: {}, right: {}, leftChild: meant, rightChild: { ...mirrored(HOSTS), mode: 'tunnel' } })
    expect(p.left.codes).toEqual(['PEER_MODE'])
    expect(modesOf(p)).toEqual([])
    expect(p.left.sa.state).toBe('established')
  })

  test('the peer asks for tunnel mode', () => {
    const p = connected({
      left: undefined,
      right: {},
      leftChild: HOSTS,
      rightChild: { ...mirrored(HOSTS), mode: 'beet' },
    })
    expect(modesOf(p)).toEqual([])
  })

  test('a peer without the vendor ID: the reason names the cure', () => {
    const p = new Pair({
      left: { modes: [new Beet()] },
      sun: { children: { lan: child(meant) } },
      moon: { children: { lan: child(mirrored(HOSTS)) } },
    })
    p.connect()
    p.settle()
    expect(p.left.codes).toEqual(['PLAN_NONE'])
    expect(whys(p)[0]).toMatch(/send_vendor_id = yes/)
  })
})

describe('rekeying', () => {
  test('keeps mode and addresses', () => {
    const p = connected({ left: {}, right: {} })
    const old = p.left.children[0]!
    p.left.start(new ChildExchange(old.settings, old), p.now)
    p.settle()
    expect(modesOf(p)).toContain('beet')
    const fresh = p.left.children.find(c => c.state === 'installed')!
    expect([fresh.plan.mode, fresh.local, fresh.remote]).toEqual(['beet', old.local, old.remote])
    expect(fresh.id).not.toBe(old.id)
    expect(p.left.codes).toEqual([])
  })
})

describe('the strategy', () => {
  test('comes through the public door', () => {
    const container = createContainer()
    const host = new PluginHost([plugin()])
    host.register(container)
    expect(resolveAll(container, STRATEGY)).toEqual([expect.any(Beet)])
  })

  const beet = new Beet()
  const fact = (value: boolean) => ({ peerBeet: { value, source: 'test', at: 0 } })
  const flow = udpFlow('192.0.2.1', '192.0.2.2')

  test('is usable until the peer shows that it is not', () => {
    expect(beet.assess({}).usable).toBe(true)
    expect(beet.assess(fact(true)).usable).toBe(true)
    expect(beet.assess(fact(false)).usable).toBe(false)
    expect(new Beet({ notify: [STRONGSWAN.notify, 16_500] }).assess(fact(false)).usable).toBe(true)
    expect(beet.assess({})).toMatchObject({ cost: { octets: 0, roundTrips: 0, trusts: [] } })
  })

  test('asks by the private number only those that know it', () => {
    expect(beet.asks({})).toEqual([])
    expect(beet.asks(fact(false))).toEqual([])
    expect(beet.asks(fact(true))).toEqual([40_961])
  })

  test.each([
    [
      'a range',
      [selector('10.0.0.0', '10.0.0.255')],
      [selector('10.0.1.1')],
      /local one is 10\.0\.0\.0 to 10\.0\.0\.255/,
    ],
    [
      'two addresses',
      [selector('10.0.0.1')],
      [selector('10.0.1.1'), selector('10.0.1.2')],
      /remote ones are 10\.0\.1\.1 and 10\.0\.1\.2/,
    ],
    ['two families', [selector('10.0.0.1')], [selector('2001:db8::1')], /different families/],
    ['none', [], [selector('10.0.1.1')], /no local inner address/],
  ] as const)('refuses %s', (_, local, remote, why) => {
    expect(beet.refuses(context(flow, local, remote))).toMatch(why)
    expect(() => beet.create(context(flow, local, remote))).toThrow(
      expect.objectContaining({ code: 'USAGE_BEET_ADDRESSES' }),
    )
  })

  test('takes one address under several protocols', () => {
    const local = [
      selector('10.0.0.1', '10.0.0.1', { protocol: 6 }),
      selector('10.0.0.1', '10.0.0.1', { protocol: 17 }),
    ]
    expect(beet.refuses(context(flow, local, [selector('10.0.1.1')]))).toBeUndefined()
  })

  test.each([[0], [38], [70_000], [16_400.5], []])('refuses the notify type %s', (...notify) => {
    expect(() => new Beet({ notify })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })
})
