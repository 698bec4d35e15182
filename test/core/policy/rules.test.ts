import { expect, test } from 'vitest'
import { direct } from '../../../core/path/direct.ts'
import { none } from '../../../core/path/none.ts'
import { checkRules } from '../../../core/policy/rules.ts'
import { UdpEncap } from '../../../plugins/udp-encap/index.ts'
import { mode, rule } from './strategies.ts'

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
