import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { Liveness } from '../../../core/ike/informational.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { ExchangeType, Flag, NotifyType, type Payload, PayloadType, ProtocolId } from '../../../core/wire/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { anything, chart, child, type Datagram, type End, Pair } from './pair.ts'

/** What an attacker, or a broken peer, can send at any moment. */

/** Everything an end knows, drops and traces left out. */
const snapshot = (end: End): unknown => ({
  sas: [...end.sas.values()].map(sa => ({
    state: sa.state,
    flow: sa.flow,
    lastIn: sa.lastIn,
    facts: sa.facts,
    next: sa.session.nextId,
    busy: sa.session.busy,
    deadline: sa.deadline,
    children: [...sa.children.values()].map(c => [c.id, c.state]),
  })),
  effects: end.log.filter(e => e.type !== 'drop').length,
})

const drops = (end: End): number => Object.values(end.drops).reduce((sum, n) => sum + n, 0)
const elsewhere = { address: '203.0.113.66', port: 666 }
const exchangeOf = ({ bytes }: Datagram): number => bytes[18]!

/** Handshake, rekey of a Child SA, of the IKE SA, a liveness check: one datagram at a time. */
function* stages(p: Pair): Generator<Datagram> {
  const steps = [
    () => p.connect(),
    () => p.left.start(new ChildExchange(p.left.children[0]!.settings, p.left.children[0]!), p.now),
    () => p.right.start(new RekeyIke(), p.now),
    () => p.left.start(new Liveness(), p.now),
  ]
  for (const step of steps) {
    step()
    while (p.wire.length > 0) {
      yield p.wire[0]!
      p.deliver()
    }
  }
}

/** One octet changed, or cut short, or grown. */
function mutate(bytes: Uint8Array, rng: SeededRng): Uint8Array {
  const kind = rng.below(4)
  if (kind === 0) return bytes.slice(0, rng.below(bytes.length))
  if (kind === 1) return Uint8Array.of(...bytes, ...rng.bytes(1 + rng.below(40)))
  const copy = bytes.slice()
  copy[rng.below(bytes.length)]! ^= 1 + rng.below(255)
  return copy
}

describe.each(['aes128gcm16-prfsha256-x25519', 'aes128-sha256-x25519'])('%s', suite => {
  const options = { sun: { proposals: [suite] }, moon: { proposals: [suite] } }

  test('damaged messages change nothing at any stage, wherever they come from', () => {
    const rng = new SeededRng('mutants')
    const p = new Pair(options)
    for (const datagram of stages(p))
      for (let i = 0; i < 150; i++) {
        const bytes = mutate(datagram.bytes, rng)
        const end = p[datagram.to]
        const before = { state: snapshot(end), drops: drops(end) }
        const remote = i % 2 === 0 ? elsewhere : datagram.flow.remote
        // nothing protects IKE_SA_INIT: there it is enough that nothing throws and no second SA is harmed
        if (exchangeOf(datagram) === ExchangeType.IKE_SA_INIT) {
          const victim = new Pair(options)
          victim.connect()
          if (datagram.to === 'left') victim.deliver()
          victim.deliver({ ...victim.wire[0]!, bytes: mutate(victim.wire[0]!.bytes, rng) })
          continue
        }
        end.receive(bytes, { ...datagram.flow, remote }, p.now)
        expect(snapshot(end)).toEqual(before.state)
        expect(drops(end)).toBe(before.drops + 1)
      }
    expect([...p.left.codes, ...p.right.codes]).toEqual(['OK', 'OK'])
  })

  test('copies of earlier messages change nothing and get at most the same answer', () => {
    const p = new Pair(options)
    for (const _ of stages(p))
      for (const copy of p.sent.filter(d => exchangeOf(d) !== ExchangeType.IKE_SA_INIT && !p.wire.includes(d))) {
        const end = p[copy.to]
        const before = { state: snapshot(end), answers: end.of('transmit').length, sent: p.sent.length }
        end.receive(copy.bytes, { ...copy.flow, remote: elsewhere }, p.now)
        const answers = end.of('transmit').slice(before.answers)
        expect(answers.length).toBeLessThanOrEqual(1)
        for (const { bytes } of answers) {
          expect(p.sent.slice(0, before.sent).some(d => d.bytes.join() === bytes.join())).toBe(true)
          p.wire.pop()
        }
        const { effects, ...state } = snapshot(end) as { effects: number }
        const { effects: had, ...was } = before.state as { effects: number }
        expect(effects).toBe(had + answers.length)
        // when IKE was last sent does move the next keepalive, nothing else
        expect(state).toEqual(was)
      }
  })
})

test('any octets at all', () => {
  const p = new Pair().established()
  const before = snapshot(p.right)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (noise, headed) => {
      const bytes = noise.slice()
      // right SPIs and a length that fits, so that it gets past the first checks
      if (headed && bytes.length >= 28) {
        bytes.set(p.sent.at(-2)!.bytes.subarray(0, 16))
        new DataView(bytes.buffer).setUint32(24, bytes.length)
        bytes[17] = 0x20
        bytes[18] = 35 + (bytes[18]! % 3)
      }
      p.right.receive(bytes, p.sent[0]!.flow, p.now)
      expect(snapshot(p.right)).toEqual(before)
    }),
    { numRuns: 300, seed: 1 },
  )
})

/** A message of the left end that authenticates, whatever it says. */
function say(p: Pair, payloads: Payload[], exchange: number = ExchangeType.INFORMATIONAL, messageId = 2): void {
  const { initiatorSpi, responderSpi, channel, flow } = p.left.sa
  const head = { initiatorSpi, responderSpi, exchange, flags: Flag.INITIATOR, messageId }
  const bytes = channel!.outbound.seal(head, payloads)
  p.right.receive(bytes, { protocol: 17, local: flow.remote, remote: flow.local }, p.now)
}
const raw = (number: number, body: number[], critical = false): Payload => ({
  type: 'unknown',
  number,
  critical,
  body: Uint8Array.from(body),
})
const lastAnswer = (p: Pair): string => chart(p.right).at(-1)!

describe('from a peer that authenticates', () => {
  test('an unknown payload is ignored, a critical one named in the answer', () => {
    const p = new Pair().established()
    say(p, [raw(200, [1, 2])])
    expect(lastAnswer(p)).toBe('> INFORMATIONAL response 2 [  ]')
    say(p, [raw(201, [1, 2], true)], ExchangeType.INFORMATIONAL, 3)
    expect(lastAnswer(p)).toBe('> INFORMATIONAL response 3 [ N(UNSUPPORTED_CRITICAL_PAYLOAD) ]')
    expect(p.right.sa.state).toBe('established')
  })

  test.each([
    {
      name: 'a payload that does not parse',
      payloads: [raw(PayloadType.N, [1])],
      exchange: ExchangeType.INFORMATIONAL,
    },
    { name: 'CREATE_CHILD_SA without anything', payloads: [], exchange: ExchangeType.CREATE_CHILD_SA },
    { name: 'IKE_AUTH once more', payloads: [], exchange: ExchangeType.IKE_AUTH },
    { name: 'an exchange nobody knows', payloads: [], exchange: 99 },
  ])('INVALID_SYNTAX ends the IKE SA: $name', ({ payloads, exchange }) => {
    const p = new Pair().established()
    say(p, payloads, exchange)
    expect(lastAnswer(p)).toContain('N(INVALID_SYNTAX)')
    expect(p.right.codes).toEqual(['PEER_SYNTAX'])
    expect(p.right.live).toEqual([])
  })

  test.each([0, 1, 3, 4, 0xffff_ffff])('message ID %i is out of the window', id => {
    const p = new Pair().established()
    const before = snapshot(p.right)
    say(p, [], ExchangeType.INFORMATIONAL, id)
    if (id === 1) expect(p.right.of('transmit').length).toBe(2)
    else {
      expect(snapshot(p.right)).toEqual(before)
      expect(p.right.drops).toEqual({ 'ike-message-id': 1 })
    }
  })

  test('DELETE of SPIs that are not there', () => {
    const p = new Pair().established()
    const spis = Array.from({ length: 500 }, (_, i) => Uint8Array.of(1, 2, i >> 8, i))
    say(p, [{ type: 'D', protocol: ProtocolId.ESP, spis }])
    expect(lastAnswer(p)).toBe('> INFORMATIONAL response 2 [  ]')
    expect(p.right.children).toHaveLength(1)
  })

  test('several DELETE payloads count all', () => {
    const p = new Pair().established()
    const { spi } = p.left.children[0]!.inbound
    const own = Uint8Array.of(spi >>> 24, spi >>> 16, spi >>> 8, spi)
    say(p, [
      { type: 'D', protocol: ProtocolId.AH, spis: [Uint8Array.of(1, 2, 3, 4)] },
      { type: 'D', protocol: ProtocolId.ESP, spis: [own, own] },
    ])
    expect(lastAnswer(p)).toBe('> INFORMATIONAL response 2 [ D ]')
    expect(p.right.children).toEqual([])
  })

  test('255 selectors against several allowed ones still fit into an answer', () => {
    const allowed = ['10.0.0.0', '10.1.0.0', '10.2.0.0'].map(address => anything(address, 16))
    const lan = child({ localTs: allowed, remoteTs: allowed })
    const p = new Pair({ moon: { children: { lan } } }).established()
    const selectors = Array.from({ length: 255 }, (_, i) => ({
      family: 4 as const,
      protocol: 0,
      startPort: 0,
      endPort: 65_535,
      startAddress: Uint8Array.of(10, 0, i, 0),
      endAddress: Uint8Array.of(10, 2, i, 255),
    }))
    const proposals = [
      {
        number: 1,
        protocol: ProtocolId.ESP,
        spi: Uint8Array.of(1, 2, 3, 4),
        transforms: [{ type: 1, id: 20, keyBits: 256 }],
      },
    ]
    say(
      p,
      [
        { type: 'SA', proposals },
        { type: 'Nonce', data: new Uint8Array(32) },
        { type: 'TSi', selectors },
        { type: 'TSr', selectors },
      ],
      ExchangeType.CREATE_CHILD_SA,
    )
    expect(lastAnswer(p)).toContain('CREATE_CHILD_SA response 2 [ SA Nonce TSi TSr ]')
  })
})

describe('the flow', () => {
  const nat = () => [
    {
      name: 'nat',
      process: (_m: unknown, sa: { learn(n: string, v: boolean, s: string): void }) =>
        sa.learn('remoteBehindNat', true, 'test'),
    },
  ]
  test.each([
    { behind: true, port: 666 },
    { behind: false, port: 500 },
  ])('follows fresh authenticated messages only, and only a peer behind a NAT: $behind', ({ behind, port }) => {
    const p = new Pair(behind ? { right: { encap: 'floating', tasks: nat } } : {}).established()
    p.left.start(new Liveness(), p.now)
    const request = p.wire.shift()!
    p.deliver({
      ...request,
      bytes: request.bytes.map((b, i) => (i === 30 ? b ^ 1 : b)),
      flow: { ...request.flow, remote: elsewhere },
    })
    expect(p.right.sa.flow.remote.port).toBe(500)
    p.deliver({ ...request, flow: { ...request.flow, remote: elsewhere } })
    expect(p.right.sa.flow.remote.port).toBe(port)
    // the answer goes where the request came from in any case, RFC 7296 §2.11
    expect(p.sent.at(-1)!.flow.local).toEqual(elsewhere)
    p.deliver({ ...request, flow: { ...request.flow, remote: { address: '198.51.100.1', port: 1 } } })
    expect(p.right.sa.flow.remote.port).toBe(port)
  })
})

test('notifies that nobody asked for mean nothing', () => {
  const p = new Pair().established()
  for (const [i, notify] of [NotifyType.COOKIE, NotifyType.NO_PROPOSAL_CHOSEN, 12_345, 40_000].entries())
    say(
      p,
      [{ type: 'N', protocol: 0, spi: new Uint8Array(0), notify, data: new Uint8Array(3) }],
      ExchangeType.INFORMATIONAL,
      2 + i,
    )
  expect(p.right.sa.state).toBe('established')
  expect(p.right.children).toHaveLength(1)
})
