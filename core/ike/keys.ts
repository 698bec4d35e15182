import type { CryptoProvider } from '../contracts/crypto.ts'
import type { EspKeys, EspSuite } from '../contracts/data-plane.ts'
import { UsageError } from '../errors.ts'
import { concat } from '../wire/index.ts'
import { wipe } from './equal.ts'
import { type IkeSuite, keymatLengths, prfAlgorithm } from './suite.ts'

/** Nonces of an exchange, data without payload header: the one of its initiator, the one of its responder. */
export interface Nonces {
  readonly ni: Uint8Array
  readonly nr: Uint8Array
}

/** Keys for what one side sends. `salt` is empty without AEAD, `integ` with it. */
export type DirectionKeys = Omit<EspKeys, 'spi'>

/**
 * Shared secrets of the key exchanges of one CREATE_CHILD_SA in their order: SK(0), which is g^ir, and those of the
 * IKE_FOLLOWUP_KE after it, RFC 9370 §2.2.4. None for a Child SA without a key exchange of its own.
 */
export type Secrets = readonly Uint8Array[]

/** Keys of an IKE SA, RFC 7296 §2.14. Initiator means the original initiator of this SA. */
export interface IkeKeys {
  /** SK_d, the source of Child SA keys. */
  readonly d: Uint8Array
  /** SK_ei, SK_ai: messages of the initiator, requests and responses alike. */
  readonly initiator: DirectionKeys
  /** SK_er, SK_ar. */
  readonly responder: DirectionKeys
  /** SK_pi, SK_pr, used in AUTH. */
  readonly pi: Uint8Array
  readonly pr: Uint8Array
}

export interface ChildKeys {
  /** What the initiator of the exchange that made the Child SA sends with. */
  readonly initiator: DirectionKeys
  readonly responder: DirectionKeys
}

/**
 * prf+ of RFC 7296 §2.13.
 *
 * @param prf - transform ID
 * @returns `length` octets, owned by the caller
 * @throws UsageError USAGE_PRF_PLUS when more than 255 blocks are asked for
 */
export function prfPlus(
  crypto: CryptoProvider,
  prf: number,
  key: Uint8Array,
  seed: readonly Uint8Array[],
  length: number,
): Uint8Array {
  const size = prfAlgorithm(prf).length
  if (length > 255 * size) throw new UsageError('USAGE_PRF_PLUS', `prf+ gives ${255 * size} octets, not ${length}`)
  const out = new Uint8Array(length)
  let block: Uint8Array = new Uint8Array(0)
  for (let at = 0, n = 1; at < length; at += size, n++) {
    const next = crypto.prf(prf, key, block, ...seed, Uint8Array.of(n))
    wipe(block)
    block = next
    out.set(block.subarray(0, length - at), at)
  }
  wipe(block)
  return out
}

/** SKEYSEED of a new IKE SA, RFC 7296 §2.14. @param shared - g^ir */
export const skeyseed = (crypto: CryptoProvider, prf: number, { ni, nr }: Nonces, shared: Uint8Array): Uint8Array =>
  crypto.prf(prf, concat(ni, nr), shared)

/**
 * SKEYSEED of an IKE SA that replaces another one, RFC 7296 §2.18 and 9370 §2.2.4, and of one after an additional key
 * exchange in IKE_INTERMEDIATE, §2.2.2. @param prf - the old SA's; `oldD` its SK_d
 */
export const rekeyedSkeyseed = (
  crypto: CryptoProvider,
  prf: number,
  oldD: Uint8Array,
  { ni, nr }: Nonces,
  [first, ...additional]: readonly [Uint8Array, ...Secrets],
): Uint8Array => crypto.prf(prf, oldD, first, ni, nr, ...additional)

const RESUMPTION = new TextEncoder().encode('Resumption')

/** SKEYSEED of an IKE SA that resumes another one, RFC 5723 §5.1. @param oldD - SK_d of that one */
export const resumedSkeyseed = (
  crypto: CryptoProvider,
  prf: number,
  oldD: Uint8Array,
  { ni, nr }: Nonces,
): Uint8Array => crypto.prf(prf, oldD, RESUMPTION, ni, nr)

/**
 * All keys of an IKE SA, RFC 7296 §2.14.
 *
 * @param context - nonces and SPIs of the exchange that made the SA
 * @param kdf - PRF that expands SKEYSEED: the suite's own; when rekeying the old SA's, since that is how strongSwan reads
 *   §2.18 (both readings agree where the PRF stays the same)
 */
export function deriveIkeKeys(
  crypto: CryptoProvider,
  suite: IkeSuite,
  seed: Uint8Array,
  context: Nonces & { readonly initiatorSpi: bigint; readonly responderSpi: bigint },
  kdf: number = suite.prf,
): IkeKeys {
  const prf = prfAlgorithm(suite.prf).length
  const { encr, salt, integ } = keymatLengths(suite)
  const spis = new Uint8Array(16)
  const view = new DataView(spis.buffer)
  view.setBigUint64(0, context.initiatorSpi)
  view.setBigUint64(8, context.responderSpi)
  const length = 3 * prf + 2 * (encr + salt + integ)
  const keymat = prfPlus(crypto, kdf, seed, [context.ni, context.nr, spis], length)
  const take = cutter(keymat)
  const d = take(prf)
  const ai = take(integ)
  const ar = take(integ)
  const initiator = { encr: take(encr), salt: take(salt), integ: ai }
  const responder = { encr: take(encr), salt: take(salt), integ: ar }
  return { d, initiator, responder, pi: take(prf), pr: take(prf) }
}

/**
 * Keys of a Child SA, RFC 7296 §2.17 and 9370 §2.2.4.
 *
 * @param prf - the IKE SA's; `d` its SK_d
 * @param nonces - of the exchange that makes the Child SA, IKE_SA_INIT's for the first one
 * @param secrets - of that exchange, where it had a key exchange of its own
 */
export function deriveChildKeys(
  crypto: CryptoProvider,
  prf: number,
  d: Uint8Array,
  suite: EspSuite,
  { ni, nr }: Nonces,
  [first = new Uint8Array(0), ...additional]: Secrets = [],
): ChildKeys {
  const { encr, salt, integ } = keymatLengths(suite)
  const keymat = prfPlus(crypto, prf, d, [first, ni, nr, ...additional], 2 * (encr + salt + integ))
  const take = cutter(keymat)
  const direction = () => ({ encr: take(encr), salt: take(salt), integ: take(integ) })
  return { initiator: direction(), responder: direction() }
}

/**
 * What one side signs or MACs in IKE_AUTH, RFC 7296 §2.15.
 *
 * @param message - the side's own IKE_SA_INIT message as last sent, from SPIi on
 * @param nonce - the other side's nonce
 * @param skp - SK_pi for the initiator's AUTH, SK_pr for the responder's
 * @param id - body of the side's ID payload, reserved octets as they were on the wire
 * @param intermediate - IntAuth of RFC 9242 §3.3.2, empty without IKE_INTERMEDIATE
 */
export const signedOctets = (
  crypto: CryptoProvider,
  prf: number,
  message: Uint8Array,
  nonce: Uint8Array,
  skp: Uint8Array,
  id: Uint8Array,
  intermediate: Uint8Array = new Uint8Array(0),
): Uint8Array => concat(message, nonce, crypto.prf(prf, skp, id), intermediate)

const KEY_PAD = new TextEncoder().encode('Key Pad for IKEv2')

/** AUTH data of method 2, Shared Key Message Integrity Code, RFC 7296 §2.15. @param octets - see `signedOctets` */
export function pskAuth(crypto: CryptoProvider, prf: number, psk: Uint8Array, octets: Uint8Array): Uint8Array {
  const key = crypto.prf(prf, psk, KEY_PAD)
  const auth = crypto.prf(prf, key, octets)
  wipe(key)
  return auth
}

export function wipeIkeKeys({ d, initiator, responder, pi, pr }: IkeKeys): void {
  wipe(d, pi, pr)
  wipeDirection(initiator)
  wipeDirection(responder)
}

/** Of an IKE SA that stands: all but SK_d is wiped, since `Protector`s keep copies of what they work with. */
export function reduceIkeKeys(keys: IkeKeys): IkeKeys {
  const d = keys.d.slice()
  wipeIkeKeys(keys)
  return { ...SPENT, d }
}

export const wipeDirection = ({ encr, salt, integ }: DirectionKeys): void => wipe(encr, salt, integ)

/** What an AEAD has in place of an integrity key, and others of a salt: the header of a view is larger than most keys. */
const NONE = new Uint8Array(0)
const NO_KEYS: DirectionKeys = { encr: NONE, salt: NONE, integ: NONE }
const SPENT = { initiator: NO_KEYS, responder: NO_KEYS, pi: NONE, pr: NONE }

/** Parts of one piece of memory, one after the other: wiping one touches no other. */
function cutter(keymat: Uint8Array): (length: number) => Uint8Array {
  let at = 0
  return length => {
    at += length
    return length === 0 ? NONE : keymat.subarray(at - length, at)
  }
}
