import { type Flow, sameFlow } from '../../../core/contracts/net.ts'
import { newPacket, octets, type Packet } from '../../../core/contracts/packet.ts'
import type { LocalEndpoint, Transport, TransportSink } from '../../../core/contracts/transport.ts'
import { canonicalAddress } from '../../../core/wire/index.ts'
import { SeededRng } from '../rng.ts'
import { type Awaitable, check, quiet, refused, type SuiteRunner, same } from './check.ts'

/** Two closed transports that can reach each other, such as two on loopback with ports of their own. */
export interface TransportsUnderTest {
  readonly one: Transport
  readonly other: Transport
  /** Lets what was sent arrive, where that needs doing: virtual time does not pass by itself. */
  readonly settle?: () => Awaitable<unknown>
}

export interface TransportSuiteOptions extends SuiteRunner {
  /** A name that resolves to nothing; without it failing names are not tried, as that can take a resolver long. */
  readonly unknownHost?: string
}

interface Heard {
  readonly bytes: Uint8Array
  readonly flow: Flow
}

/** Waits for datagrams without looking at a clock; one that never comes runs into the runner's own limit. */
class Ear implements TransportSink {
  readonly heard: Heard[] = []
  #wake: () => void = () => {}

  receive(packet: Packet, flow: Flow): void {
    // not slice(), which for a Buffer is no copy
    this.heard.push({ bytes: new Uint8Array(octets(packet)), flow })
    packet.bytes.fill(0, packet.start, packet.end) // the contract lets the receiver change it
    this.#wake()
  }

  changed(): void {}
  failed(): void {}

  async next(settle?: () => Awaitable<unknown>): Promise<Heard> {
    const arrival = new Promise<void>(resolve => {
      this.#wake = resolve
    })
    if (this.heard.length === 0) await Promise.all([arrival, settle?.()])
    return this.heard.shift()!
  }
}

const flowBetween = (local: LocalEndpoint, { address, port }: LocalEndpoint): Flow => ({
  protocol: local.protocol,
  local: { address: local.address, port: local.port },
  remote: { address, port },
})

const packetOf = (bytes: Uint8Array): Packet => {
  const packet = newPacket()
  packet.bytes.set(bytes, packet.start)
  packet.end = packet.start + bytes.length
  packet.ttl = 64
  return packet
}

/** What every `Transport` must do. */
export function transportSuite(
  make: () => Awaitable<TransportsUnderTest>,
  { test, unknownHost }: TransportSuiteOptions,
): void {
  const opened = (
    name: string,
    run: (parts: TransportsUnderTest & { ear: Ear; otherEar: Ear }) => Promise<void>,
  ): unknown =>
    test(`transport: ${name}`, async () => {
      const parts = await make()
      const [ear, otherEar] = [new Ear(), new Ear()]
      await parts.one.open(ear)
      await parts.other.open(otherEar)
      try {
        await run({ ...parts, ear, otherEar })
      } finally {
        await parts.one.close()
        await parts.other.close()
      }
    })

  test('transport: lists nothing, carries nothing and sends nothing while it is closed', async () => {
    const { one } = await make()
    check(one.name !== '', 'a name')
    same(one.locals(), [], 'the locals before open')
    await one.open(new Ear())
    const [local] = one.locals()
    check(local !== undefined, 'a local endpoint once it is open')
    await one.close()
    await one.close() // twice is once
    same(one.locals(), [], 'the locals after close')
    const flow = flowBetween(local, local)
    same(one.carries(flow), false, 'carries after close')
    quiet('send after close', () => one.send(packetOf(Uint8Array.of(1)), flow))
  })

  opened('locals are canonical, distinct and fit their role', async ({ one }) => {
    const locals = one.locals()
    for (const { address, port, protocol, role } of locals) {
      same(canonicalAddress(address), address, 'a local address')
      if (role === 'raw')
        check(port === 0 && (protocol === 50 || protocol === 51), 'role raw for protocols without ports')
      else check(port > 0 && port < 65_536, `a bound port for role ${role}, not ${port}`)
    }
    const keys = locals.map(({ address, port, protocol }) => `${protocol} ${address} ${port}`)
    same(new Set(keys).size, keys.length, 'the number of distinct local endpoints')
  })

  opened('carries flows of its locals and no others', async ({ one }) => {
    for (const local of one.locals()) {
      const flow = flowBetween(local, local)
      check(one.carries(flow), `carries to be true for the local ${local.address} ${local.port}`)
      check(!one.carries({ ...flow, local: { ...flow.local, address: '203.0.113.254' } }), 'no foreign address carried')
      if (local.role !== 'raw')
        check(!one.carries({ ...flow, local: { ...flow.local, port: local.port ^ 0x5555 } }), 'no unbound port carried')
    }
  })

  opened('an address resolves to itself', async ({ one }) => {
    same(await one.resolve('192.0.2.7'), ['192.0.2.7'], 'an IPv4 address')
    same(await one.resolve('2001:DB8:0::7'), ['2001:db8::7'], 'an IPv6 address, made canonical')
  })

  if (unknownHost !== undefined)
    opened('a name that does not exist is told as such', async ({ one }) => {
      await refused(['SYSTEM_RESOLVE'], `resolving ${unknownHost}`, () => one.resolve(unknownHost))
    })

  opened('finds the source address towards a peer', async ({ one, other }) => {
    const [remote] = other.locals()
    const source = await one.source(remote!.address)
    check(
      one.locals().some(local => local.address === source),
      `the source towards ${remote!.address} to be one of the locals, not ${source}`,
    )
  })

  for (const role of ['ike', 'natt', 'raw'] as const)
    opened(`carries datagrams both ways (${role})`, async ({ one, other, ear, otherEar, settle }) => {
      const rng = new SeededRng(`transport ${role}`)
      const from = one.locals().find(local => local.role === role)
      if (from === undefined) return
      const to = other
        .locals()
        .find(
          l =>
            l.role === role && l.protocol === from.protocol && l.address.includes(':') === from.address.includes(':'),
        )
      check(to !== undefined, `the other transport to have the role ${role} too`)
      for (const length of [1, 100, 1200]) {
        const bytes = rng.bytes(length)
        const packet = packetOf(bytes)
        const { start, end } = packet
        quiet('send', () => one.send(packet, flowBetween(from, to)))
        same([packet.start, packet.end], [start, end], 'start and end after send')
        packet.bytes.fill(0xee) // it is the caller's again
        const there = await otherEar.next(settle)
        same(there.bytes, bytes, 'what arrived')
        check(sameFlow(there.flow, flowBetween(to, from)), 'the receiver to see the flow from its own side')
        check(other.carries(there.flow), 'the flow of a datagram to be one that can be answered')
        other.send(packetOf(bytes), there.flow)
        same((await ear.next(settle)).bytes, bytes, 'the answer')
      }
    })

  opened('never throws for what cannot be sent', async ({ one }) => {
    const bytes = packetOf(new Uint8Array(100))
    for (const local of one.locals()) {
      const flow = flowBetween(local, local)
      const remote = (address: string, port: number): Flow => ({ ...flow, remote: { address, port } })
      quiet('send of an empty datagram', () => one.send(packetOf(new Uint8Array(0)), flow))
      quiet('send to the other family', () =>
        one.send(bytes, remote(local.address.includes(':') ? '192.0.2.1' : '2001:db8::1', 500)),
      )
      quiet('send to port 0', () => one.send(bytes, remote(local.address, 0)))
      quiet('send to nowhere', () => one.send(bytes, remote(local.address.includes(':') ? '100::1' : '192.0.2.1', 9)))
      quiet('send of the largest packet', () => one.send(packetOf(new Uint8Array(65_535)), flow))
      quiet('send from a local that is not bound', () =>
        one.send(bytes, { ...flow, local: { ...flow.local, port: 1 } }),
      )
    }
  })
}
