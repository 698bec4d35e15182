import { describe, expect, test } from 'vitest'
import { defaultRouters } from '../../../plugins/port-mapping/gateways.ts'
import { portMapping } from '../../../plugins/port-mapping/index.ts'
import { Mapping, type MappingOut } from '../../../plugins/port-mapping/mapping.ts'
import { parsePmp, serializePmpMap } from '../../../plugins/port-mapping/nat-pmp.ts'
import { parseMapResponse, serializeMapRequest } from '../../../plugins/port-mapping/pcp.ts'
import { detectorSuite, pluginSuite, SeededRng } from '../../kit/index.ts'

pluginSuite(() => portMapping({ gateways: ['10.0.0.1'] }), { test })
detectorSuite(() => portMapping({ gateways: ['10.0.0.1'] }), { test })

const BASE = { address: '10.0.0.5', port: 4500 }
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))

describe('PCP on the wire', () => {
  const nonce = hex('000102030405060708090a0b')

  test('a MAP request is what RFC 6887 §7.1 and §11.1 draw', () => {
    const external = { address: '0.0.0.0', port: 4500 }
    const bytes = serializeMapRequest({
      lifetime: 7_200,
      client: '10.0.0.5',
      nonce,
      protocol: 17,
      internalPort: 4_500,
      external,
    })
    expect(bytes).toEqual(
      hex(`02 01 0000 00001c20 00000000000000000000ffff0a000005
           000102030405060708090a0b 11 000000 1194 1194 00000000000000000000ffff00000000`),
    )
  })

  test('a MAP response, truncations of it, and noise', () => {
    const answer = hex(`02 81 00 00 00000e10 00000064 000000000000000000000000
                        000102030405060708090a0b 11 000000 1194 4e20 00000000000000000000ffffc6336401`)
    expect(parseMapResponse(answer)).toMatchObject({
      result: 0,
      lifetime: 3_600,
      epoch: 100,
      nonce,
      protocol: 17,
      internalPort: 4_500,
      external: { address: '198.51.100.1', port: 20_000 },
    })
    for (let i = 0; i < answer.length; i++)
      expect(() => parseMapResponse(answer.subarray(0, i))).toThrow(expect.objectContaining({ code: 'WIRE_MALFORMED' }))
    expect(() => parseMapResponse(new Uint8Array(1_104))).toThrow(expect.objectContaining({ code: 'WIRE_MALFORMED' }))
  })

  test('NAT-PMP is what RFC 6886 §3.3 draws', () => {
    expect(serializePmpMap(4_500, 4_501, 7_200)).toEqual(hex('00 01 0000 1194 1195 00001c20'))
    const answer = hex('00 81 0000 00000064 1194 4e20 00001c20')
    expect(parsePmp(answer)).toEqual({
      type: 'map',
      epoch: 100,
      internalPort: 4_500,
      externalPort: 20_000,
      lifetime: 7_200,
    })
    for (let i = 0; i < answer.length; i++)
      expect(() => parsePmp(answer.subarray(0, i))).toThrow(expect.objectContaining({ code: 'WIRE_MALFORMED' }))
  })
})

describe('a mapping and hostile answers', () => {
  /** The gateway's honest answer to a PCP request. */
  function honest(request: Uint8Array, change: (bytes: Uint8Array) => void = () => {}): Uint8Array {
    const bytes = new Uint8Array(60)
    bytes.set(request)
    bytes.set([2, 0x81, 0, 0], 0)
    bytes.set([0, 0, 0, 100, ...new Array(12).fill(0)], 8)
    bytes.set([0x4e, 0x20], 42)
    bytes.set([198, 51, 100, 1], 56)
    change(bytes)
    return bytes
  }

  const begin = () => {
    const mapping = new Mapping(BASE, new SeededRng('mapping'), ['pcp', 'nat-pmp'])
    const [first] = mapping.step({ type: 'start' }, 0)
    if (first?.type !== 'send') throw new Error('it asks at once')
    const answer = (bytes: Uint8Array, now = 1): readonly MappingOut[] => mapping.step({ type: 'answer', bytes }, now)
    return { mapping, request: first.bytes, answer }
  }
  const dropped = [{ type: 'drop', reason: 'port-mapping-unexpected' }]

  test('only what answers this host’s own request counts', () => {
    const { request, answer } = begin()
    for (const [at, what] of [
      [24, 'nonce'],
      [36, 'protocol'],
      [40, 'internal port'],
    ] as const)
      expect(answer(honest(request, b => b.set([b[at]! ^ 1], at))), what).toEqual(dropped)
    expect(answer(honest(request))).toMatchObject([
      { type: 'mapped', external: { address: '198.51.100.1', port: 20_000 } },
    ])
  })

  test('an address where nobody can be is no candidate', () => {
    for (const address of [
      [127, 0, 0, 1],
      [0, 0, 0, 0],
      [224, 0, 0, 1],
    ]) {
      const { request, answer } = begin()
      expect(answer(honest(request, b => b.set(address, 56)))).toMatchObject([{ type: 'unmapped' }])
    }
  })

  test('mutated answers never throw, and never name another port of this host', () => {
    const rng = new SeededRng('noise')
    const { request, answer } = begin()
    for (let i = 0; i < 5_000; i++) {
      const bytes = honest(request)
      for (let n = 0; n < 3; n++) bytes[rng.u32() % bytes.length] = rng.u32()
      answer(i % 3 === 0 ? bytes.subarray(0, rng.u32() % 61) : bytes, i)
    }
  })

  test('a wait that is told with an error is believed within limits', () => {
    const { mapping, request, answer } = begin()
    answer(honest(request, b => b.set([2, 0x81, 0, 8, 0xff, 0xff, 0xff, 0xff])))
    expect(mapping.deadline).toBe(1 + 1_800_000)
    const other = begin()
    other.answer(honest(other.request, b => b.set([2, 0x81, 0, 8, 0, 0, 0, 0])))
    expect(other.mapping.deadline).toBe(1 + 60_000)
  })
})

test('default routers as Linux lists them', () => {
  const table = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
`
  expect(defaultRouters(table)).toEqual(['192.168.1.1'])
  expect(defaultRouters('')).toEqual([])
})

test('options that make no sense are refused', () => {
  expect(() => portMapping({ gateways: ['router'] })).toThrow('gateways[0]: "router": an address is wanted')
  expect(() => portMapping({ protocols: ['pmp'] } as never)).toThrow('protocols: "pmp": some of pcp, nat-pmp, upnp')
  expect(() => portMapping({ gateway: 'x' } as never)).toThrow(
    'gateway: no such option; there are gateways and protocols',
  )
})
