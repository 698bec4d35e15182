import { ExchangeType, NotifyType, nameOf, type Payload } from '../wire/index.ts'

/** One message as people write it: `IKE_SA_INIT request 0 [ SA KE Nonce N(COOKIE) ]`. */
export function summary(exchange: number, response: boolean, messageId: number, payloads: readonly Payload[]): string {
  const names = payloads.map(p =>
    p.type === 'N' ? `N(${nameOf(NotifyType, p.notify)})` : p.type === 'unknown' ? `?${p.number}` : p.type,
  )
  return `${nameOf(ExchangeType, exchange)} ${response ? 'response' : 'request'} ${messageId} [ ${names.join(' ')} ]`
}
