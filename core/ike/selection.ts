import type { EspSuite } from '../contracts/data-plane.ts'
import {
  Encr,
  Integ,
  IpProtocol,
  Ke,
  nameOf,
  type Proposal,
  ProtocolId,
  SequenceNumbers,
  type Transform,
  TransformType,
} from '../wire/index.ts'
import { isKeyExchange, PROTOCOL_IDS, type ProposalSpec, showTransform } from './proposal.ts'
import { ADDITIONAL, type IkeSuite, isAead } from './suite.ts'

export type Selection =
  /** `chosen` answers the offer: the peer's number and SPI (put the own SPI in before sending it), one transform a type. */
  | { readonly ok: true; readonly chosen: Proposal; readonly own: ProposalSpec }
  /** Why each offered proposal was no match; for the log, never for the peer. */
  | { readonly ok: false; readonly why: readonly string[] }

export interface SelectionOptions {
  /** Leaves key exchange methods out of account, as in IKE_AUTH. */
  readonly withoutKe?: boolean
  /** Key exchange method of the KE payload at hand: taken before a better one that would cost another round trip. */
  readonly preferKe?: number
}

const NONE = 0

/**
 * The responder's choice, RFC 7296 §3.3.6: the first own proposal that an offered one matches, in it for each type the
 * first own transform that is offered.
 *
 * @param own - from `usableProposals`, all of one protocol
 */
export function selectProposal(
  offered: readonly Proposal[],
  own: readonly ProposalSpec[],
  options: SelectionOptions = {},
): Selection {
  for (const spec of own)
    for (const proposal of offered) {
      const transforms = matching(proposal, spec, options)
      if (typeof transforms !== 'string') return { ok: true, chosen: { ...proposal, transforms }, own: spec }
    }
  return { ok: false, why: explainMismatch(offered, own, options) }
}

/** For each pair of proposals why it is no match: `proposal 2 against aes256-…: no common KE: x25519 / modp1024`. */
export function explainMismatch(
  offered: readonly Proposal[],
  own: readonly ProposalSpec[],
  options: SelectionOptions = {},
): readonly string[] {
  if (offered.length === 0) return ['nothing was offered']
  return offered.flatMap(proposal => {
    // each own proposal may fail for the same reason: say it once
    const reasons = own.map(spec => matching(proposal, spec, options)).filter(reason => typeof reason === 'string')
    return [...new Set(reasons)].map(reason => `proposal ${proposal.number}: ${reason}`)
  })
}

/** @returns one transform per offered type, or in words why there is none */
function matching(
  proposal: Proposal,
  { protocol, transforms: own }: ProposalSpec,
  { withoutKe = false, preferKe }: SelectionOptions,
): readonly Transform[] | string {
  if (proposal.protocol !== PROTOCOL_IDS[protocol])
    return `protocol ${nameOf(ProtocolId, proposal.protocol)}, not ${protocol.toUpperCase()}`
  const spiLengths = protocol === 'ike' ? [0, 8] : [4]
  if (!spiLengths.includes(proposal.spi.length)) return `SPI of ${proposal.spi.length} octets`

  const considered = (t: Transform) => !(withoutKe && isKeyExchange(t))
  const theirs = proposal.transforms.filter(considered)
  const mine = own.filter(considered)
  const chosen: Transform[] = []
  for (const type of new Set([...mine, ...theirs].map(t => t.type))) {
    const [here, there] = [mine, theirs].map(list => list.filter(t => t.type === type)) as [Transform[], Transform[]]
    if (there.length === 0 && type === TransformType.SN && here.some(t => t.id === SequenceNumbers.SEQUENTIAL_32))
      continue // absent means 32-bit
    if (there.length === 0 && ADDITIONAL.includes(type) && here.some(t => t.id === NONE)) continue
    if (here.length === 0) {
      // a type this side has no use for is fine where the peer can do without too: INTEG beside an AEAD, optional PFS
      const none = there.find(t => t.id === NONE && type !== TransformType.SN)
      if (none === undefined) return `${nameOf(TransformType, type)} is offered, not wanted: ${show(there)}`
      chosen.push(none)
      continue
    }
    // the peer's own words go back, attributes unmodified (RFC 7296 §3.3.6)
    const common = here.flatMap(mineOne => there.find(t => equal(t, mineOne)) ?? []).filter(t => !repeats(chosen, t))
    const best = common.find(t => type === TransformType.KE && t.id === preferKe) ?? common[0]
    if (best === undefined)
      return `no common ${nameOf(TransformType, type)}: ${show(here)} here, ${show(there) || 'none'} offered`
    chosen.push(best)
  }
  return chosen
}

/** RFC 9370 §2.2.2: no key exchange method twice. */
const repeats = (others: readonly Transform[], t: Transform): boolean =>
  isKeyExchange(t) && t.id !== NONE && others.some(other => isKeyExchange(other) && other.id === t.id)

export type Check<T> =
  | { readonly ok: true; readonly chosen: Proposal; readonly suite: T }
  | { readonly ok: false; readonly why: string }

/**
 * Whether the responder's answer is one of the things offered: one proposal, one transform of each offered type. The
 * reason is for the log; the peer gets no answer to it.
 *
 * @param answer - content of the response's SA payload
 * @param offered - what the request said
 */
export function checkIkeChoice(answer: readonly Proposal[], offered: readonly Proposal[]): Check<IkeSuite> {
  return checked(answer, offered, ikeSuite)
}

/** The same for ESP and AH. A responder in IKE_AUTH answers without KE because it was offered none. */
export function checkEspChoice(answer: readonly Proposal[], offered: readonly Proposal[]): Check<EspSuite> {
  return checked(answer, offered, espSuite)
}

function checked<T>(
  answer: readonly Proposal[],
  offered: readonly Proposal[],
  suiteOf: (chosen: Proposal) => T | undefined,
): Check<T> {
  const [chosen, ...more] = answer
  if (chosen === undefined || more.length > 0) return no(`${answer.length} proposals instead of one`)
  const from = offered.find(p => p.number === chosen.number && p.protocol === chosen.protocol)
  if (from === undefined)
    return no(`proposal ${chosen.number} of ${nameOf(ProtocolId, chosen.protocol)} was not offered`)
  if (chosen.spi.length !== from.spi.length) return no(`SPI of ${chosen.spi.length} octets`)
  const types = new Set(chosen.transforms.map(t => t.type))
  if (types.size < chosen.transforms.length) return no('several transforms of a type')
  if (chosen.transforms.some((t, i) => repeats(chosen.transforms.slice(0, i), t)))
    return no('a key exchange method more than once')
  for (const t of chosen.transforms)
    if (!from.transforms.some(f => equal(t, f)) && !saysNone(t)) return no(`${showTransform(t)} was not offered`)
  for (const { type } of from.transforms)
    if (!types.has(type)) {
      const optional = from.transforms.some(f => f.type === type && type !== TransformType.SN && f.id === NONE)
      const absentIs32 = from.transforms.some(
        f => f.type === type && type === TransformType.SN && f.id === SequenceNumbers.SEQUENTIAL_32,
      )
      if (!optional && !absentIs32) return no(`${nameOf(TransformType, type)} is missing`)
    }
  const suite = suiteOf(chosen)
  return suite === undefined ? no('incomplete') : { ok: true, chosen, suite }
}

const no = (why: string) => ({ ok: false, why }) as const

/** The suite of a chosen IKE proposal; undefined when a type is missing. */
export function ikeSuite({ transforms }: { readonly transforms: readonly Transform[] }): IkeSuite | undefined {
  const find = (type: number) => transforms.find(t => t.type === type)
  const [encr, prf, ke] = [find(TransformType.ENCR), find(TransformType.PRF), find(TransformType.KE)]
  if (encr === undefined || prf === undefined || ke === undefined || ke.id === Ke.NONE) return undefined
  const integ = integrity(encr, find(TransformType.INTEG))
  if (integ === undefined) return undefined
  const additional = transforms
    .filter(({ type, id }) => ADDITIONAL.includes(type) && id !== Ke.NONE)
    .sort((a, b) => a.type - b.type)
    .map(({ type, id }) => ({ type, id }))
  return { ...keyed(encr), prf: prf.id, ...integ, ke: ke.id, ...(additional.length > 0 && { additional }) }
}

/**
 * Key exchange methods of a chosen proposal in the order they are carried out, RFC 9370 §2.2.1: the KE payloads of
 * CREATE_CHILD_SA are of the first, every other one has an IKE_FOLLOWUP_KE of its own. NONE stands for no key exchange.
 *
 * @returns undefined where there are additional ones without a first
 */
export function methodsOf({
  transforms,
}: {
  readonly transforms: readonly Transform[]
}): readonly number[] | undefined {
  const methods = [TransformType.KE, ...ADDITIONAL].flatMap(type =>
    transforms.filter(t => t.type === type && t.id !== Ke.NONE),
  )
  return methods.length === 0 || methods[0]!.type === TransformType.KE ? methods.map(({ id }) => id) : undefined
}

/** The suite of a chosen ESP or AH proposal; undefined when a type is missing. Its KE, if any, is the exchange's concern. */
export function espSuite({ protocol, transforms }: Pick<Proposal, 'protocol' | 'transforms'>): EspSuite | undefined {
  const find = (type: number) => transforms.find(t => t.type === type)
  const esn = find(TransformType.SN)?.id === SequenceNumbers.PARTIALLY_TRANSMITTED_64
  if (protocol === ProtocolId.AH) {
    const integ = find(TransformType.INTEG)?.id ?? Integ.NONE
    return integ === Integ.NONE ? undefined : { protocol: IpProtocol.AH, encr: Encr.ENCR_NULL, integ, esn }
  }
  const encr = find(TransformType.ENCR)
  const integ = encr && integrity(encr, find(TransformType.INTEG))
  if (encr === undefined || integ === undefined) return undefined
  return { ...keyed(encr), ...integ, esn }
}

const keyed = ({ id, keyBits }: Transform) => ({ encr: id, ...(keyBits !== undefined && { keyBits }) })

/** An AEAD goes without an integrity algorithm, everything else never: undefined where that is violated. */
function integrity(encr: Transform, integ: Transform | undefined): { readonly integ?: number } | undefined {
  const present = integ !== undefined && integ.id !== Integ.NONE
  if (isAead(encr.id)) return present ? undefined : {}
  return present ? { integ: integ.id } : undefined
}

/** A responder may say what an AEAD leaves unsaid. */
const saysNone = ({ type, id }: Transform): boolean => type === TransformType.INTEG && id === Integ.NONE

/** Same algorithm and key length; one with attributes nobody understands equals none. */
const equal = (theirs: Transform, mine: Transform): boolean =>
  theirs.type === mine.type &&
  theirs.id === mine.id &&
  keyBitsOf(theirs) === keyBitsOf(mine) &&
  theirs.attributes === undefined

/** ChaCha20-Poly1305 has one key length only; some peers name it though RFC 7634 §2 forbids that. */
const keyBitsOf = ({ id, type, keyBits }: Transform): number | undefined =>
  type === TransformType.ENCR && id === Encr.ENCR_CHACHA20_POLY1305 && keyBits === 256 ? undefined : keyBits

const show = (transforms: readonly Transform[]): string => transforms.map(showTransform).join(' ')

/** A suite as a proposal of its own, to offer it again. */
export const suiteProposal = ({ encr, keyBits, prf, integ, ke, additional = [] }: IkeSuite): ProposalSpec => ({
  protocol: 'ike',
  transforms: [
    { type: TransformType.ENCR, id: encr, ...(keyBits !== undefined && { keyBits }) },
    ...(integ === undefined ? [] : [{ type: TransformType.INTEG, id: integ }]),
    { type: TransformType.PRF, id: prf },
    { type: TransformType.KE, id: ke },
    ...additional,
  ],
})

/** Whether some proposal of a list allows this suite: with nothing strange in it, and no additional key exchange missing. */
export const suiteFits = (suite: IkeSuite, list: readonly ProposalSpec[]): boolean => {
  const used = suiteProposal(suite).transforms
  return list.some(({ transforms }) => {
    const wanted = ADDITIONAL.filter(type => transforms.some(t => t.type === type))
    const optional = (type: number) => transforms.some(t => t.type === type && t.id === NONE)
    return (
      used.every(t => transforms.some(own => equal(t, own))) &&
      wanted.every(type => optional(type) || used.some(t => t.type === type))
    )
  })
}

/** IKE's number of the protocol a Child SA has. */
export const protocolOf = ({ protocol }: EspSuite): number =>
  protocol === IpProtocol.AH ? ProtocolId.AH : ProtocolId.ESP

/** The same for ESP and AH, without a key exchange. */
export const espProposal = ({ protocol, encr, keyBits, integ, esn }: EspSuite): ProposalSpec => ({
  protocol: protocol === IpProtocol.AH ? 'ah' : 'esp',
  transforms: [
    ...(protocol === IpProtocol.AH
      ? []
      : [{ type: TransformType.ENCR, id: encr, ...(keyBits !== undefined && { keyBits }) }]),
    ...(integ === undefined ? [] : [{ type: TransformType.INTEG, id: integ }]),
    ...(esn ? [{ type: TransformType.SN, id: SequenceNumbers.PARTIALLY_TRANSMITTED_64 }] : []),
  ],
})
