import { ExchangeType, NotifyType, type Payload } from '../wire/index.ts'
import { isLower, lowest } from './collision.ts'
import type { Exchange } from './exchange.ts'
import type { IkeSa } from './ike-sa.ts'
import { findNotify, notify } from './notify.ts'

/**
 * Authentication anew by make-before-break: a new IKE SA with all Child SAs of the old one, which is deleted only then.
 * RFC 7296 §2.8.3; a responder that wants it says so, RFC 4478.
 */

/** How much longer than announced a responder waits for its peer to authenticate anew. */
const OVERTIME = 1.1
/** How much earlier than announced an initiator does. */
const EARLY = 0.9

/** To be called when the SA stands. */
export function startReauth(sa: IkeSa): void {
  const { reauthMs = 0 } = sa.settings!
  // both ends configured alike, it is the initiator that does it
  if (reauthMs > 0) sa.reauthAt = sa.authenticatedAt + reauthMs * (sa.initiated ? EARLY : OVERTIME)
}

/** AUTH_LIFETIME of a responder: how much longer this authentication is good. */
export function announceLifetime({ settings, authenticatedAt }: IkeSa, now: number): Payload[] {
  const { reauthMs = 0 } = settings!
  if (reauthMs === 0) return []
  const seconds = new Uint8Array(4)
  new DataView(seconds.buffer).setUint32(0, Math.max(1, Math.floor((reauthMs - (now - authenticatedAt)) / 1_000)))
  return [notify(NotifyType.AUTH_LIFETIME, seconds)]
}

/** The initiator reads it, in IKE_AUTH or INFORMATIONAL; it may only make things happen earlier. */
export function readLifetime(sa: IkeSa, payloads: readonly Payload[], now: number): void {
  const data = findNotify(payloads, NotifyType.AUTH_LIFETIME)?.data
  if (data?.length !== 4 || !sa.initiated) return
  const seconds = new DataView(data.buffer, data.byteOffset).getUint32(0)
  sa.reauthAt = Math.min(sa.reauthAt, now + seconds * 1_000 * EARLY)
}

/** Its turn comes when everything that was queued before it is done: the new SA has what the old one had. */
export class Renewed implements Exchange {
  readonly type = ExchangeType.INFORMATIONAL

  request(sa: IkeSa): undefined {
    if (sa.renews !== undefined) sa.effect({ type: 'renewed', old: sa.renews })
  }

  response(): void {}
}

/** Whether two IKE SAs of the same two ends come from both connecting at the same time. */
export const crossed = (a: IkeSa, b: IkeSa): boolean =>
  a.initiated !== b.initiated && a.createdAt <= b.establishedAt && b.createdAt <= a.establishedAt

/** Of two that crossed, the one that both ends agree to be without: as for rekeys, that of the lowest nonce (§2.8.2). */
export function superfluous(a: IkeSa, b: IkeSa): IkeSa {
  const [first, second] = [a.channel!, b.channel!]
  return isLower(lowest(first.ni, first.nr), lowest(second.ni, second.nr)) ? a : b
}
