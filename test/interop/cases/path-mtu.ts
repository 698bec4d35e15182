import { readCapture } from '../capture.ts'
import type { Case } from '../case.ts'
import { ADDRESS, type Host, type Lab } from '../lab.ts'
import type { Product } from '../party.ts'
import { run } from '../process.ts'
import { megabytesPerSecond, transfer } from '../traffic.ts'
import { Tunnel } from '../tunnel.ts'

const HOP = 1_280
/** IP 20, UDP 8, ESP 8, IV 8, ICV 16, trailer 2. */
const INNER = HOP - 62

/** alice's NAT is a hop of 1280 octets in both directions; both its neighbours believe in 1500. */
async function narrow(lab: Lab): Promise<void> {
  for (const [to, device] of [
    ['10.1.0.0/24', 'lan0'],
    ['203.0.113.0/24', 'wan0'],
  ] as const)
    await lab.exec('nata', ['ip', 'route', 'change', to, 'dev', device, 'mtu', 'lock', String(HOP)])
}

/** The MTU that a packet of 1300 octets with DF is answered with; the first ones teach the tunnel its path. */
async function askedFor(lab: Lab, from: Host, to: string): Promise<number> {
  const argv = ['ping', '-n', '-M', 'do', '-c', '5', '-i', '0.2', '-W', '1', '-s', String(1_300 - 28), to]
  const { stdout, stderr } = await run(lab.on(from, argv))
  return Number(/mtu ?= ?(\d+)/.exec(stdout + stderr)?.[1])
}

async function answered(lab: Lab, from: Host, to: string, octets: number): Promise<number> {
  const argv = ['ping', '-n', '-M', 'do', '-c', '3', '-i', '0.2', '-W', '2', '-s', String(octets - 28), to]
  return Number(/(\d+) received/.exec((await run(lab.on(from, argv))).stdout)?.[1])
}

const row = (initiator: Product, responder: Product): Case => ({
  name: `path MTU ${HOP} ${initiator}→${responder}`,
  needs: 'natweave',
  run: async lab => {
    const tunnel = await Tunnel.prepare(lab, { initiator, responder, nat: 'port-restricted' })
    await narrow(lab)
    const [outer, inner] = await Promise.all([
      lab.capture('inet', 'br0', 'fragments-public', 0, 'ip[6:2] & 0x3fff != 0'),
      lab.capture('nata', 'lan0', 'fragments-home', 0, 'ip[6:2] & 0x3fff != 0'),
    ])
    await tunnel.alice.connect()
    await tunnel.settled()
    const alice = await tunnel.inner()
    const facts: string[] = []
    const directions = [
      { product: initiator, from: alice, to: tunnel.mars },
      { product: responder, from: tunnel.mars, to: alice },
    ] as const
    for (const { product, from, to } of directions) {
      const up = await transfer(lab, from, to)
      facts.push(`50 MB ${from.host}→${to.host} ${megabytesPerSecond(up)} MB/s`)
      if (product !== 'natweave') continue
      const mtu = await askedFor(lab, from.host, to.address)
      if (mtu !== INNER) throw new Error(`${from.host}: ping -M do was answered with ${mtu}, not ${INNER}`)
      const got = await answered(lab, from.host, to.address, INNER)
      if (got !== 3) throw new Error(`${from.host}: ${got} of 3 pings of ${INNER} octets with DF were answered`)
      facts.push(`mtu=${mtu}`)
    }
    const captures = [readCapture(await outer()), readCapture(await inner())]
    const fragments = captures.flatMap(({ packets }) => packets.map(({ src }) => src))
    const ours: string[] = [
      ...(initiator === 'natweave' ? ['10.1.0.5', ADDRESS.nata] : []),
      ...(responder === 'natweave' ? [ADDRESS.moon] : []),
    ]
    const wrong = fragments.filter(source => ours.includes(source))
    if (wrong.length > 0) throw new Error(`${wrong.length} fragments outside, from ${[...new Set(wrong)].join(', ')}`)
    return [...facts, `fragments outside: ${fragments.length}, of natweave: 0`]
  },
})

export const cases: readonly Case[] = [
  row('natweave', 'strongSwan'),
  row('strongSwan', 'natweave'),
  row('natweave', 'natweave'),
]
