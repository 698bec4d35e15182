import type { ChildSaSpec, DataPlane, PlaneEvent } from '../../../core/contracts/data-plane.ts'
import { type Awaitable, check, isKebabCase, quiet, type SuiteRunner, same } from './check.ts'

/** Two data planes, installed against each other, and both ends of what they carry. */
export interface PlanesUnderTest {
  readonly one: DataPlane
  readonly other: DataPlane
  /** Both ends' view of one new Child SA that the planes can carry; selectors allow the packets of `inner`. */
  readonly specs: (serial: number) => readonly [one: ChildSaSpec, other: ChildSaSpec]
  /** A fresh inner IP packet from `one`'s side to `other`'s. */
  readonly inner: (serial: number) => Uint8Array
  /**
   * Gives `one` an inner packet to protect. @returns the protected datagrams that left for `other`; what is not
   * protected leaves nothing
   */
  readonly send: (packet: Uint8Array) => Awaitable<readonly Uint8Array[]>
  /** Hands `other` a datagram from the network. @returns what it delivered */
  readonly receive: (datagram: Uint8Array) => Awaitable<readonly Uint8Array[]>
  /** What `other` reported so far. */
  readonly events: () => readonly PlaneEvent[]
}

/** What every `DataPlane` must do with Child SAs it does not refuse. */
export function dataPlaneSuite(make: () => Awaitable<PlanesUnderTest>, { test }: SuiteRunner): void {
  const installed = (
    name: string,
    run: (parts: PlanesUnderTest, specs: readonly [ChildSaSpec, ChildSaSpec]) => Promise<void>,
  ) =>
    test(`data plane: ${name}`, async () => {
      const parts = await make()
      const specs = parts.specs(1)
      parts.one.install(specs[0], { outbound: true }, 0)
      parts.other.install(specs[1], { outbound: true }, 0)
      await run(parts, specs)
    })

  test('data plane: has a name, refuses in words, and knows nothing it was not told', async () => {
    const { one, specs } = await make()
    check(isKebabCase(one.name), `a kebab-case name, not "${one.name}"`)
    const [spec] = specs(1)
    same(one.refuses(spec), undefined, 'what it has against the Child SA of the suite')
    const strange = one.refuses({ ...spec, suite: { encr: 1023, esn: false } })
    check(strange !== undefined && strange !== '', 'a cipher that does not exist to be refused in words')
    same(one.counters(spec.id), undefined, 'the counters of an SA that is not installed')
    quiet('activate of nothing', () => one.activate('nobody/none{9}'))
    quiet('move of nothing', () => one.move('nobody/none{9}', spec.flow))
    quiet('remove of nothing', () => one.remove('nobody/none{9}'))
  })

  installed('carries packets and counts them', async ({ one, other, inner, send, receive, events }, [mine, theirs]) => {
    same(one.counters(mine.id)?.packetsOut, 0, 'the packets sent at first')
    let octets = 0
    for (let i = 1; i <= 3; i++) {
      const packet = inner(i)
      octets += packet.length
      const datagrams = await send(packet)
      same(datagrams.length, 1, 'the number of datagrams')
      const [datagram] = datagrams
      check(!includes(datagram!, packet.subarray(-16)), 'what leaves to be encrypted')
      same(await receive(datagram!), [packet], 'what is delivered')
    }
    const [sent, received] = [one.counters(mine.id)!, other.counters(theirs.id)!]
    same([sent.packetsOut, sent.octetsOut], [3, octets], 'packets and inner octets sent')
    same([received.packetsIn, received.octetsIn], [3, octets], 'packets and inner octets received')
    same(received.drops, {}, 'what was dropped')
    same(events().filter(e => e.type === 'first-inbound').length, 1, 'the number of first-inbound events')
  })

  installed(
    'delivers nothing twice, nothing changed, nothing cut off',
    async ({ other, inner, send, receive }, [, theirs]) => {
      const [datagram] = await send(inner(1))
      for (const at of [8, 20, datagram!.length - 1]) {
        const forged = datagram!.slice()
        forged[at]! ^= 1
        same(await receive(forged), [], `what comes of a change in octet ${at}`)
      }
      for (const length of [0, 1, 7, 8, 20, datagram!.length - 1])
        same(await receive(datagram!.slice(0, length)), [], `what comes of the first ${length} octets`)
      same(other.counters(theirs.id)?.packetsIn, 0, 'the packets that authenticated')
      same((await receive(datagram!.slice())).length, 1, 'the number of packets delivered')
      same(await receive(datagram!.slice()), [], 'what comes of a replay')
      same(other.counters(theirs.id)?.drops.replay, 1, 'the number of replays counted')
    },
  )

  installed('a new SA carries both old and new traffic until the old one is removed', async parts => {
    const { one, other, specs, inner, send, receive } = parts
    const late = (await send(inner(1)))[0]!
    const [mine, theirs] = specs(2)
    one.install(mine, { outbound: false }, 0)
    other.install(theirs, { outbound: false }, 0)
    await send(inner(2))
    same(one.counters(mine.id)?.packetsOut, 0, 'the packets sent on an SA that is not active yet')
    one.activate(mine.id)
    const early = (await send(inner(3)))[0]!
    same(one.counters(mine.id)?.packetsOut, 1, 'the packets sent on the active SA')
    same((await receive(early)).length, 1, 'what the new SA delivers')
    same((await receive(late)).length, 1, 'what the old SA delivers meanwhile')
  })

  installed('carries nothing on what was removed', async ({ one, other, inner, send, receive }, [mine, theirs]) => {
    const [datagram] = await send(inner(1))
    one.remove(mine.id)
    one.remove(mine.id) // twice is once
    other.remove(theirs.id)
    same(one.counters(mine.id), undefined, 'the counters of a removed SA')
    same(await send(inner(2)), [], 'what is sent without an SA')
    same(await receive(datagram!), [], 'what is delivered without an SA')
  })
}

/** Whether the last octets of the plaintext are anywhere in the datagram. */
function includes(haystack: Uint8Array, needle: Uint8Array): boolean {
  for (let at = 0; at + needle.length <= haystack.length; at++)
    if (needle.every((octet, i) => haystack[at + i] === octet)) return true
  return false
}
