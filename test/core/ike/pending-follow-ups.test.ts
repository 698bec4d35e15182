import { describe, expect, test } from 'vitest'
import { PeerError } from '../../../core/errors.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import type { Exchange } from '../../../core/ike/exchange.ts'
import { DeleteChild, DeleteIke, Liveness } from '../../../core/ike/informational.ts'
import { notify } from '../../../core/ike/notify.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { ExchangeType, NotifyType, type Payload } from '../../../core/wire/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import {
  both,
  converged,
  isWiped,
  noting,
  pair,
  pending,
  rekeyChild,
  said,
  start,
  THREE,
  usual,
} from './follow-up-pair.ts'
import { chart, type End, type Pair } from './pair.ts'

/** IKE_FOLLOWUP_KE that do not come, come late, or make no sense, RFC 9370 §2.2.4. */

describe('what is begun and not finished', () => {
  /** The right end has answered CREATE_CHILD_SA; the follow-up of the left end is on the way. */
  function begun(exchange: (end: End) => Exchange = rekeyChild) {
    const secrets: Uint8Array[] = []
    const p = pair({ right: { crypto: noting(usual, secret => secrets.push(secret)) } }).established()
    secrets.length = 0
    start(p, p.left, exchange(p.left))
    p.deliver()
    p.deliver()
    // SK(0), itself and not a copy
    expect(secrets.map(isWiped)).toEqual([false])
    return { p, held: p.wire.splice(0), secrets }
  }

  test.each([
    ['a Child SA', rekeyChild],
    ['an IKE SA', () => new RekeyIke()],
  ] as const)('%s: forgotten after 20 s; the peer learns that and begins anew', (_, exchange) => {
    const { p, held, secrets } = begun(exchange)
    const before = p.left.children[0]!.id
    p.now += 20_001
    p.right.timeout(p.now)
    expect(pending(p.right.sa)).toBe(0)
    expect(secrets.map(isWiped)).toEqual([true])
    for (const each of held) p.deliver(each)
    expect(chart(p.right).at(-1)).toContain('[ N(STATE_NOT_FOUND) ]')
    expect(p.right.drops['ike-followup-unknown']).toBe(1)
    p.settle()
    expect(p.left.children.map(c => [c.id, c.state])).toEqual([[before, 'installed']])
    p.run(10_000)
    converged(p)
    expect(p.left.codes.filter(code => code !== 'OK')).toEqual([])
    if (exchange === rekeyChild) expect(p.left.children[0]!.id).not.toBe(before)
    else expect(p.left.of('rekeyed')).toHaveLength(1)
  })

  test.each([
    ['a Child SA', rekeyChild],
    ['an IKE SA', () => new RekeyIke()],
  ] as const)('%s: a peer that forgets every time loses the IKE SA', (_, exchange) => {
    const p = pair().established()
    const { behaviour } = p.right.sa
    const forgetful = {
      ...behaviour,
      respond: (...[sa, request, now]: Parameters<typeof behaviour.respond>) => {
        if (request.exchange === ExchangeType.IKE_FOLLOWUP_KE) sa.followUps.clear()
        return behaviour.respond(sa, request, now)
      },
    }
    Object.assign(p.right.sa, { behaviour: forgetful })
    start(p, p.left, exchange(p.left))
    p.run(60_000)
    expect(p.right.drops['ike-followup-unknown']).toBe(4)
    expect(p.left.of('closed')).toMatchObject([{ code: 'PEER_REKEY' }])
    expect(chart(p.left).filter(line => line.startsWith('> INFORMATIONAL'))).toEqual([expect.stringContaining('[ D ]')])
    expect(both(p).map(end => end.live.length)).toEqual([0, 0])
  })

  test('nothing is made of a Child SA that was deleted meanwhile', () => {
    const { p, held } = begun()
    start(p, p.right, new DeleteChild(p.right.children[0]!, 'not wanted'))
    for (const each of held) p.deliver(each)
    expect(chart(p.right).at(-1)).toContain('[ N(STATE_NOT_FOUND) ]')
    p.run(60_000)
    expect(both(p).map(end => end.children)).toEqual([[], []])
    expect(both(p).map(end => end.live.length)).toEqual([1, 1])
  })

  test('nothing is made on an IKE SA that is about to go', () => {
    const { p, held } = begun()
    start(p, p.right, new DeleteIke('not wanted'))
    for (const each of held) p.deliver(each)
    expect(chart(p.right).at(-1)).toContain('[ N(STATE_NOT_FOUND) ]')
    p.run(60_000)
    expect(both(p).map(end => end.live.length)).toEqual([0, 0])
  })

  test('an IKE SA that ends forgets and wipes everything', () => {
    const { p, secrets } = begun()
    const { sa } = p.right
    sa.close('OK', 'test', p.now)
    expect(pending(sa)).toBe(0)
    expect(secrets.map(isWiped)).toEqual([true])
  })

  test('secrets are wiped when the SA has its keys', () => {
    const { p, held, secrets } = begun()
    p.wire.push(...held)
    p.settle()
    converged(p)
    expect(secrets.map(isWiped)).toEqual([true])
  })

  test('a peer that is about to replace the IKE SA makes nothing else on it, and nothing is asked of it', () => {
    const { p, held } = begun(() => new RekeyIke())
    start(p, p.right, rekeyChild(p.right))
    start(p, p.right, new RekeyIke())
    // liveness checks go on; a rekey whose last answer would find the SA in use is given up
    start(p, p.right, new Liveness())
    expect(said(p.right, 0).at(-1)).toBe('> INFORMATIONAL request [  ]')
    for (const each of held) p.deliver(each)
    expect(chart(p.right).at(-1)).toContain('[ N(STATE_NOT_FOUND) ]')
    p.run(60_000)
    converged(p)
    expect(p.left.of('rekeyed').length).toBeGreaterThan(0)
    expect(both(p).flatMap(end => end.codes.filter(code => code !== 'OK'))).toEqual([])
  })

  /** Hands the right end's SA a request as if it had come, authenticated, from the peer. */
  const ask = (p: Pair, exchange: number, payloads: readonly Payload[]) => {
    const { sa } = p.right
    const request = { exchange, response: false, messageId: 9, flow: sa.flow, payloads }
    return sa.behaviour.respond(sa, request, p.now) as Payload[]
  }
  const kinds = (payloads: readonly Payload[]) => payloads.map(each => (each.type === 'N' ? each.notify : each.type))
  /** A CREATE_CHILD_SA request for a further Child SA, as the left end says it. */
  function question(p: Pair): readonly Payload[] {
    return new ChildExchange({ ...p.left.sa.settings!.children.lan!, name: 'more' }).request(p.left.sa, p.now)!
  }

  test('a peer that begins without end is told to come later', () => {
    const p = pair().established()
    for (let i = 0; i < 20; i++) {
      const answer = kinds(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))
      expect(answer).toEqual(
        i < 8
          ? ['SA', 'Nonce', 'KE', 'TSi', 'TSr', NotifyType.ADDITIONAL_KEY_EXCHANGE]
          : [NotifyType.TEMPORARY_FAILURE],
      )
    }
    expect(pending(p.right.sa)).toBe(8)
    p.right.carryOut(p.right.sa, p.now)
    expect(p.right.drops['ike-create-storm']).toBe(12)
    p.run(20_001)
    expect(pending(p.right.sa)).toBe(0)
    expect(p.right.deadline).toBe(Infinity)
  })

  test('each key exchange that is to come costs as much as a request', () => {
    const esp = ['aes256gcm16-x25519-ke1_ecp256-ke2_ecp384-ke3_modp2048-ke4_modp3072']
    const p = pair({ esp }).established()
    let taken = 0
    for (; taken < 64; taken++) {
      if (kinds(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))[0] === NotifyType.TEMPORARY_FAILURE) break
      p.right.sa.followUps.clear()
    }
    // 64 at once, of which each series takes five
    expect(taken).toBe(12)
  })

  const link = (answer: readonly Payload[]): Uint8Array =>
    answer.flatMap(each =>
      each.type === 'N' && each.notify === NotifyType.ADDITIONAL_KEY_EXCHANGE ? [each.data] : [],
    )[0]!
  const linked = (data: Uint8Array, ke?: Payload): Payload[] => [
    ...(ke === undefined ? [] : [ke]),
    notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, data),
  ]
  const good = (p: Pair, group: number): Payload => ({
    type: 'KE',
    group,
    data: usual.keyExchange(group, p.left.rng).publicValue,
  })
  const MLKEM512 = 35
  const ECP256 = 19

  test('links that were never given, are gone, or come twice', () => {
    const p = pair({ esp: [THREE] }).established()
    const unknown = [NotifyType.STATE_NOT_FOUND]
    const followed = (data: Uint8Array, group: number) =>
      ask(p, ExchangeType.IKE_FOLLOWUP_KE, linked(data, good(p, group)))
    // without anything pending
    expect(kinds(ask(p, ExchangeType.IKE_FOLLOWUP_KE, [good(p, MLKEM512)]))).toEqual(unknown)
    expect(kinds(followed(new Uint8Array(8), MLKEM512))).toEqual(unknown)
    const first = link(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))
    for (const wrong of [new Uint8Array(0), first.subarray(1), Uint8Array.of(...first, 0), new Uint8Array(60_000)])
      expect(kinds(followed(wrong, MLKEM512))).toEqual(unknown)
    const second = link(followed(first, MLKEM512))
    expect(second).toHaveLength(8)
    // the one that has had its turn
    expect(kinds(followed(first, MLKEM512))).toEqual(unknown)
    expect(kinds(followed(second, ECP256))).toEqual(['KE'])
    // an extra one after the last
    expect(kinds(followed(second, ECP256))).toEqual(unknown)
    p.right.carryOut(p.right.sa, p.now)
    expect(p.right.of('child-up')).toHaveLength(2)
    expect(p.right.live).toHaveLength(1)
  })

  test('two series at once are told apart by their links', () => {
    const p = pair({ esp: [THREE] }).established()
    const [one, other] = [0, 1].map(() => link(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))) as [
      Uint8Array,
      Uint8Array,
    ]
    const followed = (data: Uint8Array, group: number) =>
      ask(p, ExchangeType.IKE_FOLLOWUP_KE, linked(data, good(p, group)))
    const otherNext = link(followed(other, MLKEM512))
    const oneNext = link(followed(one, MLKEM512))
    expect(kinds(followed(oneNext, ECP256))).toEqual(['KE'])
    expect(kinds(followed(otherNext, ECP256))).toEqual(['KE'])
    expect(p.right.sa.children.size).toBe(3)
  })

  test.each([
    ['no KE', undefined],
    ['the key exchange whose turn comes later', ECP256],
    ['one that was not agreed on', 31],
  ])('an IKE_FOLLOWUP_KE with %s ends the IKE SA', (_, group) => {
    const p = pair({ esp: [THREE] }).established()
    const first = link(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))
    const ke = group === undefined ? undefined : good(p, group)
    expect(() => ask(p, ExchangeType.IKE_FOLLOWUP_KE, linked(first, ke))).toThrow(
      expect.objectContaining({ code: 'PEER_SYNTAX', notify: NotifyType.INVALID_SYNTAX }),
    )
  })

  test.each([
    ['too short', new Uint8Array(799)],
    ['no encapsulation key', new Uint8Array(800).fill(0xff)],
    ['empty', new Uint8Array(0)],
  ])('a public value that is %s is refused', (_, data) => {
    const p = pair({ esp: [THREE] }).established()
    const first = link(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))
    const ke: Payload = { type: 'KE', group: MLKEM512, data }
    expect(() => ask(p, ExchangeType.IKE_FOLLOWUP_KE, linked(first, ke))).toThrow(
      expect.objectContaining({ code: 'PEER_KE_INVALID' }),
    )
  })

  test('before IKE_AUTH there is no such exchange', () => {
    const p = pair()
    p.connect()
    p.deliver()
    const waiting = p.right.live[0]!
    const request = { exchange: 44, response: false, messageId: 1, flow: waiting.flow, payloads: [] }
    expect(() => waiting.behaviour.respond(waiting, request, p.now)).toThrow(
      expect.objectContaining({ code: 'PEER_SYNTAX' }),
    )
  })

  type Lie = (honest: () => Payload[]) => Payload[]
  const changed =
    (change: (answer: Payload[]) => Payload[]): Lie =>
    honest =>
      change(honest())
  /** The left end begins; the right end's answers to IKE_FOLLOWUP_KE, or the first one, are changed. */
  function lied(exchange: (end: End) => Exchange, change: Lie, type: number): Pair {
    const p = pair({ esp: [THREE] }).established()
    const { behaviour } = p.right.sa
    const liar = {
      ...behaviour,
      respond: (...[sa, request, now]: Parameters<typeof behaviour.respond>) => {
        const honest = () => behaviour.respond(sa, request, now) as Payload[]
        return request.exchange === type ? change(honest) : honest()
      },
    }
    Object.assign(p.right.sa, { behaviour: liar })
    start(p, p.left, exchange(p.left))
    p.run(5_000)
    return p
  }
  const isLink = (each: Payload) => each.type === 'N' && each.notify === NotifyType.ADDITIONAL_KEY_EXCHANGE
  const LIES: readonly (readonly [string, number, Lie])[] = [
    ['no link after CREATE_CHILD_SA', 36, changed(answer => answer.filter(each => !isLink(each)))],
    ['no link where another key exchange comes', 44, changed(answer => answer.filter(each => !isLink(each)))],
    ['no KE', 44, changed(answer => answer.filter(each => each.type !== 'KE'))],
    [
      'another KE',
      44,
      changed(answer => answer.map(e => (e.type === 'KE' ? { ...e, group: 31, data: new Uint8Array(32) } : e))),
    ],
    ['a short KE', 44, changed(answer => answer.map(e => (e.type === 'KE' ? { ...e, data: e.data.subarray(1) } : e)))],
    ['a refusal', 44, () => [notify(NotifyType.NO_PROPOSAL_CHOSEN)]],
  ]
  test.each(LIES)('a Child SA keeps its keys when the answer has %s', (_, type, change) => {
    const p = lied(rekeyChild, change, type)
    expect(p.left.codes).toHaveLength(1)
    expect(p.left.codes[0]).toMatch(/^PEER_/)
    const [old] = p.left.children
    expect([p.left.children.length, old!.state]).toEqual([1, 'installed'])
    expect(p.left.sa.state).toBe('established')
    // the next try works
    Object.assign(p.right.sa, { behaviour: p.left.sa.behaviour })
    p.run(20_000)
    start(p, p.left, rekeyChild(p.left))
    p.run(5_000)
    converged(p)
  })

  test('a link after the last key exchange is one too many', () => {
    const p = lied(
      rekeyChild,
      changed(answer => (answer.some(isLink) ? answer : [...answer, ...linked(new Uint8Array(8))])),
      44,
    )
    expect(p.left.codes).toEqual(['PEER_SYNTAX'])
    // the peer, which has made it, is told to forget it
    expect(both(p).map(end => end.children.map(c => c.state))).toEqual([['installed'], ['installed']])
    expect(p.left.children[0]!.inbound).toEqual(p.right.children[0]!.outbound)
  })

  test('an IKE SA whose peer makes no sense ends', () => {
    const p = lied(
      () => new RekeyIke(),
      changed(answer => answer.filter(each => each.type !== 'KE')),
      44,
    )
    expect(p.left.codes).toEqual(['PEER_SYNTAX'])
  })

  test('a refused IKE_FOLLOWUP_KE leaves the IKE SA as it was', () => {
    const p = lied(
      () => new RekeyIke(),
      () => [notify(NotifyType.NO_PROPOSAL_CHOSEN)],
      44,
    )
    expect(p.left.of('rekey-failed')).toHaveLength(1)
    expect(p.left.codes).toEqual([])
    p.run(30_000)
    expect(pending(p.right.sa)).toBe(0)
  })

  test('while its rekey of the IKE SA is under way a peer gets nothing else on it, but may begin that anew', () => {
    const p = pair().established()
    const anew = () => new RekeyIke().request(p.left.sa, p.now)!
    const first = link(ask(p, ExchangeType.CREATE_CHILD_SA, anew()))
    expect(kinds(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))).toEqual([NotifyType.TEMPORARY_FAILURE])
    const second = link(ask(p, ExchangeType.CREATE_CHILD_SA, anew()))
    expect(pending(p.right.sa)).toBe(1)
    const followed = (data: Uint8Array) => ask(p, ExchangeType.IKE_FOLLOWUP_KE, linked(data, good(p, 36)))
    expect(kinds(followed(first))).toEqual([NotifyType.STATE_NOT_FOUND])
    expect(kinds(followed(second))).toEqual(['KE'])
    // the old one is there to be deleted, and for nothing else
    expect(kinds(ask(p, ExchangeType.CREATE_CHILD_SA, anew()))).toEqual([NotifyType.TEMPORARY_FAILURE])
    expect(kinds(followed(second))).toEqual([NotifyType.STATE_NOT_FOUND])
  })

  test('a peer that begins the rekey of a Child SA anew has one of them', () => {
    const p = pair().established()
    const old = p.left.children[0]!
    const anew = () => {
      old.state = 'installed'
      return link(ask(p, ExchangeType.CREATE_CHILD_SA, rekeyChild(p.left).request(p.left.sa, p.now)!))
    }
    const [first, second] = [anew(), anew()]
    expect(pending(p.right.sa)).toBe(1)
    const followed = (data: Uint8Array) => ask(p, ExchangeType.IKE_FOLLOWUP_KE, linked(data, good(p, 36)))
    expect([first, second].map(each => kinds(followed(each)))).toEqual([[NotifyType.STATE_NOT_FOUND], ['KE']])
  })

  test('what a peer has begun on an IKE SA that is replaced comes to nothing', () => {
    const p = pair({ ike: ['aes256gcm16-prfsha256-x25519'] }).established()
    const first = link(ask(p, ExchangeType.CREATE_CHILD_SA, question(p)))
    ask(p, ExchangeType.CREATE_CHILD_SA, new RekeyIke().request(p.left.sa, p.now)!)
    expect(pending(p.right.sa)).toBe(0)
    expect(kinds(ask(p, ExchangeType.IKE_FOLLOWUP_KE, linked(first, good(p, 36))))).toEqual([
      NotifyType.STATE_NOT_FOUND,
    ])
  })

  test.each(Array.from({ length: 4 }, (_, i) => i))(
    'any peer, seed %i: every request is answered or ends the SA',
    seed => {
      const rng = new SeededRng(seed)
      const pick = <T>(...list: readonly T[]): T => list[rng.below(list.length)]!
      const ike = ['aes256gcm16-prfsha256-x25519-ke1_ecp256']
      let p = pair({ seed, ike, esp: [THREE] }).established()
      let links: Uint8Array[] = [new Uint8Array(8)]
      let [made, refused, ended] = [0, 0, 0]
      for (let i = 0; i < 400; i++) {
        const groups = [MLKEM512, 36, ECP256, 31, 0, 65_535]
        const ke = (): Payload | undefined => {
          const group = pick(...groups)
          if (rng.chance(0.7) && group > 0 && group < 65_535) return good(p, group)
          return rng.chance(0.5) ? undefined : { type: 'KE', group, data: rng.bytes(rng.below(1_700)) }
        }
        // what the last link asks for
        const right = () => linked(links.at(-1)!, good(p, links.length % 2 === 0 ? MLKEM512 : ECP256))
        const requests: readonly (() => readonly [number, readonly Payload[]])[] = [
          () => [36, question(p)],
          () => [36, rekeyChild(p.left).request(p.left.sa, p.now) ?? []],
          () => [36, new RekeyIke().request(p.left.sa, p.now) ?? []],
          () => [36, question(p).filter(() => rng.chance(0.95))],
          ...Array.from({ length: 4 }, () => () => [44, right()] as const),
          () => [44, linked(pick(links.at(-1)!, ...links, rng.bytes(rng.below(30))), ke())],
          () => [44, [...linked(pick(...links), ke()), ...linked(pick(...links), ke())]],
        ]
        const [exchange, payloads] = pick(...requests)()
        for (const old of p.left.sa.children.values()) old.state = 'installed'
        try {
          const answer = ask(p, exchange, payloads)
          const next = link(answer)
          if (next !== undefined) links.push(next)
          else if (kinds(answer)[0] === 'KE') made++
          else refused++
        } catch (error) {
          expect(error).toBeInstanceOf(PeerError)
          ended++
          p.right.sa.close('PEER_SYNTAX', 'as it would end', p.now)
          expect(p.right.deadline).toBe(Infinity)
        }
        for (const sa of p.right.live) {
          expect(pending(sa)).toBeLessThanOrEqual(8)
          p.right.carryOut(sa, p.now)
        }
        p.now += rng.below(3_000)
        p.right.timeout(p.now)
        if (p.right.live.length !== 1 || rng.chance(0.02)) {
          p = pair({ seed: seed * 1_000 + i, ike, esp: [THREE] }).established()
          links = [new Uint8Array(8)]
        }
      }
      expect(Math.min(made, refused, ended), `${made}, ${refused}, ${ended}`).toBeGreaterThan(5)
    },
  )
})
