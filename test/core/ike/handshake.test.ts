import { describe, expect, test } from 'vitest'
import { newPacket, octets } from '../../../core/contracts/packet.ts'
import { EspOpener, EspSealer } from '../../../core/ipsec/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'
import { anything, chart, child, type End, Pair } from './pair.ts'

/** IKE_SA_INIT and IKE_AUTH when all goes well. */

/** What one end seals, the other opens. */
function carries(from: End, to: End): boolean {
  const [there, here] = [from.children[0]!, to.children[0]!]
  const sealer = new EspSealer(from.crypto, there.suite, there.outbound, new SeededRng('esp'))
  const opener = new EspOpener(to.crypto, here.suite, here.inbound)
  const packet = newPacket()
  packet.bytes.set([1, 2, 3, 4], packet.start)
  packet.end = packet.start + 4
  packet.nextHeader = 4
  if (sealer.seal(packet) !== undefined) return false
  return opener.open(packet, 1) === undefined && octets(packet).subarray(0, 4).join() === '1,2,3,4'
}

test('pre-shared keys, one Child SA', () => {
  const p = new Pair()
  // IKE_SA_INIT { SA, KE, Ni } -->
  p.connect()
  expect(p.wire).toHaveLength(1)
  p.deliver()
  expect(p.right.sa.state).toBe('connecting')
  expect(p.right.halfOpen.size).toBe(1)
  // <-- IKE_SA_INIT { SA, KE, Nr }
  p.deliver()
  expect(p.left.sa.channel?.keys.d).toEqual(p.right.sa.channel?.keys.d)
  expect(p.left.sa.state).toBe('connecting')
  // IKE_AUTH { IDi, N(INITIAL_CONTACT), IDr, AUTH, SA, TSi, TSr } -->
  p.deliver()
  expect(p.right.sa.state).toBe('established')
  expect(p.right.sa.peer).toBe('moon')
  expect(p.right.halfOpen.size).toBe(0)
  // <-- IKE_AUTH { IDr, AUTH, SA, TSi, TSr }
  p.deliver()
  expect(p.left.sa.state).toBe('established')
  expect(p.wire).toEqual([])

  expect(chart(p.left)).toEqual([
    '> IKE_SA_INIT request 0 [ SA KE Nonce ]',
    '< IKE_SA_INIT response 0 [ SA KE Nonce ]',
    '> IKE_AUTH request 1 [ IDi N(INITIAL_CONTACT) IDr AUTH SA TSi TSr ]',
    '< IKE_AUTH response 1 [ IDr AUTH SA TSi TSr ]',
  ])
  const [left, right] = [p.left.children[0]!, p.right.children[0]!]
  expect(left.inbound).toEqual(right.outbound)
  expect(left.outbound).toEqual(right.inbound)
  expect(left.local).toEqual(right.remote)
  expect(left.remote).toEqual(right.local)
  expect(carries(p.left, p.right)).toBe(true)
  expect(carries(p.right, p.left)).toBe(true)
  expect(p.right.of('established')[0]?.contact).toBe(true)
  expect([p.left.drops, p.right.drops, p.left.codes, p.right.codes]).toEqual([{}, {}, [], []])
})

test('the Child SA can receive before the answer that lets the peer send leaves', () => {
  const p = new Pair().established()
  const kinds = p.right.log.map(e => (e.type === 'message' ? `message ${e.direction}` : e.type))
  const tail = kinds.slice(kinds.indexOf('established'))
  expect(tail.filter(k => k !== 'keys')).toEqual(['established', 'child-up', 'message out', 'transmit'])
})

describe('every algorithm, both providers', () => {
  const common = [nodeCryptoProvider, nobleProvider] as const
  const alone = [nodeCryptoProvider, nodeCryptoProvider] as const
  test.each([
    { ike: 'aes128gcm16-prfsha256-x25519', esp: 'aes128gcm16', crypto: common },
    { ike: 'aes256gcm16-prfsha384-ecp384', esp: 'aes256gcm16-esn', crypto: common },
    { ike: 'aes192gcm8-prfsha512-ecp521', esp: 'aes192gcm12', crypto: alone },
    { ike: 'aes256ccm16-prfsha256-ecp256', esp: 'aes256ccm12-esn', crypto: alone },
    { ike: 'chacha20poly1305-prfsha256-x25519', esp: 'chacha20poly1305', crypto: common },
    { ike: 'aes128-sha256-modp2048', esp: 'aes256-sha256', crypto: common },
    { ike: 'aes256-sha512-ecp256', esp: 'aes128-sha1-esn', crypto: common },
    { ike: 'aes128-sha1-modp3072', esp: 'aes192-sha384', crypto: common },
    { ike: 'aes128ctr-sha384-ecp521', esp: 'aes256ctr-sha512', crypto: common },
    { ike: 'aes256-sha256-modp4096', esp: 'null-sha256', crypto: common },
  ])('$ike, $esp', ({ ike, esp, crypto }) => {
    const [left, right] = crypto
    const side = (local: string, remote: string) => ({
      lan: child({ proposals: [esp], localTs: [anything(local, 16)], remoteTs: [anything(remote, 16)] }),
    })
    const p = new Pair({
      left: { crypto: left },
      right: { crypto: right },
      sun: { proposals: [ike], children: side('10.1.0.0', '10.2.0.0') },
      moon: { proposals: [ike], children: side('10.2.0.0', '10.1.0.0') },
    }).established()
    expect([...p.left.codes, ...p.right.codes]).toEqual([])
    expect(carries(p.left, p.right)).toBe(true)
    expect(carries(p.right, p.left)).toBe(true)
  })
})

test('proposals that no crypto provider can do fail at once', () => {
  const p = new Pair({ left: { crypto: nobleProvider }, sun: { proposals: ['aes128ccm8-prfsha256-x25519'] } })
  p.connect()
  expect(p.left.codes).toEqual(['USAGE_UNSUPPORTED_TRANSFORM'])
  expect(p.sent).toEqual([])
})

test('the defaults agree with themselves', () => {
  const p = new Pair({ sun: { proposals: [] }, moon: { proposals: [] } }).established()
  expect(carries(p.left, p.right)).toBe(true)
})

describe('virtual addresses', () => {
  const road = (families: readonly (4 | 6)[]) => ({
    requestAddresses: families,
    children: {
      home: child({
        name: 'home',
        localTs: [anything('dynamic')],
        remoteTs: [anything('10.2.0.0', 16), anything('fd02::', 32)],
      }),
    },
  })
  const gateway = {
    pool: 'road',
    children: {
      home: child({
        name: 'home',
        localTs: [anything('10.2.0.0', 16), anything('fd02::', 32)],
        remoteTs: [anything('dynamic')],
      }),
    },
  }
  const pool = ['10.9.0.1', '10.9.0.2', 'fd09::1']
  const dns = ['10.2.0.53', 'fd02::53']

  test.each([
    { families: [4] as const, virtual: ['10.9.0.1'], servers: ['10.2.0.53'], outer: 4 as const },
    { families: [6] as const, virtual: ['fd09::1'], servers: ['fd02::53'], outer: 4 as const },
    { families: [4, 6] as const, virtual: ['10.9.0.1', 'fd09::1'], servers: dns, outer: 6 as const },
  ])('of families $families over IPv$outer', ({ families, virtual, servers, outer }) => {
    // IKE_AUTH { …, CP(CFG_REQUEST), SA, TSi, TSr } -->, <-- { …, CP(CFG_REPLY), SA, TSi, TSr }
    const p = new Pair({ sun: road(families), moon: gateway, right: { pool, dns }, family: outer }).established()
    expect(p.left.sa.virtual).toEqual(virtual)
    expect(p.left.sa.dns).toEqual(servers)
    expect(p.right.sa.assigned).toEqual(virtual)
    expect(p.left.children[0]!.local.map(s => s.start)).toEqual(virtual)
    expect(p.right.children[0]!.remote.map(s => s.end)).toEqual(virtual)
    expect(p.left.of('addresses')).toHaveLength(1)
    expect(carries(p.left, p.right)).toBe(true)
  })

  test('an exhausted pool fails the Child SA, not the IKE SA', () => {
    const p = new Pair({ sun: road([4]), moon: gateway, right: { pool: [] } }).established()
    expect(p.left.codes).toEqual(['PEER_NO_ADDRESS'])
    expect(p.right.codes).toEqual(['POOL_EMPTY'])
    expect(p.left.sa.state).toBe('established')
  })

  test('a family the pool lacks is left out', () => {
    const p = new Pair({ sun: road([4, 6]), moon: gateway, right: { pool: ['10.9.0.1'] } }).established()
    expect(p.left.sa.virtual).toEqual(['10.9.0.1'])
    expect(p.left.children[0]!.local).toHaveLength(1)
  })
})

test('selectors are narrowed to what both want', () => {
  const p = new Pair({
    sun: { children: { lan: child({ localTs: [anything('0.0.0.0', 0)], remoteTs: [anything('10.2.0.0', 16)] }) } },
    moon: { children: { lan: child({ localTs: [anything('10.2.3.0', 24)], remoteTs: [anything('10.1.0.0', 16)] }) } },
  }).established()
  const [ours] = p.left.children
  expect(ours!.local).toMatchObject([{ start: '10.1.0.0', end: '10.1.255.255' }])
  expect(ours!.remote).toMatchObject([{ start: '10.2.3.0', end: '10.2.3.255' }])
})

test('several children: the first in IKE_AUTH, the others after it', () => {
  const other = (localTs: string, remoteTs: string) =>
    child({ name: 'dmz', localTs: [anything(localTs, 24)], remoteTs: [anything(remoteTs, 24)] })
  const p = new Pair({
    sun: { children: { lan: child(), dmz: other('10.3.1.0', '10.3.2.0') } },
    moon: {
      children: {
        lan: child({ localTs: [anything('10.2.0.0', 16)], remoteTs: [anything('10.1.0.0', 16)] }),
        dmz: other('10.3.2.0', '10.3.1.0'),
      },
    },
  }).established()
  // CREATE_CHILD_SA { SA, Ni, TSi, TSr } -->, <-- { SA, Nr, TSi, TSr }
  expect(chart(p.left).slice(4)).toEqual([
    '> CREATE_CHILD_SA request 2 [ SA Nonce TSi TSr ]',
    '< CREATE_CHILD_SA response 2 [ SA Nonce TSi TSr ]',
  ])
  expect(p.left.children.map(c => c.settings.name)).toEqual(['lan', 'dmz'])
  expect(p.right.children.map(c => c.settings.name)).toEqual(['lan', 'dmz'])
})

test('the flow floats to port 4500 with IKE_AUTH, and the responder follows', () => {
  const p = new Pair({ left: { encap: 'floating' }, right: { encap: 'floating' } }).established()
  expect(p.left.sa.flow.remote.port).toBe(4500)
  expect(p.right.sa.flow.remote.port).toBe(4500)
  expect(p.right.of('moved')).toHaveLength(1)
})

test('IKE_SA_INIT offers to be redirected, and to go without a Child SA', () => {
  const p = new Pair().established()
  expect(p.left.of('message').map(({ summary }) => summary.match(/N\((REDIRECT|CHILDLESS)\w+\)/g))).toEqual([
    ['N(REDIRECT_SUPPORTED)'],
    ['N(CHILDLESS_IKEV2_SUPPORTED)'],
    null,
    null,
  ])
})
