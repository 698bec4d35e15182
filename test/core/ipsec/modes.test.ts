import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { octets } from '../../../core/contracts/packet.ts'
import { Transport, Tunnel } from '../../../core/ipsec/index.ts'
import {
  addressBytes,
  buildIp,
  buildTcp,
  fixIpv4Checksum,
  getU16,
  IpProtocol,
  internetChecksum,
  pseudoHeaderSumAt,
  setU16,
  validateIp,
} from '../../../core/wire/index.ts'
import { context, packetOf, selector, toHex, udpFlow, udpPacket } from './sample.ts'

const flow = udpFlow('192.0.2.1', '198.51.100.1')
const v6 = { source: addressBytes('2001:db8::1'), destination: addressBytes('2001:db8::2') }

describe('tunnel', () => {
  const mode = new Tunnel().create()

  test.each([
    { outer: 3, inner: 2, want: 3 },
    { outer: 3, inner: 1, want: 3 },
    { outer: 3, inner: 3, want: 3 },
    { outer: 3, inner: 0, want: 0 },
    { outer: 2, inner: 1, want: 1 },
    { outer: 1, inner: 2, want: 1 },
    { outer: 0, inner: 2, want: 2 },
    { outer: 0, inner: 3, want: 3 },
  ])('ECN outside $outer, inside $inner: $want', ({ outer, inner, want }) => {
    const four = packetOf(udpPacket('x', { tos: 0xb8 | inner }))
    Object.assign(four, { nextHeader: 4, tos: outer })
    expect(mode.decode(four, flow)).toBeUndefined()
    expect(octets(four)[1]).toBe(0xb8 | want)
    expect(validateIp(four.bytes, four.start, four.end)).toBeUndefined()

    const six = packetOf(buildIp({ ...v6, protocol: 59, tos: 0xb8 | inner, flowLabel: 0xabcde }, new Uint8Array(0)))
    Object.assign(six, { nextHeader: 41, tos: outer })
    expect(mode.decode(six, flow)).toBeUndefined()
    expect(toHex(octets(six)).slice(0, 8)).toBe(`6${(0xb8 | want).toString(16)}abcde`)
  })

  test('outer fields of an IPv6 packet', () => {
    const packet = packetOf(buildIp({ ...v6, protocol: 59, tos: 0x2e, ttl: 9, flowLabel: 0xabcde }, new Uint8Array(0)))
    expect(mode.encode(packet)).toBeUndefined()
    expect(packet).toMatchObject({ nextHeader: 41, tos: 0x2e, ttl: 64, df: true, flowLabel: 0xabcde })
  })

  test.each([
    { name: 'no IP', next: 17, bytes: udpPacket('x'), want: 'next-header' },
    { name: 'IPv4 announced as IPv6', next: 41, bytes: udpPacket('x'), want: 'inner-malformed' },
    { name: 'cut off', next: 4, bytes: udpPacket('x').subarray(0, 25), want: 'inner-malformed' },
    { name: 'empty', next: 4, bytes: new Uint8Array(0), want: 'inner-malformed' },
  ])('refused: $name', ({ next, bytes, want }) => {
    const packet = packetOf(bytes)
    packet.nextHeader = next
    expect(mode.decode(packet, flow)).toBe(want)
  })
})

const PRIVATE = '10.1.0.10'
const PUBLIC = '203.0.113.7'
const SERVER = '192.0.2.1'
const nat = { remoteBehindNat: true }

/** The server's end of a client behind a NAT that told its private address in TSi. */
const serverMode = (wireRemote = PRIVATE, facts: Record<string, boolean> = nat) =>
  new Transport().create(context(udpFlow(SERVER, PUBLIC, 61_000), [selector(SERVER)], [selector(wireRemote)], facts))

/** What the client sends inside ESP: the packet it made, without the header. */
function payload(packet: Uint8Array, nextHeader: number) {
  const esp = packetOf(packet.subarray(20))
  esp.nextHeader = nextHeader
  return esp
}

/** 0 when the upper-layer checksum fits the header. */
function checksum({ bytes, start, end }: { bytes: Uint8Array; start: number; end: number }): number {
  const protocol = bytes[start + 9]!
  return internetChecksum(bytes, start + 20, end, pseudoHeaderSumAt(bytes, start, protocol, end - start - 20))
}

describe('transport', () => {
  test('the checksum of RFC 3948: original addresses out, translated ones in', () => {
    const sent = udpPacket('hello!', { source: PRIVATE, destination: SERVER, sourcePort: 1000, destinationPort: 53 })
    expect(getU16(sent, 26)).toBe(0xebb5)
    const esp = payload(sent, 17)
    expect(serverMode().decode(esp, udpFlow(SERVER, PUBLIC))).toBeUndefined()
    expect(getU16(esp.bytes, esp.start + 26)).toBe(0xb9b8)
    expect(checksum(esp)).toBe(0)
    expect(toHex(octets(esp).subarray(12, 20))).toBe(toHex(addressBytes(PUBLIC)) + toHex(addressBytes(SERVER)))
  })

  test.each([
    { name: 'originals in the selectors', remote: PRIVATE },
    { name: 'originals unknown', remote: PUBLIC },
  ])('UDP and TCP checksums fit what is handed up: $name', ({ remote }) => {
    const mode = serverMode(remote)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(0xffff), (data, sourcePort) => {
        const udp = payload(udpPacket(data, { source: PRIVATE, destination: SERVER, sourcePort }), 17)
        expect(mode.decode(udp, flow)).toBeUndefined()
        expect(checksum(udp)).toBe(0)
        expect(getU16(udp.bytes, udp.start + 26)).not.toBe(0)
        const addresses = { source: addressBytes(PRIVATE), destination: addressBytes(SERVER) }
        const segment = buildTcp(addresses.source, addresses.destination, {
          sourcePort,
          destinationPort: 80,
          sequence: 1,
          acknowledgment: 2,
          flags: 0x18,
          window: 1000,
          payload: data,
        })
        const tcp = payload(buildIp({ ...addresses, protocol: 6 }, segment), 6)
        expect(mode.decode(tcp, flow)).toBeUndefined()
        expect(checksum(tcp)).toBe(0)
      }),
      { numRuns: 200 },
    )
  })

  test.each([PRIVATE, PUBLIC])('a UDP packet without checksum stays so, selectors say %s', remote => {
    const sent = udpPacket('x', { source: PRIVATE, destination: SERVER })
    setU16(sent, 26, 0)
    const esp = payload(sent, 17)
    expect(serverMode(remote).decode(esp, flow)).toBeUndefined()
    expect(getU16(esp.bytes, esp.start + 26)).toBe(0)
  })

  test('padding behind a UDP datagram does not enter its new checksum', () => {
    const sent = udpPacket('x1', { source: PRIVATE, destination: SERVER })
    const padded = new Uint8Array(sent.length + 40).fill(0xaa)
    padded.set(sent)
    const esp = payload(padded, 17)
    expect(serverMode(PUBLIC).decode(esp, flow)).toBeUndefined()
    esp.end -= 40
    expect(checksum(esp)).toBe(0)
  })

  test('without a NAT the payload is handed up as it came, wrong checksums too', () => {
    const mode = serverMode(PUBLIC, {})
    const sent = udpPacket('x', { source: PRIVATE, destination: SERVER })
    const esp = payload(sent, 17)
    expect(mode.decode(esp, flow)).toBeUndefined()
    expect(toHex(octets(esp).subarray(20))).toBe(toHex(sent.subarray(20)))
  })

  test('addresses stay those of the negotiation when the NAT maps the peer anew', () => {
    const esp = payload(udpPacket('x', { source: PRIVATE, destination: SERVER }), 17)
    expect(serverMode().decode(esp, udpFlow(SERVER, '203.0.113.99'))).toBeUndefined()
    expect(toHex(octets(esp).subarray(12, 16))).toBe(toHex(addressBytes(PUBLIC)))
  })

  const own = { source: SERVER, destination: PUBLIC }
  const withOptions = buildIp(
    { source: addressBytes(SERVER), destination: addressBytes(PUBLIC), protocol: 17 },
    new Uint8Array(12),
  )
  withOptions[0] = 0x46
  const part = udpPacket('x', own)
  setU16(part, 6, 0x2000)
  fixIpv4Checksum(part, 0)
  test.each([
    { name: 'a fragment', bytes: part, want: 'fragment' },
    { name: 'IPv4 options', bytes: withOptions, want: 'not-encodable' },
    { name: 'another source', bytes: udpPacket('x', { ...own, source: '192.0.2.9' }), want: 'not-encodable' },
    { name: 'another destination', bytes: udpPacket('x', { ...own, destination: PRIVATE }), want: 'not-encodable' },
    { name: 'another family', bytes: buildIp({ ...v6, protocol: 59 }, new Uint8Array(0)), want: 'not-encodable' },
    { name: 'no packet', bytes: new Uint8Array(3), want: 'inner-malformed' },
  ])('not encoded: $name', ({ bytes, want }) => {
    expect(serverMode().encode(packetOf(bytes))).toBe(want)
  })

  const sixFlow = udpFlow('2001:db8::1', '2001:db8::2')
  const six = () => new Transport().create(context(sixFlow, [selector('2001:db8::1')], [selector('2001:db8::2')]))
  const extension = (...chain: number[]) =>
    buildIp(
      { ...v6, protocol: chain[0]! },
      Uint8Array.from(
        [...chain.slice(1), IpProtocol.UDP].flatMap(next => [next, 0, 0, 0, 0, 0, 0, 0]).concat(new Array(8).fill(0)),
      ),
    )
  test.each([
    { name: 'destination options', bytes: extension(60), want: undefined },
    { name: 'hop-by-hop options', bytes: extension(0), want: 'not-encodable' },
    { name: 'a routing header', bytes: extension(43), want: 'not-encodable' },
    { name: 'a routing header behind options', bytes: extension(60, 43), want: 'not-encodable' },
    { name: 'an atomic fragment', bytes: extension(44), want: 'fragment' },
  ])('IPv6 with $name: $want', ({ bytes, want }) => {
    const packet = packetOf(bytes)
    expect(six().encode(packet)).toBe(want)
    if (want !== undefined) return
    // 60 inside ESP comes back as it went
    const peer = new Transport().create(
      context(udpFlow('2001:db8::2', '2001:db8::1'), [selector('2001:db8::2')], [selector('2001:db8::1')]),
    )
    expect(packet.nextHeader).toBe(60)
    expect(peer.decode(packet, sixFlow)).toBeUndefined()
    expect(toHex(octets(packet))).toBe(toHex(bytes))
  })

  test.each([
    { name: 'outer addresses', local: [SERVER], remote: [PUBLIC], facts: {}, want: true },
    { name: 'a private address, no NAT', local: [SERVER], remote: [PRIVATE], facts: {}, want: false },
    { name: 'a private address behind a NAT', local: [SERVER], remote: [PRIVATE], facts: nat, want: true },
    {
      name: 'local told as the NAT shows it',
      local: ['203.0.113.99'],
      remote: [PUBLIC],
      facts: { localBehindNat: true },
      want: true,
    },
    { name: 'two addresses', local: [SERVER], remote: [PRIVATE, PUBLIC], facts: nat, want: false },
    { name: 'other family', local: [SERVER], remote: ['2001:db8::1'], facts: nat, want: false },
  ])('selectors with $name', ({ local, remote, facts, want }) => {
    const sides = [local, remote].map(side => side.map(address => selector(address)))
    const refusal = new Transport().refuses(context(udpFlow(SERVER, PUBLIC), sides[0]!, sides[1]!, facts))
    expect(refusal === undefined).toBe(want)
  })

  test('a range is refused', () => {
    expect(
      new Transport().refuses(context(flow, [selector('192.0.2.0', '192.0.2.255')], [selector('198.51.100.1')])),
    ).toContain('one address')
  })

  test('hostile payloads never throw', () => {
    const modes = [serverMode(), serverMode(PUBLIC), six(), new Tunnel().create()]
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.nat(255), (bytes, nextHeader) => {
        for (const mode of modes) {
          const packet = packetOf(bytes)
          packet.nextHeader = nextHeader
          mode.decode(packet, flow)
          mode.encode(packetOf(bytes))
        }
      }),
      { numRuns: 500 },
    )
  })
})
