import { describe, expect, test } from 'vitest'
import type { IkeTask, OutgoingMessage } from '../../../core/contracts/ike-task.ts'
import { isLower } from '../../../core/ike/collision.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { payloadOf } from '../../../core/wire/index.ts'
import { chart, type End, Pair, type PairOptions } from './pair.ts'

/** Both ends rekey the same SA at once, RFC 7296 §2.8.1, §2.8.2 and §2.25. */

interface Said {
  readonly by: 'left' | 'right'
  readonly response: boolean
  readonly nonce: Uint8Array
}

/** A pair whose nonces of CREATE_CHILD_SA are written down. */
function watched(options: PairOptions = {}) {
  const said: Said[] = []
  const spy = (by: 'left' | 'right') => (): IkeTask[] => [
    {
      name: 'nonces',
      build: ({ exchange, payloads, response }: OutgoingMessage) => {
        const nonce = payloadOf(payloads, 'Nonce')?.data
        if (exchange === 36 && nonce !== undefined) said.push({ by, response, nonce })
      },
    },
  ]
  const p = new Pair({ ...options, left: { tasks: spy('left') }, right: { tasks: spy('right') } }).established()
  said.length = 0
  return { p, said }
}

/** Who initiated the exchange that the lowest of the four nonces is not of. */
function winner(said: readonly Said[]): 'left' | 'right' {
  const lowest = said.reduce((a, b) => (isLower(b.nonce, a.nonce) ? b : a))
  // a response belongs to the other end's exchange
  return (lowest.by === 'left') === lowest.response ? 'left' : 'right'
}

const rekeyChild = (end: End, now: number): void => {
  const old = end.children[0]!
  end.start(new ChildExchange(old.settings, old), now)
}

function converged(p: Pair): void {
  const [left, right] = [p.left.children, p.right.children]
  expect([left.length, right.length]).toEqual([1, 1])
  expect(left[0]!.inbound).toEqual(right[0]!.outbound)
  expect(left[0]!.outbound).toEqual(right[0]!.inbound)
  expect([left[0]!.state, right[0]!.state]).toEqual(['installed', 'installed'])
  expect(p.left.sa.channel!.keys).toEqual(p.right.sa.channel!.keys)
  expect([p.left.sa.session.busy, p.right.sa.session.busy]).toEqual([false, false])
}

describe('nonces', () => {
  test.each([
    [[1, 2], [1, 3], true],
    [[1, 3], [1, 2], false],
    [[1], [1, 0], true],
    [[255], [1, 0], false],
    [[0x7f], [0x80], true],
    [[1], [1], false],
  ])('%j is lower than %j: %s', (a, b, is) => expect(isLower(Uint8Array.from(a), Uint8Array.from(b))).toBe(is))
})

describe('a Child SA', () => {
  test.each(Array.from({ length: 12 }, (_, i) => i))('both SAs are made, one is closed, seed %i', seed => {
    const { p, said } = watched({ seed })
    const old = p.left.children[0]!
    // { N(REKEY_SA), SA, Ni1, … } -->   <-- { N(REKEY_SA), SA, Ni2, … }
    rekeyChild(p.left, p.now)
    rekeyChild(p.right, p.now)
    // <-- { SA, Nr1, … }   { SA, Nr2, … } -->
    for (let i = 0; i < 4; i++) p.deliver()
    expect(said).toHaveLength(4)
    const won = p[winner(said)]
    const lost = won === p.left ? p.right : p.left
    // { D(old) } -->   <-- { D(redundant) }, and their answers
    p.settle()
    converged(p)
    expect(won.children[0]!.initiator).toBe(true)
    for (const end of [p.left, p.right]) {
      expect(chart(end).filter(m => m.startsWith('> INFORMATIONAL request'))).toHaveLength(1)
      // the old one and the redundant one, without a word to the application
      expect(end.of('retire')).toHaveLength(2)
      expect(end.of('child-down')).toEqual([])
    }
    const redundant = lost.of('retire').find(e => e.child.successor === undefined)!.child
    expect(redundant.initiator).toBe(true)
    // the loser sends on what stays only when the peer has shown that it has it
    expect(lost.of('child-up').map(e => e.outbound)).toEqual([true, false, false])
    expect(lost.of('child-rekeyed')).toMatchObject([
      { child: { id: lost.children[0]!.id }, replaces: { successor: {} } },
    ])
    expect(old.state).toBe('replaced')
  })

  test('the one that has noticed yields to the one that has not', () => {
    const { p } = watched()
    rekeyChild(p.left, p.now)
    const late = p.wire.shift()!
    rekeyChild(p.right, p.now)
    // <-- { N(REKEY_SA), SA, Ni2, … }, { SA, Nr2, … } -->, <-- { D(old) }, { D(old) } -->
    p.settle()
    // { N(REKEY_SA), SA, Ni1, … } -->, <-- { N(CHILD_SA_NOT_FOUND) }
    p.deliver(late)
    p.settle()
    expect(chart(p.left).at(-1)).toContain('N(CHILD_SA_NOT_FOUND)')
    converged(p)
    expect(p.right.children[0]!.initiator).toBe(true)
    p.run(60_000)
    converged(p)
    expect(p.left.of('child-rekeyed')).toHaveLength(1)
    expect(p.left.codes).toEqual([])
  })

  test('a rekey of what the peer is about to delete is put off', () => {
    const { p } = watched()
    rekeyChild(p.left, p.now)
    const late = p.wire.shift()!
    rekeyChild(p.right, p.now)
    p.deliver()
    p.deliver()
    // the peer's DELETE is on the way: { N(REKEY_SA), SA, Ni1, … } -->, <-- { N(TEMPORARY_FAILURE) }
    p.deliver(late)
    expect(chart(p.right).at(-1)).toContain('N(TEMPORARY_FAILURE)')
    p.settle()
    converged(p)
    p.run(60_000)
    converged(p)
  })
})

describe('an IKE SA', () => {
  test.each(Array.from({ length: 12 }, (_, i) => i))('both SAs are made, one is deleted, seed %i', seed => {
    const { p, said } = watched({ seed })
    const children = p.left.children
    p.left.start(new RekeyIke(), p.now)
    p.right.start(new RekeyIke(), p.now)
    for (let i = 0; i < 4; i++) p.deliver()
    expect(said).toHaveLength(4)
    const won = p[winner(said)]
    const lost = won === p.left ? p.right : p.left
    p.settle()
    expect([won.sa.initiator, lost.sa.initiator]).toEqual([true, false])
    expect(p.left.children).toEqual(children)
    for (const end of [p.left, p.right]) {
      expect(end.of('rekeyed')).toHaveLength(1)
      expect(end.codes).toEqual(['OK', 'OK'])
      expect(end.of('child-down')).toEqual([])
    }
    converged(p)
    p.run(120_000)
    expect([p.left.sas.size, p.right.sas.size]).toEqual([1, 1])
    converged(p)
  })

  test('the one that has noticed forgets its own rekey when the peer deletes the old SA', () => {
    const { p } = watched()
    p.left.start(new RekeyIke(), p.now)
    const late = p.wire.shift()!
    p.right.start(new RekeyIke(), p.now)
    p.settle()
    // { SA, Ni1, KEi1 } --> meets an SA that is gone
    p.deliver(late)
    p.run(120_000)
    converged(p)
    expect(p.right.sa.initiator).toBe(true)
    expect([p.left.of('rekeyed').length, p.right.of('rekeyed').length]).toEqual([1, 1])
    expect([p.left.sas.size, p.right.sas.size]).toEqual([1, 1])
  })

  test('a peer that rekeys and never deletes the old SA does not fill the table', () => {
    const { p } = watched()
    for (let i = 0; i < 20; i++) {
      p.left.start(new RekeyIke(), p.now)
      // the DELETE never arrives
      p.deliver()
      p.deliver()
      p.wire.length = 0
      for (const [spi, sa] of p.left.sas) if (sa.successor !== undefined) p.left.sas.delete(spi)
      p.now += 10_000
      p.right.timeout(p.now)
    }
    expect(p.right.live.length).toBeLessThan(10)
  })
})

/** Which of the first datagrams are lost, as the bits of a number: all ways there are. */
describe.each(['a Child SA', 'an IKE SA'])('%s, over a line that loses', what => {
  const FIRST = 6
  test.each(Array.from({ length: 8 }, (_, i) => i))('every pattern of the first six datagrams, %i of 8', part => {
    for (let pattern = part; pattern < 1 << FIRST; pattern += 8) {
      const p = new Pair({ seed: pattern }).established()
      const from = p.sent.length
      p.fate = d => (d.n - from < FIRST && (pattern >> (d.n - from)) & 1 ? [] : [d])
      for (const end of [p.left, p.right])
        if (what === 'an IKE SA') end.start(new RekeyIke(), p.now)
        else rekeyChild(end, p.now)
      p.run(200_000)
      converged(p)
      for (const end of [p.left, p.right]) {
        expect(
          end.of('child-down').map(e => e.child.id),
          `pattern ${pattern}`,
        ).toEqual([])
        expect(
          end.codes.filter(code => code !== 'OK'),
          `pattern ${pattern}`,
        ).toEqual([])
        expect(end.sas.size, `pattern ${pattern}`).toBe(1)
      }
    }
  })
})
