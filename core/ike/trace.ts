import type { IncomingMessage } from '../contracts/ike-task.ts'
import type { Flow } from '../contracts/net.ts'
import { ExchangeType, Flag, type IkeHead, NotifyType, nameOf, type Payload } from '../wire/index.ts'
import type { IkeSa } from './ike-sa.ts'

/** One message as people write it: `IKE_SA_INIT request 0 [ SA KE Nonce N(COOKIE) ]`. */
function summary(exchange: number, response: boolean, messageId: number, payloads: readonly Payload[]): string {
  const names = payloads.map(p =>
    p.type === 'N' ? `N(${nameOf(NotifyType, p.notify)})` : p.type === 'unknown' ? `?${p.number}` : p.type,
  )
  return `${nameOf(ExchangeType, exchange)} ${response ? 'response' : 'request'} ${messageId} [ ${names.join(' ')} ]`
}

/** Tells of a message where anybody wants to know. */
export function trace(sa: IkeSa, direction: 'in' | 'out', m: IncomingMessage): void {
  if (!sa.host.listens('message')) return
  sa.effect({
    type: 'message',
    direction,
    summary: summary(m.exchange, m.response, m.messageId, m.payloads),
    flow: m.flow,
  })
}

/** The same for one that is not protected. */
export function traceOpen(
  sa: IkeSa,
  direction: 'in' | 'out',
  { header, payloads }: { readonly header: IkeHead; readonly payloads: readonly Payload[] },
  flow: Flow,
): void {
  const { exchange, flags, messageId } = header
  trace(sa, direction, { exchange, response: (flags & Flag.RESPONSE) !== 0, messageId, payloads, flow })
}
