import { hostname } from 'node:os'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defineConfig, parseConfig } from '../../../core/config/index.ts'
import { duration, identity, identityPattern, remote, selector, size } from '../../../core/config/values.ts'

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const sources = { env: { MOON_PSK: 'from env' }, readFile: () => new TextEncoder().encode('from file\r\n') }
const children = { lan: {} }

test('a full configuration becomes settings with exact types', () => {
  const config = parseConfig(
    defineConfig({
      local: { id: 'alice@lab.test' },
      listen: { addresses: ['192.0.2.7'], ports: { ike: 1500 } },
      device: { name: 'nw7', mtu: 1380 },
      plugins: ['udp', { use: './mine.ts', options: { level: 9 } }],
      pools: { rw: { addresses: '10.9.0.0/24', dns: ['10.3.0.53'] } },
      peers: {
        moon: {
          remote: '[2001:DB8::1]:4500',
          remoteId: '*@lab.test',
          psk: { env: 'MOON_PSK' },
          proposals: ['aes256gcm16-prfsha256-x25519'],
          children: {
            lan: {
              local: ['dynamic'],
              remote: ['10.3.0.0/24[tcp/80]'],
              mode: 'tunnel',
              protocol: 'esp',
              ahAlign: 4,
              proposals: ['aes128gcm16-x25519'],
              rekey: '1h',
              rekeyBytes: '1GB',
              rekeyPackets: 1_000_000,
              replayWindow: 256,
              start: 'trap',
            },
          },
          addresses: ['ipv4', 'ipv6'],
          pool: 'rw',
          encapsulation: 'force',
          start: 'connect',
          reconnect: false,
          dpd: 0,
          rekey: '4h',
          keepalive: 20,
          unique: 'keep',
          facts: { mediatorTrusted: true },
        },
      },
      policy: { rules: [{ peers: ['moon'], when: { localBehindNat: true }, use: ['udp-encap'] }] },
      ike: { retransmit: { timeout: '500ms', base: 2, tries: 3 } },
      log: { level: 'debug', format: 'json' },
    }),
    sources,
  )
  expect(config.settings.peers.moon).toEqual({
    name: 'moon',
    remote: '2001:db8::1',
    remotePort: 4500,
    localId: { type: 'rfc822', value: 'alice@lab.test' },
    remoteId: { type: 'rfc822', value: '*@lab.test' },
    psk: new TextEncoder().encode('from env'),
    proposals: ['aes256gcm16-prfsha256-x25519'],
    children: {
      lan: {
        name: 'lan',
        conflicts: 'refuse',
        localTs: [{ range: 'dynamic', protocol: 0, startPort: 0, endPort: 65_535 }],
        remoteTs: [{ range: { address: '10.3.0.0', bits: 24 }, protocol: 6, startPort: 80, endPort: 80 }],
        proposals: ['aes128gcm16-x25519'],
        protocol: 'esp',
        ahAlign: 4,
        mode: 'tunnel',
        rekeyMs: 3_600_000,
        lifeMs: 0,
        rekeyOctets: 1e9,
        rekeyPackets: 1_000_000,
        replayWindow: 256,
        start: 'trap',
      },
    },
    requestAddresses: [4, 6],
    pool: 'rw',
    encapsulation: 'force',
    start: 'connect',
    redirect: true,
    resumption: true,
    childless: 'allow',
    reauthMs: 0,
    reconnect: false,
    dpdMs: 0,
    rekeyMs: 14_400_000,
    keepaliveMs: 20_000,
    unique: 'keep',
    facts: { mediatorTrusted: true },
    options: {},
    mobike: true,
  })
  expect(config.settings.pools).toEqual({
    rw: { name: 'rw', prefix: { address: '10.9.0.0', bits: 24 }, dns: ['10.3.0.53'] },
  })
  expect(config.settings.policy.rules).toEqual([
    {
      at: 'policy.rules[0]',
      peers: ['moon'],
      when: { localBehindNat: true },
      use: ['udp-encap'],
      prefer: [],
      avoid: [],
    },
  ])
  expect(config.settings.ike).toMatchObject({ retransmitMs: 500, retransmitBase: 2, retransmitTries: 3 })
  expect(config.plugins).toEqual([
    { use: 'udp', options: {}, at: 'plugins[0]' },
    { use: './mine.ts', options: { level: 9 }, at: 'plugins[1]' },
  ])
  expect(config).toMatchObject({
    listen: { addresses: ['192.0.2.7'], ports: { ike: 1500 } },
    device: { name: 'nw7', mtu: 1380 },
    log: { level: 'debug', format: 'json' },
    inlineSecrets: false,
  })
})

test('defaults: this host by its name, whoever has the key, everything dynamic', () => {
  const { settings, plugins } = parseConfig({ peers: { moon: { remote: 'gw', psk: 'x', children } } }, sources)
  expect(settings.peers.moon).toMatchObject({
    remotePort: 500,
    localId: { type: 'fqdn', value: hostname() },
    remoteId: { type: 'any' },
    proposals: [],
    encapsulation: 'auto',
    start: 'wait',
    reconnect: true,
    dpdMs: 30_000,
  })
  expect(settings.peers.moon?.children.lan).toMatchObject({
    localTs: [{ range: 'dynamic' }],
    remoteTs: [{ range: 'dynamic' }],
    rekeyOctets: Infinity,
    rekeyPackets: Infinity,
  })
  expect(plugins).toBeUndefined()
})

test('nothing configured is a configuration too', () => {
  for (const empty of [undefined, null, {}]) expect(parseConfig(empty, sources).settings.peers).toEqual({})
})

describe('secrets', () => {
  const pskOf = (psk: unknown) => {
    const { settings, inlineSecrets } = parseConfig({ peers: { moon: { remote: 'gw', psk, children } } }, sources)
    return { psk: text(settings.peers.moon!.psk!), inlineSecrets }
  }
  for (const [name, given, psk, inlineSecrets] of [
    ['text', 'plain', 'plain', true],
    ['hex', { hex: '6d6f6f6E' }, 'moon', true],
    ['base64', { base64: 'bW9vbg==' }, 'moon', true],
    ['environment', { env: 'MOON_PSK' }, 'from env', false],
    ['file, without its final newline', { file: 'moon.psk' }, 'from file', false],
  ] as const)
    test(name, () => expect(pskOf(given)).toEqual({ psk, inlineSecrets }))
})

describe('tickets', () => {
  const parse = (tickets: unknown) => parseConfig({ ike: { tickets } }, sources)
  const long = 'a key of as many octets as are wanted'

  test('live for eight hours under a random key, unless told otherwise', () => {
    expect(parse(undefined).settings.ike.resumption).toEqual({ lifetimeMs: 8 * 3_600_000 })
    const { settings, inlineSecrets } = parse({ lifetime: '30m', key: long })
    expect(settings.ike.resumption).toEqual({ lifetimeMs: 1_800_000, key: new TextEncoder().encode(long) })
    expect(inlineSecrets).toBe(true)
  })

  test.each([
    [{ key: { file: 'tickets.key' } }, /^ike\.tickets\.key: 9 octets are too few, 32 random ones are wanted/],
    [{ key: { env: 'NOWHERE' } }, /^ike\.tickets\.key: .*NOWHERE is not set/],
    [{ lifetime: 'long' }, /^ike\.tickets\.lifetime/],
    [{ keys: long }, /keys: unknown key.*key/],
  ])('wrong: %j', (tickets, why) => {
    expect(() => parse(tickets)).toThrow(why)
  })
})

describe('post-quantum preshared keys', () => {
  const parse = (ppk: unknown) =>
    parseConfig({ peers: { moon: { remote: 'gw', psk: { env: 'MOON_PSK' }, ppk, children } } }, sources)

  test('in order, required unless told otherwise', () => {
    const { settings, inlineSecrets } = parse({ keys: { office: { file: 'moon.psk' }, home: { env: 'MOON_PSK' } } })
    const { required, keys } = settings.peers.moon!.ppk!
    expect(required).toBe(true)
    expect(keys.map(({ id, secret }) => [id, text(secret)])).toEqual([
      ['office', 'from file'],
      ['home', 'from env'],
    ])
    expect(inlineSecrets).toBe(false)
    expect(parse({ keys: { office: 'plain' }, required: false }).inlineSecrets).toBe(true)
    expect(parse(undefined).settings.peers.moon!.ppk).toBeUndefined()
  })

  test.each([
    [{ keys: {} }, /^peers\.moon\.ppk\.keys: at least one key/],
    [{ keys: { office: { env: 'NOWHERE' } } }, /^peers\.moon\.ppk\.keys\.office: .*NOWHERE is not set/],
    [{ required: true }, /^peers\.moon\.ppk\.keys/],
    [{ keys: { office: 'x' }, optional: true }, /optional: unknown key; allowed: keys, required/],
  ])('wrong: %j', (ppk, why) => {
    expect(() => parse(ppk)).toThrow(why)
  })
})

describe('identities, as strongSwan reads them', () => {
  for (const [given, type, value] of [
    ['moon.example.org', 'fqdn', 'moon.example.org'],
    ['moon', 'fqdn', 'moon'],
    ['@moon', 'fqdn', 'moon'],
    ['fqdn:192.0.2.1', 'fqdn', '192.0.2.1'],
    ['moon@example.org', 'rfc822', 'moon@example.org'],
    ['email:moon', 'rfc822', 'moon'],
    ['192.0.2.1', 'ipv4', '192.0.2.1'],
    ['2001:DB8:0::1', 'ipv6', '2001:db8::1'],
    ['keyid:0A1B', 'keyid', '0a1b'],
  ] as const)
    test(given, () => expect(identity(given)).toEqual({ type, value }))

  test('any', () => {
    for (const given of ['any', '%any', '*']) expect(identityPattern(given)).toEqual({ type: 'any' })
  })
})

describe('remotes', () => {
  for (const [given, host, port] of [
    ['gw.example.org', 'gw.example.org', 500],
    ['gw.example.org:4500', 'gw.example.org', 4500],
    ['192.0.2.1', '192.0.2.1', 500],
    ['192.0.2.1:1500', '192.0.2.1', 1500],
    ['2001:db8::1', '2001:db8::1', 500],
    ['[2001:db8::1]', '2001:db8::1', 500],
    ['[2001:db8::1]:1500', '2001:db8::1', 1500],
  ] as const)
    test(given, () => expect(remote(given)).toEqual({ host, port }))
})

describe('selectors', () => {
  const all = { protocol: 0, startPort: 0, endPort: 65_535 }
  const lan = { address: '10.3.0.0', bits: 24 }
  for (const [given, want] of [
    ['dynamic', { ...all, range: 'dynamic' }],
    ['10.3.0.0/24', { ...all, range: lan }],
    ['10.3.0.5', { ...all, range: { address: '10.3.0.5', bits: 32 } }],
    ['2001:db8::/32', { ...all, range: { address: '2001:db8::', bits: 32 } }],
    ['10.3.0.0/24[tcp]', { ...all, range: lan, protocol: 6 }],
    ['10.3.0.0/24[tcp/80]', { range: lan, protocol: 6, startPort: 80, endPort: 80 }],
    ['10.3.0.0/24[udp/1000-2000]', { range: lan, protocol: 17, startPort: 1000, endPort: 2000 }],
    ['dynamic[47]', { ...all, range: 'dynamic', protocol: 47 }],
  ] as const)
    test(given, () => expect(selector(given)).toEqual(want))
})

test('durations and sizes', () => {
  expect(['500ms', '30s', '5m', '4h', '1d', '1.5h', 20, '20'].map(duration)).toEqual([
    500, 30_000, 300_000, 14_400_000, 86_400_000, 5_400_000, 20_000, 20_000,
  ])
  expect(['1GB', '1GiB', '500 kB', '10', 10, '2M'].map(size)).toEqual([1e9, 2 ** 30, 500_000, 10, 10, 2e6])
})

test('whatever is given, the answer is settings or ConfigErrors', () => {
  const words = fc.constantFrom(
    'peers',
    'moon',
    'psk',
    'children',
    'remote',
    'policy',
    'rules',
    'pools',
    'plugins',
    'use',
  )
  const anything = fc.letrec(tie => ({
    node: fc.oneof(
      { maxDepth: 5 },
      fc.string(),
      fc.integer(),
      fc.constant(null),
      fc.boolean(),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(fc.oneof(words, fc.string()), tie('node'), { maxKeys: 4 }),
    ),
  })).node
  fc.assert(
    fc.property(anything, given => {
      try {
        parseConfig(given, sources)
      } catch (error) {
        expect(error).toMatchObject({ name: 'ConfigErrors', code: 'CONFIG_INVALID' })
      }
    }),
  )
})

test('what is done about forged packets, and for whom MOBIKE is off', () => {
  const peers = { moon: { remote: '192.0.2.1', psk: 'x', mobike: false, children } }
  const usual = parseConfig({ peers }, sources).settings
  expect(usual.guard).toEqual({ failures: 100, windowMs: 10_000, pauseMs: 60_000 })
  expect(usual.peers.moon?.mobike).toBe(false)
  const strict = parseConfig({ peers, guard: { failures: 5, window: '1s', pause: '5m' } }, sources).settings
  expect(strict.guard).toEqual({ failures: 5, windowMs: 1_000, pauseMs: 300_000 })
})

test('rules: comparisons, lists, slots, groups and patterns become plain conditions and names', () => {
  const peer = { remote: 'gw', psk: 'x', children }
  const { policy } = parseConfig(
    {
      peers: { moon: peer, 'branch-a': peer, 'branch-b': peer },
      policy: {
        groups: { road: ['moon', 'branch-b'] },
        facts: { mobile: true },
        networks: { office: ['10.20.0.0/16'] },
        rules: [
          {
            peers: ['road', 'branch-*'],
            when: {
              mobile: true,
              localNatKind: ['symmetric', 'port-restricted-cone'],
              sinceSuccess: '> 1h',
              transportCost: '<= 3',
              mappingLifetime: { atLeast: '30s', below: 120_000 },
              network: { not: 'office' },
            },
            use: { encap: 'udp-encap', mode: 'auto' },
            prefer: { path: ['direct'] },
          },
        ],
      },
    },
    sources,
  ).settings
  expect(policy).toEqual({
    facts: { mobile: true },
    networks: { office: [{ address: '10.20.0.0', bits: 16 }] },
    rules: [
      {
        at: 'policy.rules[0]',
        peers: ['moon', 'branch-b', 'branch-a'],
        when: {
          mobile: true,
          localNatKind: { in: ['symmetric', 'port-restricted-cone'] },
          sinceSuccess: { above: 3_600_000 },
          transportCost: { atMost: 3 },
          mappingLifetime: { atLeast: 30_000, below: 120_000 },
          network: { not: ['office'] },
        },
        use: ['encap:udp-encap', 'mode:auto'],
        prefer: ['path:direct'],
        avoid: [],
      },
    ],
  })
})
