import { DROPS } from '../../../core/contracts/drop.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet, TAILROOM } from '../../../core/contracts/packet.ts'
import type { ModeContext, ModeStrategy, Selector } from '../../../core/contracts/strategy.ts'
import { addressBytes, buildIp, buildUdp, IpProtocol, newIpInfo, readIp } from '../../../core/wire/index.ts'
import { SeededRng } from '../rng.ts'
import { check, isKebabCase, quiet, type SuiteRunner, same } from './check.ts'

/** What a mode must do: carry inner packets from one end to the other, and stand everything else. */

/** Notify types from here on are status types: a peer that does not know one ignores it, RFC 7296 §3.10.1. */
const FIRST_STATUS = 16_384

const host = (address: string): Selector => ({
  family: address.includes(':') ? 6 : 4,
  protocol: 0,
  startPort: 0,
  endPort: 65_535,
  start: address,
  end: address,
})

/** Between two hosts whose inner addresses are the outer ones, which every mode can serve. */
function hosts(local: string, remote: string, initiator = true): ModeContext {
  const flow: Flow = { protocol: 17, local: { address: local, port: 4500 }, remote: { address: remote, port: 4500 } }
  return { local: [host(local)], remote: [host(remote)], initiator, facts: {}, flow: () => flow }
}

const mirrored = ({ local, remote, initiator, facts, flow }: ModeContext): ModeContext => ({
  local: remote,
  remote: local,
  initiator: !initiator,
  facts,
  flow: () => {
    const { protocol, local: here, remote: there } = flow()
    return { protocol, local: there, remote: here }
  },
})

const CONTEXTS = [hosts('192.0.2.1', '203.0.113.20'), hosts('2001:db8::1', '2001:db8::20')]

export function checkMode(
  about: string,
  make: () => ModeStrategy,
  test: SuiteRunner['test'],
  given: readonly ModeContext[],
): void {
  test(`${about}: asks with status notifies and falls back to another mode`, () => {
    const { name, notify, fallback, asks } = make()
    check(fallback === undefined || (isKebabCase(fallback) && fallback !== name), 'a fallback to another mode')
    check(notify !== undefined || (fallback === undefined && asks === undefined), 'only a mode that asks to fall back')
    for (const type of [...(notify === undefined ? [] : [notify]), ...(make().asks?.({}) ?? [])])
      check(Number.isInteger(type) && type >= FIRST_STATUS && type <= 65_535, `notify ${type} to be a status type`)
  })

  test(`${about}: says in words what it cannot carry`, () => {
    const mode = make()
    const odd = [
      [],
      [host('10.0.0.1'), host('10.0.0.2')],
      [{ ...host('10.0.0.0'), end: '10.0.0.255' }],
      [host('2001:db8::9')],
    ]
    for (const local of odd)
      for (const remote of odd) {
        const why = quiet('refuses', () => mode.refuses?.({ ...CONTEXTS[0]!, local, remote }))
        check(why === undefined || why !== '', 'a reason in words')
      }
  })

  test(`${about}: what one end encodes, the other decodes`, () => {
    const strategy = make()
    const served = [...CONTEXTS.filter(context => strategy.refuses?.(context) === undefined), ...given]
    check(served.length > 0, 'a mode to carry host to host; give contexts of your own with `modes`')
    for (const context of served) {
      same(strategy.refuses?.(context), undefined, 'what it has against a context it must carry')
      const [sender, receiver] = [strategy.create(context), strategy.create(mirrored(context))]
      same(sender.name, strategy.name, 'the name of the mode')
      const flow = mirrored(context).flow()
      for (const inner of samples(context)) {
        const packet = loaded(inner)
        const buffer = packet.bytes
        same(
          quiet('encode', () => sender.encode(packet)),
          undefined,
          'what became of an ordinary packet',
        )
        check(packet.bytes === buffer, 'encode to work in the buffer it was given')
        check(packet.start >= 0 && packet.end <= HEADROOM + inner.length + TAILROOM, 'encode to stay within its room')
        const { saves } = sender
        if (saves !== undefined)
          check(packet.end - packet.start <= inner.length - saves, `encode to save ${saves} octets as it says`)
        same(
          quiet('decode', () => receiver.decode(packet, flow)),
          undefined,
          'what became of it at the other end',
        )
        check(packet.bytes === buffer && packet.start >= 0, 'decode to stay within its room')
        alike(octets(packet).slice(), inner)
      }
    }
  })

  test(`${about}: garbage is dropped, or becomes an IP packet`, () => {
    const strategy = make()
    const rng = new SeededRng(about)
    for (const context of [...CONTEXTS, ...given]) {
      if (strategy.refuses?.(context) !== undefined) continue
      const mode = strategy.create(context)
      const flow = context.flow()
      for (let round = 0; round < 500; round++) {
        const outgoing = loaded(damaged(samples(context), rng))
        known(quiet('encode', () => mode.encode(outgoing)))
        const incoming = loaded(round % 2 === 0 ? rng.bytes(rng.below(100)) : damaged(samples(context), rng))
        incoming.nextHeader = rng.chance(0.5) ? (rng.chance(0.5) ? IpProtocol.IPV4 : IpProtocol.IPV6) : rng.below(256)
        const drop = known(quiet('decode', () => mode.decode(incoming, flow)))
        if (drop !== undefined) continue
        check(incoming.start >= 0 && incoming.end <= incoming.bytes.length, 'decode to stay within its room')
        // whether it is a sound one, the data plane looks itself
        const version = incoming.bytes[incoming.start]! >> 4
        check(
          incoming.start < incoming.end && (version === 4 || version === 6),
          'decode to give an IP packet or a Drop',
        )
      }
    }
  })
}

function known(drop: string | undefined): string | undefined {
  check(drop === undefined || (DROPS as readonly string[]).includes(drop), `${drop} to be a known reason`)
  return drop
}

/** UDP packets between the first addresses of both sides. */
function samples({ local, remote }: ModeContext): Uint8Array[] {
  const [source, destination] = [addressBytes(local[0]!.start), addressBytes(remote[0]!.start)]
  const header = { source, destination, protocol: IpProtocol.UDP, ttl: 61, df: true }
  return [0, 1, 7, 500, 1300].map(length =>
    buildIp(header, buildUdp(source, 4000, destination, 53, new SeededRng(length).bytes(length))),
  )
}

/** Cut off, or with some octets changed. */
function damaged(packets: readonly Uint8Array[], rng: SeededRng): Uint8Array {
  const packet = packets[rng.below(packets.length)]!.slice(0, 200)
  for (let i = rng.below(4); i > 0; i--) packet[rng.below(Math.min(48, packet.length))] = rng.below(256)
  return rng.chance(0.5) ? packet.subarray(0, rng.below(packet.length + 1)) : packet
}

function loaded(bytes: Uint8Array): Packet {
  const packet = newPacket(HEADROOM + bytes.length + TAILROOM)
  packet.bytes.set(bytes, HEADROOM)
  packet.end = HEADROOM + bytes.length
  return packet
}

/** The same addresses, protocol and upper layer; other header fields may have met the outer header on the way. */
function alike(actual: Uint8Array, wanted: Uint8Array): void {
  const parts = (bytes: Uint8Array): unknown => {
    const info = newIpInfo()
    const problem = readIp(bytes, 0, bytes.length, info)
    if (problem !== undefined) return problem
    const { version, protocol, sourceAt, destinationAt, addressLength, upperAt, end } = info
    return {
      version,
      protocol,
      source: bytes.slice(sourceAt, sourceAt + addressLength),
      destination: bytes.slice(destinationAt, destinationAt + addressLength),
      upper: bytes.slice(upperAt, end),
    }
  }
  same(parts(actual), parts(wanted), 'the decoded packet')
}
