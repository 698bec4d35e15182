import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { EspKeys } from '../../../core/contracts/data-plane.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { octets, type Packet } from '../../../core/contracts/packet.ts'
import { EspOpener, EspSealer, ReplayWindow, stripTrailer, Transport, Tunnel } from '../../../core/ipsec/index.ts'
import { espSequence, getU16, getU32, IpProtocol, newIpInfo, readIp } from '../../../core/wire/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import {
  context,
  hex,
  observedPlane,
  PROVIDERS,
  packetOf,
  plain,
  selector,
  specPair,
  suiteNamed,
  suitesOf,
  toHex,
  udpFlow,
} from './sample.ts'

const FOLDER = new URL('../../vectors/kernel-esp/', import.meta.url)

interface Vector {
  readonly name: string
  readonly mode: string
  readonly protocol: string
  readonly spi: string
  readonly seq: number
  readonly esn: boolean
  readonly cipher: string
  readonly key: string
  readonly salt: string
  readonly authKey: string
  readonly iv: string
  readonly outerSource: string
  readonly outerDestination: string
  readonly innerSource: string
  readonly innerDestination: string
  readonly outerHeaderLength: number
  readonly udpEncap: { readonly sourcePort: number } | null
  readonly outerPacket: string
  readonly innerPacket: string
  readonly innerSent: string
  readonly headerFields: {
    readonly outer: { readonly tos?: number; readonly tc?: number; readonly ttl: number; readonly frag?: string }
  }
}

const vectors = readdirSync(FOLDER)
  .filter(file => file.endsWith('.json'))
  .map(file => JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')) as Vector)
  .filter(({ protocol, mode }) => protocol === 'esp' && mode !== 'beet')

/** ESP transforms natweave does not have. */
const WITHOUT: readonly string[] = []

/** Destination options: Linux leaves them outside ESP, natweave puts them inside; RFC 4303 §3.1.1 allows both. */
const OPTIONS_OUTSIDE = 'transport-v6-dstopts-aes128gcm16'

/** The receiver's ESP packet, with the outer fields a transport reports. */
function received(outer: Uint8Array, headerLength: number, udp: boolean): { packet: Packet; flow: Flow } {
  const packet = packetOf(outer.subarray(headerLength + (udp ? 8 : 0)))
  const info = newIpInfo()
  expect(readIp(outer, 0, outer.length, info)).toBeUndefined()
  packet.tos = info.tos
  packet.ttl = info.ttl
  const v4 = info.version === 4
  packet.df = v4 ? (outer[6]! & 0x40) !== 0 : true
  packet.id = v4 ? getU16(outer, 4) : 0
  packet.flowLabel = v4 ? 0 : getU32(outer, 0) & 0xf_ffff
  return { packet, flow: udpFlow('192.0.2.1', '192.0.2.2') }
}

const keysOf = ({ spi, key, salt, authKey, cipher }: Vector): EspKeys =>
  cipher.startsWith('aes128ctr')
    ? { spi: Number(spi), encr: hex(key + salt), salt: hex(''), integ: hex(authKey) }
    : { spi: Number(spi), encr: hex(key), salt: hex(salt), integ: hex(authKey) }

/** The mode as the receiver (`local` is the outer destination) or the sender has it. */
function modeOf({ mode, outerSource, outerDestination }: Vector, receiver: boolean) {
  const [local, remote] = receiver ? [outerDestination, outerSource] : [outerSource, outerDestination]
  if (mode === 'tunnel') return new Tunnel().create()
  return new Transport().create(context(udpFlow(local, remote), [selector(local)], [selector(remote)]))
}

test('there are vectors', () => {
  expect(vectors.length).toBeGreaterThan(35)
})

describe.each(PROVIDERS)('$name', (crypto: CryptoProvider) => {
  const carried = vectors.filter(({ cipher }) => suitesOf(crypto).includes(cipher))

  test('all but the known transforms are carried', () => {
    const missing = new Set(vectors.filter(v => !carried.includes(v)).map(v => v.cipher))
    const ccm = crypto.supports(1, 16, 128) ? [] : ['aes128ccm16']
    for (const cipher of missing) expect([...WITHOUT, ...ccm]).toContain(cipher)
  })

  test.each(carried)('opens $name', vector => {
    const outer = hex(vector.outerPacket)
    const { packet, flow } = received(outer, vector.outerHeaderLength, vector.udpEncap !== null)
    const window = new ReplayWindow(64, vector.esn)
    if (vector.seq > 1) window.update(vector.seq - 1)
    const sequence = window.check(espSequence(packet.bytes, packet.start))
    expect(sequence).toBe(vector.seq)
    const opener = new EspOpener(crypto, suiteNamed(vector.cipher, vector.esn), keysOf(vector))
    expect(opener.open(packet, sequence)).toBeUndefined()
    expect(stripTrailer(packet)).toBeUndefined()
    expect(modeOf(vector, true).decode(packet, flow)).toBeUndefined()
    const inner = hex(vector.innerPacket)
    if (vector.name === OPTIONS_OUTSIDE) {
      // what the transport strips is not handed up; the rest is
      expect(toHex(octets(packet)).slice(80)).toBe(toHex(inner).slice(96))
    } else expect(toHex(octets(packet))).toBe(vector.innerPacket)
  })

  test.each(carried.filter(({ name }) => name !== OPTIONS_OUTSIDE))('seals $name', vector => {
    const packet = packetOf(hex(vector.innerSent))
    expect(modeOf(vector, false).encode(packet)).toBeUndefined()
    const { tos, tc, ttl, frag } = vector.headerFields.outer
    // the kernel answers CE inside with ECT(0) outside (RFC 3168), natweave copies it (RFC 6040)
    expect(packet.tos).toBe(vector.name === 'tunnel-v4-in-v4-ecn-ce' ? 3 : (tos ?? tc))
    expect(packet.ttl).toBe(ttl)
    if (frag === '4000') expect(packet.df).toBe(true)
    if (frag === '0000') expect(packet.df).toBe(false)
    const suite = suiteNamed(vector.cipher, vector.esn)
    const sealer = new EspSealer(crypto, suite, keysOf(vector), new SeededRng(1), vector.seq)
    expect(sealer.sealWith(packet, hex(vector.iv))).toBeUndefined()
    const at = vector.outerHeaderLength + (vector.udpEncap === null ? 0 : 8)
    expect(toHex(octets(packet))).toBe(vector.outerPacket.slice(2 * at))
  })
})

interface Verdicts {
  readonly sa: Vector & { readonly replayWindow: number }
  readonly cases: readonly {
    readonly name: string
    readonly mode: string
    readonly outerPackets: readonly string[]
    readonly innerPackets: readonly string[]
  }[]
}

const verdicts = JSON.parse(readFileSync(new URL('receive/verdicts.json', FOLDER), 'utf8')) as Verdicts

describe('what a kernel makes of crafted packets', () => {
  test.each(verdicts.cases.filter(({ mode }) => mode !== 'beet'))('$name', ({ mode, outerPackets, innerPackets }) => {
    const { sa } = verdicts
    const { plane, delivered } = observedPlane('verdicts')
    const [, receiver] = specPair(1)
    const flow = { ...udpFlow(sa.outerDestination, sa.outerSource), protocol: 50 as const }
    const tunnel = mode === 'tunnel'
    const local = [selector(tunnel ? sa.innerDestination : sa.outerDestination)]
    const remote = [selector(tunnel ? sa.innerSource : sa.outerSource)]
    const suite = suiteNamed(sa.cipher)
    const keys = { spi: Number(sa.spi), encr: hex(''), salt: hex(''), integ: hex(sa.authKey) }
    plane.install(
      {
        ...receiver,
        suite,
        inbound: keys,
        outbound: { ...keys, spi: 999 },
        flow,
        local,
        remote,
        encap: plain,
        replayWindow: sa.replayWindow,
        mode: (tunnel ? new Tunnel() : new Transport()).create(context(flow, local, remote)),
      },
      { outbound: true },
      0,
    )
    for (const outer of outerPackets) {
      const { packet } = received(hex(outer), 20, false)
      expect(hex(outer)[9]).toBe(IpProtocol.ESP)
      expect(plane.inbound(packet, flow, 1)).toBe(true)
    }
    expect(delivered.map(toHex)).toEqual(innerPackets)
  })
})
