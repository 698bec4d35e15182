import { readFileSync } from 'node:fs'
import { ROUND_TRIP_MS, runPair, type Side } from '../../core/cli/matrix/nat-pairs.ts'
import { Lab } from '../interop/lab.ts'
import { MediationLab } from '../interop/mediation.ts'
import type { Product } from '../interop/party.ts'
import { obstacle } from '../interop/preflight.ts'
import type { Bench, Figure } from './measure.ts'

const SEED = 1
const RUNS = 3
const PAIRS: readonly (readonly [alice: Side, bob: Side])[] = [
  ['none', 'none'],
  ['full cone', 'full cone'],
  ['port-restricted', 'port-restricted'],
  ['double', 'double'],
  ['symmetric', 'port-restricted'],
  ['symmetric', 'symmetric'],
]
/** The slowest is named first: ratios are multiples of it. */
const PRODUCTS: readonly Product[] = ['strongSwan', 'natweave']

const HOW = {
  simulated:
    `from connect() to the tunnel on the virtual internet, both ends registered; a round trip between two homes is ` +
    `${ROUND_TRIP_MS} ms, and server and relay are as far from each as the other home`,
  lab:
    `median of ${RUNS} calls in the network of test/interop, all three hosts of one make, both ends behind port-restricted ` +
    'NATs, cables without delay: what is left is waiting and work; strongSwan by swanctl, natweave by its own events, since ' +
    'starting Node for the command takes longer than the connection',
} as const

/** How long until two peers behind NATs that both know one server are connected. */
export const mediation: Bench = {
  name: 'mediation',
  about: 'time to a mediated connection, in round trips, and beside strongSwan through the same NATs',
  async run(): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const [alice, bob] of PAIRS) {
      const { roundTrips: value, way, connected, why } = await runPair(SEED, true, alice, bob)
      if (!connected) throw new Error(`${alice} and ${bob} are not connected: ${why}`)
      figures.push({ what: `${alice}, ${bob}: ${way}`, value, unit: 'round trips', how: HOW.simulated })
    }
    return [...figures, ...(await inLab())]
  },
}

/** What cannot be run on the virtual internet, only where the lab can be built. */
async function inLab(): Promise<readonly Figure[]> {
  const lab = new Lab(process.env.LAB_PREFIX ?? 'nwbench')
  const why = await obstacle(lab)
  if (why !== undefined) {
    process.stderr.write(`  beside strongSwan not measured: ${why}\n`)
    return []
  }
  const figures: Figure[] = []
  try {
    for (const what of PRODUCTS) {
      const value = await median(lab, what)
      figures.push({ what, value, unit: 'ms', compare: 'mediated connection', how: HOW.lab })
    }
  } finally {
    await lab.close()
  }
  return figures
}

async function median(lab: Lab, product: Product): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < RUNS; i++) {
    const parties = { med: product, alice: product, bob: product }
    const site = await MediationLab.up(lab, {
      topology: 'nat2',
      ...parties,
      nats: ['port-restricted', 'port-restricted'],
    })
    await site.register('bob')
    await site.register('alice')
    const took = await site.connect('alice')
    times.push(product === 'natweave' ? told(lab) : took)
    await lab.down()
  }
  return times.sort((a, b) => a - b)[RUNS >> 1]!
}

/** Between two events of alice's, ms. */
function told(lab: Lab): number {
  const events = readFileSync(lab.file('alice', 'natweave.log'), 'utf8')
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as { type: string; peer?: string; at: number })
    .filter(({ peer }) => peer === 'tunnel')
  const [from, to] = ['connecting', 'child-up'].map(type => events.find(e => e.type === type)?.at)
  if (from === undefined || to === undefined) throw new Error('natweave has told nothing of the connection')
  return to - from
}
