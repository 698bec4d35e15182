import { describe, expect, test } from 'vitest'
import { assemble, type Sighting, sight } from '../../../../core/cli/demo/sightings.ts'
import { addressBytes, buildIp, buildUdp, Flag, IpProtocol, serializeIke } from '../../../../core/wire/index.ts'

const A = addressBytes('198.51.100.1')
const B = addressBytes('203.0.113.2')
const HEAD = { initiatorSpi: 0x1122n, responderSpi: 0n, exchange: 34, flags: Flag.INITIATOR, messageId: 0 }
const IKE = serializeIke(HEAD, [{ type: 'Nonce', data: new Uint8Array(32) }])
const MARKED = Uint8Array.of(0, 0, 0, 0, ...IKE)
const ESP = Uint8Array.of(0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1, 9, 9, 9, 9)

const ip = (protocol: number, payload: Uint8Array): Uint8Array =>
  buildIp({ source: A, destination: B, protocol }, payload)
const udp = (from: number, to: number, payload: Uint8Array): Uint8Array =>
  ip(IpProtocol.UDP, buildUdp(A, from, B, to, payload))

describe('what a packet is to an eavesdropper', () => {
  test.each([
    ['IKE on port 500', udp(40_000, 500, IKE), 'ike', 'IKE_SA_INIT request 0'],
    ['IKE with its marker', udp(4500, 61_000, MARKED), 'ike', 'IKE_SA_INIT request 0'],
    ['ESP in UDP', udp(4500, 4500, ESP), 'esp', ''],
    ['ESP', ip(IpProtocol.ESP, ESP), 'esp', ''],
    ['a NAT-keepalive', udp(4500, 4500, Uint8Array.of(0xff)), 'keepalive', ''],
    ['a stray octet on 4500', udp(4500, 4500, Uint8Array.of(1)), 'clear', ''],
    ['no IKE on port 500', udp(500, 500, ESP), 'clear', ''],
    ['a ping', ip(IpProtocol.ICMP, Uint8Array.of(8, 0, 0xf7, 0xff, 0, 0, 0, 0)), 'clear', ''],
    ['other UDP', udp(53, 53, ESP), 'clear', ''],
    ['rubbish', Uint8Array.of(0x45, 0), 'clear', ''],
  ])('%s', (_name, packet, kind, title) => {
    expect(sight(packet, 7)).toMatchObject({ at: 7, kind, title, octets: packet.length })
  })

  test('both ends, with ports where there are some', () => {
    expect(sight(udp(61_000, 500, IKE), 0)).toMatchObject({ from: '198.51.100.1:61000', to: '203.0.113.2:500' })
    expect(sight(ip(IpProtocol.ESP, ESP), 0)).toMatchObject({ from: '198.51.100.1', to: '203.0.113.2' })
  })
})

describe('putting segments together', () => {
  const seen = (at: number, key: string, from: string, to: string): Sighting => ({
    at,
    kind: 'ike',
    from,
    to,
    octets: 100,
    title: key,
    key,
  })
  const other = (at: number, kind: 'esp' | 'keepalive', from: string): Sighting => ({
    ...seen(at, '', from, ''),
    kind,
    octets: kind === 'esp' ? 150 : 29,
  })

  test('a request and its response, by what they carry, not by address', () => {
    const segments = [
      [seen(0, 'q', 'a:500', 'n:500'), seen(9, 'r', 'n:500', 'a:500')],
      [seen(1, 'q', 'x:99', 'n:500'), seen(8, 'r', 'n:500', 'x:99')],
      [seen(2, 'q', 'x:99', 'm:500'), seen(7, 'r', 'm:500', 'x:99')],
    ]
    const [request, response, ...rest] = assemble(segments, 'a')
    expect(rest).toEqual([])
    expect(request).toMatchObject({ at: 0, rightwards: true, hops: [{ at: 0 }, { at: 1 }, { at: 2 }] })
    expect(response).toMatchObject({ at: 7, rightwards: false, hops: [{ at: 9 }, { at: 8 }, { at: 7 }] })
  })

  test('a lost message and the one sent again are two crossings', () => {
    const segments = [
      [seen(0, 'q', 'a:500', 'm:500'), seen(100, 'q', 'a:500', 'm:500')],
      [seen(1, 'q', 'x:9', 'm:500'), seen(101, 'q', 'x:9', 'm:500')],
      [seen(102, 'q', 'x:9', 'm:500')],
    ]
    const rows = assemble(segments, 'a').map(row => row.type === 'message' && row.hops.map(hop => hop?.at))
    expect(rows).toEqual([
      [0, 1, undefined],
      [100, 101, 102],
    ])
  })

  test('ESP between two messages is one stretch, counted by direction', () => {
    const middle = [
      seen(1, 'q', 'x:9', 'm:500'),
      other(2, 'esp', 'x:9'),
      other(3, 'esp', 'm:4500'),
      other(4, 'keepalive', 'x:9'),
      seen(6, 'd', 'x:9', 'm:500'),
      other(7, 'esp', 'm:4500'),
    ]
    const segments = [
      [seen(0, 'q', 'a:500', 'm:500'), seen(5, 'd', 'a:500', 'm:500')],
      middle,
      [seen(2, 'q', 'x:9', 'm:500'), seen(7, 'd', 'x:9', 'm:500')],
    ]
    expect(assemble(segments, 'a').filter(row => row.type === 'stretch')).toEqual([
      {
        type: 'stretch',
        at: 2,
        until: 4,
        right: { esp: 1, espOctets: 150, keepalives: 1 },
        left: { esp: 1, espOctets: 150, keepalives: 0 },
      },
      {
        type: 'stretch',
        at: 7,
        until: 7,
        right: { esp: 0, espOctets: 0, keepalives: 0 },
        left: { esp: 1, espOctets: 150, keepalives: 0 },
      },
    ])
  })
})
