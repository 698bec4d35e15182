import { getDiffieHellman } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CryptoProvider, TransformType } from '../../../core/contracts/crypto.ts'
import { Encr, Integ, Ke, Prf } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'
import { SeededRng } from '../../kit/rng.ts'

/** Two foreign implementations that must not be told apart; each is the oracle of the other. */
const [node, noble] = [nodeCryptoProvider, nobleProvider]
const both = (type: number, id: number, bits?: number): boolean =>
  node.supports(type, id, bits) && noble.supports(type, id, bits)

const octets = (max = 300) => fc.uint8Array({ maxLength: max })
const exactly = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

const AES_KEYS = [16, 24, 32]
const AEADS = [
  ...AES_KEYS.map(size => ({ name: `AES-GCM-16 ${size * 8}`, id: Encr.ENCR_AES_GCM_16, size, nonce: 12 })),
  ...AES_KEYS.map(size => ({ name: `AES-GMAC ${size * 8}`, id: Encr.ENCR_NULL_AUTH_AES_GMAC, size, nonce: 12 })),
  { name: 'ChaCha20-Poly1305', id: Encr.ENCR_CHACHA20_POLY1305, size: 32, nonce: 12 },
]
const NODE_AEADS = [
  ...[Encr.ENCR_AES_GCM_8, Encr.ENCR_AES_GCM_12].map(id => ({ name: `AES-GCM ${id}`, id, size: 16, nonce: 12 })),
  ...[Encr.ENCR_AES_CCM_8, Encr.ENCR_AES_CCM_12, Encr.ENCR_AES_CCM_16].map(id => ({
    name: `AES-CCM ${id}`,
    id,
    size: 32,
    nonce: 11,
  })),
]

/** A view inside a larger buffer, at any alignment, as packets are. */
const placed = (data: Uint8Array, room: number, offset: number): Uint8Array => {
  const view = new Uint8Array(offset + data.length + room).subarray(offset, offset + data.length + room)
  view.set(data)
  return view
}

describe.each(AEADS)('$name', ({ id, size, nonce }) => {
  test('both seal alike, in place and apart, and open what the other sealed', () => {
    fc.assert(
      fc.property(
        exactly(size),
        exactly(nonce),
        octets(40),
        octets(),
        fc.nat(7),
        fc.boolean(),
        (key, n, aad, plain, offset, inPlace) => {
          const sealed = [node, noble].map(provider => {
            const aead = provider.aead(id, key)
            const memory = placed(plain, aead.tagLength, offset)
            const out = inPlace ? memory : new Uint8Array(memory.length)
            aead.seal(n, aad, memory.subarray(0, plain.length), out)
            return out
          })
          expect(sealed[0]).toEqual(sealed[1])
          for (const provider of [node, noble])
            opensTo(provider, { id, key, n, aad, sealed: sealed[0]! }, plain, inPlace)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe.each([...AEADS.map(a => ({ ...a, by: noble })), ...[...AEADS, ...NODE_AEADS].map(a => ({ ...a, by: node }))])(
  '$name by $by.name',
  ({ id, size, nonce, by }) => {
    test('any changed or missing octet is found', () => {
      fc.assert(
        fc.property(
          exactly(size),
          exactly(nonce),
          octets(20),
          octets(100),
          fc.nat(),
          fc.integer({ min: 1, max: 255 }),
          (key, n, aad, plain, where, change) => {
            const aead = by.aead(id, key)
            const sealed = new Uint8Array(plain.length + aead.tagLength)
            aead.seal(n, aad, plain, sealed)
            opensTo(by, { id, key, n, aad, sealed }, plain, false)
            const out = new Uint8Array(sealed.length)
            expect(aead.open(n, aad, sealed.subarray(1), out.subarray(0, Math.max(0, plain.length - 1)))).toBe(false)
            expect(aead.open(n, aad, sealed.subarray(0, aead.tagLength - 1), out)).toBe(false)
            sealed[where % sealed.length]! ^= change
            expect(aead.open(n, aad, sealed, out.subarray(0, plain.length))).toBe(false)
          },
        ),
        { numRuns: 30 },
      )
    })
  },
)

function opensTo(
  provider: CryptoProvider,
  { id, key, n, aad, sealed }: { id: number; key: Uint8Array; n: Uint8Array; aad: Uint8Array; sealed: Uint8Array },
  plain: Uint8Array,
  inPlace: boolean,
): void {
  const memory = sealed.slice()
  const out = inPlace ? memory.subarray(0, plain.length) : new Uint8Array(plain.length)
  expect(provider.aead(id, key).open(n, aad, memory, out)).toBe(true)
  expect(out).toEqual(plain)
}

describe.each([
  ...AES_KEYS.map(size => ({ name: `AES-CBC ${size * 8}`, id: Encr.ENCR_AES_CBC, size, block: 16, iv: 16 })),
  ...AES_KEYS.map(size => ({ name: `AES-CTR ${size * 8}`, id: Encr.ENCR_AES_CTR, size: size + 4, block: 1, iv: 8 })),
  { name: 'NULL', id: Encr.ENCR_NULL, size: 0, block: 1, iv: 0 },
])('$name', ({ id, size, block, iv: ivLength }) => {
  test('both encrypt alike, in place and apart, and decrypt what the other encrypted', () => {
    const text = octets(20 * block).map(data => data.subarray(0, data.length - (data.length % block)))
    fc.assert(
      fc.property(
        exactly(size),
        exactly(ivLength),
        text,
        fc.nat(7),
        fc.boolean(),
        (key, iv, plain, offset, inPlace) => {
          const results = [node, noble].map(provider => {
            const cipher = provider.cipher(id, key)
            expect(cipher).toMatchObject({ ivLength, blockLength: block })
            const memory = placed(plain, 0, offset)
            const out = inPlace ? memory : new Uint8Array(memory.length)
            cipher.encrypt(iv, memory, out)
            return out.slice()
          })
          expect(results[0]).toEqual(results[1])
          for (const provider of [node, noble]) {
            const memory = placed(results[0]!, 0, offset)
            const out = inPlace ? memory : new Uint8Array(memory.length)
            provider.cipher(id, key).decrypt(iv, memory, out)
            expect(out).toEqual(plain)
          }
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('keyed hashes', () => {
  test.each(['md5', 'sha1', 'sha256', 'sha384', 'sha512'] as const)('%s', name => {
    fc.assert(
      fc.property(fc.array(octets(), { maxLength: 4 }), parts => {
        const whole = Uint8Array.from(parts.flatMap(part => [...part]))
        expect(node.hash(name, ...parts)).toEqual(noble.hash(name, whole))
        expect(noble.hash(name, ...parts)).toEqual(node.hash(name, whole))
      }),
      { numRuns: 30 },
    )
  })

  test.each([Prf.PRF_HMAC_SHA1, Prf.PRF_HMAC_SHA2_256, Prf.PRF_HMAC_SHA2_384, Prf.PRF_HMAC_SHA2_512])('PRF %i', id => {
    fc.assert(
      fc.property(octets(), octets(), octets(), (key, one, two) => {
        expect(node.prf(id, key, one, two)).toEqual(noble.prf(id, key, one, two))
      }),
      { numRuns: 30 },
    )
  })

  test.each([
    [Integ.AUTH_HMAC_SHA1_96, 12, 24],
    [Integ.AUTH_HMAC_SHA2_256_128, 16, 32],
    [Integ.AUTH_HMAC_SHA2_384_192, 24, 48],
    [Integ.AUTH_HMAC_SHA2_512_256, 32, 64],
    [Integ.AUTH_AES_XCBC_96, 12, 16],
    [Integ.AUTH_AES_CMAC_96, 12, 16],
  ])('integrity algorithm %i', (id, length, size) => {
    fc.assert(
      fc.property(exactly(size), octets(), fc.option(exactly(4), { nil: undefined }), (key, data, tail) => {
        const icvs = [node, noble].map(provider => {
          const mac = provider.mac(id, key)
          expect(mac.length).toBe(length)
          const icv = new Uint8Array(length)
          mac.sign(new Uint8Array(3), undefined, icv) // a MAC is used again and again
          mac.sign(data, tail, icv)
          return icv
        })
        expect(icvs[0]).toEqual(icvs[1])
      }),
      { numRuns: 30 },
    )
  })

  // RFC 3566 §4 and RFC 4494 §4, of the full length in those texts; empty, short and whole blocks
  test.each([
    [Integ.AUTH_AES_XCBC_96, '000102030405060708090a0b0c0d0e0f', '', '75f0251d528ac01c4573dfd5'],
    [Integ.AUTH_AES_XCBC_96, '000102030405060708090a0b0c0d0e0f', '000102', '5b376580ae2f19afe7219cee'],
    [
      Integ.AUTH_AES_XCBC_96,
      '000102030405060708090a0b0c0d0e0f',
      '000102030405060708090a0b0c0d0e0f',
      'd2a246fa349b68a79998a439',
    ],
    [Integ.AUTH_AES_CMAC_96, '2b7e151628aed2a6abf7158809cf4f3c', '', 'bb1d6929e95937287fa37d12'],
    [
      Integ.AUTH_AES_CMAC_96,
      '2b7e151628aed2a6abf7158809cf4f3c',
      '6bc1bee22e409f96e93d7e117393172a',
      '070a16b46b4d4144f79bdd9d',
    ],
  ])('known answers of integrity algorithm %i', (id, key, data, icv) => {
    for (const provider of [node, noble]) {
      const out = new Uint8Array(12)
      provider.mac(id, Buffer.from(key, 'hex')).sign(Buffer.from(data, 'hex'), undefined, out)
      expect(Buffer.from(out).toString('hex')).toBe(icv)
    }
  })
})

describe.each(Object.entries(Ke).filter(([, group]) => both(TransformType.KE, group)))('%s', (_name, group) => {
  test('equal random octets give equal values, and both ends equal secrets', () => {
    const exchange = (provider: CryptoProvider, seed: string) => provider.keyExchange(group, new SeededRng(seed))
    for (const seed of ['1', '2']) {
      const [a, a2] = [exchange(node, `a${seed}`), exchange(noble, `a${seed}`)]
      const b = exchange(noble, `b${seed}`)
      expect(a.publicValue).toEqual(a2.publicValue)
      const secret = a.shared(b.publicValue)
      expect(a2.shared(b.publicValue)).toEqual(secret)
      expect(b.shared(a.publicValue)).toEqual(secret)
    }
  })

  test('a value that is not one is refused as the contract says', () => {
    for (const provider of [node, noble]) {
      const own = provider.keyExchange(group, new SeededRng('own'))
      const size = own.publicValue.length
      const bad = [
        new Uint8Array(0),
        new Uint8Array(size),
        own.publicValue.subarray(1),
        new Uint8Array(size + 1).fill(1),
      ]
      if (group !== Ke.CURVE25519) bad.push(new Uint8Array(size).fill(0xff), small(size, 1))
      for (const value of bad)
        expect(() => own.shared(value)).toThrow(expect.objectContaining({ code: 'PEER_KE_INVALID', notify: 7 }))
    }
  })
})

function small(size: number, value: number): Uint8Array {
  const out = new Uint8Array(size)
  out[size - 1] = value
  return out
}

test('MODP refuses p - 1 and takes 2 and p - 2', () => {
  const group = Ke.MODP_2048
  const top = new Uint8Array(getDiffieHellman('modp14').getPrime())
  for (const provider of [node, noble]) {
    const own = provider.keyExchange(group, new SeededRng('own'))
    expect(() => own.shared(minus(top, 1))).toThrow('out of range')
    expect(own.shared(minus(top, 2))).toHaveLength(256)
    expect(own.shared(small(256, 2))).toEqual(own.publicValue)
  }
})

test('X25519 takes what RFC 7748 wants masked or reduced, both alike', () => {
  fc.assert(
    fc.property(exactly(32), value => {
      const secrets = [node, noble].map(provider => {
        try {
          return provider.keyExchange(Ke.CURVE25519, new SeededRng('x')).shared(value)
        } catch (error) {
          return (error as { code: string }).code
        }
      })
      expect(secrets[0]).toEqual(secrets[1])
    }),
    {
      numRuns: 30,
      examples: [0, 1, 0xec, 0xed, 0xee, 0xff].flatMap(low =>
        [0x7f, 0xff].map(high => [Uint8Array.of(low, ...new Array<number>(30).fill(0xff), high)] as [Uint8Array]),
      ),
    },
  )
})

test('a generator of nothing but zeros is an error, not an endless loop', () => {
  const zeros = { bytes: (length: number) => new Uint8Array(length) }
  for (const provider of [node, noble])
    expect(() => provider.keyExchange(Ke.ECP_256, zeros)).toThrow(expect.objectContaining({ code: 'USAGE_RNG' }))
})

test('what is not supported is denied and refused', () => {
  const { ENCR, PRF, INTEG, KE, SN } = TransformType
  for (const provider of [node, noble]) {
    expect(provider.supports(ENCR, Encr.ENCR_3DES)).toBe(false)
    expect(provider.supports(ENCR, Encr.ENCR_AES_CBC, 64)).toBe(false)
    expect(provider.supports(PRF, Prf.PRF_HMAC_MD5)).toBe(false)
    expect(provider.supports(INTEG, Integ.NONE)).toBe(false)
    expect(provider.supports(KE, Ke.MODP_1024)).toBe(false)
    expect(provider.supports(SN, 0)).toBe(false)
    const refused = expect.objectContaining({ code: 'USAGE_UNSUPPORTED_TRANSFORM' })
    expect(() => provider.aead(Encr.ENCR_AES_GCM_16, new Uint8Array(20))).toThrow(refused)
    expect(() => provider.cipher(Encr.ENCR_AES_CBC, new Uint8Array(8))).toThrow(refused)
    expect(() => provider.mac(Integ.AUTH_HMAC_MD5_96, new Uint8Array(16))).toThrow(refused)
    expect(() => provider.prf(Prf.PRF_HMAC_MD5, new Uint8Array(16))).toThrow(refused)
    expect(() => provider.keyExchange(Ke.MODP_1024, new SeededRng(1))).toThrow(refused)
  }
})

function minus(prime: Uint8Array, less: number): Uint8Array {
  const out = prime.slice()
  out[out.length - 1]! -= less
  return out
}
