import { fork } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { silentLog } from '../../core/contracts/log.ts'
import { offerProposals, parseProposals } from '../../core/ike/proposal.ts'
import { createNatweave, type PeerSettings, type Plugin, TRANSPORT } from '../../core/index.ts'
import { ExchangeType, Flag, serializeIke } from '../../core/wire/index.ts'
import { nodeCrypto } from '../../plugins/node-crypto/index.ts'
import { UdpTransport } from '../../plugins/udp/index.ts'
import { udpEncap } from '../../plugins/udp-encap/index.ts'
import { child, peer, settings } from '../scenario/nodes.ts'
import type { FloodOptions, FloodReport } from './flood.ts'
import { type Bench, type Figure, realNow } from './measure.ts'

const RATES = [0, 10_000, 20_000]
const CONNECTS = 40
const PHASE_MS = 8_000
const SOURCES = 500
const SUITE = 'aes256gcm16-prfsha256-x25519'
const MARKER = 4

/** A gateway on real sockets under a flood of forged IKE_SA_INIT, and a peer that connects meanwhile. */
export const dos: Bench = {
  name: 'dos',
  about: `a peer connects to a gateway that gets forged IKE_SA_INIT from ${SOURCES} addresses; real UDP on loopback`,
  async run(): Promise<readonly Figure[]> {
    const figures: Figure[] = []
    for (const perSecond of RATES) figures.push(...(await under(perSecond)))
    return figures
  },
}

async function under(perSecond: number): Promise<Figure[]> {
  const port = await freePort()
  const hosts = [child({ name: 'hosts', local: ['dynamic'], remote: ['dynamic'] })]
  const common = { proposals: [SUITE], children: hosts, encapsulation: 'force' } as const
  const gateway = build('127.0.0.1', port, peer({ ...common, name: 'client', me: 'gateway' }))
  const client = build(
    '127.0.0.2',
    port,
    peer({ ...common, name: 'gateway', me: 'client', remote: '127.0.0.1', remotePort: port }),
  )
  await Promise.all([gateway.natweave.start(), client.natweave.start()])

  for (let i = 0; i < 3; i++) await once1(client)
  const flood = perSecond === 0 ? undefined : await startFlood(port, perSecond)
  const [received, cpu, began] = [gateway.transport.stats().received, process.cpuUsage(), realNow()]
  const times: number[] = []
  let failed = 0
  let tried = 0
  for (; tried < CONNECTS && realNow() - began < PHASE_MS; tried++) {
    const from = realNow()
    try {
      await once1(client)
      times.push(realNow() - from)
    } catch {
      failed++
    }
  }
  // long enough to count by, however quick the peer was
  while (realNow() - began < 3_000) await new Promise(resolve => setTimeout(resolve, 50))
  const seconds = (realNow() - began) / 1_000
  const arrived = gateway.transport.stats().received - received
  const { user, system } = process.cpuUsage(cpu)
  const sent = await flood?.()
  await Promise.all([client.natweave.stop(), gateway.natweave.stop()])
  times.sort((a, b) => a - b)
  const what = perSecond === 0 ? 'no flood' : `${perSecond} forged requests a second`
  const connect = `${tried} × connect() and disconnect() one after the other; gateway and client share one thread, the flood comes from another process`
  return [
    { what, value: times[times.length >> 1] ?? Infinity, unit: 'ms', compare: 'connect, median', how: connect },
    { what, value: times.at(-1) ?? Infinity, unit: 'ms', compare: 'connect, slowest', how: connect },
    { what, value: failed, unit: 'failed', how: `of ${tried} attempts` },
    ...(sent === undefined
      ? []
      : [
          { what: `${what}: sent`, value: sent, unit: '/s', how: 'counted by the flooding process' },
          {
            what: `${what}: read by the gateway`,
            value: arrived / seconds,
            unit: '/s',
            how: "counted by the gateway's transport, the peer's own messages among them; the rest the kernel dropped",
          },
          {
            what: `${what}: processor time`,
            value: (user + system) / Math.max(1, arrived),
            unit: 'µs each',
            how: 'user and system time of the process with gateway and client, over the datagrams that the gateway read',
          },
        ]),
  ]
}

interface Built {
  readonly natweave: ReturnType<typeof createNatweave>
  readonly transport: UdpTransport
}

function build(address: string, port: number, one: PeerSettings): Built {
  const transport = new UdpTransport({ addresses: [address], ikePort: port, nattPort: port, watchMs: 0 }, silentLog)
  const wire: Plugin = { name: 'wire', api: 1, register: c => c.register(TRANSPORT, { useValue: transport }) }
  const plugins = [nodeCrypto(), udpEncap(), wire]
  return { natweave: createNatweave({ plugins, settings: settings({ peers: [one], pools: {} }) }), transport }
}

async function once1({ natweave }: Built): Promise<void> {
  await natweave.connect('gateway')
  await natweave.disconnect('gateway')
}

/** @returns ends it, and tells how many it has sent a second */
async function startFlood(port: number, perSecond: number): Promise<() => Promise<number>> {
  const message = serializeIke(
    { initiatorSpi: 1n, responderSpi: 0n, exchange: ExchangeType.IKE_SA_INIT, flags: Flag.INITIATOR, messageId: 0 },
    [
      { type: 'SA', proposals: offerProposals(parseProposals([SUITE], 'ike'), new Uint8Array(0)) },
      { type: 'KE', group: 31, data: new Uint8Array(32).fill(9) },
      { type: 'Nonce', data: new Uint8Array(32).fill(7) },
    ],
  )
  const template = Buffer.from([...new Uint8Array(MARKER), ...message]).toString('hex')
  const flooder = fork(new URL('./flood.ts', import.meta.url), { execArgv: ['--import', 'tsx'] })
  flooder.send({ template, spiAt: MARKER, port, perSecond, sources: SOURCES } satisfies FloodOptions)
  const [first]: FloodReport[] = await once(flooder, 'message')
  const from = realNow()
  return async () => {
    flooder.send('stop')
    // reports may be under way
    let last: FloodReport | undefined
    flooder.on('message', report => {
      last = report as FloodReport
    })
    await once(flooder, 'exit')
    return ((last!.sent - first!.sent) / (realNow() - from)) * 1_000
  }
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  await once(socket, 'close')
  return port
}
