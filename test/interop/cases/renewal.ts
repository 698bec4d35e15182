import { setTimeout as sleep } from 'node:timers/promises'
import type { Case } from '../case.ts'
import type { Charon } from '../charon.ts'
import { ADDRESS, type Lab } from '../lab.ts'
import type { Product } from '../party.ts'
import { run, until } from '../process.ts'
import { ping, RunningTransfer, startProbe } from '../traffic.ts'
import { Tunnel } from '../tunnel.ts'

/** Authentication anew, rekeys of both ends at once, childless IKE_AUTH, redirect. */

type Pair = readonly [initiator: Product, responder: Product]

/** So few that no socket's buffer overflows, and every datagram that is missing was lost by a tunnel. */
const RATE = 800_000
const OCTETS = 10_000_000
const REAUTH_SECONDS = 5

/** Authentication anew, make-before-break, while 10 MB run one way and numbered datagrams both ways: none may be lost. */
async function reauth(lab: Lab, [initiator, responder]: Pair): Promise<readonly string[]> {
  const reauthSeconds = REAUTH_SECONDS
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted', reauthSeconds })
  const inner = await tunnel.inner()
  const spis = new Set<string>()
  const probed = await startProbe(lab, inner, tunnel.mars, 12)
  const transfer = await RunningTransfer.start(lab, inner, tunnel.mars, OCTETS, RATE)
  while (transfer.running) {
    for (const sa of await tunnel.alice.sas()) spis.add(sa.spiInitiator)
    await sleep(300)
  }
  await transfer.done()
  const { sent, back, duplicates } = await probed()
  if (spis.size < 2) throw new Error('nobody has authenticated anew')
  // charon, as responder, sends on its new SA at once, and overtakes its own IKE_AUTH answer: natweave holds that
  if (back !== sent || duplicates > 0) throw new Error(`probe: ${back} of ${sent} came back, ${duplicates} twice`)
  return [`${spis.size} IKE SAs one after the other`, '10 MB sha256 ok', `probe ${back}/${sent}`]
}

/** Both ends rekey while nothing gets through; then both requests meet. */
async function collision(lab: Lab, [initiator, responder]: Pair, what: 'ike' | 'child'): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted' })
  const { alice: before } = await tunnel.settled()
  const nft = (...args: readonly string[]) => lab.exec('moon', ['nft', ...args])
  await nft('add table inet hold; add chain inet hold in { type filter hook input priority 0; }')
  await nft('add chain inet hold out { type filter hook output priority 0; }')
  await nft('add rule inet hold in udp dport 4500 counter drop; add rule inet hold out udp sport 4500 counter drop')
  const [one, other] = initiator === 'natweave' ? [tunnel.alice, tunnel.moon] : [tunnel.moon, tunnel.alice]
  const rekey = (party: typeof one) => (what === 'ike' ? party.rekeyIke() : party.rekeyChild())
  // natweave's command ends when the new SA stands, strongSwan's at once
  const done = rekey(one)
  done.catch(() => {})
  const chain = one === tunnel.alice ? 'in' : 'out'
  await until("natweave's request", 15_000, async () =>
    / counter packets [1-9]/.test((await nft(`list chain inet hold ${chain}`)).stdout),
  )
  await rekey(other)
  await sleep(300)
  await nft('delete table inet hold')
  await done
  const { alice: after } = await until('new SPIs, the same on both ends', 20_000, async () => {
    const both = await tunnel.settled()
    const { alice, moon } = both
    const changed = what === 'ike' ? alice.spiInitiator !== before.spiInitiator : alice.spiIn !== before.spiIn
    return changed && alice.spiInitiator === moon.spiInitiator ? both : undefined
  })
  // else its own rekey was done before it saw that of natweave, which had been under way all the time (§2.8.1, §2.8.2)
  const met = /detected \S+ collision with \S+/.exec((other as Charon).log())?.[0] ?? 'had finished first'
  const answered = await ping(lab, 'alice', tunnel.mars.address)
  if (what === 'ike' && after.spiIn !== before.spiIn) throw new Error('the Child SA is another one')
  return [`strongSwan ${met}`, `ping ${answered}`, ...(await tunnel.expectProtected('rekeyed'))]
}

async function childless(lab: Lab, [initiator, responder]: Pair): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted', childless: true })
  const answered = await ping(lab, 'alice', tunnel.mars.address)
  return ['childless: force at the initiator', `ping ${answered}`, ...(await tunnel.expectProtected('rekeyed'))]
}

/** moon sends alice to bob's address, where nobody is: she calls there, and comes back in time. */
async function redirect(lab: Lab): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator: 'natweave', responder: 'strongSwan', nat: 'port-restricted' })
  const capture = await lab.capture('inet', 'br0', 'redirected', 0, `dst host ${ADDRESS.med} and udp`)
  const moon = tunnel.moon as Charon
  await moon.redirect(ADDRESS.med)
  await until('moon is without SAs', 10_000, async () => (await moon.sas()).length === 0)
  await sleep(1_500)
  const file = await capture()
  const { stdout } = await run(['tshark', '-r', file, '-Y', 'isakmp.notify.msgtype == 16408'])
  if (stdout.trim() === '') throw new Error('alice has not called the other gateway with REDIRECTED_FROM')
  return ['SA deleted, the other gateway called with REDIRECTED_FROM']
}

function row(pair: Pair, what: string, go: (lab: Lab) => Promise<readonly string[]>): Case {
  return { name: `nat1 ${pair.join('→')} ${what}`, needs: 'natweave', run: go }
}

const PAIRS: readonly Pair[] = [
  ['natweave', 'strongSwan'],
  ['strongSwan', 'natweave'],
]

export const cases: readonly Case[] = [
  ...PAIRS.flatMap(pair => [
    row(pair, 'reauthentication make-before-break', lab => reauth(lab, pair)),
    row(pair, 'both rekey the Child SA at once', lab => collision(lab, pair, 'child')),
    row(pair, 'both rekey the IKE SA at once', lab => collision(lab, pair, 'ike')),
    row(pair, 'childless', lab => childless(lab, pair)),
  ]),
  row(['natweave', 'strongSwan'], 'redirect', redirect),
]
