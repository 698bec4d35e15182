import { expect, test } from 'vitest'
import type { SaStore } from '../../../core/contracts/sa-store.ts'
import type { EncapStrategy, ModeStrategy } from '../../../core/contracts/strategy.ts'
import { Tunnel } from '../../../core/ipsec/index.ts'
import { direct } from '../../../core/path/direct.ts'
import { none } from '../../../core/path/none.ts'
import { MemoryStore } from '../../../plugins/memory/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { udpEncap } from '../../../plugins/udp-encap/index.ts'
import {
  cryptoSuite,
  detectorSuite,
  pluginSuite,
  type SuiteRunner,
  storeSuite,
  strategySuite,
} from '../../kit/index.ts'

/** A suite that finds nothing is worth nothing: what breaks a contract must be found, each by the test that is about it. */
async function failures(suite: (runner: SuiteRunner) => void): Promise<string[]> {
  const tests: [string, () => void | Promise<void>][] = []
  suite({ test: (name, run) => tests.push([name, run]) })
  const failed: string[] = []
  for (const [name, run] of tests)
    try {
      await run()
    } catch (error) {
      expect(error).toMatchObject({ code: 'TESTING_CONTRACT' })
      failed.push(name)
    }
  return failed
}

let calls = 0
const broken: Readonly<Record<string, readonly [(runner: SuiteRunner) => void, RegExp]>> = {
  'a name that is not kebab-case': [
    runner => strategySuite(() => ({ ...direct, name: 'Direct' }), runner),
    /names itself/,
  ],
  'an assessment that remembers': [
    runner =>
      strategySuite(
        () => ({ ...direct, assess: () => ({ usable: true, cost: { octets: calls++, roundTrips: 0, trusts: [] } }) }),
        runner,
      ),
    /assess is pure/,
  ],
  'unknown facts as bad news': [
    runner => strategySuite(() => ({ ...direct, assess: () => ({ usable: false, why: 'nobody said so' }) }), runner),
    /unknown facts/,
  ],
  'a path that never settles': [
    runner => strategySuite(() => ({ ...direct, serve: () => ({ deadline: Infinity, step: () => [] }) }), runner),
    /settles on a flow or fails/,
  ],
  'an encapsulation that cannot be undone': [
    runner =>
      strategySuite(
        (): EncapStrategy => ({ ...none, overhead: 1, wrap: p => void p.start--, unwrap: () => undefined }),
        runner,
      ),
    /unwrap undoes wrap/,
  ],
  'a mode that throws for garbage': [
    runner =>
      strategySuite((): ModeStrategy => {
        const tunnel = new Tunnel()
        const create = () => ({
          ...tunnel.create(),
          name: 'tunnel',
          encode: () => undefined,
          decode: () => {
            throw new RangeError('out of bounds')
          },
        })
        const { slot, name, solves } = tunnel
        return { slot, name, solves, assess: facts => tunnel.assess(facts), create }
      }, runner),
    /garbage is dropped/,
  ],
  'a store that hands out its own objects': [
    runner =>
      storeSuite(() => {
        const values = new Map<string, unknown>()
        const store = new MemoryStore()
        return {
          name: 'shared',
          open: () => store.open(),
          close: () => store.close(),
          get: async key => values.get(key),
          set: async (key, value) => void values.set(key, value),
          delete: async key => void values.delete(key),
          list: async prefix => [...values].filter(([key]) => key.startsWith(prefix)),
        } satisfies SaStore
      }, runner),
    /keeps no object of its callers/,
  ],
  'an AEAD that opens everything': [
    runner =>
      cryptoSuite(
        () => ({
          ...nobleProvider,
          aead: (id, key) => {
            const real = nobleProvider.aead(id, key)
            const open = (...parts: Parameters<typeof real.open>) => real.open(...parts) || true
            return { tagLength: 16, seal: real.seal.bind(real), open, destroy() {} }
          },
        }),
        runner,
      ),
    /AEADs open what they sealed/,
  ],
  'a detector that learns what it does not declare': [
    runner =>
      detectorSuite(
        () => ({
          name: 'gossip',
          finds: ['weather'],
          tasks: () => [{ name: 'gossip', process: (_message, sa) => sa.learn('scandal', true, 'hearsay') }],
        }),
        runner,
      ),
    /learns what it says it finds/,
  ],
  'a plugin of another contract': [runner => pluginSuite(() => ({ ...udpEncap(), api: 2 }), runner), /this contract/],
}

for (const [what, [suite, found]] of Object.entries(broken))
  test(`found: ${what}`, async () => {
    expect(await failures(suite)).toContainEqual(expect.stringMatching(found))
  })

test('what keeps its contract passes with any runner', async () => {
  expect(await failures(runner => strategySuite(() => udpEncap(), runner))).toEqual([])
})
