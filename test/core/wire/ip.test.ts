import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UsageError } from '../../../core/errors.ts'
import {
  addressBytes,
  addressOfBytes,
  buildEcho,
  buildIp,
  buildTcp,
  buildTooBig,
  buildUdp,
  fixIpv4Checksum,
  IpProtocol,
  Ipv4,
  Ipv6,
  newIpInfo,
  parseEcho,
  parseTooBig,
  readIp,
  setU16,
  TcpFlag,
  tcpHeaderLength,
  validateIp,
} from '../../../core/wire/index.ts'
import { hex, RECORDINGS, recording, toHex } from './octets.ts'

const V4 = { source: addressBytes('10.1.0.5'), destination: addressBytes('192.0.2.1') }
const V6 = { source: addressBytes('2001:db8::1'), destination: addressBytes('2001:db8::2') }
const DATA = new TextEncoder().encode('hello!')

const read = (packet: Uint8Array) => {
  const info = newIpInfo()
  return { problem: readIp(packet, 0, packet.length, info), info }
}

describe('recorded inner packets', () => {
  const packets = RECORDINGS.flatMap(name =>
    Object.values(recording(name).hosts).flatMap(({ esp }) => esp.map(({ packet }) => hex(packet))),
  )
  test('all are well-formed echo messages that our builder makes too', () => {
    expect(packets.length).toBeGreaterThan(10)
    for (const packet of packets) {
      expect(validateIp(packet, 0, packet.length)).toBeUndefined()
      const { info } = read(packet)
      expect([info.version, info.protocol, info.upperAt, info.end]).toEqual([4, IpProtocol.ICMP, 20, packet.length])
      const echo = parseEcho(packet, 0, packet.length)!
      const [source, destination] = [packet.subarray(12, 16), packet.subarray(16, 20)]
      expect(toHex(buildEcho(source, destination, echo).subarray(20))).toBe(toHex(packet.subarray(20)))
    }
  })
})

describe('readIp', () => {
  test('IPv4 with options, behind other octets, before padding', () => {
    const udp = buildUdp(V4.source, 1000, V4.destination, 53, DATA)
    const packet = new Uint8Array(5 + 24 + udp.length + 7)
    const plain = buildIp({ ...V4, protocol: IpProtocol.UDP, tos: 0xb8, ttl: 9, df: true, id: 77 }, udp)
    packet.set(plain.subarray(0, 20), 5)
    packet.set(hex('94040000'), 25)
    packet.set(udp, 29)
    packet[5] = 0x46
    setU16(packet, 5 + Ipv4.TOTAL_LENGTH, 24 + udp.length)
    fixIpv4Checksum(packet, 5)
    expect(validateIp(packet, 5, packet.length)).toBeUndefined()
    const info = newIpInfo()
    expect(readIp(packet, 5, packet.length, info)).toBeUndefined()
    expect(info).toEqual({
      version: 4,
      sourceAt: 17,
      destinationAt: 21,
      addressLength: 4,
      tos: 0xb8,
      ttl: 9,
      protocol: IpProtocol.UDP,
      upperAt: 29,
      end: 29 + udp.length,
      fragmentOffset: 0,
      moreFragments: false,
      sourcePort: 1000,
      destinationPort: 53,
    })
    expect(addressOfBytes(packet, info.sourceAt, 4)).toBe('10.1.0.5')
  })

  test('a header with every field, byte by byte', () => {
    const packet = buildIp({ ...V4, protocol: 50, tos: 1, ttl: 2, df: true, id: 0x1234 }, new Uint8Array(4))
    expect(toHex(packet.subarray(0, 10))).toBe('45010018123440000232')
    const packet6 = buildIp({ ...V6, protocol: 50, tos: 0xb8, ttl: 2, flowLabel: 0x12345 }, new Uint8Array(4))
    expect(toHex(packet6)).toBe(`6b812345${'00043202'}${toHex(V6.source)}${toHex(V6.destination)}00000000`)
    expect(read(packet6).info).toMatchObject({ tos: 0xb8, ttl: 2, protocol: 50, sourcePort: -1 })
  })

  test('IPv6 extension headers up to the upper layer', () => {
    const tcp = buildTcp(V6.source, V6.destination, {
      sourcePort: 2000,
      destinationPort: 80,
      sequence: 1,
      acknowledgment: 0,
      flags: TcpFlag.SYN,
      window: 1000,
      payload: DATA,
    })
    expect(tcpHeaderLength(tcp, 0)).toBe(20)
    const hopByHop = hex('3c00050200000100')
    const options = hex(`0601${'0104000000000104000000000104'}`)
    const packet = buildIp({ ...V6, protocol: IpProtocol.HOPOPT }, Uint8Array.from([...hopByHop, ...options, ...tcp]))
    const { problem, info } = read(packet)
    expect(problem).toBeUndefined()
    expect(info).toMatchObject({ protocol: IpProtocol.TCP, upperAt: 40 + 24, sourcePort: 2000, destinationPort: 80 })
  })

  test('fragments: only the first has ports', () => {
    const udp = buildUdp(V4.source, 1000, V4.destination, 53, DATA)
    const v4 = buildIp({ ...V4, protocol: IpProtocol.UDP }, udp)
    setU16(v4, Ipv4.FRAGMENT, 0x2000)
    expect(read(v4).info).toMatchObject({ fragmentOffset: 0, moreFragments: true, sourcePort: 1000 })
    setU16(v4, Ipv4.FRAGMENT, 0x0003)
    expect(read(v4).info).toMatchObject({ fragmentOffset: 24, moreFragments: false, sourcePort: -1 })

    const v6 = buildIp({ ...V6, protocol: IpProtocol.IPV6_FRAG }, hex('1100001900000001 03e80035000e0000'))
    expect(read(v6).info).toMatchObject({
      fragmentOffset: 24,
      moreFragments: true,
      protocol: IpProtocol.UDP,
      upperAt: 48,
      sourcePort: -1,
    })
    // what looks like a chain of headers in a later fragment is data
    const data = buildIp({ ...V6, protocol: IpProtocol.IPV6_FRAG }, hex('0000001900000001 00ff'))
    expect(read(data)).toMatchObject({ problem: undefined, info: { protocol: 0, upperAt: 48 } })
  })

  test('ICMP type and code stand for the ports', () => {
    const echo = buildEcho(V6.source, V6.destination, { reply: false, id: 1, sequence: 2, data: DATA })
    expect(read(echo).info).toMatchObject({ sourcePort: 0x8000, destinationPort: 0x8000 })
  })

  const v4 = buildIp({ ...V4, protocol: IpProtocol.UDP }, new Uint8Array(12))
  const v6 = buildIp({ ...V6, protocol: IpProtocol.UDP }, new Uint8Array(12))
  const edit = (packet: Uint8Array, at: number, ...octets: number[]): Uint8Array => {
    const copy = packet.slice()
    copy.set(octets, at)
    return copy
  }
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(), /empty/],
    ['version 5', edit(v4, 0, 0x55), /neither/],
    ['IPv4 cut off', v4.subarray(0, 19), /cut off/],
    ['IHL below 5', edit(v4, 0, 0x44), /header of 16/],
    ['IHL beyond the packet', edit(v4, 0, 0x4f), /header of 60/],
    ['total length below the header', edit(v4, Ipv4.TOTAL_LENGTH, 0, 19), /header of 20/],
    ['total length beyond what is there', edit(v4, Ipv4.TOTAL_LENGTH, 0, 33), /33 octets, 32 there/],
    ['fragment beyond 65535 octets', edit(v4, Ipv4.FRAGMENT, 0x1f, 0xff), /beyond/],
    ['header checksum', edit(v4, Ipv4.TTL, 63), /checksum/],
    ['IPv6 cut off', v6.subarray(0, 39), /cut off/],
    ['payload length beyond what is there', edit(v6, Ipv6.PAYLOAD_LENGTH, 0, 13), /53 octets, 52 there/],
    ['extension header cut off', edit(v6, Ipv6.NEXT_HEADER, 0, 1, 60, 1), /cut off/],
    ['extension header longer than the packet', edit(edit(v6, Ipv6.NEXT_HEADER, 60), 40, 17, 1), /cut off/],
    ['endless extension headers', buildIp({ ...V6, protocol: 60 }, new Uint8Array(8 * 40).fill(0)), /too many/],
  ])('malformed: %s', (_, packet, reason) => {
    expect(validateIp(packet, 0, packet.length)).toMatch(reason)
  })

  test('random octets never throw, and what is accepted lies inside', () => {
    const octets = fc.tuple(fc.constantFrom(0x45, 0x46, 0x60), fc.uint8Array({ minLength: 1, maxLength: 120 }))
    fc.assert(
      fc.property(octets, ([first, packet]) => {
        packet[0] = first
        if (first === 0x60 && packet.length > 5) setU16(packet, 4, Math.max(0, packet.length - 40))
        if (first !== 0x60 && packet.length > 3) setU16(packet, 2, packet.length)
        const { problem, info } = read(packet)
        parseEcho(packet, 0, packet.length)
        parseTooBig(packet, 0, packet.length)
        if (problem !== undefined) return
        expect(info.upperAt).toBeLessThanOrEqual(info.end)
        expect(info.end).toBeLessThanOrEqual(packet.length)
      }),
      { numRuns: 1000 },
    )
  })

  test('what does not fit a header is a bug of the caller', () => {
    expect(() => buildIp({ ...V4, protocol: 17 }, new Uint8Array(65_516))).toThrow(UsageError)
    expect(() => buildIp({ ...V6, protocol: 17 }, new Uint8Array(65_536))).toThrow(UsageError)
    expect(() => buildIp({ source: V4.source, destination: V6.source, protocol: 17 }, DATA)).toThrow(UsageError)
    expect(() => buildUdp(V4.source, 1, V4.destination, 2, new Uint8Array(65_528))).toThrow(UsageError)
  })
})

describe('ICMP', () => {
  test.each([
    ['IPv4', V4, addressBytes('203.0.113.1'), 576],
    ['IPv6', V6, addressBytes('2001:db8::ff'), 1280],
  ])('%s: too big, quoting no more than allowed', (_, { source, destination }, router, largest) => {
    const packet = buildIp(
      { source, destination, protocol: IpProtocol.UDP, df: true },
      buildUdp(source, 1, destination, 2, new Uint8Array(1400)),
    )
    const answer = buildTooBig(router, packet, 0, packet.length, 1300)!
    expect(answer.length).toBe(largest)
    expect(validateIp(answer, 0, answer.length)).toBeUndefined()
    const { mtu, quoted } = parseTooBig(answer, 0, answer.length)!
    expect(mtu).toBe(1300)
    expect(toHex(packet).startsWith(toHex(quoted))).toBe(true)
    expect(addressOfBytes(answer, read(answer).info.destinationAt, source.length === 4 ? 4 : 6)).toBe(
      addressOfBytes(source, 0, source.length === 4 ? 4 : 6),
    )
    expect(buildTooBig(router, answer, 0, answer.length, 500)).toBeUndefined() // no error about an error
    answer[answer.length - 1]! ^= 1
    expect(parseTooBig(answer, 0, answer.length)).toBeUndefined()
  })

  test.each([
    ['IPv4', V4],
    ['IPv6', V6],
  ])('%s: echo there and back', (_, { source, destination }) => {
    for (const reply of [false, true]) {
      const echo = { reply, id: 7, sequence: 9, data: DATA }
      const packet = buildEcho(source, destination, echo)
      expect(parseEcho(packet, 0, packet.length)).toEqual(echo)
      packet[packet.length - 1]! ^= 1
      expect(parseEcho(packet, 0, packet.length)).toBeUndefined()
    }
  })

  test('malformed packets and later fragments are not answered', () => {
    const packet = buildIp({ ...V4, protocol: IpProtocol.UDP }, new Uint8Array(100))
    setU16(packet, Ipv4.FRAGMENT, 5)
    expect(buildTooBig(V4.destination, packet, 0, packet.length, 100)).toBeUndefined()
    expect(buildTooBig(V4.destination, packet, 0, 10, 100)).toBeUndefined()
    setU16(packet, Ipv4.FRAGMENT, 0)
    expect(() => buildTooBig(V6.source, packet, 0, packet.length, 100)).toThrow(UsageError)
  })
})
