import { describe, expect, test } from 'vitest'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { DeleteChild, DeleteIke, Liveness } from '../../../core/ike/informational.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { anything, chart, child, type End, Pair } from './pair.ts'

/** CREATE_CHILD_SA and INFORMATIONAL on a standing IKE SA: more, new and fewer SAs, from either side and from both. */

const PFS = ['aes128gcm16-x25519-ecp256']
const ECP = ['aes128gcm16-ecp256']
const lan = (proposals: string[], mirrored = false) => {
  const [here, there] = mirrored ? ['10.2.0.0', '10.1.0.0'] : ['10.1.0.0', '10.2.0.0']
  return { lan: child({ proposals, localTs: [anything(here!, 16)], remoteTs: [anything(there!, 16)] }) }
}

const rekeyChild = (end: End, now: number): void => {
  const old = end.children[0]!
  end.start(new ChildExchange(old.settings, old), now)
}
const ends = (p: Pair, side: 'left' | 'right'): [End, End] => (side === 'left' ? [p.left, p.right] : [p.right, p.left])

/** Exactly one IKE SA and one Child SA on both ends, mirrored, at rest. */
function converged(p: Pair): void {
  const [left, right] = [p.left.children, p.right.children]
  expect([left.length, right.length]).toEqual([1, 1])
  expect(left[0]!.inbound).toEqual(right[0]!.outbound)
  expect(left[0]!.outbound).toEqual(right[0]!.inbound)
  expect([left[0]!.state, right[0]!.state]).toEqual(['installed', 'installed'])
  expect([p.left.sa.state, p.right.sa.state]).toEqual(['established', 'established'])
  expect(p.left.sa.channel!.keys).toEqual(p.right.sa.channel!.keys)
  expect([p.left.sa.session.busy, p.right.sa.session.busy]).toEqual([false, false])
}

describe.each(['left', 'right'] as const)('from the %s', side => {
  test('a new key for a Child SA', () => {
    const p = new Pair().established()
    const [one, other] = ends(p, side)
    const old = one.children[0]!
    // CREATE_CHILD_SA { N(REKEY_SA), SA, Ni, TSi, TSr } -->
    rekeyChild(one, p.now)
    p.deliver()
    expect(other.of('child-up').at(-1)).toMatchObject({ outbound: false })
    // <-- { SA, Nr, TSi, TSr }
    p.deliver()
    expect(one.of('child-up').at(-1)).toMatchObject({ outbound: true, replaces: { id: old.id } })
    // INFORMATIONAL { D } -->, <-- { D }
    p.settle()
    expect(chart(one).slice(-4)).toEqual([
      expect.stringMatching(/^> CREATE_CHILD_SA request \d \[ N\(REKEY_SA\) SA Nonce TSi TSr ]$/),
      expect.stringMatching(/^< CREATE_CHILD_SA response \d \[ SA Nonce TSi TSr ]$/),
      expect.stringMatching(/^> INFORMATIONAL request \d \[ D ]$/),
      expect.stringMatching(/^< INFORMATIONAL response \d \[ D ]$/),
    ])
    expect([one.of('retire').length, other.of('retire').length]).toEqual([1, 1])
    expect([...one.of('child-down'), ...other.of('child-down')]).toEqual([])
    converged(p)
    expect(one.children[0]!.inbound.spi).not.toBe(old.inbound.spi)
  })

  test('a new key with a key exchange of its own, the group at the second try', () => {
    const p = new Pair({
      sun: { children: lan(side === 'left' ? PFS : ECP) },
      moon: { children: lan(side === 'left' ? ECP : PFS, true) },
    }).established()
    const [one] = ends(p, side)
    rekeyChild(one, p.now)
    p.settle()
    const said = chart(one).filter(m => m.includes('CREATE_CHILD_SA'))
    // { N(REKEY_SA), SA, Ni, KEi (x25519), … } -->, <-- { N(INVALID_KE_PAYLOAD) }, { …, KEi (ecp256), … } -->, <-- { …, KEr, … }
    expect(said).toHaveLength(4)
    expect(said[1]).toContain('N(INVALID_KE_PAYLOAD)')
    expect(said[3]).toContain('KE')
    converged(p)
  })

  test('a new IKE SA inherits everything, the old one goes', () => {
    const p = new Pair().established()
    const [one, other] = ends(p, side)
    const before = { sa: one.sa, children: one.children, d: one.sa.channel!.keys.d.slice() }
    // CREATE_CHILD_SA { SA, Ni, KEi } -->, <-- { SA, Nr, KEr }, INFORMATIONAL { D } -->, <-- { }
    one.start(new RekeyIke(), p.now)
    p.settle()
    expect(one.of('rekeyed')).toHaveLength(1)
    expect(other.of('rekeyed')).toHaveLength(1)
    converged(p)
    expect(one.sa).not.toBe(before.sa)
    expect(one.sa.initiator).toBe(true)
    expect(one.children).toEqual(before.children)
    expect(one.sa.channel!.keys.d).not.toEqual(before.d)
    expect([one.codes, other.codes]).toEqual([['OK'], ['OK']])
    // the successor works in both directions, from message 0 on
    one.start(new Liveness(), p.now)
    other.start(new Liveness(), p.now)
    p.settle()
    rekeyChild(other, p.now)
    p.settle()
    converged(p)
    p.run(60_000)
    expect([p.left.sas.size, p.right.sas.size]).toEqual([1, 1])
  })

  test('what waits in the queue moves to the new IKE SA', () => {
    const p = new Pair().established()
    const [one] = ends(p, side)
    one.start(new RekeyIke(), p.now)
    const old = one.children[0]!
    one.start(new ChildExchange(old.settings, old), p.now)
    p.run(1_000)
    converged(p)
    expect(one.children[0]!.id).not.toBe(old.id)
  })

  test('a Child SA is deleted', () => {
    const p = new Pair().established()
    const [one, other] = ends(p, side)
    one.start(new DeleteChild(one.children[0]!, 'test'), p.now)
    p.settle()
    expect([one.of('child-down').length, other.of('child-down').length]).toEqual([1, 1])
    expect([one.sa.state, other.sa.state]).toEqual(['established', 'established'])
    expect([...p.left.children, ...p.right.children]).toEqual([])
  })

  test('the IKE SA is deleted, its children go with it', () => {
    const p = new Pair().established()
    const [one, other] = ends(p, side)
    one.start(new DeleteIke('test'), p.now)
    p.settle()
    expect([one.codes, other.codes]).toEqual([['OK'], ['OK']])
    expect([one.of('child-down').length, other.of('child-down').length]).toEqual([1, 1])
    p.run(60_000)
    expect([one.sas.size, other.sas.size]).toEqual([0, 0])
  })

  test('the answer to a DELETE is given again when it was lost', () => {
    const p = new Pair().established()
    const [one, other] = ends(p, side)
    one.start(new DeleteIke('test'), p.now)
    p.deliver()
    const lost = p.wire.shift()!
    expect(other.live).toEqual([])
    p.run(1_500)
    expect(p.sent.at(-1)!.bytes).toEqual(lost.bytes)
    expect(one.codes).toEqual(['OK'])
  })
})

describe('both at once', () => {
  const seeds = Array.from({ length: 8 }, (_, i) => i)
  test.each(seeds)('a new key for the same Child SA, seed %i', seed => {
    const p = new Pair({ seed }).established()
    rekeyChild(p.left, p.now)
    rekeyChild(p.right, p.now)
    p.run(30_000)
    converged(p)
    expect(p.left.codes).toEqual([])
  })

  test.each(seeds)('a new IKE SA, seed %i', seed => {
    const p = new Pair({ seed }).established()
    p.left.start(new RekeyIke(), p.now)
    p.right.start(new RekeyIke(), p.now)
    p.run(60_000)
    converged(p)
    expect([p.left.of('rekeyed').length, p.right.of('rekeyed').length]).toEqual([1, 1])
    expect([p.left.sas.size, p.right.sas.size]).toEqual([1, 1])
  })

  test.each(seeds)('a new IKE SA here, a new key for a Child SA there, seed %i', seed => {
    const p = new Pair({ seed }).established()
    p.left.start(new RekeyIke(), p.now)
    rekeyChild(p.right, p.now)
    p.run(60_000)
    converged(p)
    expect(p.left.of('rekeyed')).toHaveLength(1)
    expect(p.left.of('retire')).toHaveLength(1)
  })

  test('a Child SA is deleted here and gets a new key there', () => {
    const p = new Pair().established()
    p.left.start(new DeleteChild(p.left.children[0]!, 'test'), p.now)
    rekeyChild(p.right, p.now)
    p.run(30_000)
    expect([...p.left.children, ...p.right.children]).toEqual([])
    expect([p.left.sa.state, p.right.sa.state]).toEqual(['established', 'established'])
  })

  test('the same Child SA is deleted', () => {
    const p = new Pair().established()
    for (const end of [p.left, p.right]) end.start(new DeleteChild(end.children[0]!, 'test'), p.now)
    p.settle()
    // RFC 7296 §1.4.1: neither answer names an SA again
    expect(chart(p.left).at(-1)).toMatch(/INFORMATIONAL response \d \[ {2}]/)
    expect([p.left.of('child-down').length, p.right.of('child-down').length]).toEqual([1, 1])
  })

  test('the IKE SA is deleted', () => {
    const p = new Pair().established()
    for (const end of [p.left, p.right]) end.start(new DeleteIke('test'), p.now)
    p.run(60_000)
    expect([p.left.codes, p.right.codes]).toEqual([['OK'], ['OK']])
    expect([p.left.sas.size, p.right.sas.size]).toEqual([0, 0])
  })

  test('the IKE SA is deleted here and gets a new key there', () => {
    const p = new Pair().established()
    p.left.start(new DeleteIke('test'), p.now)
    p.right.start(new RekeyIke(), p.now)
    p.run(60_000)
    expect([p.left.sas.size, p.right.sas.size]).toEqual([0, 0])
  })
})

test('a closing IKE SA takes no new Child SA', () => {
  const p = new Pair().established()
  p.left.start(new DeleteIke('test'), p.now)
  const deletion = p.wire.shift()!
  const { lan: settings } = p.moon.children
  p.right.start(new ChildExchange({ ...settings!, name: 'more' }), p.now)
  // CREATE_CHILD_SA { … } -->, <-- { N(TEMPORARY_FAILURE) }
  p.deliver()
  expect(chart(p.left).at(-1)).toContain('N(TEMPORARY_FAILURE)')
  p.deliver(deletion)
  p.settle()
  expect([...p.left.live, ...p.right.live]).toEqual([])
})

test('a Child SA the peer has lost is made anew', () => {
  const p = new Pair().established()
  p.right.sa.children.clear()
  rekeyChild(p.left, p.now)
  // { N(REKEY_SA), … } -->, <-- { N(CHILD_SA_NOT_FOUND) }, { SA, Ni, TSi, TSr } -->, <-- { SA, Nr, TSi, TSr }
  p.settle()
  expect(p.left.of('child-down')).toMatchObject([{ why: 'unknown to the peer' }])
  converged(p)
})

test('lifetimes: the IKE SA gets new keys again and again', () => {
  const p = new Pair({ sun: { rekeyMs: 60_000 }, moon: { rekeyMs: 60_000 } }).established()
  p.run(600_000)
  expect(p.left.of('rekeyed').length).toBeGreaterThan(8)
  converged(p)
  expect([p.left.live.length, p.right.live.length]).toEqual([1, 1])
})
