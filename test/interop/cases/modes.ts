import { readCapture } from '../capture.ts'
import type { Case } from '../case.ts'
import { Charon } from '../charon.ts'
import { ADDRESS, type Lab, type NatType } from '../lab.ts'
import type { Party } from '../party.ts'
import { megabytesPerSecond, ping, transfer } from '../traffic.ts'
import { Tunnel, type TunnelOptions } from '../tunnel.ts'

const OCTETS = 10_000_000
const MARS = `${ADDRESS.mars}/32`
const MOON_INSIDE = '10.3.0.1'
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

/** `connect` must fail with exit status 7, nothing in common, and words like these. @returns the words */
async function expectRefusal(party: Party, words: RegExp): Promise<string> {
  const why = await party.connect().then(
    () => undefined,
    (error: unknown) => (error as Error).message,
  )
  if (why === undefined) throw new Error(`${party.host} has connected`)
  const found = words.exec(why)
  if (found === null || !why.includes(': status 7: ')) throw new Error(`not the refusal that is wanted: ${why}`)
  return `status 7: ${found[0]}`
}

async function ahBehindNat(lab: Lab): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, { ...AH, nat: 'port-restricted' })
  const why = await expectRefusal(tunnel.alice, /AH covers the outer addresses, .*null-sha256.*mode beet/s)
  return [why, ...(await tunnel.expectNothing())]
}

/** charon must have said all this. @returns the words */
function expectSaid(party: Party, ...lines: readonly RegExp[]): string[] {
  const log = party instanceof Charon ? party.log() : ''
  return lines.map(line => {
    const found = line.exec(log)
    if (found === null) throw new Error(`charon on ${party.host} has not said ${line}`)
    return `charon: ${found[0]}`
  })
}

const TO_CHARON = {
  initiator: 'natweave',
  responder: 'strongSwan',
  nat: 'port-restricted',
  // charon installs a route only for what it has an address of its own in
  protects: `${MOON_INSIDE}/32`,
} as const

const ASKED = /parsed IKE_AUTH request 1 \[.* N\(BEET_MODE\).*\]/
/** Its user-space ESP: the mode was agreed on, then could not be installed. */
const UNSUPPORTED = /IPsec SA: unsupported mode/

/** natweave wants BEET and nothing else, so it must end up with nothing. */
async function refusedByCharon(
  lab: Lab,
  options: Pick<TunnelOptions, 'responderMode' | 'vendorId' | 'mode'>,
  words: RegExp,
  ...said: readonly RegExp[]
): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, { ...TO_CHARON, mode: 'beet', ...options })
  const why = await expectRefusal(tunnel.alice, words)
  return [why, ...expectSaid(tunnel.moon, ...said), ...(await tunnel.expectNothing())]
}

/** natweave leaves it to itself, and charon has tunnel mode. */
async function auto(lab: Lab, vendorId: boolean, asked: boolean): Promise<readonly string[]> {
  const tunnel = await Tunnel.up(lab, { ...TO_CHARON, mode: 'auto', responderMode: 'tunnel', vendorId })
  const answered = await ping(lab, 'alice', MOON_INSIDE)
  const said = expectSaid(tunnel.moon, asked ? ASKED : /parsed IKE_AUTH request 1 \[((?!BEET).)*\]/)
  return [`ping ${answered}`, ...said, ...(await tunnel.expectProtected())]
}

/** charon wants BEET: natweave grants it, then charon's user-space ESP cannot do it and it takes all back. */
async function charonAsks(lab: Lab): Promise<readonly string[]> {
  const tunnel = await Tunnel.prepare(lab, {
    initiator: 'strongSwan',
    responder: 'natweave',
    nat: 'port-restricted',
    protects: MARS,
    mode: 'beet',
    vendorId: true,
  })
  const connected = await tunnel.alice.connect().then(
    () => true,
    () => false,
  )
  if (connected) throw new Error('charon has connected')
  const said = expectSaid(tunnel.alice, /parsed IKE_AUTH response 1 \[.* SA TSi TSr .*N\(BEET_MODE\).*\]/, UNSUPPORTED)
  return [...said, ...(await tunnel.expectNothing())]
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
  row('nat1 natweave→strongSwan BEET', lab =>
    refusedByCharon(lab, { vendorId: true }, /the peer accepts none of the ESP proposals/, ASKED, UNSUPPORTED),
  ),
  row('nat1 natweave→strongSwan BEET, without its vendor ID', lab =>
    refusedByCharon(lab, {}, /the peer did not send strongSwan's vendor ID.*send_vendor_id = yes\)/),
  ),
  row('nat1 natweave→strongSwan BEET, answered with tunnel mode', lab =>
    refusedByCharon(
      lab,
      { vendorId: true, responderMode: 'tunnel' },
      /the peer does not do beet mode for lan\s*$/,
      ASKED,
    ),
  ),
  row('nat1 natweave→strongSwan auto, BEET', lab =>
    refusedByCharon(
      lab,
      { vendorId: true, mode: 'auto', responderMode: 'beet' },
      /the peer accepts none of the ESP proposals/,
      ASKED,
      UNSUPPORTED,
    ),
  ),
  row('nat1 natweave→strongSwan auto, tunnel mode', lab => auto(lab, true, true)),
  row('nat1 natweave→strongSwan auto, tunnel mode, without its vendor ID', lab => auto(lab, false, false)),
  row('nat1 strongSwan→natweave BEET', charonAsks),
]
