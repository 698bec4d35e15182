import { describe, expect } from 'vitest'
import { type NatName, topologies } from '../kit/index.ts'
import { registered, talk } from './mediation.ts'
import { scenario } from './support.ts'

const NATS = ['none', 'fullCone', 'restrictedCone', 'portRestrictedCone', 'symmetric', 'sequentialSymmetric'] as const
/** No relay here: what nobody can predict on both sides has no direct way. */
const HOPELESS = ['symmetric symmetric', 'symmetric sequentialSymmetric', 'sequentialSymmetric symmetric']

describe('who connects directly through which NATs', () => {
  for (const nata of NATS)
    for (const natb of NATS)
      scenario(`${nata} ${natb}`, async seed => {
        const topology = topologies.nat2({ seed, nata: nata as NatName, natb: natb as NatName, trace: false })
        const { net, alice, bob } = topology
        const { a } = await registered(topology)
        await net.advance(500)
        const began = net.clock.now()
        const connected = a.connect('bob')
        if (HOPELESS.includes(`${nata} ${natb}`)) {
          await expect(connected).rejects.toMatchObject({
            code: 'PATH_NO_PAIR',
            message: expect.stringContaining('relay'),
          })
          return
        }
        await connected
        const took = net.clock.now() - began
        expect(took).toBeLessThan(3_000)
        expect(await talk(net, alice, bob)).toEqual([3, 3])
      })
})
