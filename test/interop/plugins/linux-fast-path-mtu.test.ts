import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { innerMtu } from '../../../core/ipsec/index.ts'
import { parseTooBig } from '../../../core/wire/index.ts'
import { Vnet } from '../../../plugins/linux-fast/vnet.ts'
import { specPair, suiteNamed, udpPacket } from '../../core/ipsec/sample.ts'
import type { Outer, Rig } from '../../plugins/linux-fast/rig.ts'
import { rigs, single } from '../../plugins/linux-fast/suites.ts'
import { largeTcp, tcpPacket } from '../../plugins/linux-fast/tcp.ts'
import { addAddresses, ip, leaveNetwork, OUTERS } from './own-network.ts'

leaveNetwork()
addAddresses(40)

const PATH = 1_320
const SUITE = suiteNamed('aes128gcm16')
const isV4 = ({ name }: Outer): boolean => name.endsWith('IPv4')
/** What fits: the encapsulation of the sample counts eight octets, whatever is around. */
const fitting = (outer: Outer): number =>
  innerMtu(PATH, { suite: SUITE, mode: 'tunnel', encapOctets: 8, family: isV4(outer) ? 4 : 6 })
const outerHeaders = (outer: Outer): number => (isV4(outer) ? 20 : 40) + (outer.protocol === 17 ? 8 : 0)
const inner = (length: number, df: boolean): Uint8Array => udpPacket(new Uint8Array(length - 28).fill(7), { df })
const answers = (rig: Rig): (number | undefined)[] =>
  rig.device().map(written => parseTooBig(written, Vnet.OCTETS, written.length)?.mtu)
const MSS = Uint8Array.of(2, 4, 0x05, 0xb4)
const syn = (): Uint8Array =>
  tcpPacket({ v6: false, sequence: 1, flags: 2, options: MSS, data: new Uint8Array(), id: 0 })
const mssOf = (packet: Uint8Array): number => (packet[42]! << 8) | packet[43]!

describe.each(OUTERS)('$name, an interface that is narrow', outer => {
  const rig = rigs(outer)
  beforeAll(() => ip(`link set lo mtu ${PATH}`))
  afterAll(() => ip('link set lo mtu 65536'))

  const pair = async (): Promise<[Rig, Rig]> => {
    const [a, b] = specPair(1, {}, SUITE)
    const [left, right] = [await rig(), await rig()]
    left.plane.install(left.placed(a), { outbound: true }, 0)
    right.plane.install(right.placed(b), { outbound: true }, 0)
    return [left, right]
  }

  test('what has DF is lost once, then its sender and the engine know; what fits goes', async () => {
    const [left, right] = await pair()
    const fits = fitting(outer)
    await left.inner([inner(1_400, true)])
    expect([left.arrived().length, left.plane.drops]).toEqual([0, { 'too-big': 1 }])
    expect(left.told).toEqual([`${left.flow.remote.address} ${PATH}`])
    await left.inner([inner(1_400, true), inner(fits + 1, true), inner(fits, true)])
    expect(answers(left)).toEqual([fits, fits])
    const sent = left.sent()
    expect(sent.map(({ length }) => length + outerHeaders(outer) <= PATH)).toEqual([true])
    expect(single(await right.outer(sent))).toEqual([inner(fits, true)])
    expect(left.plane.drops).toEqual({ 'too-big': 1 })
  })

  test('what has no DF goes in fragments until the path is known, then it is cut before it is protected', async () => {
    const [left, right] = await pair()
    await left.inner([inner(1_400, false)])
    const [whole, ...none] = left.sent()
    expect(none).toEqual([])
    expect(whole!.length).toBeGreaterThan(1_400)
    await left.inner([inner(1_400, false)])
    const parts = left.sent()
    expect(parts.map(({ length }) => length + outerHeaders(outer) <= PATH)).toEqual([true, true])
    // the fragments of the first one were put together on the way; the other end's socket has to send it whole
    ip('link set lo mtu 65536')
    const [first, ...rest] = single(await right.outer([...parts, whole!]))
    ip(`link set lo mtu ${PATH}`)
    expect(first!.length + rest[0]!.length).toBe(1_400 + 20)
    expect(rest[1]).toEqual(inner(1_400, false))
    expect(left.plane.drops).toEqual({})
  })

  test('a large packet of the kernel is lost once too, and its stack told', async () => {
    const [left] = await pair()
    const { packet, pieces } = largeTcp(20_000, 1_340)
    await left.inner([packet], true)
    expect([left.sent().length, left.plane.drops]).toEqual([0, { 'too-big': pieces.length }])
    expect(left.told).toEqual([`${left.flow.remote.address} ${PATH}`])
    await left.inner([packet], true)
    expect(new Set(answers(left))).toEqual(new Set([fitting(outer)]))
  })

  test('MSS is lowered in both directions', async () => {
    const [left, right] = await pair()
    await left.inner([inner(1_400, true)])
    await left.inner([syn()])
    const [there] = single(await right.outer(left.sent()))
    expect(mssOf(there!)).toBe(fitting(outer) - 40)
    // the other end does not know its way back
    const [, b] = specPair(1)
    right.plane.remove(b.id)
    const [, reversed] = specPair(1, {}, SUITE)
    right.plane.install(
      right.placed({ ...reversed, local: reversed.remote, remote: reversed.local }),
      { outbound: true },
      0,
    )
    left.plane.remove(b.id)
    const [mine] = specPair(1, {}, SUITE)
    left.plane.install(left.placed({ ...mine, local: mine.remote, remote: mine.local }), { outbound: true }, 0)
    left.plane.pathMtu(left.flow.local.address, left.flow.remote.address, PATH, 1)
    await right.inner([syn()])
    const [back] = single(await left.outer(right.sent()))
    expect(mssOf(back!)).toBe(fitting(outer) - 40)
  })
})

describe.each(OUTERS)('$name, a narrow hop', outer => {
  const router = `nwlf-${process.pid}-${OUTERS.indexOf(outer)}`
  const rig = rigs(isV4(outer) ? { ...outer, ...at('198.18.0') } : { ...outer, ...at('fd18:') })
  const remote = { address: isV4(outer) ? '198.19.0.9' : 'fd19::9', port: outer.protocol === 17 ? 4500 : 0 }

  beforeAll(() => {
    execFileSync('ip', ['netns', 'add', router])
    ip(
      `link add v0 type veth peer name v1 netns ${router}`,
      ...Array.from({ length: 9 }, (_, i) => [
        `addr add 198.18.0.${i + 1}/24 dev v0`,
        `addr add fd18::${i + 1}/64 dev v0 nodad`,
      ]).flat(),
      'link set v0 up',
      'route add 198.19.0.0/24 via 198.18.0.100',
      'route add fd19::/64 via fd18::100',
    )
    const inside = (...command: string[]) => execFileSync('ip', ['netns', 'exec', router, ...command])
    inside('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1')
    for (const line of [
      'addr add 198.18.0.100/24 dev v1',
      'addr add fd18::100/64 dev v1 nodad',
      'link set v1 up',
      `link add narrow mtu ${PATH} type veth peer name blind`,
      'link set narrow up',
      'link set blind up',
      'route add 198.19.0.0/24 dev narrow',
      'route add fd19::/64 dev narrow',
    ])
      inside('ip', ...line.split(' '))
  })
  afterAll(() => {
    ip('link del v0')
    execFileSync('ip', ['netns', 'del', router])
  })

  test('what its ICMP says reaches the thread, the sender and the engine', async () => {
    const left = await rig()
    const [a] = specPair(1, {}, SUITE)
    left.plane.install({ ...a, flow: { ...left.flow, remote } }, { outbound: true }, 0)
    for (let sent = 0; sent < 1_000 && left.told.length === 0; sent++) await left.inner([inner(1_400, true)])
    expect(left.told).toEqual([`${remote.address} ${PATH}`])
    expect(left.plane.drops).toEqual({ 'too-big': 1 })
    left.device()
    await left.inner([inner(1_400, true), inner(fitting(outer), true)])
    expect(answers(left)).toEqual([fitting(outer)])
    expect(left.plane.drops).toEqual({ 'too-big': 1 })
  })
})

/** Two addresses of the network `prefix`, which each family writes in its way. */
function at(prefix: string): Pick<Outer, 'here' | 'there'> {
  const address = (n: number): string => (prefix.includes(':') ? `${prefix}:${n}` : `${prefix}.${n}`)
  return { here: () => address(1), there: () => address(2) }
}
