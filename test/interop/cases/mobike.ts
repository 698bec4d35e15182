import { setTimeout as sleep } from 'node:timers/promises'
import { readCapture } from '../capture.ts'
import type { Case } from '../case.ts'
import { ADDRESS, type Lab } from '../lab.ts'
import type { Product } from '../party.ts'
import { ping, RunningTransfer, TRANSFER_OCTETS } from '../traffic.ts'
import { Tunnel } from '../tunnel.ts'

type Pair = readonly [initiator: Product, responder: Product]

/** Octets per second: the transfer lasts well beyond the time in which a new address is noticed. */
const RATE = 3_000_000

interface Move {
  readonly name: string
  /** Arguments of `ip` on alice, one after the other. */
  readonly steps: readonly string[]
  /** Whether alice's packets come from there afterwards. */
  readonly arrived: (source: string) => boolean
}

const MOVES: readonly Move[] = [
  {
    name: 'another address behind the same NAT',
    steps: ['addr flush dev eth0', 'addr add 10.1.0.77/24 dev eth0', 'route add default via 10.1.0.1'],
    arrived: source => source.startsWith(`${ADDRESS.nata}:`) && source !== `${ADDRESS.nata}:4500`,
  },
  {
    name: 'from behind the NAT to the public segment',
    steps: ['addr flush dev eth0', 'link set eth0 down', 'link set eth1 up', 'addr replace 203.0.113.50/24 dev eth1'],
    arrived: source => source === `${ADDRESS.aliceDirect}:4500`,
  },
]

/** alice changes her outer address while TCP runs: the SAs stay, the transfer goes on. */
async function move(lab: Lab, [initiator, responder]: Pair, { steps, arrived }: Move): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted', mobike: true, dpdSeconds: 5 })
  const inner = await tunnel.inner()
  const before = (await tunnel.settled()).alice
  const wire = await lab.capture('inet', 'br0', 'sources', 60, `dst host ${ADDRESS.moon} and udp`)
  const transfer = await RunningTransfer.start(lab, inner, tunnel.mars, TRANSFER_OCTETS, RATE)
  await sleep(3000)
  if (!transfer.running) throw new Error('the transfer ended before the move')
  for (const step of steps) await lab.exec('alice', ['ip', ...step.split(' ')])
  const { longestPauseMs } = await transfer.done()
  const answered = await ping(lab, 'mars', inner.address)
  const sources = readCapture(await wire()).packets.map(({ src, srcPort }) => `${src}:${srcPort}`)
  if (!arrived(sources.at(-1) ?? '')) throw new Error(`alice still sends from ${sources.at(-1)}`)
  const { alice } = await tunnel.settled()
  if (alice.spiInitiator !== before.spiInitiator) throw new Error('not the same IKE SA')
  return [
    '50 MB sha256 ok',
    `longest pause ${longestPauseMs} ms`,
    `${new Set(sources).size} outer endpoints, now ${sources.at(-1)}`,
    `ping ${answered}`,
    ...(await tunnel.expectProtected('moved')),
  ]
}

const row = (pair: Pair, what: Move): Case => ({
  name: `mobike ${pair.join('→')} ${what.name}`,
  needs: 'natweave',
  run: lab => move(lab, pair, what),
})

export const cases: readonly Case[] = [
  ...MOVES.map(what => row(['natweave', 'strongSwan'], what)),
  ...MOVES.map(what => row(['strongSwan', 'natweave'], what)),
]
