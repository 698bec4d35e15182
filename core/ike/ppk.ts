import type { PeerSettings, PpkSettings } from '../contracts/settings.ts'
import { PeerError } from '../errors.ts'
import { NotifyType, type Payload, payloadOf } from '../wire/index.ts'
import { equalBytes, wipe } from './equal.ts'
import type { IkeSa } from './ike-sa.ts'
import { prfPlus } from './keys.ts'
import { findNotify, notify } from './notify.ts'

/**
 * Post-quantum preshared keys, RFC 8784: whoever breaks the key exchange one day still lacks the PPK that went into
 * SK_d, and so into the keys of all Child SAs.
 */

/** PPK_ID types, RFC 8784 §5.1. */
const PPK_ID_FIXED = 2
const text = new TextEncoder()

/** For IKE_SA_INIT of either side. */
export const usePpk = (peers: readonly PeerSettings[]): Payload[] =>
  peers.some(({ ppk }) => ppk !== undefined) ? [notify(NotifyType.USE_PPK)] : []

/** The initiator's IKE_SA_INIT was answered. @returns why that will not do */
export function agreePpk(sa: IkeSa, payloads: readonly Payload[]): PeerError | undefined {
  const { ppk, name } = sa.settings!
  sa.ppkAgreed = ppk !== undefined && findNotify(payloads, NotifyType.USE_PPK) !== undefined
  if (sa.ppkAgreed || ppk?.required !== true) return undefined
  return new PeerError(
    'PEER_PPK',
    `the peer does not use post-quantum preshared keys, and peers.${name}.ppk.required is true; give it one for this connection`,
  )
}

/**
 * For the initiator's IKE_AUTH; from here on the PPK is in the keys.
 * @param prove - AUTH data by the keys that stand
 */
export function offerPpk(sa: IkeSa, prove: () => Uint8Array): Payload[] {
  const { ppk } = sa.settings!
  const key = ppk?.keys[0]
  if (!sa.ppkAgreed || ppk === undefined || key === undefined) return []
  const without = ppk.required ? [] : [notify(NotifyType.NO_PPK_AUTH, prove())]
  mix(sa, key.secret)
  return [notify(NotifyType.PPK_IDENTITY, Uint8Array.of(PPK_ID_FIXED, ...text.encode(key.id))), ...without]
}

/** The initiator's IKE_AUTH was answered: with the PPK or without. @returns in words why that will not do */
export function acceptPpk(sa: IkeSa, payloads: readonly Payload[]): string | undefined {
  const { ppk, name } = sa.settings!
  const key = ppk?.keys[0]
  if (sa.channel!.plain === undefined || ppk === undefined || key === undefined) return undefined
  if (findNotify(payloads, NotifyType.PPK_IDENTITY) === undefined) {
    if (ppk.required) return `the peer did not use the post-quantum preshared key (peers.${name}.ppk)`
    unmix(sa)
  } else sa.learn('ppk', key.id, `peers.${name}.ppk`)
  settlePpk(sa)
  return undefined
}

/**
 * The initiator's IKE_AUTH at the responder: puts the PPK into the keys where it and this peer's settings say so.
 * @returns the payloads with the AUTH that belongs to these keys, or in words why they will not do
 */
export function choosePpk(
  sa: IkeSa,
  { ppk, name }: PeerSettings,
  payloads: readonly Payload[],
): readonly Payload[] | string {
  unmix(sa)
  const wanted = sa.ppkAgreed ? findNotify(payloads, NotifyType.PPK_IDENTITY) : undefined
  const key = wanted && findKey(ppk, wanted.data)
  if (key !== undefined) {
    mix(sa, key.secret)
    return payloads
  }
  const at = `peers.${name}.ppk`
  const stranger = wanted === undefined ? 'no post-quantum preshared key' : `a PPK that is not in ${at}.keys`
  if (ppk?.required) return `the peer uses ${stranger}, and ${at}.required is true`
  if (wanted === undefined) return payloads
  const without = findNotify(payloads, NotifyType.NO_PPK_AUTH)
  const auth = payloadOf(payloads, 'AUTH')
  if (without === undefined || auth === undefined) return `the peer insists on ${stranger}`
  return payloads.map(p => (p === auth ? { ...auth, data: without.data } : p))
}

/** For the responder's IKE_AUTH, once the peer has authenticated: confirms the PPK that is in the keys now. */
export function confirmPpk(sa: IkeSa, payloads: readonly Payload[]): Payload[] {
  if (sa.channel!.plain === undefined) return []
  const { ppk, name } = sa.settings!
  const key = findKey(ppk, findNotify(payloads, NotifyType.PPK_IDENTITY)!.data)!
  sa.learn('ppk', key.id, `peers.${name}.ppk`)
  return [notify(NotifyType.PPK_IDENTITY)]
}

/** IKE_AUTH is over: the keys stay as they are, the others go. */
export function settlePpk(sa: IkeSa): void {
  const { plain, ...channel } = sa.channel!
  if (plain === undefined) return
  wipe(plain.d, plain.pi, plain.pr)
  sa.channel = channel
}

function findKey(ppk: PpkSettings | undefined, data: Uint8Array): PpkSettings['keys'][number] | undefined {
  if (data[0] !== PPK_ID_FIXED) return undefined
  return ppk?.keys.find(({ id }) => equalBytes(text.encode(id), data.subarray(1)))
}

/** RFC 8784 §3: SK_d, SK_pi and SK_pr go through prf+ with the PPK as its key. */
function mix(sa: IkeSa, secret: Uint8Array): void {
  const channel = sa.channel!
  const { d, pi, pr } = channel.keys
  const mixed = (key: Uint8Array) => prfPlus(sa.crypto, channel.suite.prf, secret, [key], key.length)
  sa.channel = {
    ...channel,
    plain: { d, pi, pr },
    keys: { ...channel.keys, d: mixed(d), pi: mixed(pi), pr: mixed(pr) },
  }
}

function unmix(sa: IkeSa): void {
  const { plain, ...channel } = sa.channel!
  if (plain === undefined) return
  const { d, pi, pr } = channel.keys
  wipe(d, pi, pr)
  sa.channel = { ...channel, keys: { ...channel.keys, ...plain } }
}
