import { runNatPairs } from '../../core/cli/matrix/nat-pairs.ts'
import { topologies } from '../kit/index.ts'
import { type Bench, type Figure, realNow } from './measure.ts'

const PINGS = 60_000
const INTERVAL_MS = 0.1

/** How fast simulated time passes. */
export const simulation: Bench = {
  name: 'simulation',
  about: 'the virtual internet: events by the clock, and the time of a whole matrix',
  async run(): Promise<readonly Figure[]> {
    const { net, alice } = topologies.nat1({ nata: 'symmetric', trace: false })
    const [from, hops] = [realNow(), net.hops]
    const row = alice.ping('203.0.113.20', { count: PINGS, interval: INTERVAL_MS, timeout: 1_000 })
    await net.until(() => row.done, { within: 60_000 })
    if (row.received !== PINGS) throw new Error(`${row.received} of ${PINGS} pings were answered`)
    const seconds = (realNow() - from) / 1_000
    const began = realNow()
    const { pairs } = await runNatPairs(1, true)
    return [
      {
        what: 'packet handlings',
        value: (net.hops - hops) / seconds,
        unit: '/s',
        how: `${PINGS} pings through a symmetric NAT and back: arrivals, departures and LAN passages by the wall clock, on one core`,
      },
      {
        what: 'natweave matrix nat',
        value: (realNow() - began) / 1_000,
        unit: 's',
        how: `${pairs.length} pairs of homes with all NATs of the table, complete builds with real keys, a server and a relay; without the start of the command`,
      },
    ]
  },
}
