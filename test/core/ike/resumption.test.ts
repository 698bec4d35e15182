import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CryptoProvider } from '../../../core/contracts/crypto.ts'
import type { IkeTask, IncomingMessage } from '../../../core/contracts/ike-task.ts'
import type { PeerSettings } from '../../../core/contracts/settings.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { Inform } from '../../../core/ike/informational.ts'
import { notify } from '../../../core/ike/notify.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { type Ticket, TicketExchange } from '../../../core/ike/resumption.ts'
import { combineProviders } from '../../../core/ike/suite.ts'
import { type OpenTicket, Tickets } from '../../../core/ike/tickets.ts'
import { encode, identification, NotifyType, parseIke, payloadOf } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { type End, moon, Pair, type PairOptions } from './pair.ts'

/** Session resumption, RFC 5723, between two ends. */

const HOUR = 3_600_000
const KEY = new TextEncoder().encode('a key of tickets that two hosts share')
const usual = combineProviders([nodeCryptoProvider, nobleProvider])

const ticketOf = (p: Pair): Ticket => p.left.of('ticket').at(-1)!.ticket
const newest = (end: End) => end.live.at(-1)!
const states = (p: Pair) => [p.left, p.right].map(end => newest(end)?.state)
const full = (end: End): string[] => end.of('message').map(m => `${m.direction === 'out' ? '>' : '<'} ${m.summary}`)

/** Both ends have crashed and come back: the initiator with its ticket, the responder with the key of tickets. */
function crashed(options: PairOptions = {}): { p: Pair; ticket: Ticket } {
  const p = new Pair(options).established()
  const ticket = ticketOf(p)
  for (const end of [p.left, p.right]) {
    end.sas.clear()
    end.halfOpen.clear()
    end.log.length = 0
  }
  p.sent.length = 0
  return { p, ticket }
}

function resumed(options: PairOptions = {}): { p: Pair; ticket: Ticket } {
  const { p, ticket } = crashed(options)
  p.resume(ticket)
  p.settle()
  return { p, ticket }
}

test('two messages in the clear, then IKE_AUTH without a key exchange, certificates or secrets', () => {
  const { p } = resumed()
  expect(full(p.left)).toEqual([
    '> IKE_SESSION_RESUME request 0 [ Nonce N(TICKET_OPAQUE) N(REDIRECT_SUPPORTED) ]',
    '< IKE_SESSION_RESUME response 0 [ Nonce N(CHILDLESS_IKEV2_SUPPORTED) ]',
    '> IKE_AUTH request 1 [ IDi N(INITIAL_CONTACT) IDr AUTH SA TSi TSr N(TICKET_REQUEST) ]',
    '< IKE_AUTH response 1 [ IDr AUTH SA TSi TSr N(TICKET_LT_OPAQUE) ]',
  ])
  expect(states(p)).toEqual(['established', 'established'])
  expect(p.right.children.map(c => c.inbound.encr)).toEqual(p.left.children.map(c => c.outbound.encr))
  expect([p.left.drops, p.right.drops]).toEqual([{}, {}])
})

test('keys and AUTH computed by hand', () => {
  const auths: IncomingMessage[] = []
  const listen: IkeTask = { name: 'listen', process: m => void (m.exchange === 35 && auths.push(m)) }
  const both = { tasks: () => [listen] }
  const { p, ticket } = resumed({ left: both, right: both })
  const hmac = (key: Uint8Array, ...data: readonly Uint8Array[]) =>
    data.reduce((mac, part) => mac.update(part), createHmac('sha256', key)).digest()
  const [request, response] = p.sent.map(d => d.bytes) as [Uint8Array, Uint8Array]
  const [ni, nr] = [request, response].map(m => payloadOf(parseIke(m).payloads, 'Nonce')!.data) as [Buffer, Buffer]
  const seed = hmac(ticket.d, Buffer.from('Resumption'), ni, nr)
  const context = Buffer.concat([ni, nr, request.subarray(0, 8), response.subarray(8, 16)])
  let stream = Buffer.alloc(0)
  for (let n = 1, block = Buffer.alloc(0); stream.length < 400; n++) {
    block = hmac(seed, block, context, Uint8Array.of(n))
    stream = Buffer.concat([stream, block])
  }
  // AES-GCM with 128 bits: SK_d, then two keys with four octets of salt, then SK_pi and SK_pr
  expect(Buffer.from(newest(p.left).channel!.keys.d)).toEqual(stream.subarray(0, 32))
  const { sk_ei, sk_er } = p.left.of('keys').findLast(({ line }) => line.type === 'ike')!.line
  expect(`${sk_ei}${sk_er}`).toBe(stream.subarray(32, 32 + 20 + 20).toString('hex'))
  const [pi, pr] = [stream.subarray(72, 72 + 32), stream.subarray(104, 104 + 32)]
  const [asked, answered] = auths.slice(-2).map(m => m.payloads) as [
    IncomingMessage['payloads'],
    IncomingMessage['payloads'],
  ]
  const id = (payloads: IncomingMessage['payloads'], type: 'IDi' | 'IDr') =>
    encode(identification, payloadOf(payloads, type)!)
  expect(payloadOf(asked, 'AUTH')).toMatchObject({
    method: 2,
    data: new Uint8Array(hmac(pi, request, nr, hmac(pi, id(asked, 'IDi')))),
  })
  expect(payloadOf(answered, 'AUTH')).toMatchObject({
    method: 2,
    data: new Uint8Array(hmac(pr, response, ni, hmac(pr, id(answered, 'IDr')))),
  })
})

const suiteOf = (left: CryptoProvider, right: CryptoProvider, suite: string): PairOptions => ({
  left: { crypto: left, timers: { fragmentSize: 1_280 } },
  right: { crypto: right, timers: { fragmentSize: 1_280 } },
  sun: { proposals: [suite] },
  moon: { proposals: [suite] },
})

describe.each([
  ['node-crypto, noble', usual, nobleProvider],
  ['noble, node-crypto', nobleProvider, usual],
])('providers: %s', (_, left, right) => {
  test.each([
    'aes128gcm16-prfsha256-x25519',
    'aes256-sha512-ecp384',
    'chacha20poly1305-prfsha384-x25519',
    'aes256gcm16-prfsha256-x25519-ke1_mlkem768',
  ])('%s: the suite stays, and rekeys follow', suite => {
    const { p, ticket } = resumed(suiteOf(left, right, suite))
    expect(states(p)).toEqual(['established', 'established'])
    for (const end of [p.left, p.right]) expect(newest(end).channel!.suite).toEqual(ticket.suite)
    const [old] = p.left.children
    p.left.start(new ChildExchange(old!.settings, old), p.now)
    p.settle()
    p.right.start(new RekeyIke(), p.now)
    p.settle()
    expect(newest(p.left).channel!.keys).toEqual(newest(p.right).channel!.keys)
    expect([p.left, p.right].map(end => newest(end).children.size)).toEqual([1, 1])
    expect([p.left.drops, p.right.drops]).toEqual([{}, {}])
  })
})

test('a PPK stays in the keys, and is said to', () => {
  const ppk = { required: true, keys: [{ id: 'office', secret: KEY }] }
  const { p } = resumed({ sun: { ppk }, moon: { ppk } })
  for (const end of [p.left, p.right]) expect(newest(end).facts['ppk']?.value).toBe('office')
  expect(full(p.left).join()).not.toContain('PPK')
})

test('childless, where this side prefers that', () => {
  const { p } = resumed({ sun: { childless: 'prefer' } })
  expect(full(p.left)[2]).not.toContain('TSi')
  expect([p.left, p.right].map(end => newest(end).children.size)).toEqual([1, 1])
})

test('what is lost is said again, and answered the same', () => {
  const { p, ticket } = crashed()
  let lost = 0
  p.fate = d => (lost++ === 1 ? [] : [d])
  p.resume(ticket)
  p.run(10_000)
  expect(states(p)).toEqual(['established', 'established'])
  expect(p.right.live).toHaveLength(1)
  const requests = p.sent.filter(d => d.to === 'right' && d.bytes[18] === 38).map(d => d.bytes)
  expect(requests).toHaveLength(2)
  expect(requests[1]).toEqual(requests[0])
})

test('under load a cookie is asked for before the ticket is looked at', () => {
  const { p, ticket } = crashed({ right: { timers: { cookieThreshold: 0 } } })
  const opened: number[] = []
  const open = p.right.tickets.open.bind(p.right.tickets)
  p.right.tickets.open = (opaque, now) => {
    opened.push(p.sent.length)
    return open(opaque, now)
  }
  p.resume(ticket)
  p.settle()
  expect(full(p.left).slice(0, 4)).toEqual([
    '> IKE_SESSION_RESUME request 0 [ Nonce N(TICKET_OPAQUE) N(REDIRECT_SUPPORTED) ]',
    '< IKE_SESSION_RESUME response 0 [ N(COOKIE) ]',
    '> IKE_SESSION_RESUME request 0 [ N(COOKIE) Nonce N(TICKET_OPAQUE) N(REDIRECT_SUPPORTED) ]',
    '< IKE_SESSION_RESUME response 0 [ Nonce N(CHILDLESS_IKEV2_SUPPORTED) ]',
  ])
  expect(opened).toEqual([3])
  expect(states(p)).toEqual(['established', 'established'])
})

describe('tickets that are not good: TICKET_NACK, and nothing is kept', () => {
  const refused = (p: Pair, ticket: Ticket, reason: string) => {
    p.resume(ticket)
    p.settle()
    expect(full(p.left).at(-1)).toBe('< IKE_SESSION_RESUME response 0 [ N(TICKET_NACK) ]')
    expect(p.left.codes.at(-1)).toBe('PEER_NOT_RESUMED')
    expect(p.right.drops).toEqual({ [`ike-ticket-${reason}`]: 1 })
    expect(p.right.live).toHaveLength(0)
  }
  const changed = (ticket: Ticket, at: number): Ticket => ({
    ...ticket,
    opaque: ticket.opaque.map((octet, i) => (i === at ? octet ^ 1 : octet)),
  })

  test.each([
    ['another version', 0, 'unknown'],
    ['another key', 1, 'unknown'],
    ['another id', 5, 'forged'],
    ['another content', 30, 'forged'],
  ])('forged: %s', (_, at, reason) => {
    const { p, ticket } = crashed()
    refused(p, changed(ticket, at), reason)
  })

  test('of a host that has forgotten its key', () => {
    const { ticket } = crashed()
    refused(new Pair({ seed: 2 }), ticket, 'unknown')
  })

  test('expired', () => {
    const { p, ticket } = crashed()
    p.now += 8 * HOUR
    refused(p, ticket, 'expired')
  })

  test('used before; replayed before that it brings the attacker nothing', () => {
    const { p, ticket } = crashed()
    p.resume(ticket)
    const [request] = p.wire
    // from another port, as it is replayed while the true one is on its way
    const { flow } = request!
    const remote = { ...flow.remote, port: 999 }
    p.fate = d => (d.flow.local.port === 999 ? [] : [d])
    p.deliver({ ...request!, flow: { ...flow, remote } })
    p.settle()
    expect(states(p)).toEqual(['established', 'established'])
    expect(p.right.live.map(sa => sa.state)).toContain('connecting')
    p.run(70_000)
    p.left.sas.clear()
    p.right.sas.clear()
    refused(p, ticket, 'used')
  })

  const shared = (more: Partial<PeerSettings>): Pair =>
    new Pair({ seed: 3, right: { timers: { resumption: { lifetimeMs: HOUR, key: KEY } } }, moon: more })
  test.each<[string, Partial<PeerSettings>, string | undefined]>([
    ['nothing', {}, undefined],
    ['another secret', { psk: KEY }, 'unwanted'],
    ['another identity', { remoteId: { type: 'any' } }, 'unwanted'],
    ['another name', { name: 'other' }, 'unwanted'],
    ['a PPK', { ppk: { required: true, keys: [{ id: 'office', secret: KEY }] } }, 'unwanted'],
    ['no resumption', { resumption: false }, 'unwanted'],
    ['other algorithms', { proposals: ['aes256gcm16-prfsha384-ecp384'] }, 'unwanted'],
  ])('the responder was restarted with its key, and has changed: %s', (_, more, reason) => {
    const { ticket } = crashed({ right: { timers: { resumption: { lifetimeMs: HOUR, key: KEY } } } })
    const p = shared(more)
    if (reason !== undefined) return refused(p, ticket, reason)
    p.resume(ticket)
    p.settle()
    expect(states(p)).toEqual(['established', 'established'])
  })

  test('anything: never more than a word', () => {
    const tickets = new Pair().right.tickets
    const { ticket } = crashed()
    const known = crashed({ right: { timers: { resumption: { lifetimeMs: HOUR, key: KEY } } } })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1_200 }), octets => {
        expect(typeof tickets.open(octets, 0)).toBe('string')
        const name = known.ticket.opaque.slice(0, 5)
        expect(typeof known.p.right.tickets.open(Uint8Array.of(...name, ...octets), 0)).toBe('string')
      }),
    )
    fc.assert(
      fc.property(fc.nat(ticket.opaque.length - 1), fc.nat(254), (at, change) => {
        const opaque = known.ticket.opaque.slice()
        opaque[at % opaque.length]! ^= change + 1
        expect(typeof known.p.right.tickets.open(opaque, 0)).toBe('string')
        expect(typeof known.p.right.tickets.open(known.ticket.opaque.subarray(0, at), 0)).toBe('string')
      }),
    )
  })
})

describe('IKE_AUTH of a resumed session', () => {
  test('another identity than that of the ticket is refused', () => {
    const any = { remoteId: { type: 'any' } } as const
    const { p, ticket } = crashed({ moon: any })
    p.left.connect({ ...p.sun, localId: { type: 'fqdn', value: 'mars.example' } }, p.now, 500, ticket)
    p.settle()
    expect(p.right.of('closed').map(e => e.why)).toEqual(['moon.example: the ticket is of another peer'])
    expect(p.left.codes).toEqual(['PEER_AUTH_FAILED'])
  })

  test('who has the ticket and not its keys gets nowhere', () => {
    const { p, ticket } = crashed()
    p.resume({ ...ticket, d: new Uint8Array(32) })
    p.run(40_000)
    expect(p.right.of('established')).toEqual([])
    expect(p.left.codes).toEqual(['PEER_UNREACHABLE'])
    expect(p.right.drops['ike-integrity']).toBeGreaterThan(0)
  })

  test('another responder than before is not accepted', () => {
    const { p, ticket } = crashed()
    p.resume({ ...ticket, identity: { type: 'fqdn', value: 'mars.example' } })
    p.settle()
    expect(p.left.of('closed').map(e => e.why)).toEqual(['the session was with mars.example, this is sun.example'])
    expect(p.right.live).toHaveLength(0)
  })

  test('two that race with one ticket: the second is refused', () => {
    const { p, ticket } = crashed()
    for (const _ of [1, 2]) p.left.connect(p.sun, p.now, 500, { ...ticket, d: ticket.d.slice() })
    p.settle()
    expect(p.right.of('established')).toHaveLength(1)
    expect(p.right.of('closed').map(e => e.why)).toEqual(['moon.example: the ticket was used meanwhile'])
  })
})

describe('the answer to IKE_SESSION_RESUME', () => {
  /** Up to the answer, which is then replaced. */
  const answeredWith = (...forged: Parameters<typeof notify>[]) => {
    const { p, ticket } = crashed()
    p.resume(ticket)
    p.deliver()
    const answer = p.wire.shift()!
    const head = parseIke(answer.bytes).header
    return { p, answer, send: (bytes: Uint8Array) => p.deliver({ ...answer, bytes }), head, forged }
  }

  test('an IKE_SA_INIT answer, one without a nonce, one for another request: dropped, the true one counts', () => {
    const { p, answer, send } = answeredWith()
    const other = answer.bytes.slice()
    other[18] = 34
    send(other)
    send(Uint8Array.of(...answer.bytes.subarray(0, 16), 0, ...answer.bytes.subarray(17, 24), 0, 0, 0, 28))
    expect(p.left.drops).toEqual({ 'ike-wrong-exchange': 1, 'ike-resume-incomplete': 1 })
    p.deliver(answer)
    p.settle()
    expect(states(p)).toEqual(['established', 'established'])
  })
})

test('whatever comes in place of the messages in the clear: dropped or refused, never more', () => {
  const rng = new SeededRng('resume')
  const { p, ticket } = crashed()
  for (let i = 0; i < 400; i++) {
    for (const end of [p.left, p.right]) {
      end.sas.clear()
      end.halfOpen.clear()
    }
    p.wire.length = 0
    p.resume({ ...ticket, d: ticket.d.slice() })
    if (i % 2 === 1) p.deliver()
    const next = p.wire.shift()!
    const bytes = next.bytes.slice(0, i % 5 === 0 ? rng.below(next.bytes.length) : next.bytes.length)
    for (let n = 1 + rng.below(4); n > 0 && bytes.length > 0; n--) bytes[rng.below(bytes.length)]! ^= 1 + rng.below(255)
    p.deliver({ ...next, bytes })
    p.wire.length = 0
  }
  p.left.sas.clear()
  // the ticket is as good as before
  p.resume(ticket)
  p.settle()
  expect(states(p)).toEqual(['established', 'established'])
})

describe('getting tickets', () => {
  test('none where this side, or the other, does not want to', () => {
    const silent = new Pair({ sun: { resumption: false } }).established()
    expect(full(silent.left).join()).not.toContain('TICKET')
    const refused = new Pair({ moon: { resumption: false } }).established()
    expect(full(refused.left).at(-1)).toContain('N(TICKET_NACK)')
    const never = new Pair({ right: { timers: { resumption: { lifetimeMs: 0 } } } }).established()
    expect(full(never.left).at(-1)).toContain('N(TICKET_NACK)')
    for (const p of [silent, refused, never]) expect(p.left.of('ticket')).toEqual([])
  })

  test('after a rekey another one, for the new keys', () => {
    const p = new Pair().established()
    const before = ticketOf(p)
    p.right.start(new RekeyIke(), p.now)
    p.settle()
    p.left.start(new TicketExchange(), p.now)
    p.settle()
    const after = ticketOf(p)
    expect(after.d).toEqual(p.left.sa.channel!.keys.d)
    expect(after.d).not.toEqual(before.d)
    for (const end of [p.left, p.right]) end.sas.clear()
    p.resume(after)
    p.settle()
    expect(states(p)).toEqual(['established', 'established'])
  })

  test('later, in a request of the responder; never one that is empty, eternal or huge', () => {
    const p = new Pair().established()
    const count = p.left.of('ticket').length
    const give = (...data: number[]) => {
      p.right.start(new Inform([notify(NotifyType.TICKET_LT_OPAQUE, Uint8Array.from(data))]), p.now)
      p.settle()
    }
    give()
    give(0, 0, 0, 9)
    give(0, 0, 0, 0, 1)
    give(0, 0, 0, 9, ...new Array(2_049).fill(1))
    expect(p.left.of('ticket')).toHaveLength(count)
    give(0, 0, 0, 9, 1, 2, 3)
    expect(ticketOf(p)).toMatchObject({ opaque: Uint8Array.of(1, 2, 3), until: p.now + 9_000 })
  })

  test('the responder takes none from the initiator, and gives its own only where it is asked', () => {
    const p = new Pair().established()
    p.left.start(new Inform([notify(NotifyType.TICKET_LT_OPAQUE, Uint8Array.of(0, 0, 0, 9, 1))]), p.now)
    p.right.start(new TicketExchange(), p.now)
    p.settle()
    expect(p.right.of('ticket')).toEqual([])
    expect(full(p.right).filter(line => line.includes('LT_OPAQUE'))).toHaveLength(2)
  })
})

describe('authentication grows old', () => {
  test('a ticket ends with it, and a resumed SA goes on with the time of the first', () => {
    const { p, ticket } = crashed({ sun: { reauthMs: 0 }, moon: { reauthMs: HOUR } })
    expect(ticket.until).toBe(p.now + HOUR)
    p.now += HOUR / 2
    const start = p.now
    p.resume(ticket)
    p.settle()
    expect(ticketOf(p).until).toBe(start + HOUR / 2)
    // 0.9 of what AUTH_LIFETIME says
    expect(p.left.sa.reauthAt).toBe(start + 0.9 * (HOUR / 2))
    expect(p.right.sa.reauthAt).toBeCloseTo(start + HOUR * 1.1 - HOUR / 2)
  })
})

describe('what a responder remembers', () => {
  const office = (key?: Uint8Array, lifetimeMs = HOUR) => {
    const peer = moon()
    const tickets = new Tickets({
      crypto: nodeCryptoProvider,
      rng: new SeededRng(1),
      timers: { resumption: { lifetimeMs, ...(key && { key }) } } as never,
      peers: () => [peer],
      wall: now => 1_700_000_000_000 + now,
    })
    const session = {
      idi: { idType: 2, data: new TextEncoder().encode('moon.example') },
      identity: { type: 'fqdn', value: 'moon.example' },
      suite: { encr: 20, keyBits: 128, prf: 5, ke: 31 },
      d: new Uint8Array(32).fill(7),
      authenticatedAt: 1_700_000_000_000,
      until: Infinity,
      provedUntil: undefined,
      ppk: undefined,
    } as const
    const grant = (now: number, more = {}) => tickets.grant(peer, { ...session, ...more }, now)
    return { tickets, session, grant }
  }

  test('a ticket says what went in', () => {
    const { tickets, session, grant } = office()
    const { opaque, seconds } = grant(0, { ppk: 'office' })!
    expect(seconds).toBe(3_600)
    const { id, settings, ...said } = tickets.open(opaque, 0) as OpenTicket
    expect(said).toEqual({ ...session, until: 1_700_003_600_000, ppk: 'office' })
    expect([id.length, settings.name]).toEqual([32, 'moon'])
  })

  test('its key changes; each ticket is good for its time, and not longer', () => {
    const { tickets, grant } = office()
    const keyOf = (opaque: Uint8Array) => String(opaque.subarray(1, 5))
    const first = grant(0)!.opaque
    const last = grant(HOUR - 1)!.opaque
    const next = grant(HOUR)!.opaque
    expect(keyOf(last)).toBe(keyOf(first))
    expect(keyOf(next)).not.toBe(keyOf(first))
    expect(typeof tickets.open(first, HOUR - 1)).toBe('object')
    expect(tickets.open(first, HOUR)).toBe('expired')
    expect(typeof tickets.open(last, 2 * HOUR - 1_500)).toBe('object')
    expect(tickets.open(last, 2 * HOUR)).toBe('unknown')
  })

  test('a key of the configuration stays', () => {
    const [before, after] = [office(KEY), office(KEY)]
    expect(typeof after.tickets.open(before.grant(5 * HOUR)!.opaque, 5 * HOUR)).toBe('object')
  })

  test('used tickets are remembered up to a bound, and forgotten when they would not be good any more', () => {
    const { tickets, grant } = office()
    const { opaque } = grant(0)!
    const until = 1_700_000_000_000 + HOUR
    for (let i = 0; i < 65_536; i++) expect(tickets.use({ id: `${i}`, until: until - (i % 2) * 1_000 }, 0)).toBe(true)
    expect(tickets.use({ id: 'one more', until }, 0)).toBe(false)
    expect(tickets.open(opaque, 0)).toBe('used')
    expect(typeof tickets.open(opaque, HOUR - 900)).toBe('object')
    expect(tickets.use({ id: 'one more', until }, HOUR - 900)).toBe(true)
    expect(tickets.use({ id: '0', until }, HOUR - 900)).toBe(false)
  })

  test('a certificate that runs out ends it, and those that come of it', () => {
    const { tickets, grant } = office()
    const provedUntil = 1_700_000_000_000 + HOUR / 2
    const { opaque, seconds } = grant(0, { provedUntil })!
    expect(seconds).toBe(1_800)
    expect(tickets.open(opaque, 0)).toMatchObject({ provedUntil, until: provedUntil })
    expect(tickets.open(opaque, HOUR / 2)).toBe('expired')
    expect(grant(HOUR / 2, { provedUntil })).toBeUndefined()
  })

  test('none is made that would not fit into a datagram', () => {
    expect(office().grant(0, { idi: { idType: 11, data: new Uint8Array(1_000) } })).toBeUndefined()
  })
})
