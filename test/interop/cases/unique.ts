import type { Case } from '../case.ts'
import { type End, end } from '../gateway.ts'
import { ADDRESS, type Host, type Lab } from '../lab.ts'
import type { Product } from '../party.ts'
import { until } from '../process.ts'
import { ping } from '../traffic.ts'

/** Two clients behind NATs of their own with one identity: what the gateway makes of the second. */

type Pair = readonly [client: Product, gateway: Product]

const PAIRS: readonly Pair[] = [
  ['natweave', 'strongSwan'],
  ['strongSwan', 'natweave'],
]

interface World {
  readonly alice: End
  readonly bob: End
  readonly moon: End
}

/** alice is connected. The clients share an identity and know it, so that none of them says INITIAL_CONTACT. */
async function world(lab: Lab, [client, gateway]: Pair, unique: 'replace' | 'keep' | 'never'): Promise<World> {
  await lab.up('nat2')
  const children = (role: 'initiator' | 'responder') => ({
    lan: role === 'initiator' ? { remote: ADDRESS.moonLan } : { local: ADDRESS.moonLan },
  })
  const one = (host: Host): End =>
    end(lab, host, client, { role: 'initiator', virtual: true, unique: 'never', children: children('initiator') })
  const parties = {
    alice: one('alice'),
    bob: one('bob'),
    moon: end(lab, 'moon', gateway, { role: 'responder', virtual: true, unique, children: children('responder') }),
  }
  await Promise.all(Object.values(parties).map(party => party.start()))
  await parties.alice.connect()
  // the answer may be here before moon's device has its routes
  await until('the SA at moon', 5_000, () => stands(parties.moon))
  await ping(lab, 'alice', ADDRESS.mars)
  return parties
}

const addresses = async (party: End): Promise<readonly string[]> =>
  (await party.sas()).flatMap(({ virtualAddress }) => virtualAddress ?? [])

const stands = async (party: End): Promise<boolean> => (await party.sas()).length > 0

async function replace(lab: Lab, pair: Pair): Promise<readonly string[]> {
  const { alice, bob, moon } = await world(lab, pair, 'replace')
  await bob.connect()
  await until('alice without SAs', 10_000, async () => !(await stands(alice)))
  await until('one SA at moon', 10_000, async () => (await moon.sas()).length === 1)
  return [`bob ${await ping(lab, 'bob', ADDRESS.mars)}`, 'the SA of alice deleted by moon']
}

async function keep(lab: Lab, pair: Pair): Promise<readonly string[]> {
  const { alice, bob, moon } = await world(lab, pair, 'keep')
  const why = await bob.connect().then(
    () => undefined,
    (error: unknown) => (error as Error).message,
  )
  if (why === undefined || (await stands(bob))) throw new Error('bob has connected')
  if ((await moon.sas()).length !== 1) throw new Error('moon has more than the SA of alice')
  return [`alice ${await ping(lab, 'alice', ADDRESS.mars)}`, `bob: ${why.split('\n')[0]}`, ...(await stood(alice))]
}

const stood = async (alice: End): Promise<readonly string[]> =>
  (await stands(alice)) ? ['the SA of alice stands'] : Promise.reject(new Error('alice has lost her SA'))

async function never(lab: Lab, pair: Pair): Promise<readonly string[]> {
  const { alice, bob, moon } = await world(lab, pair, 'never')
  await bob.connect()
  const [one, other] = [await addresses(alice), await addresses(bob)]
  if (one[0] === other[0]) throw new Error(`both have ${one[0]}`)
  if ((await moon.sas()).length !== 2) throw new Error('moon has not both SAs')
  return [
    `alice ${one[0]} ${await ping(lab, 'alice', ADDRESS.mars)}`,
    `bob ${other[0]} ${await ping(lab, 'bob', ADDRESS.mars)}`,
    `back ${await ping(lab, 'mars', one[0]!)} ${await ping(lab, 'mars', other[0]!)}`,
  ]
}

const POLICIES = { replace, keep, never } as const

export const cases: readonly Case[] = PAIRS.flatMap(pair =>
  Object.entries(POLICIES).map(
    ([policy, run]): Case => ({
      name: `unique nat2 ${pair.join('→')} one identity twice, ${policy} at ${pair[1]}`,
      needs: 'natweave',
      run: lab => run(lab, pair),
    }),
  ),
)
