import { readCapture } from '../capture.ts'
import type { Case } from '../case.ts'
import { Charon } from '../charon.ts'
import { ADDRESS, type Lab, type NatType } from '../lab.ts'
import type { ChildMode, Party } from '../party.ts'
import { megabytesPerSecond, ping, transfer } from '../traffic.ts'
import { Tunnel, type TunnelOptions } from '../tunnel.ts'

const OCTETS = 10_000_000
const MARS = `${ADDRESS.mars}/32`
const IPV4_HEADER = 20
const NATWEAVE = { initiator: 'natweave', responder: 'natweave' } as const

/** ESP packets of the last tunnel on the wire, by their length in octets. */
function lengths(lab: Lab): Map<number, number> {
  const found = new Map<number, number>()
  for (const { data, protocol, srcPort, dstPort } of readCapture(lab.file('inet', 'public.pcap')).packets) {
    const inUdp = [srcPort, dstPort].includes(4500) && data.length >= 8 && data.readUInt32BE(0) !== 0
    if (protocol === 50 || inUdp) found.set(data.length, (found.get(data.length) ?? 0) + 1)
  }
  return found
}

/** Length of ESP around one of our pings, from a tunnel that carries nothing else. */
async function lengthOfPing(lab: Lab, options: TunnelOptions): Promise<number> {
  const tunnel = await Tunnel.up(lab, options)
  await ping(lab, 'alice', tunnel.mars.address)
  await tunnel.expectProtected()
  const [first, ...others] = lengths(lab).keys()
  if (first === undefined || others.length > 0) throw new Error('pings of more than one length on the wire')
  return first
}

/** Ping and 10 MB both ways. */
async function use(lab: Lab, tunnel: Tunnel): Promise<readonly string[]> {
  const inner = await tunnel.inner()
  const there = await ping(lab, 'alice', tunnel.mars.address)
  const back = await ping(lab, 'mars', inner.address)
  const up = await transfer(lab, inner, tunnel.mars, OCTETS)
  const down = await transfer(lab, tunnel.mars, inner, OCTETS)
  const speeds = `${megabytesPerSecond(up)}/${megabytesPerSecond(down)} MB/s`
  return [`ping ${there} ${back}`, `10 MB sha256 ok both ways ${speeds}`, ...(await tunnel.expectProtected())]
}

/** BEET: works, tshark finds no IP header inside, and packets are shorter by just that than in tunnel mode. */
async function beet(lab: Lab, where: Pick<TunnelOptions, 'nat' | 'raw'>): Promise<readonly string[]> {
  const options = { ...NATWEAVE, ...where, protects: MARS }
  const inTunnelMode = await lengthOfPing(lab, options)
  const inBeetMode = await lengthOfPing(lab, { ...options, mode: 'beet' })
  if (inTunnelMode - inBeetMode !== IPV4_HEADER)
    throw new Error(`ESP of a ping: ${inTunnelMode} octets in tunnel mode, ${inBeetMode} in BEET mode`)
  const facts = await use(lab, await Tunnel.up(lab, { ...options, mode: 'beet' }))
  return [`ESP of a ping ${inBeetMode} octets (tunnel mode ${inTunnelMode})`, ...facts]
}

const AH = { ...NATWEAVE, raw: 'both', protocol: 'ah', esp: 'sha256-x25519' } as const

/** `connect` must fail, with this exit status and words like these. @returns the words */
async function expectRefusal(party: Party, status: number, words: RegExp): Promise<string> {
  const why = await party.connect().then(
    () => undefined,
    (error: unknown) => (error as Error).message,
  )
  if (why === undefined) throw new Error(`${party.host} has connected`)
  if (!why.includes(`status ${status}:`) || !words.test(why)) throw new Error(`not the refusal that is wanted: ${why}`)
  return why
}

async function ahBehindNat(lab: Lab): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, { ...AH, nat: 'port-restricted' })
  const why = await expectRefusal(tunnel.alice, 7, /AH covers the outer addresses.*null-sha256.*beet/s)
  return [why, ...(await tunnel.expectNothing())]
}

const log = (party: Party): string => (party instanceof Charon ? party.log() : '')

/** natweave wants BEET of a charon that knows it, but whose user-space ESP cannot do it. */
async function askCharon(lab: Lab, mode: ChildMode, vendorId: boolean): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, {
    initiator: 'natweave',
    responder: 'strongSwan',
    nat: 'port-restricted',
    protects: MARS,
    mode,
    vendorId,
  })
  const why = await expectRefusal(tunnel.alice, 7, /./)
  return [
    why,
    log(tunnel.moon)
      .match(/.*(BEET|unsupported mode).*/g)
      ?.join(' | ') ?? '',
    ...(await tunnel.expectNothing()),
  ]
}

async function charonAsks(lab: Lab): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, {
    initiator: 'strongSwan',
    responder: 'natweave',
    nat: 'port-restricted',
    protects: MARS,
    mode: 'beet',
    vendorId: true,
  })
  const why = await tunnel.alice.connect().then(() => 'connected', String)
  return [
    why,
    log(tunnel.alice)
      .match(/.*(BEET|unsupported mode).*/g)
      ?.join(' | ') ?? '',
    ...(await tunnel.expectNothing()),
  ]
}

const row = (name: string, run: (lab: Lab) => Promise<readonly string[]>): Case => ({
  name: `modes ${name}`,
  needs: 'natweave',
  run,
})

const BEET_NATS: readonly NatType[] = ['port-restricted', 'symmetric']

export const cases: readonly Case[] = [
  ...BEET_NATS.map(nat => row(`nat1/${nat} natweave→natweave BEET`, lab => beet(lab, { nat }))),
  row('direct natweave→natweave BEET, raw sockets: both', lab => beet(lab, { raw: 'both' })),
  row('direct natweave→natweave AH', async lab => use(lab, await Tunnel.up(lab, AH))),
  row('nat1/port-restricted natweave→natweave AH is refused', ahBehindNat),
  row('nat1 natweave→strongSwan BEET', lab => askCharon(lab, 'beet', true)),
  row('nat1 natweave→strongSwan BEET, without its vendor ID', lab => askCharon(lab, 'beet', false)),
  row('nat1 natweave→strongSwan auto', lab => askCharon(lab, 'auto', true)),
  row('nat1 strongSwan→natweave BEET', charonAsks),
]
