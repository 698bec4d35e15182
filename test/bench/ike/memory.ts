import type { Bench, Figure } from '../measure.ts'
import { inLab } from './lab.ts'
import { load, RESPONDERS, responderObstacle } from './responders.ts'

/** strongSwan's kernel-libipsec looks through lists of all SAs: many more would take it hours. */
const COUNTS: Readonly<Record<string, number>> = { natweave: 100_000, 'strongSwan, charon': 10_000 }
const WARM_UP = 1_000

/** What an established SA costs a responder. */
export const memory: Bench = {
  name: 'memory',
  about: 'memory of a responder for each IKE SA with one Child SA that stands, beside strongSwan',
  obstacle: responderObstacle,
  async run(): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const [what, start] of Object.entries(RESPONDERS)) {
      const count = COUNTS[what]!
      await inLab(async lab => {
        const one = await start(lab)
        await load(lab, { first: 0, count: WARM_UP, atOnce: 4, delete: true })
        const before = one.resident
        const { seconds } = await load(lab, { first: WARM_UP, count, atOnce: 4, delete: false })
        const value = (one.resident - before) / count / 1_024
        const how =
          `resident memory (VmRSS) after ${count.toLocaleString('en')} IKE SAs were made that stand, less that after ` +
          `${WARM_UP.toLocaleString('en')} were made and deleted, over their number; garbage is in it`
        figures.push({ what, value, unit: 'kB', compare: 'memory of an SA', how })
        figures.push({
          what: `${what}: ${count.toLocaleString('en')} SAs`,
          value: seconds,
          unit: 's',
          how: 'until all of them stood, with initiator and responder on the same cores',
        })
      })
    }
    return figures
  },
  goals(figures) {
    const [theirs, ours] = figures.filter(f => f.compare !== undefined).map(f => f.value)
    return [
      {
        goal: 'no more memory for an SA than strongSwan',
        reached: `${ours!.toFixed(1)} kB beside ${theirs!.toFixed(1)} kB`,
        met: ours! <= theirs!,
      },
    ]
  },
}
