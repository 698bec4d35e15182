import { expect, test } from 'vitest'
import { direct } from '../../../core/path/direct.ts'
import { none } from '../../../core/path/none.ts'
import { checkRules, matchRule } from '../../../core/policy/rules.ts'
import { UdpEncap } from '../../../plugins/udp-encap/index.ts'
import { facts, mode, rule } from './strategies.ts'

const strategies = [direct, none, mode('tunnel', { octets: 20 }), new UdpEncap()]

test('rules over loaded strategies pass', () => {
  checkRules([rule('policy.rules[0]', { use: ['udp-encap'], prefer: ['tunnel'], avoid: ['none'] })], strategies)
})

test('a misspelt strategy is refused with its place, the nearest and what is loaded', () => {
  const rules = [rule('policy.rules[0]', {}), rule('policy.rules[1]', { prefer: ['tunnel', 'udp-encapp'] })]
  expect(() => checkRules(rules, strategies)).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      path: 'policy.rules[1].prefer[1]',
      message:
        'policy.rules[1].prefer[1]: unknown strategy "udp-encapp"; did you mean "udp-encap"? ' +
        'loaded: direct, none, tunnel, udp-encap',
    }),
  )
})

test('where nothing is near, no guess is made', () => {
  expect(() => checkRules([rule('policy.rules[0]', { avoid: ['wireguard'] })], strategies)).toThrow(
    'policy.rules[0].avoid[0]: unknown strategy "wireguard"; loaded: direct, none, tunnel, udp-encap',
  )
})

test('a strategy of another slot than the one it is named for is refused', () => {
  expect(() => checkRules([rule('policy.rules[0]', { use: ['mode:udp-encap'] })], strategies)).toThrow(
    'policy.rules[0].use.mode: unknown strategy "udp-encap"; loaded: tunnel',
  )
  checkRules([rule('policy.rules[0]', { use: ['encap:udp-encap', 'mode:auto'] })], strategies)
  expect(() => checkRules([rule('policy.rules[0]', { avoid: ['mode:auto'] })], strategies)).toThrow(
    'unknown strategy "auto"',
  )
})

test('a rule tells which fact decided, and which ones it waits for', () => {
  const over = rule('r', { when: { localBehindNat: true, udpBlocked: false, network: { not: ['office'] } } })
  expect(matchRule(over, facts({ localBehindNat: true, udpBlocked: false, network: 'home' }))).toMatchObject({
    state: 'matched',
    why: 'localBehindNat is true, udpBlocked is false, network is not office',
  })
  expect(matchRule(over, facts({ localBehindNat: true }))).toEqual({
    state: 'unknown',
    why: 'udpBlocked and network are not known yet',
    unknown: ['udpBlocked', 'network'],
  })
  // what is false decides, whatever else is unknown
  expect(matchRule(over, facts({ udpBlocked: true }))).toMatchObject({
    state: 'not-matched',
    why: 'udpBlocked is true, and the rule wants that it is false',
  })
})
