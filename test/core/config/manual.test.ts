import { expect, test } from 'vitest'
import { ConfigErrors, parseConfig } from '../../../core/config/index.ts'
import { Encr, Integ } from '../../../core/wire/index.ts'

const A = 'a1'.repeat(32)
const B = 'b2'.repeat(32)
const C = 'c3'.repeat(16)

const files: Readonly<Record<string, string>> = { './in': `0x${A}\n`, './short': 'abcd' }
const sources = {
  env: { KEY: B },
  readFile: (path: string) => new TextEncoder().encode(files[path] ?? ''),
}
const sa = {
  local: '192.0.2.1',
  remote: '198.51.100.1',
  algorithms: 'null-sha256',
  in: { spi: 0x1001, integrity: { file: './in' } },
  out: { spi: 0x1002, integrity: { env: 'KEY' } },
}
const parse = (change: object) => parseConfig({ manual: { lab: { ...sa, ...change } } }, sources)

const problems = (change: object): string[] => {
  try {
    parse(change)
    return []
  } catch (error) {
    if (!(error instanceof ConfigErrors)) throw error
    return error.problems.map(p => p.message)
  }
}

const octets = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))

test('ESP with null encryption; keys as octets, as hex text and as ip xfrm writes them', () => {
  const { settings, inlineSecrets } = parse({ selectors: { remote: ['10.3.0.0/24'] } })
  expect(inlineSecrets).toBe(false)
  expect(settings.manual?.['lab']).toMatchObject({
    name: 'lab',
    local: '192.0.2.1',
    remote: '198.51.100.1',
    mode: 'tunnel',
    suite: { encr: Encr.ENCR_NULL, integ: Integ.AUTH_HMAC_SHA2_256_128, esn: false },
    inbound: { spi: 0x1001, encr: octets(''), integ: octets(A) },
    outbound: { spi: 0x1002, encr: octets(''), integ: octets(B) },
    localTs: [{ range: 'dynamic' }],
    remoteTs: [{ range: { address: '10.3.0.0', bits: 24 } }],
    replayWindow: 0,
    ahAlign: 4,
  })
})

test('AES-CBC, and AH', () => {
  const keys = { encryption: { hex: C }, integrity: { hex: A } }
  const cbc = parse({ algorithms: 'aes128-sha256', in: { spi: 256, ...keys }, out: { spi: 257, ...keys } })
  expect(cbc.inlineSecrets).toBe(true)
  expect(cbc.settings.manual?.['lab']).toMatchObject({
    suite: { encr: Encr.ENCR_AES_CBC, keyBits: 128, integ: Integ.AUTH_HMAC_SHA2_256_128 },
    inbound: { encr: octets(C), integ: octets(A) },
  })
  const ah = parse({ protocol: 'ah', mode: 'transport', algorithms: 'sha256-esn', replayWindow: 64, ahAlign: 8 })
  expect(ah.settings.manual?.['lab']).toMatchObject({
    suite: { protocol: 51, encr: Encr.ENCR_NULL, integ: Integ.AUTH_HMAC_SHA2_256_128, esn: true },
    mode: 'transport',
    ahAlign: 8,
  })
})

test('a configuration without any has none', () => {
  expect(parseConfig({}, sources).settings).not.toHaveProperty('manual')
})

test.each([
  [{ encapsulation: 'udp-encap' }, 'manual.lab.encapsulation', 'ESP in UDP is negotiated by IKE'],
  [{ remote: '2001:db8::1' }, 'manual.lab.remote', 'another family'],
  [{ algorithms: 'aes128gcm16' }, 'manual.lab.algorithms', 'RFC 8221'],
  [{ algorithms: 'aes128gmac' }, 'manual.lab.algorithms', 'RFC 8221'],
  [{ algorithms: 'aes128ctr-sha256' }, 'manual.lab.algorithms', 'RFC 8221'],
  [{ algorithms: 'chacha20poly1305' }, 'manual.lab.algorithms', 'RFC 8221'],
  [{ algorithms: 'aes128-aes256-sha256' }, 'manual.lab.algorithms', 'one algorithm of each kind'],
  [{ algorithms: 'null-sha256-x25519' }, 'manual.lab.algorithms', 'for IKE'],
  [{ algorithms: 'null-sha265' }, 'manual.lab.algorithms', 'sha256'],
  [{ algorithms: 'null-sha256-esn' }, 'manual.lab.algorithms', 'replayWindow'],
  [{ protocol: 'ah' }, 'manual.lab.algorithms', 'AH has no encryption'],
  [{ replayWindow: 5 }, 'manual.lab.replayWindow', 'at least 32'],
  [{ in: { spi: 0x1001 } }, 'manual.lab.in.integrity', 'a key of 32 octets is wanted'],
  [{ in: { ...sa.in, encryption: { hex: C } } }, 'manual.lab.in.encryption', 'no encryption key'],
  [{ out: { spi: 5, integrity: { env: 'KEY' } } }, 'manual.lab.out.spi', '256'],
  [{ out: { spi: 500, integrity: { env: 'NONE' } } }, 'manual.lab.out.integrity', 'NONE is not set'],
  [{ out: { spi: 500, integrity: { file: './short' } } }, 'manual.lab.out.integrity', 'found 2'],
  [{ inn: {} }, 'manual.lab.inn', 'did you mean "in"'],
])('%j is refused', (change, path, why) => {
  const found = problems(change)
  expect(found).toHaveLength(1)
  expect(found[0]).toMatch(new RegExp(`^${path.replaceAll('.', '\\.')}: `))
  expect(found[0]).toContain(why)
})

test('no message shows a key', () => {
  for (const integrity of [A, { hex: `${A}zz` }, 7, { hex: 'ab' }])
    for (const message of problems({ in: { spi: 300, integrity } })) expect(message).not.toContain(A)
})

test('proposals of a child are of its protocol', () => {
  const child = (lan: object) => ({ peers: { moon: { remote: 'a.example', psk: 'x', children: { lan } } } })
  expect(
    parseConfig(child({ protocol: 'ah', proposals: ['sha256-esn', 'default'] }), sources).settings.peers['moon']
      ?.children,
  ).toMatchObject({ lan: { protocol: 'ah', proposals: ['sha256-esn', 'default'] } })
  expect(() => parseConfig(child({ protocol: 'ah', proposals: ['aes128-sha256'] }), sources)).toThrow(
    'peers.moon.children.lan.proposals[0]: proposal "aes128-sha256": AH has no encryption',
  )
  expect(() => parseConfig(child({ proposals: ['sha256'] }), sources)).toThrow(
    'proposals[0]: proposal "sha256": an encryption algorithm is missing',
  )
})
