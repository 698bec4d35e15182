import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { EspKeys, EspSuite } from '../../../core/contracts/data-plane.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { HEADROOM, octets, type Packet } from '../../../core/contracts/packet.ts'
import {
  AhOpener,
  AhSealer,
  ahHeaderLength,
  innerMtu,
  ReplayWindow,
  Transport,
  Tunnel,
  zeroMutable,
} from '../../../core/ipsec/index.ts'
import { ahSequence, buildIp, Encr, getU16, getU32, Integ, newIpInfo, readIp } from '../../../core/wire/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { context, hex, observedPlane, PROVIDERS, packetOf, selector, specPair, toHex, udpPacket } from './sample.ts'

const FOLDER = new URL('../../vectors/kernel-esp/', import.meta.url)

interface Vector {
  readonly name: string
  readonly mode: string
  readonly protocol: string
  readonly spi: string
  readonly seq: number
  readonly esn: boolean
  readonly cipher: string
  readonly authKey: string
  readonly outerSource: string
  readonly outerDestination: string
  readonly innerSource: string
  readonly innerDestination: string
  readonly outerHeaderLength: number
  readonly ahPadding: string
  readonly ahLength: number
  readonly outerPacket: string
  readonly innerPacket: string
}

const vectors = readdirSync(FOLDER)
  .filter(file => file.endsWith('.json'))
  .map(file => JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')) as Vector)
  .filter(({ protocol }) => protocol === 'ah')

const INTEG: Readonly<Record<string, readonly [id: number, key: number, icv: number]>> = {
  sha1: [Integ.AUTH_HMAC_SHA1_96, 20, 12],
  sha256: [Integ.AUTH_HMAC_SHA2_256_128, 32, 16],
  sha384: [Integ.AUTH_HMAC_SHA2_384_192, 48, 24],
  sha512: [Integ.AUTH_HMAC_SHA2_512_256, 64, 32],
  xcbc: [Integ.AUTH_AES_XCBC_96, 16, 12],
  cmac: [Integ.AUTH_AES_CMAC_96, 16, 12],
}

const suite = (name: string, esn = false): EspSuite => ({
  protocol: 51,
  encr: Encr.ENCR_NULL,
  integ: INTEG[name]![0],
  esn,
})
const NOTHING = hex('')
const keysOf = ({ spi, authKey }: Vector): EspKeys => ({
  spi: Number(spi),
  encr: NOTHING,
  salt: NOTHING,
  integ: hex(authKey),
})
const ahFlow = (local: string, remote: string): Flow => ({
  protocol: 51,
  local: { address: local, port: 0 },
  remote: { address: remote, port: 0 },
})

/** What a transport reports of a received packet. */
function received(outer: Uint8Array, headerLength: number, whole: boolean): Packet {
  const packet = packetOf(outer.subarray(headerLength))
  if (whole) {
    packet.bytes.set(outer.subarray(0, headerLength), HEADROOM - headerLength)
    packet.outer = headerLength
  }
  const info = newIpInfo()
  expect(readIp(outer, 0, outer.length, info)).toBeUndefined()
  const v4 = info.version === 4
  packet.tos = info.tos
  packet.ttl = info.ttl
  packet.df = v4 ? (outer[6]! & 0x40) !== 0 : true
  packet.id = v4 ? getU16(outer, 4) : 0
  packet.flowLabel = v4 ? 0 : getU32(outer, 0) & 0xf_ffff
  return packet
}

const plainHeader = ({ outerHeaderLength, outerSource }: Vector): boolean =>
  outerHeaderLength === (outerSource.includes(':') ? 40 : 20)

function modeOf({ mode, outerSource, outerDestination }: Vector, receiver: boolean) {
  const [local, remote] = receiver ? [outerDestination, outerSource] : [outerSource, outerDestination]
  if (mode === 'tunnel') return new Tunnel().create()
  return new Transport().create(context(ahFlow(local, remote), [selector(local)], [selector(remote)]))
}

test('there are vectors', () => {
  expect(vectors.length).toBeGreaterThanOrEqual(15)
})

describe.each(PROVIDERS)('$name', (crypto: CryptoProvider) => {
  describe.each(vectors)('$name', vector => {
    const { outerSource, outerDestination, cipher, esn, seq, outerHeaderLength, ahLength } = vector
    const outer = hex(vector.outerPacket)
    const flow = ahFlow(outerDestination, outerSource)
    const opener = () => new AhOpener(crypto, suite(cipher, esn), keysOf(vector))

    test.each(plainHeader(vector) ? [true, false] : [true])('opens; outer header handed over: %s', whole => {
      const packet = received(outer, outerHeaderLength, whole)
      const window = new ReplayWindow(64, esn)
      if (seq > 1) window.update(seq - 1)
      const sequence = window.check(ahSequence(packet.bytes, packet.start))
      expect(sequence).toBe(seq)
      expect(opener().open(packet, sequence, flow)).toBeUndefined()
      expect(packet.nextHeader).toBe(outer[outerHeaderLength])
      // options and extension headers outside AH belong to the outer packet, which transport mode makes anew
      if (vector.mode === 'transport' && !plainHeader(vector)) {
        expect(toHex(octets(packet))).toBe(vector.innerPacket.slice(2 * outerHeaderLength))
        return
      }
      expect(modeOf(vector, true).decode(packet, flow)).toBeUndefined()
      expect(toHex(octets(packet))).toBe(vector.innerPacket)
    })

    test('seals octet for octet', () => {
      const sealer = new AhSealer(crypto, suite(cipher, esn), keysOf(vector), 4, seq)
      const packet = packetOf(outer.subarray(outerHeaderLength + ahLength))
      packet.nextHeader = outer[outerHeaderLength]!
      const header = outer.subarray(0, outerHeaderLength)
      expect(sealer.sealUnder(packet, header, hex(vector.ahPadding))).toBeUndefined()
      expect(toHex(octets(packet))).toBe(vector.outerPacket.slice(2 * outerHeaderLength))
      // the ICV counts immutable fields as they are: the same without the header at hand, where padding is zero
      if (!plainHeader(vector) || /[1-9a-f]/.test(vector.ahPadding) || getU16(outer, 4) === 0) return
      const align = vector.ahPadding === '' ? 4 : 8
      const again = packetOf(outer.subarray(outerHeaderLength + ahLength))
      Object.assign(again, { nextHeader: packet.nextHeader, id: getU16(outer, 4) })
      const other = new AhSealer(crypto, suite(cipher, esn), keysOf(vector), align, seq)
      expect(other.seal(again, ahFlow(outerSource, outerDestination))).toBeUndefined()
      expect(toHex(octets(again))).toBe(toHex(octets(packet)))
    })

    test('mutable fields may change on the way, immutable ones not', () => {
      const v4 = outerSource.includes('.')
      const mutable = v4 ? [1, 6, 8, 10, 11] : [1, 2, 3, 7]
      for (let at = 0; at < (v4 ? 20 : 40); at++) {
        if (at === 0) continue
        const changed = outer.slice()
        // over IPv6 the first octet of the traffic class shares its octet with the version
        changed[at]! ^= 1
        const packet = received(outer, outerHeaderLength, false)
        packet.bytes.set(changed.subarray(0, outerHeaderLength), HEADROOM - outerHeaderLength)
        packet.outer = outerHeaderLength
        const verdict = opener().open(packet, seq, flow)
        if (mutable.includes(at) || (v4 && at === 7)) expect(verdict).toBeUndefined()
        else expect(['integrity', 'malformed']).toContain(verdict)
      }
    })
  })

  test.each(Object.keys(INTEG))('%s: every flipped bit of header and payload is noticed, both families', name => {
    for (const [local, remote] of [
      ['192.0.2.1', '198.51.100.1'],
      ['2001:db8::1', '2001:db8::2'],
    ] as const) {
      const keys = { spi: 0x1234_5678, encr: NOTHING, salt: NOTHING, integ: new SeededRng(name).bytes(INTEG[name]![1]) }
      const packet = packetOf(hex('00112233445566'))
      packet.nextHeader = 17
      expect(new AhSealer(crypto, suite(name), keys).seal(packet, ahFlow(local, remote))).toBeUndefined()
      const sealed = octets(packet).slice()
      const opener = new AhOpener(crypto, suite(name), keys)
      const open = (bytes: Uint8Array, flow = ahFlow(remote, local), id = packet.id) =>
        opener.open(Object.assign(packetOf(bytes), { id }), 1, flow)
      expect(open(sealed)).toBeUndefined()
      for (let bit = 0; bit < sealed.length * 8; bit++) {
        const forged = sealed.slice()
        forged[bit >> 3]! ^= 1 << (bit & 7)
        expect(open(forged)).toMatch(/integrity|malformed/)
      }
      // what a NAT does
      const natted = local.includes(':') ? '2001:db8::3' : '203.0.113.9'
      expect(open(sealed, ahFlow(remote, natted))).toBe('integrity')
      expect(open(sealed, ahFlow(natted, local))).toBe('integrity')
      if (!local.includes(':')) expect(open(sealed, ahFlow(remote, local), packet.id + 1)).toBe('integrity')
    }
  })
})

const [noble] = PROVIDERS as [CryptoProvider]

test('what is sealed opens, of any length, padding and number', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.keys(INTEG)),
      fc.boolean(),
      fc.constantFrom(4 as const, 8 as const),
      fc.uint8Array({ maxLength: 200 }),
      fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      fc.integer({ min: 0, max: 0xffff }),
      (name, esn, align, payload, low, id) => {
        const keys = { spi: 256, encr: NOTHING, salt: NOTHING, integ: new Uint8Array(INTEG[name]![1]).fill(7) }
        const number = esn ? 5 * 2 ** 32 + low : low
        const packet = Object.assign(packetOf(payload), { nextHeader: 6, id })
        const sealer = new AhSealer(noble, suite(name, esn), keys, align, number)
        expect(sealer.seal(packet, ahFlow('192.0.2.1', '198.51.100.1'))).toBeUndefined()
        expect((packet.end - packet.start - payload.length) % align).toBe(0)
        expect(packet.id).toBeGreaterThan(0)
        const opener = new AhOpener(noble, suite(name, esn), keys)
        if (esn) {
          const copy = Object.assign(packetOf(octets(packet)), { id: packet.id })
          expect(opener.open(copy, number + 2 ** 32, ahFlow('198.51.100.1', '192.0.2.1'))).toBe('integrity')
        }
        expect(opener.open(packet, number, ahFlow('198.51.100.1', '192.0.2.1'))).toBeUndefined()
        expect(toHex(octets(packet))).toBe(toHex(payload))
      },
    ),
    { numRuns: 300 },
  )
})

test('octets of strangers never throw, whatever header they come with', () => {
  const keys = { spi: 256, encr: NOTHING, salt: NOTHING, integ: new Uint8Array(32) }
  const opener = new AhOpener(noble, suite('sha256'), keys)
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ minLength: 1, maxLength: HEADROOM }),
      fc.boolean(),
      (body, header, v6) => {
        const packet = packetOf(body)
        header[0] = v6 ? 0x60 : 0x40 | (header.length >> 2)
        packet.bytes.set(header, HEADROOM - header.length)
        packet.outer = header.length
        // a body that may pass the length checks
        if (body.length > 1) packet.bytes[packet.start + 1] = 5
        expect(['malformed', 'integrity']).toContain(opener.open(packet, 1, ahFlow('192.0.2.1', '192.0.2.2')))
      },
    ),
    { numRuns: 1000 },
  )
})

describe('what counts as zero', () => {
  const v4 = (options: string): Uint8Array => {
    const bytes = hex(`4${(5 + options.length / 8).toString(16)}b9003c4242400040331234c0000201c0000202${options}`)
    expect(bytes.length % 4).toBe(0)
    return bytes
  }
  test.each([
    ['end of options hides what follows', '00ffffff', '00ffffff'],
    ['no operation', '01010100', '01010100'],
    ['router alert', '94040000', '94040000'],
    ['security', '820401ff', '820401ff'],
    ['timestamp and no operation', '4407050000000001', '0000000000000001'],
    ['an unknown one', '5e04beef', '00000000'],
    ['record route', '0707040000000001', '0000000000000001'],
    ['a source route that is used up', '83070ac000020901', '0000000000000001'],
  ])('IPv4 options: %s', (_name, options, counted) => {
    const bytes = v4(options)
    expect(zeroMutable(bytes, 0, bytes.length)).toBe(true)
    expect(toHex(bytes).slice(40)).toBe(counted)
    expect(toHex(bytes).slice(2, 40)).toBe('00003c4242000000330000c0000201c0000202')
  })

  test('a source route still to be travelled: its last address counts as destination', () => {
    const bytes = v4('830b04c0000209c000020a01')
    expect(zeroMutable(bytes, 0, bytes.length)).toBe(true)
    expect(toHex(bytes).slice(32, 40)).toBe('c000020a')
  })

  test.each([
    ['an option without length', '07'.padStart(8, '01')],
    ['one longer than the header', '5e080000'],
    ['one shorter than itself', '5e010000'],
    ['a crooked source route', '8306040a0000ff00'],
  ])('refused in IPv4: %s', (_name, options) => {
    const bytes = v4(options)
    expect(zeroMutable(bytes, 0, bytes.length)).toBe(false)
  })

  const v6 = (next: number, extensions: string): Uint8Array =>
    hex(
      `6b9abcde0040${next.toString(16).padStart(2, '0')}40${'20010db8'.padEnd(32, '1')}${'20010db8'.padEnd(32, '2')}${extensions}`,
    )

  test.each([
    ['none', 51, '', ''],
    ['options that may change', 0, '33003e02aabb0100', '33003e0200000100'],
    ['options that may not', 60, '33001e02aabb0100', '33001e02aabb0100'],
    ['padding of one octet', 60, '3300000000000000', '3300000000000000'],
    ['two headers', 0, '3c00010400000000330001040000ffff', '3c00010400000000330001040000ffff'],
    ['a route that is used up', 43, '3300040000000000', '3300040000000000'],
  ])('IPv6 extension headers: %s', (_name, next, extensions, counted) => {
    const bytes = v6(next, extensions)
    expect(zeroMutable(bytes, 0, bytes.length)).toBe(true)
    expect(toHex(bytes).slice(0, 16)).toBe(`60000000${'0040'}${next.toString(16).padStart(2, '0')}00`)
    expect(toHex(bytes).slice(80)).toBe(counted)
  })

  test.each([
    ['a route still to be travelled (RFC 5095)', 43, '3300000100000000'],
    ['a fragment', 44, '3300000100000000'],
    ['cut off', 0, '3301000000000000'],
    ['an option beyond its header', 0, '33001e0900000000'],
    ['something else than AH', 17, ''],
  ])('refused in IPv6: %s', (_name, next, extensions) => {
    const bytes = v6(next, extensions)
    expect(zeroMutable(bytes, 0, bytes.length)).toBe(false)
  })
})

test('lengths of the header', () => {
  expect([12, 16, 24, 32].map(icv => ahHeaderLength(icv, 4))).toEqual([24, 28, 36, 44])
  expect([12, 16, 24, 32].map(icv => ahHeaderLength(icv, 8))).toEqual([24, 32, 40, 48])
  const framing = { suite: suite('sha256'), mode: 'tunnel', encapOctets: 0, family: 4 as const }
  expect(innerMtu(1500, framing)).toBe(1500 - 20 - 32)
})

describe('on the data plane', () => {
  const A = ahFlow('192.0.2.1', '198.51.100.1')
  const B = ahFlow('198.51.100.1', '192.0.2.1')
  const integ = new Uint8Array(32).fill(3)
  const ah = { suite: suite('sha256'), encap: specPair(1)[0].encap }
  const keys = (spi: number): EspKeys => ({ spi, encr: NOTHING, salt: NOTHING, integ })

  function connected() {
    const [a, b] = [observedPlane('a'), observedPlane('b')]
    const [specA, specB] = specPair(1)
    const [forA, forB] = [
      { ...specA, ...ah, flow: A, inbound: keys(0x1001), outbound: keys(0x1002) },
      { ...specB, ...ah, flow: B, inbound: keys(0x1002), outbound: keys(0x1001) },
    ]
    a.plane.install(forA, { outbound: true }, 0)
    b.plane.install(forB, { outbound: true }, 0)
    return { a, b, forB }
  }

  test('packets arrive; through a NAT they fail and are counted', () => {
    const { a, b, forB } = connected()
    const inner = udpPacket('hello')
    // a packet is as the plane handed it over, with the identification it was sealed with
    a.plane.outbound(packetOf(inner), 1)
    a.plane.outbound(packetOf(inner), 1)
    const arrives = (n: number, flow: Flow) =>
      b.plane.inbound(Object.assign(packetOf(a.sent[n]!.bytes), { id: n + 2 }), flow, 1)
    expect(a.sent[0]!.flow).toBe(A)
    expect(arrives(0, B)).toBe(true)
    expect(b.delivered.map(toHex)).toEqual([toHex(inner)])
    expect(arrives(0, B)).toBe(true)
    expect(arrives(1, ahFlow('198.51.100.1', '203.0.113.7'))).toBe(true)
    expect(b.plane.counters(forB.id)!.drops).toEqual({ replay: 1, integrity: 1 })
  })

  test('octets of strangers under a known SPI never throw and are never delivered', () => {
    const { b, forB } = connected()
    let claimed = 0
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 120, size: 'max' }),
        fc.nat(0xffff),
        fc.boolean(),
        (noise, id, wellFormed) => {
          if (noise.length >= 8) noise.set([0, 0, 0x10, 0x02], 4)
          // the length of SHA-256's header
          if (wellFormed && noise.length >= 2) noise[1] = 5
          if (b.plane.inbound(Object.assign(packetOf(noise), { id }), B, 1)) claimed++
        },
      ),
      { numRuns: 500 },
    )
    expect(b.delivered).toEqual([])
    const { integrity = 0, malformed = 0, replay = 0 } = b.plane.counters(forB.id)!.drops
    expect(claimed).toBeGreaterThan(100)
    expect(integrity).toBeGreaterThan(10)
    expect(integrity + malformed + replay).toBe(claimed)
  })

  test('an SPI of AH is none of ESP, and the other way', () => {
    const { a, b } = connected()
    a.plane.outbound(packetOf(udpPacket('x')), 1)
    const esp = { ...B, protocol: 50 as const }
    expect(b.plane.inbound(packetOf(a.sent[0]!.bytes.subarray(4)), esp, 1)).toBe(false)
    expect(b.plane.inbound(packetOf(new Uint8Array(11)), B, 1)).toBe(false)
  })

  test('AH goes nowhere but under IP', () => {
    const [spec] = specPair(1)
    const { plane } = observedPlane('a')
    const refused = { ...spec, ...ah, inbound: keys(1), outbound: keys(2) }
    expect(plane.refuses(refused)).toBe('AH cannot go as IP protocol 17')
    expect(plane.refuses({ ...refused, flow: A, suite: { ...ah.suite, integ: 99 } })).toMatch('99 is not supported')
    expect(plane.refuses({ ...refused, flow: A })).toBeUndefined()
  })
})

test('without protection against replay every number is taken', () => {
  const window = new ReplayWindow(0, false)
  for (const number of [5, 5, 1, 2 ** 32 - 1, 0]) {
    expect(window.check(number)).toBe(number)
    window.update(number)
  }
})

test('a transport header for AH is built as IP has it', () => {
  const packet = buildIp({ source: hex('c0000201'), destination: hex('c0000202'), protocol: 51, id: 7 }, hex('00'))
  expect(zeroMutable(packet, 0, 20)).toBe(true)
  expect(toHex(packet.subarray(0, 20))).toBe('4500001500070000003300' + '00' + 'c0000201c0000202')
})
