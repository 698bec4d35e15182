import { topologies } from '../kit/index.ts'
import { clients, node, toMoon } from '../scenario/nodes.ts'
import { type Bench, type Figure, realNow } from './measure.ts'

const PEERS = 1_000

/** A thousand complete builds behind one NAT, each on a host of its own, and one gateway. */
export const peers: Bench = {
  name: 'peers',
  about: `${PEERS} peers behind one NAT negotiate with one gateway on the virtual internet, on one core`,
  async run(): Promise<readonly Figure[]> {
    const began = realNow()
    const { net, nata, alice, moon } = topologies.nat1({ nata: 'symmetric', trace: false })
    const { lan } = alice.interface()
    nata.addAddress('10.1.255.254/16', nata.interface('lan0'))
    const m = await node(net, moon, { peers: [clients()], pools: { clients: '10.9.0.0/16' } })
    const builds = await Promise.all(
      Array.from({ length: PEERS }, (_, i) => {
        const addresses = [`10.1.${(i >> 8) + 1}.${i & 255}/16`]
        const host = net.host(`client-${i}`, { lan: lan!, addresses, gateways: ['10.1.255.254'], link: { latency: 1 } })
        return node(net, host, { peers: [toMoon({ me: host.name })] })
      }),
    )
    const ready = realNow()
    const cpu = process.cpuUsage()
    const [hops, virtual] = [net.hops, net.clock.now()]
    let settled = 0
    const connecting = builds.map(one => one.natweave.connect('moon').finally(() => settled++))
    await net.until(() => settled === PEERS, { within: 600_000 })
    await Promise.all(connecting)
    const seconds = (realNow() - ready) / 1_000
    const { user, system } = process.cpuUsage(cpu)
    const up = m.of('child-up').length
    if (up !== PEERS) throw new Error(`${up} of ${PEERS} Child SAs stand`)
    const addresses = new Set(builds.flatMap(one => one.peer('moon').virtualAddresses))
    if (addresses.size !== PEERS) throw new Error(`${addresses.size} virtual addresses for ${PEERS} peers`)
    const how = `${PEERS} × connect() at once, real IKE and keys both ends, above the COOKIE threshold; wall clock`
    return [
      { what: 'all connected after', value: seconds, unit: 's', how },
      {
        what: 'of processor time',
        value: (user + system) / 1e6,
        unit: 's',
        how: 'user and system time of that run, garbage collection included',
      },
      {
        what: 'negotiations',
        value: PEERS / seconds,
        unit: '/s',
        how: 'the same run; initiators and gateway share the core',
      },
      {
        what: 'packet handlings',
        value: (net.hops - hops) / seconds,
        unit: '/s',
        how: 'arrivals, departures and LAN passages of the same run',
      },
      {
        what: 'in virtual time',
        value: (net.clock.now() - virtual) / 1_000,
        unit: 's',
        how: 'the clock of the virtual internet',
      },
      {
        what: 'setting up the builds',
        value: (ready - began) / 1_000,
        unit: 's',
        how: `${PEERS + 1} × createNatweave() and start()`,
      },
    ]
  },
}
