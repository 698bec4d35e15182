import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createContainer, PluginHost, resolveAll } from '../../../core/container.ts'
import type { Fact } from '../../../core/contracts/facts.ts'
import type { IkeSaView, IncomingMessage } from '../../../core/contracts/ike-task.ts'
import type { Flow } from '../../../core/contracts/net.ts'
import { NAT_DETECTOR, STRATEGY } from '../../../core/contracts/plugin.ts'
import { ExchangeType, type Notify, NotifyType, type Payload } from '../../../core/wire/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { NatDetection, UdpEncap, udpEncap } from '../../../plugins/udp-encap/index.ts'
import { facts } from '../../core/policy/strategies.ts'
import { SeededRng } from '../../kit/index.ts'

const { NAT_DETECTION_SOURCE_IP: SOURCE, NAT_DETECTION_DESTINATION_IP: DESTINATION } = NotifyType
const { IKE_SA_INIT, IKE_AUTH, INFORMATIONAL } = ExchangeType

const I = '10.1.0.10:500'
const R = '192.0.2.1:500'
const NAT_OF_I = '203.0.113.7:61234'
const NAT_OF_R = '198.51.100.9:500'

const endpoint = (text: string): Flow['local'] => {
  const at = text.lastIndexOf(':')
  return { address: text.slice(0, at), port: Number(text.slice(at + 1)) }
}
const flow = (local: string, remote: string): Flow => ({
  protocol: 17,
  local: endpoint(local),
  remote: endpoint(remote),
})

/** One end of an IKE SA, as its tasks see it. */
class End implements IkeSaView {
  readonly initiator: boolean
  readonly initiatorSpi = 0x0102030405060708n
  readonly responderSpi = 0x1112131415161718n
  readonly line = '0102030405060708'
  readonly peer = undefined
  readonly crypto = nodeCryptoProvider
  readonly rng = new SeededRng(1)
  readonly task = new NatDetection()
  facts: Record<string, Fact>

  constructor(initiator: boolean, known: Record<string, boolean> = {}) {
    this.initiator = initiator
    this.facts = facts(known)
  }

  learn(name: string, value: string | number | boolean, source: string): void {
    this.facts = { ...this.facts, [name]: { value, source, at: 1 } }
  }

  says(on: Flow, exchange: number = IKE_SA_INIT): Payload[] {
    const payloads: Payload[] = []
    this.task.build({ exchange, response: !this.initiator, messageId: 0, flow: on, payloads }, this)
    return payloads
  }

  hears(payloads: readonly Payload[], on: Flow, exchange: number = IKE_SA_INIT): void {
    const message: IncomingMessage = { exchange, response: this.initiator, messageId: 0, flow: on, payloads }
    this.task.process(message, this)
  }

  get found(): Record<string, unknown> {
    const { localBehindNat, remoteBehindNat, peerNatTraversal } = this.facts
    return { local: localBehindNat?.value, remote: remoteBehindNat?.value, traversal: peerNatTraversal?.value }
  }
}

const dataOf = (payloads: readonly Payload[], type: number): string[] =>
  payloads.flatMap(p => (p.type === 'N' && p.notify === type ? [Buffer.from(p.data).toString('hex')] : []))

const notify = (type: number, data: Uint8Array): Payload & Notify => ({
  type: 'N',
  protocol: 0,
  spi: new Uint8Array(0),
  notify: type,
  data,
})

// Computed with sha1sum over the octets of RFC 7296 §2.23: SPIi | SPIr | address | port.
test('the hashes of a request', () => {
  const said = new End(true).says(flow(I, R))
  expect(dataOf(said, SOURCE)).toEqual(['39c8075fd838dfed4c4a7b9c2cbc521d79184350'])
  expect(dataOf(said, DESTINATION)).toEqual(['644b4575455bd6fcc1efe2be8162a9218e448e5f'])
  for (const payload of said) expect(payload).toMatchObject({ type: 'N', protocol: 0, spi: new Uint8Array(0) })
})

test('the hashes of a response hold the SPI of the responder', () => {
  expect(dataOf(new End(false).says(flow(R, I)), SOURCE)).toEqual(['d798d986143f878f70765e0e869c80bbc375f701'])
})

describe('one exchange', () => {
  // NAT of the initiator, NAT of the responder
  const rows = [
    { name: 'no NAT', i: I, r: R, want: [false, false] },
    { name: 'the initiator behind a NAT', i: NAT_OF_I, r: R, want: [true, false] },
    { name: 'the responder behind a NAT', i: I, r: NAT_OF_R, want: [false, true] },
    { name: 'both behind NATs', i: NAT_OF_I, r: NAT_OF_R, want: [true, true] },
    { name: 'a NAT that changes the port only', i: '10.1.0.10:1024', r: R, want: [true, false] },
    { name: 'a NAT that keeps the port', i: '203.0.113.7:500', r: R, want: [true, false] },
  ]
  for (const { name, i, r, want } of rows)
    test(`${name}: both ends find the same`, () => {
      const [initiator, responder] = [new End(true), new End(false)]
      const [initiatorBehind, responderBehind] = want
      // IKE_SA_INIT request [ SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) ] -->
      responder.hears(initiator.says(flow(I, r)), flow(R, i))
      expect(responder.found).toEqual({ local: responderBehind, remote: initiatorBehind, traversal: true })
      // <-- IKE_SA_INIT response [ SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) ]
      initiator.hears(responder.says(flow(R, i)), flow(I, r))
      expect(initiator.found).toEqual({ local: initiatorBehind, remote: responderBehind, traversal: true })
    })

  test('over IPv6', () => {
    const [a, b] = ['2001:db8::10:500', '2001:db8:1::1:500']
    const responder = new End(false)
    responder.hears(new End(true).says(flow(a, b)), flow(b, a))
    expect(responder.found).toEqual({ local: false, remote: false, traversal: true })
  })

  test('facts say which notify of which peer they come from', () => {
    const responder = new End(false)
    responder.hears(new End(true).says(flow(I, R)), flow(R, NAT_OF_I))
    expect(responder.facts.localBehindNat?.source).toBe(`NAT_DETECTION_DESTINATION_IP from ${NAT_OF_I}`)
    expect(responder.facts.remoteBehindNat?.source).toBe(`NAT_DETECTION_SOURCE_IP from ${NAT_OF_I}`)
  })
})

describe('forced encapsulation', () => {
  test('the peer sees a NAT, this host does not', () => {
    const [initiator, responder] = [new End(true, { forceEncapsulation: true }), new End(false)]
    responder.hears(initiator.says(flow(I, R)), flow(R, I))
    expect(responder.found).toEqual({ local: false, remote: true, traversal: true })
    initiator.hears(responder.says(flow(R, I)), flow(I, R))
    expect(initiator.found).toEqual({ local: false, remote: false, traversal: true })
  })

  test('by a responder as well', () => {
    const [initiator, responder] = [new End(true), new End(false, { forceEncapsulation: true })]
    initiator.hears(responder.says(flow(R, I)), flow(I, R))
    expect(initiator.found).toEqual({ local: false, remote: true, traversal: true })
  })
})

describe('what peers send', () => {
  const at = flow(R, I)
  const [source, destination] = new End(true).says(flow(I, R)) as [Payload, Payload]
  const other = notify(SOURCE, new Uint8Array(20))

  const rows: { name: string; payloads: Payload[]; want: Record<string, boolean> }[] = [
    { name: 'nothing', payloads: [], want: { traversal: false } },
    {
      name: 'only other notifies',
      payloads: [notify(NotifyType.COOKIE, new Uint8Array(20))],
      want: { traversal: false },
    },
    { name: 'no destination', payloads: [source], want: { traversal: false } },
    { name: 'no source', payloads: [destination], want: { traversal: false } },
    { name: 'any order', payloads: [destination, source], want: { local: false, remote: false, traversal: true } },
    {
      name: 'several sources, one of which is right',
      payloads: [other, other, source, destination],
      want: { local: false, remote: false, traversal: true },
    },
    {
      name: 'several, none right',
      payloads: [other, other, destination],
      want: { local: false, remote: true, traversal: true },
    },
    {
      name: 'hashes of a wrong length do not count',
      payloads: [notify(SOURCE, new Uint8Array(19)), notify(SOURCE, new Uint8Array(0)), source, destination],
      want: { local: false, remote: false, traversal: true },
    },
    {
      name: 'a destination that is not this host',
      payloads: [source, notify(DESTINATION, new Uint8Array(20))],
      want: { local: true, remote: false, traversal: true },
    },
  ]
  for (const { name, payloads, want } of rows)
    test(name, () => {
      const responder = new End(false)
      responder.hears(payloads, at)
      expect(responder.found).toEqual({ local: undefined, remote: undefined, ...want })
    })

  test('other exchanges are neither read nor written to', () => {
    const responder = new End(false)
    expect(responder.says(at, IKE_AUTH)).toEqual([])
    responder.hears([source, destination], at, IKE_AUTH)
    expect(responder.facts).toEqual({})
  })

  test('no octets make it throw', () => {
    const payload = fc
      .record({ type: fc.constantFrom(SOURCE, DESTINATION), data: fc.uint8Array({ maxLength: 40 }) })
      .map(({ type, data }) => notify(type, data))
    fc.assert(
      fc.property(fc.array(payload, { maxLength: 80 }), payloads => {
        new End(false).hears(payloads, at)
      }),
    )
  })
})

test('the plugin registers both, tasks afresh for each IKE SA', () => {
  const container = createContainer()
  new PluginHost([udpEncap()]).register(container)
  expect(resolveAll(container, STRATEGY)).toEqual([expect.any(UdpEncap)])
  const [detector, ...more] = resolveAll(container, NAT_DETECTOR)
  expect(more).toEqual([])
  expect(detector).toMatchObject({ name: 'nat-detection' })
  expect(detector?.tasks()[0]).not.toBe(detector?.tasks()[0])
})

describe('INFORMATIONAL messages of MOBIKE, RFC 4555', () => {
  const update: Payload = {
    type: 'N',
    protocol: 0,
    spi: new Uint8Array(0),
    notify: NotifyType.UPDATE_SA_ADDRESSES,
    data: new Uint8Array(0),
  }
  const flows = { here: flow('10.1.0.10:4500', '192.0.2.1:4500'), there: flow('192.0.2.1:4500', '203.0.113.7:61234') }
  const ask = (end: End, payloads: Payload[]): Payload[] => {
    end.task.build({ exchange: INFORMATIONAL, response: false, messageId: 2, flow: flows.here, payloads }, end)
    return payloads
  }
  const answer = (end: End, asked: readonly Payload[], on: Flow = flows.there): Payload[] => {
    const request = { exchange: INFORMATIONAL, response: false, messageId: 2, flow: on, payloads: asked }
    end.task.process(request, end)
    const payloads: Payload[] = []
    end.task.build({ exchange: INFORMATIONAL, response: true, messageId: 2, flow: on, payloads, request }, end)
    return payloads
  }
  const types = (payloads: readonly Payload[]) => payloads.map(p => (p.type === 'N' ? p.notify : 0))

  test('an update has the hashes, with both SPIs, and the answer tells of a NAT', () => {
    const [i, r] = [new End(true), new End(false)]
    const asked = ask(i, [update])
    expect(types(asked)).toEqual([NotifyType.UPDATE_SA_ADDRESSES, SOURCE, DESTINATION])
    const answered = answer(r, asked)
    expect(types(answered)).toEqual([SOURCE, DESTINATION])
    i.hears(answered, flows.here, INFORMATIONAL)
    expect([i.facts.localBehindNat?.value, i.facts.remoteBehindNat?.value]).toEqual([true, false])
    expect([r.facts.localBehindNat?.value, r.facts.remoteBehindNat?.value]).toEqual([false, true])
  })

  test('a liveness check from behind a NAT compares the mapping, and changes no fact of the other end', () => {
    const [i, r] = [new End(true, { mobike: true, localBehindNat: true }), new End(false)]
    const mappings = ['203.0.113.7:61234', '203.0.113.7:61234', '203.0.113.7:61235'].map(seen => {
      i.hears(answer(r, ask(i, []), flow('192.0.2.1:4500', seen)), flows.here, INFORMATIONAL)
      return i.facts.natMapping?.value
    })
    expect([mappings[0] === mappings[1], mappings[1] === mappings[2]]).toEqual([true, false])
    expect(r.facts).toEqual({})
  })

  test.each([
    { name: 'without a NAT', known: { mobike: true, localBehindNat: false } },
    { name: 'without MOBIKE', known: { localBehindNat: true } },
  ])('a liveness check says nothing $name, and so does its answer', ({ known }) => {
    const asked = ask(new End(true, known), [])
    expect([...asked, ...answer(new End(false), asked)]).toEqual([])
  })
})
