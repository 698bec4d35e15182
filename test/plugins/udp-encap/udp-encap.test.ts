import { describe, expect, test } from 'vitest'
import type { Flow } from '../../../core/contracts/net.ts'
import type { LocalEndpoint } from '../../../core/contracts/transport.ts'
import { UdpEncap } from '../../../plugins/udp-encap/index.ts'
import { facts } from '../../core/policy/strategies.ts'

const encap = new UdpEncap()

const local = (address: string, port: number, role: LocalEndpoint['role'], protocol: 17 | 50 = 17): LocalEndpoint => ({
  address,
  port,
  role,
  protocol,
})
const flow = (localPort: number, remotePort: number, address = '10.1.0.10'): Flow => ({
  protocol: 17,
  local: { address, port: localPort },
  remote: { address: '192.0.2.1', port: remotePort },
})
const ports = (f: Flow | undefined): string => (f === undefined ? 'none' : `${f.local.port}-${f.remote.port}`)

const usual = [
  local('10.2.0.10', 500, 'ike'),
  local('10.2.0.10', 4500, 'natt'),
  local('10.1.0.10', 0, 'raw', 50),
  local('10.1.0.10', 500, 'ike'),
  local('10.1.0.10', 4500, 'natt'),
]
const unprivileged = [local('10.1.0.10', 10_500, 'ike'), local('10.1.0.10', 14_500, 'natt')]

describe('where IKE goes on', () => {
  const rows = [
    { name: 'both ends float', locals: usual, from: flow(500, 500), want: '4500-4500' },
    { name: 'on 4500 from the start: stays', locals: usual, from: flow(4500, 4500), want: '4500-4500' },
    { name: 'as a NAT shows the peer: stays', locals: usual, from: flow(4500, 61_234), want: '4500-61234' },
    { name: 'a foreign remote port is kept', locals: usual, from: flow(500, 1500), want: '4500-1500' },
    { name: 'ports of a host without privilege', locals: unprivileged, from: flow(10_500, 500), want: '14500-4500' },
    { name: 'the same, floated', locals: unprivileged, from: flow(14_500, 4500), want: '14500-4500' },
    {
      name: 'no socket to float to: stays',
      locals: [local('10.1.0.10', 500, 'ike')],
      from: flow(500, 500),
      want: '500-500',
    },
    { name: 'only one of another address: stays', locals: usual, from: flow(500, 500, '10.3.0.10'), want: '500-500' },
  ] as const
  for (const { name, locals, from, want } of rows)
    test(name, () => {
      const floated = encap.ikeFlow(from, locals)
      expect(ports(floated)).toBe(want)
      expect(floated.local.address).toBe(from.local.address)
      expect(floated.remote.address).toBe(from.remote.address)
      expect(floated.protocol).toBe(17)
      if (ports(from) === want) expect(floated).toBe(from)
    })

  test('floating once more changes nothing', () => {
    const floated = encap.ikeFlow(flow(500, 500), usual)
    expect(encap.ikeFlow(floated, usual)).toBe(floated)
  })
})

describe('where ESP goes', () => {
  const rows = [
    { name: 'with IKE on 4500', ike: flow(4500, 4500), want: '4500-4500' },
    { name: 'with IKE through a NAT', ike: flow(4500, 61_234), want: '4500-61234' },
    { name: 'with IKE on other ports', ike: flow(14_500, 4500), want: '14500-4500' },
    { name: 'not on 500: there is no marker', ike: flow(500, 500), want: 'none' },
    { name: 'not to 500', ike: flow(4500, 500), want: 'none' },
    {
      name: 'from any socket, once neither port is 500',

      ike: flow(10_500, 4500),
      want: '10500-4500',
    },
    { name: 'not from 500 that is no longer bound', ike: flow(500, 4500), want: 'none' },
  ] as const
  for (const { name, ike, want } of rows)
    test(name, () => {
      const esp = encap.espFlow(ike)
      expect(ports(esp)).toBe(want)
      // one object, so that nobody compares addresses per packet
      if (esp !== undefined) expect(esp).toBe(ike)
    })

  test('not beside IKE on anything but UDP', () => {
    expect(encap.espFlow({ ...flow(4500, 4500), protocol: 6 })).toBeUndefined()
  })
})

describe('NAT-keepalives', () => {
  test('one octet 0xff from the end behind the NAT', () => {
    expect(encap.keepalive(facts({ localBehindNat: true }))).toEqual(Uint8Array.of(0xff))
  })

  test.each([{}, { localBehindNat: false }, { localBehindNat: false, remoteBehindNat: true }])(
    'none with %j',
    known => {
      expect(encap.keepalive(facts(known))).toBeUndefined()
    },
  )
})

describe('following the peer', () => {
  const rows: [Record<string, boolean>, boolean][] = [
    [{}, false],
    [{ remoteBehindNat: true }, true],
    [{ remoteBehindNat: true, localBehindNat: false }, true],
    [{ remoteBehindNat: true, localBehindNat: true }, false],
    [{ remoteBehindNat: false, localBehindNat: true }, false],
    [{ remoteBehindNat: false, localBehindNat: false }, false],
  ]
  test.each(rows)('with %j: %s', (known, want) => {
    expect(encap.follows(facts(known))).toBe(want)
  })
})

describe('assessment', () => {
  const rows: [Record<string, boolean>, string | undefined][] = [
    [{}, undefined],
    [{ localBehindNat: true }, 'this host is behind a NAT'],
    [{ localBehindNat: false, remoteBehindNat: true }, 'the peer is behind a NAT'],
    [{ forceEncapsulation: true }, 'encapsulation is forced'],
    [{ plainEspPossible: false, forceEncapsulation: true }, 'nothing here can send IP protocol 50'],
    [{ espBlocked: true }, 'IP protocol 50 does not get through to the peer'],
    [{ udpBlocked: false, peerNatTraversal: true }, undefined],
  ]
  test.each(rows)('usable with %j, for 8 octets: %s', (known, why) => {
    const cost = { octets: 8, roundTrips: 0, trusts: [] }
    expect(encap.assess(facts(known))).toEqual({ usable: true, cost, ...(why && { why }) })
  })

  test.each([
    [{ udpBlocked: true, localBehindNat: true }, 'UDP does not get through to the peer'],
    [{ peerNatTraversal: false }, 'the peer takes no part in NAT detection, so does not expect ESP in UDP'],
  ])('not usable with %j', (known, why) => {
    expect(encap.assess(facts(known))).toEqual({ usable: false, why })
  })
})
