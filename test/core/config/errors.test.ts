import { expect, test } from 'vitest'
import { ConfigErrors, configSchema, parseConfig } from '../../../core/config/index.ts'
import { ConfigError } from '../../../core/errors.ts'

/** Every message in full: they are what a user sees of this folder. */

const sources = {
  env: { SET: 'from the environment', EMPTY: '' },
  readFile: (path: string) => {
    if (path === './empty') return new TextEncoder().encode('\n')
    throw new ConfigError('', `${path}: no such file`)
  },
}
const sound = { remote: 'gw.example.org', psk: 'not for your eyes', children: { lan: { remote: ['10.3.0.0/24'] } } }
const peer = (change: object) => ({ peers: { moon: { ...sound, ...change } } })
const child = (change: object) => peer({ children: { lan: change } })
const rules = (value: unknown) => ({ ...peer({}), policy: { rules: value } })
const caller = (change: object) => ({ ...sound, remote: undefined, ...change })

const SECRET = 'a secret is wanted: text, { env: NAME }, { file: PATH }, { hex: … } or { base64: … }'
const keysOf = (node: unknown): string[] => Object.keys((node as { properties: object }).properties)
const { properties } = configSchema() as { properties: { peers: { additionalProperties: unknown } } }
const PEER_KEYS = keysOf(properties.peers.additionalProperties).join(', ')
const TOP_KEYS = Object.keys(properties)
  .filter(key => key !== '$schema')
  .join(', ')
const HOST = 'a host name or address is wanted, with :port where that is not 500'
const DURATION = 'a duration such as 30s, 5m, 4h or 500ms is wanted'
const PREFIX = 'an address or prefix such as 10.9.0.0/24 is wanted'
const CONDITION =
  'the value of a fact is wanted (true, false, a text, a number), a list of values, a comparison such as "> 1h", or { not: …, above: … }'
const SELECTOR = 'a prefix, or dynamic, is wanted, with [tcp/80] where it is for one protocol or port'

const WRONG: readonly (readonly [given: unknown, message: string])[] = [
  // shape
  ['peers', 'a mapping is wanted, found "peers"'],
  [[1], 'a mapping is wanted, found a list'],
  [{ peer: {} }, `peer: unknown key; allowed: ${TOP_KEYS}; did you mean "peers"?`],
  [{ peers: [{ psk: 'not for your eyes' }] }, 'peers: a mapping is wanted, found a list'],
  [{ peers: { moon: null } }, 'peers.moon: a mapping is wanted, found null'],
  [
    { peers: { 'to the moon': sound } },
    'peers.to the moon: a name of letters, digits, dot, dash and underscore is wanted',
  ],
  [peer({ remot: 'x' }), `peers.moon.remot: unknown key; allowed: ${PEER_KEYS}; did you mean "remote"?`],
  [peer({ zzzzzzzz: 'x' }), `peers.moon.zzzzzzzz: unknown key; allowed: ${PEER_KEYS}`],
  [peer({ start: 'conect' }), 'peers.moon.start: found "conect"; allowed: connect, wait; did you mean "connect"?'],
  [peer({ start: 5 }), 'peers.moon.start: found 5; allowed: connect, wait'],
  [peer({ reconnect: 'yes' }), 'peers.moon.reconnect: true or false is wanted, found "yes"'],
  [peer({ addresses: ['ipv5'] }), 'peers.moon.addresses[0]: found "ipv5"; allowed: ipv4, ipv6; did you mean "ipv4"?'],
  [child({ remote: '10.3.0.0/24' }), 'peers.moon.children.lan.remote: a list is wanted, found "10.3.0.0/24"'],
  [
    child({ remote: [] }),
    'peers.moon.children.lan.remote: at least one selector is wanted, such as 10.3.0.0/24 or dynamic, found a list',
  ],
  [
    child({ conflicts: 'flow' }),
    'peers.moon.children.lan.conflicts: refuse, flows or { map: POOL } is wanted, found "flow"',
  ],
  [
    child({ conflicts: { map: 'seen' } }),
    'peers.moon.children.lan.conflicts.map: no pool "seen"; no pool is configured',
  ],
  [child({ mode: 3 }), 'peers.moon.children.lan.mode: a text is wanted, found 3'],
  [child({ replayWindow: 7 }), 'peers.moon.children.lan.replayWindow: a number of at least 32 is wanted, found 7'],
  [{ listen: { ports: { ike: 70_000 } } }, 'listen.ports.ike: a number of at most 65535 is wanted, found 70000'],
  [{ listen: { ports: { ike: 5.5 } } }, 'listen.ports.ike: a whole number is wanted, found 5.5'],
  [{ listen: { addresses: ['eth0'] } }, 'listen.addresses[0]: an IPv4 or IPv6 address is wanted, found "eth0"'],
  [{ device: true }, 'device: false is wanted, or a mapping such as { name: nw0, mtu: 1400 }, found true'],
  [
    { device: { mut: 1400 } },
    'device.mut: unknown key; allowed: name, mtu, clampMss, table, threads; did you mean "mtu"?',
  ],
  [{ device: { mtu: 'large' } }, 'device.mtu: a number is wanted, found "large"'],
  [{ device: { threads: 4 } }, 'device.threads: found 4; allowed: 1, 2'],
  [{ log: { level: 'loud' } }, 'log.level: found "loud"; allowed: debug, info, warn, error'],
  [{ ike: { retransmit: { base: 0.5 } } }, 'ike.retransmit.base: a number of at least 1 is wanted, found 0.5'],
  [{ plugins: [5] }, 'plugins[0]: a plugin is wanted: its name or path, or { use: NAME, options: { … } }, found 5'],
  [
    { plugins: ['udp', { usee: 'turn', options: { password: 'hidden' } }] },
    'plugins[1].usee: unknown key; allowed: use, options; did you mean "use"?',
  ],
  [{ plugins: [{ use: 'turn', options: 'hidden' }] }, 'plugins[0].options: a mapping is wanted, found a text'],
  // words
  [peer({ remote: 'two words' }), `peers.moon.remote: ${HOST}, found "two words"`],
  [peer({ remote: 'gw:0' }), `peers.moon.remote: ${HOST}, found "gw:0"`],
  [peer({ remote: 'gw:ipsec' }), `peers.moon.remote: ${HOST}, found "gw:ipsec"`],
  [peer({ dpd: '30 parsecs' }), `peers.moon.dpd: ${DURATION}, found "30 parsecs"`],
  [peer({ dpd: true }), `peers.moon.dpd: ${DURATION}, found true`],
  [peer({ dpd: -1 }), 'peers.moon.dpd: a number of at least 0 is wanted, found -1'],
  [
    child({ rekeyBytes: '1 barrel' }),
    'peers.moon.children.lan.rekeyBytes: a size such as 500MB or 1GiB is wanted, found "1 barrel"',
  ],
  [child({ local: ['10.0.0.0/33'] }), `peers.moon.children.lan.local[0]: ${PREFIX}, found "10.0.0.0/33"`],
  [
    child({ remote: ['dynamic', '10.3.0.0/24[tcp/99999]'] }),
    `peers.moon.children.lan.remote[1]: ${SELECTOR}, found "10.3.0.0/24[tcp/99999]"`,
  ],
  [{ pools: { rw: { addresses: '10.9.0/24' } } }, `pools.rw.addresses: ${PREFIX}, found "10.9.0/24"`],
  [
    peer({ localId: '' }),
    'peers.moon.localId: an identity such as alice@example.org, gw.example.org or an address is wanted, found ""',
  ],
  [
    peer({ localId: '*@example.org' }),
    'peers.moon.localId: one identity is wanted; patterns and any are for remoteId, found "*@example.org"',
  ],
  [
    peer({ remoteId: 'C=CH, X=Sun' }),
    'peers.moon.remoteId: a distinguished name is written as C=CH, O=Example, CN=alice, in the order of the certificate, found "C=CH, X=Sun"',
  ],
  [
    peer({ remoteId: 'keyid:moon' }),
    'peers.moon.remoteId: a key id is written in hex octets: keyid:0a1b2c, found "keyid:moon"',
  ],
  [
    peer({ proposals: ['aes256gcm16-prfsha256-x25519', 'aes256gmc16-prfsha256-x25519'] }),
    'peers.moon.proposals[1]: unknown algorithm "aes256gmc16"; did you mean "aes256gcm16"?, found "aes256gmc16-prfsha256-x25519"',
  ],
  [
    child({ proposals: ['aes128gcm16-prfsha256'] }),
    'peers.moon.children.lan.proposals[0]: proposal "aes128gcm16-prfsha256": PRFs are for IKE, found "aes128gcm16-prfsha256"',
  ],
  // secrets; none is ever shown
  [
    peer({ psk: undefined }),
    'peers.moon.psk: is missing; give the key that both sides share, or `certificate` and `key` (natweave pki makes them)',
  ],
  [peer({ psk: 42 }), `peers.moon.psk: ${SECRET}, found a number`],
  [peer({ psk: '' }), 'peers.moon.psk: a secret of at least one character is wanted, found a text'],
  [
    peer({ psk: { evn: 'X' } }),
    'peers.moon.psk.evn: unknown key; allowed: env, file, hex, base64; did you mean "env"?',
  ],
  [peer({ psk: { env: 'A', file: 'b' } }), `peers.moon.psk: ${SECRET}, found a mapping`],
  [peer({ psk: { hex: 'not for your eyes' } }), 'peers.moon.psk.hex: hex octets are wanted, found a text'],
  [peer({ psk: { base64: 'not for your eyes!' } }), 'peers.moon.psk.base64: base64 is wanted, found a text'],
  [peer({ psk: { env: 'UNSET' } }), 'peers.moon.psk: the environment variable UNSET is not set'],
  [peer({ psk: { env: 'EMPTY' } }), 'peers.moon.psk: the environment variable EMPTY is not set'],
  [peer({ psk: { file: './none' } }), 'peers.moon.psk: ./none: no such file'],
  [peer({ psk: { file: './empty' } }), 'peers.moon.psk: ./empty is empty'],
  // what parts demand of each other
  [peer({ pool: 'rw' }), 'peers.moon.pool: no pool "rw"; no pool is configured'],
  [
    { ...peer({ pool: 'wr' }), pools: { rw: { addresses: '10.9.0.0/24' } } },
    'peers.moon.pool: no pool "wr"; known: rw; did you mean "rw"?',
  ],
  [peer({ pool: 'constructor' }), 'peers.moon.pool: no pool "constructor"; no pool is configured'],
  [
    peer({ children: {} }),
    'peers.moon.children: a peer needs at least one child, such as lan: { remote: [10.3.0.0/24] }',
  ],
  [
    { peers: { moon: caller({}) } },
    'peers.moon.remoteId: a peer without `remote` is known by its identity only; give one, or any',
  ],
  [
    { peers: { moon: caller({ remoteId: 'any', start: 'connect' }) } },
    'peers.moon.start: connect needs `remote`, the address to call',
  ],
  [
    { peers: { moon: caller({ remoteId: '*@example.org' }), sun: caller({ remoteId: '*@example.org' }) } },
    'peers.sun.remoteId: the same as that of peers.moon; without `remote` they cannot be told apart',
  ],
  [rules([{ peers: ['mon'] }]), 'policy.rules[0].peers[0]: no peer "mon"; known: moon; did you mean "moon"?'],
  [
    rules([{}, { us: ['udp-encap'] }]),
    'policy.rules[1].us: unknown key; allowed: peers, when, use, prefer, avoid; did you mean "use"?',
  ],
  [rules([{ when: { localBehindNat: [] } }]), `policy.rules[0].when.localBehindNat: ${CONDITION}, found a list`],
  [rules([{ when: { sinceSuccess: '> soon' } }]), `policy.rules[0].when.sinceSuccess: ${CONDITION}, found "> soon"`],
  [
    rules([{ when: { sinceSuccess: { abov: 3 } } }]),
    'policy.rules[0].when.sinceSuccess.abov: unknown key; allowed: in, not, above, atLeast, below, atMost; did you mean "above"?',
  ],
  [
    rules([{ use: { pth: 'direct' } }]),
    'policy.rules[0].use.pth: unknown key; allowed: path, encap, mode; did you mean "path"?',
  ],
  [rules([{ peers: ['branch-*'] }]), 'policy.rules[0].peers[0]: no peer "branch-*"; known: moon'],
  [
    { ...peer({}), policy: { groups: { road: ['mon'] } } },
    'policy.groups.road[0]: no peer "mon"; known: moon; did you mean "moon"?',
  ],
  [
    { ...peer({}), policy: { groups: { moon: ['moon'] } } },
    'policy.groups.moon: a peer has this name; a rule could not tell them apart',
  ],
  [{ policy: { networks: { office: ['10.1'] } } }, `policy.networks.office[0]: ${PREFIX}, found "10.1"`],
  [rules({}), 'policy.rules: a list is wanted, found a mapping'],
]

for (const [given, message] of WRONG)
  test(message, () => {
    expect(problemsOf(given)).toEqual([message])
  })

test('everything wrong is said at once, each with its path', () => {
  const given = {
    peers: {
      moon: { ...sound, remot: 'x', psk: { env: 'UNSET' }, start: 'conect' },
      sun: { ...sound, pool: 'rw' },
    },
    policy: { rules: [{ peers: ['mars'] }, { us: [] }] },
  }
  expect(catchErrors(given).problems.map(problem => problem.path)).toEqual([
    'peers.moon.start',
    'peers.moon.remot',
    'policy.rules[1].us',
    'policy.rules[0].peers[0]',
    'peers.sun.pool',
    'peers.moon.psk',
  ])
})

test('no message shows a secret, wherever it was put', () => {
  const hidden = 'correct horse battery staple'
  for (const given of [
    { peers: [{ psk: hidden }] },
    { peers: { 'bad name': { ...sound, psk: hidden } } },
    { peers: { moon: [hidden] } },
    { peers: { moon: { ...sound, psk: [hidden] } } },
    { peers: { moon: { ...sound, psk: { file: { path: hidden } } } } },
    { plugins: [{ use: 'turn', options: hidden }] },
    { plugins: { turn: { password: hidden } } },
  ])
    expect(problemsOf(given).join('\n')).not.toContain('horse')
})

function catchErrors(given: unknown): ConfigErrors {
  try {
    parseConfig(given, sources)
  } catch (error) {
    if (error instanceof ConfigErrors) return error
    throw error
  }
  throw new Error('was accepted')
}

const problemsOf = (given: unknown): string[] => catchErrors(given).message.split('\n')
