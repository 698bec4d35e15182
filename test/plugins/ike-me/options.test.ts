import { describe, expect, test } from 'vitest'
import type { Candidate } from '../../../core/contracts/service.ts'
import type { PeerSettings } from '../../../core/contracts/settings.ts'
import { disclosed } from '../../../plugins/ike-me/disclose.ts'
import { type IkeMeOptions, parseOptions, parsePeers } from '../../../plugins/ike-me/options.ts'

const at = (address: string, port = 4500) => ({ address, port })
const candidate = (kind: Candidate['kind'], address: string, base = address): Candidate => ({
  kind,
  endpoint: at(address),
  base: at(base),
  source: 'a test',
  until: Infinity,
})
const ALL = [
  candidate('host', '10.1.0.5'),
  candidate('host', '172.17.0.1'),
  candidate('host', '2001:db8::5'),
  candidate('server-reflexive', '198.51.100.1', '10.1.0.5'),
  candidate('relayed', '203.0.113.30'),
]
const INTERFACES = new Map([
  ['10.1.0.5', 'eth0'],
  ['172.17.0.1', 'docker0'],
  ['2001:db8::5', 'eth0'],
])
const told = (disclose: IkeMeOptions['disclose']) =>
  disclosed(ALL, parseOptions({ ...(disclose !== undefined && { disclose }) }), INTERFACES).map(c => c.endpoint.address)

describe('which endpoints are told', () => {
  test.each<[string, IkeMeOptions['disclose'], string[]]>([
    ['all', undefined, ['10.1.0.5', '172.17.0.1', '2001:db8::5', '198.51.100.1', '203.0.113.30']],
    ['by kind', { kinds: ['server-reflexive', 'relayed'] }, ['198.51.100.1', '203.0.113.30']],
    ['not some prefixes', { hide: ['10.0.0.0/8', '2001:db8::/32'] }, ['172.17.0.1', '198.51.100.1', '203.0.113.30']],
    ['only some prefixes', { only: ['198.51.100.0/24'] }, ['198.51.100.1']],
    [
      'not those of an interface',
      { hideInterfaces: ['docker*'] },
      ['10.1.0.5', '2001:db8::5', '198.51.100.1', '203.0.113.30'],
    ],
    ['nor what was learned through it', { hideInterfaces: ['eth0'] }, ['172.17.0.1', '203.0.113.30']],
    ['nothing', { kinds: [] }, []],
  ])('%s', (_, disclose, want) => {
    expect(told(disclose)).toEqual(want)
  })

  test('hidden hosts are sent from all the same', () => {
    const [only] = disclosed(ALL, parseOptions({ disclose: { kinds: ['server-reflexive'] } }), INTERFACES)
    expect(only).toMatchObject({ endpoint: at('198.51.100.1'), base: at('10.1.0.5') })
  })

  test('never more than a peer looks at', () => {
    const many = Array.from({ length: 60 }, (_, i) => candidate('host', `10.1.0.${i}`))
    expect(disclosed(many, parseOptions({}), new Map())).toHaveLength(4)
  })
})

describe('options that make no sense are named', () => {
  test.each<[object, RegExp]>([
    [{ disclos: {} }, /^disclos: no such option; there are disclose/],
    [{ disclose: { kinds: ['hosts'] } }, /^disclose.kinds: "hosts"; there are host, server-reflexive, relayed/],
    [{ disclose: { hide: ['10.0.0.0/33'] } }, /^disclose.hide\[0\]: "10.0.0.0\/33": an address or prefix/],
    [{ hardNats: { sockets: 5_000 } }, /^hardNats.sockets: a whole number from 0 to 1024/],
    [{ hardNats: { perSecond: 1.5 } }, /^hardNats.perSecond/],
    [{ allow: [{ from: '', to: 'bob@m' }] }, /^allow\[0\].from: an identity/],
  ])('%j', (options, words) => {
    expect(() => parseOptions(options)).toThrow(words)
  })

  const peers = (options: Readonly<Record<string, unknown>>) =>
    parsePeers(
      Object.entries({ med: { mediation: true }, ...options }).map(
        ([name, own]) =>
          ({
            name,
            remoteId: { type: 'fqdn', value: `${name}.example` },
            options: { 'ike-me': own },
          }) as unknown as PeerSettings,
      ),
    )

  test('peers: the server by its name, the peer by its identity', () => {
    expect(peers({ bob: { by: 'med' }, carol: { by: 'med', id: 'carol@m' } }).get('carol')).toEqual({
      type: 'mediated',
      by: 'med',
      id: { type: 'rfc822', value: 'carol@m' },
    })
  })

  test.each<[Readonly<Record<string, unknown>>, RegExp]>([
    [{ bob: { by: 'mid' } }, /^peers.bob.options.ike-me.by: no peer "mid"; there are: med, bob/],
    [{ bob: { by: 'carol' }, carol: {} }, /by: peers.carol is no mediation server/],
    [{ bob: { by: 'med', mediation: true } }, /by: a mediation server is not itself found/],
    [{ bob: { by: 7 } }, /by: the name of the peer that mediates is wanted/],
    [{ bob: { by: 'med', id: '' } }, /id: an identity such as/],
    [{ bob: { via: 'med' } }, /^peers.bob.options.ike-me.via: no such option/],
    [{ bob: 'med' }, /^peers.bob.options.ike-me: options with names are wanted/],
  ])('%j', (options, words) => {
    expect(() => peers(options)).toThrow(words)
  })
})
