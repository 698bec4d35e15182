import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { ChildCounters, ChildSaSpec, DataPlane } from '../../../core/contracts/data-plane.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { octets } from '../../../core/contracts/packet.ts'
import type { ModeStrategy } from '../../../core/contracts/strategy.ts'
import { systemClock } from '../../../core/index.ts'
import { PortablePlane, Transport, Tunnel } from '../../../core/ipsec/index.ts'
import { fixIpv4Checksum } from '../../../core/wire/index.ts'
import { Beet } from '../../../plugins/beet/index.ts'
import { Arena } from '../../../plugins/linux-fast/arena.ts'
import { cut } from '../../../plugins/linux-fast/segment.ts'
import { context, selector, specPair, suiteNamed, udpFlow, udpPacket } from '../../core/ipsec/sample.ts'
import { dataPlaneSuite, SeededRng } from '../../kit/index.ts'
import { type Arrived, crypto, type Outer, packetOf, Rig } from './rig.ts'
import { withoutIds } from './tcp.ts'

/** What holds whatever is around ESP. */

const arena = new Arena(400_000)

/** The packets that the kernel makes of what was written to the device. */
export function single(written: readonly Uint8Array[]): Uint8Array[] {
  return written.flatMap(packet => {
    const found: Uint8Array[] = []
    arena.bytes.set(packet, 64)
    const sound = cut(arena, 64, 64 + packet.length, {
      place: () => 200_000,
      packet: (start, end) => found.push(arena.bytes.slice(start, end)),
    })
    expect(sound).toBe(true)
    return found
  })
}

/** Rigs that are closed after each test. */
export function rigs(outer?: Outer): (mtu?: number) => Promise<Rig> {
  const open: Rig[] = []
  afterEach(() => Promise.all(open.splice(0).map(rig => rig.close())), 60_000)
  return async mtu => {
    const made = await new Rig().open(mtu, outer)
    open.push(made)
    return made
  }
}

/** The thread does what every data plane must. */
export function contractSuite(outer: Outer): void {
  describe('the contract', () => {
    const rig = rigs(outer)
    dataPlaneSuite(
      async () => {
        const [one, other] = [await rig(), await rig()]
        return {
          one: one.plane,
          other: other.plane,
          specs: serial => {
            const [mine, theirs] = specPair(serial)
            return [one.placed(mine), other.placed(theirs)]
          },
          inner: serial => udpPacket(`packet ${serial} with some text to encrypt`),
          send: async packet => {
            await one.inner([packet])
            return one.sent()
          },
          receive: async datagram => single(await other.outer([datagram])),
          events: () => other.events,
        }
      },
      { test },
    )
  })
}

/** One end of a pair of portable planes: what both kinds of plane are compared by. */
function portable(specs: readonly ChildSaSpec[], mtu: number) {
  const sent: Arrived[] = []
  const delivered: Uint8Array[] = []
  const left: Uint8Array[] = []
  const events: string[] = []
  const plane = new PortablePlane(
    crypto,
    new SeededRng('reference'),
    {
      transmit: packet => sent.push({ bytes: octets(packet).slice(), tos: packet.tos, ttl: packet.ttl }),
      deliver: packet => delivered.push(octets(packet).slice()),
      event: event => events.push(event.type),
    },
    { mtu, unprotected: packet => left.push(octets(packet).slice()) },
  )
  for (const spec of specs) plane.install(spec, { outbound: true }, 0)
  return { plane, sent, delivered, left, events }
}

const counted = (counters: ChildCounters | undefined) => counters && { ...counters, lastIn: 0, lastOut: 0 }

const HOSTS = {
  4: [selector('10.1.0.1'), selector('10.2.0.1')],
  6: [selector('2001:db8:1::1'), selector('2001:db8:2::1')],
} as const

/** One SA that both planes carry. */
export interface Case {
  readonly suite: string
  readonly esn: boolean
  readonly mode: ModeStrategy
  readonly family: 4 | 6
}

/** All modes, with inner packets of both families; transport mode has the outer one's. */
export const modeCases = (outerFamily: 4 | 6): Case[] =>
  [new Tunnel(), new Transport(), new Beet()].flatMap(mode =>
    ([4, 6] as const)
      .filter(family => mode.name !== 'transport' || family === outerFamily)
      .flatMap(family => ['aes128gcm16', 'aes256-sha512'].map(suite => ({ suite, esn: true, mode, family }))),
  )

/** Both ends of an SA between the hosts of this family; transport mode hands up their addresses. */
function pairOf({ suite, esn, mode: strategy, family }: Case): readonly [ChildSaSpec, ChildSaSpec] {
  const [a, b] = specPair(1, { replayWindow: 64 }, suiteNamed(suite, esn))
  const hosts = HOSTS[family]
  const end = (spec: ChildSaSpec, mine: 0 | 1): ChildSaSpec => {
    const [local, remote] = [hosts[mine], hosts[1 - mine]!]
    const flow = udpFlow(local.start, remote.start)
    return { ...spec, mode: strategy.create(context(flow, [local], [remote])), local: [local], remote: [remote] }
  }
  return [end(a, 0), end(b, 1)]
}

/** A stretch of a TCP connection, and packets of other kinds between. */
function traffic(rng: SeededRng, count: number, family: 4 | 6): Uint8Array[] {
  const [{ start: source }, { start: destination }] = HOSTS[family]
  const elsewhere = family === 4 ? '203.0.113.9' : '2001:db8:9::9'
  const byte = (): number => rng.bytes(1)[0]!
  return Array.from({ length: count }, (_, i) => {
    const kind = byte() % 10
    const size = byte() % 3 === 0 ? byte() * 6 : 1_300
    const df = byte() % 2 === 0
    const packet = withTtl(
      udpPacket(rng.bytes(size), { source, destination, df, tos: byte() % 4, sourcePort: 1_000 + (byte() % 3) }),
      byte() % 4 === 0 ? 9 : 64,
    )
    if (kind === 0) return udpPacket(rng.bytes(40), { source, destination: elsewhere }) // no policy
    if (kind === 1) return packet.subarray(0, 30) // cut off
    if (kind === 2) return rng.bytes(50)
    if (kind === 3) return udpPacket(rng.bytes(1_390), { source, destination, df: i % 2 === 0 }) // too big
    return packet
  })
}

/** TTL or Hop Limit, under a right checksum. */
function withTtl(packet: Uint8Array, ttl: number): Uint8Array {
  const v4 = packet[0]! >> 4 === 4
  packet[v4 ? 8 : 7] = ttl
  if (v4) fixIpv4Checksum(packet, 0)
  return packet
}

/** What a bad network does to datagrams, the same for all who ask with one seed. */
function distorted(rng: SeededRng, datagrams: readonly Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = []
  for (const datagram of datagrams) {
    const [kind, where, change] = rng.bytes(3)
    if (kind! % 10 === 0) continue
    const copy = datagram.slice()
    if (kind! % 10 === 1) copy[where! % copy.length]! ^= (change! % 255) + 1
    if (kind! % 10 === 2) out.push(copy.slice(0, where! % copy.length))
    else out.push(copy)
    if (kind! % 10 === 3) out.push(copy.slice())
    if (kind! % 10 === 4 && out.length > 1) out.push(...out.splice(-2).reverse())
  }
  return out
}

/** A path that takes somewhat less than most packets of `traffic` need. */
function learn(plane: DataPlane, { local, remote }: Flow): void {
  plane.pathMtu!(local.address, remote.address, 1_300, systemClock.now())
}

/** The same packets, losses and corruptions for the thread and the portable plane: everything that comes out is compared. */
export function differentialSuite(outer: Outer, cases: readonly Case[]): void {
  describe('both planes give the same', () => {
    let left: Rig
    let right: Rig
    beforeAll(async () => {
      left = await new Rig().open(1_380, outer)
      right = await new Rig().open(1_380, outer)
    }, 60_000)
    afterAll(() => Promise.all([left.close(), right.close()]), 60_000)
    const raw = outer.protocol === 50

    test.each(cases)('$suite, esn $esn, $mode.name, inner IPv$family', async each => {
      const { suite, family } = each
      const pair = pairOf(each)
      const [a, b] = [left.placed(pair[0]), right.placed(pair[1])]
      for (const { events, leftPackets, leftDatagrams, refused } of [left, right])
        for (const list of [events, leftPackets, leftDatagrams, refused]) list.length = 0
      const [refA, refB] = [portable([a], 1_380), portable([b], 1_380)]
      left.plane.install(a, { outbound: true }, 0)
      right.plane.install(b, { outbound: true }, 0)
      for (let round = 0; round < 6; round++) {
        // from here on some packets are cut before they are protected, others answered
        if (round === 5) for (const plane of [left.plane, refA.plane]) learn(plane, a.flow)
        const packets = traffic(new SeededRng(`${suite} ${round}`), 60, family)
        const before = [refA.sent.length, refA.delivered.length, refB.delivered.length]
        for (const packet of packets) refA.plane.outbound(packetOf(packet), 1)
        await left.inner(packets)
        const [wanted, sent] = [refA.sent.slice(before[0]), left.arrived()]
        // the TTL is told of raw sockets only
        const seen = ({ bytes, tos, ttl }: Arrived) => ({ length: bytes.length, tos, ttl: raw ? ttl : 0 })
        expect(sent.map(seen)).toEqual(wanted.map(seen))
        const [ours, theirs] = [sent, wanted].map(all => all.map(({ bytes }) => bytes))
        // CBC's IVs are random: the rest of the packet shows when it is opened
        if (!suite.startsWith('aes128-') && !suite.startsWith('aes256-')) expect(ours).toEqual(theirs)
        // how many are answered at most depends on the time
        const answers = single(left.device())
        if (round < 5) expect(answers).toEqual(refA.delivered.slice(before[1]))

        // what came with the outer header shows inside: ECN, and the TTL where it is all there is
        const fields = { tos: round % 4, ttl: 64 - 5 * round }
        const arriving = distorted(new SeededRng(`wire ${round}`), ours!)
        const strange = right.leftDatagrams.length
        const known = arriving.map(datagram => {
          const told = raw ? { ...fields, df: true } : { tos: fields.tos }
          return refB.plane.inbound(Object.assign(packetOf(datagram), told), b.flow, 1)
        })
        const delivered = single(await right.outer(arriving, fields))
        expect(withoutIds(delivered)).toEqual(withoutIds(refB.delivered.slice(before[2])))
        expect(right.leftDatagrams.length - strange).toBe(known.filter(is => !is).length)
        expect(counted(left.plane.counters(a.id))).toEqual(counted(refA.plane.counters(a.id)))
        expect(counted(right.plane.counters(b.id))).toEqual(counted(refB.plane.counters(b.id)))
      }
      expect(left.leftPackets).toEqual(refA.left)
      expect(right.events.map(e => e.type)).toEqual(refB.events)
      expect([...left.refused, ...right.refused]).toEqual([])
      left.plane.remove(a.id)
      right.plane.remove(b.id)
    })
  })
}

/** Hostile datagrams and devices do not stop the thread. */
export function noiseSuite(outer: Outer, numRuns: number): void {
  const rig = rigs(outer)
  test('whatever comes by the socket or the device, the thread goes on', async () => {
    const [a, b] = specPair(1, {}, suiteNamed('aes128gcm16'))
    const [left, right] = [await rig(), await rig()]
    left.plane.install(left.placed(a), { outbound: true }, 0)
    right.plane.install(right.placed(b), { outbound: true }, 0)
    const [spi0, spi1] = [b.inbound.spi >>> 8, b.inbound.spi & 255]
    const datagram = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ maxLength: 1_500 }).map(d => Uint8Array.of(0, 0, spi0, spi1, ...d)),
    )
    const large = fc.tuple(
      fc.constantFrom(0, 1),
      fc.constantFrom(0, 1, 4, 5, 0x81, 3),
      fc.uint8Array({ minLength: 8, maxLength: 8 }),
      fc.uint8Array({ maxLength: 3_000 }),
      fc.constantFrom(0x45, 0x60, 0x4f),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(datagram, { maxLength: 40 }),
        fc.array(large, { maxLength: 10 }),
        async (wire, inner) => {
          const devices = inner.map(([flags, type, rest, data, first]) =>
            Uint8Array.of(flags, type, ...rest.map((octet, i) => (i % 2 === 1 ? octet % 4 : octet)), first, ...data),
          )
          await left.inner(devices, true)
          left.sent()
          await right.outer(wire)
        },
      ),
      { numRuns },
    )
    await left.inner([udpPacket('still there')])
    expect(single(await right.outer(left.sent()))).toEqual([udpPacket('still there')])
  })
}
