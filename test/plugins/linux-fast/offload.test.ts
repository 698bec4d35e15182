import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addressBytes, buildIp, buildUdp, getU16, internetChecksum, validateIp } from '../../../core/wire/index.ts'
import { Arena } from '../../../plugins/linux-fast/arena.ts'
import { Merge } from '../../../plugins/linux-fast/merge.ts'
import { cut } from '../../../plugins/linux-fast/segment.ts'
import { Vnet } from '../../../plugins/linux-fast/vnet.ts'
import { large, tcpPacket, withoutIds } from './tcp.ts'

const UDP = 17

/** What `cut` makes of a packet with its virtio header; undefined when it refuses. */
function pieces(arena: Arena, at: number, packet: Uint8Array): Uint8Array[] | undefined {
  const found: Uint8Array[] = []
  const place = at + 80_000
  arena.bytes.set(packet, at)
  const done = cut(arena, at, at + packet.length, {
    place: () => place,
    packet: (start, end) => found.push(arena.bytes.slice(start, end)),
  })
  return done ? found : undefined
}

/** What `Merge` writes when it is given these packets, each with its virtio header. */
function merged(arena: Arena, packets: readonly Uint8Array[], udp = true): Uint8Array[] {
  const written: Uint8Array[] = []
  const merge = new Merge(arena, {
    write: (header, parts, count) => {
      const all = [arena.bytes.slice(header, header + Vnet.OCTETS)]
      for (let i = 0; i < count; i++) all.push(arena.bytes.slice(parts[2 * i]!, parts[2 * i]! + parts[2 * i + 1]!))
      written.push(Uint8Array.from(all.flatMap(part => [...part])))
    },
  })
  merge.udp = udp
  let at = 200_000
  for (const packet of packets) {
    arena.bytes.set(packet, at)
    merge.add(at, at + packet.length)
    at += packet.length + 40
  }
  merge.flush()
  return written
}

const arena = (): Arena => new Arena(400_000)
const options = fc.constantFrom(0, 12, 40).map(n => new Uint8Array(n).map((_, i) => i * 3))

test('sums as the codec does, at any place and length', () => {
  const memory = arena()
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3_000 }), fc.nat(70), (data, at) => {
      memory.bytes.set(data, at)
      expect(~memory.sum(at, at + data.length) & 0xffff).toBe(internetChecksum(memory.bytes, at, at + data.length))
      const sum = memory.copySum(100_001 + at, at, data.length)
      expect(sum).toBe(memory.sum(at, at + data.length))
      memory.copy(110_002 - at, at, data.length)
      for (const copy of [100_001 + at, 110_002 - at])
        expect(memory.bytes.subarray(copy, copy + data.length)).toEqual(data)
    }),
  )
})

describe.each([{ v6: false }, { v6: true }])('TCP, IPv6 $v6', ({ v6 }) => {
  const segment = fc.record({
    v6: fc.constant(v6),
    sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
    flags: fc.constantFrom(0x10, 0x18, 0x11, 0x90),
    options,
    data: fc.uint8Array({ minLength: 1, maxLength: 9_000 }),
    id: fc.nat(65_535),
  })

  test('a large packet is cut into right packets that carry its octets', () => {
    const memory = arena()
    fc.assert(
      fc.property(segment, fc.integer({ min: 200, max: 1_400 }), (whole, size) => {
        const found = pieces(memory, 64, large(tcpPacket(whole), v6, whole.options.length, size))!
        expect(found.length).toBe(Math.ceil(whole.data.length / size))
        const wanted = found.map((_, i) => {
          const last = i === found.length - 1
          const flags = whole.flags & ~(last ? 0 : 0x09) & ~(i === 0 ? 0 : 0x80)
          const data = whole.data.subarray(i * size, (i + 1) * size)
          const id = (whole.id + i) & 0xffff
          return tcpPacket({ ...whole, flags, data, id, sequence: (whole.sequence + i * size) >>> 0 })
        })
        expect(found).toEqual(wanted)
      }),
      { numRuns: 60 },
    )
  })

  test('what was cut is put together again, and cut again it is the same', () => {
    const memory = arena()
    fc.assert(
      fc.property(segment, fc.integer({ min: 200, max: 1_400 }), (given, size) => {
        const whole = { ...given, flags: given.flags & 0x18 }
        const cutOnce = pieces(memory, 64, large(tcpPacket(whole), v6, whole.options.length, size))!
        const written = merged(memory, cutOnce)
        const cutAgain = written.flatMap(packet => pieces(memory, 64, packet)!)
        expect(cutAgain).toEqual(cutOnce)
        expect(written.length).toBe(Math.ceil(cutOnce.length / 64))
      }),
      { numRuns: 60 },
    )
  })

  test('any packets at all come out as they went in, whatever was put together', () => {
    const memory = arena()
    const change = fc.record({ packet: fc.nat(), octet: fc.nat(), by: fc.integer({ min: 1, max: 255 }) })
    fc.assert(
      fc.property(segment, fc.array(change, { maxLength: 4 }), fc.boolean(), (given, changes, swap) => {
        const whole = { ...given, flags: 0x10 }
        const packets = pieces(memory, 64, large(tcpPacket(whole), v6, whole.options.length, 700))!
        for (const { packet, octet, by } of changes) {
          const hit = packets[packet % packets.length]!
          // well-formed packets only: the plane checks lengths before it delivers
          const at = octet % hit.length
          if (at >= (v6 ? 6 : 4)) hit[at]! ^= by
        }
        if (swap) packets.reverse()
        const sound = packets.filter(packet => (v6 ? packet[0] === 0x60 : getU16(packet, 2) === packet.length))
        const out = merged(memory, sound).flatMap(packet => pieces(memory, 64, packet)!)
        expect(out).toEqual(sound)
      }),
      { numRuns: 100 },
    )
  })
})

describe.each([{ v6: false }, { v6: true }])('UDP, IPv6 $v6', ({ v6 }) => {
  const [source, destination] = (v6 ? ['2001:db8::1', '2001:db8::2'] : ['10.1.0.1', '10.2.0.1']).map(addressBytes)
  const datagram = fc.record({
    size: fc.constantFrom(1, 63, 64, 64, 64, 64, 1_300),
    port: fc.constantFrom(5_000, 5_000, 5_000, 5_001),
    df: fc.constantFrom(true, true, false),
    step: fc.constantFrom(1, 1, 1, 2),
    checksum: fc.constantFrom('right', 'right', 'right', 'right', 'wrong', 'none'),
  })

  test('what is put together and cut again is the same', () => {
    const memory = arena()
    fc.assert(
      fc.property(fc.array(datagram, { maxLength: 90 }), fc.boolean(), (given, udp) => {
        let id = 65_500
        const packets = given.map(({ size, port, df, step, checksum }, i) => {
          id = (id + step) & 0xffff
          const data = new Uint8Array(size).fill(i)
          const upper = buildUdp(source!, 700, destination!, port, data)
          if (checksum === 'wrong') upper[6]! ^= 1
          if (checksum === 'none') upper.fill(0, 6, 8)
          return buildIp({ source: source!, destination: destination!, protocol: UDP, df, id }, upper)
        })
        const written = merged(memory, packets, udp)
        expect(withoutIds(written.flatMap(packet => pieces(memory, 64, packet)!))).toEqual(withoutIds(packets))
        if (!udp) expect(written.length).toBe(packets.length)
      }),
      { numRuns: 200 },
    )
  })

  test('a run of datagrams of one size is one write for each 64', () => {
    const upper = buildUdp(source!, 700, destination!, 5_000, new Uint8Array(64).fill(7))
    const packets = Array.from({ length: 130 }, (_, id) =>
      buildIp({ source: source!, destination: destination!, protocol: UDP, df: false, id }, upper),
    )
    expect(merged(arena(), packets).length).toBe(3)
  })
})

test('a packet without offload passes, and gets the checksum it is told to get', () => {
  const memory = arena()
  const packet = tcpPacket({
    v6: false,
    sequence: 1,
    flags: 0x18,
    options: new Uint8Array(0),
    data: Uint8Array.of(1, 2, 3),
    id: 5,
  })
  const plain = new Uint8Array(Vnet.OCTETS + packet.length)
  plain.set(packet, Vnet.OCTETS)
  expect(pieces(memory, 64, plain)).toEqual([packet])
  const partial = large(packet, false, 0, 0)
  partial[Vnet.GSO_TYPE] = 0
  expect(pieces(memory, 64, partial)).toEqual([packet])
  expect(validateIp(packet, 0, packet.length)).toBeUndefined()
})

test('headers that no kernel makes are refused or harmless', () => {
  const memory = arena()
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), octets => {
      const found = pieces(memory, 64, octets)
      for (const piece of found ?? []) expect(piece.length).toBeLessThanOrEqual(octets.length + UDP)
    }),
    { numRuns: 2_000 },
  )
})
