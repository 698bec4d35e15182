import type { Case } from '../case.ts'
import { Charon } from '../charon.ts'
import { type ChildWish, type End, end } from '../gateway.ts'
import { ADDRESS, type Lab } from '../lab.ts'
import type { Product, SaView } from '../party.ts'
import { until } from '../process.ts'
import { ping } from '../traffic.ts'

/** Several Child SAs on one IKE SA, and those that wait for their first packet. */

type Pair = readonly [initiator: Product, responder: Product]

const PAIRS: readonly Pair[] = [
  ['natweave', 'strongSwan'],
  ['strongSwan', 'natweave'],
]
const NAT = ['--nata', 'port-restricted']
/** An address of alice inside the tunnel, and a second LAN of moon, which mars has an address in. */
const ALICE = '10.5.0.1'
const MORE = { lan: '10.4.0.0/24', moon: '10.4.0.1', mars: '10.4.0.5' }

const CHILDREN: Readonly<Record<string, ChildWish>> = {
  lan: { local: `${ALICE}/32`, remote: ADDRESS.moonLan },
  more: { local: `${ALICE}/32`, remote: MORE.lan },
}

const reversed = ({ local, remote, ...rest }: ChildWish): ChildWish => ({
  ...rest,
  ...(remote !== undefined && { local: remote }),
  ...(local !== undefined && { remote: local }),
})

interface World {
  readonly alice: End
  readonly moon: End
}

/** Both ends run; natweave's `traps` wait for traffic. charon's user-space ESP knows no trap: it waits for a command. */
async function world(lab: Lab, [initiator, responder]: Pair, traps: readonly string[]): Promise<World> {
  await lab.up('nat1', NAT)
  await lab.exec('alice', ['ip', 'address', 'add', `${ALICE}/32`, 'dev', 'lo'])
  await lab.exec('mars', ['ip', 'address', 'add', `${MORE.mars}/24`, 'dev', 'eth0'])
  // charon's user-space ESP needs an address of its own in what it protects
  await lab.exec('moon', ['ip', 'address', 'add', `${MORE.moon}/24`, 'dev', 'lan0'])
  const children = (host: 'alice' | 'moon'): Record<string, ChildWish> =>
    Object.fromEntries(
      Object.entries(CHILDREN).map(([name, wish]) => {
        return [name, { ...(host === 'alice' ? wish : reversed(wish)), trap: traps.includes(name) }]
      }),
    )
  const alice = end(lab, 'alice', initiator, { role: 'initiator', children: children('alice') })
  const moon = end(lab, 'moon', responder, { role: 'responder', children: children('moon') })
  await Promise.all([alice.start(), moon.start()])
  return { alice, moon }
}

/** Both ends have these Child SAs, each once, on one IKE SA, with the same SPIs and as many packets as were sent. */
async function counted({ alice, moon }: World, packets: Readonly<Record<string, number>>): Promise<readonly string[]> {
  const names = Object.keys(packets).sort()
  const [mine, theirs] = await until(`Child SAs ${names.join(', ')} on both ends`, 10_000, async () => {
    const both = await Promise.all([alice.sas(), moon.sas()])
    const right = both.every(
      sas =>
        sas
          .map(({ child }) => child)
          .sort()
          .join() === names.join(),
    )
    return right ? both : undefined
  })
  const of = (sas: readonly SaView[], name: string): SaView => sas.find(({ child }) => child === name)!
  if (new Set([...mine, ...theirs].map(({ spiInitiator }) => spiInitiator)).size !== 1)
    throw new Error('the Child SAs are of several IKE SAs')
  return names.map(name => {
    const [a, m] = [of(mine, name), of(theirs, name)]
    if (a.spiIn !== m.spiOut || a.spiOut !== m.spiIn) throw new Error(`${name}: different SAs on the two ends`)
    const seen = [a.packetsOut, m.packetsIn, m.packetsOut, a.packetsIn]
    if (seen.some(count => count !== packets[name]))
      throw new Error(`${name}: ${seen.join(', ')} packets out, in, out, in; wanted ${packets[name]} each`)
    return `${name}: ${seen[0]}+${seen[2]} packets`
  })
}

/** The second child comes up on the IKE SA that stands: natweave makes it for a packet, strongSwan by a command. */
async function second(lab: Lab, pair: Pair, by: 'alice' | 'moon'): Promise<readonly string[]> {
  const both = await world(lab, pair, ['more'])
  await both.alice.connect()
  await until('the first on both ends', 5_000, async () => (await both.moon.sas()).length === 1)
  const starter = both[by]
  if (starter instanceof Charon) {
    await starter.initiate('more')
    await until('the second on both ends', 5_000, async () => (await both.alice.sas()).length === 2)
  }
  const [from, to, source] =
    by === 'alice' ? (['alice', MORE.mars, ALICE] as const) : (['mars', ALICE, MORE.mars] as const)
  const more = await ping(lab, from, to, 7, source)
  const lan = await ping(lab, 'alice', ADDRESS.mars, 5, ALICE)
  return [`ping ${lan} ${more}`, ...(await counted(both, { lan: 5, more: 7 }))]
}

/** Nothing stands until a packet wants to go: it is the first that arrives. */
async function trap(lab: Lab, pair: Pair): Promise<readonly string[]> {
  const both = await world(lab, pair, ['lan', 'more'])
  if ((await both.alice.sas()).length > 0) throw new Error('an SA stands before there was traffic')
  const answered = await ping(lab, 'alice', MORE.mars, 5, ALICE)
  return [`ping ${answered}, the first too`, ...(await counted(both, { more: 5 }))]
}

const row = (pair: Pair, what: string, run: (lab: Lab) => Promise<readonly string[]>): Case => ({
  name: `children nat1 ${pair.join('→')} ${what}`,
  needs: 'natweave',
  run,
})

export const cases: readonly Case[] = [
  ...PAIRS.flatMap(pair =>
    (['alice', 'moon'] as const).map(by =>
      row(pair, `two, the second by ${by === 'alice' ? `initiator ${pair[0]}` : `responder ${pair[1]}`}`, lab =>
        second(lab, pair, by),
      ),
    ),
  ),
  row(PAIRS[0]!, 'the first packet brings it up', lab => trap(lab, PAIRS[0]!)),
]
