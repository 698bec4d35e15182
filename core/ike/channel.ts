import { wipe } from './equal.ts'
import type { IkeSa } from './ike-sa.ts'
import { reportIkeKeys } from './keylog.ts'
import {
  deriveIkeKeys,
  type IkeKeys,
  reduceIkeKeys,
  rekeyedSkeyseed,
  resumedSkeyseed,
  skeyseed,
  wipeIkeKeys,
} from './keys.ts'
import { Protector } from './protect.ts'
import type { IkeSuite } from './suite.ts'

/** What key agreement left behind: the protected channel of one IKE SA. */
export interface Channel {
  readonly suite: IkeSuite
  readonly keys: IkeKeys
  /** In IKE_AUTH, while a PPK is in `keys`: what they are without it. */
  readonly plain?: Pick<IkeKeys, 'd' | 'pi' | 'pr'>
  readonly outbound: Protector
  readonly inbound: Protector
  readonly ni: Uint8Array
  readonly nr: Uint8Array
  /** What an additional key exchange has replaced, and the request whose answer it still protects when that is repeated. */
  readonly before?: { readonly channel: Channel; readonly messageId: number }
}

/** The two IKE_SA_INIT messages as they went over the wire, from SPIi on. */
export interface InitOctets {
  readonly own: Uint8Array
  readonly peer: Uint8Array
  /** The same request with other cookies: which one the peer signs depends on the answer that came first to it. */
  readonly variants?: readonly Uint8Array[]
}

/** Derives the keys of a new IKE SA and puts the channel in place; wipes `shared`, keeps the nonces. */
export function openChannel(sa: IkeSa, suite: IkeSuite, shared: Uint8Array, ni: Uint8Array, nr: Uint8Array): void {
  const seed = skeyseed(sa.crypto, suite.prf, { ni, nr }, shared)
  const { initiatorSpi, responderSpi } = sa
  const keys = deriveIkeKeys(sa.crypto, suite, seed, { ni, nr, initiatorSpi, responderSpi })
  wipe(seed, shared)
  setChannel(sa, suite, keys, ni, nr)
}

/** The channel of an IKE SA that resumes another one, RFC 5723 §5.1. @param d - SK_d of that one; stays the caller's */
export function resumeChannel(sa: IkeSa, suite: IkeSuite, d: Uint8Array, ni: Uint8Array, nr: Uint8Array): void {
  const seed = resumedSkeyseed(sa.crypto, suite.prf, d, { ni, nr })
  const { initiatorSpi, responderSpi } = sa
  const keys = deriveIkeKeys(sa.crypto, suite, seed, { ni, nr, initiatorSpi, responderSpi })
  wipe(seed)
  setChannel(sa, suite, keys, ni, nr)
}

/**
 * The channel after an additional key exchange, RFC 9370 §2.2.2; wipes `shared`.
 * @param shared - SK(n) of that exchange
 */
export function nextChannel(sa: IkeSa, shared: Uint8Array): Channel {
  const { suite, keys: old, ni, nr } = sa.channel!
  const seed = rekeyedSkeyseed(sa.crypto, suite.prf, old.d, { ni, nr }, [shared])
  const { initiatorSpi, responderSpi } = sa
  const keys = deriveIkeKeys(sa.crypto, suite, seed, { ni, nr, initiatorSpi, responderSpi })
  wipe(seed, shared)
  return channelOf(sa, suite, keys, ni, nr)
}

/** Wipes all keys; the channel is dead afterwards. */
export function destroyChannel({ inbound, outbound, keys, plain, before }: Channel): void {
  if (before !== undefined) destroyChannel(before.channel)
  inbound.destroy()
  outbound.destroy()
  wipeIkeKeys(keys)
  if (plain !== undefined) wipe(plain.d, plain.pi, plain.pr)
}

const NO_NONCE = new Uint8Array(0)

/** The SA stands: AUTH and the first Child SA have used what goes now. */
export function settleChannel(sa: IkeSa): void {
  const { keys, ...channel } = sa.channel!
  sa.channel = { ...channel, keys: reduceIkeKeys(keys), ni: NO_NONCE, nr: NO_NONCE }
}

export function setChannel(sa: IkeSa, suite: IkeSuite, keys: IkeKeys, ni: Uint8Array, nr: Uint8Array): void {
  sa.channel = channelOf(sa, suite, keys, ni, nr)
  reportIkeKeys(sa)
}

function channelOf(sa: IkeSa, suite: IkeSuite, keys: IkeKeys, ni: Uint8Array, nr: Uint8Array): Channel {
  const initiator = new Protector(sa.crypto, suite, keys.initiator, sa.rng)
  const responder = new Protector(sa.crypto, suite, keys.responder, sa.rng)
  const [outbound, inbound] = sa.initiator ? [initiator, responder] : [responder, initiator]
  return { suite, keys, outbound, inbound, ni, nr }
}
