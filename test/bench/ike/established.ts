import { readFileSync } from 'node:fs'
import { Charon } from '../../interop/charon.ts'
import type { Lab } from '../../interop/lab.ts'
import { NatweaveProcess } from '../../interop/natweave.ts'
import { config } from '../config.ts'
import type { Bench, Figure } from '../measure.ts'
import { inLab } from './lab.ts'
import { responderObstacle } from './responders.ts'

const TIMES = 15

/** Of one product at both ends: its class, and the moments that its initiator tells of, ms. */
const PRODUCTS = [
  {
    what: 'strongSwan',
    of: Charon,
    moments: (lab: Lab): Moments => {
      const lines = readFileSync(lab.file('alice', 'charon-log.log'), 'latin1').split('\n')
      const at = (pattern: RegExp): number[] =>
        lines.filter(line => pattern.test(line)).map(line => milliseconds(line.split(' ')[0]!))
      return { from: at(/initiating IKE_SA/), to: at(/CHILD_SA .* established/) }
    },
  },
  {
    what: 'natweave',
    of: NatweaveProcess,
    moments: (lab: Lab): Moments => {
      const lines = readFileSync(lab.file('alice', 'natweave.log'), 'utf8').split('\n')
      const events = lines.filter(line => line.startsWith('{')).map(line => JSON.parse(line) as Told)
      const at = (type: string): number[] => events.filter(e => e.type === type).map(e => e.at)
      return { from: at('connecting'), to: at('child-up') }
    },
  },
] as const

interface Moments {
  readonly from: readonly number[]
  readonly to: readonly number[]
}

interface Told {
  readonly type: string
  readonly at: number
}

/** `12:34:56.789` */
function milliseconds(time: string): number {
  const [hours, minutes, seconds] = time.split(':').map(Number)
  return ((hours! * 60 + minutes!) * 60 + seconds!) * 1_000
}

/** How long a connection takes that nothing stands in the way of. */
export const established: Bench = {
  name: 'established',
  about: 'from the wish to connect to the tunnel, beside strongSwan, without the start of any process',
  obstacle: responderObstacle,
  async run(): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const { what, of, moments } of PRODUCTS)
      await inLab(async lab => {
        const [moon, alice] = [new of(lab, 'moon', config('responder')), new of(lab, 'alice', config('initiator'))]
        await moon.start()
        await alice.start()
        for (let i = 0; i < TIMES; i++) {
          await alice.connect()
          await alice.disconnect()
        }
        const { from, to } = moments(lab)
        if (from.length !== TIMES || to.length !== TIMES)
          throw new Error(`${what} has told of ${from.length} connections and ${to.length} tunnels, not ${TIMES}`)
        const times = from.map((at, i) => to[i]! - at).sort((a, b) => a - b)
        const how =
          `median of ${TIMES} connections one after the other between two network namespaces, one product at both ends, ` +
          'a virtual address asked for, from the first to the last moment as the initiator tells it: its log, or its events'
        figures.push({ what, value: times[TIMES >> 1]!, unit: 'ms', compare: 'time to the tunnel', how })
      })
    return figures
  },
}
