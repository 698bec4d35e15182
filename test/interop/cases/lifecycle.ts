import { setTimeout as sleep } from 'node:timers/promises'
import { readCapture } from '../capture.ts'
import type { Case } from '../case.ts'
import { ADDRESS, type Lab, type NatType } from '../lab.ts'
import type { Product } from '../party.ts'
import { until } from '../process.ts'
import { ping, RunningTransfer, startProbe, TRANSFER_OCTETS } from '../traffic.ts'
import { Tunnel } from '../tunnel.ts'

type Pair = readonly [initiator: Product, responder: Product]
type Side = 'alice' | 'moon'

const REKEYS = 3
/** Octets per second: the transfer takes 12.5 s, long enough for all that happens to it meanwhile on a slow machine. */
const RATE = 4_000_000

/** Rekeys while 50 MB run one way and numbered datagrams both ways: not one packet may be lost. */
async function rekey(
  lab: Lab,
  [initiator, responder]: Pair,
  what: 'ike' | 'child',
  by: Side,
): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted' })
  const inner = await tunnel.inner()
  const probed = await startProbe(lab, inner, tunnel.mars, 12)
  const transfer = await RunningTransfer.start(lab, inner, tunnel.mars, TRANSFER_OCTETS, RATE)
  let before = (await tunnel.settled()).alice
  for (let round = 0; round < REKEYS; round++) {
    await sleep(500)
    if (!transfer.running) throw new Error('the transfer ended before the last rekey')
    await (what === 'ike' ? tunnel[by].rekeyIke() : tunnel[by].rekeyChild())
    const after = await until(`rekey ${round + 1}: new SPIs on both ends`, 5000, async () => {
      const { alice, moon } = await tunnel.settled()
      const ikeIsNew = alice.spiInitiator !== before.spiInitiator && alice.spiResponder !== before.spiResponder
      const childIsNew = alice.spiIn !== before.spiIn && alice.spiOut !== before.spiOut
      const same = alice.spiInitiator === moon.spiInitiator && alice.spiResponder === moon.spiResponder
      return same && ikeIsNew === (what === 'ike') && childIsNew === (what === 'child') ? alice : undefined
    })
    before = after
  }
  await transfer.done()
  const { sent, back, duplicates } = await probed()
  const { packets, excused } = await tunnel.nothingLost()
  if (sent - back > excused || duplicates > 0)
    throw new Error(`probe: ${back} of ${sent} came back, ${duplicates} twice`)
  const facts = [
    `${REKEYS} rekeys`,
    '50 MB sha256 ok',
    `probe ${back}/${sent}`,
    packets === undefined ? 'segments merged' : `0 of ${packets} packets lost`,
  ]
  return [...facts, ...(await tunnel.expectProtected('rekeyed'))]
}

/** One side falls silent: the other one must notice, and a new tunnel must be possible. */
async function dpd(lab: Lab, [initiator, responder]: Pair, by: Side): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted', dpdSeconds: 1 })
  const silent = by === 'alice' ? tunnel.moon : tunnel.alice
  await ping(lab, 'alice', tunnel.mars.address)
  await sleep(4000)
  const { alice } = await tunnel.settled()
  silent.freeze()
  const start = performance.now()
  await until(`${by} gives up`, 20_000, async () => (await tunnel[by].sas()).length === 0)
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  silent.thaw()
  await until('the silent side gives up as well', 20_000, async () => (await silent.sas()).length === 0)
  await tunnel.alice.connect()
  const again = await tunnel.settled()
  if (again.alice.spiIn === alice.spiIn) throw new Error('still the old SA')
  const answered = await ping(lab, 'alice', tunnel.mars.address)
  return [
    'alive after 4 s idle',
    `given up after ${seconds}s of silence`,
    `again: ping ${answered}`,
    ...(await tunnel.expectProtected('rekeyed')),
  ]
}

/** DELETE by one side: both ends must be without SAs at once, and a new tunnel must be possible. */
async function deletion(
  lab: Lab,
  [initiator, responder]: Pair,
  what: 'ike' | 'child',
  by: Side,
): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted' })
  await ping(lab, 'alice', tunnel.mars.address)
  const start = performance.now()
  if (what === 'ike') await tunnel[by].disconnect()
  else await tunnel[by].deleteChild?.()
  await until('both ends without SAs', 5000, async () => {
    const left = await Promise.all([tunnel.alice.sas(), tunnel.moon.sas()])
    return left.flat().length === 0
  })
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  await tunnel.alice.connect()
  await tunnel.settled()
  const answered = await ping(lab, 'alice', tunnel.mars.address)
  return [
    `gone on both ends after ${seconds}s`,
    `again: ping ${answered}`,
    ...(await tunnel.expectProtected('rekeyed')),
  ]
}

/** The NAT loses its mappings while mars sends: alice must be found again, behind another port if need be. */
async function natReboot(lab: Lab, [initiator, responder]: Pair, nat: NatType): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat, dpdSeconds: 1 })
  const inner = await tunnel.inner()
  const wire = await lab.capture('inet', 'br0', 'ports', 60, `src host ${ADDRESS.nata} and udp`)
  const transfer = await RunningTransfer.start(lab, tunnel.mars, inner, TRANSFER_OCTETS, RATE)
  await sleep(2000)
  if (!transfer.running) throw new Error('the transfer ended before the reboot')
  await lab.natReset('nata')
  const { longestPauseMs } = await transfer.done()
  const answered = await ping(lab, 'mars', inner.address)
  const ports = new Set(readCapture(await wire()).packets.map(({ srcPort }) => srcPort))
  if (nat === 'symmetric' && ports.size < 2) throw new Error('the NAT has not changed the port')
  const facts = [
    '50 MB sha256 ok',
    `longest pause ${longestPauseMs} ms`,
    `outer ports ${[...ports].join(' ')}`,
    `ping ${answered}`,
  ]
  return [...facts, ...(await tunnel.expectProtected('rebooted'))]
}

function row(pair: Pair, what: string, run: (lab: Lab) => Promise<readonly string[]>): Case {
  const needs = pair.includes('natweave') ? ({ needs: 'natweave' } as const) : {}
  return { name: `nat1 ${pair.join('→')} ${what}`, ...needs, run }
}

function rows(pair: Pair): Case[] {
  const sides = (['alice', 'moon'] as const).map((side, i) => ({
    side,
    by: `by ${i === 0 ? 'initiator' : 'responder'} ${pair[i]}`,
  }))
  return [
    ...sides.flatMap(({ side, by }) => [
      row(pair, `rekey IKE SA ${by}`, lab => rekey(lab, pair, 'ike', side)),
      row(pair, `rekey Child SA ${by}`, lab => rekey(lab, pair, 'child', side)),
      row(pair, `dead peer found ${by}`, lab => dpd(lab, pair, side)),
      row(pair, `delete IKE SA ${by}`, lab => deletion(lab, pair, 'ike', side)),
      ...(pair[side === 'alice' ? 0 : 1] === 'strongSwan'
        ? [row(pair, `delete Child SA ${by}`, lab => deletion(lab, pair, 'child', side))]
        : []),
    ]),
    ...(['port-restricted', 'symmetric'] as const).map(nat =>
      row(pair, `NAT reboot ${nat}`, lab => natReboot(lab, pair, nat)),
    ),
  ]
}

export const cases: readonly Case[] = [...rows(['natweave', 'strongSwan']), ...rows(['strongSwan', 'natweave'])]

/** The same between two strongSwans: they prove the checks, not natweave, so `run.ts` has them only on demand. */
export const baseline: readonly Case[] = rows(['strongSwan', 'strongSwan'])
