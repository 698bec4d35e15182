import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Claims } from '../../../core/ipsec/claims.ts'
import { SelectorPair } from '../../../core/ipsec/index.ts'
import { selector } from './sample.ts'

const LOCAL = selector('10.0.0.0', '10.0.0.255')
const host = (n: number) => `192.0.2.${n}`
const range = fc
  .tuple(fc.nat(6), fc.nat(6), fc.boolean())
  .map(([a, b, one]) => (one ? selector(host(a), host(a)) : selector(host(Math.min(a, b)), host(Math.max(a, b)))))
const ipv6 = fc
  .constantFrom('2001:db8::1', '2001:DB8:0::1')
  .map(address => ({ ...selector(address, address), family: 6 as const }))
const remote = fc.array(fc.oneof({ weight: 5, arbitrary: range }, { weight: 1, arbitrary: ipv6 }), {
  minLength: 1,
  maxLength: 2,
})

test('whoever overlaps is found, by an address or by looking at all, and forgotten when the last SA has gone', () => {
  const step = fc.record({ remote, owner: fc.nat(3), release: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), steps => {
      const claims = new Claims()
      const held: { readonly selectors: SelectorPair; readonly owner: string }[] = []
      for (const { remote, owner, release } of steps) {
        const selectors = new SelectorPair([LOCAL], remote)
        const by = { owner: `${owner}`, peer: 'clients', shared: false }
        const wanted = held.some(
          h => h.owner !== by.owner && (h.selectors.key === selectors.key || h.selectors.overlaps(selectors)),
        )
        expect(claims.conflict(selectors, by) !== undefined).toBe(wanted)
        if (release && held.length > 0) claims.release(held.shift()!.selectors)
        else if (!wanted) {
          claims.claim(selectors, by)
          held.push({ selectors, owner: by.owner })
        }
      }
    }),
    { numRuns: 500 },
  )
})
