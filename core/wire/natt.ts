import { Writer } from './codec.ts'
import { getU32 } from './fields.ts'

/** IKE and ESP on one UDP port, RFC 3948 §2, and NAT detection, RFC 7296 §2.23. */

export const IKE_PORT = 500
export const NATT_PORT = 4500
/** Four zero octets in front of IKE where ESP has its SPI. */
export const NON_ESP_MARKER = 4
/** Content of a NAT-keepalive, RFC 3948 §2.3. */
export const NAT_KEEPALIVE = 0xff

/** `short`: neither of the three, to be dropped. */
export type NattKind = 'keepalive' | 'ike' | 'esp' | 'short'

/** What a UDP payload on a NAT-T socket is; `ike` has its marker still in front. */
export function classifyNatt(bytes: Uint8Array, start: number, end: number): NattKind {
  const length = end - start
  if (length < 4) return length === 1 && bytes[start] === NAT_KEEPALIVE ? 'keepalive' : 'short'
  return getU32(bytes, start) === 0 ? 'ike' : 'esp'
}

/**
 * What NAT_DETECTION_*_IP hashes (always with SHA-1): SPIs, address, port.
 *
 * @param responderSpi - 0n in the first request
 * @param address - 4 or 16 octets
 */
export function natDetectionInput(
  initiatorSpi: bigint,
  responderSpi: bigint,
  address: Uint8Array,
  port: number,
): Uint8Array {
  const w = new Writer(34)
  w.u64(initiatorSpi)
  w.u64(responderSpi)
  w.put(address)
  w.u16(port)
  return w.finish()
}
