import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { IkeTask, OutgoingMessage } from '../../../core/contracts/ike-task.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { DeleteChild } from '../../../core/ike/informational.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { ExchangeType, NotifyType, payloadOf } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import {
  both,
  converged,
  ESP,
  IKE,
  noting,
  pair,
  pending,
  rekeyChild,
  said,
  start,
  suites,
  THREE,
  usual,
  type Wish,
} from './follow-up-pair.ts'
import { chart, type Pair } from './pair.ts'

/** Additional key exchanges of CREATE_CHILD_SA in IKE_FOLLOWUP_KE, RFC 9370 §2.2.4. */

describe('messages', () => {
  test('a Child SA gets a new key', () => {
    const p = pair().established()
    const old = p.left.children[0]!
    const from = chart(p.left).length
    start(p, p.left, rekeyChild(p.left))
    p.deliver()
    p.deliver()
    // nothing is made before the last key exchange
    expect(both(p).map(end => end.children.length)).toEqual([1, 1])
    expect([pending(p.left.sa), pending(p.right.sa)]).toEqual([0, 1])
    p.settle()
    expect(said(p.left, from)).toEqual([
      '> CREATE_CHILD_SA request [ N(REKEY_SA) SA Nonce KE TSi TSr ]',
      '< CREATE_CHILD_SA response [ SA Nonce KE TSi TSr N(ADDITIONAL_KEY_EXCHANGE) ]',
      '> IKE_FOLLOWUP_KE request [ KE N(ADDITIONAL_KEY_EXCHANGE) ]',
      '< IKE_FOLLOWUP_KE response [ KE ]',
      '> INFORMATIONAL request [ D ]',
      '< INFORMATIONAL response [ D ]',
    ])
    converged(p)
    expect(p.left.children[0]!.id).not.toBe(old.id)
    // the responder goes on sending on the old one until the peer has shown that it has the new one
    expect(p.right.of('child-up').at(-1)).toMatchObject({ outbound: false, replaces: { successor: {} } })
    expect(both(p).map(end => end.of('child-down').length)).toEqual([0, 0])
  })

  test('three key exchanges, each linked to the one before', () => {
    const links: string[] = []
    const spy: IkeTask = {
      name: 'links',
      build: ({ payloads }: OutgoingMessage) => {
        for (const each of payloads)
          if (each.type === 'N' && each.notify === NotifyType.ADDITIONAL_KEY_EXCHANGE)
            links.push(Buffer.from(each.data).toString('hex'))
      },
    }
    const tasks = () => [spy]
    const p = pair({ esp: [THREE], left: { crypto: usual, tasks }, right: { crypto: usual, tasks } }).established()
    const from = chart(p.left).length
    start(p, p.left, rekeyChild(p.left))
    p.settle()
    expect(said(p.left, from).slice(2, 6)).toEqual([
      '> IKE_FOLLOWUP_KE request [ KE N(ADDITIONAL_KEY_EXCHANGE) ]',
      '< IKE_FOLLOWUP_KE response [ KE N(ADDITIONAL_KEY_EXCHANGE) ]',
      '> IKE_FOLLOWUP_KE request [ KE N(ADDITIONAL_KEY_EXCHANGE) ]',
      '< IKE_FOLLOWUP_KE response [ KE ]',
    ])
    expect(links).toHaveLength(4)
    expect([links[0], links[2]]).toEqual([links[1], links[3]])
    expect(links[0]).not.toBe(links[2])
    converged(p)
  })

  test('a further Child SA, from either end', () => {
    for (const side of ['left', 'right'] as const) {
      const p = pair().established()
      start(p, p.left, new DeleteChild(p.left.children[0]!, 'test'))
      p.settle()
      start(p, p[side], new ChildExchange(p[side].sa.settings!.children.lan!))
      p.settle()
      converged(p)
      expect(said(p[side], 0).filter(line => line.startsWith('> IKE_FOLLOWUP_KE'))).toHaveLength(1)
    }
  })

  test('an IKE SA: the same key exchanges again, so it is as safe as before', () => {
    const p = pair({ esp: [] }).established()
    const from = chart(p.left).length
    const old = p.left.sa
    start(p, p.left, new RekeyIke())
    p.deliver()
    p.deliver()
    expect(both(p).map(end => end.live.length)).toEqual([1, 1])
    expect(p.left.sa).toBe(old)
    p.settle()
    expect(said(p.left, from)).toEqual([
      '> CREATE_CHILD_SA request [ SA Nonce KE ]',
      '< CREATE_CHILD_SA response [ SA Nonce KE N(ADDITIONAL_KEY_EXCHANGE) ]',
      '> IKE_FOLLOWUP_KE request [ KE N(ADDITIONAL_KEY_EXCHANGE) ]',
      '< IKE_FOLLOWUP_KE response [ KE ]',
      '> INFORMATIONAL request [ D ]',
      '< INFORMATIONAL response [ ]'.replace('[ ]', '[  ]'),
    ])
    expect(p.left.sa).not.toBe(old)
    expect(suites(p)).toEqual([IKE, IKE])
    converged(p)
    // and again, by the other end, on the new one
    start(p, p.right, new RekeyIke())
    p.settle()
    expect(suites(p)).toEqual([IKE, IKE])
    converged(p)
  })

  test('where they are optional the responder decides', () => {
    const p = pair({ esp: [`${ESP}-ke1_none`], espRight: ['aes256gcm16-x25519'] }).established()
    start(p, p.left, rekeyChild(p.left))
    p.settle()
    converged(p)
    expect(said(p.left, 0).some(line => line.includes('FOLLOWUP'))).toBe(false)
  })

  test.each([
    ['a Child SA', [ESP], ['aes256gcm16-x25519']],
    ['the other way', ['aes256gcm16-x25519'], [ESP]],
  ])('%s goes without only where both allow it', (_, esp, espRight) => {
    const p = pair({ esp, espRight }).established()
    const old = p.left.children[0]!
    start(p, p.left, rekeyChild(p.left))
    p.settle()
    expect(p.left.codes).toEqual(['PEER_NO_PROPOSAL'])
    expect(p.left.children).toEqual([old])
    expect(old.state).toBe('installed')
  })

  test('an IKE SA with additional key exchanges is not rekeyed without', () => {
    const p = pair().established()
    // the peer knows of none any more
    Object.assign(p.right.sa, { settings: { ...p.moon, proposals: ['aes256gcm16-prfsha256-x25519'] } })
    start(p, p.left, new RekeyIke())
    p.settle()
    expect(p.left.of('rekey-failed')).toMatchObject([{ code: 'PEER_REKEY' }])
    expect(suites(p)).toEqual([IKE, IKE])
    converged(p)
  })
})

describe('keys', () => {
  const hmac = (key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array => {
    const mac = createHmac('sha256', key)
    for (const each of data) mac.update(each)
    return new Uint8Array(mac.digest())
  }
  /** prf+ of RFC 7296 §2.13, written down again. */
  function expand(key: Uint8Array, seed: Uint8Array, length: number): Uint8Array {
    let [block, out] = [Buffer.alloc(0), Buffer.alloc(0)]
    for (let n = 1; out.length < length; n++) {
      block = Buffer.from(hmac(key, block, seed, Uint8Array.of(n)))
      out = Buffer.concat([out, block])
    }
    return new Uint8Array(out.subarray(0, length))
  }
  const spi = (value: bigint): Buffer => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(value)
    return bytes
  }

  function noted(wish: Wish = {}) {
    const [secrets, nonces]: [Uint8Array[], Uint8Array[]] = [[], []]
    const spy: IkeTask = {
      name: 'nonces',
      build: ({ exchange, payloads }: OutgoingMessage) => {
        const nonce = payloadOf(payloads, 'Nonce')?.data
        if (exchange === ExchangeType.CREATE_CHILD_SA && nonce !== undefined) nonces.push(nonce)
      },
    }
    const tasks = () => [spy]
    const left = { crypto: noting(usual, secret => secrets.push(secret.slice())), tasks }
    const p = pair({ ...wish, left, right: { crypto: usual, tasks } }).established()
    secrets.length = 0
    return { p, secrets, nonces }
  }

  test('KEYMAT = prf+(SK_d, SK(0) | Ni | Nr | SK(1) | SK(2))', () => {
    const { p, secrets, nonces } = noted({ esp: [THREE] })
    start(p, p.left, rekeyChild(p.left))
    p.settle()
    expect([secrets.length, nonces.length]).toEqual([3, 2])
    const seed = Buffer.concat([secrets[0]!, nonces[0]!, nonces[1]!, secrets[1]!, secrets[2]!])
    const keymat = expand(p.left.sa.channel!.keys.d, seed, 2 * 36)
    const { outbound, inbound } = p.left.children[0]!
    const used = [outbound.encr, outbound.salt, inbound.encr, inbound.salt]
    expect(Buffer.concat(used)).toEqual(Buffer.from(keymat))
  })

  test('SKEYSEED = prf(SK_d, SK(0) | Ni | Nr | SK(1))', () => {
    const { p, secrets, nonces } = noted()
    const d = p.left.sa.channel!.keys.d.slice()
    start(p, p.left, new RekeyIke())
    p.settle()
    expect([secrets.length, nonces.length]).toEqual([2, 2])
    const [ni, nr] = nonces as [Uint8Array, Uint8Array]
    const seed = hmac(d, secrets[0]!, ni, nr, secrets[1]!)
    const { initiatorSpi, responderSpi, channel } = p.left.sa
    const context = Buffer.concat([ni, nr, spi(initiatorSpi), spi(responderSpi)])
    const keymat = expand(seed, context, 3 * 32 + 2 * 36)
    expect(channel!.keys.d).toEqual(keymat.subarray(0, 32))
    // an SA that stands keeps no other: those of its messages were told when they were made
    const { sk_ei, sk_er } = p.left.of('keys').findLast(({ line }) => line.type === 'ike')!.line
    expect(`${sk_ei}${sk_er}`).toBe(Buffer.from(keymat.subarray(32, 32 + 2 * 36)).toString('hex'))
  })

  describe.each([
    ['node-crypto and noble, noble', usual, nobleProvider],
    ['noble, node-crypto and noble', nobleProvider, usual],
  ])('providers: %s', (_, left, right) => {
    test.each([
      ['aes256gcm16-prfsha256-x25519-ke1_mlkem512', 'aes256gcm16-ecp256-ke1_mlkem512'],
      ['aes256gcm16-prfsha256-x25519-ke1_mlkem768', 'aes128-sha256-x25519-ke1_mlkem768'],
      ['aes256-sha512-prfsha512-ecp384-ke1_mlkem1024', 'aes256gcm16-mlkem512-ke1_mlkem1024-ke2_x25519'],
      ['aes256gcm16-prfsha384-mlkem768-ke7_x25519', 'chacha20poly1305-x25519-ke7_mlkem1024'],
    ])('%s and %s', (ike, esp) => {
      const p = pair({ ike: [ike], esp: [esp], left: { crypto: left }, right: { crypto: right } }).established()
      for (const end of both(p)) {
        start(p, end, rekeyChild(end))
        p.settle()
        start(p, end, new RekeyIke())
        p.settle()
        converged(p)
      }
      expect(suites(p)).toEqual([ike, ike])
      expect(both(p).map(end => end.drops)).toEqual([{}, {}])
    })
  })
})

describe('both ends at once', () => {
  const WHAT = [
    ['a Child SA', rekeyChild],
    ['an IKE SA', () => new RekeyIke()],
  ] as const

  describe.each(WHAT)('%s', (what, make) => {
    test.each(Array.from({ length: 12 }, (_, i) => i))(
      'one series is carried out, the other not begun, seed %i',
      seed => {
        const p = pair({ seed }).established()
        const old = p.left.children[0]!
        start(p, p.left, make(p.left))
        start(p, p.right, make(p.right))
        p.settle()
        converged(p, 'at once')
        if (what === 'a Child SA') expect(old.state).toBe('replaced')
        // the one that waits in vain is forgotten, and nobody tries again
        p.run(120_000)
        converged(p, 'later')
        const begun = both(p).map(
          end => said(end, 0).filter(line => line.startsWith('> IKE_FOLLOWUP_KE request')).length,
        )
        expect(begun.toSorted()).toEqual([0, 1])
        expect(both(p).map(end => end.sas.size)).toEqual([1, 1])
        expect(both(p).map(end => end.of('child-down').length)).toEqual([0, 0])
        expect(both(p).flatMap(end => end.codes.filter(code => code !== 'OK'))).toEqual([])
        if (what === 'an IKE SA') expect(both(p).map(end => end.of('rekeyed').length)).toEqual([1, 1])
      },
    )

    test('one that comes in the midst of the peer’s series is put off', () => {
      const p = pair().established()
      start(p, p.left, make(p.left))
      const late = p.wire.splice(0)
      start(p, p.right, make(p.right))
      p.deliver()
      p.deliver()
      // the right end has begun its IKE_FOLLOWUP_KE, which the left end does not have yet
      const followUp = p.wire.splice(0)
      for (const each of late) p.deliver(each)
      expect(chart(p.right).at(-1)).toContain('N(TEMPORARY_FAILURE)')
      p.settle()
      p.wire.push(...followUp)
      p.settle()
      p.run(120_000)
      converged(p)
      expect(said(p.left, 0).some(line => line.startsWith('> IKE_FOLLOWUP_KE request'))).toBe(false)
      expect(both(p).map(end => end.of('child-down').length)).toEqual([0, 0])
      expect(both(p).flatMap(end => end.codes.filter(code => code !== 'OK'))).toEqual([])
    })

    test('the peer gives up in the midst of it: the one that was put off has another go', () => {
      const p = pair().established()
      const before = p.left.children[0]!.id
      start(p, p.left, make(p.left))
      const late = p.wire.splice(0)
      start(p, p.right, make(p.right))
      p.deliver()
      p.deliver()
      p.wire.length = 0
      for (const each of late) p.deliver(each)
      // the right end's IKE_FOLLOWUP_KE gets lost until the left end waits no longer
      const until = p.now + 21_000
      p.fate = d => (d.to === 'left' && p.now < until && p.right.sa.session.busy && d.bytes[18] === 44 ? [] : [d])
      p.settle()
      p.run(120_000)
      converged(p)
      if (what === 'a Child SA') expect(p.left.children[0]!.id).not.toBe(before)
      else expect(both(p).every(end => end.of('rekeyed').length > 0)).toBe(true)
      expect(both(p).flatMap(end => end.codes.filter(code => code !== 'OK'))).toEqual([])
    })

    test.each(Array.from({ length: 8 }, (_, i) => i))(
      'every pattern of losses of the first eight datagrams, %i of 8',
      part => {
        const FIRST = 8
        for (let pattern = part; pattern < 1 << FIRST; pattern += 8) {
          const p = pair({
            seed: pattern,
            esp: ['aes256gcm16-x25519-ke1_ecp256'],
            ike: ['aes256gcm16-prfsha256-x25519-ke1_ecp256'],
          })
          p.established()
          const from = p.sent.length
          p.fate = d => (d.n - from < FIRST && (pattern >> (d.n - from)) & 1 ? [] : [d])
          for (const end of both(p)) start(p, end, make(end))
          p.run(200_000)
          converged(p, `pattern ${pattern}`)
          for (const end of both(p)) {
            expect(end.of('child-down').length, `pattern ${pattern}`).toBe(0)
            // the one whose peer was busy with the same for too long has said so
            expect(
              end.codes.filter(code => code !== 'OK' && code !== 'PEER_BUSY'),
              `pattern ${pattern}`,
            ).toEqual([])
            expect(end.sas.size, `pattern ${pattern}`).toBe(1)
          }
        }
      },
    )
  })

  test('of one with and one without additional key exchanges either may stay', () => {
    const stayed = new Set<boolean>()
    for (let seed = 0; seed < 24; seed++) {
      // each end chooses its own best of what the other offers
      const plain = 'aes256gcm16-x25519'
      const p = pair({ seed, esp: [`${plain}-ke1_none-ke1_ecp256`], espRight: [`${plain}-ke1_ecp256-ke1_none`] })
      p.established()
      for (const end of both(p)) start(p, end, rekeyChild(end))
      p.settle()
      converged(p, `seed ${seed}`)
      p.run(120_000)
      converged(p, `seed ${seed}, later`)
      expect(both(p).map(end => end.of('child-down').length)).toEqual([0, 0])
      stayed.add(p.left.children[0]!.initiator)
    }
    expect(stayed.size).toBe(2)
  })
})

describe('losses', () => {
  test('every message lost once, cut into small pieces', () => {
    const run = (lost: number): Pair => {
      const p = pair({ fragmentSize: 576, ike: [IKE], esp: [ESP] }).established()
      const from = p.sent.length
      p.fate = d => (d.n - from === lost ? [] : [d])
      start(p, p.left, rekeyChild(p.left))
      p.run(15_000)
      start(p, p.right, new RekeyIke())
      p.run(15_000)
      return p
    }
    const p = run(-1)
    const total = p.sent.length - pair({ fragmentSize: 576 }).established().sent.length
    expect(total).toBeGreaterThan(16)
    for (let lost = 0; lost < total; lost++) {
      const q = run(lost)
      converged(q, `lost ${lost}`)
      expect(suites(q)).toEqual([IKE, IKE])
    }
  })

  test('duplicates and disorder', () => {
    for (let seed = 0; seed < 10; seed++) {
      const rng = new SeededRng(seed)
      const p = pair({ seed, fragmentSize: 576, esp: [THREE] }).established()
      p.fate = d => (rng.chance(0.1) ? [] : rng.chance(0.3) ? [d, d] : [d])
      start(p, p.left, rekeyChild(p.left))
      start(p, p.right, new RekeyIke())
      for (let i = 0; i < 100; i++) {
        for (let n = 0; p.wire.length > 0 && n < 500; n++) p.deliver(p.wire.splice(rng.below(p.wire.length), 1)[0])
        p.run(500)
      }
      p.fate = d => [d]
      p.run(60_000)
      converged(p, `seed ${seed}`)
      expect(p.left.of('rekeyed').length).toBeGreaterThan(0)
    }
  })
})
