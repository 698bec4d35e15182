import { formatAddress, NotifyType, type Payload, parseAddress } from '../wire/index.ts'
import { equalBytes } from './equal.ts'
import type { IkeSa } from './ike-sa.ts'
import { findNotify, notify } from './notify.ts'

/** A gateway sends its client to another one, RFC 5685; the client's side. */

const [IPV4, IPV6, FQDN] = [1, 2, 3]
const decoder = new TextDecoder('utf-8', { fatal: true })

/** A host name that is nothing else: it goes to a resolver. */
const NAME = /^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.?$/i

/** REDIRECT_SUPPORTED, or after a redirect the name of the gateway that it is from. */
export function offerRedirect({ settings, redirectedFrom }: IkeSa): Payload[] {
  if (settings?.redirect === false) return []
  if (redirectedFrom === undefined) return [notify(NotifyType.REDIRECT_SUPPORTED)]
  const address = parseAddress(redirectedFrom)
  const gateway = address ?? new TextEncoder().encode(redirectedFrom).subarray(0, 255)
  const type = address === undefined ? FQDN : address.length === 4 ? IPV4 : IPV6
  return [notify(NotifyType.REDIRECTED_FROM, Uint8Array.of(type, gateway.length, ...gateway))]
}

/**
 * Where a REDIRECT leads to: an address or a host name.
 * @param nonce - of our IKE_SA_INIT request, which an answer to that has to repeat, as nothing else vouches for it
 * @returns undefined where there is none, or none that may be believed
 */
export function redirection(payloads: readonly Payload[], nonce?: Uint8Array): string | undefined {
  const data = findNotify(payloads, NotifyType.REDIRECT)?.data
  const length = data?.[1] ?? 0
  if (data === undefined || length === 0 || data.length < 2 + length) return undefined
  if (nonce !== undefined && !equalBytes(data.subarray(2 + length), nonce)) return undefined
  const gateway = data.subarray(2, 2 + length)
  if (data[0] === IPV4 || data[0] === IPV6)
    return length === (data[0] === IPV4 ? 4 : 16) ? formatAddress(gateway) : undefined
  if (data[0] !== FQDN) return undefined
  try {
    const name = decoder.decode(gateway)
    return NAME.test(name) ? name : undefined
  } catch {
    return undefined
  }
}

/** An authenticated peer redirects: this SA is deleted, and the one to the other gateway made then. @returns whether it does */
export function followRedirect(sa: IkeSa, payloads: readonly Payload[]): boolean {
  if (!sa.initiated || sa.settings?.redirect === false || sa.redirect !== undefined) return false
  const to = redirection(payloads)
  if (to === undefined) return false
  sa.redirect = to
  sa.defer(sa.behaviour.deletion(`redirected to ${to}`))
  return true
}
