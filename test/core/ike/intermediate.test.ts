import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { Transcript } from '../../../core/ike/intermediate.ts'
import { showProposal } from '../../../core/ike/proposal.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { suiteProposal } from '../../../core/ike/selection.ts'
import { combineProviders } from '../../../core/ike/suite.ts'
import { ExchangeType, Flag, PayloadType, Prf } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { chart, type End, Pair, type PairOptions } from './pair.ts'

/** IKE_INTERMEDIATE (RFC 9242) with multiple key exchanges (RFC 9370) and ML-KEM, between two ends. */

/** What the usual set of plugins gives: OpenSSL first, noble for what it lacks. */
const usual = combineProviders([nodeCryptoProvider, nobleProvider])
const SUITE = 'aes256gcm16-prfsha256-x25519-ke1_mlkem768'

interface Wish {
  readonly left?: CryptoProvider
  readonly right?: CryptoProvider
  readonly fragmentSize?: number
}

const pair = (left: readonly string[], right: readonly string[] = left, wish: Wish = {}): Pair => {
  const end = (crypto = usual) => ({ crypto, timers: { fragmentSize: wish.fragmentSize ?? 1_280 } })
  const options: PairOptions = { left: end(wish.left), right: end(wish.right) }
  return new Pair({ ...options, sun: { proposals: left }, moon: { proposals: right } })
}
const both = (p: Pair): End[] => [p.left, p.right]
const suites = (p: Pair) => both(p).map(end => showProposal(suiteProposal(end.sa.channel!.suite)))
const sameKeys = (p: Pair) => expect(p.left.sa.channel!.keys).toEqual(p.right.sa.channel!.keys)

describe.each([
  ['node-crypto and noble, noble', usual, nobleProvider],
  ['noble, node-crypto and noble', nobleProvider, usual],
])('providers: %s', (_, left, right) => {
  test.each([
    ['ML-KEM-512', SUITE.replace('768', '512')],
    ['ML-KEM-768', SUITE],
    ['ML-KEM-1024', SUITE.replace('768', '1024')],
    ['three methods', 'aes256-sha512-x25519-ke1_mlkem512-ke2_ecp384-ke3_mlkem1024'],
    ['numbers with gaps', 'aes128gcm16-prfsha384-ecp256-ke2_mlkem768-ke7_x25519'],
    ['ML-KEM alone', 'aes256gcm16-prfsha256-mlkem768'],
    ['ML-KEM before a curve', 'aes256gcm16-prfsha256-mlkem512-ke1_x25519'],
  ])('%s', (_, suite) => {
    const p = pair([suite], [suite], { left, right }).established()
    expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
    expect(suites(p)).toEqual([showSuite(suite), showSuite(suite)])
    expect(p.right.children.map(c => c.inbound.encr)).toEqual(p.left.children.map(c => c.outbound.encr))
    sameKeys(p)
    expect(both(p).map(end => end.drops)).toEqual([{}, {}])
  })
})

/** CBC suites show the PRF that follows from the integrity algorithm. */
const showSuite = (suite: string): string => suite.replace('aes256-sha512-', 'aes256-sha512-prfsha512-')

test('messages', () => {
  const p = pair([SUITE]).established()
  expect(chart(p.left)).toEqual([
    '> IKE_SA_INIT request 0 [ SA KE Nonce N(IKEV2_FRAGMENTATION_SUPPORTED) N(INTERMEDIATE_EXCHANGE_SUPPORTED) ]',
    '< IKE_SA_INIT response 0 [ SA KE Nonce N(INTERMEDIATE_EXCHANGE_SUPPORTED) N(IKEV2_FRAGMENTATION_SUPPORTED) ]',
    '> IKE_INTERMEDIATE request 1 [ KE ]',
    '< IKE_INTERMEDIATE response 1 [ KE ]',
    '> IKE_AUTH request 2 [ IDi N(INITIAL_CONTACT) IDr AUTH SA TSi TSr ]',
    '< IKE_AUTH response 2 [ IDr AUTH SA TSi TSr ]',
  ])
})

test('IntAuth is made as RFC 9242 §3.3.2 says', () => {
  const keys = { pi: Uint8Array.of(1), pr: Uint8Array.of(2) }
  const channel = { suite: { prf: Prf.PRF_HMAC_SHA2_256 }, keys } as Parameters<Transcript['add']>[1]
  const transcript = new Transcript()
  const head = (messageId: number, flags: number) => ({
    initiatorSpi: 0x0102030405060708n,
    responderSpi: 0x1112131415161718n,
    exchange: ExchangeType.IKE_INTERMEDIATE,
    flags,
    messageId,
  })
  const bytes = Uint8Array.of(0, 0, 0, 5, 9)
  for (const messageId of [1, 2]) {
    transcript.add(nodeCryptoProvider, channel, true, head(messageId, Flag.INITIATOR), { first: PayloadType.V, bytes })
    transcript.add(nodeCryptoProvider, channel, false, head(messageId, Flag.RESPONSE), { first: PayloadType.V, bytes })
  }
  // header with Length 28 + 4 + 5, generic header of SK (46) with Next Payload V (43) and Payload Length 4 + 5, payloads
  const octets = (id: string, flags: string) =>
    Buffer.from(
      `010203040506070811121314151617182e202b${flags}000000${id}00000025 2b000009 0000000509`.replaceAll(' ', ''),
      'hex',
    )
  const hmac = (key: Uint8Array, ...data: Uint8Array[]) =>
    createHmac('sha256', key).update(Buffer.concat(data)).digest()
  const i1 = hmac(keys.pi, octets('01', '08'))
  const r1 = hmac(keys.pr, octets('01', '20'))
  const i2 = hmac(keys.pi, i1, octets('02', '08'))
  const r2 = hmac(keys.pr, r1, octets('02', '20'))
  expect(Buffer.from(transcript.octets())).toEqual(Buffer.concat([i2, r2, Buffer.from('00000003', 'hex')]))
})

describe('who wants it', () => {
  const plain = 'aes256gcm16-prfsha256-x25519'
  test.each([
    ['offered, not known there', [SUITE, plain], [plain]],
    ['offered as optional, not known there', [`${SUITE}-ke1_none`], [plain]],
    ['optional there, not offered', [plain], [`${SUITE}-ke1_none`]],
  ])('goes without: %s', (_, left, right) => {
    const p = pair(left, right).established()
    expect(suites(p)).toEqual([plain, plain])
    expect(chart(p.left).some(line => line.includes('IKE_INTERMEDIATE'))).toBe(false)
  })

  test('optional at both ends: used', () => {
    expect(suites(pair([`${SUITE}-ke1_none`]).established())).toEqual([SUITE, SUITE])
  })

  test.each([
    ['wanted there, not offered', [plain], [SUITE]],
    ['wanted here, not known there', [SUITE], [plain]],
    ['another one there', [SUITE], [SUITE.replace('768', '1024')]],
  ])('refused: %s', (_, left, right) => {
    const p = pair(left, right)
    p.connect()
    p.run(5_000)
    expect(p.left.codes).toEqual(['PEER_NO_PROPOSAL'])
  })

  test('the suite that was agreed on must be one of this very peer', () => {
    // another peer may go without, so IKE_SA_INIT lets it pass
    const p = new Pair({
      left: { crypto: usual },
      right: { crypto: usual },
      sun: { proposals: [plain] },
      moon: { proposals: [SUITE] },
    })
    const other = {
      ...p.moon,
      name: 'other',
      remoteId: { type: 'fqdn' as const, value: 'else.example' },
      proposals: [],
    }
    Object.assign(p.right.options, { peers: [p.moon, other] })
    p.connect()
    p.run(5_000)
    expect(p.left.codes).toEqual(['PEER_NO_PROPOSAL'])
    expect(p.right.codes).toEqual(['PEER_NO_PROPOSAL'])
  })
})

describe('losses', () => {
  test('each message lost once: a repeated answer is still protected with the keys before', () => {
    const total = pair([SUITE], [SUITE], { fragmentSize: 576 }).established().sent.length
    for (let lost = 0; lost < total; lost++) {
      const p = pair([SUITE], [SUITE], { fragmentSize: 576 })
      p.fate = d => (d.n === lost ? [] : [d])
      p.connect()
      p.run(20_000)
      expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
      sameKeys(p)
    }
  })

  test('answers too large for the path are cut anew with the keys before', () => {
    const p = pair(['aes256gcm16-prfsha256-x25519-ke1_mlkem1024'])
    p.fate = d => (d.to === 'left' && d.bytes.length > 548 ? [] : [d])
    p.connect()
    p.run(20_000)
    expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
  })

  test('duplicates and disorder', () => {
    for (let seed = 0; seed < 10; seed++) {
      const rng = new SeededRng(seed)
      const p = pair([SUITE], [SUITE], { fragmentSize: 576 })
      p.fate = d => (rng.chance(0.1) ? [] : rng.chance(0.3) ? [d, d] : [d])
      p.connect()
      for (let i = 0; i < 60 && p.left.sa.state === 'connecting'; i++) {
        for (let n = 0; p.wire.length > 0 && n < 500; n++) p.deliver(p.wire.splice(rng.below(p.wire.length), 1)[0])
        p.run(500)
      }
      expect(both(p).map(end => end.sa.state)).toEqual(['established', 'established'])
    }
  })
})

describe('hostile', () => {
  test('IKE_AUTH before the additional key exchange is refused', () => {
    const p = pair([SUITE])
    p.connect()
    p.deliver()
    const waiting = p.right.live[0]!
    p.deliver()
    // the initiator believes that there is nothing more to agree on
    const impatient = pair([SUITE.replace('-ke1_mlkem768', '')])
    impatient.established()
    expect(waiting.additional).toHaveLength(1)
    expect(() =>
      waiting.behaviour.respond(
        waiting,
        { exchange: ExchangeType.IKE_AUTH, response: false, messageId: 1, flow: waiting.flow, payloads: [] },
        p.now,
      ),
    ).toThrow(expect.objectContaining({ code: 'PEER_SYNTAX' }))
  })

  test.each([
    ['no KE', []],
    ['another method', [{ type: 'KE' as const, group: 31, data: new Uint8Array(32) }]],
    ['a key that is too short', [{ type: 'KE' as const, group: 36, data: new Uint8Array(1_183) }]],
    ['a key that is none', [{ type: 'KE' as const, group: 36, data: new Uint8Array(1_184).fill(0xff) }]],
  ])('an IKE_INTERMEDIATE with %s ends the half-open SA', (_, payloads) => {
    const p = pair([SUITE])
    p.connect()
    p.deliver()
    const waiting = p.right.live[0]!
    const request = {
      exchange: ExchangeType.IKE_INTERMEDIATE,
      response: false,
      messageId: 1,
      flow: waiting.flow,
      payloads,
    }
    expect(() => waiting.behaviour.respond(waiting, request, p.now)).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^PEER_/) }),
    )
  })

  test('a changed ciphertext, were it not for the ICV, gives other keys and no SA', () => {
    const kem: CryptoProvider = {
      ...usual,
      encapsulate: (group, peer, rng) => {
        const answer = nobleProvider.encapsulate!(group, peer, rng)
        answer.publicValue[0]! ^= 1
        return answer
      },
    }
    const p = pair([SUITE], [SUITE], { right: kem })
    p.connect()
    p.run(120_000)
    expect(both(p).map(end => end.live.length)).toEqual([0, 0])
    expect(p.right.drops['ike-integrity']).toBeGreaterThan(0)
  })
})

test('rekeys afterwards: of the IKE SA, whose additional key exchanges live on in SK_d, and of the Child SA', () => {
  const p = pair([SUITE]).established()
  p.left.start(new RekeyIke(), p.now)
  p.settle()
  p.right.start(new RekeyIke(), p.now)
  p.settle()
  sameKeys(p)
  p.left.start(new ChildExchange(p.left.children[0]!.settings, p.left.children[0]!), p.now)
  p.settle()
  expect(p.right.children.map(c => c.inbound.encr)).toEqual(p.left.children.map(c => c.outbound.encr))
  expect(both(p).flatMap(end => end.codes)).toEqual(['OK', 'OK', 'OK', 'OK'])
})
