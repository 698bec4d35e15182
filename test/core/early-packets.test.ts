import { expect, test } from 'vitest'
import type { Flow } from '../../core/contracts/net.ts'
import { HEADROOM, newPacket, type Packet } from '../../core/contracts/packet.ts'
import { EarlyPackets } from '../../core/early-packets.ts'

const flow = (protocol: Flow['protocol']): Flow => ({
  protocol,
  local: { address: '10.1.0.1', port: 4500 },
  remote: { address: '10.2.0.1', port: 4500 },
})
const UDP = flow(17)
const AH = flow(51)

/** ESP with this SPI and number, or AH. */
function packet(spi: number, serial = 0, length = 64, ah = false): Packet {
  const made = newPacket()
  made.start = HEADROOM
  made.end = HEADROOM + length
  const view = new DataView(made.bytes.buffer, HEADROOM)
  view.setUint32(ah ? 4 : 0, spi)
  view.setUint32(ah ? 8 : 4, serial)
  made.tos = 2
  return made
}

const serials = (early: EarlyPackets, spi: number): number[] =>
  early.take(spi).map(({ octets }) => new DataView(octets.buffer, octets.byteOffset).getUint32(4))

test('packets of a proposed SPI are given back in order, once, with what the outer header said', () => {
  const early = new EarlyPackets()
  early.expect(7)
  for (const serial of [1, 2, 3]) expect(early.hold(packet(7, serial), UDP, 0)).toBe(true)
  const held = early.take(7)
  expect(held.map(({ octets, tos, flow }) => [octets[7], tos, flow])).toEqual([1, 2, 3].map(n => [n, 2, UDP]))
  expect(early.take(7)).toEqual([])
  expect(early.hold(packet(7), UDP, 0)).toBe(false)
  expect(early.deadline).toBe(Infinity)
})

test('AH names its SPI in another place', () => {
  const early = new EarlyPackets()
  early.expect(9)
  expect(early.hold(packet(9, 1, 64, true), AH, 0)).toBe(true)
  expect(early.hold(packet(9, 1, 64, true), UDP, 0)).toBe(false)
  expect(early.take(9)).toHaveLength(1)
})

test.each([
  { name: 'of an SPI that nobody proposed', spi: 8, length: 64 },
  { name: 'too short to name one', spi: 7, length: 7 },
])('nothing is held $name', ({ spi, length }) => {
  const early = new EarlyPackets()
  early.expect(7)
  expect(early.hold(packet(spi, 0, length), UDP, 0)).toBe(false)
})

test('for one SPI 256 packets, for all two million octets; those taken make room', () => {
  const early = new EarlyPackets()
  const spis = Array.from({ length: 40 }, (_, i) => i + 1_000)
  for (const spi of spis) early.expect(spi)
  const count = (spi: number, length: number): number => {
    let held = 0
    while (early.hold(packet(spi, held, length), UDP, 0)) held++
    return held
  }
  expect(count(1_000, 64)).toBe(256)
  expect(serials(early, 1_000)).toEqual(Array.from({ length: 256 }, (_, i) => i))
  const held = spis.slice(1).reduce((all, spi) => all + count(spi, 1_400), 0)
  expect(held).toBe(Math.floor((2 << 20) / 1_400))
  early.take(1_001)
  expect(early.hold(packet(1_039, 0, 1_400), UDP, 0)).toBe(true)
})

test('what waits in vain goes after five seconds, and is counted', () => {
  const early = new EarlyPackets()
  early.expect(7)
  early.expect(8)
  early.hold(packet(7, 1), UDP, 0)
  early.hold(packet(7, 2), UDP, 2_000)
  early.hold(packet(8, 3), UDP, 1_000)
  expect(early.deadline).toBe(5_000)
  expect(early.timeout(4_999)).toBe(0)
  expect(early.timeout(6_000)).toBe(2)
  expect(early.deadline).toBe(7_000)
  expect(serials(early, 7)).toEqual([2])
})

test('the last 1024 proposals are remembered', () => {
  const early = new EarlyPackets()
  for (let spi = 1_000; spi <= 2_024; spi++) early.expect(spi)
  expect(early.hold(packet(1_000), UDP, 0)).toBe(false)
  expect(early.hold(packet(1_001), UDP, 0)).toBe(true)
  expect(early.hold(packet(2_024), UDP, 0)).toBe(true)
})
