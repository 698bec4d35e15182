import type { Bench, Figure } from '../measure.ts'
import { LOAD } from './handshake.ts'
import { inLab } from './lab.ts'
import { load, RESPONDERS, responderObstacle } from './responders.ts'

const COUNT = 4_000
const AT_ONCE = 4
const GOAL = 1.5

const each =
  `${COUNT} initiators, ${AT_ONCE} at a time, each with IKE_SA_INIT, IKE_AUTH (pre-shared key, one Child SA) and DELETE, ` +
  `${LOAD.ike}, answering cookies where the responder asks for them; after ${COUNT} to warm up. One program for both ` +
  'responders, in a network namespace of its own'
const HOW = {
  cpu: `${each}. User and system time of the responder's process with all its threads, from /proc/PID/stat; ESP is installed in user space by both, and strongSwan sets a route for each Child SA, which its kernel-libipsec cannot be kept from`,
  wall: 'the same run by the clock: initiator and responder share the cores, and natweave answers from one thread, strongSwan from sixteen',
  median:
    'from the first IKE_SA_INIT to the answer to IKE_AUTH in the same run, so with the others before it in the queue',
} as const

/** How many handshakes a responder has in a second of processor time. */
export const responder: Bench = {
  name: 'responder',
  about: 'handshakes as responder, beside strongSwan under the same initiators',
  obstacle: responderObstacle,
  async run(): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const [what, start] of Object.entries(RESPONDERS))
      await inLab(async lab => {
        const one = await start(lab)
        const wish = { first: 0, count: COUNT, atOnce: AT_ONCE, delete: true }
        await load(lab, wish)
        const before = one.cpu
        const { seconds, median } = await load(lab, wish)
        const cpu = one.cpu - before
        const add = (compare: string, value: number, unit: string, how: string) =>
          figures.push({ what, value, unit, compare, how })
        add('handshakes in a second of processor time', COUNT / cpu, '', HOW.cpu)
        add('processor time of a handshake', (cpu / COUNT) * 1_000, 'ms', HOW.cpu)
        add('handshakes by the clock', COUNT / seconds, '/s', HOW.wall)
        add('time of a handshake', median, 'ms', HOW.median)
      })
    const order = [...new Set(figures.map(({ compare }) => compare))]
    return figures.sort((a, b) => order.indexOf(a.compare) - order.indexOf(b.compare))
  },
  goals(figures) {
    const [theirs, ours] = figures.map(({ value }) => value)
    const ratio = ours! / theirs!
    return [
      {
        goal: `${GOAL} × as many handshakes in a second of processor time as strongSwan`,
        reached: `${ratio.toFixed(2)} ×`,
        met: ratio >= GOAL,
      },
    ]
  },
}
