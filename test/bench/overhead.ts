import { createNatweave, DEVICE, type Natweave, type Plugin, TRANSPORT } from '../../core/index.ts'
import { addressBytes, buildIp, buildUdp, familyOf, IpProtocol } from '../../core/wire/index.ts'
import { beet, nodeCrypto, udpEncap } from '../../plugins/index.ts'
import { MemoryDevice, memory } from '../../plugins/memory/index.ts'
import { type Host, topologies, type VirtualInternet } from '../kit/index.ts'
import { child, type PeerWish, peer, settings } from '../scenario/nodes.ts'
import type { Bench, Figure } from './measure.ts'

const SUITES = ['aes128gcm16', 'chacha20poly1305', 'aes256-sha256'] as const
const MODES = ['transport', 'tunnel', 'beet'] as const
const ENCAPS = ['none', 'udp-encap'] as const
const FAMILIES = [4, 6] as const
/** Octets of the inner packets, their own IP header included. */
const SIZES = [64, 100, 576, 1_280] as const

const HOW =
  'one UDP packet through a negotiated SA on the virtual internet: the IP packet tapped on the wire minus the IP packet ' +
  'handed in; inside and outside are of one family; padding makes it depend on the size'

interface Case {
  readonly suite: (typeof SUITES)[number]
  readonly mode: (typeof MODES)[number]
  readonly encap: (typeof ENCAPS)[number]
  readonly family: (typeof FAMILIES)[number]
}

interface OverheadFigure extends Figure, Case {
  readonly inner: (typeof SIZES)[number]
  readonly outer: number
}

/** What each packet grows by, by suite, mode, encapsulation, family and size. */
export const overhead: Bench<OverheadFigure> = {
  name: 'overhead',
  about: 'octets that each packet grows by on the wire, for inner packets of several sizes',
  async run(): Promise<readonly OverheadFigure[]> {
    const figures: OverheadFigure[] = []
    for (const suite of SUITES)
      for (const mode of MODES)
        for (const encap of ENCAPS)
          for (const family of FAMILIES) figures.push(...(await measure({ suite, mode, encap, family })))
    return figures
  },
  show,
}

/** Outer addresses of alice and bob, and the ones inside where these differ. */
const ADDRESSES = {
  outer: { 4: ['203.0.113.50', '203.0.113.60'], 6: ['2001:db8::50', '2001:db8::60'] },
  inner: { 4: ['10.50.0.1', '10.60.0.1'], 6: ['fd00:50::1', 'fd00:60::1'] },
} as const

async function measure(wanted: Case): Promise<OverheadFigure[]> {
  const { mode, encap, family } = wanted
  const { net, inet, alice, bob } = topologies.direct({ trace: false })
  const [outerA, outerB] = ADDRESSES.outer[family]
  const [innerA, innerB] = mode === 'transport' ? [outerA, outerB] : ADDRESSES.inner[family]
  const bits = family === 4 ? 32 : 128
  const end = (local: string, remote: string): Omit<PeerWish, 'name' | 'me'> => ({
    encapsulation: encap === 'none' ? 'never' : 'force',
    children: [
      child({
        mode,
        proposals: [wanted.suite],
        local: mode === 'transport' ? ['dynamic'] : [`${local}/${bits}`],
        remote: mode === 'transport' ? ['dynamic'] : [`${remote}/${bits}`],
      }),
    ],
  })
  const [from, to] = [new MemoryDevice(), new MemoryDevice()]
  const a = build(net, alice, from, { name: 'bob', me: 'alice', remote: outerB, ...end(innerA, innerB) })
  const b = build(net, bob, to, { name: 'alice', me: 'bob', ...end(innerB, innerA) })
  await Promise.all([a.start(), b.start()])
  const { children } = await net.complete(a.connect('bob'))
  await net.advance(1_000)
  const { mode: agreed, encap: chosen, suite } = children[0]!
  if (agreed !== mode || chosen !== encap || suite !== wanted.suite)
    throw new Error(`${describe(wanted)} became ${suite}, ${agreed} in ${chosen}`)

  const wire: Uint8Array[] = []
  net.tap(inet, packet => wire.push(packet))
  const figures: OverheadFigure[] = []
  for (const inner of SIZES) {
    const packet = udpPacket(innerA, innerB, inner)
    wire.length = 0
    from.inject(packet)
    await net.advance(100)
    const [received, seen] = [to.take(), wire[0]]
    // what did not arrive as it was sent is no packet of this SA
    if (wire.length !== 1 || seen === undefined || !sameContent(received, packet))
      throw new Error(`${describe(wanted)}: ${inner} octets did not get through as one packet`)
    const value = seen.length - inner
    figures.push({ ...wanted, inner, outer: seen.length, what: describe(wanted), value, unit: 'octets', how: HOW })
  }
  await Promise.all([net.complete(a.stop()), net.complete(b.stop())])
  return figures
}

function build(net: VirtualInternet, host: Host, device: MemoryDevice, wish: PeerWish): Natweave {
  const wires: Plugin = {
    name: 'wires',
    api: 1,
    register: container => {
      container.register(TRANSPORT, { useValue: host.transport() })
      container.register(DEVICE, { useValue: device })
    },
  }
  return createNatweave({
    plugins: [nodeCrypto(), udpEncap(), beet(), memory(), wires],
    settings: settings({ peers: [peer(wish)], pools: {} }),
    clock: net.clock,
    rng: net.rng(`natweave ${host.name}`),
  })
}

const headers = (address: string): number => (familyOf(address) === 4 ? 20 : 40) + 8

/** A UDP packet of `size` octets. */
function udpPacket(from: string, to: string, size: number): Uint8Array {
  const [source, destination] = [addressBytes(from), addressBytes(to)]
  const data = Uint8Array.from({ length: size - headers(from) }, (_, i) => i)
  const datagram = buildUdp(source, 1_000, destination, 2_000, data)
  return buildIp({ source, destination, protocol: IpProtocol.UDP, df: true }, datagram)
}

/** Whether all but the IP header, in which modes may change some fields, is the same. */
const sameContent = (a: Uint8Array | undefined, b: Uint8Array): boolean => {
  const header = b[0]! >> 4 === 4 ? 20 : 40
  return a?.length === b.length && b.every((octet, i) => i < header || a[i] === octet)
}

const describe = ({ suite, mode, encap, family }: Case): string => `${suite}, ${mode} in ${encap}, IPv${family}`

/** A row for each plan and family, a group of columns for each suite. */
function show(figures: readonly OverheadFigure[]): string {
  const width = Math.max(...SUITES.map(suite => suite.length), SIZES.length * 6)
  const of = (wanted: Omit<Case, 'suite'>, suite: string): string =>
    SIZES.map(inner => {
      const found = figures.find(
        f =>
          f.suite === suite &&
          f.inner === inner &&
          f.mode === wanted.mode &&
          f.encap === wanted.encap &&
          f.family === wanted.family,
      )
      return String(found?.value ?? '').padStart(6)
    }).join('')
  const row = (mode: string, encap: string, family: string, groups: readonly string[]): string =>
    `  ${mode.padEnd(9)}  ${encap.padEnd(9)}  ${family.padEnd(4)}${groups.map(g => ` │${g.padStart(width)}`).join('')}`
  const lines = [
    row('', '', '', SUITES),
    row('mode', 'encap', '', new Array(SUITES.length).fill(SIZES.map(size => String(size).padStart(6)).join(''))),
  ]
  for (const mode of MODES) {
    lines.push('')
    for (const encap of ENCAPS)
      for (const family of FAMILIES) {
        const groups = SUITES.map(suite => of({ mode, encap, family }, suite))
        lines.push(row(mode, encap, `IPv${family}`, groups))
      }
  }
  return lines.join('\n')
}
