import type { Endpoint } from '../../core/contracts/net.ts'
import { type ParsedStun, parseStun, StunMethod, stunValue } from '../../core/wire/index.ts'
import { hexOf } from './transaction.ts'

/** What a Binding response says. */
export type Answer =
  | {
      readonly type: 'mapped'
      /** The sender's address as the server saw it. */
      readonly mapped: Endpoint
      /** The server's other address and port (RFC 5780, or RFC 3489's CHANGED-ADDRESS), where it has them. */
      readonly other: Endpoint | undefined
    }
  | { readonly type: 'error'; readonly code: number; readonly reason: string }

/** A message with the hexadecimal ID of its transaction; undefined for octets that are none of STUN. */
export function readStun(octets: Uint8Array): { readonly id: string; readonly message: ParsedStun } | undefined {
  try {
    const message = parseStun(octets)
    return { id: hexOf(message.transaction), message }
  } catch {
    return undefined
  }
}

/**
 * The content of a Binding response; undefined for what is none, or tells no address.
 *
 * Both forms of addresses are read: servers older than RFC 5389 know the plain ones only.
 */
export function answerOf(message: ParsedStun): Answer | undefined {
  if (message.method !== StunMethod.Binding) return undefined
  if (message.class === 'error') {
    const { code, reason } = stunValue(message, 'ERROR-CODE') ?? { code: 0, reason: 'without a reason' }
    return { type: 'error', code, reason }
  }
  const mapped = stunValue(message, 'XOR-MAPPED-ADDRESS') ?? stunValue(message, 'MAPPED-ADDRESS')
  if (message.class !== 'success' || mapped === undefined) return undefined
  return { type: 'mapped', mapped, other: stunValue(message, 'OTHER-ADDRESS') ?? stunValue(message, 'CHANGED-ADDRESS') }
}
