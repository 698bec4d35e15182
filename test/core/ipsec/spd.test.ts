import { expect, test } from 'vitest'
import { Claims } from '../../../core/ipsec/claims.ts'
import { SelectorPair } from '../../../core/ipsec/index.ts'
import { mayAcquire, Spd } from '../../../core/ipsec/spd.ts'
import { newIpInfo, readIp, setU16 } from '../../../core/wire/index.ts'
import { selector, udpPacket } from './sample.ts'

const netA = selector('10.1.0.0', '10.1.255.255')
const netB = selector('10.2.0.0', '10.2.255.255')
const everything = selector('0.0.0.0', '255.255.255.255')
const wide = new SelectorPair([everything], [everything])
const nets = new SelectorPair([netA], [netB])
const dns = new SelectorPair([netA], [{ ...netB, protocol: 17, startPort: 53, endPort: 53 }])

const info = newIpInfo()
function sender(spd: Spd<string>, bytes = udpPacket('x')): string | undefined {
  readIp(bytes, 0, bytes.length, info)
  const policy = spd.lookup(bytes, info)
  return policy?.senders.at(-1) ?? (policy?.trap && `trap ${policy.trap.child}`)
}

test('the most specific policy decides, whatever the order of installing', () => {
  for (const order of [
    [wide, nets, dns],
    [dns, nets, wide],
  ]) {
    const spd = new Spd<string>()
    for (const selectors of order) spd.add(selectors, selectors === dns ? 'dns' : selectors === nets ? 'nets' : 'wide')
    expect(sender(spd)).toBe('dns')
    expect(sender(spd, udpPacket('x', { destinationPort: 54 }))).toBe('nets')
    expect(sender(spd, udpPacket('x', { destination: '10.3.0.1' }))).toBe('wide')
    spd.remove('dns')
    expect(sender(spd)).toBe('nets')
  }
})

test('the newest of equal ones sends; when it goes, the one before does again', () => {
  const spd = new Spd<string>()
  spd.add(nets, 'old')
  spd.add(nets, 'new')
  expect(sender(spd)).toBe('new')
  spd.remove('new')
  expect(sender(spd)).toBe('old')
  spd.remove('old')
  expect(sender(spd)).toBeUndefined()
})

test('an SA goes before a trap with its selectors, a narrower trap before an SA', () => {
  const spd = new Spd<string>()
  spd.add(nets, 'sa')
  spd.trap(nets, 'peer', 'net')
  expect(sender(spd)).toBe('sa')
  spd.trap(dns, 'peer', 'dns')
  expect(sender(spd)).toBe('trap dns')
  spd.untrap('peer', 'dns')
  expect(sender(spd)).toBe('sa')
  spd.remove('sa')
  expect(sender(spd)).toBe('trap net')
})

test('later fragments are not decided by the ports of other packets', () => {
  const spd = new Spd<string>()
  spd.add(dns, 'dns')
  spd.add(wide, 'wide')
  const fragment = udpPacket('x')
  setU16(fragment, 6, 100)
  expect(sender(spd)).toBe('dns')
  expect(sender(spd, fragment)).toBe('wide')
  expect(sender(spd)).toBe('dns')
})

test('decisions remembered per flow agree with fresh ones', () => {
  const spd = new Spd<string>()
  spd.add(wide, 'wide')
  spd.add(dns, 'dns')
  for (let round = 0; round < 2; round++)
    for (let i = 0; i < 3000; i++) {
      const destinationPort = i % 100
      const bytes = udpPacket('x', { destination: `10.2.${i % 7}.${i % 250}`, destinationPort, sourcePort: i })
      expect(sender(spd, bytes)).toBe(destinationPort === 53 ? 'dns' : 'wide')
    }
})

const alice = { owner: 'alice', peer: 'clients', shared: false }
const mallory = { owner: 'mallory', peer: 'clients', shared: false }
const site = { owner: 'site', peer: 'site', shared: false }

test('of one peer that stands for many, nobody gets a part of what another has', () => {
  const claims = new Claims()
  claims.claim(nets, alice)
  expect(claims.conflict(dns, mallory)).toContain('overlap with those of an SA of alice')
  expect(claims.conflict(wide, mallory)).toContain('overlap with those of an SA of alice')
  expect(claims.conflict(dns, alice)).toBeUndefined()
  // two peers of the configuration: the narrower one decides, as it is written
  expect(claims.conflict(dns, site)).toBeUndefined()
  expect(claims.conflict(nets, site)).toContain('already belong to an SA of alice')
})

test('selectors that all owners share are nobody’s alone; one that does not share keeps them', () => {
  const claims = new Claims()
  claims.claim(nets, { ...alice, shared: true })
  expect(claims.conflict(nets, { ...mallory, shared: true })).toBeUndefined()
  expect(claims.conflict(nets, mallory)).toContain('alice')
  expect(claims.conflict(dns, { ...mallory, shared: true })).toContain('overlap')
})

test('selectors belong to one owner as long as it has an SA with them', () => {
  const claims = new Claims()
  claims.claim(nets, alice)
  claims.claim(nets, alice)
  expect(claims.conflict(nets, alice)).toBeUndefined()
  expect(claims.conflict(nets, mallory)).toContain('alice')
  claims.release(nets)
  expect(claims.conflict(nets, mallory)).toContain('alice')
  claims.release(nets)
  expect(claims.conflict(nets, mallory)).toBeUndefined()
})

test('one acquire per second', () => {
  const trap = { peer: 'peer', child: 'net', lastAcquire: Number.NEGATIVE_INFINITY }
  expect([0, 1, 999, 1000, 1500, 2000].map(now => mayAcquire(trap, now))).toEqual([
    true,
    false,
    false,
    true,
    false,
    true,
  ])
})
