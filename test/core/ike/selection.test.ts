import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { offerProposals, parseProposals, showProposal } from '../../../core/ike/proposal.ts'
import {
  checkEspChoice,
  checkIkeChoice,
  explainMismatch,
  type SelectionOptions,
  selectProposal,
} from '../../../core/ike/selection.ts'
import { type Proposal, ProtocolId, type Transform, TransformType } from '../../../core/wire/index.ts'

const SPI = Uint8Array.of(1, 2, 3, 4)
const { ENCR, PRF, INTEG, KE, SN } = TransformType

const offer = (protocol: 'ike' | 'esp', ...texts: string[]): readonly Proposal[] =>
  offerProposals(parseProposals(texts, protocol), protocol === 'ike' ? new Uint8Array(0) : SPI)

/** What is chosen, or the reasons why nothing is. */
function choice(offered: readonly Proposal[], own: string[], options?: SelectionOptions): string | readonly string[] {
  const protocol = offered[0]?.protocol === ProtocolId.IKE ? 'ike' : 'esp'
  const selected = selectProposal(offered, parseProposals(own, protocol), options)
  return selected.ok ? `${selected.chosen.number}: ${showProposal(selected.chosen)}` : selected.why
}

const IKE_TABLE: [string, string[], string[], string | string[], SelectionOptions?][] = [
  [
    'own order decides, among proposals',
    ['aes128-sha256-x25519', 'aes256gcm16-prfsha256-x25519'],
    ['aes256gcm16-prfsha256-x25519', 'aes128-sha256-x25519'],
    '2: aes256gcm16-prfsha256-x25519',
  ],
  [
    'and among transforms',
    ['aes128-aes256-sha1-sha256-ecp256-x25519'],
    ['aes256-aes128-sha256-sha1-x25519-ecp256'],
    '1: aes256-sha256-prfsha256-x25519',
  ],
  [
    'but the group at hand saves a round trip',
    ['aes128-sha256-ecp256-x25519'],
    ['aes128-sha256-x25519-ecp256'],
    '1: aes128-sha256-prfsha256-ecp256',
    { preferKe: 19 },
  ],
  [
    'unless it is not acceptable',
    ['aes128-sha256-ecp256-x25519'],
    ['aes128-sha256-x25519'],
    '1: aes128-sha256-prfsha256-x25519',
    { preferKe: 19 },
  ],
  [
    'key lengths must match',
    ['aes128-sha256-x25519'],
    ['aes256-sha256-x25519'],
    ['proposal 1: no common ENCR: aes256 here, aes128 offered'],
  ],
  [
    'reasons name both sides',
    ['aes128-sha256-modp2048', 'aes128gcm16-prfsha256-modp2048'],
    ['aes128-sha256-x25519-ecp256'],
    [
      'proposal 1: no common KE: x25519 ecp256 here, modp2048 offered',
      'proposal 2: no common ENCR: aes128 here, aes128gcm16 offered',
    ],
  ],
]

describe('IKE', () => {
  test.each(IKE_TABLE)('%s', (_name, offered, own, want, options) => {
    expect(choice(offer('ike', ...offered), own, options)).toEqual(want)
  })

  test('rekeying: the proposal carries an SPI of 8 octets, which comes back', () => {
    const spi = new Uint8Array(8).fill(9)
    const own = parseProposals(['aes128-sha256-x25519'], 'ike')
    const selected = selectProposal(offerProposals(own, spi), own)
    expect(selected.ok && selected.chosen.spi).toEqual(spi)
  })
})

const ESP_TABLE: [string, Transform[], string, string | string[], SelectionOptions?][] = [
  [
    'absent sequence numbers mean 32 bits',
    [{ type: ENCR, id: 20, keyBits: 128 }],
    'aes128gcm16-noesn-esn',
    '1: aes128gcm16',
  ],
  [
    'and are no match for ESN',
    [{ type: ENCR, id: 20, keyBits: 128 }],
    'aes128gcm16-esn',
    ['proposal 1: no common SN: esn here, none offered'],
  ],
  [
    'an AEAD may come with INTEG NONE, which is answered',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: INTEG, id: 0 },
      { type: SN, id: 0 },
    ],
    'aes128gcm16',
    '1: aes128gcm16-noesn-INTEG(NONE)',
  ],
  [
    'but not with an integrity algorithm',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: INTEG, id: 12 },
      { type: SN, id: 0 },
    ],
    'aes128gcm16',
    ['proposal 1: INTEG is offered, not wanted: sha256'],
  ],
  [
    'other ciphers never go without one',
    [
      { type: ENCR, id: 12, keyBits: 128 },
      { type: SN, id: 0 },
    ],
    'aes128-sha256',
    ['proposal 1: no common INTEG: sha256 here, none offered'],
  ],
  [
    'AEAD and others mixed by a sloppy peer: what fits is taken',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: ENCR, id: 12, keyBits: 128 },
      { type: INTEG, id: 12 },
      { type: SN, id: 0 },
    ],
    'aes128-sha256',
    '1: aes128-sha256-noesn',
  ],
  [
    'perfect forward secrecy that is not wanted is no match',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: KE, id: 31 },
      { type: SN, id: 0 },
    ],
    'aes128gcm16',
    ['proposal 1: KE is offered, not wanted: x25519'],
  ],
  [
    'unless the peer can do without',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: KE, id: 31 },
      { type: KE, id: 0 },
      { type: SN, id: 0 },
    ],
    'aes128gcm16',
    '1: aes128gcm16-noesn-KE(NONE)',
  ],
  [
    'or it is IKE_AUTH, where nobody can have it',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: KE, id: 31 },
      { type: SN, id: 0 },
    ],
    'aes128gcm16-x25519',
    '1: aes128gcm16-noesn',
    { withoutKe: true },
  ],
  [
    'wanted and not offered is no match',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: SN, id: 0 },
    ],
    'aes128gcm16-x25519',
    ['proposal 1: no common KE: x25519 here, none offered'],
  ],
  [
    'a type that is not wanted makes a proposal unacceptable',
    [
      { type: ENCR, id: 20, keyBits: 128 },
      { type: SN, id: 0 },
      { type: TransformType.ADDKE1, id: 36 },
    ],
    'aes128gcm16',
    ['proposal 1: ADDKE1 is offered, not wanted: ke1_mlkem768'],
  ],
  [
    'so does an attribute nobody understands, but only for its transform',
    [
      { type: ENCR, id: 20, keyBits: 128, attributes: [{ type: 77, value: 1 }] },
      { type: ENCR, id: 20, keyBits: 256 },
      { type: SN, id: 0 },
    ],
    'aes128gcm16-aes256gcm16',
    '1: aes256gcm16-noesn',
  ],
  [
    'ChaCha20-Poly1305 with a needless key length is answered as it was offered',
    [
      { type: ENCR, id: 28, keyBits: 256 },
      { type: SN, id: 0 },
    ],
    'chacha20poly1305',
    '1: ENCR(ENCR_CHACHA20_POLY1305 256)-noesn',
  ],
]

describe('ESP', () => {
  test.each(ESP_TABLE)('%s', (_name, transforms, own, want, options) => {
    const offered = [{ number: 1, protocol: ProtocolId.ESP, spi: SPI, transforms }]
    expect(choice(offered, [own], options)).toEqual(want)
  })

  test('other protocols and SPIs of another size are passed over', () => {
    const [good] = offer('esp', 'aes128gcm16')
    const offered = [
      { ...good!, number: 1, protocol: ProtocolId.AH },
      { ...good!, number: 2, spi: new Uint8Array(8) },
      { ...good!, number: 3 },
    ]
    const own = parseProposals(['aes128gcm16'], 'esp')
    const selected = selectProposal(offered, own)
    expect(selected.ok && selected.chosen).toEqual({ ...good, number: 3 })
    expect(explainMismatch(offered.slice(0, 2), own)).toEqual([
      'proposal 1: protocol AH, not ESP',
      'proposal 2: SPI of 8 octets',
    ])
    expect(explainMismatch([], own)).toEqual(['nothing was offered'])
  })
})

describe("the responder's answer", () => {
  const offered = offer('ike', 'aes128-aes256-sha256-x25519', 'aes128gcm16-prfsha256-x25519')
  const [cbc, gcm] = parseProposals(['aes256-sha256-x25519', 'aes128gcm16-prfsha256-x25519'], 'ike')
  const answer = (number: number, transforms: readonly Transform[]): Proposal => ({
    number,
    protocol: ProtocolId.IKE,
    spi: new Uint8Array(0),
    transforms,
  })

  test('gives the suite', () => {
    expect(checkIkeChoice([answer(1, cbc!.transforms)], offered)).toMatchObject({
      ok: true,
      suite: { encr: 12, keyBits: 256, integ: 12, prf: 5, ke: 31 },
    })
    const gcmSuite = { encr: 20, keyBits: 128, prf: 5, ke: 31 }
    expect(checkIkeChoice([answer(2, gcm!.transforms)], offered)).toMatchObject({ ok: true, suite: gcmSuite })
    const explicit = [...gcm!.transforms, { type: INTEG, id: 0 }]
    expect(checkIkeChoice([answer(2, explicit)], offered)).toMatchObject({ ok: true, suite: gcmSuite })
  })

  test.each<[string, readonly Proposal[], string]>([
    ['nothing', [], '0 proposals'],
    ['two proposals', [answer(1, cbc!.transforms), answer(2, gcm!.transforms)], '2 proposals'],
    ['a number not offered', [answer(3, cbc!.transforms)], 'proposal 3 of IKE was not offered'],
    ['another protocol', [{ ...answer(1, cbc!.transforms), protocol: 3 }], 'proposal 1 of ESP was not offered'],
    ['an SPI out of place', [{ ...answer(1, cbc!.transforms), spi: SPI }], 'SPI of 4 octets'],
    ['transforms of another proposal', [answer(2, cbc!.transforms)], 'aes256 was not offered'],
    ['two of a type', [answer(1, [...cbc!.transforms, { type: ENCR, id: 12, keyBits: 128 }])], 'several'],
    [
      'a type left out',
      [
        answer(
          1,
          cbc!.transforms.filter(t => t.type !== PRF),
        ),
      ],
      'PRF is missing',
    ],
    [
      'a weaker key',
      [
        answer(
          1,
          cbc!.transforms.map(t => (t.type === ENCR ? { ...t, keyBits: 64 } : t)),
        ),
      ],
      'ENCR(',
    ],
  ])('is refused: %s', (_name, given, why) => {
    expect(checkIkeChoice(given, offered)).toEqual({ ok: false, why: expect.stringContaining(why) })
  })

  test('ESP: sequence numbers may go unsaid only where 32 bits were offered', () => {
    const bare = { number: 1, protocol: ProtocolId.ESP, spi: SPI, transforms: [{ type: ENCR, id: 20, keyBits: 128 }] }
    expect(checkEspChoice([bare], offer('esp', 'aes128gcm16-noesn-esn'))).toMatchObject({
      ok: true,
      suite: { encr: 20, keyBits: 128, esn: false },
    })
    expect(checkEspChoice([bare], offer('esp', 'aes128gcm16-esn'))).toEqual({ ok: false, why: 'SN is missing' })
  })
})

test('whatever is offered, the choice is part of it and the initiator agrees', () => {
  const transform = fc.record({
    type: fc.integer({ min: 1, max: 6 }),
    id: fc.constantFrom(0, 1, 2, 5, 12, 14, 20, 28, 31),
  })
  const keyed = fc.oneof(
    transform,
    fc.constantFrom(
      { type: ENCR, id: 20, keyBits: 128 },
      { type: ENCR, id: 12, keyBits: 256 },
      { type: INTEG, id: 12 },
      { type: SN, id: 0 },
      { type: KE, id: 31 },
    ),
  )
  const list = fc.array(fc.array(keyed, { maxLength: 6 }), { maxLength: 3 })
  const own = parseProposals(['aes128gcm16-esn-noesn', 'aes256-sha256', 'aes128gcm16-x25519'], 'esp')
  fc.assert(
    fc.property(list, all => {
      const offered: Proposal[] = all.map((transforms, i) => ({ number: i + 1, protocol: 3, spi: SPI, transforms }))
      const selected = selectProposal(offered, own)
      if (!selected.ok) expect(selected.why.length).toBeGreaterThan(0)
      else expect(checkEspChoice([selected.chosen], offered)).toMatchObject({ ok: true })
    }),
    { numRuns: 500 },
  )
})
