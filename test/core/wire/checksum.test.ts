import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  addressBytes,
  buildIp,
  buildTcp,
  buildUdp,
  checksumOffset,
  fixChecksum,
  fixUdpChecksum,
  getU16,
  IpProtocol,
  Ipv4,
  Ipv6,
  internetChecksum,
  pseudoHeaderSum,
  pseudoHeaderSumAt,
  setU16,
  TcpFlag,
  Udp,
  updateChecksum,
  updateUdpChecksum,
} from '../../../core/wire/index.ts'
import { hex } from './octets.ts'

const HELLO = new TextEncoder().encode('hello!')
const at = addressBytes

describe('RFC 1624', () => {
  test('the example of its section 4: the older equation gives 0xffff there', () => {
    // HC 0xdd2f, m 0x5555, m' 0x3285
    expect(updateChecksum(0xdd2f, hex('5555'), hex('3285'))).toBe(0)
  })

  test('equals a full recomputation', () => {
    const even = fc.uint8Array({ minLength: 20, maxLength: 20 })
    fc.assert(
      fc.property(even, fc.uint8Array({ minLength: 4, maxLength: 4 }), (before, words) => {
        const after = before.slice()
        after.set(words, 6)
        const old = internetChecksum(before, 0, 20)
        const updated = updateChecksum(old, before.subarray(6, 10), words)
        const full = internetChecksum(after, 0, 20)
        // all zeros summed up is the one case with two spellings
        expect(updated === full || (updated ^ full) === 0xffff).toBe(true)
        if (after.some(octet => octet !== 0)) expect(updated).toBe(full)
      }),
    )
  })
})

describe('NAT fix-up of RFC 3948', () => {
  test('a UDP datagram whose source a NAT changed', () => {
    const [inside, outside, server] = [at('10.1.0.10'), at('203.0.113.7'), at('192.0.2.1')]
    const datagram = buildUdp(inside, 1000, server, 53, HELLO)
    expect(getU16(datagram, Udp.CHECKSUM)).toBe(0xebb5)
    expect(updateUdpChecksum(0xebb5, inside, outside)).toBe(0xb9b8)
    expect(getU16(buildUdp(outside, 1000, server, 53, HELLO), Udp.CHECKSUM)).toBe(0xb9b8)
    expect(fixChecksum(datagram, 0, datagram.length, IpProtocol.UDP, inside, outside)).toBe(true)
    expect(getU16(datagram, Udp.CHECKSUM)).toBe(0xb9b8)
  })

  test('no checksum stays none, and a checksum of zero is sent as ones', () => {
    expect(updateUdpChecksum(0, hex('0a01'), hex('cb00'))).toBe(0)
    expect(updateChecksum(0x0001, hex('0000'), hex('0001'))).toBe(0)
    expect(updateUdpChecksum(0x0001, hex('0000'), hex('0001'))).toBe(0xffff)
  })

  test('TCP and UDP over IPv6 equal a full recomputation', () => {
    const address = fc.uint8Array({ minLength: 16, maxLength: 16 })
    const segment = { sourcePort: 1, destinationPort: 2, sequence: 3, acknowledgment: 4, flags: TcpFlag.ACK, window: 5 }
    fc.assert(
      fc.property(address, address, address, fc.uint8Array({ maxLength: 30 }), (from, to, peer, payload) => {
        const tcp = buildTcp(from, peer, { ...segment, payload })
        fixChecksum(tcp, 0, tcp.length, IpProtocol.TCP, from, to)
        expect(tcp).toEqual(buildTcp(to, peer, { ...segment, payload }))
        const udp = buildUdp(from, 1, peer, 2, payload)
        fixChecksum(udp, 0, udp.length, IpProtocol.UDP, from, to)
        expect(udp).toEqual(buildUdp(to, 1, peer, 2, payload))
      }),
    )
  })

  test('a header cut off before its checksum is left alone; protocols without addresses inside have nothing to fix', () => {
    const short = new Uint8Array(7).fill(1)
    expect(fixChecksum(short, 0, 7, IpProtocol.UDP, hex('0001'), hex('0002'))).toBe(false)
    expect(short).toEqual(new Uint8Array(7).fill(1))
    expect(fixChecksum(short, 0, 7, IpProtocol.SCTP, hex('0001'), hex('0002'))).toBe(true)
    expect([6, 17, 58, 1, 50].map(checksumOffset)).toEqual([16, 6, 2, undefined, undefined])
  })
})

describe('sums', () => {
  test('RFC 1071 §3, and an odd octet', () => {
    expect(internetChecksum(hex('0001f203f4f5f6f7'), 0, 8)).toBe(~0xddf2 & 0xffff)
    expect(internetChecksum(hex('0001f2'), 0, 3)).toBe(~0xf201 & 0xffff)
  })

  test('the largest packet of ones does not overflow', () => {
    const ones = new Uint8Array(65_535).fill(0xff)
    expect(internetChecksum(ones, 0, ones.length)).toBe(~0xff00 & 0xffff)
  })

  test.each([
    ['10.0.0.1', '10.0.0.2', Ipv4.HEADER],
    ['2001:db8::1', '2001:db8::2', Ipv6.HEADER],
  ])('pseudo header from the IP header of %s to %s', (source, destination, header) => {
    const [from, to] = [at(source), at(destination)]
    const datagram = buildUdp(from, 1, to, 2, HELLO)
    const packet = buildIp({ source: from, destination: to, protocol: IpProtocol.UDP }, datagram)
    expect(pseudoHeaderSumAt(packet, 0, 17, 14)).toBe(pseudoHeaderSum(from, to, 17, 14))
    const right = getU16(datagram, Udp.CHECKSUM)
    setU16(packet, header + Udp.CHECKSUM, 0x1234)
    fixUdpChecksum(packet, 0, header, packet.length)
    expect(getU16(packet, header + Udp.CHECKSUM)).toBe(right)
  })
})
