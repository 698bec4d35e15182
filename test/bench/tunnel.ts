import { existsSync, readFileSync } from 'node:fs'
import { Charon } from '../interop/charon.ts'
import { ADDRESS, type Host, Lab } from '../interop/lab.ts'
import { NatweaveProcess } from '../interop/natweave.ts'
import type { Party, TunnelConfig } from '../interop/party.ts'
import { run, until } from '../interop/process.ts'
import { unbuilt } from './built.ts'
import { config } from './config.ts'
import type { Bench, Figure, Goal } from './measure.ts'

/** Where both ends have their inner address. */
const INNER = { alice: '10.9.0.1', moon: '10.3.0.1' } as const
const ENDS = ['alice', 'moon'] as const
const SECONDS = 3
/** The machine's speed varies by the minute: all have their turn, this often, and the median counts. */
const ROUNDS = 3
/** Clock ticks of /proc/PID/stat, which Linux has had at 100 a second for all programs since 2.6. */
const TICK = 100
const TOOLS = { iperf3: 'iperf3', 'wireguard-go': 'wireguard-go', wg: 'wireguard-tools', ethtool: 'ethtool' } as const

const FAST = 'natweave, fast plane'
const PORTABLE = 'natweave, portable plane'
const LIBIPSEC = 'strongSwan, kernel-libipsec'
const WIREGUARD = 'wireguard-go'
const NONE = 'no tunnel'

/** What carries packets between alice and moon. `open` makes it ready; the lab's end takes it down. */
interface Contender {
  readonly name: string
  readonly target: string
  open(lab: Lab): Promise<void>
}

type PartyClass = new (lab: Lab, host: Host, config: TunnelConfig) => Party

const ipsec = (name: string, PartyOf: PartyClass, plane?: string): Contender => ({
  name,
  target: INNER.moon,
  open: async lab => {
    if (plane !== undefined) process.env.NATWEAVE_PLANE = plane
    const [moon, alice] = [
      new PartyOf(lab, 'moon', config('responder')),
      new PartyOf(lab, 'alice', config('initiator')),
    ]
    await moon.start()
    await alice.start()
    await alice.connect()
  },
})

const wireguard: Contender = {
  name: WIREGUARD,
  target: '10.8.0.2',
  open: async lab => {
    const key = async (): Promise<{ secret: string; open: string }> => {
      const secret = (await run(['wg', 'genkey'])).stdout.trim()
      const shown = await run(['sh', '-c', `printf %s '${secret}' | wg pubkey`])
      return { secret, open: shown.stdout.trim() }
    }
    const keys = { alice: await key(), moon: await key() }
    for (const [i, host] of ENDS.entries()) {
      const peer = ENDS[1 - i]!
      const at = peer === 'moon' ? ADDRESS.moon : ADDRESS.aliceDirect
      const file = lab.write(
        host,
        'wg.conf',
        `[Interface]\nPrivateKey = ${keys[host].secret}\nListenPort = 51820\n` +
          `[Peer]\nPublicKey = ${keys[peer].open}\nEndpoint = ${at}:51820\nAllowedIPs = 10.8.0.0/24\n`,
      )
      // both ends' control sockets would have one name
      const device = `wg-${lab.prefix}-${host}`.slice(0, 15)
      lab.spawn(host, 'wireguard', ['wireguard-go', '-f', device])
      await until(`wireguard-go on ${host}`, 10_000, async () => {
        const set = await run(lab.on(host, ['wg', 'setconf', device, file]))
        return set.code === 0
      })
      await lab.exec(host, ['ip', 'addr', 'add', `10.8.0.${i + 1}/24`, 'dev', device])
      await lab.exec(host, ['ip', 'link', 'set', device, 'mtu', '1400', 'up'])
    }
  },
}

const CONTENDERS: readonly Contender[] = [
  ipsec(FAST, NatweaveProcess, 'fast'),
  ipsec(PORTABLE, NatweaveProcess, 'portable'),
  ipsec(LIBIPSEC, Charon),
  wireguard,
  { name: NONE, target: ADDRESS.moon, open: async () => {} },
]

/** What figure, of whom, beside whom, and how many times it ought to be: at least, or at most. */
const GOALS = [
  ['TCP, 1 stream', FAST, LIBIPSEC, 10, 'least'],
  ['TCP, 1 stream', FAST, WIREGUARD, 7, 'least'],
  ['TCP, 1 stream', FAST, NONE, 0.3, 'least'],
  ['TCP, 4 streams', FAST, LIBIPSEC, 10, 'least'],
  ['TCP, 4 streams', FAST, WIREGUARD, 7, 'least'],
  ['UDP, 64 octets', FAST, LIBIPSEC, 4, 'least'],
  ['UDP, 64 octets', FAST, WIREGUARD, 3, 'least'],
  ['round trip, idle', FAST, LIBIPSEC, 1, 'most'],
  ['round trip, idle', FAST, WIREGUARD, 1, 'most'],
  ['round trip, under load', FAST, LIBIPSEC, 1, 'most'],
  ['round trip, under load', FAST, WIREGUARD, 1, 'most'],
  ['TCP, 1 stream', PORTABLE, LIBIPSEC, 1, 'least'],
] as const

/** The processes of a host that carry packets, by PID. */
async function carriers(lab: Lab, host: Host): Promise<string[]> {
  const { stdout } = await run(['ip', 'netns', 'pids', `${lab.prefix}-${host}`])
  return stdout.split('\n').filter(pid => {
    try {
      return pid !== '' && !['iperf3', 'ping'].includes(readFileSync(`/proc/${pid}/comm`, 'utf8').trim())
    } catch {
      return false // it has ended meanwhile
    }
  })
}

async function cpuSeconds(lab: Lab): Promise<number> {
  const pids = (await Promise.all(ENDS.map(host => carriers(lab, host)))).flat()
  const ticks = pids.map(pid => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ')
    return Number(fields[11]) + Number(fields[12])
  })
  return ticks.reduce((sum, one) => sum + one, 0) / TICK
}

async function memory(lab: Lab): Promise<number> {
  const sizes = (await carriers(lab, 'alice')).map(pid =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0),
  )
  return Math.max(0, ...sizes) / 1_024
}

interface Transfer {
  readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number }
  readonly sum?: { readonly packets: number; readonly lost_packets: number; readonly seconds: number }
}

/** One run of iperf3 from alice to moon. */
async function iperf(lab: Lab, target: string, args: readonly string[]): Promise<Transfer> {
  const server = lab.spawn('moon', 'iperf3', ['iperf3', '-s', '-1', '--forceflush'])
  await until('iperf3', 10_000, async () => server.log().includes('listening'))
  const argv = ['iperf3', '-c', target, '-t', String(SECONDS), '-J', ...args]
  const done = await lab.exec('alice', argv, 120_000)
  await server.stop()
  return (JSON.parse(done.stdout) as { end: Transfer }).end
}

/** Median round trip in ms of the last 100 of so many pings. */
async function roundTrip(lab: Lab, target: string, count: number): Promise<number> {
  const { stdout } = await lab.exec('alice', ['ping', '-c', String(count), '-i', '0.01', target])
  const times = [...stdout.matchAll(/time=([\d.]+)/g)]
    .slice(-100)
    .map(([, ms]) => Number(ms))
    .sort((a, b) => a - b)
  return times[times.length >> 1] ?? Number.NaN
}

const HOW = {
  tcp: `median of ${ROUNDS} rounds; iperf3 for ${SECONDS} s between two network namespaces on one machine, both ends sharing its cores; AES-128-GCM in UDP, or what WireGuard has`,
  udp: `median of ${ROUNDS} rounds; iperf3 -u with 64 octets as fast as it can for ${SECONDS} s; packets that arrived`,
  ping: `median of ${ROUNDS} rounds, of each the median of 100 pings, 10 ms apart, after 200 for caches and compilers; under load: beside one TCP stream, at once`,
  cpu: 'of the processes that carry packets, both ends together, during one TCP stream',
  memory: 'VmRSS of the largest process of one end, after the transfers',
} as const

async function measure(lab: Lab, { name, target, open }: Contender): Promise<Figure[]> {
  await lab.up('direct')
  // the lab cuts datagrams apart before they are on the cable, so that captures see each; here nobody looks
  for (const host of ENDS) await run(lab.on(host, ['ethtool', '-K', 'eth0', 'tx-udp-segmentation', 'on']))
  await open(lab)
  const figure = (compare: string, value: number, unit: string, how: string): Figure => ({
    what: name,
    value,
    unit,
    compare,
    how,
  })
  // routes come after the SA
  await until(`a ping through ${name}`, 20_000, async () => {
    const answered = await run(lab.on('alice', ['ping', '-c', '1', '-W', '1', target]))
    return answered.code === 0
  })
  const idle = await roundTrip(lab, target, 300)
  const before = await cpuSeconds(lab)
  const one = (await iperf(lab, target, []))?.sum_received
  const cpu = (await cpuSeconds(lab)) - before
  const four = (await iperf(lab, target, ['-P', '4']))?.sum_received
  const [, loaded] = await Promise.all([iperf(lab, target, []), roundTrip(lab, target, 100)])
  const udp = (await iperf(lab, target, ['-u', '-b', '0', '-l', '64'])).sum
  const rss = await memory(lab)
  await lab.down()
  return [
    figure('TCP, 1 stream', (one?.bits_per_second ?? 0) / 1e9, 'Gbit/s', HOW.tcp),
    figure('TCP, 4 streams', (four?.bits_per_second ?? 0) / 1e9, 'Gbit/s', HOW.tcp),
    figure(
      'UDP, 64 octets',
      udp === undefined ? 0 : (udp.packets - udp.lost_packets) / udp.seconds,
      'packets/s',
      HOW.udp,
    ),
    figure('round trip, idle', idle, 'ms', HOW.ping),
    figure('round trip, under load', loaded, 'ms', HOW.ping),
    // without a tunnel the kernel does all
    ...(rss === 0
      ? []
      : [
          figure('CPU', one === undefined ? Number.NaN : cpu / (one.bytes / 1e9), 's/GB', HOW.cpu),
          figure('memory', rss, 'MB', HOW.memory),
        ]),
  ]
}

/** The middle one of the figures of all rounds. */
function medians(rounds: readonly Figure[]): Figure[] {
  const sorted = [...rounds].sort((a, b) => a.value - b.value)
  const same = (a: Figure, b: Figure): boolean => a.what === b.what && a.compare === b.compare
  return rounds
    .filter((figure, i) => rounds.findIndex(other => same(other, figure)) === i)
    .map(figure => {
      const all = sorted.filter(other => same(other, figure))
      return all[all.length >> 1]!
    })
}

/** Why tunnels cannot be measured here, in words; undefined when they can. */
function obstacle(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux, for network namespaces'
  const path = (process.env.PATH ?? '').split(':')
  const missing = Object.entries(TOOLS).filter(([tool]) => !path.some(folder => existsSync(`${folder}/${tool}`)))
  if (missing.length > 0)
    return `missing ${missing.map(([tool]) => tool).join(', ')}; on Debian: apt-get install ${missing.map(([, name]) => name).join(' ')}`
  return existsSync('/usr/sbin/swanctl') ? unbuilt() : 'missing strongSwan; see test/interop/README.md for its packages'
}

/** Tunnels side by side: what users would otherwise take. */
export const tunnel: Bench = {
  name: 'tunnel',
  about: 'packets through a tunnel between two network namespaces, beside other tunnels in user space',
  obstacle,
  run: async () => {
    const lab = new Lab(process.env.LAB_PREFIX ?? 'nwbench')
    const rounds: Figure[] = []
    try {
      for (let round = 0; round < ROUNDS; round++)
        for (const contender of CONTENDERS) rounds.push(...(await measure(lab, contender)))
    } finally {
      await lab.down()
    }
    const order = [...new Set(rounds.map(({ compare }) => compare))]
    return medians(rounds).sort((a, b) => order.indexOf(a.compare) - order.indexOf(b.compare))
  },
  goals: figures =>
    GOALS.map(([compare, who, other, times, bound]): Goal => {
      const of = (what: string): number => figures.find(f => f.compare === compare && f.what === what)!.value
      const reached = of(who) / of(other)
      return {
        goal: `${compare}: ${who} at ${bound} ${times} × ${other}`,
        reached: `${reached.toFixed(2)} ×`,
        met: bound === 'least' ? reached >= times : reached <= times,
      }
    }),
}
