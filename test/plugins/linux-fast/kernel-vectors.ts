import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ChildSaSpec } from '../../../core/contracts/data-plane.ts'
import type { ModeStrategy } from '../../../core/contracts/strategy.ts'
import { Transport, Tunnel } from '../../../core/ipsec/index.ts'
import { ipv4HeaderLength, newIpInfo, readIp } from '../../../core/wire/index.ts'
import { Beet } from '../../../plugins/beet/index.ts'
import { context, hex, selector, specPair, suiteNamed, suitesOf, toHex, udpFlow } from '../../core/ipsec/sample.ts'
import { crypto, type Outer, Rig } from './rig.ts'
import { single } from './suites.ts'

/** Packets that a Linux kernel sent and received; see test/vectors/kernel-esp/README.md. */
const FOLDER = new URL('../../vectors/kernel-esp/', import.meta.url)
const MODES: Readonly<Record<string, ModeStrategy>> = {
  tunnel: new Tunnel(),
  transport: new Transport(),
  beet: new Beet(),
}
/** Linux leaves destination options outside ESP: a socket does not hand them up. */
const OPTIONS_OUTSIDE = 'transport-v6-dstopts-aes128gcm16'

interface Sa {
  readonly name: string
  readonly mode: string
  readonly protocol: string
  readonly spi: string
  readonly esn: boolean
  readonly cipher: string
  readonly key: string
  readonly salt: string
  readonly authKey: string
  readonly outerSource: string
  readonly outerDestination: string
  readonly innerSource: string
  readonly innerDestination: string
  readonly outerHeaderLength?: number
  readonly udpEncap: object | null
  readonly replayWindow?: number
}

interface Vector extends Sa {
  readonly seq: number
  readonly outerPacket: string
  readonly innerPacket: string
}

interface Verdicts {
  readonly sa: Sa
  readonly cases: readonly {
    readonly name: string
    readonly mode: string
    readonly outerPackets: readonly string[]
    readonly innerPackets: readonly string[]
  }[]
}

const load = (file: string) => JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'))
const vectors = readdirSync(FOLDER)
  .filter(file => file.endsWith('.json'))
  .map(file => load(file) as Vector)
  .filter(({ protocol, cipher }) => protocol === 'esp' && suitesOf(crypto).includes(cipher))
const verdicts = load('receive/verdicts.json') as Verdicts

/** The receiver's end. */
function specOf(sa: Sa): ChildSaSpec {
  const [, receiver] = specPair(1)
  const counter = sa.cipher.startsWith('aes128ctr')
  const keys = {
    spi: Number(sa.spi),
    encr: hex(counter ? sa.key + sa.salt : sa.key),
    salt: hex(counter ? '' : sa.salt),
    integ: hex(sa.authKey),
  }
  const outside = sa.mode === 'transport'
  const local = [selector(outside ? sa.outerDestination : sa.innerDestination)]
  const remote = [selector(outside ? sa.outerSource : sa.innerSource)]
  const flow = udpFlow(sa.outerDestination, sa.outerSource)
  const mode = MODES[sa.mode]!.create(context(flow, local, remote))
  const suite = suiteNamed(sa.cipher, sa.esn)
  const outbound = { ...keys, spi: 999 }
  return { ...receiver, suite, inbound: keys, outbound, local, remote, mode, replayWindow: sa.replayWindow ?? 64 }
}

/** From the SPI on, and what the outer header said. */
function esp(packet: string, sa: Sa): { readonly datagram: Uint8Array; readonly tos: number; readonly ttl: number } {
  const outer = hex(packet)
  const info = newIpInfo()
  expect(readIp(outer, 0, outer.length, info)).toBeUndefined()
  const header = sa.outerHeaderLength ?? ipv4HeaderLength(outer, 0)
  const datagram = outer.subarray(header + (sa.udpEncap ? 8 : 0))
  return { datagram, tos: info.tos, ttl: info.ttl }
}

/** Tunnel mode brings the whole packet; the other modes all of it but what this socket does not tell of the outer header. */
function comparable(packet: Uint8Array, mode: string, raw: boolean): string {
  if (mode === 'tunnel') return toHex(packet)
  const copy = packet.slice()
  const v4 = copy[0]! >> 4 === 4
  for (const at of v4 ? [4, 5, 6, 7, 10, 11] : [2, 3]) copy[at] = 0 // ID, DF, checksum; flow label
  if (!v4) copy[1]! &= 0xf0
  if (!raw) copy[v4 ? 8 : 7] = 0
  return toHex(copy)
}

/** The thread opens what a kernel sealed. */
export function kernelVectorSuite(outer: Outer): void {
  describe('packets of a Linux kernel', () => {
    const raw = outer.protocol === 50
    let rig: Rig
    beforeAll(async () => {
      rig = await new Rig().open(1_400, outer)
    }, 60_000)
    afterAll(() => rig.close(), 60_000)

    const opened = async (sa: Sa, packets: readonly string[], first = 1): Promise<string[]> => {
      rig.heard = first - 1
      const spec = rig.placed(specOf(sa))
      expect(rig.plane.refuses(spec)).toBeUndefined()
      rig.plane.install(spec, { outbound: true }, 0)
      const delivered: string[] = []
      for (const packet of packets) {
        const { datagram, tos, ttl } = esp(packet, sa)
        for (const each of single(await rig.outer([datagram], { tos, ttl })))
          delivered.push(comparable(each, sa.mode, raw && !crossed(sa)))
      }
      rig.plane.remove(spec.id)
      expect(rig.refused).toEqual([])
      return delivered
    }
    // BEET makes a header of its own where the families differ
    const crossed = ({ mode, innerSource }: Sa): boolean =>
      mode === 'beet' && innerSource.includes(':') !== rig.flow.local.address.includes(':')

    test('there are vectors', () => {
      expect(vectors.length).toBeGreaterThan(65)
      expect(new Set(vectors.map(({ mode }) => mode))).toEqual(new Set(Object.keys(MODES)))
    })

    test.each(vectors)('$name', async vector => {
      const [delivered, ...more] = await opened(vector, [vector.outerPacket], vector.seq)
      expect(more).toEqual([])
      const wanted = comparable(hex(vector.innerPacket), vector.mode, raw && !crossed(vector))
      if (vector.name === OPTIONS_OUTSIDE) expect(delivered!.slice(80)).toBe(wanted.slice(96))
      else expect(delivered).toBe(wanted)
    })

    test.each(verdicts.cases)('crafted: $name', async ({ mode, outerPackets, innerPackets }) => {
      const sa = { ...verdicts.sa, mode, esn: false, key: '', salt: '' }
      const wanted = innerPackets.map(packet => comparable(hex(packet), mode, raw && !crossed(sa)))
      expect(await opened(sa, outerPackets)).toEqual(wanted)
    })
  })
}
