import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { EspKeys } from '../../../core/contracts/data-plane.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { octets, type Packet } from '../../../core/contracts/packet.ts'
import { EspOpener, EspSealer, ReplayWindow, stripTrailer } from '../../../core/ipsec/index.ts'
import { espSequence, getU16, getU32, IpProtocol, newIpInfo, readIp } from '../../../core/wire/index.ts'
import { Beet } from '../../../plugins/beet/index.ts'
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
} from '../../core/ipsec/sample.ts'
import { SeededRng } from '../../kit/rng.ts'

/** Packets that a Linux kernel sent and received in BEET mode; see test/vectors/kernel-esp/README.md. */
const FOLDER = new URL('../../vectors/kernel-esp/', import.meta.url)

interface Vector {
  readonly name: string
  readonly mode: string
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
  readonly udpEncap: object | null
  readonly plaintext: string
  readonly padLength: number
  readonly nextHeader: number
  readonly beetph?: string
  readonly outerPacket: string
  readonly innerPacket: string
  readonly innerSent: string
}

const vectors = readdirSync(FOLDER)
  .filter(file => file.startsWith('beet-'))
  .map(file => JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')) as Vector)

const beet = new Beet()
const flowOf = ({ outerSource, outerDestination }: Vector): Flow => udpFlow(outerDestination, outerSource)

const receiver = (v: Vector) =>
  beet.create(context(flowOf(v), [selector(v.innerDestination)], [selector(v.innerSource)]))
const sender = (v: Vector) =>
  beet.create(
    context(udpFlow(v.outerSource, v.outerDestination), [selector(v.innerSource)], [selector(v.innerDestination)]),
  )

const keysOf = ({ spi, key, salt, authKey }: Pick<Vector, 'spi' | 'key' | 'salt' | 'authKey'>): EspKeys => ({
  spi: Number(spi),
  encr: hex(key),
  salt: hex(salt),
  integ: hex(authKey),
})

/** What a transport that sees everything reports of the outer header. */
function outerFields(packet: Packet, outer: Uint8Array): Packet {
  const info = newIpInfo()
  expect(readIp(outer, 0, outer.length, info)).toBeUndefined()
  packet.tos = info.tos
  packet.ttl = info.ttl
  const v4 = info.version === 4
  packet.df = v4 && (outer[6]! & 0x40) !== 0
  packet.id = v4 ? getU16(outer, 4) : 0
  packet.flowLabel = v4 ? 0 : getU32(outer, 0) & 0xf_ffff
  return packet
}

/** Linux leaves an octet of an address in the reserved field of the pseudo header, where 0 belongs: put there what it had. */
function reserveAsLinux(packet: Packet, { beetph }: Vector): void {
  if (beetph === undefined) return
  expect(packet.bytes[packet.start + 3]).toBe(0)
  packet.bytes[packet.start + 3] = hex(beetph)[3]!
}

test('there are vectors of all four mixes', () => {
  for (const mix of ['v4-in-v4', 'v6-in-v4', 'v4-in-v6', 'v6-in-v6'])
    expect(vectors.some(({ name }) => name.includes(mix))).toBe(true)
  expect(vectors.length).toBeGreaterThan(30)
})

describe('without cryptography', () => {
  test.each(vectors)('$name', vector => {
    const outer = hex(vector.outerPacket)
    const payload = hex(vector.plaintext).subarray(0, -2 - vector.padLength)
    const inbound = outerFields(packetOf(payload), outer)
    inbound.nextHeader = vector.nextHeader
    expect(receiver(vector).decode(inbound, flowOf(vector))).toBeUndefined()
    expect(toHex(octets(inbound))).toBe(vector.innerPacket)

    const outbound = packetOf(hex(vector.innerSent))
    expect(sender(vector).encode(outbound)).toBeUndefined()
    expect(outbound.nextHeader).toBe(vector.nextHeader)
    reserveAsLinux(outbound, vector)
    expect(toHex(octets(outbound))).toBe(toHex(payload))
    const { tos, ttl, df, id, flowLabel } = outerFields(packetOf(outer), outer)
    expect({ tos: outbound.tos, ttl: outbound.ttl }).toEqual({ tos, ttl })
    if (vector.outerSource.includes(':')) expect(outbound.flowLabel).toBe(flowLabel)
    else expect({ df: outbound.df, id: outbound.id }).toEqual({ df, id })
  })
})

describe.each(PROVIDERS)('$name', (crypto: CryptoProvider) => {
  const carried = vectors.filter(({ cipher }) => suitesOf(crypto).includes(cipher))

  test('only GMAC and CCM may be missing', () => {
    for (const { cipher } of vectors.filter(v => !carried.includes(v)))
      expect(['aes128gmac', 'aes128ccm16']).toContain(cipher)
  })

  test.each(carried)('opens and seals $name', vector => {
    const { seq, esn, cipher, outerHeaderLength, udpEncap } = vector
    const outer = hex(vector.outerPacket)
    const at = outerHeaderLength + (udpEncap === null ? 0 : 8)
    const inbound = outerFields(packetOf(outer.subarray(at)), outer)
    const window = new ReplayWindow(64, esn)
    if (seq > 1) window.update(seq - 1)
    const sequence = window.check(espSequence(inbound.bytes, inbound.start))
    expect(sequence).toBe(seq)
    const suite = suiteNamed(cipher, esn)
    expect(new EspOpener(crypto, suite, keysOf(vector)).open(inbound, sequence)).toBeUndefined()
    expect(stripTrailer(inbound)).toBeUndefined()
    expect(receiver(vector).decode(inbound, flowOf(vector))).toBeUndefined()
    expect(toHex(octets(inbound))).toBe(vector.innerPacket)

    const outbound = packetOf(hex(vector.innerSent))
    expect(sender(vector).encode(outbound)).toBeUndefined()
    reserveAsLinux(outbound, vector)
    const sealer = new EspSealer(crypto, suite, keysOf(vector), new SeededRng(1), seq)
    expect(sealer.sealWith(outbound, hex(vector.iv))).toBeUndefined()
    expect(toHex(octets(outbound))).toBe(toHex(outer.subarray(at)))
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

/** SPIs that belong to no SA are not the plane's to count. */
const STRANGER = 'beet-spi-unknown'

describe('what a kernel makes of crafted packets', () => {
  test.each(verdicts.cases.filter(({ mode }) => mode === 'beet'))('$name', ({ name, outerPackets, innerPackets }) => {
    const { sa } = verdicts
    const { plane, delivered } = observedPlane('verdicts')
    const [, spec] = specPair(1)
    const flow = { ...flowOf(sa), protocol: 50 as const }
    const [local, remote] = [[selector(sa.innerDestination)], [selector(sa.innerSource)]]
    const keys = keysOf({ ...sa, key: '', salt: '' })
    plane.install(
      {
        ...spec,
        suite: suiteNamed(sa.cipher),
        inbound: keys,
        outbound: { ...keys, spi: 999 },
        flow,
        local,
        remote,
        encap: plain,
        replayWindow: sa.replayWindow,
        mode: beet.create(context(flow, local, remote)),
      },
      { outbound: true },
      0,
    )
    for (const bytes of outerPackets.map(hex)) {
      const headerLength = (bytes[0]! & 0x0f) * 4
      expect(bytes[9]).toBe(IpProtocol.ESP)
      const packet = outerFields(packetOf(bytes.subarray(headerLength)), bytes)
      expect(plane.inbound(packet, flow, 1)).toBe(name !== STRANGER)
    }
    expect(delivered.map(toHex)).toEqual(innerPackets)
    const drops = Object.values(plane.counters(spec.id)!.drops).reduce((sum, n) => sum + n, 0)
    expect(drops).toBe(name === STRANGER ? 0 : outerPackets.length - innerPackets.length)
  })
})
