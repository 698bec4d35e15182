import { type Payload, type PayloadOf, ProtocolId } from '../wire/index.ts'

const EMPTY = new Uint8Array(0)

/** A Notify payload; `spi` only for one that speaks of an SA. */
export const notify = (
  type: number,
  data: Uint8Array = EMPTY,
  about?: { protocol: number; spi: Uint8Array },
): Payload => ({
  type: 'N',
  protocol: about?.protocol ?? ProtocolId.NONE,
  spi: about?.spi ?? EMPTY,
  notify: type,
  data,
})

export const findNotify = (payloads: readonly Payload[], type: number): PayloadOf<'N'> | undefined =>
  payloads.find((p): p is PayloadOf<'N'> => p.type === 'N' && p.notify === type)

/** The first notify of the error range, RFC 7296 §3.10.1. */
export const findError = (payloads: readonly Payload[]): PayloadOf<'N'> | undefined =>
  payloads.find((p): p is PayloadOf<'N'> => p.type === 'N' && p.notify < 16_384)
