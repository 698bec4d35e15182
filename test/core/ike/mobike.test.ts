import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { knownFact } from '../../../core/contracts/facts.ts'
import type { Endpoint, Flow } from '../../../core/contracts/net.ts'
import { ChildExchange } from '../../../core/ike/create-child.ts'
import { Inform } from '../../../core/ike/informational.ts'
import { notify } from '../../../core/ike/notify.ts'
import { RekeyIke } from '../../../core/ike/rekey-ike.ts'
import { addressBytes, NotifyType } from '../../../core/wire/index.ts'
import { NatDetection } from '../../../plugins/udp-encap/nat-detection.ts'
import { chart, type Datagram, Pair, type PairOptions } from './pair.ts'

const HERE = '192.0.2.1'
const ELSEWHERE = '198.51.100.7'
const THERE = '192.0.2.2'
const THERE_TOO = '203.0.113.2'
const V6 = ['2001:db8::1', '2001:db8::2'] as const

/** Both ends with MOBIKE, NAT detection and several addresses; datagrams reach only addresses that exist. */
class MobilePair extends Pair {
  /** Local addresses nothing gets through from. */
  readonly dark = new Set<string>()

  constructor(options: PairOptions = {}) {
    const tasks = () => [new NatDetection()]
    super({
      ...options,
      left: { tasks, encap: 'floating', ...options.left },
      right: { tasks, encap: 'floating', ...options.right },
      sun: { mobike: true, ...options.sun },
      moon: { mobike: true, ...options.moon },
    })
    this.left.here = [HERE]
    this.right.here = [THERE]
    this.fate = d => this.#reachable(d)
  }

  #reachable(d: Datagram): readonly Datagram[] {
    const { local, remote } = d.flow
    if (this.dark.has(local.address) || this.dark.has(remote.address)) return []
    const ends = { left: this.left.here, right: this.right.here }
    const other = d.to === 'left' ? ends.right : ends.left
    return ends[d.to].includes(local.address) && other.includes(remote.address) ? [d] : []
  }

  /** The left end has these addresses now, and sends from the first of the peer's address family. */
  move(here: readonly string[]): void {
    this.left.here = here
    this.relocate('left')
  }

  relocate(side: 'left' | 'right'): void {
    const end = this[side]
    const { sa } = end
    const sources = new Map<string, string>()
    for (const to of [sa.flow.remote.address, ...sa.mobility.peerAddresses]) {
      const source = end.here.find(address => address.includes(':') === to.includes(':'))
      if (source !== undefined) sources.set(to, source)
    }
    sa.mobility.relocate(sa, sources, this.now)
    end.carryOut(sa, this.now)
  }

  /** Charts of both ends from here on. */
  since(): () => { left: string[]; right: string[] } {
    const at = { left: chart(this.left).length, right: chart(this.right).length }
    return () => ({ left: chart(this.left).slice(at.left), right: chart(this.right).slice(at.right) })
  }

  get flows(): string[] {
    return [this.left.sa, this.right.sa].map(({ flow }) => `${flow.local.address} ${flow.remote.address}`)
  }
}

const carrying = (flow: Flow): string => flow.remote.address

/** The same datagram, as if it came from elsewhere. */
const from = (datagram: Datagram, remote: Endpoint): Datagram => ({ ...datagram, flow: { ...datagram.flow, remote } })

const NAT_D = 'N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)'

describe('agreeing on MOBIKE', () => {
  test('IKE_AUTH carries MOBIKE_SUPPORTED and the other addresses both ways', () => {
    const pair = new MobilePair()
    pair.left.here = [HERE, ELSEWHERE]
    pair.right.here = [THERE, V6[1]]
    pair.established()
    // IKE_AUTH request { … MOBIKE_SUPPORTED, ADDITIONAL_IP4_ADDRESS } -->
    expect(chart(pair.left)[2]).toMatch(/> IKE_AUTH request 1 .* N\(MOBIKE_SUPPORTED\) N\(ADDITIONAL_IP4_ADDRESS\) \]$/)
    // <-- IKE_AUTH response { … MOBIKE_SUPPORTED, ADDITIONAL_IP6_ADDRESS }
    expect(chart(pair.left)[3]).toMatch(
      /< IKE_AUTH response 1 .* N\(MOBIKE_SUPPORTED\) N\(ADDITIONAL_IP6_ADDRESS\) \]$/,
    )
    expect(pair.left.sa.mobility.peerAddresses).toEqual([THERE, V6[1]])
    expect(pair.right.sa.mobility.peerAddresses).toEqual([HERE, ELSEWHERE])
    expect([pair.left.sa.mobility.decides, pair.right.sa.mobility.decides]).toEqual([true, false])
  })

  test('with MOBIKE, IKE_AUTH goes to 4500 even where no encapsulation is planned; never means never', () => {
    const usual = new MobilePair({ left: { encap: 'plain' } }).established()
    expect(usual.left.sa.flow.remote.port).toBe(4500)
    const never = new MobilePair({ left: { encap: 'plain' }, sun: { encapsulation: 'never' } }).established()
    expect(never.left.sa.flow.remote.port).toBe(500)
    expect(chart(never.left)[2]).toContain('N(NO_NATS_ALLOWED)')
  })

  test.each([
    { name: 'the initiator does not offer it', sun: { mobike: false }, moon: {} },
    { name: 'the responder does not answer it', sun: {}, moon: { mobike: false } },
  ])('not agreed on: $name', ({ sun, moon }) => {
    const pair = new MobilePair({ sun, moon }).established()
    expect([pair.left, pair.right].map(end => end.sa.mobility.enabled)).toEqual([false, false])
    const { flow } = pair.left.sa
    pair.move([ELSEWHERE])
    expect(pair.left.sa.flow).toBe(flow)
    // what an unasked peer says of addresses is not listened to
    pair.move([HERE])
    pair.left.start(new Inform([notify(NotifyType.UPDATE_SA_ADDRESSES)]), pair.now)
    pair.wire[0] = from(pair.wire[0]!, { address: ELSEWHERE, port: 4500 })
    pair.deliver()
    expect(pair.right.sa.flow.remote.address).toBe(HERE)
  })

  test('NO_NATS_ALLOWED and a NAT on the way: IKE_AUTH is refused', () => {
    const pair = new MobilePair({ sun: { encapsulation: 'never' } })
    pair.fate = d => [
      d.to === 'right'
        ? from(d, { address: ELSEWHERE, port: 500 })
        : { ...d, flow: { ...d.flow, local: { address: HERE, port: 500 } } },
    ]
    pair.connect()
    pair.settle()
    expect(chart(pair.right).at(-1)).toContain('N(UNEXPECTED_NAT_DETECTED)')
    expect(pair.left.codes).toEqual(['PEER_NAT'])
  })
})

describe('the initiator moves', () => {
  test('UPDATE_SA_ADDRESSES from the new address, return routability, then ESP follows', () => {
    const pair = new MobilePair().established()
    const messages = pair.since()
    pair.move([ELSEWHERE])
    // IKE is there at once, ESP is not before the address has proved to be the peer's
    pair.deliver()
    expect([carrying(pair.right.sa.flow), carrying(pair.right.sa.carrying)]).toEqual([ELSEWHERE, HERE])
    pair.settle()
    expect(messages().left).toEqual([
      `> INFORMATIONAL request 2 [ N(UPDATE_SA_ADDRESSES) N(NO_ADDITIONAL_ADDRESSES) ${NAT_D} ]`,
      `< INFORMATIONAL response 2 [ ${NAT_D} ]`,
      '< INFORMATIONAL request 0 [ N(COOKIE2) ]',
      '> INFORMATIONAL response 0 [ N(COOKIE2) ]',
    ])
    expect(pair.flows).toEqual([`${ELSEWHERE} ${THERE}`, `${THERE} ${ELSEWHERE}`])
    expect(carrying(pair.right.sa.carrying)).toBe(ELSEWHERE)
    expect(pair.right.of('moved').at(-1)!.flow.remote.address).toBe(ELSEWHERE)
    expect(pair.left.children).toHaveLength(1)
  })

  test('a request under way is said again from the new address first', () => {
    const pair = new MobilePair().established()
    pair.dark.add(HERE)
    pair.left.start(new ChildExchange({ ...pair.sun.children.lan!, name: 'more' }), pair.now)
    const messages = pair.since()
    pair.move([ELSEWHERE])
    pair.settle()
    expect(messages().right.filter(m => m.startsWith('<'))).toEqual([
      expect.stringContaining('CREATE_CHILD_SA request 2'),
      expect.stringContaining('INFORMATIONAL request 3 [ N(UPDATE_SA_ADDRESSES)'),
      expect.stringContaining('INFORMATIONAL response 0 [ N(COOKIE2) ]'),
    ])
    expect(pair.right.children).toHaveLength(2)
  })

  test('twice before the first answer comes: that answer changes nothing, a new update goes out', () => {
    const pair = new MobilePair().established()
    pair.move([ELSEWHERE])
    pair.deliver()
    const messages = pair.since()
    pair.move(['198.51.100.8'])
    pair.settle()
    pair.run(5_000)
    expect(messages().left.filter(m => m.includes('UPDATE_SA_ADDRESSES'))).toHaveLength(1)
    expect(pair.flows).toEqual([`198.51.100.8 ${THERE}`, `${THERE} 198.51.100.8`])
    expect(carrying(pair.right.sa.carrying)).toBe('198.51.100.8')
  })

  test('from IPv4 to IPv6, since the peer has told its other address', () => {
    const pair = new MobilePair()
    pair.right.here = [THERE, V6[1]]
    pair.established()
    pair.move([V6[0]])
    // what the peer says of its addresses proves nothing: ESP waits for an answer from there
    expect([pair.left.sa.flow, pair.left.sa.carrying].map(carrying)).toEqual([V6[1], THERE])
    pair.settle()
    expect(carrying(pair.left.sa.carrying)).toBe(V6[1])
    expect(chart(pair.left)[4]).toMatch(/UPDATE_SA_ADDRESSES.*COOKIE2/)
    expect(pair.flows).toEqual([`${V6[0]} ${V6[1]}`, `${V6[1]} ${V6[0]}`])
  })

  test('behind a NAT and out of it again: facts and keepalives follow', () => {
    const pair = new MobilePair({ sun: { keepaliveMs: 20_000 } }).established()
    const through = pair.fate
    // a NAT that maps ELSEWHERE to itself with other ports
    pair.fate = d => {
      const [left, natted] = [
        { address: ELSEWHERE, port: 4500 },
        { address: ELSEWHERE, port: 40_000 },
      ]
      if (d.to === 'right' && d.flow.remote.address === ELSEWHERE) return through(d).map(() => from(d, natted))
      return through(d).map(() => (d.flow.local.port === 40_000 ? { ...d, flow: { ...d.flow, local: left } } : d))
    }
    pair.move([ELSEWHERE])
    pair.settle()
    expect(
      [pair.left, pair.right].map(end =>
        knownFact(end.sa.facts, end === pair.left ? 'localBehindNat' : 'remoteBehindNat'),
      ),
    ).toEqual([true, true])
    pair.run(60_000)
    expect(pair.left.of('keepalive').length).toBeGreaterThan(1)
    pair.move([HERE])
    pair.settle()
    expect(knownFact(pair.left.sa.facts, 'localBehindNat')).toBe(false)
    expect(pair.right.sa.flow.remote).toEqual({ address: HERE, port: 4500 })
  })

  test('an address more: the peer is told, nothing moves', () => {
    const pair = new MobilePair().established()
    const messages = pair.since()
    pair.move([HERE, ELSEWHERE])
    pair.settle()
    pair.relocate('left')
    pair.settle()
    expect(messages().left).toEqual([
      '> INFORMATIONAL request 2 [ N(ADDITIONAL_IP4_ADDRESS) ]',
      '< INFORMATIONAL response 2 [  ]',
    ])
    expect(pair.right.sa.mobility.peerAddresses).toEqual([HERE, ELSEWHERE])
    pair.move([HERE])
    pair.settle()
    expect(messages().left[2]).toBe('> INFORMATIONAL request 3 [ N(NO_ADDITIONAL_ADDRESSES) ]')
    expect(pair.right.sa.mobility.peerAddresses).toEqual([HERE])
  })

  test('refused addresses: back to those that were accepted', () => {
    const pair = new MobilePair()
    pair.left.here = [HERE, ELSEWHERE]
    pair.established()
    pair.right.planless = true
    const messages = pair.since()
    pair.move([ELSEWHERE, HERE])
    pair.deliver()
    pair.right.planless = false
    pair.settle()
    expect(messages().left.filter(m => m.includes('UNACCEPTABLE_ADDRESSES'))).toHaveLength(1)
    expect(pair.flows).toEqual([`${HERE} ${THERE}`, `${THERE} ${HERE}`])
  })

  test('all addresses refused: the SA ends, and says why', () => {
    const pair = new MobilePair().established()
    pair.right.planless = true
    pair.move([ELSEWHERE])
    pair.settle()
    expect(pair.left.codes).toEqual(['PEER_ADDRESSES'])
  })

  test('after a rekey by the responder the initiator of the first SA still decides', () => {
    const pair = new MobilePair().established()
    pair.right.start(new RekeyIke(), pair.now)
    pair.settle()
    expect([pair.left.sa.initiator, pair.left.sa.mobility.decides]).toEqual([false, true])
    pair.move([ELSEWHERE])
    pair.settle()
    expect(pair.flows).toEqual([`${ELSEWHERE} ${THERE}`, `${THERE} ${ELSEWHERE}`])
  })
})

describe('a path fails', () => {
  test.each([
    { name: 'own second address', here: [HERE, ELSEWHERE], there: [THERE], dark: HERE, flow: `${ELSEWHERE} ${THERE}` },
    {
      name: "peer's second address",
      here: [HERE],
      there: [THERE, THERE_TOO],
      dark: THERE,
      flow: `${HERE} ${THERE_TOO}`,
    },
    { name: 'both second', here: [HERE, V6[0]], there: [THERE, V6[1]], dark: HERE, flow: `${V6[0]} ${V6[1]}` },
  ])('a liveness check finds the way: $name', ({ here, there, dark, flow }) => {
    const pair = new MobilePair({ sun: { dpdMs: 10_000 } })
    pair.left.here = here
    pair.right.here = there
    pair.established()
    pair.dark.add(dark)
    pair.run(30_000)
    expect(pair.flows[0]).toBe(flow)
    expect(pair.flows[1]).toBe(flow.split(' ').reverse().join(' '))
    expect(pair.left.codes).toEqual([])
  })

  test('no way left: the peer is dead after all tries', () => {
    const pair = new MobilePair({ sun: { dpdMs: 10_000 } })
    pair.left.here = [HERE, ELSEWHERE]
    pair.established()
    pair.dark.add(THERE)
    pair.run(100_000)
    expect(pair.left.codes).toEqual(['PEER_UNREACHABLE'])
  })

  test("the responder's address goes away: it goes on from another and tells; the initiator decides for it", () => {
    const pair = new MobilePair()
    pair.right.here = [THERE, THERE_TOO]
    pair.established()
    pair.right.here = [THERE_TOO]
    pair.relocate('right')
    pair.settle()
    pair.run(5_000)
    expect(pair.flows).toEqual([`${HERE} ${THERE_TOO}`, `${THERE_TOO} ${HERE}`])
    expect(pair.left.sa.mobility.peerAddresses).toEqual([THERE_TOO])
  })

  test.each([1, 2, 3, 4, 5])('moves under loss arrive in the end (seed %i)', seed => {
    const pair = new MobilePair({ seed }).established()
    const through = pair.fate
    pair.fate = d => (pair.left.rng.float() < 0.3 ? [] : through(d))
    for (const address of [ELSEWHERE, '198.51.100.8', HERE]) {
      pair.move([address])
      pair.run(20_000)
    }
    pair.fate = through
    pair.run(30_000)
    expect(pair.flows).toEqual([`${HERE} ${THERE}`, `${THERE} ${HERE}`])
    expect(carrying(pair.right.sa.carrying)).toBe(HERE)
  })
})

describe('the NAT in front of the initiator', () => {
  const natted = (pair: MobilePair, port: () => number) => {
    const through = pair.fate
    pair.fate = d => {
      if (d.flow.remote.port === 500 || d.flow.local.port === 500) return through(d)
      if (d.to === 'right') return through(d).map(() => from(d, { address: HERE, port: port() }))
      return d.flow.local.port === port()
        ? through(d).map(() => ({ ...d, flow: { ...d.flow, local: { address: HERE, port: 4500 } } }))
        : []
    }
  }

  test('liveness checks carry the hashes; another mapping is followed by an update', () => {
    const pair = new MobilePair({ sun: { dpdMs: 10_000 } })
    let port = 30_000
    natted(pair, () => port)
    pair.connect()
    pair.settle()
    // IKE_SA_INIT saw no NAT: the first update makes up for that
    pair.left.sa.mobility.update(pair.left.sa, pair.now)
    pair.left.carryOut(pair.left.sa, pair.now)
    pair.settle()
    expect(pair.right.sa.flow.remote.port).toBe(30_000)
    const messages = pair.since()
    pair.run(12_000)
    expect(messages().left).toEqual([
      `> INFORMATIONAL request 3 [ ${NAT_D} ]`,
      `< INFORMATIONAL response 3 [ ${NAT_D} ]`,
    ])
    port = 30_001
    pair.run(12_000)
    expect(pair.right.sa.flow.remote.port).toBe(30_001)
    expect(messages().left.filter(m => m.includes('UPDATE_SA_ADDRESSES'))).toHaveLength(1)
  })
})

describe('hostile', () => {
  const update = [notify(NotifyType.UPDATE_SA_ADDRESSES)]

  test('an update with a claimed address the peer does not receive at: ESP never goes there', () => {
    const pair = new MobilePair().established()
    pair.left.start(new Inform(update), pair.now)
    // the peer, or somebody on the way, forges the source
    pair.wire[0] = from(pair.wire[0]!, { address: '203.0.113.99', port: 4500 })
    pair.deliver()
    expect(carrying(pair.right.sa.carrying)).toBe(HERE)
    pair.run(200_000)
    expect([pair.right.sa.flow, pair.right.sa.carrying].map(carrying)).toEqual([HERE, HERE])
    expect(pair.right.of('moved').every(({ flow }) => carrying(flow) !== '203.0.113.99')).toBe(true)
  })

  test('copies and damaged copies of an update from elsewhere move nothing', () => {
    const pair = new MobilePair().established()
    pair.move([ELSEWHERE])
    const asked = pair.wire[0]!
    pair.settle()
    const damaged = asked.bytes.map((octet, i) => (i === asked.bytes.length - 1 ? octet ^ 1 : octet))
    for (const bytes of [asked.bytes, damaged])
      pair.right.receive(bytes, { ...asked.flow, remote: { address: '203.0.113.99', port: 4500 } }, pair.now)
    expect(pair.flows).toEqual([`${ELSEWHERE} ${THERE}`, `${THERE} ${ELSEWHERE}`])
  })

  test.each([
    { name: 'wrong', cookie: () => [notify(NotifyType.COOKIE2, new Uint8Array(32))] },
    { name: 'missing', cookie: () => [] },
  ])('return routability: a $name cookie ends the SA', ({ cookie }) => {
    const pair = new MobilePair()
    pair.established()
    const sa = pair.left.sa
    sa.tasks = [{ name: 'liar', build: m => void (m.response && m.payloads.splice(0, 9, ...cookie())) }, ...sa.tasks]
    pair.move([ELSEWHERE])
    pair.settle()
    expect(pair.right.codes).toEqual(['PEER_COOKIE2'])
  })

  test.each([7, 8, 64, 65])('a cookie of %i octets', length => {
    const pair = new MobilePair().established()
    const messages = pair.since()
    pair.left.start(new Inform([notify(NotifyType.COOKIE2, new Uint8Array(length))]), pair.now)
    pair.settle()
    expect(messages().left[1]).toBe(
      `< INFORMATIONAL response 2 [${length >= 8 && length <= 64 ? ' N(COOKIE2)' : ' '} ]`,
    )
  })

  test('the end that does not decide cannot move the other', () => {
    const pair = new MobilePair()
    pair.right.here = [THERE, THERE_TOO]
    pair.established()
    const { flow } = pair.left.sa
    pair.right.start(new Inform(update), pair.now)
    pair.wire[0] = from(pair.wire[0]!, { address: THERE_TOO, port: 4500 })
    pair.settle()
    expect(pair.left.sa.flow).toBe(flow)
  })

  test('any number of addresses of any kind: few are remembered, none that nothing can be sent to', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 17 }), { maxLength: 200 }), fc.boolean(), (list, six) => {
        const pair = new MobilePair().established()
        const type = six ? NotifyType.ADDITIONAL_IP6_ADDRESS : NotifyType.ADDITIONAL_IP4_ADDRESS
        const bad = ['0.0.0.0', '127.0.0.1', '224.0.0.1', '169.254.1.1', '::', '::1', 'ff02::1', 'fe80::1']
        const all = [...bad.map(addressBytes), ...list]
        pair.left.start(new Inform(all.map(data => notify(type, data))), pair.now)
        pair.settle()
        const { peerAddresses } = pair.right.sa.mobility
        expect(peerAddresses.length).toBeLessThanOrEqual(16)
        expect(peerAddresses[0]).toBe(HERE)
        expect(peerAddresses.filter(address => bad.includes(address))).toEqual([])
      }),
      { numRuns: 30 },
    )
  })

  test('a flood of updates costs one check at a time', () => {
    const pair = new MobilePair().established()
    for (let i = 0; i < 50; i++) {
      pair.left.start(new Inform(update), pair.now)
      const at = pair.wire.findIndex(d => d.to === 'right')
      const [asked] = pair.wire.splice(at, 1)
      pair.right.receive(asked!.bytes, { ...asked!.flow, remote: { address: `198.51.100.${i}`, port: 4500 } }, pair.now)
      // the answer reaches the peer by other means, the check does not
      const answer = pair.sent.find(d => d.to === 'left' && d.n > asked!.n)!
      pair.left.receive(answer.bytes, pair.left.sa.flow, pair.now)
    }
    expect(pair.right.of('message').filter(e => e.direction === 'out' && e.summary.includes('COOKIE2'))).toHaveLength(1)
    expect(carrying(pair.right.sa.carrying)).toBe(HERE)
  })
})
