import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, BenchOptions, Figure } from '../measure.ts'
import { inLab } from './lab.ts'
import { load, RESPONDERS, type Responder, responderObstacle } from './responders.ts'

/**
 * As many as both are compared with: strongSwan's kernel-libipsec looks through lists of all SAs, so that each of the next
 * four thousand takes it ten times as long, and some time after that it answers no more.
 */
const COMMON = 4_000
const WARM_UP = 1_000
/** A look at the memory, and how often it is looked at until it stays as it is. */
const LOOK_MS = 500
const LOOKS = 20
const SAME = 0.005

const number = (count: number): string => count.toLocaleString('en')

/** Resident memory once it does not change any more. */
async function settled(one: Responder): Promise<number> {
  let before = one.resident
  for (let i = 0; i < LOOKS; i++) {
    await sleep(LOOK_MS)
    const { resident } = one
    if (Math.abs(resident - before) < before * SAME) return resident
    before = resident
  }
  return before
}

/** What is made one after the other, up to `most`: what is measured in between stays said if the run is cut. */
const steps = (most: number): number[] =>
  [COMMON, most / 4, most / 2, most].map(Math.round).filter((count, i) => i === 0 || count > COMMON)

/** What an established SA costs a responder. */
export const memory: Bench = {
  name: 'memory',
  about: 'memory of a responder for each IKE SA with one Child SA that stands, beside strongSwan',
  obstacle: responderObstacle,
  async run({ sas }: BenchOptions): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const [what, start] of Object.entries(RESPONDERS))
      await inLab(async lab => {
        const one = await start(lab)
        await load(lab, { first: 0, count: WARM_UP, atOnce: 4, delete: true })
        const before = await settled(one)
        let made = 0
        for (const count of what === 'natweave' ? steps(sas) : [COMMON]) {
          const cpu = one.cpu
          await load(lab, { first: WARM_UP + made, count: count - made, atOnce: 4, delete: false })
          const each = ((one.cpu - cpu) / (count - made)) * 1_000
          made = count
          const value = ((await settled(one)) - before) / made / 1_024
          process.stderr.write(
            `  ${what}: ${number(made)} SAs, ${value.toFixed(2)} kB each, ${each.toFixed(2)} ms of processor time each\n`,
          )
          const how =
            'resident memory (VmRSS, when it stays as it is) with so many IKE SAs that stand, each with a Child SA, less that ' +
            `after ${number(WARM_UP)} were made and deleted, over their number; garbage is in it`
          figures.push({ what, value, unit: 'kB', compare: `memory of an SA, of ${number(made)}`, how })
          figures.push({
            what,
            value: each,
            unit: 'ms',
            compare: `processor time to make one, of ${number(made)}`,
            how: 'of those that came on top in the same run',
          })
        }
      })
    return figures
  },
  goals(figures) {
    const of = (product: string) => figures.filter(({ what, unit }) => what === product && unit === 'kB')
    const [theirs] = of('strongSwan, charon')
    const ours = of('natweave').at(-1)!
    return [
      {
        goal: 'no more memory for an SA than strongSwan',
        reached: `${ours.value.toFixed(1)} kB (${ours.compare}) beside ${theirs!.value.toFixed(1)} kB (of ${number(COMMON)})`,
        met: ours.value <= theirs!.value,
      },
    ]
  },
}
