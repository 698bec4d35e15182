import { DROPS } from '../../../core/contracts/drop.ts'
import type { Facts } from '../../../core/contracts/facts.ts'
import { type Flow, sameFlow } from '../../../core/contracts/net.ts'
import { HEADROOM, newPacket, octets, type Packet, TAILROOM } from '../../../core/contracts/packet.ts'
import type { EncapStrategy } from '../../../core/contracts/strategy.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { SeededRng } from '../rng.ts'
import { check, frozen, quiet, type SuiteRunner, same } from './check.ts'

/** What an encapsulation must do: flows out of what is bound, and wrapping that undoes itself. */

const address = '192.0.2.1'
const ike: LocalEndpoint = { address, port: 500, protocol: 17, role: 'ike' }
const natt: LocalEndpoint = { address, port: 4500, protocol: 17, role: 'natt' }
const raw: LocalEndpoint = { address, port: 0, protocol: 50, role: 'raw' }
/** What may be bound: everything, UDP only, one port only, nothing any more. */
const BOUND: readonly (readonly LocalEndpoint[])[] = [[ike, natt, raw], [ike, natt], [ike], [natt], []]

const flow = (local: LocalEndpoint, port: number): Flow => ({
  protocol: 17,
  local: { address: local.address, port: local.port },
  remote: { address: '203.0.113.20', port },
})
const FLOWS = frozen([flow(ike, 500), flow(ike, 1234), flow(natt, 4500), flow(natt, 40_000)])

export function checkEncap(
  about: string,
  make: () => EncapStrategy,
  test: SuiteRunner['test'],
  facts: readonly Facts[],
): void {
  test(`${about}: flows stay with the peer and use what is bound`, () => {
    const encap = make()
    for (const locals of frozen(BOUND))
      for (const current of FLOWS) {
        const isBound = ({ protocol, local }: Flow): boolean =>
          locals.some(l => l.protocol === protocol && l.port === local.port && l.address === local.address)
        const next = quiet('ikeFlow', () => encap.ikeFlow(current, locals))
        same(next.remote.address, current.remote.address, 'the address of the peer')
        check(next === current || isBound(next), 'ikeFlow to move to what is bound, or not at all')
        check(next === current || !sameFlow(next, current), 'ikeFlow to give back the same object where nothing moves')
        check(encap.ikeFlow(next, locals) === next, 'ikeFlow to move no flow twice')
        const esp = quiet('espFlow', () => encap.espFlow(next, locals))
        if (esp === undefined) continue
        same(esp.remote.address, next.remote.address, 'the address of the peer')
        check(esp === next || isBound(esp), 'espFlow to use what is bound')
      }
  })

  test(`${about}: keepalive and follows are pure`, () => {
    const encap = make()
    const told = (known: Facts): unknown => {
      const keepalive = encap.keepalive?.(known)
      check(keepalive === undefined || keepalive.length > 0, 'a keepalive that is not empty, or none')
      return [keepalive, encap.follows?.(known)]
    }
    const before = facts.map(told)
    for (const [i, known] of facts.entries()) same(told(known), before[i], 'the answer to the same facts')
  })

  test(`${about}: unwrap undoes wrap, in place and within its room`, () => {
    const encap = make()
    check(
      Number.isInteger(encap.overhead) && encap.overhead >= 0,
      `an overhead of 0 octets or more, not ${encap.overhead}`,
    )
    same(encap.wrap === undefined, encap.unwrap === undefined, 'the absence of wrap and unwrap')
    const rng = new SeededRng(about)
    for (const length of [22, 23, 64, 100, 1400]) {
      const bytes = rng.bytes(length)
      bytes[0] = 0x80 // no zero marker: an SPI
      const packet = loaded(bytes)
      const { bytes: buffer } = packet
      quiet('wrap', () => encap.wrap?.(packet))
      check(packet.bytes === buffer, 'wrap to work in the buffer it was given')
      check(packet.start >= 0 && packet.end <= HEADROOM + length + TAILROOM, 'wrap to stay in HEADROOM and TAILROOM')
      const grown = packet.end - packet.start - length
      check(grown >= 0 && grown <= encap.overhead, `wrap to add ${encap.overhead} octets at most, not ${grown}`)
      same(
        quiet('unwrap', () => encap.unwrap?.(packet)),
        undefined,
        'unwrap of what was wrapped',
      )
      same(octets(packet).slice(), bytes, 'the ESP packet afterwards')
    }
  })

  test(`${about}: unwrap of garbage drops it or leaves something`, () => {
    const encap = make()
    const rng = new SeededRng(`${about} garbage`)
    for (let round = 0; round < 500 && encap.unwrap !== undefined; round++) {
      const packet = loaded(rng.bytes(rng.below(80)))
      const { end } = packet
      const drop = quiet('unwrap', () => encap.unwrap!(packet))
      if (drop !== undefined) check(DROPS.includes(drop), `${drop} to be a known reason`)
      else
        check(
          packet.start >= 0 && packet.start <= packet.end && packet.end <= end,
          'what is left to lie within the packet',
        )
    }
  })
}

function loaded(bytes: Uint8Array): Packet {
  const packet = newPacket(HEADROOM + bytes.length + TAILROOM)
  packet.bytes.set(bytes, HEADROOM)
  packet.end = HEADROOM + bytes.length
  packet.nextHeader = 50
  return packet
}
