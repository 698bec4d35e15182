import { describe, expect, test } from 'vitest'
import { parseConfig } from '../../../core/config/index.ts'
import { Transport } from '../../../core/ipsec/modes/transport.ts'
import { Tunnel } from '../../../core/ipsec/modes/tunnel.ts'
import { direct } from '../../../core/path/direct.ts'
import { none } from '../../../core/path/none.ts'
import { checkPolicy, reachOf } from '../../../core/policy/check.ts'
import { checkOverlaps } from '../../../core/policy/overlap.ts'
import { Beet } from '../../../plugins/beet/index.ts'
import { UdpEncap } from '../../../plugins/udp-encap/index.ts'

const strategies = [direct, none, new Tunnel(), new Transport(), new UdpEncap(), new Beet()]
const finds = ['localBehindNat', 'remoteBehindNat', 'peerNatTraversal']
const lan = { lan: { remote: ['10.3.0.0/24'] } }
const moon = { remote: '192.0.2.1', psk: 'x', children: lan }

const parsed = (config: object) => parseConfig(config, { env: {}, readFile: () => new Uint8Array(0) }).settings
const findings = (config: object) =>
  checkPolicy({ settings: parsed(config), strategies, finds }).map(f => `${f.at}: ${f.problem}`)
const rules = (...all: object[]) => ({ peers: { moon }, policy: { rules: all } })
const overlaps = (config: object) => checkOverlaps(parsed(config)).map(f => `${f.severity} ${f.at}: ${f.problem}`)
const reach = (peer: object, policy: object = {}, with_ = strategies) => {
  const settings = parsed({ peers: { moon: { ...moon, ...peer } }, policy })
  return reachOf(settings.peers['moon']!, { settings, strategies: with_ })
}

describe('rules that can never match', () => {
  test('sound ones are not complained of', () => {
    expect(
      findings({
        peers: { moon },
        policy: {
          facts: { mobile: true },
          rules: [
            { when: { localBehindNat: true, mobile: true }, use: ['udp-encap'] },
            { when: { localBehindNat: false }, use: ['none'] },
            { when: { peerBeet: true }, prefer: ['beet'] },
          ],
        },
      }),
    ).toEqual([])
  })

  test('a fact that nothing finds, with the nearest', () => {
    expect(findings(rules({ when: { localBehindNat: true, remoteBehindNet: true }, avoid: ['none'] }))).toEqual([
      'policy.rules[0].when.remoteBehindNet: the rule can never match: nothing loaded finds remoteBehindNet, and the configuration does not tell it; did you mean "remoteBehindNat"?',
    ])
  })

  test('what the configuration tells otherwise, and what contradicts itself', () => {
    const config = {
      peers: { moon: { ...moon, facts: { cost: 3 } } },
      policy: {
        facts: { mobile: false },
        rules: [
          { when: { mobile: true }, avoid: ['none'] },
          { when: { cost: '> 5' }, avoid: ['none'] },
        ],
      },
    }
    expect(findings(config)).toEqual([
      'policy.rules[0].when.mobile: the rule can never match: mobile is false by the configuration, and nothing loaded finds anything else',
      'policy.rules[1].when.cost: the rule can never match: cost is 3 by the configuration, and nothing loaded finds anything else',
    ])
    expect(findings(rules({ when: { sinceSuccess: { above: '1h', below: '5m' } }, avoid: ['none'] }))).toEqual([
      'policy.rules[0].when.sinceSuccess: the rule can never match: no number is that large and that small',
    ])
  })

  test('a rule in the shadow of an earlier one', () => {
    expect(
      findings(
        rules(
          { when: { localBehindNat: true }, use: ['udp-encap'] },
          { when: { localBehindNat: true, mobike: true }, use: ['encap:none'] },
        ),
      ),
    ).toEqual(['policy.rules[1]: it never says anything: policy.rules[0] comes first and decides the same slots'])
    // another slot, other peers, a wider condition: not in the shadow
    expect(
      findings(
        rules(
          { peers: ['moon'], when: { localBehindNat: true }, use: ['udp-encap'] },
          { when: { localBehindNat: true }, use: ['none'] },
          { peers: ['moon'], use: ['none'] },
          { peers: ['moon'], when: { localBehindNat: true }, use: ['tunnel'] },
        ),
      ),
    ).toEqual([])
  })
})

describe('whether a peer can always be reached', () => {
  test('with udp-encap there is a plan in every case; what it rests on is said', () => {
    expect(reach({})).toEqual({
      peer: 'moon',
      verdict: 'always',
      assuming: expect.arrayContaining([
        'UDP to ports 500 and 4500 of the peer gets through',
        'the peer does NAT traversal (RFC 7296 §2.23)',
        'IP protocol 50 gets through where no NAT is seen',
      ]),
      without: [],
    })
  })

  test('without UDP encapsulation not behind a NAT, and the simplest such case is told', () => {
    for (const found of [reach({ encapsulation: 'never' }), reach({}, {}, [direct, none, new Tunnel()])]) {
      expect(found.verdict).toBe('sometimes')
      expect(found.without[0]).toMatch(
        /^lan, when (localBehindNat is true|remoteBehindNat is true|forceEncapsulation is true|plainEspPossible is false): /,
      )
    }
  })

  test('rules may take the plan away: always, or in some case', () => {
    expect(reach({}, { rules: [{ avoid: ['tunnel', 'transport', 'beet'] }] }).verdict).toBe('never')
    const gap = reach({}, { rules: [{ when: { network: 'office' }, use: ['none'] }] })
    expect(gap).toMatchObject({ verdict: 'sometimes', without: [expect.stringContaining('network is office')] })
    expect(reach({}, { rules: [{ when: { network: 'office' }, prefer: ['none'] }] }).verdict).toBe('always')
    expect(reach({}, { rules: [{ when: { sinceSuccess: '> 1h' }, avoid: ['direct'] }] }).verdict).toBe('sometimes')
  })

  test('a mode that cannot carry the selectors, and AH behind a NAT', () => {
    expect(reach({ children: { lan: { remote: ['10.3.0.0/24'], mode: 'beet' } } })).toMatchObject({ verdict: 'never' })
    expect(reach({ children: { host: { remote: ['10.3.0.5'], mode: 'beet' } } })).toMatchObject({
      verdict: 'sometimes',
    })
    expect(reach({ children: { lan: { remote: ['10.3.0.0/24'], protocol: 'ah' } } })).toMatchObject({
      verdict: 'sometimes',
      without: [expect.stringMatching(/BehindNat is true.*AH covers/)],
    })
  })
})

describe('addresses claimed twice', () => {
  const caller = {
    psk: 'x',
    remoteId: 'site.example',
    children: { lan: { local: ['10.3.0.0/24'], remote: ['10.1.0.0/24'] } },
  }
  const second = { ...caller, remoteId: 'other.example' }

  test('pools that overlap each other, and selectors that overlap a pool', () => {
    expect(
      overlaps({ pools: { a: { addresses: '10.9.0.0/24' }, b: { addresses: '10.9.0.128/25' } }, peers: {} }),
    ).toEqual([
      'error pools.b.addresses: 10.9.0.128/25 overlaps 10.9.0.0/24 of pools.a: two peers could get one address',
    ])
    expect(overlaps({ pools: { a: { addresses: '10.3.0.64/26' } }, peers: { moon } })).toEqual([
      'warning peers.moon.children.lan.remote[0]: 10.3.0.0/24 overlaps pools.a (10.3.0.64/26): what is sent to such an address may go either way',
    ])
  })

  test('two peers with the same selectors, or with selectors inside the other’s', () => {
    expect(overlaps({ peers: { one: caller, two: second } })).toEqual([
      'error peers.two.children.lan.remote: the same selectors as peers.one.children.lan: whichever comes second is refused',
    ])
    const inside = { ...second, children: { lan: { local: ['10.3.0.0/24'], remote: ['10.1.0.64/26'] } } }
    expect(overlaps({ peers: { one: caller, two: inside } })[0]).toContain(
      '10.1.0.64/26 overlaps 10.1.0.0/24 of another peer: the narrower one decides',
    )
    const ports = { ...second, children: { lan: { local: ['10.3.0.0/24[tcp/80]'], remote: ['10.1.0.0/24'] } } }
    const others = { ...caller, children: { lan: { local: ['10.3.0.0/24[tcp/443]'], remote: ['10.1.0.0/24'] } } }
    expect(overlaps({ peers: { one: others, two: ports } })).toEqual([])
  })

  test('told apart, they are no conflict', () => {
    const flows = { lan: { ...caller.children.lan, conflicts: 'flows' } }
    expect(overlaps({ peers: { one: { ...caller, children: flows }, two: { ...second, children: flows } } })).toEqual(
      [],
    )
  })

  test('one peer that stands for many with one set of selectors', () => {
    expect(overlaps({ peers: { many: { ...caller, remoteId: '*.example' } } })[0]).toContain(
      'remoteId *.example fits many, and all would have the same selectors: only the first is served',
    )
    expect(
      overlaps({
        pools: { p: { addresses: '10.9.0.0/24' } },
        peers: { many: { psk: 'x', remoteId: 'any', pool: 'p', children: { lan: { local: ['10.3.0.0/24'] } } } },
      }),
    ).toEqual([])
  })
})
