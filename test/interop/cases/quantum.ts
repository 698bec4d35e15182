import type { Case } from '../case.ts'
import { Charon } from '../charon.ts'
import type { Lab } from '../lab.ts'
import { NatweaveProcess } from '../natweave.ts'
import type { Party, Ppk, Product } from '../party.ts'
import { until } from '../process.ts'
import { ping, startProbe } from '../traffic.ts'
import { Tunnel, type TunnelOptions } from '../tunnel.ts'

/** Post-quantum keys. Preshared ones, RFC 8784: both ends say that they are in use, and traffic shows that they are the same. */

const REQUIRED: Ppk = { id: 'lab-ppk', secret: 'thirty-two octets of a lab secret', required: true }
const OPTIONAL: Ppk = { ...REQUIRED, required: false }

type Ends = NonNullable<TunnelOptions['ppk']>

const PROBE_SECONDS = 15
const PROBES_PER_SECOND = 20

/** The id of the PPK that this end says is in its keys. */
async function inUse(party: Party): Promise<string | undefined> {
  if (party instanceof NatweaveProcess) return (await party.fact('ppk')) as string | undefined
  return party instanceof Charon ? /using PPK for PPK_ID '(.*)'/.exec(party.log())?.[1] : undefined
}

async function ppk(lab: Lab, options: TunnelOptions, used: boolean): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, options)
  const inner = await tunnel.inner()
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const back = await ping(lab, 'mars', inner.address)
  const wanted = used ? REQUIRED.id : undefined
  const ids = await Promise.all([tunnel.alice, tunnel.moon].map(inUse))
  if (ids.some(id => id !== wanted)) throw new Error(`PPK in use: ${ids.join(' and ')}, wanted ${wanted}`)
  return [`PPK ${wanted ?? 'not used'} on both ends`, `ping ${there} ${back}`, ...(await tunnel.expectProtected())]
}

/** Additional key exchanges, through a NAT that drops IP fragments: strongSwan 5.9.8 has none, so both ends are natweave. */
async function hybrid(lab: Lab, method: string, noble: 'initiator' | 'responder'): Promise<readonly string[]> {
  const ends = { initiator: 'natweave', responder: 'natweave', nat: 'port-restricted' } as const
  const ike = `aes256gcm16-prfsha256-x25519-ke1_${method}`
  const tunnel = await Tunnel.up(lab, { ...ends, ike, noble, dropFragments: true })
  const inner = await tunnel.inner()
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const back = await ping(lab, 'mars', inner.address)
  return [`ping ${there} ${back}`, ...(await tunnel.expectProtected())]
}

const ROUNDS = ['ike', 'child', 'ike', 'child'] as const

/**
 * Rekeys of such SAs by both ends while numbered datagrams run both ways: not one may be lost. Each has an
 * IKE_FOLLOWUP_KE, which tshark reads, and it decrypts what comes after.
 */
async function hybridRekeys(lab: Lab, method: string, noble: 'initiator' | 'responder'): Promise<readonly string[]> {
  const ends = { initiator: 'natweave', responder: 'natweave', nat: 'port-restricted' } as const
  const ike = `aes256gcm16-prfsha256-x25519-ke1_${method}`
  const esp = `aes256gcm16-x25519-ke1_${method}`
  const tunnel = await Tunnel.up(lab, { ...ends, ike, esp, noble, dropFragments: true })
  // noble has no thread of its own for ESP: what comes while it makes keys waits in plugin linux-fast, 16 batches at most
  const probed = await startProbe(lab, await tunnel.inner(), tunnel.mars, PROBE_SECONDS, PROBES_PER_SECOND)
  for (const [round, what] of ROUNDS.entries()) {
    const before = (await tunnel.settled()).alice
    const by = round < 2 ? tunnel.alice : tunnel.moon
    await (what === 'ike' ? by.rekeyIke() : by.rekeyChild())
    await until(`rekey ${round + 1}: new SPIs on both ends`, 5000, async () => {
      const { alice, moon } = await tunnel.settled()
      const isNew = what === 'ike' ? alice.spiInitiator !== before.spiInitiator : alice.spiIn !== before.spiIn
      return isNew && alice.spiInitiator === moon.spiInitiator
    })
  }
  const { sent, back, duplicates } = await probed()
  const { excused } = await tunnel.nothingLost()
  if (sent - back > excused || duplicates > 0)
    throw new Error(`probe: ${back} of ${sent} came back, ${duplicates} twice; dropped: ${await dropped(tunnel)}`)
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const facts = await tunnel.expectProtected('rekeyed')
  // a request and a response for each
  const followUps = `IKE_FOLLOWUP_KE=${2 * ROUNDS.length}`
  if (!facts.includes(followUps)) throw new Error(`tshark: wanted ${followUps}, found ${facts.join(' ')}`)
  return [`${ROUNDS.length} rekeys`, `probe ${back}/${sent}`, `ping ${there}`, ...facts]
}

/** natweave prefers additional key exchanges, strongSwan 5.9.8 does not know them: both go without, in rekeys too. */
async function unknownThere(lab: Lab, [initiator, responder]: readonly [Product, Product]): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { initiator, responder, nat: 'port-restricted', hybrid: 'mlkem768' })
  const natweave = initiator === 'natweave' ? tunnel.alice : tunnel.moon
  const { alice: before } = await tunnel.settled()
  await natweave.rekeyChild()
  await natweave.rekeyIke()
  await until('new SPIs on both ends', 5000, async () => {
    const { alice, moon } = await tunnel.settled()
    const isNew = alice.spiIn !== before.spiIn && alice.spiInitiator !== before.spiInitiator
    return isNew && alice.spiInitiator === moon.spiInitiator
  })
  const there = await ping(lab, 'alice', tunnel.mars.address)
  return ['rekeyed', `ping ${there}`, ...(await tunnel.expectProtected('rekeyed'))]
}

/** What natweave has dropped at both ends. */
async function dropped({ alice, moon }: Tunnel): Promise<string> {
  const natweaves = [alice, moon].filter(party => party instanceof NatweaveProcess)
  return JSON.stringify(await Promise.all(natweaves.map(each => each.drops())))
}

/** The ends do not agree: no tunnel. */
async function refused(lab: Lab, options: TunnelOptions): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, options)
  const connected = await tunnel.alice.connect().then(
    () => true,
    () => false,
  )
  if (connected) throw new Error('alice has connected')
  return tunnel.expectNothing()
}

const row = (
  what: string,
  initiator: Product,
  responder: Product,
  ends: Ends,
  outcome: 'used' | 'not used' | 'refused',
): Case => ({
  name: `PPK nat1 ${initiator}→${responder} ${what}: ${outcome}`,
  needs: 'natweave',
  run: lab => {
    const options = { initiator, responder, nat: 'port-restricted', ppk: ends } as const
    return outcome === 'refused' ? refused(lab, options) : ppk(lab, options, outcome === 'used')
  },
})

const PAIRS: readonly (readonly [Product, Product])[] = [
  ['natweave', 'strongSwan'],
  ['strongSwan', 'natweave'],
]

const HYBRIDS = [
  ['mlkem512', 'initiator'],
  ['mlkem768', 'responder'],
  ['mlkem1024', 'initiator'],
  ['mlkem1024', 'responder'],
] as const

const hybrids: readonly Case[] = HYBRIDS.flatMap(([method, noble]) => {
  const name = `ML-KEM nat1 natweave→natweave x25519-ke1_${method}, no IP fragments, ${noble}: noble`
  return [
    { name, needs: 'natweave', run: lab => hybrid(lab, method, noble) },
    { name: `${name}, rekey`, needs: 'natweave', run: lab => hybridRekeys(lab, method, noble) },
  ]
})

const unknown: readonly Case[] = PAIRS.map(pair => ({
  name: `ML-KEM nat1 ${pair.join('→')} preferred by natweave, unknown to strongSwan`,
  needs: 'natweave',
  run: lab => unknownThere(lab, pair),
}))

const ppks: readonly Case[] = PAIRS.flatMap(([initiator, responder]) => [
  row('required', initiator, responder, { initiator: REQUIRED, responder: REQUIRED }, 'used'),
  row('optional', initiator, responder, { initiator: OPTIONAL, responder: OPTIONAL }, 'used'),
  row('optional and none', initiator, responder, { initiator: OPTIONAL }, 'not used'),
  row('required and none', initiator, responder, { initiator: REQUIRED }, 'refused'),
  row('none and required', initiator, responder, { responder: REQUIRED }, 'refused'),
  row(
    'another secret',
    initiator,
    responder,
    { initiator: REQUIRED, responder: { ...REQUIRED, secret: 'something else' } },
    'refused',
  ),
])

export const cases: readonly Case[] = [...ppks, ...hybrids, ...unknown]
