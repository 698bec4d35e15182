import { describe, expect, test } from 'vitest'
import {
  deriveChildKeys,
  deriveIkeKeys,
  type IkeKeys,
  prfPlus,
  pskAuth,
  rekeyedSkeyseed,
  signedOctets,
  skeyseed,
  wipeIkeKeys,
} from '../../../core/ike/keys.ts'
import { espSuite, ikeSuite } from '../../../core/ike/selection.ts'
import type { IkeSuite } from '../../../core/ike/suite.ts'
import { Encr, Integ, Ke, Prf, parseIke, parsePayloads } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider as crypto } from '../../../plugins/node-crypto/index.ts'
import own from '../../vectors/crypto/ikev2-keys.json' with { type: 'json' }
import { find, hex, spi, strongswan, text } from './vectors.ts'

const keysAsRecorded = ({ d, initiator, responder, pi, pr }: IkeKeys) => ({
  SK_d: text(d),
  SK_ei: text(initiator.encr) + text(initiator.salt),
  SK_er: text(responder.encr) + text(responder.salt),
  SK_pi: text(pi),
  SK_pr: text(pr),
})

describe('key schedule, worked out elsewhere', () => {
  const nonces = { ni: hex(own.ni), nr: hex(own.nr) }
  const suite: IkeSuite = { encr: Encr.ENCR_AES_GCM_16, keyBits: 128, prf: Prf.PRF_HMAC_SHA2_256, ke: Ke.CURVE25519 }

  test.each([crypto, nobleProvider])('$name', provider => {
    const seed = skeyseed(provider, suite.prf, nonces, hex(own.shared))
    expect(text(seed)).toBe(own.SKEYSEED)
    const context = { ...nonces, initiatorSpi: spi(own.spiI), responderSpi: spi(own.spiR) }
    const keys = deriveIkeKeys(provider, suite, seed, context)
    expect(own).toMatchObject(keysAsRecorded(keys))
    expect(keys.initiator.integ).toHaveLength(0)
    const child = deriveChildKeys(provider, suite.prf, keys.d, { ...suite, esn: false }, nonces)
    expect(text(child.initiator.encr) + text(child.initiator.salt)).toBe(own.childInitiator)
    expect(text(child.responder.encr) + text(child.responder.salt)).toBe(own.childResponder)
    const octets = hex('00ff')
    expect(pskAuth(provider, suite.prf, hex(own.psk), octets)).toEqual(provider.prf(suite.prf, hex(own.pskKey), octets))
  })
})

describe.each(['rw-psk', 'rw-cert'] as const)('as strongSwan does: %s', name => {
  const { ikeSas, messages, childSas, authentication } = strongswan(name).hosts.alice
  const recorded = ikeSas[0]!
  const [request, response] = messages.map(m => hex(m.raw)) as [Uint8Array, Uint8Array]
  const [init, answer] = [parseIke(request), parseIke(response)]
  const nonces = { ni: find(init.payloads, 'Nonce').data, nr: find(answer.payloads, 'Nonce').data }
  const suite = ikeSuite(find(answer.payloads, 'SA').proposals[0]!)!
  const context = { ...nonces, initiatorSpi: answer.header.initiatorSpi, responderSpi: answer.header.responderSpi }
  const seed = skeyseed(crypto, suite.prf, nonces, hex(recorded.dhSecret))
  const keys = deriveIkeKeys(crypto, suite, seed, context)

  test('keys of the IKE SA', () => {
    expect(text(seed)).toBe(recorded.SKEYSEED)
    expect(recorded).toMatchObject(keysAsRecorded(keys))
    expect(text(keys.initiator.integ)).toBe(recorded.SK_ai ?? '')
    expect(text(keys.responder.integ)).toBe(recorded.SK_ar ?? '')
  })

  test('keys of the first Child SA', () => {
    const payloads = parsePayloads(Number(messages[3]!.payloads[0]!.type), hex(messages[3]!.plaintext!))
    const child = espSuite(find(payloads, 'SA').proposals[0]!)!
    const made = deriveChildKeys(crypto, suite.prf, keys.d, child, nonces)
    expect(text(made.initiator.encr) + text(made.initiator.salt)).toBe(childSas[0]!.encryption_initiator_key)
    expect(text(made.responder.encr) + text(made.responder.salt)).toBe(childSas[0]!.encryption_responder_key)
  })

  test('signed octets of both sides', () => {
    const id = (message: number, type: string) => hex(messages[message]!.payloads.find(p => p.name === type)!.body)
    const octets = [
      signedOctets(crypto, suite.prf, request, nonces.nr, keys.pi, id(2, 'IDi')),
      signedOctets(crypto, suite.prf, response, nonces.ni, keys.pr, id(3, 'IDr')),
    ]
    const recordedOctets = authentication.filter(a => a.name.startsWith('octets')).map(a => a.value)
    expect(octets.map(text).sort()).toEqual(recordedOctets.sort())
  })
})

test('AUTH by pre-shared key is what strongSwan sent, both ways', () => {
  const { messages, authentication } = strongswan('rw-psk').hosts.alice
  const octets = authentication.filter(a => a.name.startsWith('octets')).map(a => hex(a.value))
  const sent = messages.slice(2).map(m => m.payloads.find(p => p.name === 'AUTH')!.body.slice(8))
  const psk = new TextEncoder().encode("a road warrior's lab secret")
  expect(octets.map(o => text(pskAuth(crypto, Prf.PRF_HMAC_SHA2_256, psk, o)))).toEqual(sent)
})

describe('prf+', () => {
  const prf = Prf.PRF_HMAC_SHA2_256
  const key = new Uint8Array(32).fill(7)

  test('a shorter output is the beginning of a longer one', () => {
    const long = prfPlus(crypto, prf, key, [hex('0102')], 200)
    for (const length of [0, 1, 31, 32, 33, 64, 199])
      expect(prfPlus(crypto, prf, key, [hex('01'), hex('02')], length)).toEqual(long.subarray(0, length))
  })

  test('255 blocks and not one octet more', () => {
    expect(prfPlus(crypto, prf, key, [], 255 * 32)).toHaveLength(255 * 32)
    expect(() => prfPlus(crypto, prf, key, [], 255 * 32 + 1)).toThrow(
      expect.objectContaining({ code: 'USAGE_PRF_PLUS' }),
    )
  })
})

describe('order of the keying material', () => {
  const nonces = { ni: hex('aa'.repeat(16)), nr: hex('bb'.repeat(16)) }
  const integ = Integ.AUTH_HMAC_SHA2_256_128
  const prf = Prf.PRF_HMAC_SHA2_512

  test('RFC 7296 §2.14: d, ai, ar, ei, er, pi, pr', () => {
    const suite: IkeSuite = { encr: Encr.ENCR_AES_CBC, keyBits: 256, prf, integ, ke: Ke.ECP_256 }
    const keys = deriveIkeKeys(crypto, suite, hex('00'), { ...nonces, initiatorSpi: 1n, responderSpi: 2n })
    const { d, initiator: i, responder: r, pi, pr } = keys
    const spis = hex('00000000000000010000000000000002')
    const length = 64 + 32 + 32 + 32 + 32 + 64 + 64
    const order = [d, i.integ, r.integ, i.encr, r.encr, pi, pr].map(text).join('')
    expect(order).toBe(text(prfPlus(crypto, prf, hex('00'), [nonces.ni, nonces.nr, spis], length)))
    wipeIkeKeys(keys)
    expect(d.every(octet => octet === 0)).toBe(true)
  })

  test('RFC 7296 §2.17: per direction the cipher, then the integrity key; g^ir first when there is one', () => {
    const suite = { encr: Encr.ENCR_AES_CBC, keyBits: 128, integ, esn: false }
    const { initiator: i, responder: r } = deriveChildKeys(crypto, prf, hex('dd'), suite, nonces, [hex('77')])
    const order = [i.encr, i.integ, r.encr, r.integ].map(text).join('')
    expect(order).toBe(text(prfPlus(crypto, prf, hex('dd'), [hex('77'), nonces.ni, nonces.nr], 96)))
  })

  test('RFC 7296 §2.18: a rekeyed SKEYSEED comes of the old SK_d', () => {
    expect(rekeyedSkeyseed(crypto, prf, hex('dd'), nonces, [hex('77')])).toEqual(
      crypto.prf(prf, hex('dd'), hex('77'), nonces.ni, nonces.nr),
    )
  })
})
