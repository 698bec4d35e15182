import { type Aead, type CryptoProvider, type HashName, TransformType } from '../../../core/contracts/crypto.ts'
import { CRYPTO, type Plugin } from '../../../core/contracts/plugin.ts'
import { Encr, Integ, Ke, Prf } from '../../../core/wire/index.ts'
import { SeededRng } from '../rng.ts'
import { check, isKebabCase, partsOf, refused, type SuiteRunner, same } from './check.ts'

const fromHex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], byte => Number.parseInt(byte, 16))
const ABC = new TextEncoder().encode('abc')

/** Of "abc": the examples of RFC 1321 and FIPS 180-4, first octets. */
const HASHES: readonly (readonly [HashName, number, string])[] = [
  ['md5', 16, '900150983cd24fb0d6963f7d28e17f72'],
  ['sha1', 20, 'a9993e364706816aba3e25717850c26c9cd0d89d'],
  ['sha256', 32, 'ba7816bf8f01cfea414140de5dae2223'],
  ['sha384', 48, 'cb00753f45a35e8bb5a03d699ac65007'],
  ['sha512', 64, 'ddaf35a193617abacc417349ae204131'],
]

/** RFC 4231 §4.3: HMAC with the key "Jefe" over "what do ya want for nothing?", first octets. */
const PRFS: readonly (readonly [number, number, string])[] = [
  [Prf.PRF_HMAC_SHA2_256, 32, '5bdcc146bf60754e6a042426089575c7'],
  [Prf.PRF_HMAC_SHA2_384, 48, 'af45d2e376484031617f78d2b58a6b1b'],
  [Prf.PRF_HMAC_SHA2_512, 64, '164b7a7bfcf819e2e395fbe73b56e0a3'],
]
const MACS: readonly (readonly [number, number, number, string])[] = [
  [Integ.AUTH_HMAC_SHA2_256_128, 32, 16, '5bdcc146bf60754e6a042426089575c7'],
  [Integ.AUTH_HMAC_SHA2_384_192, 48, 24, 'af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47'],
  [Integ.AUTH_HMAC_SHA2_512_256, 64, 32, '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554'],
]

/** Octets of a key exchange's public value, RFC 7296 §3.4, RFC 5903 §7, RFC 8031 §2; those that do not take long. */
const GROUPS: readonly (readonly [number, number])[] = [
  [Ke.MODP_2048, 256],
  [Ke.ECP_256, 64],
  [Ke.ECP_384, 96],
  [Ke.ECP_521, 132],
  [Ke.CURVE25519, 32],
]

/** Of a KEM: octets of the encapsulation key and of the ciphertext, draft-ietf-ipsecme-ikev2-mlkem. */
const KEMS: readonly (readonly [number, number, number])[] = [
  [Ke.ML_KEM_512, 800, 768],
  [Ke.ML_KEM_768, 1184, 1088],
  [Ke.ML_KEM_1024, 1568, 1568],
]

const AEADS: readonly (readonly [number, readonly (number | undefined)[]])[] = [
  [Encr.ENCR_AES_GCM_16, [128, 192, 256]],
  [Encr.ENCR_CHACHA20_POLY1305, [undefined]],
]

/** What every `CryptoProvider` must do with what it supports. @param make - a provider, or a plugin that registers one */
export function cryptoSuite(make: () => CryptoProvider | Plugin, { test }: SuiteRunner): void {
  const provider = (): CryptoProvider => {
    const found = partsOf(make(), CRYPTO)[0]
    check(found !== undefined, 'the plugin to register a provider')
    return found
  }

  test('crypto: has a name, and hashes by RFC 1321 and FIPS 180-4 over all its arguments', () => {
    const crypto = provider()
    check(isKebabCase(crypto.name), `a kebab-case name, not "${crypto.name}"`)
    for (const [name, length, wanted] of HASHES) {
      const digest = crypto.hash(name, ABC.subarray(0, 1), new Uint8Array(0), ABC.subarray(1))
      same(digest.length, length, `the length of ${name}`)
      same(digest.subarray(0, wanted.length / 2), fromHex(wanted), `${name} of "abc"`)
    }
  })

  test('crypto: denies what it does not support, and throws for it', async () => {
    const crypto = provider()
    for (const type of Object.values(TransformType)) {
      check(!crypto.supports(type, 1023), `transform ${type}/1023, which is nothing, to be denied`)
      check(!crypto.supports(99, 1), 'transforms of unknown types to be denied')
    }
    const codes = ['USAGE_UNSUPPORTED_TRANSFORM']
    const key = new Uint8Array(32)
    await refused(codes, 'a PRF that is nothing', () => crypto.prf(1023, key, ABC))
    await refused(codes, 'an AEAD that is nothing', () => crypto.aead(1023, key))
    await refused(codes, 'a cipher that is nothing', () => crypto.cipher(1023, key))
    await refused(codes, 'a MAC that is nothing', () => crypto.mac(1023, key))
    await refused(codes, 'a key exchange that is nothing', () => crypto.keyExchange(1023, new SeededRng(1)))
    check(!crypto.supports(TransformType.ENCR, Encr.ENCR_AES_CBC, 127), 'AES with 127 bits to be denied')
  })

  test('crypto: PRFs and integrity algorithms give RFC 4231 values', () => {
    const crypto = provider()
    const key = new TextEncoder().encode('Jefe')
    const text = new TextEncoder().encode('what do ya want for nothing?')
    for (const [id, length, wanted] of PRFS) {
      if (!crypto.supports(TransformType.PRF, id)) continue
      const out = crypto.prf(id, key, text.subarray(0, 5), text.subarray(5))
      same([out.length, out.subarray(0, 16)], [length, fromHex(wanted)], `PRF ${id}`)
    }
    for (const [id, keyLength, length, wanted] of MACS) {
      if (!crypto.supports(TransformType.INTEG, id)) continue
      // HMAC pads keys with zeros, so this one of the right length is the same key
      const padded = new Uint8Array(keyLength)
      padded.set(key)
      const mac = crypto.mac(id, padded)
      same(mac.length, length, `the length of ICV ${id}`)
      const icv = new Uint8Array(length)
      mac.sign(text, undefined, icv)
      same(icv, fromHex(wanted), `ICV ${id}`)
      mac.sign(text.subarray(0, -4), text.subarray(-4), icv)
      same(icv, fromHex(wanted), `ICV ${id} with a tail`)
      mac.destroy()
    }
  })

  test('crypto: AES-GCM and AES-CBC give their published values', () => {
    const crypto = provider()
    // the GCM specification's test case 2
    if (crypto.supports(TransformType.ENCR, Encr.ENCR_AES_GCM_16, 128)) {
      const out = new Uint8Array(32)
      const gcm = crypto.aead(Encr.ENCR_AES_GCM_16, new Uint8Array(16))
      gcm.seal(new Uint8Array(12), new Uint8Array(0), new Uint8Array(16), out)
      same(out, fromHex('0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf'), 'AES-GCM of zeros')
    }
    // RFC 3602 §4, case 1
    if (crypto.supports(TransformType.ENCR, Encr.ENCR_AES_CBC, 128)) {
      const cbc = crypto.cipher(Encr.ENCR_AES_CBC, fromHex('06a9214036b8a15b512e03d534120006'))
      const iv = fromHex('3dafba429d9eb430b422da802c9fac41')
      const text = new TextEncoder().encode('Single block msg')
      const out = text.slice()
      cbc.encrypt(iv, out, out)
      same(out, fromHex('e353779c1079aeb82708942dbe77181a'), 'AES-CBC of one block')
      cbc.decrypt(iv, out, out)
      same(out, text, 'the same decrypted')
      same([cbc.ivLength, cbc.blockLength], [16, 16], 'IV and block length')
    }
  })

  test('crypto: AEADs open what they sealed, in place, and nothing else', () => {
    const crypto = provider()
    for (const [id, sizes] of AEADS)
      for (const bits of sizes)
        if (crypto.supports(TransformType.ENCR, id, bits))
          checkAead(crypto.aead(id, new Uint8Array((bits ?? 256) / 8).fill(3)), id)
  })

  for (const [group, length] of GROUPS)
    test(`crypto: key exchange ${group} agrees, replays, and refuses what is no public value`, async () => {
      const crypto = provider()
      if (!crypto.supports(TransformType.KE, group)) return
      const [a, b] = [crypto.keyExchange(group, new SeededRng('a')), crypto.keyExchange(group, new SeededRng('b'))]
      same(a.publicValue.length, length, 'the length of the public value')
      same(
        crypto.keyExchange(group, new SeededRng('a')).publicValue,
        a.publicValue,
        'the public value of the same randomness',
      )
      same(a.shared(b.publicValue), b.shared(a.publicValue), 'the shared secret')
      check(
        a.shared(b.publicValue).some(octet => octet !== 0),
        'a shared secret that is not zero',
      )
      const codes = ['PEER_KE_INVALID']
      await refused(codes, 'a public value of no octets', () => a.shared(new Uint8Array(0)))
      await refused(codes, 'a public value too short', () => a.shared(b.publicValue.subarray(1)))
      await refused(codes, 'a public value of zeros', () => a.shared(new Uint8Array(length)))
    })

  for (const [group, keyLength, length] of KEMS)
    test(`crypto: key encapsulation ${group} agrees, replays, and refuses what is no key or ciphertext`, async () => {
      const crypto = provider()
      if (!crypto.supports(TransformType.KE, group)) return
      check(crypto.encapsulate !== undefined, 'a provider with a KEM to have `encapsulate`')
      const encapsulate = (key: Uint8Array) => crypto.encapsulate!(group, key, new SeededRng('b'))
      const own = crypto.keyExchange(group, new SeededRng('a'))
      const answer = encapsulate(own.publicValue)
      same(
        [own.publicValue.length, answer.publicValue.length],
        [keyLength, length],
        'the lengths of key and ciphertext',
      )
      same([answer.shared.length, own.shared(answer.publicValue)], [32, answer.shared], 'the shared secret')
      const again = crypto.keyExchange(group, new SeededRng('a'))
      same(again.publicValue, own.publicValue, 'the key of the same randomness')
      same(encapsulate(own.publicValue), answer, 'the answer of the same randomness')
      const other = again.shared(flipped(answer.publicValue, 5))
      same(other.length, 32, 'the length of the secret of a changed ciphertext (implicit rejection)')
      check(
        other.some((octet, i) => octet !== answer.shared[i]),
        'a changed ciphertext to give another secret',
      )
      const codes = ['PEER_KE_INVALID']
      await refused(codes, 'a ciphertext too short', () => again.shared(answer.publicValue.subarray(1)))
      await refused(codes, 'a key too short', () => encapsulate(own.publicValue.subarray(1)))
      await refused(codes, 'a key with coefficients that are not reduced', () =>
        encapsulate(new Uint8Array(keyLength).fill(0xff)),
      )
    })
}

function checkAead(aead: Aead, id: number): void {
  const rng = new SeededRng(`aead ${id}`)
  for (const length of [0, 1, 15, 16, 17, 1400]) {
    const [nonce, aad, text] = [rng.bytes(12), rng.bytes(8), rng.bytes(length)]
    const sealed = new Uint8Array(length + aead.tagLength)
    aead.seal(nonce, aad, text, sealed)
    const buffer = new Uint8Array(length + aead.tagLength)
    buffer.set(text)
    aead.seal(nonce, aad, buffer.subarray(0, length), buffer)
    same(buffer, sealed, `AEAD ${id} in place`)
    check(aead.open(nonce, aad, buffer, buffer.subarray(0, length)), `AEAD ${id} to open its own work`)
    same(buffer.subarray(0, length), text, `AEAD ${id}, opened in place`)
    const open = (n: Uint8Array, a: Uint8Array, s: Uint8Array): boolean => aead.open(n, a, s, new Uint8Array(length))
    for (const at of [0, length >> 1, sealed.length - 1])
      check(!open(nonce, aad, flipped(sealed, at)), `AEAD ${id} to notice a changed octet ${at}`)
    check(!open(nonce, flipped(aad, 3), sealed), `AEAD ${id} to notice changed associated data`)
    check(!open(flipped(nonce, 0), aad, sealed), `AEAD ${id} to notice another nonce`)
  }
  aead.destroy()
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice()
  copy[at]! ^= 1
  return copy
}
