import type { CryptoProvider } from '../contracts/crypto.ts'
import { UsageError } from '../errors.ts'
import { suggestion } from '../nearest.ts'
import {
  Encr,
  Integ,
  Ke,
  nameOf,
  Prf,
  type Proposal,
  ProtocolId,
  SequenceNumbers,
  type Transform,
  TransformType,
} from '../wire/index.ts'
import { ADDITIONAL, ALGORITHMS, isAead } from './suite.ts'

/** What a proposal is for. */
export type ProposalProtocol = 'ike' | 'esp' | 'ah'

/** What one side is ready to use: for each transform type some alternatives, best first. */
export interface ProposalSpec {
  readonly protocol: ProposalProtocol
  /** In the order of types ENCR, INTEG, PRF, KE, SN; within a type the order of preference. */
  readonly transforms: readonly Transform[]
}

/**
 * Best first. AEAD and other ciphers never share a proposal: RFC 7296 §3.3 lets only those without AEAD have an
 * integrity algorithm.
 */
const DEFAULTS = {
  ike: [
    'aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp2048',
    'aes256-aes192-aes128-sha256-sha384-sha512-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp2048',
  ],
  esp: ['aes256gcm16-aes128gcm16-chacha20poly1305', 'aes256-aes192-aes128-sha256-sha384-sha512'],
  ah: ['sha256-sha384-sha512'],
} as const

/** IKE's numbers of what proposals are for, RFC 7296 §3.3.1. */
export const PROTOCOL_IDS = { ike: ProtocolId.IKE, ah: ProtocolId.AH, esp: ProtocolId.ESP } as const

/** How the keywords of additional key exchanges begin. */
const ADDITIONAL_WORDS = ADDITIONAL.map((type, i) => ({ prefix: `ke${i + 1}_`, type }))

/** Keyword → the transform it stands for; the first keyword of a transform is the one shown. */
const KEYWORDS: ReadonlyMap<string, Transform> = new Map(keywords())
const SHOWN: ReadonlyMap<string, string> = new Map([...KEYWORDS].reverse().map(([word, t]) => [same(t), word]))

const ORDER: readonly number[] = [
  TransformType.ENCR,
  TransformType.INTEG,
  TransformType.PRF,
  TransformType.KE,
  TransformType.SN,
  ...ADDITIONAL,
]

/**
 * Reads a proposal in strongSwan's notation, keywords joined by `-`: `aes256gcm16-prfsha256-x25519`. Several of a type are
 * alternatives, first preferred.
 *
 * As there, IKE without a PRF takes those of the integrity algorithms, and an AEAD drops the integrity algorithms; ESP is
 * without extended sequence numbers unless it says `esn`. AH has integrity algorithms only: `sha256-sha512-esn`.
 *
 * Additional key exchanges (RFC 9370) are `ke1_mlkem768` to `ke7_…`; `ke1_none` beside others lets a peer do without.
 *
 * @throws UsageError USAGE_PROPOSAL naming what is wrong: an unknown keyword with the nearest known one, a missing or
 *   misplaced algorithm
 */
export function parseProposal(text: string, protocol: ProposalProtocol): ProposalSpec {
  const transforms: Transform[] = []
  for (const word of text.trim().toLowerCase().split('-')) {
    const transform = KEYWORDS.get(word)
    if (transform === undefined) throw unknownKeyword(word)
    if (!transforms.some(t => same(t) === same(transform))) transforms.push(transform)
  }
  const fail = (problem: string) => new UsageError('USAGE_PROPOSAL', `proposal "${text}": ${problem}`)
  const ids = (type: number) => transforms.filter(t => t.type === type).map(t => t.id)
  const encr = ids(TransformType.ENCR)
  const integ = ids(TransformType.INTEG)
  if (protocol === 'ah' && encr.length > 0)
    throw fail('AH has no encryption; write protocol: esp, or leave the cipher out')
  if (protocol !== 'ah' && encr.length === 0) throw fail('an encryption algorithm is missing, such as aes256gcm16')
  const additional = transforms.some(t => ADDITIONAL.includes(t.type))
  if (additional && !ids(TransformType.KE).some(id => id !== Ke.NONE))
    throw fail('additional key exchanges (ke1_…) come after a first one, such as x25519')
  const aead = encr.some(isAead)
  if (aead && !encr.every(isAead))
    throw fail('ciphers with and without integrity of their own (AEAD) cannot share a proposal; write two')
  if (!aead && integ.length === 0) throw fail('an integrity algorithm is missing, such as sha256')
  if (protocol === 'ike') {
    if (encr.includes(Encr.ENCR_NULL) || encr.includes(Encr.ENCR_NULL_AUTH_AES_GMAC))
      throw fail('IKE cannot go without encryption')
    if (ids(TransformType.SN).length > 0) throw fail('esn and noesn are for ESP and AH')
    if (ids(TransformType.PRF).length === 0)
      for (const id of integ) {
        const { prf } = ALGORITHMS.INTEG[id]!
        if (prf !== undefined) transforms.push({ type: TransformType.PRF, id: prf })
      }
    if (ids(TransformType.PRF).length === 0) throw fail('a PRF is missing, such as prfsha256')
    if (ids(TransformType.KE).length === 0) throw fail('a key exchange method is missing, such as x25519')
  } else {
    if (ids(TransformType.PRF).length > 0) throw fail('PRFs are for IKE')
    if (ids(TransformType.SN).length === 0)
      transforms.push({ type: TransformType.SN, id: SequenceNumbers.SEQUENTIAL_32 })
  }
  const kept = aead ? transforms.filter(t => t.type !== TransformType.INTEG) : transforms
  return { protocol, transforms: ORDER.flatMap(type => kept.filter(t => t.type === type)) }
}

/**
 * @param texts - proposals, best first; `default` among them stands for the default list, as does an empty array
 * @throws UsageError USAGE_PROPOSAL
 */
export function parseProposals(texts: readonly string[], protocol: ProposalProtocol): readonly ProposalSpec[] {
  const known = parsed[protocol].get(texts)
  if (known !== undefined) return known
  const given = texts.length === 0 ? ['default'] : texts
  const list = given
    .flatMap(text => (text.trim().toLowerCase() === 'default' ? DEFAULTS[protocol] : [text]))
    .map(text => parseProposal(text, protocol))
  parsed[protocol].set(texts, list)
  return list
}

/** Every SA asks for the lists of the configuration, which stay as they are. */
const parsed = { ike: new WeakMap(), esp: new WeakMap(), ah: new WeakMap() } satisfies Record<
  ProposalProtocol,
  WeakMap<readonly string[], readonly ProposalSpec[]>
>

/** Transforms in keyword notation, so that `parseProposal` gives them back; others as `KE(24)`. */
export const showProposal = ({ transforms }: { readonly transforms: readonly Transform[] }): string =>
  transforms.map(showTransform).join('-')

/** One transform's keyword, or IANA's name and number for those without one. */
export function showTransform(transform: Transform): string {
  const word = SHOWN.get(same(transform))
  if (word !== undefined) return word
  const { type, id, keyBits } = transform
  const names = {
    [TransformType.ENCR]: Encr,
    [TransformType.INTEG]: Integ,
    [TransformType.PRF]: Prf,
    [TransformType.KE]: Ke,
    ...Object.fromEntries(ADDITIONAL.map(each => [each, Ke])),
  }
  const registry: Readonly<Record<string, number>> = names[type as keyof typeof names] ?? {}
  return `${nameOf(TransformType, type)}(${nameOf(registry, id)}${keyBits === undefined ? '' : ` ${keyBits}`})`
}

/**
 * What of a list this host's crypto can do: transforms nobody provides are taken out, proposals that lose all of a type
 * with them.
 */
export function usableProposals(list: readonly ProposalSpec[], crypto: CryptoProvider): readonly ProposalSpec[] {
  const known = usable.get(list)
  if (known?.crypto === crypto) return known.usable
  const found = list.flatMap(({ protocol, transforms }) => {
    const possible = transforms.filter(t => supported(t, crypto))
    const complete = transforms.every(t => possible.some(u => u.type === t.type))
    return complete ? [{ protocol, transforms: possible }] : []
  })
  usable.set(list, { crypto, usable: found })
  return found
}

/** The same of what is usable, for the providers that were asked last. */
const usable = new WeakMap<
  readonly ProposalSpec[],
  { readonly crypto: CryptoProvider; readonly usable: readonly ProposalSpec[] }
>()

function supported({ type, id, keyBits }: Transform, crypto: CryptoProvider): boolean {
  if (type === TransformType.SN) return true
  if (ADDITIONAL.includes(type)) return id === Ke.NONE || crypto.supports(TransformType.KE, id)
  return crypto.supports(type, id, keyBits)
}

/**
 * A list as the content of an SA payload, numbered from 1.
 *
 * @param spi - empty in IKE_SA_INIT; this host's new SPI otherwise
 * @param withoutKe - leaves key exchange methods of all types out: the Child SA of IKE_AUTH has none of its own
 */
export const offerProposals = (
  list: readonly ProposalSpec[],
  spi: Uint8Array,
  { withoutKe = false } = {},
): readonly Proposal[] =>
  list.map(({ protocol, transforms }, i) => ({
    number: i + 1,
    protocol: PROTOCOL_IDS[protocol],
    spi,
    transforms: withoutKe ? transforms.filter(t => !isKeyExchange(t)) : transforms,
  }))

/** Whether a transform is a key exchange method, the first or an additional one. */
export const isKeyExchange = ({ type }: Transform): boolean => type === TransformType.KE || ADDITIONAL.includes(type)

/** Whether a proposal has additional key exchanges in it. */
export const hasAdditional = ({ transforms }: { readonly transforms: readonly Transform[] }): boolean =>
  transforms.some(({ type, id }) => ADDITIONAL.includes(type) && id !== Ke.NONE)

/** First key exchange methods of a list, best first, each once. */
export const keGroupsOf = (list: readonly { readonly transforms: readonly Transform[] }[]): readonly number[] => [
  ...new Set(list.flatMap(({ transforms }) => transforms.filter(t => t.type === TransformType.KE).map(t => t.id))),
]

/** Whether two transforms mean the same algorithm, as a key for maps. */
function same({ type, id, keyBits }: Transform): string {
  return `${type}/${id}/${keyBits ?? ''}`
}

function* keywords(): Generator<[string, Transform]> {
  for (const [key, { keyword, suffix, keyBits }] of Object.entries(ALGORITHMS.ENCR)) {
    const algorithm = { type: TransformType.ENCR, id: Number(key) }
    if (keyBits.length === 0) yield [keyword, algorithm]
    for (const bits of keyBits) {
      const transform = { ...algorithm, keyBits: bits }
      yield [`${keyword}${bits}${suffix}`, transform]
      const octets = /^(gcm|ccm)(\d+)$/.exec(suffix)
      if (octets === null) continue
      // the ICV in bits, or left out for the full one
      yield [`${keyword}${bits}${octets[1]}${Number(octets[2]) * 8}`, transform]
      if (octets[2] === '16') yield [`${keyword}${bits}${octets[1]}`, transform]
    }
  }
  yield ['aes', { type: TransformType.ENCR, id: Encr.ENCR_AES_CBC, keyBits: 128 }]
  for (const [key, { keyword }] of Object.entries(ALGORITHMS.INTEG)) {
    const transform = { type: TransformType.INTEG, id: Number(key) }
    yield [keyword, transform]
    yield [keyword === 'sha1' ? 'sha' : keyword.replace('sha', 'sha2_'), transform]
  }
  for (const [key, { keyword }] of Object.entries(ALGORITHMS.PRF))
    yield [keyword, { type: TransformType.PRF, id: Number(key) }]
  for (const [key, keyword] of Object.entries(ALGORITHMS.KE))
    for (const { prefix, type } of [{ prefix: '', type: TransformType.KE }, ...ADDITIONAL_WORDS])
      yield [`${prefix}${keyword}`, { type, id: Number(key) }]
  for (const { prefix, type } of ADDITIONAL_WORDS) yield [`${prefix}none`, { type, id: Ke.NONE }]
  yield ['curve25519', { type: TransformType.KE, id: Ke.CURVE25519 }]
  yield ['noesn', { type: TransformType.SN, id: SequenceNumbers.SEQUENTIAL_32 }]
  yield ['esn', { type: TransformType.SN, id: SequenceNumbers.PARTIALLY_TRANSMITTED_64 }]
}

const unknownKeyword = (word: string): UsageError =>
  new UsageError('USAGE_PROPOSAL', `unknown algorithm "${word}"${suggestion(word, [...KEYWORDS.keys()])}`)
