import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  keGroupsOf,
  offerProposals,
  parseProposal,
  parseProposals,
  showProposal,
  showTransform,
  usableProposals,
} from '../../../core/ike/proposal.ts'
import { checkIkeChoice, ikeSuite, selectProposal } from '../../../core/ike/selection.ts'
import { decode, Encr, encode, Ke, proposals, TransformType } from '../../../core/wire/index.ts'
import { nobleProvider } from '../../../plugins/noble/index.ts'
import { nodeCryptoProvider } from '../../../plugins/node-crypto/index.ts'

const NO_SPI = new Uint8Array(0)

/** What was written, and all it stands for. */
test.each([
  ['ike', 'aes128-sha256-x25519', 'aes128-sha256-prfsha256-x25519'],
  ['ike', 'aes128-sha256-prfsha512-curve25519', 'aes128-sha256-prfsha512-x25519'],
  ['ike', ' AES256-SHA2_512-modp4096 ', 'aes256-sha512-prfsha512-modp4096'],
  ['ike', 'aes-sha-modp2048', 'aes128-sha1-prfsha1-modp2048'],
  ['ike', 'aes256gcm16-prfsha384-ecp384', 'aes256gcm16-prfsha384-ecp384'],
  ['ike', 'aes128gcm128-sha256-ecp256', 'aes128gcm16-prfsha256-ecp256'],
  ['ike', 'x25519-prfsha256-aes128gcm-ecp256-aes256gcm', 'aes128gcm16-aes256gcm16-prfsha256-x25519-ecp256'],
  ['ike', 'aes256-aes128-sha384-sha256-ecp521', 'aes256-aes128-sha384-sha256-prfsha384-prfsha256-ecp521'],
  ['ike', 'chacha20poly1305-prfsha256-x25519-x25519', 'chacha20poly1305-prfsha256-x25519'],
  ['ike', 'x25519-aes128gcm16-prfsha256-ke1_mlkem768', 'aes128gcm16-prfsha256-x25519-ke1_mlkem768'],
  [
    'ike',
    'ke2_ecp384-ke1_none-ke1_mlkem512-aes256-sha256-modp2048',
    'aes256-sha256-prfsha256-modp2048-ke1_none-ke1_mlkem512-ke2_ecp384',
  ],
  ['esp', 'aes128gcm16', 'aes128gcm16-noesn'],
  ['esp', 'ke1_mlkem768-aes128gcm16-x25519', 'aes128gcm16-x25519-noesn-ke1_mlkem768'],
  ['ah', 'sha256-ecp256-ke1_mlkem512-ke1_none', 'sha256-ecp256-noesn-ke1_mlkem512-ke1_none'],
  ['esp', 'aes256gcm64-esn-noesn', 'aes256gcm8-esn-noesn'],
  ['esp', 'aes128ctr-sha1-modp8192-esn', 'aes128ctr-sha1-modp8192-esn'],
  ['esp', 'null-sha256', 'null-sha256-noesn'],
  ['esp', 'aes192ccm12', 'aes192ccm12-noesn'],
  ['esp', 'chacha20poly1305-sha256', 'chacha20poly1305-noesn'],
  ['esp', 'aes256gmac-aes128gmac', 'aes256gmac-aes128gmac-noesn'],
  ['esp', 'aes128-aesxcbc-aescmac', 'aes128-aesxcbc-aescmac-noesn'],
  ['ah', 'sha256', 'sha256-noesn'],
  ['ah', 'sha512-aescmac-x25519-esn', 'sha512-aescmac-x25519-esn'],
] as const)('%s %s', (protocol, text, want) => {
  const parsed = parseProposal(text, protocol)
  expect(showProposal(parsed)).toBe(want)
  expect(parseProposal(want, protocol)).toEqual(parsed)
})

test.each([
  ['ike', 'aes256gmc16-prfsha256-x25519', 'unknown algorithm "aes256gmc16"; did you mean "aes256gcm16"?'],
  ['ike', 'aes128-sha265-x25519', 'did you mean "sha256"?'],
  ['ike', '', 'unknown algorithm ""'],
  ['ike', 'aes128--sha256', 'unknown algorithm ""'],
  ['ike', 'sha256-x25519', 'an encryption algorithm is missing'],
  ['ike', 'aes128-prfsha256-x25519', 'an integrity algorithm is missing'],
  ['ike', 'aes128gcm16-x25519', 'a PRF is missing'],
  ['ike', 'aes128-sha256', 'a key exchange method is missing'],
  ['ike', 'aes128-aes128gcm16-sha256-x25519', 'cannot share a proposal'],
  ['ike', 'aes128-sha256-x25519-esn', 'for ESP'],
  ['ike', 'null-sha256-x25519', 'without encryption'],
  ['ike', 'aes128gcm16-prfsha256-ke1_mlkem768', 'come after a first one'],
  ['ike', 'aes128gcm16-prfsha256-x25519-ke1_mlkem769', 'did you mean "ke1_mlkem768"?'],
  ['ike', 'aes128gcm16-prfsha256-x25519-ke8_mlkem768', 'unknown algorithm "ke8_mlkem768"'],
  ['esp', 'aes128gcm16-ke1_mlkem768', 'come after a first one'],
  ['ah', 'sha256-ke1_mlkem768', 'come after a first one'],
  ['esp', 'aes128', 'an integrity algorithm is missing'],
  ['esp', 'aes128gcm16-prfsha256', 'for IKE'],
  ['ike', 'aes128gmac-prfsha256-x25519', 'without encryption'],
  ['ike', 'aes128-aesxcbc-x25519', 'a PRF is missing'],
  ['ah', 'aes128-sha256', 'AH has no encryption'],
  ['ah', 'x25519', 'an integrity algorithm is missing'],
  ['ah', 'sha256-prfsha256', 'for IKE'],
] as const)('%s %s is refused', (protocol, text, why) => {
  const refused = expect.objectContaining({ code: 'USAGE_PROPOSAL', message: expect.stringContaining(why) })
  expect(() => parseProposal(text, protocol)).toThrow(refused)
})

test('any text parses or says what is wrong', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), fc.constantFrom('ike', 'esp'), (text, protocol) => {
      try {
        parseProposal(text, protocol as 'ike' | 'esp')
      } catch (error) {
        expect(error).toMatchObject({ code: 'USAGE_PROPOSAL' })
      }
    }),
  )
})

describe('defaults', () => {
  test('stand for an empty list and where they are named', () => {
    expect(parseProposals([], 'ike')).toEqual(parseProposals(['default'], 'ike'))
    const [first, ...more] = parseProposals(['aes128-sha1-modp2048', 'default'], 'ike')
    expect(showProposal(first!)).toBe('aes128-sha1-prfsha1-modp2048')
    expect(more).toEqual(parseProposals([], 'ike'))
  })

  test.each([nobleProvider, nodeCryptoProvider])('$name can do all of them', provider => {
    for (const protocol of ['ike', 'esp'] as const)
      expect(usableProposals(parseProposals([], protocol), provider)).toEqual(parseProposals([], protocol))
  })

  test('x25519 is the group of the first KE payload', () => {
    expect(keGroupsOf(parseProposals([], 'ike'))[0]).toBe(Ke.CURVE25519)
  })

  test('pass through an SA payload and are chosen from by themselves', () => {
    const list = parseProposals([], 'ike')
    const offered = offerProposals(list, NO_SPI)
    expect(decode(proposals, encode(proposals, offered))).toEqual(offered)
    const selected = selectProposal(offered, list)
    expect(selected.ok && showProposal(selected.chosen)).toBe('aes256gcm16-prfsha256-x25519')
    expect(selected.ok && checkIkeChoice([selected.chosen], offered)).toMatchObject({
      ok: true,
      suite: { encr: Encr.ENCR_AES_GCM_16, keyBits: 256, prf: 5, ke: 31 },
    })
    expect(selected.ok && ikeSuite(selected.chosen)).not.toHaveProperty('integ')
  })
})

test('what no provider can do is taken out, alternatives first, then whole proposals', () => {
  const list = parseProposals(['aes128gcm8-aes128gcm16', 'aes128ccm16', 'aes128-sha256-esn'], 'esp')
  expect(usableProposals(list, nobleProvider).map(showProposal)).toEqual(['aes128gcm16-noesn', 'aes128-sha256-esn'])
})

test('an offer without key exchange, as in IKE_AUTH', () => {
  const spi = Uint8Array.of(1, 2, 3, 4)
  const list = parseProposals(['aes128gcm16-x25519', 'aes128-sha256'], 'esp')
  const [with0, without] = [false, true].map(withoutKe => offerProposals(list, spi, { withoutKe }).map(showProposal))
  expect(with0).toEqual(['aes128gcm16-x25519-noesn', 'aes128-sha256-noesn'])
  expect(without).toEqual(['aes128gcm16-noesn', 'aes128-sha256-noesn'])
  expect(offerProposals(list, spi).map(p => [p.number, p.protocol, p.spi])).toEqual([
    [1, 3, spi],
    [2, 3, spi],
  ])
})

test('groups are listed once, best first', () => {
  expect(keGroupsOf(parseProposals(['aes128-sha1-ecp256-x25519', 'aes256-sha1-x25519-modp2048'], 'ike'))).toEqual([
    19, 31, 14,
  ])
})

test.each([
  [{ type: TransformType.KE, id: 2 }, 'KE(MODP_1024)'],
  [{ type: TransformType.ENCR, id: 12, keyBits: 160 }, 'ENCR(ENCR_AES_CBC 160)'],
  [{ type: TransformType.SN, id: 2 }, 'SN(2)'],
  [{ type: 99, id: 1 }, '99(1)'],
])('%o shows as %s', (transform, want) => expect(showTransform(transform)).toBe(want))
